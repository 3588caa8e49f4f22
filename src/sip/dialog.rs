//! A dialog as the box holds it, having been called (RFC 3261 §12): who the peer is, the way to it, what is pending between
//! the two, and its timers. [`super::endpoint`] moves the messages.

mod saved;

use std::time::Duration;

use rsip::Method;

use super::flow::{Flow, Listener, ReplyPath, request_flow};
use super::headers::Headers;
use super::message::Request;
use super::session_timer::{SessionInterval, SessionTimer};
use super::transaction::{Timing, TransactionKey};
use super::uri::Uri;
use super::values::NameAddr;
use crate::model::MonoTime;

/// A dialog, as the application names it. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialogId(pub u64);

/// A dialog, as messages name it (RFC 3261 §12).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DialogKey {
    pub(super) call_id: String,
    pub(super) local_tag: String,
    /// Empty for a peer of RFC 2543, which has none.
    pub(super) remote_tag: String,
}

impl DialogKey {
    /// The dialog a request of the peer is meant for.
    pub(super) fn of_request(request: &Request) -> DialogKey {
        let tag = |name_addr: &NameAddr| name_addr.tag().unwrap_or_default().to_owned();
        DialogKey { call_id: request.call_id.clone(), local_tag: tag(&request.to), remote_tag: tag(&request.from) }
    }
}

/// An INVITE or UPDATE that the application has not answered yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) key: TransactionKey,
    pub(super) method: Method,
    pub(super) cseq: u32,
    /// The INVITE that made the dialog.
    pub(super) initial: bool,
    /// Whether the request carries an offer; if not, an INVITE's 2xx does.
    pub(super) offered: bool,
    pub(super) interval: SessionInterval,
    /// The remote target from then on, once it is accepted (RFC 3261 §12.2.2).
    pub(super) target: Option<Uri>,
}

/// A 2xx to an INVITE that is repeated until its ACK comes (RFC 3261 §13.3.1.4).
#[derive(Debug)]
pub(super) struct Unacknowledged {
    pub(super) cseq: u32,
    pub(super) bytes: Vec<u8>,
    pub(super) path: ReplyPath,
    /// Whether the ACK brings the answer to an offer in it.
    pub(super) offers: bool,
    resend_at: MonoTime,
    interval: Duration,
    give_up_at: MonoTime,
}

impl Unacknowledged {
    pub(super) fn is_given_up(&self, now: MonoTime) -> bool {
        self.give_up_at <= now
    }

    /// Whether it is to be sent again now.
    pub(super) fn is_due(&mut self, now: MonoTime, timing: Timing) -> bool {
        let due = self.resend_at <= now;
        if due {
            self.interval = timing.backed_off(self.interval);
            self.resend_at = now.after(self.interval);
        }
        due
    }
}

/// A dialog from its INVITE to its end.
#[derive(Debug)]
pub(super) struct Dialog {
    pub(super) key: DialogKey,
    /// To of the INVITE with our tag: From of our requests.
    local: Vec<u8>,
    /// From of the INVITE: To of our requests.
    remote: Vec<u8>,
    /// Every Record-Route value as received, in order.
    routes: Vec<Vec<u8>>,
    pub(super) target: Uri,
    local_cseq: u32,
    remote_cseq: u32,
    /// The way the peer was last heard on.
    pub(super) path: ReplyPath,
    pub(super) peer_allows_update: bool,
    /// Whether the peer is a session recording client (RFC 7866).
    pub(super) siprec: bool,
    /// Boxed, as what follows: rarely there, and the dialog stays for the whole call.
    pub(super) pending: Option<Box<Pending>>,
    pub(super) unacknowledged: Option<Box<Unacknowledged>>,
    /// Whether a refresh of ours is on its way.
    pub(super) refreshing: Option<Method>,
    pub(super) timer: Option<SessionTimer>,
    /// Content-Type and body of what we last said, for a re-INVITE that changes nothing.
    pub(super) local_description: Option<(String, Vec<u8>)>,
    /// The application has ended it, but its ACK must come before our BYE may go (RFC 3261 §15).
    pub(super) hangup: Option<String>,
}

