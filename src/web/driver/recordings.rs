//! `POST /api/v1/recordings/{id}/first|again`: what people ask of a recording that waits to be delivered (docs/targets.md).

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::answers::{answer_of, is_own_page, problem};
use crate::model::Stage;

/// A request to the daemon.
#[derive(Debug)]
pub struct Ask {
    /// Recording id.
    pub id: String,
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
    State(asks): State<mpsc::Sender<super::Ask>>,
    Path((id, verb)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let (wish, state) = match verb.as_str() {
        "first" => (Wish::First, "first"),
        "again" => (Wish::Again, "waiting"),
        _ => return problem(StatusCode::NOT_FOUND, "a recording can be asked to go first, or to be tried again"),
    };
    if !is_own_page(&headers) {
        return problem(StatusCode::FORBIDDEN, "a page of another origin may not ask for this");
    }
    match answer_of(&asks, |answer| super::Ask::Recording(Ask { id: id.clone(), wish, answer })).await {
        Ok(Ok(())) => Json(json!({"id": id, "state": state})).into_response(),
        Ok(Err(Refusal::Unknown)) => problem(StatusCode::NOT_FOUND, "no recording of this id is on the box"),
        Ok(Err(Refusal::NotWaiting(stage))) => {
            problem(StatusCode::CONFLICT, &format!("it does not wait to be delivered: its stage is {stage:?}"))
        }
        Ok(Err(Refusal::Later(why))) => problem(StatusCode::SERVICE_UNAVAILABLE, &why),
        Err(answer) => answer,
    }
}
