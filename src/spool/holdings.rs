//! What each segment holds, and so when it may go.
//!
//! A segment is deleted as a whole, and with it every description in it. The rules, which keep two promises: no audio goes
//! before its recording is finished, and a ledger rebuilt from what is left says of no recording less than is true.
//!
//! 1. The newest segment stays: its header says which recording numbers were used.
//! 2. A segment stays while a recording of a stage before `Finished` has blocks in it.
//! 3. A segment stays while it holds the *last* description of a recording that is not `Released`, or that has left a trace (a
//!    block, an older description) in another segment, because a rebuild would take that trace for a recording still to be
//!    finished. Such a description is *carried*: written once more at the end, so that the last one is elsewhere.
//! 4. They are carried once the segments that wait for it take [`WORTH`] times their bytes. So the box writes no more than an
//!    eighth on top of the audio, however many recordings it still knows.
//!
//! A released recording without any trace in the segments is known to the ledger alone, and forgotten with it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::index::CommitIndex;
use super::ledger::Row;
use super::segment::{SegmentNo, What};
use crate::model::{RecordingNo, Stage};

/// Bytes that become free for each byte carried, at least.
pub const WORTH: u64 = 8;

/// All segments, and the recordings that have left a trace in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    segments: BTreeMap<SegmentNo, Segment>,
    recordings: BTreeMap<RecordingNo, Traces>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    bytes: u64,
    /// First and last commit in it.
    commits: Option<(u64, u64)>,
    /// Everyone with a record in it, and whether a block is among them.
    holds: BTreeMap<RecordingNo, bool>,
}

/// Where a recording has left traces, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Traces {
    stage: Stage,
    first_commit: u64,
    last_commit: u64,
    /// In how many segments.
    segments: usize,
    /// Where the last description stands, and its length.
    described: Option<(SegmentNo, u32)>,
}

impl Holdings {
    /// A segment is there; `bytes` is its length.
    pub fn add_segment(&mut self, no: SegmentNo, bytes: u64) {
        self.segments.insert(no, Segment { bytes, commits: None, holds: BTreeMap::new() });
    }

    /// Something was appended to a segment, whether or not a commit comes of it.
    pub fn grow(&mut self, no: SegmentNo, bytes: u64) {
        if let Some(segment) = self.segments.get_mut(&no) {
            segment.bytes += bytes;
        }
    }

    /// Enters a commit. False when its segment is not there, in which case nothing is entered.
    #[must_use]
    pub fn add_commit(&mut self, number: u64, index: &CommitIndex) -> bool {
        let Some(segment) = self.segments.get_mut(&index.segment) else { return false };
        segment.commits = Some((segment.commits.map_or(number, |(first, _)| first), number));
        for entry in &index.entries {
            let is_block = matches!(entry.what, What::Block { .. });
            let traces = self.recordings.entry(entry.recording).or_insert_with(|| Traces::new(number));
            traces.last_commit = number;
            match segment.holds.get_mut(&entry.recording) {
                Some(has_block) => *has_block |= is_block,
                None => {
                    segment.holds.insert(entry.recording, is_block);
                    traces.segments += 1;
                }
            }
            if !is_block {
                traces.described = Some((index.segment, entry.len));
            }
        }
        true
    }

    /// How far a recording is. One without a trace is of no interest.
    pub fn set_stage(&mut self, no: RecordingNo, stage: Stage) {
        if let Some(traces) = self.recordings.get_mut(&no) {
            traces.stage = stage;
        }
    }

    /// What the ledger must say of a recording, as far as the segments tell.
    pub fn row(&self, no: RecordingNo) -> Option<Row> {
        let traces = self.recordings.get(&no)?;
        let last_commit = if traces.stage == Stage::Recording { u64::MAX } else { traces.last_commit };
        Some(Row { stage: traces.stage, first_commit: traces.first_commit, last_commit })
    }

    /// Every recording that has left a trace.
    pub fn recordings(&self) -> impl Iterator<Item = RecordingNo> {
        self.recordings.keys().copied()
    }

    /// Every recording whose audio is still needed.
    pub fn with_audio_to_keep(&self) -> BTreeSet<RecordingNo> {
        let blocks = self.segments.values().flat_map(|segment| &segment.holds).filter(|(_, has_block)| **has_block);
        blocks.map(|(no, _)| *no).filter(|no| self.stage(*no) < Stage::Finished).collect()
    }

