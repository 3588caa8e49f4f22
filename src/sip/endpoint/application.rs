//! What the application asks for: accept, reject, end, probe.

use std::net::SocketAddr;

use rsip::StatusCode;
use thiserror::Error;
use tracing::warn;

use super::super::dialog::{Dialog, DialogId, Pending};
use super::super::flow::{Flow, Transport};
use super::super::headers::Headers;
use super::super::session_timer::TimerAction;
use super::checks::{ALLOW, SUPPORTED};
use super::reply::Answer;
use super::uac::Purpose;
use super::{Availability, Endpoint};
use crate::model::{EndReason, MonoTime};

/// There is nothing to be answered in that dialog (any more): it was cancelled, or it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no request of the dialog waits for an answer")]
pub struct NothingPending;

impl Endpoint {
    /// Sets what an OPTIONS learns.
    pub fn set_availability(&mut self, availability: Availability) {
        self.availability = availability;
    }

    /// The way by which the dialog's INVITE came.
    pub fn flow(&self, id: DialogId) -> Option<Flow> {
        self.dialogs.get(&id).map(|dialog| dialog.path.flow)
    }

    /// Answers the dialog's pending INVITE or UPDATE with 200. An empty body goes without Content-Type.
    pub fn accept(&mut self, now: MonoTime, id: DialogId, content_type: &str, body: Vec<u8>) -> Result<(), NothingPending> {
        let (pending, siprec) = self.take_pending(id)?;
        let path = self.served.get(&pending.key).ok_or(NothingPending)?.reply.path;
        let mut headers = Headers::default();
        headers.push("Contact", self.contact(path.flow, siprec));
        headers.push("Allow", ALLOW);
        headers.push("Supported", SUPPORTED);
        pending.interval.write_answer(&mut headers);
        let answer = Answer::new(StatusCode::OK).headers(headers).body(content_type, body.clone());
        let bytes = self.answer(now, &pending.key, &answer).ok_or(NothingPending)?;
        let dialog = self.dialogs.get_mut(&id).ok_or(NothingPending)?;
        dialog.accepted(now, self.config.timing, pending, bytes, path, !body.is_empty());
        if !body.is_empty() {
            dialog.local_description = Some((content_type.to_owned(), body));
        }
        self.watch_dialog(id);
        Ok(())
    }

    /// Answers the dialog's pending INVITE or UPDATE with an error. A first INVITE takes its dialog with it; otherwise the
    /// dialog stays as it was.
    pub fn reject(
        &mut self,
        now: MonoTime,
        id: DialogId,
        status: StatusCode,
        reason: &str,
        headers: Headers,
    ) -> Result<(), NothingPending> {
        let (pending, _) = self.take_pending(id)?;
        if pending.initial {
            self.forget(id);
        }
        let answer = Answer::new(status).because(reason).headers(headers);
        self.answer(now, &pending.key, &answer).map(drop).ok_or(NothingPending)
    }

    /// Ends the dialog; no event follows. `reason` goes into a Reason header (RFC 3326). Where the ACK has not come yet, the BYE
    /// waits for it (RFC 3261 §15).
    pub fn bye(&mut self, now: MonoTime, id: DialogId, reason: &str) {
        if self.dialogs.get(&id).and_then(|dialog| dialog.pending.as_ref()).is_some() {
            let status = StatusCode::TemporarilyUnavailable;
            // Its dialog is there and something pends in it, so this can but succeed.
            let _ = self.reject(now, id, status, reason, Headers::default());
        }
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        match dialog.unacknowledged {
            Some(_) => dialog.hangup = Some(reason.to_owned()),
            None => self.hang_up(now, id, reason),
        }
    }

    /// Asks whether the peer still knows the dialog, by an OPTIONS in it. If not, or if it does not answer, the dialog ends
    /// with [`EndReason::PeerVanished`].
    pub fn probe(&mut self, now: MonoTime, id: DialogId) {
        self.place(now, id, Purpose::Probe, Headers::default(), Vec::new());
    }

    /// The deadline of a dialog has come: a 2xx without ACK, or its session timer.
    pub(super) fn dialog_due(&mut self, now: MonoTime, id: DialogId) {
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        if let Some(ok) = &mut dialog.unacknowledged {
            if ok.is_given_up(now) {
                return self.give_up(now, id, EndReason::NoAck, "No ACK");
            }
            if ok.is_due(now, self.config.timing) {
                let (flow, bytes) = (ok.path.flow, ok.bytes.clone());
                self.resend(flow, bytes);
            }
        }
        let timer = self.dialogs.get_mut(&id).and_then(|dialog| dialog.timer.as_mut());
        match timer.and_then(|timer| timer.handle_timeout(now)) {
            Some(TimerAction::Expire) => return self.give_up(now, id, EndReason::PeerVanished, "Session timer expired"),
            Some(TimerAction::Refresh) => self.refresh(now, id),
            None => {}
        }
        self.watch_dialog(id);
    }

    /// Ends a dialog whose peer no longer does what it must.
    pub(super) fn give_up(&mut self, now: MonoTime, id: DialogId, reason: EndReason, text: &str) {
        let Some(dialog) = self.dialogs.get(&id) else { return };
        warn!(call_id = dialog.key.call_id, peer = %dialog.path.flow.remote, "{text}: the dialog ends");
        self.place_bye(now, id, text);
        self.end(id, reason);
    }

    /// Sends a BYE and forgets the dialog.
    pub(super) fn hang_up(&mut self, now: MonoTime, id: DialogId, reason: &str) {
        self.place_bye(now, id, reason);
        self.forget(id);
    }

    fn place_bye(&mut self, now: MonoTime, id: DialogId, reason: &str) {
        let mut headers = Headers::default();
        let text: String = reason.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '\\')).collect();
        headers.push("Reason", format!("SIP;text=\"{text}\""));
        self.place(now, id, Purpose::Bye, headers, Vec::new());
    }

    fn take_pending(&mut self, id: DialogId) -> Result<(Pending, bool), NothingPending> {
        let dialog: &mut Dialog = self.dialogs.get_mut(&id).ok_or(NothingPending)?;
        Ok((*dialog.pending.take().ok_or(NothingPending)?, dialog.siprec))
    }

    /// Where the peer reaches us; marked as a recording server for a SIPREC peer (RFC 7866 §6.2).
    pub(super) fn contact(&self, flow: Flow, siprec: bool) -> String {
        let transport = match flow.transport {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
            Transport::Tls => ";transport=tls",
        };
        format!("<sip:{}{transport}>{}", self.own_address(flow), if siprec { ";+sip.srs" } else { "" })
    }

    /// Our address on a flow, as the peer shall know it.
    pub(super) fn own_address(&self, flow: Flow) -> SocketAddr {
        SocketAddr::new(self.config.advertise.unwrap_or(flow.local.ip()), flow.local.port())
    }
}
