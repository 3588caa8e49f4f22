//! The files of the page, which are part of the program, and the headers that keep everything else out of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use miniz_oxide::deflate::compress_to_vec_zlib;

const PAGE: &str = include_str!("../assets/index.html");
const BENCH: &str = include_str!("../assets/tones.html");

/// Name, content type, content.
const FILES: [(&str, &str, &str); 12] = [
    ("style.css", "text/css; charset=utf-8", include_str!("../assets/style.css")),
    ("icon.svg", "image/svg+xml", include_str!("../assets/icon.svg")),
    ("page.js", "text/javascript; charset=utf-8", include_str!("../assets/page.js")),
    ("door.js", "text/javascript; charset=utf-8", include_str!("../assets/door.js")),
    ("tones.css", "text/css; charset=utf-8", include_str!("../assets/tones.css")),
    ("tones.js", "text/javascript; charset=utf-8", include_str!("../assets/tones.js")),
    ("dom.js", "text/javascript; charset=utf-8", include_str!("../assets/dom.js")),
    ("recordings.js", "text/javascript; charset=utf-8", include_str!("../assets/recordings.js")),
    ("plots.js", "text/javascript; charset=utf-8", include_str!("../assets/plots.js")),
    ("format.js", "text/javascript; charset=utf-8", include_str!("../assets/format.js")),
    ("uplot.css", "text/css; charset=utf-8", include_str!("../assets/uplot/uPlot.min.css")),
    ("uplot.js", "text/javascript; charset=utf-8", include_str!("../assets/uplot/uPlot.iife.min.js")),
];

/// Nothing of another origin, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; media-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// Of zlib; more takes longer and gains nothing.
const LEVEL: u8 = 8;

/// A file is that of this version.
const ETAG: &str = concat!("\"", env!("CARGO_PKG_VERSION"), "\"");

pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(async |headers: HeaderMap| page(&headers, "", PAGE)))
        .route("/tones", get(async |headers: HeaderMap| page(&headers, "tones", BENCH)))
        .route("/assets/{name}", get(file))
}

fn page(headers: &HeaderMap, name: &'static str, content: &'static str) -> Response {
    let own: [(HeaderName, &str); 2] =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)];
    (own, SAFE, deflated(headers, name, content)).into_response()
}

/// As short as who asks can read it: `deflate` is the zlib format (RFC 9110 §8.4.1.2). Each file is deflated once.
fn deflated(headers: &HeaderMap, name: &'static str, content: &'static str) -> Response {
    static SHORT: Mutex<BTreeMap<&str, Bytes>> = Mutex::new(BTreeMap::new());
    let accepts = headers.get(header::ACCEPT_ENCODING).and_then(|accepted| accepted.to_str().ok());
    if !accepts.is_some_and(|accepted| accepted.split(',').any(|coding| coding.trim() == "deflate")) {
        return ([(header::VARY, "accept-encoding")], content).into_response();
    }
    let mut known = SHORT.lock().unwrap_or_else(PoisonError::into_inner); // nothing in it is ever half done
    let short = known.entry(name).or_insert_with(|| compress_to_vec_zlib(content.as_bytes(), LEVEL).into());
    ([(header::VARY, "accept-encoding"), (header::CONTENT_ENCODING, "deflate")], short.clone()).into_response()
}

async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some((name, kind, content)) = FILES.iter().find(|(known, ..)| *known == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let cached = headers.get(header::IF_NONE_MATCH).is_some_and(|etag| etag.as_bytes() == ETAG.as_bytes());
    let own = [(header::CONTENT_TYPE, *kind), (header::ETAG, ETAG)];
    if cached {
        (StatusCode::NOT_MODIFIED, own, SAFE).into_response()
    } else {
        (own, SAFE, deflated(&headers, name, content)).into_response()
    }
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
