//! The HTTP server of the box (axum, on the main thread's runtime).

use std::future::Future;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::{Status, metrics};

mod answers;
mod assets;
pub mod calls;
mod doors;
mod events;
pub mod explain;
pub mod recordings;
pub mod running;
pub mod tones;

/// What the page's users ask of the daemon.
#[derive(Debug)]
pub enum Ask {
    /// For all that is being recorded.
    Calls(running::Ask),
    /// To do something with a call.
    Call(calls::Ask),
    /// To do something with a recording that waits to be delivered.
    Recording(recordings::Ask),
    /// To say what it would do with one.
    Explain(explain::Ask),
    /// Of its loudspeaker.
    Speaker(tones::Ask),
}

/// Listens on `address`; gives the bound address and the server's work, to be spawned.
pub async fn serve(
    address: SocketAddr,
    status: watch::Receiver<Status>,
    asks: mpsc::Sender<Ask>,
) -> std::io::Result<(SocketAddr, impl Future<Output = std::io::Result<()>>)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let work = async move { axum::serve(doors::Doors::new(listener), router(status, asks)).await };
    Ok((bound, work))
}

fn router(status: watch::Receiver<Status>, asks: mpsc::Sender<Ask>) -> Router {
    let bench = tones::routes(asks.clone());
    let control = Router::new()
        .route("/api/v1/calls", get(running::list))
        .route("/api/v1/calls/{id}", get(running::show))
        .route("/api/v1/calls/{id}/{verb}", post(calls::ask))
        .route("/api/v1/recordings/{id}/{verb}", post(recordings::ask))
        .route("/api/v1/geo/explain", get(explain::geo))
        .route("/api/v1/rules/explain", get(explain::rules))
        .with_state(asks);
    let told = Router::new().route("/api/v1/events", get(events::events)).with_state(events::Told::new(status.clone()));
    Router::new()
        .route("/metrics", get(prometheus))
        .route("/api/v1/status", get(async |State(status): Shared| Json(status.borrow().clone())))
        .route("/api/v1/history", get(async |State(status): Shared| Json(status.borrow().history.clone())))
        .route("/health/live", get(async || "alive\n"))
        .route("/health/ready", get(ready))
        .with_state(status)
        .merge(told)
        .merge(bench)
        .merge(control)
        .merge(assets::routes())
        .fallback(async || {
            answers::problem(StatusCode::NOT_FOUND, "there is nothing at this path; docs/http.md lists all there are")
        })
        .method_not_allowed_fallback(async || {
            answers::problem(StatusCode::METHOD_NOT_ALLOWED, "this path is asked by another method; docs/http.md says by which")
        })
}

type Shared = State<watch::Receiver<Status>>;

async fn prometheus(State(status): Shared) -> Response {
    let status = status.borrow().clone();
    match metrics::text(status) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Ready means: a call that arrives now is recorded.
async fn ready(State(status): Shared) -> Response {
    match &status.borrow().refusing {
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("new calls are refused: {why}\n")).into_response(),
    }
}
