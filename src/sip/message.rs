//! Reading requests and responses (RFC 3261 §7): start line, headers, body.
//!
//! Lenient where the field is: LF as line end, empty lines in front, folded lines, bytes that are no UTF-8. What must be
//! understood is parsed into fields, so a [`Request`] in hand always has a top Via, From, To, Call-ID and CSeq. A request that
//! is too broken for that, but tells where an answer goes, comes back as a [`Refusal`] with the status it deserves.

use rsip::{Method, StatusCode};
use thiserror::Error;

use super::headers::{Headers, head_length};
use super::render;
use super::uri::{Scheme, Uri};
use super::values::{CSeq, NameAddr, Via, method};

/// A request or a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// It asks.
    Request(Request),
    /// It answers.
    Response(Response),
}

/// A request with all that routing, transaction and dialog need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it asks for.
    pub method: Method,
    /// The Request-URI.
    pub uri: Uri,
    /// The topmost Via.
    pub via: Via,
    /// Who asks.
    pub from: NameAddr,
    /// Who is asked.
    pub to: NameAddr,
    /// Call-ID.
    pub call_id: String,
    /// CSeq; its method is the request's.
    pub cseq: CSeq,
    /// All headers as received, the above among them.
    pub headers: Headers,
    /// The body, cut to Content-Length.
    pub body: Vec<u8>,
}

/// A response with all that routing, transaction and dialog need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    /// The reason phrase as received.
    pub reason: String,
    /// The topmost Via.
    pub via: Via,
    /// From, as in the request.
    pub from: NameAddr,
    /// To, with the answerer's tag.
    pub to: NameAddr,
    /// Call-ID.
    pub call_id: String,
    /// CSeq: which request is answered.
    pub cseq: CSeq,
    /// All headers as received, the above among them.
    pub headers: Headers,
    /// The body, cut to Content-Length.
    pub body: Vec<u8>,
}

/// A request that can be answered but not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status it deserves.
    pub status: StatusCode,
    /// The reason phrase: what was wrong.
    pub reason: String,
    /// The method's name, which may be an unknown one.
    pub method: String,
    /// The topmost Via.
    pub via: Via,
    /// All headers, readable or not; From, To, Call-ID and CSeq may be missing.
    pub headers: Headers,
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// Nothing that could be answered.
    #[error("no SIP message: {0}")]
    Unreadable(&'static str),
    /// A request to be answered with an error.
    #[error("{} request refused: {} {}", .0.method, .0.status.code(), .0.reason)]
    Refused(Box<Refusal>),
}

impl Message {
    /// Reads one message that fills `bytes`: a datagram, or what [`super::framing`] cut from a stream. A body shorter than its
    /// Content-Length is refused, a longer one cut (RFC 3261 §18.3).
    pub fn parse(bytes: &[u8]) -> Result<Message, ParseError> {
        let start = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(bytes.len());
        let bytes = &bytes[start..];
        let head_end = head_length(bytes).ok_or(ParseError::Unreadable("no empty line ends the headers"))?;
        let (head, body) = bytes.split_at(head_end);
        Message::from_parts(head, body)
    }

    fn from_parts(head: &[u8], body: &[u8]) -> Result<Message, ParseError> {
        let (start_line, headers) = split_head(head);
        match StartLine::parse(&start_line).ok_or(ParseError::Unreadable("the first line is neither request nor status line"))? {
            StartLine::Status { code, reason } => Response::from_parts(code, reason, headers, body).map(Message::Response),
            StartLine::Request { method, uri, version } => {
                Draft::new(method, headers)?.finish(uri, version, body).map(Message::Request).map_err(ParseError::Refused)
            }
        }
    }
}

impl Request {
    /// The bytes that go on the wire; Content-Length is made to fit the body.
    pub fn render(&self) -> Vec<u8> {
        render::request(self.method, self.uri.as_bytes(), &self.headers, &self.body)
    }

    /// The media type of the body in lower case and without parameters; none when there is no body or no Content-Type.
    pub fn content_type(&self) -> Option<String> {
        content_type(&self.headers, &self.body)
    }

