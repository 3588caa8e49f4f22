//! `GET /api/v1/openapi.json`: the API as a document (OpenAPI 3.1). It is a file of its own, docs/schema/openapi.json; the test below holds it
//! against the routes, `tests/system/api.rs` against the answers, and `scripts/api-check` both.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const DOCUMENT: &str = include_str!("../../../docs/schema/openapi.json");

pub(super) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// `get /api/v1/calls` for each method of each route in the text of the routers.
    fn routes() -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let routers = [include_str!("../driver.rs"), include_str!("tones.rs")];
        for route in routers.iter().flat_map(|router| router.split(".route(").skip(1)) {
            let Some((path, rest)) = route.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"')) else { continue };
            let rest = &rest[..rest.find("\n}").unwrap_or(rest.len())]; // the end of the function
            for method in ["get", "post", "delete", "put"] {
                if [" ", ".", ",", "\n"].iter().any(|before| rest.contains(&format!("{before}{method}("))) {
                    found.insert(format!("{method} {path}"));
                }
            }
        }
        found
    }

    #[test]
    fn every_route_is_in_the_document_and_nothing_else() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        let paths = document["paths"].as_object().unwrap().iter();
        let documented: BTreeSet<String> = paths
            .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}")))
            .collect();
        let routes = routes();
        assert!(routes.len() > 20, "the routers can be read: {routes:?}");
        let (missing, stale): (Vec<_>, Vec<_>) =
            (routes.difference(&documented).collect(), documented.difference(&routes).collect());
        assert!(missing.is_empty() && stale.is_empty(), "not in docs/schema/openapi.json: {missing:?}; no route: {stale:?}");
    }
}
