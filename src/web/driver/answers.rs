//! What all paths have in common: how the daemon is asked, what is noted, and errors as problem documents (RFC 9457).

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

use super::Ask;
use super::gate::Known;
use crate::access::Access;
use crate::access::audit::Deed;
use crate::access::driver::Denied;
use crate::files::hex;

/// Asks the daemon, and waits for what it says; or the answer for who asked, when it cannot say anything.
pub(super) async fn answer_of<T>(asks: &mpsc::Sender<Ask>, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Response> {
    let (answer, answered) = oneshot::channel();
    if asks.try_send(ask(answer)).is_err() {
        return Err(problem(StatusCode::SERVICE_UNAVAILABLE, "the box is busy; try again"));
    }
    answered.await.map_err(|_| problem(StatusCode::SERVICE_UNAVAILABLE, "the box is stopping"))
}

/// Writes into the audit log what is about to be done; or the answer, when that cannot be: then it must not be done.
pub(super) async fn note(access: &Access, known: &Known, did: &'static str, of: &str, detail: &str) -> Result<(), Response> {
    let deed =
        Deed { who: known.who.name.clone(), from: known.from.to_string(), did, of: of.to_owned(), detail: detail.to_owned() };
    access.note(deed).await.map_err(denied)
}

/// Why nothing was done.
pub(super) fn denied(why: Denied) -> Response {
    match why {
        Denied::Wrong => problem(StatusCode::UNAUTHORIZED, "name, password or code are wrong"),
        Denied::Wait(wait) => {
            let seconds = wait.as_secs() + 1;
            let mut answer =
                problem(StatusCode::TOO_MANY_REQUESTS, &format!("wrong too often from this address; try again in {seconds} s"));
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            answer
        }
        Denied::Busy => problem(StatusCode::SERVICE_UNAVAILABLE, "many log in just now; try again"),
        Denied::InUse => problem(StatusCode::CONFLICT, "the box has its first administrator; log in, or ask them"),
        Denied::Refused(refusal) => problem(status(&refusal), &refusal.to_string()),
        Denied::Failed(why) => problem(StatusCode::SERVICE_UNAVAILABLE, &format!("it could not be written: {why}")),
    }
}

fn status(refusal: &crate::access::book::Refusal) -> StatusCode {
    use crate::access::book::Refusal;
    match refusal {
        Refusal::Bad(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::Unknown => StatusCode::NOT_FOUND,
        Refusal::Beyond => StatusCode::FORBIDDEN,
        Refusal::Taken | Refusal::Last | Refusal::Full => StatusCode::CONFLICT,
    }
}

/// JSON with a tag of what it says, or only that it still says the same (RFC 9110 §13.1.2).
pub(super) fn tagged(headers: &HeaderMap, said: &Value) -> Response {
    let text = said.to_string();
    let etag = format!("\"{}\"", &hex(&Sha256::digest(text.as_bytes()))[..32]);
    let own = [(header::ETAG, etag.clone()), (header::CACHE_CONTROL, "private, no-cache".into())];
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    if known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag || tag.trim() == "*")) {
        return (StatusCode::NOT_MODIFIED, own).into_response();
    }
    (own, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({"type": "about:blank", "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail});
    (status, [(header::CONTENT_TYPE, problem_type())], body.to_string()).into_response()
}

pub(super) fn problem_type() -> HeaderValue {
    HeaderValue::from_static("application/problem+json")
}