    /// The first Contact.
    pub fn contact(&self) -> Option<NameAddr> {
        contact(&self.headers)
    }
}

impl Response {
    /// The bytes that go on the wire; Content-Length is made to fit the body.
    pub fn render(&self) -> Vec<u8> {
        render::response(&self.status, &self.reason, &self.headers, &self.body)
    }

    /// The media type of the body in lower case and without parameters; none when there is no body or no Content-Type.
    pub fn content_type(&self) -> Option<String> {
        content_type(&self.headers, &self.body)
    }

    /// The first Contact.
    pub fn contact(&self) -> Option<NameAddr> {
        contact(&self.headers)
    }

    /// Whether it is 1xx.
    pub fn is_provisional(&self) -> bool {
        self.status.code() < 200
    }

    /// Whether it is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status.code())
    }

    fn from_parts(code: u16, reason: &str, headers: Headers, body: &[u8]) -> Result<Response, ParseError> {
        fn readable<T, E>(value: Option<Result<T, E>>, what: &'static str) -> Result<T, ParseError> {
            value.and_then(Result::ok).ok_or(ParseError::Unreadable(what))
        }
        let body = cut_body(&headers, body).map_err(|_| ParseError::Unreadable("a response whose body is not all there"))?;
        Ok(Response {
            status: StatusCode::from(code),
            reason: reason.to_owned(),
            via: readable(headers.list("Via").first().map(|v| Via::parse(v)), "a response without a readable Via")?,
            from: readable(headers.first("From").map(NameAddr::parse), "a response without a readable From")?,
            to: readable(headers.first("To").map(NameAddr::parse), "a response without a readable To")?,
            call_id: headers.text("Call-ID").ok_or(ParseError::Unreadable("a response without Call-ID"))?.into_owned(),
            cseq: readable(headers.first("CSeq").map(CSeq::parse), "a response without a readable CSeq")?,
            body: body.to_vec(),
            headers,
        })
    }
}

impl Refusal {
    /// For a message of which only the head is there, or a part of it; none when that is no request that can be answered.
    pub(super) fn of_head(head: &[u8], status: StatusCode, reason: String) -> Option<Refusal> {
        let (start_line, headers) = split_head(head);
        let Some(StartLine::Request { method, .. }) = StartLine::parse(&start_line) else { return None };
        let Draft { method, via, headers } = Draft::new(method, headers).ok()?;
        Some(Refusal { status, reason, method, via, headers })
    }
}

enum StartLine<'a> {
    Request { method: &'a str, uri: &'a str, version: &'a str },
    Status { code: u16, reason: &'a str },
}

impl StartLine<'_> {
    fn parse(line: &str) -> Option<StartLine<'_>> {
        let is_sip = |text: &str| text.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("SIP/"));
        let (first, rest) = line.trim_end().split_once(' ')?;
        if is_sip(first) {
            let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
            let code = code.parse().ok().filter(|code| (100..700).contains(code))?;
            return Some(StartLine::Status { code, reason });
        }
        let (uri, version) = rest.rsplit_once(' ')?;
        is_sip(version).then(|| StartLine::Request { method: first, uri: uri.trim(), version })
    }
}

/// A request that can be answered already.
struct Draft {
    method: String,
    via: Via,
    headers: Headers,
}

impl Draft {
    fn new(method: &str, headers: Headers) -> Result<Draft, ParseError> {
        let via = headers.list("Via").first().and_then(|value| Via::parse(value).ok());
        let via = via.ok_or(ParseError::Unreadable("a request without a readable Via"))?;
        Ok(Draft { method: method.to_owned(), via, headers })
    }

    fn finish(self, uri: &str, version: &str, body: &[u8]) -> Result<Request, Box<Refusal>> {
        match self.understand(uri, version, body) {
            Ok(Understood { method, uri, from, to, call_id, cseq, body }) => {
                Ok(Request { method, uri, via: self.via, from, to, call_id, cseq, headers: self.headers, body })
            }
            Err((status, reason)) => {
                Err(Box::new(Refusal { status, reason, method: self.method, via: self.via, headers: self.headers }))
            }
        }
    }

