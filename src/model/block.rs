//! A block: half a second of one leg's audio, the unit that goes from `rtp` over `spool` to `finish`.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use super::{BlockNo, LegNo, RecordingNo};

/// Bytes (= samples of G.711) of a block: half a second. A kill costs at most this plus the grace of the sweep,
/// which keeps the loss below one second (docs/decisions/0001).
pub const BLOCK_BYTES: usize = 4_000;

/// The memory of a block's samples: of the first [`SMALL_BYTES`], or of all.
pub type Samples = Box<[u8]>;

/// What a block begins with: mostly it waits for the second half of its time with little in it.
pub const SMALL_BYTES: usize = 1_000;

/// Runs kept apart per block. A packet of 10 ms makes 50 a block; only every second one lost makes 25 runs.
pub const MAX_RUNS: usize = 32;

/// The G.711 law of a block's bytes (RFC 3551 §4.5.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Law {
    /// µ-law, RTP payload type 0.
    Pcmu,
    /// A-law, RTP payload type 8.
    Pcma,
}

impl Law {
    /// The byte that decodes to (all but) zero.
    pub fn silence(self) -> u8 {
        match self {
            Law::Pcmu => 0xFF,
            Law::Pcma => 0xD5,
        }
    }
}

/// Samples `start..start + len` of a block that really arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First sample, from the block's start.
    pub start: u16,
    /// Number of samples.
    pub len: u16,
}

/// Half a second of one leg as received so far. A block number may come in several such parts (late packets, codec change,
/// end of a leg): laid over each other in the order of writing they are the whole. What no run covers is silence.
#[derive(Clone, Debug)]
pub struct Block {
    /// Whose audio.
    pub recording: RecordingNo,
    /// Which leg of it.
    pub leg: LegNo,
    /// Which half-second.
    pub number: BlockNo,
    /// Law of all bytes in it.
    pub law: Law,
    /// What arrived, ascending, never touching each other.
    pub runs: Vec<Run, MAX_RUNS>,
    /// The samples, as far as there is memory for them; bytes outside the runs mean nothing.
    pub samples: Samples,
}

impl Run {
    /// The first sample after it.
    pub fn end(self) -> usize {
        usize::from(self.start) + usize::from(self.len)
    }
}

impl Block {
    /// One in which nothing has arrived yet.
    pub fn new(recording: RecordingNo, leg: LegNo, number: BlockNo, law: Law, samples: Samples) -> Block {
        Block { recording, leg, number, law, runs: Vec::new(), samples }
    }

    /// Moves into larger memory; gives the smaller back.
    pub fn grow(&mut self, mut samples: Samples) -> Samples {
        let kept = self.runs.last().map_or(0, |run| run.end()).min(samples.len());
        samples[..kept].copy_from_slice(&self.samples[..kept]);
        std::mem::replace(&mut self.samples, samples)
    }

    /// Puts `bytes` at sample `start`, but only where nothing has arrived yet: the first copy of a sample wins. What
    /// reaches beyond the block's memory is ignored. Gives how many of the bytes it has dealt with: fewer than there are when
    /// it would need more than [`MAX_RUNS`] runs, and a block without runs always deals with some.
    pub fn place(&mut self, start: usize, bytes: &[u8]) -> usize {
        let room = self.samples.len().saturating_sub(start);
        let end = start + bytes.len().min(room);
        let mut at = start;
        while at < end {
            let i = self.runs.partition_point(|run| run.end() <= at);
            let next = self.runs.get(i).copied();
            at = match next {
                Some(run) if usize::from(run.start) <= at => run.end().min(end), // there already
                _ => {
                    let gap_end = next.map_or(end, |run| usize::from(run.start).min(end));
                    if !self.cover(i, at, gap_end) {
                        break;
                    }
                    self.samples[at..gap_end].copy_from_slice(&bytes[at - start..gap_end - start]);
                    gap_end
                }
            };
        }
        at - start
    }

    /// Takes back what lies at sample `from` and behind.
    pub fn cut(&mut self, from: usize) {
        self.runs.retain(|run| usize::from(run.start) < from);
        if let Some(last) = self.runs.last_mut() {
            last.len = last.len.min((from - usize::from(last.start)) as u16); // it begins before `from`, and its end fits u16
        }
    }

    /// Adds `from..to`, which no run covers, before run `i`; false when there is no room for a further run.
    fn cover(&mut self, i: usize, from: usize, to: usize) -> bool {
        let len = (to - from) as u16; // at most BLOCK_BYTES
        let joins_next = self.runs.get(i).is_some_and(|next| usize::from(next.start) == to);
        let joins_last = i.checked_sub(1).and_then(|last| self.runs.get(last)).is_some_and(|last| last.end() == from);
        match (joins_last, joins_next) {
            (true, true) => {
                let next = self.runs.remove(i);
                self.runs[i - 1].len += len + next.len;
            }
            (true, false) => self.runs[i - 1].len += len,
            (false, true) => {
                self.runs[i].start = from as u16;
                self.runs[i].len += len;
            }
            (false, false) => return self.runs.insert(i, Run { start: from as u16, len }).is_ok(),
        }
        true
    }
}

