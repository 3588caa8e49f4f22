//! The files of the page, which are part of the program, and the headers that keep everything else out of it.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

const PAGE: &str = include_str!("../assets/index.html");
const BENCH: &str = include_str!("../assets/tones.html");

/// Name, content type, content.
const FILES: [(&str, &str, &str); 9] = [
    ("style.css", "text/css; charset=utf-8", include_str!("../assets/style.css")),
    ("icon.svg", "image/svg+xml", include_str!("../assets/icon.svg")),
    ("page.js", "text/javascript; charset=utf-8", include_str!("../assets/page.js")),
    ("tones.css", "text/css; charset=utf-8", include_str!("../assets/tones.css")),
    ("tones.js", "text/javascript; charset=utf-8", include_str!("../assets/tones.js")),
    ("plots.js", "text/javascript; charset=utf-8", include_str!("../assets/plots.js")),
    ("format.js", "text/javascript; charset=utf-8", include_str!("../assets/format.js")),
    ("uplot.css", "text/css; charset=utf-8", include_str!("../assets/uplot/uPlot.min.css")),
    ("uplot.js", "text/javascript; charset=utf-8", include_str!("../assets/uplot/uPlot.iife.min.js")),
];

/// Nothing of another origin, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; media-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// A file is that of this version.
const ETAG: &str = concat!("\"", env!("CARGO_PKG_VERSION"), "\"");

pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(async || page(PAGE)))
        .route("/tones", get(async || page(BENCH)))
        .route("/assets/{name}", get(file))
}

fn page(content: &'static str) -> Response {
    let headers: [(HeaderName, &str); 2] =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)];
    (headers, SAFE, content).into_response()
}

async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some((_, kind, content)) = FILES.iter().find(|(known, ..)| *known == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let cached = headers.get(header::IF_NONE_MATCH).is_some_and(|etag| etag.as_bytes() == ETAG.as_bytes());
    let own = [(header::CONTENT_TYPE, *kind), (header::ETAG, ETAG)];
    if cached { (StatusCode::NOT_MODIFIED, own, SAFE).into_response() } else { (own, SAFE, *content).into_response() }
}

const SAFE: [(HeaderName, &str); 3] = [
    (header::CACHE_CONTROL, "no-cache"), // asked each time whether it is still the same
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_names_only_files_that_are_there() {
        let bytes: usize = FILES.iter().map(|(_, _, content)| content.len()).sum::<usize>() + PAGE.len() + BENCH.len();
        assert!(bytes <= 150_000, "{bytes} bytes");
        let pages = [PAGE, BENCH].concat();
        let named: Vec<&str> = pages.split("/assets/").skip(1).map(|rest| rest.split('"').next().unwrap_or_default()).collect();
        assert!(named.len() >= 4 && named.iter().all(|name| FILES.iter().any(|(known, ..)| known == name)), "{named:?}");
        assert!(!pages.contains("<style") && !pages.contains("style=") && !pages.contains("onclick"), "the policy forbids it");
    }
}
