//! `POST /api/v1/calls/{id}/pause|resume|stop`: what people ask of a running recording (docs/control.md).

use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::answers::{answer_of, note, problem};
use super::gate::Known;
use crate::access::Access;
use crate::model::access::{Role, Scope};

/// A request to the daemon.
#[derive(Debug)]
pub struct Ask {
    /// Recording id.
    pub id: String,
    /// Whose calls may be meant.
    pub scope: Scope,
    /// What is asked.
    pub asked: Asked,
    /// What it is then; none: no such call is being recorded.
    pub answer: oneshot::Sender<Option<Outcome>>,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Keep nothing for a while.
    Pause {
        /// So long at most.
        limit: Option<Duration>,
    },
    /// Keep audio again.
    Resume,
    /// End the recording.
    Stop,
}

/// How the recording is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is kept.
    Paused,
    /// Audio is kept.
    Recording,
    /// It is over.
    Stopped,
}

#[derive(Debug, Deserialize)]
pub(super) struct Limit {
    limit_s: Option<u64>,
}

pub(super) async fn ask(
    State((asks, access)): State<(mpsc::Sender<super::Ask>, Access)>,
    Path((id, verb)): Path<(String, String)>,
    Query(limit): Query<Limit>,
    known: Known,
) -> Response {
    let (did, asked) = match verb.as_str() {
        "pause" => ("pause", Asked::Pause { limit: limit.limit_s.map(Duration::from_secs) }),
        "resume" => ("resume", Asked::Resume),
        "stop" if known.who.role < Role::Admin => {
            return problem(StatusCode::FORBIDDEN, "to stop a recording asks for the role Admin");
        }
        "stop" => ("stop", Asked::Stop),
        _ => return problem(StatusCode::NOT_FOUND, "a call can be asked to pause, resume or stop"),
    };
    // A pause keeps a secret off the disk: it does not wait for a log that cannot be written.
    if let Err(answer) = note(&access, &known, did, &id, "").await
        && did != "pause"
    {
        return answer;
    }
    let scope = known.who.scope;
    match answer_of(&asks, |answer| super::Ask::Call(Ask { id: id.clone(), scope, asked, answer })).await {
        Ok(Some(outcome)) => {
            let state = match outcome {
                Outcome::Paused => "paused",
                Outcome::Recording => "recording",
                Outcome::Stopped => "stopped",
            };
            Json(json!({"id": id, "state": state})).into_response()
        }
        Ok(None) => problem(StatusCode::NOT_FOUND, "no call of this id is being recorded"),
        Err(answer) => answer,
    }
}