/// A block as the spool gives it back: only the bytes inside the runs, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlock {
    /// Which leg.
    pub leg: LegNo,
    /// Which half-second.
    pub number: BlockNo,
    /// Law of the bytes.
    pub law: Law,
    /// Where the bytes belong.
    pub runs: Vec<Run, MAX_RUNS>,
    /// The bytes of all runs in turn.
    pub bytes: std::vec::Vec<u8>,
}

/// Where stored blocks come from: the spool, or a copy of one. All that `finish` knows of it.
pub trait BlockSource: Send {
    /// The blocks of a recording, ordered by (block number, leg, order of writing).
    ///
    /// # Errors
    /// When the list of its blocks cannot be read.
    fn blocks(&self, no: RecordingNo) -> std::io::Result<Box<dyn BlockList + '_>>;
}

/// The blocks of one recording: known by their numbers, read one by one and only when they are wanted.
pub trait BlockList {
    /// How many there are.
    fn count(&self) -> usize;

    /// The block number of one of them, counted from 0; ascending. The same number may be there several times: of several
    /// legs, or in parts.
    fn number(&self, index: usize) -> Option<BlockNo>;

    /// Reads one of them.
    ///
    /// # Errors
    /// When it can no longer be read.
    fn read(&mut self, index: usize) -> Result<StoredBlock, Damage>;
}

/// A stored block that can no longer be read; its time is silence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("recording {recording}: segment {segment} at byte {offset}: {what}")]
pub struct Damage {
    /// Whose block it was.
    pub recording: RecordingNo,
    /// The segment file it stands in.
    pub segment: u64,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn empty() -> Block {
        Block::new(RecordingNo(1), LegNo(0), BlockNo(0), Law::Pcmu, Box::new([0; BLOCK_BYTES]))
    }

    fn runs(block: &Block) -> std::vec::Vec<(usize, usize)> {
        block.runs.iter().map(|run| (run.start.into(), run.end())).collect()
    }

    #[test]
    fn neighbours_become_one_run() {
        let mut block = empty();
        for start in [160, 480, 0, 320] {
            assert_eq!(block.place(start, &[7; 160]), 160);
        }
        assert_eq!(runs(&block), [(0, 640)]);
    }

    #[test]
    fn the_end_of_the_block_cuts() {
        let mut block = empty();
        assert_eq!(block.place(3_900, &[7; 160]), 100);
        assert_eq!(block.place(BLOCK_BYTES, &[7; 160]), 0);
        assert_eq!(runs(&block), [(3_900, 4_000)]);
    }

    #[test]
    fn a_block_that_is_full_of_runs_says_so_and_still_fills_gaps() {
        let mut block = empty();
        for i in 0..MAX_RUNS {
            assert_eq!(block.place(i * 100, &[7; 50]), 50);
        }
        assert_eq!(block.place(MAX_RUNS * 100, &[7; 50]), 0);
        assert_eq!(block.place(50, &[7; 50]), 50, "joining two runs needs no further one");
        assert_eq!(block.place(MAX_RUNS * 100, &[7; 50]), 50);
    }

    #[test]
    fn a_block_grows_with_what_it_holds() {
        let mut block = Block { samples: Box::new([0; SMALL_BYTES]), ..empty() };
        assert_eq!(block.place(840, &[7; 160]), 160);
        assert_eq!(block.grow(Box::new([0; BLOCK_BYTES])).len(), SMALL_BYTES);
        assert_eq!(block.place(1_000, &[8; 160]), 160);
        assert_eq!(runs(&block), [(840, 1_160)]);
        assert_eq!((block.samples[999], block.samples[1_000]), (7, 8));
    }

    #[test]
    fn a_cut_takes_back_what_is_behind_it() {
        let mut block = empty();
        [0, 1_000, 2_000].into_iter().for_each(|start| assert_eq!(block.place(start, &[7; 160]), 160));
        block.cut(2_500);
        assert_eq!(runs(&block), [(0, 160), (1_000, 1_160), (2_000, 2_160)]);
        block.cut(1_080);
        assert_eq!(runs(&block), [(0, 160), (1_000, 1_080)]);
        block.cut(1_000);
        assert_eq!(runs(&block), [(0, 160)]);
        block.cut(0);
        assert_eq!(runs(&block), []);
    }

    proptest! {
        #[test]
        fn the_first_copy_of_each_sample_wins(pieces in prop::collection::vec((0..BLOCK_BYTES, 0..700_usize), 1..MAX_RUNS)) {
            let mut block = empty();
            let mut model = [None; BLOCK_BYTES];
            for (nth, &(start, len)) in pieces.iter().enumerate() {
                let len = len.min(BLOCK_BYTES - start);
                prop_assert_eq!(block.place(start, &vec![nth as u8; len]), len);
                for slot in &mut model[start..start + len] {
                    slot.get_or_insert(nth as u8);
                }
            }
            let mut covered = [None; BLOCK_BYTES];
            for run in &block.runs {
                let range = run.start.into()..run.end();
                for (slot, sample) in covered[range.clone()].iter_mut().zip(&block.samples[range]) {
                    *slot = Some(*sample);
                }
            }
            prop_assert!(covered == model);
            prop_assert!(block.runs.windows(2).all(|two| two[0].end() < two[1].start.into()), "ascending, never touching");
        }
    }
}
