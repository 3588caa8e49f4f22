//! `GET /api/v1/geo/explain`, `/api/v1/rules/explain`: which location, which rule counts for a described call, and why. The query
//! has the options of the commands of the same names.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::answers::{answer_of, problem};
use super::gate::Known;

/// A described call.
pub type Pairs = Vec<(String, String)>;

/// A request to the daemon.
#[derive(Debug)]
pub struct Ask {
    /// What is wanted of the call.
    pub about: About,
    /// The call.
    pub pairs: Pairs,
    /// What there is to say, or what is wrong with the description.
    pub answer: oneshot::Sender<Result<Value, String>>,
}

/// What is to be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The location.
    Geo,
    /// The rule.
    Rules,
}

pub(super) async fn geo(asks: State<mpsc::Sender<super::Ask>>, known: Known, pairs: Query<Pairs>) -> Response {
    explain(asks, &known, About::Geo, pairs).await
}

pub(super) async fn rules(asks: State<mpsc::Sender<super::Ask>>, known: Known, pairs: Query<Pairs>) -> Response {
    explain(asks, &known, About::Rules, pairs).await
}

async fn explain(
    State(asks): State<mpsc::Sender<super::Ask>>,
    known: &Known,
    about: About,
    Query(pairs): Query<Pairs>,
) -> Response {
    if !known.who.scope.is_all() {
        return problem(StatusCode::FORBIDDEN, "rules and locations are those of all tenants; ask somebody who sees all of them");
    }
    match answer_of(&asks, |answer| super::Ask::Explain(Ask { about, pairs, answer })).await {
        Ok(Ok(said)) => Json(said).into_response(),
        Ok(Err(fault)) => problem(StatusCode::BAD_REQUEST, &fault),
        Err(answer) => answer,
    }
}
