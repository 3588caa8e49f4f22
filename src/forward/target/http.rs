//! HTTP as all targets in the network use it: bodies flow at the box's pace, a request in which nothing moves any more is given
//! up, and answers are read as verdicts. An edge: it opens connections.
//!
//! RFC 9110 for the meaning of status codes; 413 and 507 as WebDAV (RFC 4918 §11) uses them.

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::source::Source;
use super::{DeliveryError, Verdict};
use crate::clock::Now;
use crate::forward::pace::{Grant, Lane, Pace};
use crate::model::MonoTime;

/// The budget of the box, shared by all that send.
#[derive(Clone, Debug)]
pub struct Throttle {
    pace: Arc<Mutex<Pace>>,
    lane: Lane,
}

impl Throttle {
    /// For one lane.
    pub fn new(pace: Arc<Mutex<Pace>>, lane: Lane) -> Throttle {
        Throttle { pace, lane }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Pace) -> T) -> T {
        work(&mut self.pace.lock().unwrap_or_else(PoisonError::into_inner)) // plain numbers: none is half-changed
    }

    /// Tells that it was too much for the way.
    pub fn congested(&self) {
        self.with(|pace| pace.congested(Now::read()));
    }
}

/// How a target in the network is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Certificates that are trusted beside the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// When nothing has moved for so long, a request is given up.
    pub timeout: Duration,
}

/// Why there was no answer.
#[derive(Debug)]
pub struct LinkError {
    kind: LinkErrorKind,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkErrorKind {
    Connect,
    Broken,
    Stalled,
}

impl LinkError {
    /// Whether the way may have been asked too much. That nobody listens at the other end, or breaks off, is something else.
    pub fn is_congestion(&self) -> bool {
        self.kind == LinkErrorKind::Stalled
    }

    /// Whether the connection had been made: what went over it may have broken it.
    pub fn is_broken(&self) -> bool {
        self.kind != LinkErrorKind::Connect
    }

    pub(super) fn stalled(after: Duration) -> LinkError {
        LinkError { kind: LinkErrorKind::Stalled, text: format!("nothing has moved for {after:?}") }
    }

    /// Something else than the connection's own failure broke it off.
    pub fn broken(error: &dyn StdError) -> LinkError {
        LinkError { kind: LinkErrorKind::Broken, text: chain(error) }
    }
}

impl From<reqwest::Error> for LinkError {
    fn from(error: reqwest::Error) -> LinkError {
        let kind = match () {
            () if error.is_connect() => LinkErrorKind::Connect,
            () if error.is_timeout() => LinkErrorKind::Stalled,
            () => LinkErrorKind::Broken,
        };
        LinkError { kind, text: chain(&error.without_url()) }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for LinkError {}

/// An error with its causes: the outermost says "error sending request", the innermost what happened.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// An answer that is no success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// What S3 calls its code (`NoSuchBucket`, `SlowDown`); empty where there is none.
    pub code: String,
    /// For how long it wants to be left alone.
    pub retry_after: Duration,
    /// A 404 that tells of the place itself, not of a file in it.
    pub is_place: bool,
}

/// Nobody is waited for longer than this, whatever he says.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);

impl Answer {
    /// Reads status, Retry-After (in seconds, RFC 9110 §10.2.3) and the beginning of the body.
    pub fn read(status: http::StatusCode, headers: &http::HeaderMap, body: &[u8]) -> Answer {
        let seconds = headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = Duration::from_secs(seconds.unwrap_or(0)).min(LONGEST_RETRY_AFTER);
        let text = String::from_utf8_lossy(&body[..body.len().min(4_096)]).into_owned();
        let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map_or("", |(code, _)| code);
        let code: String = code.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
        Answer { status: status.as_u16(), is_place: code == "NoSuchBucket", code, retry_after }
    }

    /// What it says about the next try.
    pub fn verdict(&self) -> Verdict {
        match (self.status, self.code.as_str()) {
            (413, _) | (_, "EntityTooLarge" | "KeyTooLongError") => Verdict::Never,
            (401 | 403 | 405 | 501, _) => Verdict::Refused,
            (404, _) if self.is_place => Verdict::Refused,
            (400, "InvalidBucketName" | "AuthorizationHeaderMalformed" | "InvalidToken" | "ExpiredToken") => Verdict::Refused,
            (301 | 302 | 303 | 307 | 308, _) => Verdict::Refused, // a bucket in another region, a page that wants a login
            _ if self.is_busy() => Verdict::Blameless(self.retry_after),
            _ => Verdict::Later(self.retry_after),
        }
    }

    /// Whether the server has too much to do.
    pub fn is_busy(&self) -> bool {
        matches!(self.status, 429 | 503 | 509) || matches!(self.code.as_str(), "SlowDown" | "RequestTimeout")
    }

