//! The user-agent core (RFC 3261 §8, §12 to §15): joins messages, transactions, dialogs and session timers to calls.
//!
//! No socket and no clock: messages and the time come in by `handle_…`, what is to be sent and told comes out by `poll_…`.
//!
//! ```text
//! handle_message ─► transaction ─► checks ─► dialog ─► Event ─► application
//! Transmit ◄──────── transaction ◄─────────── dialog ◄───────── accept, reject, bye, probe
//! ```

mod application;
mod checks;
mod counters;
mod reply;
mod restart;
mod uac;
mod uas;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use rsip::StatusCode;
use tracing::{debug, warn};

use super::deadlines::Deadlines;
use super::dialog::{Dialog, DialogId, DialogKey};
use super::flow::{ConnectionId, Flow, Listener, Transmit};
use super::message::{Message, ParseError, Refusal, Request};
use super::session_timer::SessionTimerPolicy;
use super::tokens::Tokens;
use super::transaction::{Due, Timing, TransactionKey};
use crate::model::{EndReason, MonoTime};

pub use application::NothingPending;
pub use counters::Counters;
pub use restart::RestoreError;

use reply::{Answer, Reply};
use uac::Placed;
use uas::{MergeId, Served};

/// What the endpoint is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// The sockets the box listens on, with the ports they really have.
    pub listeners: Vec<Listener>,
    /// The address that Contact and Via name; none: the one a message came in on.
    pub advertise: Option<IpAddr>,
    /// For `Server` and `User-Agent`.
    pub user_agent: String,
    /// Timers of transactions.
    pub timing: Timing,
    /// Session timers.
    pub session_timer: SessionTimerPolicy,
    /// Requests of peers, and requests of ours, at a time: one beyond is answered with 503 and forgotten. Those within dialogs may
    /// be as many again, so that a flood of calls keeps nobody from hanging up. Over UDP each stays for 32 s.
    pub max_transactions: usize,
    /// Dialogs at a time; an INVITE beyond is answered with 503.
    pub max_dialogs: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listeners: Vec::new(),
            advertise: None,
            user_agent: concat!("nearend/", env!("CARGO_PKG_VERSION")).to_owned(),
            timing: Timing::default(),
            session_timer: SessionTimerPolicy::default(),
            max_transactions: 10_000,
            max_dialogs: 4_000,
        }
    }
}

/// What the application learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new call: accept or reject it.
    Invite {
        /// The dialog it opens.
        dialog: DialogId,
        /// The INVITE.
        request: Request,
    },
    /// A re-INVITE or UPDATE, with or without a body: accept or reject it.
    Reinvite {
        /// The dialog it changes.
        dialog: DialogId,
        /// The re-INVITE or UPDATE.
        request: Request,
    },
    /// The ACK to a 2xx that carried our offer: its body is the answer.
    Answered {
        /// The dialog.
        dialog: DialogId,
        /// The ACK.
        request: Request,
    },
    /// An INFO, which has been answered.
    Info {
        /// The dialog.
        dialog: DialogId,
        /// The INFO.
        request: Request,
    },
    /// The call was cancelled before it was accepted; the dialog is gone.
    Cancelled {
        /// The dialog.
        dialog: DialogId,
    },
    /// The dialog is gone.
    Ended {
        /// The dialog.
        dialog: DialogId,
        /// By BYE, or because the peer has vanished or never acknowledged.
        reason: EndReason,
    },
}

/// Whether calls are welcome: what an OPTIONS learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    /// 200.
    Available,
    /// 503 with Retry-After.
    Unavailable {
        /// The reason phrase.
        reason: String,
        /// When to ask again, in seconds.
        retry_after_s: u32,
    },
}

/// The user-agent core.
#[derive(Debug)]
pub struct Endpoint {
    config: Config,
    tokens: Tokens,
    availability: Availability,
    /// Boxed, because half of the room in a B-tree is empty.
    served: BTreeMap<TransactionKey, Box<Served>>,
    /// Of all that are served.
    merges: BTreeSet<Arc<MergeId>>,
    placed: BTreeMap<TransactionKey, Placed>,
    /// Boxed, because half of the room in a B-tree is empty.
    dialogs: BTreeMap<DialogId, Box<Dialog>>,
    dialog_ids: BTreeMap<DialogKey, DialogId>,
    last_dialog: u64,
    deadlines: Deadlines<Owner>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    counters: Counters,
}

/// Whose deadline it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Served(TransactionKey),
    Placed(TransactionKey),
    Dialog(DialogId),
}

