//! Server transactions (RFC 3261 §17.2; RFC 6026 §7.1 for INVITE answered with 2xx).
//!
//! ```text
//! INVITE:  Proceeding ──2xx──► Accepted ──────────────L──► done
//!               └──3xx-6xx──► Completed ──ACK──► Confirmed ──I──► done
//!                              (G resends)  └──H──► done
//! others:  Proceeding ──final──► Completed ──J──► done
//! ```

use std::time::Duration;

use super::{Due, Timing};
use crate::model::MonoTime;

/// An INVITE that is not answered within this time gets a 100 Trying (RFC 3261 §17.2.1).
const TRYING_AFTER: Duration = Duration::from_millis(200);

/// One request of a peer and our answer to it.
#[derive(Debug)]
pub struct ServerTransaction {
    timing: Timing,
    invite: bool,
    reliable: bool,
    state: State,
    /// What a retransmitted request gets.
    answer: Option<Vec<u8>>,
    /// 100 Trying and when it is due.
    trying: Option<(MonoTime, Vec<u8>)>,
    /// Timer G: when the answer is sent again, and the interval before that.
    resend: Option<(MonoTime, Duration)>,
    /// Timers H, I, J, L.
    ends_at: Option<MonoTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Proceeding,
    Accepted,
    Completed,
    Confirmed,
}

impl ServerTransaction {
    /// For an INVITE; `trying` is the 100 that it gets if no answer comes soon.
    pub fn invite(now: MonoTime, timing: Timing, reliable: bool, trying: Vec<u8>) -> ServerTransaction {
        let trying = Some((now.after(TRYING_AFTER), trying));
        ServerTransaction { trying, invite: true, ..ServerTransaction::other(timing, reliable) }
    }

    /// For any other request.
    pub fn other(timing: Timing, reliable: bool) -> ServerTransaction {
        let state = State::Proceeding;
        ServerTransaction { timing, invite: false, reliable, state, answer: None, trying: None, resend: None, ends_at: None }
    }

    /// Whether a final answer has been given.
    pub fn is_answered(&self) -> bool {
        self.state != State::Proceeding
    }

    /// Notes the final answer `bytes`, which the caller sends.
    pub fn answer(&mut self, now: MonoTime, success: bool, bytes: Vec<u8>) {
        self.trying = None;
        // The 2xx of an INVITE is its dialog's to repeat, so it is not kept here for the 32 s of timer L.
        self.answer = (!(self.invite && success)).then_some(bytes);
        let patience = self.timing.patience();
        if self.invite && success {
            self.state = State::Accepted;
            self.ends_at = Some(now.after(patience)); // L
        } else if self.invite {
            self.state = State::Completed;
            self.resend = (!self.reliable).then(|| (now.after(self.timing.t1), self.timing.t1)); // G
            self.ends_at = Some(now.after(patience)); // H
        } else {
            self.state = State::Completed;
            self.ends_at = Some(now.after(if self.reliable { Duration::ZERO } else { patience })); // J
        }
    }

    /// The request came again: what it gets. The 2xx of an INVITE is repeated by its dialog, not here (RFC 6026 §7.1).
    pub fn retransmitted(&self) -> Option<&[u8]> {
        match self.state {
            State::Proceeding | State::Completed => self.answer.as_deref(),
            State::Accepted | State::Confirmed => None,
        }
    }

    /// An ACK came; false when it is none for this transaction but for the dialog of a 2xx.
    pub fn acknowledged(&mut self, now: MonoTime) -> bool {
        if self.state == State::Completed {
            self.state = State::Confirmed;
            self.resend = None;
            self.ends_at = Some(now.after(if self.reliable { Duration::ZERO } else { self.timing.t4 })); // I
        }
        self.state == State::Confirmed
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn deadline(&self) -> Option<MonoTime> {
        let trying = self.trying.as_ref().map(|(at, _)| *at);
        let resend = self.resend.map(|(at, _)| at);
        [trying, resend, self.ends_at].into_iter().flatten().min()
    }

    /// What is due at `now`; call it until it gives nothing.
    pub fn handle_timeout(&mut self, now: MonoTime) -> Option<Due> {
        if self.ends_at.is_some_and(|at| at <= now) {
            return Some(Due::Done);
        }
        if let Some((_, bytes)) = self.trying.take_if(|(at, _)| *at <= now) {
            self.answer = Some(bytes.clone());
            return Some(Due::Send(bytes));
        }
        let (at, interval) = self.resend.as_mut().filter(|(at, _)| *at <= now)?;
        *interval = self.timing.backed_off(*interval);
        *at = now.after(*interval);
        self.answer.clone().map(Due::Send)
    }
}
