//! Numbered events in their order: what comes twice is dropped, what comes early waits a moment for what is missing, and what
//! stays missing is a gap. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::MonoTime;

/// How long an event waits for those before it.
const WAIT: Duration = Duration::from_millis(500);

/// How many events wait at most.
const WAITING: usize = 256;

/// So many old numbers in a row mean that the peer counts anew.
const RESTARTED_AFTER: u32 = 64;

/// Events of one connection.
#[derive(Debug)]
pub struct Sequence<T> {
    /// The number that is due; none before the first.
    next: Option<u64>,
    waiting: BTreeMap<u64, T>,
    /// When the first that waits has waited long enough.
    give_up_at: Option<MonoTime>,
    /// Old numbers since the last good one.
    old: u32,
}

/// What is to be made of an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// It is next.
    Event(T),
    /// So many events are missing before the next one.
    Gap(u64),
    /// This number had been before; dropped.
    Duplicate(u64),
    /// The peer counts anew, from this number.
    Restarted(u64),
}

impl<T> Default for Sequence<T> {
    fn default() -> Sequence<T> {
        Sequence { next: None, waiting: BTreeMap::new(), give_up_at: None, old: 0 }
    }
}

impl<T> Sequence<T> {
    /// An event arrived; without a number it is taken as it comes.
    pub fn push(&mut self, now: MonoTime, number: Option<u64>, event: T, out: &mut Vec<Step<T>>) {
        let Some(number) = number else { return out.push(Step::Event(event)) };
        let next = *self.next.get_or_insert(number);
        if number < next {
            self.old += 1;
            if self.old < RESTARTED_AFTER {
                return out.push(Step::Duplicate(number));
            }
            out.push(Step::Restarted(number));
            *self = Sequence { next: Some(number), ..Sequence::default() };
        }
        self.old = 0;
        if self.waiting.insert(number, event).is_some() {
            out.push(Step::Duplicate(number));
        }
        self.release(out);
        if self.waiting.len() > WAITING {
            self.skip(out);
        }
        self.give_up_at = (!self.waiting.is_empty()).then(|| self.give_up_at.unwrap_or(now.after(WAIT)));
    }

    /// Gives up on what has not come in time.
    pub fn handle_timeout(&mut self, now: MonoTime, out: &mut Vec<Step<T>>) {
        if self.give_up_at.is_some_and(|at| at <= now) {
            self.skip(out);
            self.give_up_at = (!self.waiting.is_empty()).then(|| now.after(WAIT));
        }
    }

    /// When [`Sequence::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        self.give_up_at
    }

    fn release(&mut self, out: &mut Vec<Step<T>>) {
        while let Some(event) = self.next.and_then(|next| self.waiting.remove(&next)) {
            out.push(Step::Event(event));
            self.next = self.next.map(|next| next.saturating_add(1));
        }
    }

    /// Goes on with the first that waits.
    fn skip(&mut self, out: &mut Vec<Step<T>>) {
        let (Some(next), Some((first, _))) = (self.next, self.waiting.first_key_value()) else { return };
        out.push(Step::Gap(first - next));
        self.next = Some(*first);
        self.release(out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> MonoTime {
        MonoTime(ms * 1_000)
    }

    fn run(numbers: &[u64]) -> Vec<Step<u64>> {
        let mut sequence = Sequence::default();
        let mut out = Vec::new();
        numbers.iter().for_each(|n| sequence.push(at(0), Some(*n), *n, &mut out));
        sequence.handle_timeout(at(10_000), &mut out);
        out
    }

    #[test]
    fn order_is_restored_and_duplicates_go() {
        use Step::{Duplicate, Event};
        assert_eq!(run(&[5, 7, 6, 6, 8]), [Event(5), Event(6), Event(7), Duplicate(6), Event(8)]);
    }

    #[test]
    fn what_stays_away_is_a_gap() {
        use Step::{Event, Gap};
        assert_eq!(run(&[1, 2, 5, 6]), [Event(1), Event(2), Gap(2), Event(5), Event(6)]);
        let mut sequence = Sequence::default();
        let mut out = Vec::new();
        sequence.push(at(0), Some(1), 1, &mut out);
        sequence.push(at(10), Some(3), 3, &mut out);
        assert_eq!(sequence.poll_timeout(), Some(at(510)));
        sequence.handle_timeout(at(509), &mut out);
        assert_eq!(out, [Event(1)]);
        sequence.handle_timeout(at(510), &mut out);
        assert_eq!((out.len(), sequence.poll_timeout()), (3, None));
    }

    #[test]
    fn a_peer_may_count_anew_and_numbers_may_be_absurd() {
        let mut numbers = vec![u64::MAX - 1, u64::MAX];
        numbers.extend(1..=70);
        let steps = run(&numbers);
        assert_eq!(steps.iter().filter(|s| matches!(s, Step::Duplicate(_))).count(), 63);
        assert!(steps.contains(&Step::Restarted(64)) && steps.ends_with(&[Step::Event(70)]), "{steps:?}");
    }

    proptest! {
        #[test]
        fn nothing_is_given_twice_and_nothing_that_came_is_lost(mut numbers in proptest::collection::vec(100_u64..400, 1..100)) {
            numbers.insert(0, 100);
            let mut given: Vec<u64> = Vec::new();
            let steps = run(&numbers);
            for step in &steps {
                if let Step::Event(n) = step { given.push(*n) }
            }
            // Up to the last gap that was given up on, in order.
            prop_assert!(given.is_sorted());
            let mut distinct = numbers.clone();
            distinct.sort_unstable();
            distinct.dedup();
            // One time-out skips one gap; the rest still waits.
            let known: Vec<u64> = distinct.into_iter().filter(|n| given.last().is_some_and(|last| n <= last)).collect();
            prop_assert_eq!(given, known);
        }
    }
}
