//! Who may come in: every request of the API passes here. It says who asks (`Authorization: Bearer`, RFC 6750, or the cookie of a session), turns
//! away who may not, reads the body within limits, and makes problem documents of whatever is refused behind it.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Extension, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::answers::{problem, problem_type};
use super::serving::Peer;
use crate::access::driver::Credential;
use crate::access::{Access, Who};
use crate::clock::Now;
use crate::model::access::Role;

/// Bytes of a body; nothing that the API takes is longer.
const MOST_BODY_BYTES: usize = 64 << 10;
/// From the end of the head to the end of the body.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Of a refusal that is no problem document yet.
const MOST_REFUSAL_BYTES: usize = 4 << 10;

/// The cookie; over TLS a browser keeps it for this name of the box alone (RFC 6265bis §4.1.3.2).
pub(super) const COOKIES: [&str; 2] = ["__Host-nearend", "nearend"];

/// What a route asks of who comes.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) access: Access,
    /// None: everybody may come in.
    pub(super) least: Option<Role>,
}

/// Who has come in, and from where.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) who: Option<Who>,
    pub(super) credential: Option<Credential>,
    pub(super) from: IpAddr,
}

/// Whose role was enough for this route.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) who: Who,
    pub(super) credential: Credential,
    pub(super) from: IpAddr,
}

impl<S: Send + Sync> FromRequestParts<S> for Known {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Known, Response> {
        let caller = parts.extensions.get::<Caller>().cloned();
        let known = caller.and_then(|caller| Some(Known { who: caller.who?, credential: caller.credential?, from: caller.from }));
        known.ok_or_else(|| problem(StatusCode::UNAUTHORIZED, "log in, or send a token"))
    }
}

pub(super) async fn pass(
    State(gate): State<Gate>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let refuse = |why: &'static str, status, detail: &str| {
        gate.access.count(why);
        problem(status, detail)
    };
    if !is_own_page(request.headers()) {
        return refuse("foreign-page", StatusCode::FORBIDDEN, "a page of another origin may not ask for this");
    }
    let credential = credential(request.headers());
    let who = credential.as_ref().and_then(|credential| gate.access.who(Now::read(), credential));
    match (gate.least, &who) {
        (Some(_), None) => {
            let mut answer =
                refuse("unknown", StatusCode::UNAUTHORIZED, "log in, or send a token that is valid; docs/access.md says how");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return answer;
        }
        (Some(least), Some(who)) if who.role < least => {
            return refuse(
                "forbidden",
                StatusCode::FORBIDDEN,
                &format!("this asks for the role {least:?}; yours is {:?}", who.role),
            );
        }
        _ => {}
    }
    let mut request = match with_body(request).await {
        Ok(request) => request,
        Err((why, status, detail)) => return refuse(why, status, detail),
    };
    request.extensions_mut().insert(Caller { who, credential, from: peer.ip().to_canonical() });
    let mut answer = told_as_problem(next.run(request).await).await;
    answer.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// Browsers say for which page they ask; programs say nothing.
fn is_own_page(headers: &HeaderMap) -> bool {
    if headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return false;
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    authority.is_some() && authority == headers.get(header::HOST).and_then(|host| host.to_str().ok())
}

/// A token counts before a cookie: a program that sends one means it.
fn credential(headers: &HeaderMap) -> Option<Credential> {
    if let Some(authorization) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = authorization.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| Credential::Token(token.trim().to_owned()));
    }
    let cookies =
        headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    let mut pairs = cookies.filter_map(|cookie| cookie.trim().split_once('='));
    pairs.find(|(name, _)| COOKIES.contains(name)).map(|(_, secret)| Credential::Session(secret.to_owned()))
}

async fn with_body(request: Request) -> Result<Request, (&'static str, StatusCode, &'static str)> {
    let (parts, body) = request.into_parts();
    let said = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let too_large = ("oversized", StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than the 64 KiB that are read");
    if said.is_some_and(|bytes| bytes > MOST_BODY_BYTES as u64) {
        return Err(too_large);
    }
    match tokio::time::timeout(BODY_WITHIN, to_bytes(body, MOST_BODY_BYTES)).await {
        Ok(Ok(bytes)) => Ok(Request::from_parts(parts, Body::from(bytes))),
        Ok(Err(error)) if is_length(&error) => Err(too_large),
        Ok(Err(_)) => Err(("cut-off", StatusCode::BAD_REQUEST, "the body ends too early")),
        Err(_) => Err(("slow", StatusCode::REQUEST_TIMEOUT, "the body did not come within 10 s")),
    }
}

fn is_length(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}

/// What axum itself refuses, such as a query that cannot be read, is text.
async fn told_as_problem(answer: Response) -> Response {
    let status = answer.status();
    let is_problem = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == problem_type());
    if is_problem || !(status.is_client_error() || status.is_server_error()) {
        return answer;
    }
    let (parts, body) = answer.into_parts();
    let detail = to_bytes(body, MOST_REFUSAL_BYTES).await.unwrap_or_default();
    let mut told = problem(status, String::from_utf8_lossy(&detail).trim());
    for (name, value) in parts.headers {
        if let Some(name) = name.filter(|name| ![header::CONTENT_TYPE, header::CONTENT_LENGTH].contains(name)) {
            told.headers_mut().insert(name, value);
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_page_of_another_origin_is_known_by_what_browsers_say() {
        for (pairs, own) in [
            (&[("host", "box")][..], true),
            (&[("host", "box"), ("origin", "http://box")], true),
            (&[("host", "box:8080"), ("origin", "https://box:8080"), ("sec-fetch-site", "same-origin")], true),
            (&[("host", "box"), ("origin", "http://box:81")], false),
            (&[("host", "box"), ("origin", "null")], false),
            (&[("host", "box"), ("sec-fetch-site", "same-site")], false),
            (&[("host", "box"), ("sec-fetch-site", "none")], true),
        ] {
            assert_eq!(is_own_page(&headers(pairs)), own, "{pairs:?}");
        }
    }

    #[test]
    fn a_token_counts_before_a_cookie_and_a_foreign_cookie_is_passed_over() {
        let known = |pairs| match credential(&headers(pairs)) {
            Some(Credential::Token(token)) => format!("token {token}"),
            Some(Credential::Session(secret)) => format!("session {secret}"),
            None => String::new(),
        };
        assert_eq!(known(&[("cookie", "a=b; nearend=x")]), "session x");
        assert_eq!(known(&[("cookie", "__Host-nearend=y")]), "session y");
        assert_eq!(known(&[("cookie", "nearend=x"), ("authorization", "bearer t")]), "token t");
        assert_eq!(known(&[("cookie", "nearend=x"), ("authorization", "Basic t")]), "");
        assert_eq!(known(&[("cookie", "xnearend=x")]), "");
    }
}