    /// The newest segment.
    pub fn newest(&self) -> Option<SegmentNo> {
        self.segments.keys().next_back().copied()
    }

    /// Bytes of all segments.
    pub fn used_bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    /// The oldest segment that may go now, with the numbers of its commits.
    pub fn removable(&self) -> Option<(SegmentNo, Option<RangeInclusive<u64>>)> {
        let (no, segment) =
            self.without_audio_to_keep().find(|(no, segment)| self.to_carry_from(*no, segment).next().is_none())?;
        Some((no, segment.commits.map(|(first, last)| first..=last)))
    }

    /// The recordings whose last description is to be carried now, so that segments can go.
    pub fn to_carry(&self) -> BTreeSet<RecordingNo> {
        let (mut recordings, mut carried_bytes, mut freed_bytes) = (BTreeSet::new(), 0, 0);
        for (no, segment) in self.without_audio_to_keep() {
            freed_bytes += segment.bytes;
            for (recording, bytes) in self.to_carry_from(no, segment) {
                carried_bytes += u64::from(bytes);
                recordings.insert(recording);
            }
        }
        if freed_bytes >= carried_bytes.saturating_mul(WORTH) { recordings } else { BTreeSet::new() }
    }

    /// A segment is gone.
    pub fn remove_segment(&mut self, no: SegmentNo) {
        let holds = self.segments.remove(&no).map(|segment| segment.holds).unwrap_or_default();
        for recording in holds.keys() {
            let Some(traces) = self.recordings.get_mut(recording) else { continue };
            traces.segments -= 1; // counted up when this segment's entry for it was made
            traces.described = traces.described.filter(|(segment, _)| *segment != no);
            if traces.segments == 0 {
                self.recordings.remove(recording);
            }
        }
    }

    /// Rules 1 and 2.
    fn without_audio_to_keep(&self) -> impl Iterator<Item = (SegmentNo, &Segment)> {
        let newest = self.newest();
        let keeps = |(no, has_block): (&RecordingNo, &bool)| *has_block && self.stage(*no) < Stage::Finished;
        let all = self.segments.iter().map(|(no, segment)| (*no, segment));
        all.filter(move |(no, segment)| Some(*no) != newest && !segment.holds.iter().any(keeps))
    }

    /// Rule 3; with the length of each description.
    fn to_carry_from(&self, segment: SegmentNo, held: &Segment) -> impl Iterator<Item = (RecordingNo, u32)> {
        held.holds.keys().filter_map(move |no| {
            let traces = self.recordings.get(no)?;
            let (_, bytes) = traces.described.filter(|(described_in, _)| *described_in == segment)?;
            (traces.stage != Stage::Released || traces.segments > 1).then_some((*no, bytes))
        })
    }

    fn stage(&self, no: RecordingNo) -> Stage {
        self.recordings.get(&no).map_or(Stage::Recording, |traces| traces.stage)
    }
}

