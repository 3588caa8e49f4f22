//! One recording session as its caller sees it: a user-agent client and its dialog (RFC 3261 §12-§15, §17.1).
//!
//! ```text
//! Calling ──2xx──► Up ──hang up──► HangingUp ──answer──► Over
//!    └──refused, no answer───────────────────────────────►┘
//!                  └──────────BYE of the recorder────────►┘
//! ```
//! Pure: messages, `now` and the numbers for branches come in; messages and [`Event`]s are polled.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;

use crate::model::MonoTime;
use crate::sip::transaction::{ClientTransaction, Due, Heard, Timing};
use crate::sip::{Method, Request, Response, StatusCode};

use super::message::{Body, Envelope, Remote, Stamp};
use super::sdp::{Description, NoMedia, destinations};

/// What has become of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The recorder took it; where it wants each m-line's RTP.
    Accepted(Vec<Option<SocketAddr>>),
    /// The recorder refused it with this status.
    Refused(u16),
    /// No answer came within 64·T1.
    Unanswered,
    /// The recorder took it in a way we can do nothing with; it is being hung up, and [`Event::HungUp`] follows.
    Unusable(NoMedia),
    /// The recorder wants the RTP somewhere else.
    Moved(Vec<Option<SocketAddr>>),
    /// The recorder accepted a re-INVITE.
    Changed,
    /// A re-INVITE was refused with this status (408: not answered).
    ChangeRefused(u16),
    /// BYE from the recorder.
    EndedByRecorder,
    /// Our BYE was answered: with 2xx, or otherwise or not at all.
    HungUp {
        /// It was 2xx.
        confirmed: bool,
    },
}

/// A session from INVITE to the end.
#[derive(Debug)]
pub struct Dialog {
    envelope: Envelope,
    description: Description,
    invite_body: Body,
    rng: Rng,
    state: State,
    cseq: u32,
    requests: Vec<Pending>,
    remote: Option<Remote>,
    destinations: Vec<Option<SocketAddr>>,
    /// Our answer to the recorder's latest request, by its CSeq: a repeated request gets it again.
    answered: Option<(u32, Vec<u8>)>,
    /// When the session timer makes us refresh (RFC 4028 §10).
    refresh_at: Option<MonoTime>,
    /// A change that waits for the re-INVITE under way.
    change_waits: bool,
    outgoing: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Calling {
        /// Hang up as soon as there is a dialog.
        unwanted: bool,
    },
    Up,
    HangingUp,
    Over,
}

/// A request of ours and its transaction.
#[derive(Debug)]
struct Pending {
    stamp: Stamp,
    method: Method,
    transaction: ClientTransaction,
    /// The ACK that its final answer got.
    ack: Option<Vec<u8>>,
}

impl Dialog {
    /// Opens a session with an INVITE that carries `invite_body`; without one the recorder shall make the offer.
    pub fn open(now: MonoTime, envelope: Envelope, description: Description, invite_body: Body, rng: Rng) -> Dialog {
        let mut dialog = Dialog {
            envelope,
            description,
            invite_body,
            rng,
            state: State::Calling { unwanted: false },
            cseq: 0,
            requests: Vec::new(),
            remote: None,
            destinations: Vec::new(),
            answered: None,
            refresh_at: None,
            change_waits: false,
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
        };
        let stamp = dialog.stamp();
        let invite = dialog.envelope.invite(&stamp, &dialog.invite_body);
        dialog.request(now, Method::Invite, stamp, invite);
        dialog
    }

    /// Call-ID, by which messages find their dialog.
    pub fn call_id(&self) -> &str {
        &self.envelope.call_id
    }

    /// Pauses or resumes by re-INVITE.
    pub fn set_paused(&mut self, now: MonoTime, paused: bool) {
        self.description.paused = paused;
        self.description.version += 1;
        self.reinvite(now);
    }

    /// Ends the session with BYE; one that is not accepted yet, as soon as it is.
    pub fn hang_up(&mut self, now: MonoTime) {
        match self.state {
            State::Calling { .. } => self.state = State::Calling { unwanted: true },
            State::Up => self.bye(now),
            State::HangingUp | State::Over => {}
        }
    }

    /// An answer to a request of ours.
    pub fn handle_response(&mut self, now: MonoTime, response: &Response) {
        let ours = |pending: &&mut Pending| {
            response.via.branch() == Some(&pending.stamp.branch) && response.cseq.method == pending.method
        };
        let Some(pending) = self.requests.iter_mut().find(ours) else { return };
        match pending.transaction.response(now, response.status.code()) {
            Heard::Nothing => {}
            Heard::AckAgain => self.outgoing.extend(pending.ack.clone()),
            Heard::Final => {
                let (method, stamp) = (pending.method, pending.stamp.clone());
                match (method, self.state) {
                    (Method::Invite, State::Calling { unwanted }) => self.opened(now, stamp, response, unwanted),
                    (Method::Invite, _) => self.changed(now, stamp, response),
                    _ => self.over(Event::HungUp { confirmed: response.is_success() }),
                }
            }
        }
    }

