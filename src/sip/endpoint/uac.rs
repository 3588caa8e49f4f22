//! Requests of our own within dialogs: BYE, OPTIONS as a probe, UPDATE and re-INVITE as session refresh
//! (RFC 3261 §12.2.1, §14.1, §15.1.1; RFC 4028 §7).

use std::time::Duration;

use rsip::Method;
use tracing::warn;

use super::super::dialog::{Dialog, DialogId, Route};
use super::super::flow::Flow;
use super::super::headers::Headers;
use super::super::message::Response;
use super::super::render;
use super::super::session_timer::SessionTimer;
use super::super::transaction::{ClientTransaction, Due, Heard, TransactionKey};
use super::checks::SUPPORTED;
use super::{Endpoint, Owner};
use crate::model::{EndReason, MonoTime};

/// A request of ours whose transaction lives.
#[derive(Debug)]
pub(super) struct Placed {
    transaction: ClientTransaction,
    dialog: DialogId,
    purpose: Purpose,
    cseq: u32,
    flow: Flow,
    /// The ACK to a final answer, for an INVITE.
    ack: Option<(Flow, Vec<u8>)>,
}

/// Why the box sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To end the dialog.
    Bye,
    /// To learn whether the peer is there.
    Probe,
    /// To refresh the session.
    Update,
    /// To refresh the session of a peer that knows no UPDATE.
    Reinvite,
}

/// A refresh that met another request waits up to so long (RFC 3261 §14.1, for who does not own the Call-ID).
const GLARE_WAIT_MS: u64 = 2_000;

impl Endpoint {
    /// Sends a request in a dialog.
    pub(super) fn place(&mut self, now: MonoTime, id: DialogId, purpose: Purpose, extra: Headers, body: Vec<u8>) {
        if self.placed.len() >= self.config.max_transactions {
            return warn!(dialog = id.0, method = %purpose.method(), "too many requests of our own, not sent");
        }
        let branch = self.tokens.branch();
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        let cseq = dialog.next_cseq();
        let Some((flow, bytes)) = self.render(id, purpose.method(), cseq, &branch, extra, &body) else { return };
        let invite = purpose == Purpose::Reinvite;
        let transaction = ClientTransaction::new(now, self.config.timing, invite, flow.transport.is_reliable(), bytes.clone());
        // RFC 3261 §17.1.1.3: the ACK to an error is made like the INVITE, branch and all.
        let ack = if invite { self.render(id, Method::Ack, cseq, &branch, Headers::default(), b"") } else { None };
        let key = TransactionKey::of_ours(&branch, purpose.method());
        self.deadlines.set(Owner::Placed(key.clone()), Some(transaction.deadline()));
        self.placed.insert(key, Placed { transaction, dialog: id, purpose, cseq, flow, ack });
        self.send(flow, bytes);
    }

    /// Refreshes the session: by UPDATE where the peer takes it, else by a re-INVITE that changes nothing.
    pub(super) fn refresh(&mut self, now: MonoTime, id: DialogId) {
        let glare_ends = now.after(Duration::from_millis(GLARE_WAIT_MS));
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        let (siprec, flow) = (dialog.siprec, dialog.path.flow);
        let Some(timer) = dialog.timer.as_mut() else { return };
        if dialog.pending.is_some() || dialog.unacknowledged.is_some() {
            return timer.retry_refresh(glare_ends);
        }
        let mut headers = Headers::default();
        timer.interval.write_refresh(&mut headers, self.config.session_timer);
        let description = dialog.local_description.clone().filter(|_| !dialog.peer_allows_update);
        let purpose = if description.is_some() { Purpose::Reinvite } else { Purpose::Update };
        dialog.refreshing = Some(purpose.method());
        headers.push("Contact", self.contact(flow, siprec));
        headers.push("Supported", SUPPORTED);
        if siprec && purpose == Purpose::Reinvite {
            headers.push("Require", "siprec");
        }
        let body = description.map_or_else(Vec::new, |(content_type, body)| {
            headers.push("Content-Type", content_type);
            body
        });
        self.place(now, id, purpose, headers, body);
    }

    pub(super) fn handle_response(&mut self, now: MonoTime, response: Response) {
        let key = TransactionKey::of_response(&response);
        let Some((key, placed)) = key.and_then(|key| self.placed.get_mut(&key).map(|placed| (key, placed))) else {
            self.counters.dropped += 1;
            return;
        };
        let heard = placed.transaction.response(now, response.status.code());
        let (id, purpose, cseq) = (placed.dialog, placed.purpose, placed.cseq);
        self.deadlines.set(Owner::Placed(key.clone()), Some(placed.transaction.deadline()));
        match heard {
            Heard::Nothing => return,
            Heard::AckAgain => return self.send_ack(&key),
            Heard::Final => {}
        }
        if response.is_success() {
            self.refreshed(now, id, purpose, &response);
        }
        if purpose == Purpose::Reinvite {
            self.acknowledge(&key, id, cseq, response.is_success());
        }
        if !response.is_success() {
            self.failed(now, id, purpose, &response);
        }
    }

