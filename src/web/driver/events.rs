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
use super::gate::Known;
use crate::access::Access;
use crate::clock::Now;

/// So many are told at a time.
const MOST_LISTENERS: usize = 32;

/// Who is told, and of what.
#[derive(Clone)]
pub(super) struct Told {
    status: watch::Receiver<Status>,
    access: Access,
    room: Arc<Semaphore>,
}

impl Told {
    pub(super) fn new(status: watch::Receiver<Status>, access: Access) -> Told {
        Told { status, access, room: Arc::new(Semaphore::new(MOST_LISTENERS)) }
    }
}

pub(super) async fn events(State(told): State<Told>, known: Known) -> Response {
    let Ok(room) = told.room.try_acquire_owned() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open; close one, or read /api/v1/status");
    };
    let (mut status, access) = (told.status, told.access);
    status.mark_changed(); // the first is told at once
    let news = stream::unfold((status, access, known, room), |(mut status, access, known, room)| async move {
        status.changed().await.ok()?;
        let who = access.who(Now::read(), &known.credential)?; // who has been logged out is told no more
        let seen = status.borrow_and_update().seen_by(&who.scope);
        let event = Event::default().event("status").json_data(seen).ok()?;
        Some((Ok::<Event, Infallible>(event), (status, access, known, room)))
    });
    Sse::new(news).keep_alive(KeepAlive::default()).into_response()
}