    /// Everything beyond what an answer needs, the most telling complaint first.
    fn understand(&self, uri: &str, version: &str, body: &[u8]) -> Result<Understood, (StatusCode, String)> {
        let bad = |what: String| (StatusCode::BadRequest, what);
        if !version.eq_ignore_ascii_case("SIP/2.0") {
            return Err((StatusCode::VersionNotSupported, format!("{version} is not SIP/2.0")));
        }
        let Some(method) = method(&self.method) else {
            return Err((StatusCode::NotImplemented, format!("{} is not implemented", self.method)));
        };
        self.check_once().map_err(bad)?;
        if uri.contains(|c: char| c.is_ascii_whitespace()) {
            return Err(bad("Request-URI: there is a space in it".to_owned()));
        }
        let uri = Uri::parse(uri.as_bytes()).map_err(|e| bad(format!("Request-URI: {e}")))?;
        if let Scheme::Other(scheme) = uri.scheme() {
            return Err((StatusCode::UnsupportedUriScheme, format!("Unsupported URI scheme {scheme}")));
        }
        let name_addr =
            |name| NameAddr::parse(self.headers.first(name).unwrap_or_default()).map_err(|e| bad(format!("{name}: {e}")));
        let cseq = CSeq::parse(self.headers.first("CSeq").unwrap_or_default()).map_err(|e| bad(e.to_string()))?;
        if cseq.method != method {
            return Err(bad(format!("CSeq is of {}, the request of {method}", cseq.method)));
        }
        Ok(Understood {
            method,
            uri,
            from: name_addr("From")?,
            to: name_addr("To")?,
            call_id: self.headers.text("Call-ID").unwrap_or_default().into_owned(),
            cseq,
            body: cut_body(&self.headers, body).map_err(bad)?.to_vec(),
        })
    }
}

impl Draft {
    /// What names transaction and dialog must be there, and unambiguous.
    fn check_once(&self) -> Result<(), String> {
        for name in ["From", "To", "Call-ID", "CSeq"] {
            match self.headers.all(name).take(2).count() {
                0 => return Err(format!("{name} is missing")),
                1 => {}
                _ => return Err(format!("{name} is there twice")),
            }
        }
        let broken = self.headers.list("Via").into_iter().skip(1).find_map(|via| Via::parse(via).err());
        broken.map_or(Ok(()), |fault| Err(fault.to_string()))
    }
}

struct Understood {
    method: Method,
    uri: Uri,
    from: NameAddr,
    to: NameAddr,
    call_id: String,
    cseq: CSeq,
    body: Vec<u8>,
}

fn split_head(head: &[u8]) -> (String, Headers) {
    let mut lines = head.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let start_line = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    (start_line, Headers::parse(lines))
}

/// The body by Content-Length, or all there is without one (RFC 3261 §18.3).
fn cut_body<'a>(headers: &Headers, rest: &'a [u8]) -> Result<&'a [u8], String> {
    match content_length(headers)? {
        Some(length) => rest.get(..length).ok_or_else(|| format!("Content-Length says {length} bytes, {} arrived", rest.len())),
        None => Ok(rest),
    }
}

/// Content-Length; several must agree.
pub(super) fn content_length(headers: &Headers) -> Result<Option<usize>, String> {
    let mut length = None;
    for value in headers.list("Content-Length") {
        let text = String::from_utf8_lossy(value);
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let this =
            text.parse::<usize>().ok().filter(|_| digits).ok_or_else(|| format!("Content-Length \"{text}\" is no number"))?;
        if length.is_some_and(|other| other != this) {
            return Err("Content-Length is there twice and differs".to_owned());
        }
        length = Some(this);
    }
    Ok(length)
}

fn content_type(headers: &Headers, body: &[u8]) -> Option<String> {
    let value = headers.text("Content-Type").filter(|_| !body.is_empty())?;
    let (media_type, _params) = value.split_once(';').unwrap_or((&value, ""));
    Some(media_type.trim().to_ascii_lowercase())
}

fn contact(headers: &Headers) -> Option<NameAddr> {
    headers.list("Contact").first().and_then(|value| NameAddr::parse(value).ok())
}

#[cfg(test)]
mod tests;