    fn advice(&self) -> &'static str {
        match (self.status, self.code.as_str()) {
            (_, "RequestTimeTooSkewed") => "the clock of the box or of the server is wrong",
            (401 | 403, _) => "check the key or password and what it may do",
            (404, _) if self.is_place => "the bucket or folder is not there; make it, or correct its name",
            (404, _) => "it is gone; it is sent again",
            (405 | 501, _) => "the server cannot do that; is the address right?",
            (413, _) | (_, "EntityTooLarge") => "raise the server's limit, then have it tried again",
            (507, _) => "the server is full",
            (301 | 302 | 303 | 307 | 308, _) => "the server sends us elsewhere; check address, region and path",
            (429 | 503, _) => "the server has too much to do; waiting",
            _ => "look into the server's log; tried again",
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.code.is_empty() { "" } else { " " };
        write!(f, "the server said {}{space}{}; {}", self.status, self.code, self.advice())
    }
}

/// What is known of a request that is under way.
#[derive(Debug, Default)]
struct Progress {
    /// When something last moved, or will be allowed to move: microseconds of the monotonic clock.
    moved_us: AtomicU64,
}

impl Progress {
    fn moved(&self, at: MonoTime) {
        self.moved_us.store(at.0, Relaxed);
    }

    fn idle(&self, now: MonoTime) -> Duration {
        now.since(MonoTime(self.moved_us.load(Relaxed)))
    }
}

/// Sends requests.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
    throttle: Throttle,
    timeout: Duration,
}

/// So much may wait in the sockets of a slow link (64 kbit/s) when the last byte has left us.
const IN_FLIGHT_BYTES: u64 = 512 << 10;
const SLOWEST_LINK: u64 = 8_000;

impl Http {
    /// Reads the certificates; connects with the first request.
    ///
    /// # Errors
    /// The certificates cannot be read.
    pub fn new(access: &Access, throttle: Throttle) -> Result<Http, DeliveryError> {
        // Fails only when there is one already, which is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .connect_timeout(access.timeout)
            .tcp_user_timeout(access.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("nearend/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &access.ca_file {
            builder = builder.tls_certs_merge(certificates(path)?);
        }
        let client = builder.build().map_err(|error| DeliveryError::Link { what: "TLS".into(), error: error.into() })?;
        Ok(Http { client, throttle, timeout: access.timeout })
    }

    /// Sends a request whose body may go at the box's pace only; gives the head of the answer.
    ///
    /// # Errors
    /// There is none.
    pub(super) async fn send(&self, request: http::Request<impl Into<Content>>) -> Result<reqwest::Response, LinkError> {
        let (head, body) = request.into_parts();
        let body: Content = body.into();
        let url = head.uri.to_string();
        let url: reqwest::Url =
            url.parse().map_err(|error| LinkError { kind: LinkErrorKind::Connect, text: format!("{url}: {error}") })?;
        let fields = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
        self.throttle.with(|pace| pace.charge(fields + url.as_str().len() + 80));

        let progress = Arc::new(Progress::default());
        progress.moved(Now::read().mono);
        let in_flight = body.bytes().min(IN_FLIGHT_BYTES);
        let mut request = reqwest::Request::new(head.method, url);
        *request.headers_mut() = head.headers;
        if body.bytes() > 0 {
            let paced = Paced { rest: body, throttle: self.throttle.clone(), progress: progress.clone(), wait: None };
            *request.body_mut() = Some(reqwest::Body::wrap(paced));
        }
        let patience = self.timeout + Duration::from_secs(in_flight / SLOWEST_LINK);
        let answer = self.watched(&progress, patience, self.client.execute(request)).await?;
        Ok(answer?)
    }

    /// Reads the body of an answer piece by piece.
    ///
    /// # Errors
    /// It broke off, or nothing came any more.
    pub async fn receive(&self, mut answer: reqwest::Response, mut piece: impl FnMut(&[u8])) -> Result<(), LinkError> {
        loop {
            let progress = Progress::default();
            progress.moved(Now::read().mono);
            match self.watched(&progress, self.timeout, answer.chunk()).await?? {
                Some(bytes) => piece(&bytes),
                None => return Ok(()),
            }
        }
    }

    /// Waits until it is done, or nothing has moved for `patience`.
    async fn watched<T>(&self, progress: &Progress, patience: Duration, work: impl Future<Output = T>) -> Result<T, LinkError> {
        let mut work = std::pin::pin!(work);
        loop {
            let left = patience.saturating_sub(progress.idle(Now::read().mono));
            if left.is_zero() {
                return Err(LinkError::stalled(patience));
            }
            tokio::select! {
                done = &mut work => return Ok(done),
                () = tokio::time::sleep(left) => {}
            }
        }
    }
}

/// What a file of secrets says, without the line feed that editors put behind it.
pub(super) fn secret(path: &Path) -> Result<String, DeliveryError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(DeliveryError::Secret { path: path.to_path_buf(), error }),
    }
}