    /// A request of the recorder within the dialog.
    pub fn handle_request(&mut self, request: &Request) {
        if request.method == Method::Ack {
            return;
        }
        let number = request.cseq.number;
        let answer = match &self.answered {
            Some((latest, answer)) if *latest == number => answer.clone(),
            Some((latest, _)) if *latest > number => {
                self.envelope.answer(request, StatusCode::ServerInternalError, &Body::default()) // RFC 3261 §12.2.2
            }
            _ => self.answer(request),
        };
        if self.answered.as_ref().is_none_or(|(latest, _)| *latest < number) {
            self.answered = Some((number, answer.clone()));
        }
        self.outgoing.push_back(answer);
    }

    /// When [`handle_timeout`](Dialog::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        let transactions = self.requests.iter().map(|pending| pending.transaction.deadline());
        transactions.chain(self.refresh_at.filter(|_| self.state == State::Up)).min()
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: MonoTime) {
        let mut timed_out = Vec::new();
        let outgoing = &mut self.outgoing;
        self.requests.retain_mut(|pending| {
            while let Some(due) = pending.transaction.handle_timeout(now) {
                match due {
                    Due::Send(bytes) => outgoing.push_back(bytes),
                    Due::Done => return false,
                    Due::TimedOut => {
                        timed_out.push(pending.method);
                        return false;
                    }
                }
            }
            true
        });
        timed_out.into_iter().for_each(|method| self.timed_out(method));
        if self.state == State::Up && self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_at = None; // the answer sets it anew
            self.reinvite(now);
        }
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether nothing can come any more, not even a repeated answer.
    pub fn is_gone(&self) -> bool {
        self.state == State::Over && self.requests.is_empty()
    }

    /// The INVITE's final answer.
    fn opened(&mut self, now: MonoTime, stamp: Stamp, response: &Response, unwanted: bool) {
        if !response.is_success() {
            self.acknowledge_refusal(&stamp, response);
            return self.over(Event::Refused(response.status.code()));
        }
        let Some(remote) = self.envelope.remote(response) else {
            self.events.push_back(Event::Unusable(NoMedia::NoContact));
            return self.over(Event::HungUp { confirmed: false });
        };
        let wanted = destinations(&response.body, self.description.law);
        let delayed = self.invite_body.content_type.is_none();
        let lines = wanted.as_ref().map_or(self.description.ports.len(), Vec::len);
        let answer = if delayed { Body::sdp(self.description.render(lines)) } else { Body::default() };
        self.acknowledge(&stamp, &remote, &answer);
        self.remote = Some(remote);
        self.state = State::Up;
        self.run_session_timer(now, response);
        match wanted {
            Ok(destinations) => {
                self.destinations.clone_from(&destinations);
                self.events.push_back(Event::Accepted(destinations));
                if unwanted {
                    self.bye(now);
                }
            }
            Err(why) => {
                self.events.push_back(Event::Unusable(why));
                self.bye(now);
            }
        }
    }

    /// A re-INVITE's final answer.
    fn changed(&mut self, now: MonoTime, stamp: Stamp, response: &Response) {
        if !response.is_success() {
            self.acknowledge_refusal(&stamp, response);
            self.events.push_back(Event::ChangeRefused(response.status.code()));
        } else if let Some(remote) = self.remote.clone() {
            self.acknowledge(&stamp, &remote, &Body::default());
            self.run_session_timer(now, response);
            self.move_to(&response.body);
            self.events.push_back(Event::Changed);
        }
        if std::mem::take(&mut self.change_waits) {
            self.reinvite(now);
        }
    }

    fn timed_out(&mut self, method: Method) {
        match (method, self.state) {
            (Method::Invite, State::Calling { .. }) => self.over(Event::Unanswered),
            (Method::Invite, _) => self.events.push_back(Event::ChangeRefused(StatusCode::RequestTimeout.code())),
            _ => self.over(Event::HungUp { confirmed: false }),
        }
    }

    fn answer(&mut self, request: &Request) -> Vec<u8> {
        if self.state == State::Over {
            return self.envelope.answer(request, StatusCode::CallTransactionDoesNotExist, &Body::default());
        }
        let busy = self.requests.iter().any(|pending| pending.method == Method::Invite && pending.ack.is_none());
        let (status, body) = match request.method {
            Method::Invite if busy => (StatusCode::RequestPending, Body::default()),
            Method::Invite => (StatusCode::OK, self.sdp_for(&request.body)),
            Method::Update if !request.body.is_empty() => (StatusCode::OK, self.sdp_for(&request.body)),
            Method::Bye | Method::Update | Method::Options | Method::Info => (StatusCode::OK, Body::default()),
            _ => (StatusCode::MethodNotAllowed, Body::default()),
        };
        match request.method {
            Method::Invite | Method::Update if status == StatusCode::OK => self.move_to(&request.body),
            Method::Bye => self.over(Event::EndedByRecorder),
            _ => {}
        }
        self.envelope.answer(request, status, &body)
    }

    fn sdp_for(&self, offer: &[u8]) -> Body {
        let lines = destinations(offer, self.description.law).map_or(self.description.ports.len(), |lines| lines.len());
        Body::sdp(self.description.render(lines))
    }

    /// Takes over new addresses, if there are any in `body`.
    fn move_to(&mut self, body: &[u8]) {
        if let Ok(destinations) = destinations(body, self.description.law)
            && destinations != self.destinations
        {
            self.destinations.clone_from(&destinations);
            self.events.push_back(Event::Moved(destinations));
        }
    }

    fn reinvite(&mut self, now: MonoTime) {
        let busy = self.requests.iter().any(|pending| pending.method == Method::Invite && pending.ack.is_none());
        let Some(remote) = self.remote.clone().filter(|_| self.state == State::Up) else { return };
        if busy {
            self.change_waits = true;
            return;
        }
        let stamp = self.stamp();
        let body = Body::sdp(self.description.render(self.description.ports.len()));
        let bytes = self.envelope.in_dialog(Method::Invite, &stamp, &remote, &body);
        self.request(now, Method::Invite, stamp, bytes);
    }

    fn bye(&mut self, now: MonoTime) {
        let Some(remote) = self.remote.clone() else { return };
        self.state = State::HangingUp;
        let stamp = self.stamp();
        let bytes = self.envelope.in_dialog(Method::Bye, &stamp, &remote, &Body::default());
        self.request(now, Method::Bye, stamp, bytes);
    }

    fn request(&mut self, now: MonoTime, method: Method, stamp: Stamp, bytes: Vec<u8>) {
        let reliable = self.envelope.transport.is_reliable();
        let transaction = ClientTransaction::new(now, Timing::default(), method == Method::Invite, reliable, bytes.clone());
        self.requests.push(Pending { stamp, method, transaction, ack: None });
        self.outgoing.push_back(bytes);
    }

    fn acknowledge(&mut self, invite: &Stamp, remote: &Remote, body: &Body) {
        let stamp = Stamp { cseq: invite.cseq, branch: self.branch() }; // a transaction of its own (RFC 3261 §13.2.2.4)
        let ack = self.envelope.in_dialog(Method::Ack, &stamp, remote, body);
        self.sent_ack(invite, ack);
    }

    fn acknowledge_refusal(&mut self, invite: &Stamp, refusal: &Response) {
        let ack = self.envelope.ack_refusal(invite, refusal, self.remote.as_ref());
        self.sent_ack(invite, ack);
    }

    fn sent_ack(&mut self, invite: &Stamp, ack: Vec<u8>) {
        if let Some(pending) = self.requests.iter_mut().find(|pending| pending.stamp == *invite) {
            pending.ack = Some(ack.clone());
        }
        self.outgoing.push_back(ack);
    }

    /// RFC 4028 §7.2: if it fell to us to refresh, we do so at half the interval.
    fn run_session_timer(&mut self, now: MonoTime, response: &Response) {
        let value = response.headers.text("Session-Expires").unwrap_or_default();
        let mut fields = value.split(';').map(str::trim);
        let interval = fields.next().and_then(|seconds| seconds.parse::<u32>().ok()).filter(|seconds| *seconds > 0);
        let by_us = fields.any(|param| param.replace(' ', "").eq_ignore_ascii_case("refresher=uac"));
        self.refresh_at = interval.filter(|_| by_us).map(|seconds| now.after(Duration::from_secs(seconds.into()) / 2));
    }

    /// Both sides may hang up at once: the first event counts.
    fn over(&mut self, event: Event) {
        if self.state != State::Over {
            self.state = State::Over;
            self.events.push_back(event);
        }
    }

    fn stamp(&mut self) -> Stamp {
        self.cseq += 1;
        Stamp { cseq: self.cseq, branch: self.branch() }
    }

    fn branch(&mut self) -> String {
        format!("z9hG4bK0x{:016x}", self.rng.u64(..))
    }
}

#[cfg(test)]
mod tests;
