//! Session timers: how a dialog whose peer has vanished is found out (RFC 4028).
//!
//! Both sides agree on an interval and on who refreshes. The refresher sends an UPDATE or a re-INVITE after half of it; when no
//! refresh comes, the other side ends the session shortly before the interval is over (§10).

use std::time::Duration;

use super::headers::Headers;
use crate::model::MonoTime;

pub use crate::model::dialog::{Refresher, SessionInterval};

/// What the box wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimerPolicy {
    /// The shortest interval it accepts, in seconds; RFC 4028 §4 knows none below 90.
    pub min_se_s: u32,
    /// The interval it asks for when the peer asks for none, in seconds.
    pub session_expires_s: u32,
}

impl Default for SessionTimerPolicy {
    fn default() -> SessionTimerPolicy {
        SessionTimerPolicy { min_se_s: 90, session_expires_s: 1_800 }
    }
}

/// The peer asked for less than the box accepts: 422 with Min-SE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntervalTooSmall;

/// A running session timer.
#[derive(Clone, Copy, Debug)]
pub struct SessionTimer {
    /// What was agreed on.
    pub interval: SessionInterval,
    refresh_at: Option<MonoTime>,
    expires_at: MonoTime,
}

/// What a session timer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerAction {
    /// Send an UPDATE or re-INVITE.
    Refresh,
    /// End the session.
    Expire,
}

impl SessionInterval {
    /// Agrees on the interval as the one who answers an INVITE or UPDATE (§9).
    pub fn answer(request: &Headers, policy: SessionTimerPolicy) -> Result<SessionInterval, IntervalTooSmall> {
        let peer_supports = request.lists("Supported", "timer") || request.lists("Require", "timer");
        let (asked, refresher) = session_expires(request).unzip();
        let min_se = delta_seconds(request, "Min-SE").unwrap_or(0);
        let seconds = match asked {
            Some(seconds) if seconds >= policy.min_se_s => seconds,
            Some(_) if peer_supports => return Err(IntervalTooSmall),
            // Asked for by a proxy on behalf of a peer that would not understand a 422: ours then.
            _ => policy.session_expires_s.max(min_se),
        };
        let refresher = match refresher.flatten() {
            _ if !peer_supports => Refresher::Us,
            Some("uas") => Refresher::Us,
            _ => Refresher::Peer,
        };
        Ok(SessionInterval { seconds, refresher })
    }

    /// Adds what the 2xx says of it.
    pub fn write_answer(&self, headers: &mut Headers) {
        let refresher = match self.refresher {
            Refresher::Us => "uas",
            Refresher::Peer => "uac",
        };
        headers.push("Session-Expires", format!("{};refresher={refresher}", self.seconds));
        if self.refresher == Refresher::Peer {
            headers.push("Require", "timer");
        }
    }

    /// Adds what a refresh of ours asks for.
    pub fn write_refresh(&self, headers: &mut Headers, policy: SessionTimerPolicy) {
        headers.push("Session-Expires", format!("{};refresher=uac", self.seconds));
        headers.push("Min-SE", policy.min_se_s.to_string());
    }

    /// What holds after the 2xx to a refresh of ours: without a word of it, the box goes on refreshing (§7.2).
    #[must_use]
    pub fn refreshed(self, response: &Headers) -> SessionInterval {
        match session_expires(response) {
            Some((seconds, Some("uas"))) => SessionInterval { seconds, refresher: Refresher::Peer },
            Some((seconds, _)) => SessionInterval { seconds, refresher: Refresher::Us },
            None => SessionInterval { refresher: Refresher::Us, ..self },
        }
    }

    /// Within how many milliseconds after a restart the box refreshes: the peer has been counting on, and may end the session
    /// 15 s after the refresh was due at the shortest interval, 90 s. A third of that, and up to half a minute for longer
    /// ones, spreads the refreshes of many dialogs.
    pub fn resumed_within_ms(&self) -> u64 {
        (u64::from(self.seconds) * 1_000 / 18).min(30_000)
    }

    /// What to ask for after a 422; none when it does not say.
    pub fn raised(self, response: &Headers) -> Option<SessionInterval> {
        let seconds = delta_seconds(response, "Min-SE").filter(|min| *min > self.seconds)?;
        Some(SessionInterval { seconds, ..self })
    }
}

impl SessionTimer {
    /// Starts anew: at the 2xx to an INVITE or UPDATE of either side.
    pub fn start(now: MonoTime, interval: SessionInterval) -> SessionTimer {
        let whole = Duration::from_secs(interval.seconds.into());
        let early = (whole / 3).min(Duration::from_secs(32));
        let refresh_at = (interval.refresher == Refresher::Us).then(|| now.after(whole / 2));
        SessionTimer { interval, refresh_at, expires_at: now.after(whole - early) }
    }

    /// Starts anew after a restart; where the box refreshes, it does so after `wait` (see
    /// [`SessionInterval::resumed_within_ms`]).
    pub fn resume(now: MonoTime, interval: SessionInterval, wait: Duration) -> SessionTimer {
        let timer = SessionTimer::start(now, interval);
        SessionTimer { refresh_at: timer.refresh_at.map(|_| now.after(wait)), ..timer }
    }

