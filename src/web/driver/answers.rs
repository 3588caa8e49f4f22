//! What all paths have in common: who may ask, how the daemon is asked, and errors as problem documents (RFC 9457).

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::Ask;

/// Asks the daemon, and waits for what it says; or the answer for who asked, when it cannot say anything.
pub(super) async fn answer_of<T>(asks: &mpsc::Sender<Ask>, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Response> {
    let (answer, answered) = oneshot::channel();
    if asks.try_send(ask(answer)).is_err() {
        return Err(problem(StatusCode::SERVICE_UNAVAILABLE, "the box is busy; try again"));
    }
    answered.await.map_err(|_| problem(StatusCode::SERVICE_UNAVAILABLE, "the box is stopping"))
}

/// Browsers say for which page they ask; programs say nothing.
pub(super) fn is_own_page(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    authority.is_some() && authority == headers.get(header::HOST).and_then(|host| host.to_str().ok())
}

pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({"type": "about:blank", "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail});
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
