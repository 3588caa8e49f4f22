//! When something is wrong for long enough to be told, and when it is over. Pure.
//!
//! What comes and goes within seconds, as a target on a bad link, would be a flood of messages from ten thousand boxes: an alarm is
//! raised when its reason has held for a while, and cleared when it has been gone for a longer while.

use std::collections::BTreeMap;
use std::time::Duration;

use super::message::{Alarm, Change, State};
use crate::model::MonoTime;

/// So long a reason must hold.
pub const RAISED_AFTER: Duration = Duration::from_secs(5);
/// So long it must be gone.
pub const CLEARED_AFTER: Duration = Duration::from_secs(30);

/// What is wrong, by alarm, with a detail in words.
pub type Reasons = BTreeMap<Alarm, String>;

/// The alarms of a box.
#[derive(Debug, Default)]
pub struct Alarms(BTreeMap<Alarm, Entry>);

#[derive(Debug)]
struct Entry {
    detail: String,
    raised: bool,
    /// Since when it is other than it was told; none: it is as told.
    turned: Option<MonoTime>,
}

impl Alarms {
    /// Takes what is wrong now; gives what is to be told.
    pub fn update(&mut self, now: MonoTime, mut reasons: Reasons) -> Vec<Change> {
        let mut changes = Vec::new();
        self.0.retain(|alarm, entry| {
            let reason = reasons.remove(alarm);
            let (is_wrong, hold) = (reason.is_some(), if entry.raised { CLEARED_AFTER } else { RAISED_AFTER });
            entry.detail = reason.unwrap_or_else(|| std::mem::take(&mut entry.detail));
            if is_wrong == entry.raised {
                entry.turned = None;
                return is_wrong;
            }
            if now.since(*entry.turned.get_or_insert(now)) < hold {
                return true;
            }
            (entry.raised, entry.turned) = (is_wrong, None);
            let state = if is_wrong { State::Raised } else { State::Cleared };
            changes.push(Change { alarm: alarm.clone(), state, detail: entry.detail.clone() });
            is_wrong
        });
        let begin = |(alarm, detail)| (alarm, Entry { detail, raised: false, turned: Some(now) });
        self.0.extend(reasons.into_iter().map(begin));
        changes
    }

    /// Those that were told and are not over.
    pub fn raised(&self) -> impl Iterator<Item = &Alarm> {
        self.0.iter().filter(|(_, entry)| entry.raised).map(|(alarm, _)| alarm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(s: u64) -> MonoTime {
        MonoTime(s * 1_000_000)
    }

    fn down(detail: &str) -> Reasons {
        [(Alarm { alarm: "target-down", subject: "dc".into() }, detail.to_owned())].into()
    }

    /// What is told, as (second, state, detail), when each second has such reasons.
    fn told(seconds: impl Iterator<Item = (u64, Reasons)>) -> Vec<(u64, State, String)> {
        let mut alarms = Alarms::default();
        let mut told = Vec::new();
        for (s, reasons) in seconds {
            let changes = alarms.update(second(s), reasons);
            told.extend(changes.into_iter().map(|change| (s, change.state, change.detail)));
            let raised = told.last().is_some_and(|(_, state, _)| *state == State::Raised);
            assert_eq!(alarms.raised().count(), usize::from(raised));
        }
        assert!(alarms.0.is_empty(), "nothing is kept of what is over");
        told
    }

    #[test]
    fn an_outage_is_told_once_and_its_end_once() {
        let outage = |s: u64| if (10..1_000).contains(&s) { down(&format!("since {s}")) } else { Reasons::new() };
        let expected = [(15, State::Raised, "since 15".to_owned()), (1_030, State::Cleared, "since 999".to_owned())];
        assert_eq!(told((0..2_000).map(|s| (s, outage(s)))), expected);
    }

    #[test]
    fn what_flaps_is_told_once() {
        let flapping = |s: u64| if s < 600 && s % 20 < 12 { down("") } else { Reasons::new() };
        let states: Vec<State> = told((0..700).map(|s| (s, flapping(s)))).into_iter().map(|(_, state, _)| state).collect();
        assert_eq!(states, [State::Raised, State::Cleared]);
        let hiccups = |s: u64| if s < 600 && s.is_multiple_of(3) { down("") } else { Reasons::new() };
        assert_eq!(told((0..700).map(|s| (s, hiccups(s)))), []);
    }
}
