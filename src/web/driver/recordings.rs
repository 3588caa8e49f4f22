//! `POST /api/v1/recordings/{id}/first|again`: what people ask of a recording that waits to be delivered (docs/targets.md).

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::answers::{answer_of, note, problem};
use super::gate::Known;
use crate::access::Access;
use crate::model::Stage;
use crate::model::access::Scope;

/// A request to the daemon.
#[derive(Debug)]
pub struct Ask {
    /// Recording id.
    pub id: String,
    /// Whose recordings may be meant.
    pub scope: Scope,
    /// What is asked.
    pub wish: Wish,
    /// Done, or why not.
    pub answer: oneshot::Sender<Result<(), Refusal>>,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To be delivered before all others.
    First,
    /// To be tried again at the targets that set it aside.
    Again,
}

/// Why it is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The box does not know it.
    Unknown,
    /// It does not wait to be delivered.
    NotWaiting(Stage),
    /// The ledger cannot be read now.
    Later(String),
}

pub(super) async fn ask(
    State((asks, access)): State<(mpsc::Sender<super::Ask>, Access)>,
    Path((id, verb)): Path<(String, String)>,
    known: Known,
) -> Response {
    let (did, wish, state) = match verb.as_str() {
        "first" => ("deliver-first", Wish::First, "first"),
        "again" => ("deliver-again", Wish::Again, "waiting"),
        _ => return problem(StatusCode::NOT_FOUND, "a recording can be asked to go first, or to be tried again"),
    };
    if let Err(answer) = note(&access, &known, did, &id, "").await {
        return answer;
    }
    let scope = known.who.scope;
    match answer_of(&asks, |answer| super::Ask::Recording(Ask { id: id.clone(), scope, wish, answer })).await {
        Ok(Ok(())) => Json(json!({"id": id, "state": state})).into_response(),
        Ok(Err(Refusal::Unknown)) => problem(StatusCode::NOT_FOUND, "no recording of this id is on the box"),
        Ok(Err(Refusal::NotWaiting(stage))) => {
            problem(StatusCode::CONFLICT, &format!("it does not wait to be delivered: its stage is {stage:?}"))
        }
        Ok(Err(Refusal::Later(why))) => problem(StatusCode::SERVICE_UNAVAILABLE, &why),
        Err(answer) => answer,
    }
}