    /// Tries the refresh again then.
    pub fn retry_refresh(&mut self, at: MonoTime) {
        self.refresh_at = Some(at);
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn deadline(&self) -> MonoTime {
        self.refresh_at.map_or(self.expires_at, |at| at.min(self.expires_at))
    }

    /// What is due at `now`.
    pub fn handle_timeout(&mut self, now: MonoTime) -> Option<TimerAction> {
        if self.expires_at <= now {
            return Some(TimerAction::Expire);
        }
        self.refresh_at.take_if(|at| *at <= now).map(|_| TimerAction::Refresh)
    }
}

/// `Session-Expires: 1800;refresher=uac`, the refresher in lower case.
fn session_expires(headers: &Headers) -> Option<(u32, Option<&'static str>)> {
    let text = headers.text("Session-Expires")?;
    let (seconds, params) = text.split_once(';').unwrap_or((&text, ""));
    let refresher = super::values::header_params(params)
        .get("refresher")
        .and_then(|who| ["uac", "uas"].into_iter().find(|known| who.eq_ignore_ascii_case(known)));
    Some((seconds.trim().parse().ok()?, refresher))
}

fn delta_seconds(headers: &Headers, name: &str) -> Option<u32> {
    let text = headers.text(name)?;
    text.split(';').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::default();
        lines.iter().for_each(|(name, value)| headers.push(name, *value));
        headers
    }

    fn answer(lines: &[(&str, &str)]) -> Result<(u32, Refresher), IntervalTooSmall> {
        SessionInterval::answer(&headers(lines), SessionTimerPolicy::default()).map(|i| (i.seconds, i.refresher))
    }

    #[test]
    fn the_table_of_refreshers() {
        let timer = ("Supported", "uui, timer");
        assert_eq!(answer(&[timer, ("Session-Expires", "600")]), Ok((600, Refresher::Peer)));
        assert_eq!(answer(&[timer, ("x", "600 ;Refresher = UAC")]), Ok((600, Refresher::Peer)));
        assert_eq!(answer(&[timer, ("Session-Expires", "600;refresher=uas")]), Ok((600, Refresher::Us)));
        assert_eq!(answer(&[timer]), Ok((1_800, Refresher::Peer)));
        assert_eq!(answer(&[("Session-Expires", "600")]), Ok((600, Refresher::Us)));
        assert_eq!(answer(&[("Session-Expires", "garbage"), ("Min-SE", "3600")]), Ok((3_600, Refresher::Us)));
    }

    #[test]
    fn too_small_is_told_only_to_who_understands() {
        assert_eq!(answer(&[("k", "timer"), ("Session-Expires", "89")]), Err(IntervalTooSmall));
        assert_eq!(answer(&[("Session-Expires", "89")]), Ok((1_800, Refresher::Us)));
    }

    #[test]
    fn after_the_answer_to_a_refresh() {
        let ours = SessionInterval { seconds: 600, refresher: Refresher::Us };
        assert_eq!(ours.refreshed(&headers(&[])), ours);
        assert_eq!(ours.refreshed(&headers(&[("Session-Expires", "300;refresher=uas")])).refresher, Refresher::Peer);
        assert_eq!(ours.refreshed(&headers(&[("Session-Expires", "300;refresher=uac")])).seconds, 300);
        assert_eq!(ours.raised(&headers(&[("Min-SE", "900")])).map(|i| i.seconds), Some(900));
        assert_eq!(ours.raised(&headers(&[("Min-SE", "600")])), None);
    }

    #[test]
    fn deadlines_of_both_roles() {
        let second = |s: u64| MonoTime(s * 1_000_000);
        let mut peer = SessionTimer::start(second(0), SessionInterval { seconds: 90, refresher: Refresher::Peer });
        assert_eq!((peer.deadline(), peer.handle_timeout(second(59))), (second(60), None));
        assert_eq!(peer.handle_timeout(second(60)), Some(TimerAction::Expire));
        let mut us = SessionTimer::start(second(0), SessionInterval { refresher: Refresher::Us, seconds: 1_800 });
        assert_eq!((us.deadline(), us.handle_timeout(second(900))), (second(900), Some(TimerAction::Refresh)));
        assert_eq!(us.deadline(), second(1_768));
        us.retry_refresh(second(902));
        assert_eq!(us.handle_timeout(second(902)), Some(TimerAction::Refresh));
    }

    #[test]
    fn after_a_restart_the_box_refreshes_soon_and_the_peer_has_all_its_time() {
        let second = |s: u64| MonoTime(s * 1_000_000);
        let resume = |refresher, seconds| {
            let interval = SessionInterval { seconds, refresher };
            let mut timer = SessionTimer::resume(second(100), interval, Duration::from_millis(interval.resumed_within_ms()));
            let first = timer.deadline();
            timer.handle_timeout(first);
            (first, timer.deadline())
        };
        assert_eq!(resume(Refresher::Us, 90), (second(105), second(160)));
        assert_eq!(resume(Refresher::Us, 1_800), (second(130), second(1_868)));
        assert_eq!(resume(Refresher::Peer, 1_800), (second(1_868), second(1_868)));
    }
}