impl Endpoint {
    /// `seed` is what tags and branches are drawn from: random bytes, new at every start.
    pub fn new(config: Config, seed: [u8; 32]) -> Endpoint {
        Endpoint {
            config,
            tokens: Tokens::new(seed),
            availability: Availability::Available,
            served: BTreeMap::new(),
            merges: BTreeSet::new(),
            placed: BTreeMap::new(),
            dialogs: BTreeMap::new(),
            dialog_ids: BTreeMap::new(),
            last_dialog: 0,
            deadlines: Deadlines::default(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// A datagram came, or a message was cut from a stream.
    pub fn handle_message(&mut self, now: MonoTime, flow: Flow, bytes: &[u8]) {
        match Message::parse(bytes) {
            Ok(Message::Request(request)) => self.handle_request(now, flow, request),
            Ok(Message::Response(response)) => self.handle_response(now, response),
            Err(ParseError::Refused(refusal)) => self.refuse(flow, *refusal),
            Err(ParseError::Unreadable(what)) => {
                self.counters.dropped += 1;
                debug!(peer = %flow.remote, what, "not a SIP message, dropped");
            }
        }
    }

    /// A stream broke off in a message ([`super::framing::Frame::Broken`]): it is answered where its head allows that.
    pub fn handle_broken(&mut self, flow: Flow, head: &[u8], status: StatusCode, reason: String) {
        match Refusal::of_head(head, status, reason) {
            Some(refusal) => self.refuse(flow, refusal),
            None => self.counters.dropped += 1,
        }
    }

    /// A TCP connection has closed: answers on their way by it take a new one.
    pub fn handle_flow_closed(&mut self, connection: ConnectionId) {
        self.served.values_mut().for_each(|served| served.reply.path.closed(connection));
        for dialog in self.dialogs.values_mut() {
            dialog.path.closed(connection);
            dialog.unacknowledged.iter_mut().for_each(|ok| ok.path.closed(connection));
        }
    }

    /// Does all that is due at `now`.
    pub fn handle_timeout(&mut self, now: MonoTime) {
        while let Some(owner) = self.deadlines.pop_due(now) {
            match owner {
                Owner::Served(key) => self.served_due(now, key),
                Owner::Placed(key) => self.placed_due(now, key),
                Owner::Dialog(id) => self.dialog_due(now, id),
            }
        }
    }

    /// When [`Self::handle_timeout`] wants to be called; ask again after every other call.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        self.deadlines.next()
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing the application has to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What has been counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Dialogs at present.
    pub fn dialog_count(&self) -> usize {
        self.dialogs.len()
    }

    /// A request that cannot be understood is answered without keeping any state (RFC 3261 §8.2.7); an ACK never is.
    fn refuse(&mut self, flow: Flow, refusal: Refusal) {
        if refusal.method == "ACK" {
            self.counters.dropped += 1;
            return;
        }
        warn!(peer = %flow.remote, method = refusal.method, status = refusal.status.code(), reason = refusal.reason, "request refused");
        let reply = Reply::new(&refusal.via, &refusal.headers, flow, self.tokens.tag());
        self.answer_statelessly(reply, &Answer::new(refusal.status).because(&refusal.reason));
    }

    fn answer_statelessly(&mut self, mut reply: Reply, answer: &Answer) {
        let bytes = reply.spend(answer, &self.config.user_agent);
        self.counters.response(answer.status.code());
        self.send(reply.path.flow, bytes);
    }

    fn send(&mut self, flow: Flow, bytes: Vec<u8>) {
        self.transmits.push_back(Transmit { flow, bytes });
    }

    fn resend(&mut self, flow: Flow, bytes: Vec<u8>) {
        self.counters.retransmitted += 1;
        self.send(flow, bytes);
    }

    fn served_due(&mut self, now: MonoTime, key: TransactionKey) {
        let Some(served) = self.served.get_mut(&key) else { return };
        let flow = served.reply.path.flow;
        let is_answered = served.transaction.is_answered();
        match served.transaction.handle_timeout(now) {
            Some(Due::Send(bytes)) if is_answered => self.resend(flow, bytes),
            Some(Due::Send(trying)) => {
                self.counters.response(100);
                self.send(flow, trying);
            }
            Some(Due::Done | Due::TimedOut) => self.forget_request(&key),
            None => {}
        }
        self.watch_served(key);
    }

    fn watch_served(&mut self, key: TransactionKey) {
        let deadline = self.served.get(&key).and_then(|served| served.transaction.deadline());
        self.deadlines.set(Owner::Served(key), deadline);
    }

    fn watch_dialog(&mut self, id: DialogId) {
        let deadline = self.dialogs.get(&id).and_then(|dialog| dialog.deadline());
        self.deadlines.set(Owner::Dialog(id), deadline);
    }

    /// Takes a dialog in; gives the number it has from now on.
    fn adopt(&mut self, dialog: Dialog) -> DialogId {
        self.last_dialog += 1;
        let id = DialogId(self.last_dialog);
        self.dialog_ids.insert(dialog.key.clone(), id);
        self.dialogs.insert(id, Box::new(dialog));
        id
    }

    /// Forgets a dialog; whoever comes for it gets 481 from now on.
    fn forget(&mut self, id: DialogId) -> Option<Box<Dialog>> {
        let dialog = self.dialogs.remove(&id)?;
        self.dialog_ids.remove(&dialog.key);
        self.deadlines.set(Owner::Dialog(id), None);
        Some(dialog)
    }

    /// Forgets a dialog and tells the application, unless that has ended it itself.
    fn end(&mut self, id: DialogId, reason: EndReason) {
        if self.forget(id).is_some_and(|dialog| dialog.hangup.is_none()) {
            self.events.push_back(Event::Ended { dialog: id, reason });
        }
    }
}