fn certificates(path: &Path) -> Result<Vec<reqwest::Certificate>, DeliveryError> {
    let secret = |error| DeliveryError::Secret { path: path.to_path_buf(), error };
    let pem = std::fs::read(path).map_err(secret)?;
    reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| secret(std::io::Error::other(chain(&error))))
}

/// What a request sends.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// What is in memory.
    Memory(Bytes),
    /// A finished file from this place on, read as it is sent: it may be larger than the memory of the box.
    File(Arc<Source>, u64),
}

impl Default for Content {
    fn default() -> Content {
        Content::Memory(Bytes::new())
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Content {
        Content::Memory(bytes)
    }
}

impl From<Arc<Source>> for Content {
    fn from(source: Arc<Source>) -> Content {
        Content::File(source, 0)
    }
}

impl Content {
    fn bytes(&self) -> u64 {
        match self {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::File(source, from) => source.bytes.saturating_sub(*from),
        }
    }

    /// Takes so many bytes off its beginning.
    fn split_to(&mut self, length: usize) -> Result<Bytes, DeliveryError> {
        match self {
            Content::Memory(bytes) => Ok(bytes.split_to(length.min(bytes.len()))),
            Content::File(source, from) => {
                let piece = source.read(*from, length as u64)?;
                *from += piece.len() as u64;
                Ok(piece)
            }
        }
    }
}

/// A body that goes out in the pieces that the pace grants.
struct Paced {
    rest: Content,
    throttle: Throttle,
    progress: Arc<Progress>,
    wait: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Body for Paced {
    type Data = Bytes;
    type Error = DeliveryError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            let want = usize::try_from(self.rest.bytes()).unwrap_or(usize::MAX);
            if want == 0 {
                return Poll::Ready(None);
            }
            let (now, lane) = (Now::read(), self.throttle.lane);
            match self.throttle.with(|pace| pace.take(now, lane, want)) {
                Grant::Now(length) => {
                    self.progress.moved(now.mono);
                    let piece = self.rest.split_to(length.clamp(1, want));
                    return Poll::Ready(Some(piece.map(Frame::data)));
                }
                Grant::At(later) => {
                    self.progress.moved(later);
                    self.wait = Some(Box::pin(tokio::time::sleep(later.since(now.mono))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.bytes() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer::read(status.try_into().unwrap(), &http::HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn will_never_work_is_told_from_later() {
        let error = |code: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>…</Message></Error>");
        for (status, body, verdict) in [
            (401, String::new(), Verdict::Refused),
            (403, error("AccessDenied"), Verdict::Refused),
            (404, error("NoSuchBucket"), Verdict::Refused),
            (404, error("NoSuchKey"), Verdict::Later(Duration::ZERO)),
            (404, error("NoSuchUpload"), Verdict::Later(Duration::ZERO)),
            (400, error("ExpiredToken"), Verdict::Refused),
            (413, String::new(), Verdict::Never),
            (400, error("EntityTooLarge"), Verdict::Never),
            (301, error("PermanentRedirect"), Verdict::Refused),
            (429, String::new(), Verdict::Blameless(Duration::ZERO)),
            (500, error("InternalError"), Verdict::Later(Duration::ZERO)),
            (503, error("SlowDown"), Verdict::Blameless(Duration::ZERO)),
            (507, String::new(), Verdict::Later(Duration::ZERO)),
        ] {
            assert_eq!(answer(status, &body).verdict(), verdict, "{status} {body}");
        }
        assert!(answer(503, "").is_busy() && answer(400, &error("RequestTimeout")).is_busy() && !answer(500, "").is_busy());
    }

    #[test]
    fn a_server_is_left_alone_for_as_long_as_it_asks_but_not_for_ever() {
        let after = |value: &str| {
            let headers = [(http::header::RETRY_AFTER, value.parse().unwrap())].into_iter().collect();
            Answer::read(http::StatusCode::SERVICE_UNAVAILABLE, &headers, b"").retry_after
        };
        assert_eq!(after("120"), Duration::from_secs(120));
        assert_eq!(after("999999999"), LONGEST_RETRY_AFTER);
        assert_eq!(after("Wed, 21 Oct 2026 07:28:00 GMT"), Duration::ZERO);
    }

    #[test]
    fn what_a_server_says_is_not_trusted() {
        let hostile = answer(500, "<Code>\u{1b}[31m evil\n</Code>");
        assert_eq!(hostile.code, "31mevil");
        assert!(answer(500, &format!("<Code>{}</Code>", "x".repeat(3_000))).code.len() <= 64);
    }
}
