//! The HTTP server of the box (axum and hyper, on the main thread's runtime).

use std::future::Future;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{delete, get, post};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::{Status, metrics};
use crate::access::Access;
use crate::model::access::Role;
use gate::Gate;

mod accounts;
mod answers;
mod assets;
pub mod calls;
mod events;
pub mod explain;
mod gate;
mod openapi;
pub mod recorded;
pub mod recordings;
pub mod running;
mod serving;
mod tls;
pub mod tones;

pub use tls::Tls;

/// What the page's users ask of the daemon.
#[derive(Debug)]
pub enum Ask {
    /// For all that is being recorded.
    Calls(running::Ask),
    /// To do something with a call.
    Call(calls::Ask),
    /// For recordings, running or over.
    Recorded(recorded::Ask),
    /// To do something with a recording that waits to be delivered.
    Recording(recordings::Ask),
    /// To say what it would do with one.
    Explain(explain::Ask),
    /// Of its loudspeaker.
    Speaker(tones::Ask),
}

/// What the server is made of.
pub struct Server {
    /// Address and port.
    pub listen: SocketAddr,
    /// How it is encrypted.
    pub tls: Tls,
    /// What is shown.
    pub status: watch::Receiver<Status>,
    /// Where questions go.
    pub asks: mpsc::Sender<Ask>,
    /// Who may ask.
    pub access: Access,
}

/// Listens; gives the bound address and the server's work, to be spawned.
///
/// # Errors
/// The address is taken, or the certificate cannot be used.
pub async fn serve(server: Server) -> std::io::Result<(SocketAddr, impl Future<Output = ()>)> {
    let tls = server.tls.acceptor()?;
    let listener = TcpListener::bind(server.listen).await?;
    let bound = listener.local_addr()?;
    let (access, has_tls) = (server.access.clone(), tls.is_some());
    Ok((bound, serving::serve(listener, tls, router(server, has_tls), access)))
}

/// Each route stands in the group of those who may use it.
fn router(Server { status, asks, access, .. }: Server, tls: bool) -> Router {
    let gate = |least| middleware::from_fn_with_state(Gate { access: access.clone(), least }, gate::pass);
    let desk = accounts::Desk { access: access.clone(), tls };
    let asked = (asks.clone(), access.clone());
    let bench = tones::Bench::new(asks.clone(), access.clone());
    let shelf = recorded::Shelf { asks: asks.clone(), access: access.clone(), plays: recorded::Plays::default() };
    let everybody = Router::new()
        .route("/api/v1/openapi.json", get(openapi::document))
        .route("/api/v1/access", get(accounts::me))
        .route("/api/v1/access/first", post(accounts::first))
        .route("/api/v1/access/login", post(accounts::login))
        .with_state(desk.clone())
        .route("/metrics", get(prometheus).with_state(status.clone()))
        .route_layer(gate(None));
    let viewers = Router::new()
        .route("/api/v1/access/logout", post(accounts::logout))
        .route("/api/v1/access/password", post(accounts::set_password))
        .with_state(desk.clone())
        .route("/api/v1/calls", get(running::list).with_state(asks.clone()))
        .route("/api/v1/calls/{id}", get(running::show).with_state(asks.clone()))
        .route("/api/v1/recordings", get(recorded::list).with_state(shelf.clone()))
        .route("/api/v1/recordings/{id}", get(recorded::show).with_state(shelf.clone()))
        .route("/api/v1/geo/explain", get(explain::geo).with_state(asks.clone()))
        .route("/api/v1/rules/explain", get(explain::rules).with_state(asks))
        .route("/api/v1/status", get(seen).with_state(status.clone()))
        .route(
            "/api/v1/history",
            get(async |State(status): Shared| Json(status.borrow().history.clone())).with_state(status.clone()),
        )
        .route("/api/v1/events", get(events::events).with_state(events::Told::new(status.clone(), access.clone())))
        .merge(tones::shown(bench.clone()))
        .route_layer(gate(Some(Role::Viewer)));
    let listeners = Router::new()
        .route("/api/v1/calls/{id}/{verb}", post(calls::ask).with_state(asked.clone()))
        .route("/api/v1/recordings/{id}/peaks", get(recorded::peaks).with_state(shelf.clone()))
        .route("/api/v1/recordings/{id}/audio", get(recorded::audio).with_state(shelf))
        .route_layer(gate(Some(Role::Listener)));
    let admins = Router::new()
        .route("/api/v1/access/users", get(accounts::users).post(accounts::add_user))
        .route("/api/v1/access/users/{name}", delete(accounts::remove_user))
        .route("/api/v1/access/tokens", get(accounts::tokens).post(accounts::add_token))
        .route("/api/v1/access/tokens/{name}", delete(accounts::remove_token))
        .route("/api/v1/access/audit", get(accounts::audit))
        .with_state(desk)
        .route("/api/v1/recordings/{id}/{verb}", post(recordings::ask).with_state(asked))
        .merge(tones::asked(bench))
        .route_layer(gate(Some(Role::Admin)));
    let health =
        Router::new().route("/health/live", get(async || "alive\n")).route("/health/ready", get(ready)).with_state(status);
    everybody
        .merge(viewers)
        .merge(listeners)
        .merge(admins)
        .merge(health)
        .merge(assets::routes())
        .fallback(async || {
            answers::problem(StatusCode::NOT_FOUND, "there is nothing at this path; docs/http.md lists all there are")
        })
        .method_not_allowed_fallback(async || {
            answers::problem(StatusCode::METHOD_NOT_ALLOWED, "this path is asked by another method; docs/http.md says by which")
        })
}

type Shared = State<watch::Receiver<Status>>;

/// How the box is, and those calls that who asks may know of.
async fn seen(State(status): Shared, known: gate::Known) -> Response {
    let seen = status.borrow().seen_by(&known.who.scope);
    Json(seen).into_response()
}

async fn prometheus(State(status): Shared, Extension(caller): Extension<gate::Caller>) -> Response {
    if !accounts::may_see_metrics(&caller) {
        return answers::problem(
            StatusCode::UNAUTHORIZED,
            "metrics are open on the box itself; from elsewhere send a token of all tenants",
        );
    }
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
