//! Which recording is finished next, and when one that failed is tried again. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{MonoTime, Recording, RecordingNo};

/// Pauses before the second, third and every further try: a hiccup, a full disk that retention is clearing, a real fault.
const RETRY_AFTER: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(300)];

/// A recording to finish.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// At stage `Ended`.
    pub recording: Recording,
    /// How often it failed.
    failures: usize,
}

/// The recordings that wait, by when they are due, then by age.
#[derive(Debug, Default)]
pub struct Jobs {
    waiting: BTreeMap<(MonoTime, RecordingNo), Job>,
}

impl Jobs {
    /// A recording that ended.
    pub fn submit(&mut self, now: MonoTime, recording: Recording) {
        self.waiting.insert((now, recording.no), Job { recording, failures: 0 });
    }

    /// Takes the job that is due, if any.
    pub fn take_due(&mut self, now: MonoTime) -> Option<Job> {
        let first = self.waiting.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// When the next job is due.
    pub fn next_due(&self) -> Option<MonoTime> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// The job failed: it waits for its next try. Returns how long.
    pub fn failed(&mut self, now: MonoTime, mut job: Job) -> Duration {
        let pause = RETRY_AFTER[job.failures.min(RETRY_AFTER.len() - 1)];
        job.failures += 1;
        self.waiting.insert((now.after(pause), job.recording.no), job);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finish::testing::recording;

    fn at(seconds: u64) -> MonoTime {
        MonoTime(seconds * 1_000_000)
    }

    #[test]
    fn a_failing_job_waits_longer_each_time_and_lets_others_pass() {
        let mut jobs = Jobs::default();
        jobs.submit(at(0), recording(1, "a", 0));
        jobs.submit(at(0), recording(2, "b", 0));
        let first = jobs.take_due(at(0)).unwrap();
        assert_eq!(first.recording.no, RecordingNo(1));
        assert_eq!(jobs.failed(at(0), first), Duration::from_secs(5));
        assert_eq!(jobs.take_due(at(1)).unwrap().recording.no, RecordingNo(2));
        assert_eq!(jobs.take_due(at(4)), None);
        assert_eq!(jobs.next_due(), Some(at(5)));

        let mut pauses = Vec::new();
        for _ in 0..3 {
            let due = jobs.next_due().unwrap();
            let job = jobs.take_due(due).unwrap();
            pauses.push(jobs.failed(due, job).as_secs());
        }
        assert_eq!(pauses, [30, 300, 300]);
    }
}
