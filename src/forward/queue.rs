//! What is delivered next to which target, and when a failure is tried again. Pure.
//!
//! Each target has its own line, one delivery at a time, so a slow or dead one never holds up another. The oldest goes first
//! among those that failed least, so that one which cannot be delivered lets the others pass. After a failure the target rests,
//! for pauses that double from one second to five minutes; half of each is random, so that a hundred boxes do not come back at
//! once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{MonoTime, RecordingNo};

use super::target::Delivery;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Which target, by its place in the configuration.
pub type TargetNo = usize;

/// Everything that still has to be delivered.
#[derive(Debug)]
pub struct Queue {
    lines: Vec<Line>,
    open: BTreeMap<RecordingNo, Open>,
}

/// A recording, and how many targets have not confirmed it yet.
#[derive(Debug)]
struct Open {
    delivery: Arc<Delivery>,
    unconfirmed: usize,
}

/// What waits for one target.
#[derive(Debug, Default)]
struct Line {
    waiting: BTreeSet<Waiting>,
    at_work: Option<Waiting>,
    /// Failures in a row.
    failures: u32,
    rests_until: MonoTime,
}

/// The order of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    failures: u32,
    no: RecordingNo,
}

impl Queue {
    /// For so many targets.
    pub fn new(targets: usize) -> Queue {
        Queue { lines: (0..targets).map(|_| Line::default()).collect(), open: BTreeMap::new() }
    }

    /// A recording to be delivered to every target. One that is known already stays as it is.
    pub fn submit(&mut self, delivery: Delivery) {
        let no = delivery.no;
        if self.lines.is_empty() || self.open.contains_key(&no) {
            return;
        }
        self.open.insert(no, Open { delivery: Arc::new(delivery), unconfirmed: self.lines.len() });
        for line in &mut self.lines {
            line.waiting.insert(Waiting { failures: 0, no });
        }
    }

    /// Takes the next delivery for `target`, which is busy from now on. None: it is busy, it rests, or nothing waits.
    pub fn next(&mut self, target: TargetNo, now: MonoTime) -> Option<Arc<Delivery>> {
        let line = self.lines.get_mut(target).filter(|line| line.at_work.is_none() && line.rests_until <= now)?;
        let next = line.waiting.pop_first()?;
        line.at_work = Some(next);
        self.open.get(&next.no).map(|open| open.delivery.clone())
    }

    /// When [`Queue::next`] will have something that it does not have now, as long as nothing else happens.
    pub fn next_due(&self) -> Option<MonoTime> {
        let idle = self.lines.iter().filter(|line| line.at_work.is_none() && !line.waiting.is_empty());
        idle.map(|line| line.rests_until).min()
    }

    /// `target` confirmed its delivery. True: it was the last target, the recording is delivered.
    pub fn confirmed(&mut self, target: TargetNo) -> bool {
        let Some(no) = self.reached(target) else { return false };
        let Some(open) = self.open.get_mut(&no) else { return false };
        open.unconfirmed = open.unconfirmed.saturating_sub(1);
        let delivered = open.unconfirmed == 0;
        if delivered {
            self.open.remove(&no);
        }
        delivered
    }

    /// `target` can never take its delivery; a person has to look. The recording stays undelivered.
    pub fn set_aside(&mut self, target: TargetNo) {
        self.reached(target);
    }

    /// The delivery failed for now. Returns how long the target rests; `random` may be any number.
    pub fn failed(&mut self, target: TargetNo, now: MonoTime, random: u64) -> Duration {
        let Some(line) = self.lines.get_mut(target) else { return Duration::ZERO };
        line.waiting.extend(line.at_work.take().map(|w| Waiting { failures: w.failures.saturating_add(1), ..w }));
        let pause = pause_after(line.failures, random);
        line.failures = line.failures.saturating_add(1);
        line.rests_until = now.after(pause);
        pause
    }

    /// The target is alive. Returns what it was working on.
    fn reached(&mut self, target: TargetNo) -> Option<RecordingNo> {
        let line = self.lines.get_mut(target)?;
        line.failures = 0;
        line.rests_until = MonoTime::default();
        line.at_work.take().map(|done| done.no)
    }
}

