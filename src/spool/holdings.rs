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
//! A segment that stays because of one long call holds the audio of many short ones, too. What rule 2 does not need of it, all
//! records of finished recordings but their last descriptions, is *free* and becomes holes ([`super::holes`]), as soon as that
//! gains a third of what the segment takes ([`HOLES_WORTH`]). So free records never take more than half of what is needed,
//! and a segment is worked on a few times at most, not with every call that ends.
//!
//! A released recording without any trace in the segments is known to the ledger alone, and forgotten with it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::index::CommitIndex;
use super::ledger::Row;
use super::scan::Place;
use super::segment::{SegmentNo, What};
use crate::model::{BLOCK_BYTES, MediaTime, RecordingNo, Stage};

/// Bytes that become free for each byte carried, at least.
pub const WORTH: u64 = 8;

/// Holes are punched once so many times the free bytes are all that the others in the segment take.
pub const HOLES_WORTH: u64 = 2;

/// All segments, and the recordings that have left a trace in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    segments: BTreeMap<SegmentNo, Segment>,
    recordings: BTreeMap<RecordingNo, Traces>,
    /// Segments in which something became free since they were last looked at.
    freed: BTreeSet<SegmentNo>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    /// What it takes on the disk: without its holes.
    bytes: u64,
    /// First and last commit in it.
    commits: Option<(u64, u64)>,
    /// Everyone with a record in it.
    holds: BTreeMap<RecordingNo, Held>,
}

/// The records of one recording in one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    has_block: bool,
    /// Their length; after holes were punched, what could not be.
    bytes: u64,
}

/// Where a recording has left traces, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Traces {
    stage: Stage,
    first_commit: u64,
    last_commit: u64,
    /// Number of the block behind its last.
    blocks: u32,
    /// In how many segments.
    segments: usize,
    described: Option<Described>,
}

/// Where the last description stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Described {
    segment: SegmentNo,
    offset: u64,
    bytes: u64,
}

impl Holdings {
    /// A segment is there, and takes so many bytes on the disk.
    pub fn add_segment(&mut self, no: SegmentNo, bytes: u64) {
        self.freed.extend(self.newest()); // it was left alone as long as it was that
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
        for place in index.places() {
            let traces = self.recordings.entry(place.recording).or_insert_with(|| Traces::new(number));
            traces.last_commit = number;
            let held = segment.holds.entry(place.recording).or_insert_with(|| {
                traces.segments += 1;
                Held::default()
            });
            held.has_block |= matches!(place.what, What::Block { .. });
            held.bytes += u64::from(place.len);
            match place.what {
                What::Block { number, .. } => traces.blocks = traces.blocks.max(number.0.saturating_add(1)),
                What::Description => {
                    let (segment, offset, bytes) = (index.segment, place.offset, u64::from(place.len));
                    traces.described = Some(Described { segment, offset, bytes });
                }
            }
        }
        true
    }

    /// How far a recording is. One without a trace is of no interest.
    pub fn set_stage(&mut self, no: RecordingNo, stage: Stage) {
        let Some(traces) = self.recordings.get_mut(&no) else { return };
        let becomes_free = traces.stage < Stage::Finished && stage >= Stage::Finished;
        traces.stage = stage;
        if becomes_free {
            let concerned = self.segments.iter().filter(|(_, segment)| segment.holds.contains_key(&no));
            self.freed.extend(concerned.map(|(no, _)| *no));
        }
    }

    /// The last description of a recording is damaged; this one counts in its place.
    pub fn set_described(&mut self, no: RecordingNo, segment: SegmentNo, place: &Place) {
        let Some(traces) = self.recordings.get_mut(&no) else { return };
        traces.described = Some(Described { segment, offset: place.offset, bytes: u64::from(place.len) });
    }