    pub(super) fn placed_due(&mut self, now: MonoTime, key: TransactionKey) {
        let Some(placed) = self.placed.get_mut(&key) else { return };
        let (id, purpose, flow) = (placed.dialog, placed.purpose, placed.flow);
        match placed.transaction.handle_timeout(now) {
            Some(Due::Send(bytes)) => self.resend(flow, bytes),
            Some(Due::Done) => drop(self.placed.remove(&key)),
            Some(Due::TimedOut) => {
                self.placed.remove(&key);
                if purpose != Purpose::Bye {
                    self.give_up(now, id, EndReason::PeerVanished, "No answer");
                }
            }
            None => {}
        }
        let deadline = self.placed.get(&key).map(|placed| placed.transaction.deadline());
        self.deadlines.set(Owner::Placed(key), deadline);
    }

    /// A refresh has succeeded: the session timer starts anew, the remote target may have moved.
    fn refreshed(&mut self, now: MonoTime, id: DialogId, purpose: Purpose, response: &Response) {
        let Some(dialog) = self.dialogs.get_mut(&id).filter(|_| purpose.refreshes()) else { return };
        dialog.refreshing = None;
        dialog.target = response.contact().map_or_else(|| dialog.target.clone(), |contact| contact.uri);
        dialog.timer = dialog.timer.take().map(|timer| SessionTimer::start(now, timer.interval.refreshed(&response.headers)));
        self.watch_dialog(id);
    }

    /// A request of ours was answered with an error. What is not handled here leaves the session as it is; its timer decides.
    fn failed(&mut self, now: MonoTime, id: DialogId, purpose: Purpose, response: &Response) {
        let wait = Duration::from_millis(self.tokens.below(GLARE_WAIT_MS));
        let Some(dialog) = self.dialogs.get_mut(&id).filter(|_| purpose != Purpose::Bye) else { return };
        if purpose.refreshes() {
            dialog.refreshing = None;
        }
        match response.status.code() {
            // RFC 3261 §12.2.1.2: the peer has no such dialog, so there is nobody to send a BYE to.
            481 => self.end(id, EndReason::PeerVanished),
            408 => self.give_up(now, id, EndReason::PeerVanished, "No answer"),
            422 if purpose.refreshes() => self.refresh_longer(now, id, response),
            491 if purpose.refreshes() => {
                dialog.timer.iter_mut().for_each(|timer| timer.retry_refresh(now.after(wait)));
                self.watch_dialog(id);
            }
            405 | 501 if purpose == Purpose::Update && dialog.local_description.is_some() => {
                dialog.peer_allows_update = false;
                self.refresh(now, id);
            }
            _ => {}
        }
    }

    /// RFC 4028 §7.3: the peer wants a longer interval.
    fn refresh_longer(&mut self, now: MonoTime, id: DialogId, response: &Response) {
        let Some(timer) = self.dialogs.get_mut(&id).and_then(|dialog| dialog.timer.as_mut()) else { return };
        let Some(raised) = timer.interval.raised(&response.headers) else { return };
        timer.interval = raised;
        self.refresh(now, id);
    }

    /// Sends the ACK to a final answer. That to a 2xx is a request of its own, with a branch of its own (RFC 3261 §13.2.2.4).
    fn acknowledge(&mut self, key: &TransactionKey, id: DialogId, cseq: u32, success: bool) {
        if success {
            let branch = self.tokens.branch();
            let ack = self.render(id, Method::Ack, cseq, &branch, Headers::default(), b"");
            self.placed.get_mut(key).into_iter().for_each(|placed| placed.ack.clone_from(&ack));
        }
        self.send_ack(key);
    }

    fn send_ack(&mut self, key: &TransactionKey) {
        if let Some((flow, bytes)) = self.placed.get(key).and_then(|placed| placed.ack.clone()) {
            self.send(flow, bytes);
        }
    }

    fn render(
        &self,
        id: DialogId,
        method: Method,
        cseq: u32,
        branch: &str,
        extra: Headers,
        body: &[u8],
    ) -> Option<(Flow, Vec<u8>)> {
        let dialog: &Dialog = self.dialogs.get(&id)?;
        let Route { uri, routes, flow } = dialog.route(&self.config.listeners);
        let via = format!("SIP/2.0/{} {};branch={branch};rport", flow.transport.via_name(), self.own_address(flow));
        let mut headers = dialog.request_headers(method, cseq, &via, &routes);
        headers.push("User-Agent", self.config.user_agent.as_str());
        headers.extend(extra);
        Some((flow, render::request(method, &uri, &headers, body)))
    }
}

impl Purpose {
    fn method(self) -> Method {
        match self {
            Purpose::Bye => Method::Bye,
            Purpose::Probe => Method::Options,
            Purpose::Update => Method::Update,
            Purpose::Reinvite => Method::Invite,
        }
    }

    fn refreshes(self) -> bool {
        matches!(self, Purpose::Update | Purpose::Reinvite)
    }
}
