//! `POST /api/v1/calls/{id}/pause|resume|stop`: what people ask of a running recording (docs/control.md).

use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::answers::{answer_of, is_own_page, problem};

/// A request to the daemon.
#[derive(Debug)]
pub struct Ask {
    /// Recording id.
    pub id: String,
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
    State(asks): State<mpsc::Sender<super::Ask>>,
    Path((id, verb)): Path<(String, String)>,
    Query(limit): Query<Limit>,
    headers: HeaderMap,
) -> Response {
    let asked = match verb.as_str() {
        "pause" => Asked::Pause { limit: limit.limit_s.map(Duration::from_secs) },
        "resume" => Asked::Resume,
        "stop" => Asked::Stop,
        _ => return problem(StatusCode::NOT_FOUND, "a call can be asked to pause, resume or stop"),
    };
    if !is_own_page(&headers) {
        return problem(StatusCode::FORBIDDEN, "a page of another origin may not ask for this");
    }
    match answer_of(&asks, |answer| super::Ask::Call(Ask { id: id.clone(), asked, answer })).await {
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
