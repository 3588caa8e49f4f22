//! `GET /api/v1/events`: the status whenever it is new, as server-sent events (HTML Living Standard §9.2). A browser that does not read
//! misses some of them; nothing waits for it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::{Semaphore, watch};

use super::super::Status;
use super::answers::problem;

/// So many are told at a time.
const MOST_LISTENERS: usize = 32;

/// Who is told, and of what.
#[derive(Clone)]
pub(super) struct Told {
    status: watch::Receiver<Status>,
    room: Arc<Semaphore>,
}

impl Told {
    pub(super) fn new(status: watch::Receiver<Status>) -> Told {
        Told { status, room: Arc::new(Semaphore::new(MOST_LISTENERS)) }
    }
}

pub(super) async fn events(State(told): State<Told>) -> Response {
    let Ok(room) = told.room.try_acquire_owned() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open; close one, or read /api/v1/status");
    };
    let mut status = told.status;
    status.mark_changed(); // the first is told at once
    let news = stream::unfold((status, room), |(mut status, room)| async move {
        status.changed().await.ok()?;
        let event = Event::default().event("status").json_data(&*status.borrow_and_update()).ok()?;
        Some((Ok::<Event, Infallible>(event), (status, room)))
    });
    Sse::new(news).keep_alive(KeepAlive::default()).into_response()
}