impl Dialog {
    /// The dialog that the INVITE `request` opens. `local` is its To with our `tag`.
    pub(super) fn new(request: &Request, pending: Pending, target: Uri, local: Vec<u8>, tag: String, path: ReplyPath) -> Dialog {
        let source = request.contact().is_some_and(|contact| contact.params.get("+sip.src").is_some());
        Dialog {
            key: DialogKey { local_tag: tag, ..DialogKey::of_request(request) },
            local,
            remote: request.headers.first("From").unwrap_or_default().to_vec(),
            routes: request.headers.list("Record-Route").into_iter().map(<[u8]>::to_vec).collect(),
            target,
            local_cseq: 0,
            remote_cseq: request.cseq.number,
            path,
            peer_allows_update: request.headers.lists("Allow", "UPDATE"),
            siprec: source || request.headers.lists("Require", "siprec"),
            pending: Some(Box::new(pending)),
            unacknowledged: None,
            refreshing: None,
            timer: None,
            local_description: None,
            hangup: None,
        }
    }

    /// Takes note of an in-dialog request; false when it is out of order (RFC 3261 §12.2.2).
    pub(super) fn heard(&mut self, request: &Request, path: ReplyPath) -> bool {
        if request.cseq.number < self.remote_cseq {
            return false;
        }
        self.remote_cseq = request.cseq.number;
        self.path = path;
        if request.headers.first("Allow").is_some() {
            self.peer_allows_update = request.headers.lists("Allow", "UPDATE");
        }
        true
    }

    /// The application has accepted `pending`, and `bytes` is the 2xx.
    pub(super) fn accepted(
        &mut self,
        now: MonoTime,
        timing: Timing,
        pending: Pending,
        bytes: Vec<u8>,
        path: ReplyPath,
        answers: bool,
    ) {
        self.target = pending.target.unwrap_or_else(|| self.target.clone());
        self.timer = Some(SessionTimer::start(now, pending.interval));
        if pending.method == Method::Invite {
            self.unacknowledged = Some(Box::new(Unacknowledged {
                cseq: pending.cseq,
                bytes,
                path,
                offers: answers && !pending.offered,
                resend_at: now.after(timing.t1),
                interval: timing.t1,
                give_up_at: now.after(timing.patience()),
            }));
        }
    }

    /// Whether an offer of the peer would cross one of ours (RFC 3261 §14.2, RFC 3311 §5.2).
    pub(super) fn is_offering(&self) -> bool {
        self.refreshing == Some(Method::Invite) || self.unacknowledged.as_ref().is_some_and(|ok| ok.offers)
    }

    /// When the dialog wants to be looked at.
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        let ok = self.unacknowledged.as_ref().map(|ok| ok.resend_at.min(ok.give_up_at));
        ok.into_iter().chain(self.timer.as_ref().map(SessionTimer::deadline)).min()
    }

    /// The CSeq number of the next request of ours.
    pub(super) fn next_cseq(&mut self) -> u32 {
        self.local_cseq = self.local_cseq.wrapping_add(1);
        self.local_cseq
    }

    /// Request-URI, Route values and the way of a request of ours (RFC 3261 §12.2.1.1): with a strict router (no `lr`) in front,
    /// its URI is the Request-URI and the remote target the last Route.
    pub(super) fn route(&self, listeners: &[Listener]) -> Route {
        let first = self.routes.first().and_then(|route| NameAddr::parse(route).ok()).map(|route| route.uri);
        let flow = request_flow(first.as_ref().unwrap_or(&self.target), self.path.flow, listeners);
        match first {
            Some(router) if router.param("lr").is_none() => {
                let target = [b"<", self.target.as_bytes(), b">"].concat();
                let routes = self.routes.iter().skip(1).cloned().chain([target]).collect();
                Route { uri: router.as_bytes().to_vec(), routes, flow }
            }
            _ => Route { uri: self.target.as_bytes().to_vec(), routes: self.routes.clone(), flow },
        }
    }

    /// The headers every request of ours has, Via and Route first.
    pub(super) fn request_headers(&self, method: Method, cseq: u32, via: &str, routes: &[Vec<u8>]) -> Headers {
        let mut headers = Headers::default();
        headers.push("Via", via);
        routes.iter().for_each(|route| headers.push("Route", route.as_slice()));
        headers.push("Max-Forwards", "70");
        headers.push("From", self.local.as_slice());
        headers.push("To", self.remote.as_slice());
        headers.push("Call-ID", self.key.call_id.as_str());
        headers.push("CSeq", format!("{cseq} {method}"));
        headers
    }
}

/// How a request of ours is addressed.
pub(super) struct Route {
    pub(super) uri: Vec<u8>,
    pub(super) routes: Vec<Vec<u8>>,
    pub(super) flow: Flow,
}