impl Traces {
    fn new(first_commit: u64) -> Traces {
        Traces { stage: Stage::Recording, first_commit, last_commit: first_commit, segments: 0, described: None }
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::Entry;
    use super::*;
    use crate::model::{BlockNo, LegNo};

    const BLOCK: What = What::Block { leg: LegNo(0), number: BlockNo(0) };
    const DESCRIPTION: What = What::Description;

    /// Segments 1, 2 … and, for each, who has what in it; one commit each.
    fn holdings(segments: &[&[(u64, What)]]) -> Holdings {
        let mut holdings = Holdings::default();
        for (n, records) in (1..).zip(segments) {
            holdings.add_segment(SegmentNo(n), 1_000);
            let entries = records.iter().map(|(no, what)| Entry { recording: RecordingNo(*no), what: *what, len: 10 }).collect();
            assert!(holdings.add_commit(n * 10, &CommitIndex { segment: SegmentNo(n), offset: 0, entries }));
        }
        holdings
    }

    fn at(mut holdings: Holdings, stages: &[(u64, Stage)]) -> Holdings {
        stages.iter().for_each(|(no, stage)| holdings.set_stage(RecordingNo(*no), *stage));
        holdings
    }

    fn removable(holdings: &Holdings) -> Option<u64> {
        holdings.removable().map(|(no, _)| no.0)
    }

    fn carried(holdings: &Holdings) -> Vec<u64> {
        holdings.to_carry().into_iter().map(|no| no.0).collect()
    }

    #[test]
    fn audio_stays_until_its_recording_is_finished() {
        let two = holdings(&[&[(1, DESCRIPTION), (1, BLOCK)], &[(1, DESCRIPTION)]]);
        assert_eq!(removable(&two), None, "not described: taken for running");
        assert_eq!(removable(&at(two.clone(), &[(1, Stage::Ended)])), None);
        assert_eq!(removable(&at(two, &[(1, Stage::Finished)])), Some(1));
    }

    #[test]
    fn the_newest_segment_stays() {
        let one = at(holdings(&[&[(1, DESCRIPTION)]]), &[(1, Stage::Released)]);
        assert_eq!(removable(&one), None);
    }

    #[test]
    fn the_last_description_of_what_is_not_released_is_carried_first() {
        let mut h = at(holdings(&[&[(1, BLOCK), (1, DESCRIPTION)], &[(2, BLOCK)]]), &[(1, Stage::Delivered)]);
        assert_eq!((removable(&h), carried(&h)), (None, vec![1]));
        let entries = vec![Entry { recording: RecordingNo(1), what: DESCRIPTION, len: 10 }];
        assert!(h.add_commit(21, &CommitIndex { segment: SegmentNo(2), offset: 10, entries }));
        assert_eq!((removable(&h), carried(&h)), (Some(1), vec![]));
        h.remove_segment(SegmentNo(1));
        assert_eq!(h.row(RecordingNo(1)).map(|row| row.last_commit), Some(21));
    }

    #[test]
    fn a_released_recording_is_carried_only_while_it_has_older_traces() {
        // 3 is running and pins segment 1, in which 1 has left blocks as well.
        let pinned: [&[_]; 3] = [&[(1, BLOCK), (3, BLOCK)], &[(1, DESCRIPTION)], &[(3, BLOCK)]];
        let pinned = at(holdings(&pinned), &[(1, Stage::Released)]);
        assert_eq!((removable(&pinned), carried(&pinned)), (None, vec![1]));
        let mut free = at(pinned, &[(3, Stage::Finished)]);
        assert_eq!(removable(&free), Some(1), "the older first: then nothing is left to be carried");
        free.remove_segment(SegmentNo(1));
        assert_eq!((removable(&free), carried(&free)), (Some(2), vec![]));
        free.remove_segment(SegmentNo(2));
        assert_eq!(free.recordings().collect::<Vec<_>>(), [RecordingNo(3)]);
        assert_eq!(free.used_bytes(), 1_000);
    }

    #[test]
    fn carrying_waits_until_it_is_worth_it() {
        let bytes = |h: &Holdings| h.to_carry().len();
        let many: Vec<_> = (1..=10).map(|no| (no, DESCRIPTION)).collect();
        let stages: Vec<_> = (1..=10).map(|no| (no, Stage::Delivered)).collect();
        let mut h = at(holdings(&[&many]), &stages);
        h.segments.get_mut(&SegmentNo(1)).unwrap().bytes = 700; // 100 of them descriptions
        h.add_segment(SegmentNo(2), 100);
        assert_eq!((removable(&h), bytes(&h)), (None, 0));
        h.add_segment(SegmentNo(3), 100); // so that the second is no longer the newest
        assert_eq!((removable(&h), bytes(&h)), (Some(2), 10));
    }

    #[test]
    fn a_segment_in_which_nothing_was_completed_may_go() {
        let mut h = holdings(&[&[(1, BLOCK)]]);
        h.add_segment(SegmentNo(2), 50);
        h.add_segment(SegmentNo(3), 50);
        assert_eq!(h.removable(), Some((SegmentNo(2), None)));
    }

    #[test]
    fn a_commit_of_a_segment_that_is_gone_is_not_entered() {
        let mut h = Holdings::default();
        assert!(!h.add_commit(1, &CommitIndex { segment: SegmentNo(9), offset: 0, entries: vec![] }));
        assert_eq!(h, Holdings::default());
    }
}