    /// What the ledger must say of a recording, as far as the segments tell.
    pub fn row(&self, no: RecordingNo) -> Option<Row> {
        let traces = self.recordings.get(&no)?;
        let last_commit = if traces.stage == Stage::Recording { u64::MAX } else { traces.last_commit };
        let described_at = traces.described.map(|described| (described.segment, described.offset));
        Some(Row { stage: traces.stage, first_commit: traces.first_commit, last_commit, described_at })
    }

    /// Every recording that has left a trace.
    pub fn recordings(&self) -> impl Iterator<Item = RecordingNo> {
        self.recordings.keys().copied()
    }

    /// Every recording whose audio is still needed.
    pub fn with_audio_to_keep(&self) -> BTreeSet<RecordingNo> {
        let blocks = self.segments.values().flat_map(|segment| &segment.holds).filter(|(_, held)| held.has_block);
        blocks.map(|(no, _)| *no).filter(|no| self.stage(*no) < Stage::Finished).collect()
    }

    /// How far the audio of a recording reaches on its time line.
    pub fn kept(&self, no: RecordingNo) -> MediaTime {
        let blocks = self.recordings.get(&no).map_or(0, |traces| traces.blocks);
        MediaTime(i64::from(blocks) * BLOCK_BYTES as i64)
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
                carried_bytes += bytes;
                recordings.insert(recording);
            }
        }
        if freed_bytes >= carried_bytes.saturating_mul(WORTH) { recordings } else { BTreeSet::new() }
    }

    /// A segment that is to get holes now, with the numbers of its commits; the same until [`Holdings::punched`].
    pub fn to_punch(&mut self) -> Option<(SegmentNo, RangeInclusive<u64>)> {
        while let Some(no) = self.freed.first().copied() {
            if let Some(commits) = self.is_worth_holes(no) {
                return Some((no, commits));
            }
            self.freed.remove(&no);
        }
        None
    }

    /// Whether a record in a segment is free.
    pub fn is_free(&self, segment: SegmentNo, record: &Place) -> bool {
        self.recordings.get(&record.recording).is_some_and(|traces| {
            let is_last = traces.described.is_some_and(|d| (d.segment, d.offset) == (segment, record.offset));
            traces.stage >= Stage::Finished && !is_last
        })
    }

    /// A segment got holes where its free records were, and takes so many bytes now. What is left of them stays for good.
    pub fn punched(&mut self, no: SegmentNo, taken_bytes: u64) {
        self.freed.remove(&no);
        let Some(segment) = self.segments.get_mut(&no) else { return };
        segment.bytes = taken_bytes;
        for (recording, held) in &mut segment.holds {
            let Some(traces) = self.recordings.get(recording).filter(|traces| traces.stage >= Stage::Finished) else { continue };
            held.bytes = traces.described_in(no);
        }
    }

    /// A segment is gone.
    pub fn remove_segment(&mut self, no: SegmentNo) {
        let holds = self.segments.remove(&no).map(|segment| segment.holds).unwrap_or_default();
        for recording in holds.keys() {
            let Some(traces) = self.recordings.get_mut(recording) else { continue };
            traces.segments -= 1; // counted up when this segment's entry for it was made
            traces.described = traces.described.filter(|described| described.segment != no);
            if traces.segments == 0 {
                self.recordings.remove(recording);
            }
        }
    }

    /// Rules 1 and 2.
    fn without_audio_to_keep(&self) -> impl Iterator<Item = (SegmentNo, &Segment)> {
        let newest = self.newest();
        let all = self.segments.iter().map(|(no, segment)| (*no, segment));
        all.filter(move |(no, segment)| Some(*no) != newest && !self.has_audio_to_keep(segment))
    }

    fn has_audio_to_keep(&self, segment: &Segment) -> bool {
        segment.holds.iter().any(|(no, held)| held.has_block && self.stage(*no) < Stage::Finished)
    }

    /// The commits of a segment, if it stays because of audio and enough of it is free.
    fn is_worth_holes(&self, no: SegmentNo) -> Option<RangeInclusive<u64>> {
        let segment = self.segments.get(&no).filter(|_| Some(no) != self.newest())?;
        let (first, last) = segment.commits.filter(|_| self.has_audio_to_keep(segment))?;
        let free = |(recording, held): (&RecordingNo, &Held)| {
            let traces = self.recordings.get(recording).filter(|traces| traces.stage >= Stage::Finished)?;
            Some(held.bytes.saturating_sub(traces.described_in(no)))
        };
        let free: u64 = segment.holds.iter().filter_map(free).sum();
        (free.saturating_mul(HOLES_WORTH) >= segment.bytes.saturating_sub(free)).then_some(first..=last)
    }

    /// Rule 3; with the length of each description.
    fn to_carry_from(&self, segment: SegmentNo, held: &Segment) -> impl Iterator<Item = (RecordingNo, u64)> {
        held.holds.keys().filter_map(move |no| {
            let traces = self.recordings.get(no)?;
            let described = traces.described.filter(|described| described.segment == segment)?;
            (traces.stage != Stage::Released || traces.segments > 1).then_some((*no, described.bytes))
        })
    }

    fn stage(&self, no: RecordingNo) -> Stage {
        self.recordings.get(&no).map_or(Stage::Recording, |traces| traces.stage)
    }
}

