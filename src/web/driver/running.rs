//! `GET /api/v1/calls` and `GET /api/v1/calls/{id}`: the calls that are being recorded, in pages.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::super::view::RecordingView;
use super::answers::{answer_of, problem};
use super::gate::Known;

/// Asks the daemon for all of them.
pub type Ask = oneshot::Sender<Vec<RecordingView>>;

const USUAL: usize = 100;
const MOST: usize = 1_000;

/// Which page.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Page {
    limit: Option<usize>,
    after: Option<String>,
}

impl Page {
    /// The views of this page, by id, and behind which one the next begins; none: this is the last.
    fn of(&self, mut all: Vec<RecordingView>) -> (Vec<RecordingView>, Option<String>) {
        all.sort_by(|a, b| a.id.cmp(&b.id));
        let limit = self.limit.unwrap_or(USUAL);
        let behind = self.after.as_deref().unwrap_or_default();
        let mut page: Vec<RecordingView> = all.into_iter().filter(|view| view.id.as_str() > behind).take(limit + 1).collect();
        let is_last = page.len() <= limit;
        page.truncate(limit);
        let next = page.last().filter(|_| !is_last).map(|view| view.id.clone());
        (page, next)
    }
}

pub(super) async fn list(State(asks): State<mpsc::Sender<super::Ask>>, known: Known, Query(page): Query<Page>) -> Response {
    if !page.limit.is_none_or(|limit| (1..=MOST).contains(&limit)) {
        return problem(StatusCode::BAD_REQUEST, &format!("limit is to be from 1 to {MOST}"));
    }
    match answer_of(&asks, super::Ask::Calls).await {
        Ok(mut all) => {
            all.retain(|view| known.who.scope.sees(&view.tenant));
            let (calls, next) = page.of(all);
            Json(json!({"calls": calls, "next": next})).into_response()
        }
        Err(answer) => answer,
    }
}

pub(super) async fn show(State(asks): State<mpsc::Sender<super::Ask>>, known: Known, Path(id): Path<String>) -> Response {
    match answer_of(&asks, super::Ask::Calls).await {
        Ok(all) => match all.into_iter().find(|view| view.id == id && known.who.scope.sees(&view.tenant)) {
            Some(view) => Json(view).into_response(),
            None => problem(StatusCode::NOT_FOUND, "no call of this id is being recorded"),
        },
        Err(answer) => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finish::testing::recording;

    #[test]
    fn pages_follow_each_other_and_the_last_one_says_so() {
        let all = || ["b", "d", "a", "c"].map(|id| RecordingView::from(&recording(1, id, 1))).to_vec();
        let page = |limit, after: Option<&str>| {
            let (page, next) = Page { limit: Some(limit), after: after.map(str::to_owned) }.of(all());
            (page.iter().map(|view| view.id.clone()).collect::<String>(), next)
        };
        assert_eq!(page(3, None), ("abc".into(), Some("c".into())));
        assert_eq!(page(3, Some("c")), ("d".into(), None));
        assert_eq!(page(4, None), ("abcd".into(), None));
        assert_eq!(page(4, Some("x")), (String::new(), None));
    }
}