/// The pause after a failure that `failures` others preceded in a row.
fn pause_after(failures: u32, random: u64) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
    let half = full / 2;
    half + Duration::from_micros(random % (half.as_micros() as u64 + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::RecordingId;

    const T0: MonoTime = MonoTime(1_000_000_000);

    fn queue(targets: usize, recordings: u64) -> Queue {
        let mut queue = Queue::new(targets);
        (1..=recordings).rev().for_each(|no| queue.submit(delivery(no)));
        queue
    }

    fn delivery(no: u64) -> Delivery {
        Delivery { no: RecordingNo(no), id: RecordingId("a".into()), path: "101/2026-03-02/a".into(), files: Vec::new() }
    }

    fn next(queue: &mut Queue, target: TargetNo, now: MonoTime) -> Option<u64> {
        queue.next(target, now).map(|d| d.no.0)
    }

    #[test]
    fn oldest_first_and_delivered_when_the_last_target_confirms() {
        let mut queue = queue(2, 2);
        assert_eq!(next(&mut queue, 0, T0), Some(1));
        assert_eq!(next(&mut queue, 0, T0), None, "one at a time");
        assert!(!queue.confirmed(0));
        assert_eq!(next(&mut queue, 0, T0), Some(2));
        assert_eq!(next(&mut queue, 1, T0), Some(1));
        assert!(queue.confirmed(1));
        queue.submit(delivery(2));
        assert!(!queue.confirmed(0), "known already: submitted once");
        assert_eq!(next(&mut queue, 0, T0), None);
    }

    #[test]
    fn a_dead_target_never_holds_up_another() {
        let mut queue = queue(2, 1);
        assert_eq!(next(&mut queue, 0, T0), Some(1));
        assert_eq!(queue.next_due(), Some(MonoTime(0)), "the other one");
        assert_eq!(next(&mut queue, 1, T0), Some(1));
        assert_eq!(queue.next_due(), None, "both are busy");
        assert_eq!(queue.failed(0, T0, 0), Duration::from_millis(500));
        assert!(!queue.confirmed(1));
        assert_eq!(queue.next_due(), Some(T0.after(Duration::from_millis(500))));
    }

    #[test]
    fn a_recording_that_fails_lets_the_others_pass() {
        let mut queue = queue(1, 3);
        assert_eq!(next(&mut queue, 0, T0), Some(1));
        queue.failed(0, T0, u64::MAX);
        assert_eq!(next(&mut queue, 0, T0), None, "the target rests");
        let due = queue.next_due().unwrap();
        for no in [2, 3, 1] {
            assert_eq!(next(&mut queue, 0, due), Some(no));
            queue.confirmed(0);
        }
    }

    #[test]
    fn a_target_that_comes_back_starts_afresh() {
        let mut queue = queue(1, 2);
        let mut now = T0;
        for _ in 0..4 {
            next(&mut queue, 0, now).unwrap();
            queue.failed(0, now, 0);
            now = queue.next_due().unwrap();
        }
        next(&mut queue, 0, now).unwrap();
        assert!(queue.confirmed(0));
        next(&mut queue, 0, now).unwrap();
        assert_eq!(queue.failed(0, now, 0), Duration::from_millis(500));
    }

    #[test]
    fn what_is_set_aside_is_never_offered_again() {
        let mut queue = queue(1, 2);
        assert_eq!(next(&mut queue, 0, T0), Some(1));
        queue.set_aside(0);
        assert_eq!(next(&mut queue, 0, T0), Some(2));
        assert!(queue.confirmed(0));
        assert_eq!((next(&mut queue, 0, T0), queue.next_due()), (None, None));
    }

    #[test]
    fn without_a_target_there_is_nothing_to_do() {
        let mut queue = queue(0, 1);
        assert_eq!((next(&mut queue, 0, T0), queue.next_due()), (None, None));
    }

    proptest! {
        #[test]
        fn pauses_double_up_to_five_minutes(failures: u32, random: u64) {
            let full = Duration::from_secs(1 << failures.min(16)).min(Duration::from_secs(300));
            let pause = pause_after(failures, random);
            prop_assert!(full / 2 <= pause && pause <= full, "{:?} of {:?}", pause, full);
        }

        /// Whatever targets answer, each recording is delivered exactly once, by its last confirmation.
        #[test]
        fn everything_arrives(answers in prop::collection::vec((0..3usize, prop::bool::weighted(0.3)), 0..200)) {
            let mut queue = queue(3, 5);
            let (mut now, mut delivered) = (T0, 0);
            let all = (0..15).flat_map(|_| (0..3).map(|target| (target, true)));
            for (target, works) in answers.into_iter().chain(all) {
                now = now.after(Duration::from_secs(300));
                if queue.next(target, now).is_some() {
                    if works {
                        delivered += u32::from(queue.confirmed(target));
                    } else {
                        queue.failed(target, now, 7);
                    }
                }
            }
            prop_assert_eq!((delivered, queue.next_due()), (5, None));
            prop_assert!(queue.open.is_empty());
        }
    }
}