impl Traces {
    fn new(first_commit: u64) -> Traces {
        Traces { stage: Stage::Recording, first_commit, last_commit: first_commit, blocks: 0, segments: 0, described: None }
    }

    /// Bytes of the last description, if it stands in this segment.
    fn described_in(&self, segment: SegmentNo) -> u64 {
        self.described.filter(|described| described.segment == segment).map_or(0, |described| described.bytes)
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

    /// Segment 1 of 1,000 bytes: recording 1 runs and has `kept` bytes in it, recording 2 is finished and has the rest; then
    /// an empty newest one.
    fn half_free(kept: u32) -> Holdings {
        let mut h = Holdings::default();
        h.add_segment(SegmentNo(1), 1_000);
        let entry = |no, what, len| Entry { recording: RecordingNo(no), what, len };
        let entries =
            vec![entry(2, DESCRIPTION, 30), entry(1, BLOCK, kept), entry(2, BLOCK, 900 - kept), entry(2, DESCRIPTION, 70)];
        assert!(h.add_commit(7, &CommitIndex { segment: SegmentNo(1), offset: 0, entries }));
        h.set_stage(RecordingNo(2), Stage::Finished);
        assert_eq!(h.to_punch(), None, "the newest segment is left alone");
        h.add_segment(SegmentNo(2), 52);
        h
    }

    #[test]
    fn holes_are_punched_once_a_third_is_free() {
        assert_eq!(half_free(600).to_punch(), None, "330 of 1,000 bytes");
        let mut h = half_free(590);
        assert_eq!(h.to_punch(), Some((SegmentNo(1), 7..=7)));
        assert_eq!(h.to_punch(), Some((SegmentNo(1), 7..=7)), "until it is done");
        h.punched(SegmentNo(1), 700);
        assert_eq!((h.to_punch(), h.used_bytes()), (None, 752));
        assert_eq!(h.is_worth_holes(SegmentNo(1)), None, "the edges stay for good");
    }

    #[test]
    fn all_but_the_last_description_of_a_finished_recording_is_free() {
        let h = half_free(590);
        let entries = vec![(2, 0), (1, 30), (2, 620), (2, 930)];
        let place = |(no, offset)| Place { offset, len: 9, recording: RecordingNo(no), what: BLOCK };
        let free: Vec<bool> = entries.into_iter().map(|entry| h.is_free(SegmentNo(1), &place(entry))).collect();
        assert_eq!(free, [true, false, true, false]);
    }

    #[test]
    fn a_segment_without_audio_to_keep_goes_as_a_whole() {
        let mut h = half_free(100);
        h.set_stage(RecordingNo(1), Stage::Finished);
        assert_eq!(h.to_punch(), None);
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
