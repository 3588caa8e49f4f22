//! What happened in a conversation, as far as there is room for it: changes of attached data and steps, packed. Pure.
//!
//! A busy switch says a lot: a thousand calls may bring hundreds of changes each within a minute. So a conversation has a limit, and
//! all of them together have one, too: beyond it, those that take more than their share are no longer added to. What is left
//! out is counted; what the attached data is now does not depend on it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::History;
use crate::model::conversation::{DataChange, Step, StepKind};

/// What the history of one conversation may take.
const MAX_BYTES: usize = 128 * 1_024;

/// What all of them may take before shares count.
const ALL_BYTES: usize = 8 * 1_024 * 1_024;

/// Parties in calls whose latest step is remembered.
const PARTIES: usize = 256;

/// The history of a conversation.
#[derive(Debug, Default)]
pub(in crate::cti) struct Past {
    pub(in crate::cti) changes: History<DataChange>,
    pub(in crate::cti) steps: History<Step>,
    /// Changes and steps that there was no room for.
    pub(in crate::cti) left_out: u32,
    latest: VecDeque<(Arc<str>, Arc<str>, StepKind)>,
}

/// How much all conversations have, and how many they are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shares {
    pub(super) bytes: usize,
    pub(super) conversations: usize,
}

impl Shares {
    /// What a conversation may take now.
    fn each(self) -> usize {
        if self.bytes < ALL_BYTES { MAX_BYTES } else { MAX_BYTES.min(ALL_BYTES / self.conversations.max(1)) }
    }
}

impl Past {
    /// Memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.changes.bytes() + self.steps.bytes()
    }

    /// Attached data was changed.
    pub(super) fn change(&mut self, shares: Shares, change: &DataChange) {
        let bytes = change.key.len() + change.value.as_ref().map_or(0, String::len);
        if self.has_room(shares, bytes) {
            self.changes.push(change);
        }
    }

    /// Something happened to a party. Every monitored DN of the call tells it, so only once.
    pub(super) fn step(&mut self, shares: Shares, step: &Step) {
        match self.latest.iter_mut().find(|(dn, conn_id, _)| *dn == step.dn && *conn_id == step.conn_id) {
            Some((_, _, kind)) if *kind == step.kind => return,
            Some((_, _, kind)) => *kind = step.kind,
            None => {
                self.latest.truncate(PARTIES - 1);
                self.latest.push_front((step.dn.clone(), step.conn_id.clone(), step.kind));
            }
        }
        if self.has_room(shares, 0) {
            self.steps.push(step);
        }
    }

    /// Two conversations have become one.
    pub(super) fn unite(&mut self, other: Past) {
        let mut changes: Vec<_> = self.changes.iter().chain(other.changes.iter()).collect();
        changes.sort_by_key(|change| change.time);
        let mut steps: Vec<_> = self.steps.iter().chain(other.steps.iter()).collect();
        steps.sort_by_key(|step| step.time);
        (self.changes, self.steps) = (changes.into_iter().collect(), steps.into_iter().collect());
        self.left_out += other.left_out;
        self.latest.extend(other.latest);
        self.latest.truncate(PARTIES);
    }

    fn has_room(&mut self, shares: Shares, bytes: usize) -> bool {
        let has_room = self.bytes() + bytes <= shares.each();
        self.left_out += u32::from(!has_room);
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WallTime;

    fn change(n: i64, value: &str) -> DataChange {
        DataChange { time: WallTime(n), key: "key".into(), value: Some(value.into()), dn: "7001".into() }
    }

    #[test]
    fn a_conversation_that_says_too_much_is_cut_off_and_says_so() {
        let mut past = Past::default();
        (0..1_000).for_each(|n| past.change(Shares::default(), &change(n, &"x".repeat(1_000))));
        assert!(past.bytes() <= MAX_BYTES + MAX_BYTES / 4, "{}", past.bytes());
        assert_eq!(past.changes.len() + past.left_out as usize, 1_000);
        assert!(past.changes.len() > 70, "{}", past.changes.len());
    }

    #[test]
    fn when_all_is_full_those_with_little_go_on() {
        let full = Shares { bytes: ALL_BYTES, conversations: 1_000 };
        let (mut large, mut small) = (Past::default(), Past::default());
        (0..20).for_each(|n| large.change(Shares::default(), &change(n, &"x".repeat(1_000))));
        (0..20).for_each(|n| large.change(full, &change(20 + n, "y")));
        (0..20).for_each(|n| small.change(full, &change(n, "y")));
        assert_eq!((large.changes.len(), large.left_out), (20, 20));
        assert_eq!((small.changes.len(), small.left_out), (20, 0));
    }

    #[test]
    fn what_every_party_tells_is_one_step() {
        let mut past = Past::default();
        let mut step = |kind, dn: &str| {
            past.step(Shares::default(), &Step { time: WallTime(0), kind, dn: dn.into(), conn_id: "c1".into() });
        };
        step(StepKind::Held, "7001");
        step(StepKind::Held, "7001");
        step(StepKind::Held, "7002");
        step(StepKind::Retrieved, "7001");
        step(StepKind::Held, "7001");
        assert_eq!(past.steps.len(), 4);
    }
}
