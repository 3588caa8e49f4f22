//! Building responses (RFC 3261 §8.2.6).

use rsip::StatusCode;

use super::super::flow::{Flow, ReplyPath};
use super::super::headers::Headers;
use super::super::render;
use super::super::values::{NameAddr, Via};

/// An answer yet without what it repeats of its request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    reason: String,
    headers: Headers,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn new(status: StatusCode) -> Answer {
        let reason = render::reason(&status).to_owned();
        Answer { status, reason, headers: Headers::default(), body: Vec::new() }
    }

    pub(super) fn because(self, reason: &str) -> Answer {
        Answer { reason: reason.to_owned(), ..self }
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Answer {
        self.headers.push(name, value);
        self
    }

    pub(super) fn headers(mut self, more: Headers) -> Answer {
        self.headers.extend(more);
        self
    }

    pub(super) fn body(self, content_type: &str, body: Vec<u8>) -> Answer {
        match body.is_empty() {
            true => self,
            false => Answer { body, ..self.header("Content-Type", content_type) },
        }
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status.code())
    }
}

/// What all answers to one request repeat of it, and the way they go.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) path: ReplyPath,
    /// Via, From, Call-ID, CSeq, Timestamp.
    repeated: Headers,
    record_routes: Headers,
    to: Vec<u8>,
    /// The tag that this box adds to To; none when there was one.
    pub(super) tag: Option<String>,
}

impl Reply {
    /// For a request with these headers, whose topmost Via is `via`, that came by `flow`; `tag` is ours if To has none.
    pub(super) fn new(via: &Via, headers: &Headers, flow: Flow, tag: String) -> Reply {
        let mut repeated = Headers::default();
        repeated.push("Via", via.stamped(flow.remote.ip(), flow.remote.port()));
        headers.list("Via").into_iter().skip(1).for_each(|value| repeated.push("Via", value));
        for name in ["From", "Call-ID", "CSeq", "Timestamp"] {
            headers.first(name).into_iter().for_each(|value| repeated.push(name, value));
        }
        let mut record_routes = Headers::default();
        headers.all("Record-Route").for_each(|value| record_routes.push("Record-Route", value));
        let to = headers.first("To").unwrap_or_default().to_vec();
        let takes_tag = NameAddr::parse(&to).is_ok_and(|to| to.tag().is_none());
        Reply { path: ReplyPath::new(via, flow), repeated, record_routes, to, tag: takes_tag.then_some(tag) }
    }

    /// To with our tag.
    pub(super) fn tagged_to(&self) -> Vec<u8> {
        match &self.tag {
            Some(tag) => [&self.to[..], b";tag=", tag.as_bytes()].concat(),
            None => self.to.clone(),
        }
    }

    /// 100 Trying, which needs no tag (RFC 3261 §8.2.6.2).
    pub(super) fn trying(&self) -> Vec<u8> {
        let mut headers = self.repeated.clone();
        headers.push("To", self.to.as_slice());
        render::response(&StatusCode::Trying, render::reason(&StatusCode::Trying), &headers, b"")
    }

    /// The whole final response; a success repeats Record-Route byte for byte (RFC 3261 §12.1.1). Of what was repeated nothing
    /// stays: the transaction has the bytes, and is kept for half a minute.
    pub(super) fn spend(&mut self, answer: &Answer, server: &str) -> Vec<u8> {
        let mut headers = std::mem::take(&mut self.repeated);
        let record_routes = std::mem::take(&mut self.record_routes);
        if !self.to.is_empty() {
            headers.push("To", self.tagged_to());
            self.to = Vec::new();
        }
        if answer.is_success() {
            headers.extend(record_routes);
        }
        headers.push("Server", server);
        headers.extend(answer.headers.clone());
        render::response(&answer.status, &answer.reason, &headers, &answer.body)
    }
}
