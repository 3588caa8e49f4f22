//! What a request must be before anybody looks at its meaning (RFC 3261 §8.2.1 to §8.2.3).

use rsip::{Method, StatusCode};

use super::super::message::Request;
use super::reply::Answer;

/// The methods the box serves.
pub(super) const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO";
/// The bodies of INVITE and UPDATE it reads.
pub(super) const ACCEPT: &str = "application/sdp, application/rs-metadata+xml, application/rs-metadata, multipart/mixed";
/// The extensions it knows: session timers (RFC 4028) and recording sessions (RFC 7866).
pub(super) const SUPPORTED: &str = "timer, siprec";

/// Lets a request through, or says what it gets instead.
pub(super) fn check(request: &Request) -> Result<(), Answer> {
    check_method(request)?;
    if request.method != Method::Cancel {
        check_require(request)?;
    }
    check_encoding(request)?;
    match request.method {
        Method::Invite | Method::Update => check_content(request).and_then(|()| check_accept(request)),
        _ => Ok(()),
    }
}

/// Whether the request brings a session description. A body without Content-Type is taken for one.
pub(super) fn carries_sdp(request: &Request) -> bool {
    let names_sdp = |body: &[u8]| body.windows(15).any(|part| part.eq_ignore_ascii_case(b"application/sdp"));
    match request.content_type().as_deref() {
        None => !request.body.is_empty(),
        Some("application/sdp") => true,
        Some(other) => other.starts_with("multipart/") && names_sdp(&request.body),
    }
}

fn check_method(request: &Request) -> Result<(), Answer> {
    match request.method {
        Method::Invite | Method::Ack | Method::Bye | Method::Cancel | Method::Options | Method::Update | Method::Info => Ok(()),
        // The box sends no reliable provisional response that a PRACK could mean (RFC 3262 §3).
        Method::PRack => Err(Answer::new(StatusCode::CallTransactionDoesNotExist)),
        _ => Err(Answer::new(StatusCode::MethodNotAllowed).header("Allow", ALLOW)),
    }
}

fn check_require(request: &Request) -> Result<(), Answer> {
    let known = |tag: &&[u8]| SUPPORTED.split(", ").any(|supported| tag.eq_ignore_ascii_case(supported.as_bytes()));
    let unknown: Vec<_> = request.headers.list("Require").into_iter().filter(|tag| !known(tag)).collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(Answer::new(StatusCode::BadExtension).header("Unsupported", unknown.join(&b", "[..]))),
    }
}

fn check_encoding(request: &Request) -> Result<(), Answer> {
    let plain = |encoding: &&[u8]| encoding.eq_ignore_ascii_case(b"identity");
    match request.body.is_empty() || request.headers.list("Content-Encoding").iter().all(plain) {
        true => Ok(()),
        false => Err(Answer::new(StatusCode::UnsupportedMediaType).header("Accept-Encoding", "identity")),
    }
}

fn check_content(request: &Request) -> Result<(), Answer> {
    let optional = request.headers.text("Content-Disposition").is_some_and(|value| {
        let (_, params) = value.split_once(';').unwrap_or((&value, ""));
        params.to_ascii_lowercase().split(';').any(|param| param.replace(' ', "") == "handling=optional")
    });
    match request.content_type() {
        Some(content_type) if !optional && !ACCEPT.split(", ").any(|accepted| accepted == content_type) => {
            Err(Answer::new(StatusCode::UnsupportedMediaType).header("Accept", ACCEPT))
        }
        _ => Ok(()),
    }
}

/// Our answer will be a session description: who accepts none cannot be answered (RFC 3261 §21.4.7).
fn check_accept(request: &Request) -> Result<(), Answer> {
    let takes_sdp = |range: &&[u8]| {
        let range = range.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        [&b"application/sdp"[..], b"application/*", b"*/*"].iter().any(|wanted| range.eq_ignore_ascii_case(wanted))
    };
    let is_open = request.headers.first("Accept").is_none();
    match is_open || request.headers.list("Accept").iter().any(takes_sdp) {
        true => Ok(()),
        false => Err(Answer::new(StatusCode::NotAcceptable)),
    }
}
