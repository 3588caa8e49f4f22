//! Client transactions (RFC 3261 §17.1; RFC 6026 §7.2 for INVITE answered with 2xx), for the requests that the box itself sends.
//!
//! ```text
//! INVITE:  Calling ──1xx──► Proceeding ──2xx──► Accepted ──M──► done
//!          (A resends)            └──3xx-6xx──► Completed ──D──► done
//! others:  Calling ──1xx──► Proceeding ──final──► Completed ──K──► done
//!          (E resends)      (E at T2)
//! ```
//! Timers B and F end it while no final answer has come.

use std::time::Duration;

use super::{Due, Timing};
use crate::model::MonoTime;

/// A proxy gives up on an INVITE that only rings after three minutes (timer C, RFC 3261 §16.6); so does the box.
const PROCEEDING_AT_MOST: Duration = Duration::from_secs(180);
/// Timer D over an unreliable transport (RFC 3261 §17.1.1.2).
const TIMER_D: Duration = Duration::from_secs(32);

/// One request of ours and the answer to it.
#[derive(Debug)]
pub struct ClientTransaction {
    timing: Timing,
    invite: bool,
    reliable: bool,
    state: State,
    request: Vec<u8>,
    /// Timers A and E: when the request is sent again, and the interval before that.
    resend: Option<(MonoTime, Duration)>,
    /// Timers B, D, F, K, M.
    ends_at: MonoTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Calling,
    Proceeding,
    Accepted,
    Completed,
}

/// What a response is for the transaction's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Of no importance: provisional, or a repeated one.
    Nothing,
    /// The final answer.
    Final,
    /// A final answer to an INVITE once more: the ACK was lost, send it again.
    AckAgain,
}

impl ClientTransaction {
    /// A transaction whose `request` the caller sends now.
    pub fn new(now: MonoTime, timing: Timing, invite: bool, reliable: bool, request: Vec<u8>) -> ClientTransaction {
        let resend = (!reliable).then(|| (now.after(timing.t1), timing.t1));
        ClientTransaction {
            timing,
            invite,
            reliable,
            state: State::Calling,
            request,
            resend,
            ends_at: now.after(timing.patience()),
        }
    }

    /// A response with status `code` came.
    pub fn response(&mut self, now: MonoTime, code: u16) -> Heard {
        match (self.state, code) {
            (State::Calling, ..200) => {
                self.state = State::Proceeding;
                if self.invite {
                    self.resend = None;
                    self.ends_at = now.after(PROCEEDING_AT_MOST);
                }
                Heard::Nothing
            }
            (State::Proceeding, ..200) | (State::Completed | State::Accepted, ..200) => Heard::Nothing,
            (State::Calling | State::Proceeding, _) => {
                self.finish(now, code);
                Heard::Final
            }
            (State::Completed | State::Accepted, _) if self.invite => Heard::AckAgain,
            (State::Completed | State::Accepted, _) => Heard::Nothing,
        }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn deadline(&self) -> MonoTime {
        self.resend.map_or(self.ends_at, |(at, _)| at.min(self.ends_at))
    }

    /// What is due at `now`; call it until it gives nothing.
    pub fn handle_timeout(&mut self, now: MonoTime) -> Option<Due> {
        if self.ends_at <= now {
            let answered = matches!(self.state, State::Accepted | State::Completed);
            return Some(if answered { Due::Done } else { Due::TimedOut });
        }
        let (at, interval) = self.resend.as_mut().filter(|(at, _)| *at <= now)?;
        // An INVITE doubles without bound (timer A); others stop at T2, where they are at once after a provisional (timer E).
        *interval = match (self.invite, self.state) {
            (true, _) => *interval * 2,
            (false, State::Proceeding) => self.timing.t2,
            (false, _) => self.timing.backed_off(*interval),
        };
        *at = now.after(*interval);
        Some(Due::Send(self.request.clone()))
    }

    fn finish(&mut self, now: MonoTime, code: u16) {
        self.resend = None;
        let (state, linger) = match (self.invite, code) {
            (true, ..300) => (State::Accepted, self.timing.patience()),
            (true, _) if !self.reliable => (State::Completed, TIMER_D),
            (false, _) if !self.reliable => (State::Completed, self.timing.t4),
            _ => (State::Completed, Duration::ZERO),
        };
        self.state = state;
        self.ends_at = now.after(linger);
    }
}
