//! The blocks of a leg that are still open, and the pool from which their memory comes and in which sealed ones wait for
//! the spool. There is no reorder queue: samples go straight to their place, in whatever order they come.

use crate::model::block::{Law, SMALL_BYTES};
use crate::model::{BLOCK_BYTES, Block, BlockNo, LegNo, MediaTime, RecordingNo, Samples};

/// Blocks that a leg holds open: the current and the next, the one that is just being completed, and a spare one for
/// packets out of line. When a further one is needed, the oldest is sealed.
const MAX_OPEN: usize = 4;

/// Memory for blocks, bounded. It grows to its bound as load comes and never shrinks: a box under steady load allocates nothing.
#[derive(Debug)]
pub struct Pool {
    /// For whole blocks, and of [`SMALL_BYTES`].
    free: Vec<Samples>,
    free_small: Vec<Samples>,
    /// Bytes that may still be allocated.
    growth: usize,
    /// Finished blocks, oldest first, until the spool takes them.
    sealed: Vec<Block>,
}

impl Pool {
    /// A pool of at most `blocks` blocks.
    pub fn new(blocks: usize) -> Pool {
        Pool { free: Vec::new(), free_small: Vec::new(), growth: blocks * BLOCK_BYTES, sealed: Vec::new() }
    }

    /// Memory for the first `bytes` of a block; none when all is in use, because the spool cannot keep up.
    pub fn take(&mut self, bytes: usize) -> Option<Samples> {
        let is_small = bytes <= SMALL_BYTES;
        let free = if is_small { &mut self.free_small } else { &mut self.free };
        let more = free.pop().or_else(|| {
            let size = if is_small { SMALL_BYTES } else { BLOCK_BYTES };
            self.growth = self.growth.checked_sub(size)?;
            Some(vec![0; size].into_boxed_slice())
        });
        more.or_else(|| self.free.pop())
    }

    /// Gives memory back.
    pub fn give(&mut self, samples: Samples) {
        let free = if samples.len() > SMALL_BYTES { &mut self.free } else { &mut self.free_small };
        free.push(samples);
    }

    /// The blocks for the spool; those that it does not take are to be put back with [`Pool::put_back`].
    pub fn take_sealed(&mut self) -> Vec<Block> {
        std::mem::take(&mut self.sealed)
    }

    /// The spool has not taken these, they wait on.
    pub fn put_back(&mut self, blocks: Vec<Block>) {
        let newer = std::mem::replace(&mut self.sealed, blocks);
        self.sealed.extend(newer);
    }

    /// Whether blocks wait for the spool.
    pub fn has_sealed(&self) -> bool {
        !self.sealed.is_empty()
    }

    fn seal(&mut self, block: Block) {
        if block.runs.is_empty() {
            self.give(block.samples);
        } else {
            self.sealed.push(block);
        }
    }
}

/// The open blocks of a leg.
#[derive(Debug)]
pub struct OpenBlocks {
    recording: RecordingNo,
    leg: LegNo,
    open: heapless::Vec<Block, MAX_OPEN>,
    /// Blocks below this number are written already; a late packet opens a further part of them.
    written: u32,
}

/// Where samples have gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// Into blocks that were still to be written.
    InTime,
    /// Into a further part of a block that was written before.
    Late,
    /// Nowhere, or not in full: the pool was empty.
    NoMemory,
    /// Nowhere: the place is before the time line's zero or 68 years after it.
    OffTheLine,
}

impl OpenBlocks {
    /// None yet.
    pub fn new(recording: RecordingNo, leg: LegNo) -> OpenBlocks {
        OpenBlocks { recording, leg, open: heapless::Vec::new(), written: 0 }
    }

    /// Below this number all are sealed.
    pub fn written(&self) -> u32 {
        self.written
    }

    /// Puts samples to their place.
    pub fn place(&mut self, at: MediaTime, law: Law, bytes: &[u8], pool: &mut Pool) -> Placed {
        let Some((mut number, mut start)) = split(at) else { return Placed::OffTheLine };
        let placed = if number.0 < self.written { Placed::Late } else { Placed::InTime };
        let mut rest = bytes;
        while !rest.is_empty() {
            let part = rest.len().min(BLOCK_BYTES - start);
            let Some(i) = self.open_block(number, law, start + part, pool) else { return Placed::NoMemory };
            let done = self.open[i].place(start, &rest[..part]);
            if done < part {
                pool.seal(self.open.swap_remove(i)); // too many gaps in it: the rest goes into a further part
            }
            rest = &rest[done..];
            start += done;
            if start == BLOCK_BYTES {
                (number, start) = (BlockNo(number.0.saturating_add(1)), 0);
            }
        }
        placed
    }

    /// Seals all blocks below `number`: their time is over.
    pub fn seal_before(&mut self, number: u32, pool: &mut Pool) {
        while let Some(i) = self.open.iter().position(|block| block.number.0 < number) {
            pool.seal(self.open.swap_remove(i));
        }
        self.written = self.written.max(number);
    }

    /// Takes back what lies at a place and behind it, as far as it is not written.
    pub fn cut(&mut self, at: MediaTime) {
        let (number, start) = split(at).unwrap_or((BlockNo(0), 0)); // before the line's zero: all; 68 years are never reached
        for block in self.open.iter_mut().filter(|block| block.number >= number) {
            block.cut(if block.number == number { start } else { 0 });
        }
    }

    /// Index of the open block of that number and law, with memory up to `end`; opens one. Blocks of both laws may be open
    /// side by side, so a sender that alternates between the two costs two blocks per half-second, not one per packet.
    fn open_block(&mut self, number: BlockNo, law: Law, end: usize, pool: &mut Pool) -> Option<usize> {
        if let Some(i) = self.open.iter().position(|block| block.number == number && block.law == law) {
            if self.open[i].samples.len() < end {
                let larger = pool.take(end)?;
                pool.give(self.open[i].grow(larger));
            }
            return Some(i);
        }
        let samples = pool.take(end)?;
        if self.open.is_full()
            && let Some((oldest, _)) = self.open.iter().enumerate().min_by_key(|(_, block)| block.number)
        {
            pool.seal(self.open.swap_remove(oldest));
        }
        self.open.push(Block::new(self.recording, self.leg, number, law, samples)).ok()?;
        Some(self.open.len() - 1)
    }
}

/// The block in which a place lies, and where in it.
fn split(at: MediaTime) -> Option<(BlockNo, usize)> {
    let at = usize::try_from(at.0).ok()?;
    Some((BlockNo(u32::try_from(at / BLOCK_BYTES).ok()?), at % BLOCK_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg() -> OpenBlocks {
        OpenBlocks::new(RecordingNo(1), LegNo(0))
    }

    fn at(block: i64, sample: i64) -> MediaTime {
        MediaTime(block * BLOCK_BYTES as i64 + sample)
    }

    fn shape(pool: &mut Pool) -> Vec<(u32, Law, usize)> {
        pool.take_sealed().iter().map(|b| (b.number.0, b.law, b.runs.iter().map(|run| usize::from(run.len)).sum())).collect()
    }

    #[test]
    fn a_packet_may_span_two_blocks() {
        let (mut leg, mut pool) = (leg(), Pool::new(8));
        assert_eq!(leg.place(at(0, 3_900), Law::Pcmu, &[1; 160], &mut pool), Placed::InTime);
        leg.seal_before(1, &mut pool);
        assert_eq!(shape(&mut pool), [(0, Law::Pcmu, 100)]);
        leg.seal_before(2, &mut pool);
        assert_eq!(shape(&mut pool), [(1, Law::Pcmu, 60)]);
    }

    #[test]
    fn late_samples_open_a_further_part() {
        let (mut leg, mut pool) = (leg(), Pool::new(8));
        leg.place(at(0, 0), Law::Pcmu, &[1; 160], &mut pool);
        leg.seal_before(1, &mut pool);
        assert_eq!(leg.place(at(0, 160), Law::Pcmu, &[1; 80], &mut pool), Placed::Late);
        leg.seal_before(1, &mut pool);
        assert_eq!(shape(&mut pool), [(0, Law::Pcmu, 160), (0, Law::Pcmu, 80)]);
    }

    #[test]
    fn both_laws_stand_side_by_side() {
        let (mut leg, mut pool) = (leg(), Pool::new(8));
        for packet in 0..10 {
            let law = if packet % 2 == 0 { Law::Pcmu } else { Law::Pcma };
            leg.place(at(0, packet * 160), law, &[1; 160], &mut pool);
        }
        assert!(!pool.has_sealed());
        leg.seal_before(1, &mut pool);
        assert_eq!(shape(&mut pool), [(0, Law::Pcmu, 800), (0, Law::Pcma, 800)]);
    }

    #[test]
    fn too_many_gaps_make_a_further_part() {
        let (mut leg, mut pool) = (leg(), Pool::new(8));
        for n in 0..40 {
            assert_eq!(leg.place(at(0, n * 100), Law::Pcmu, &[1; 50], &mut pool), Placed::InTime);
        }
        leg.seal_before(1, &mut pool);
        assert_eq!(shape(&mut pool), [(0, Law::Pcmu, 32 * 50), (0, Law::Pcmu, 8 * 50)]);
    }

    #[test]
    fn the_oldest_gives_way_and_an_empty_pool_says_so() {
        let (mut leg, mut pool) = (leg(), Pool::new(6)); // the last of them in quarters
        for n in [3, 1, 2, 4, 5] {
            assert_eq!(leg.place(at(n, 0), Law::Pcmu, &[1; 10], &mut pool), Placed::InTime);
            assert_eq!(leg.place(at(n, 2_000), Law::Pcmu, &[1; 10], &mut pool), Placed::InTime);
        }
        assert_eq!(leg.place(at(6, 2_000), Law::Pcmu, &[1; 10], &mut pool), Placed::NoMemory);
        let sealed = pool.take_sealed();
        assert_eq!(sealed.iter().map(|b| b.number.0).collect::<Vec<_>>(), [1]);
        pool.give(sealed.into_iter().next().unwrap().samples);
        assert_eq!(leg.place(at(6, 2_000), Law::Pcmu, &[1; 10], &mut pool), Placed::InTime);
    }

    #[test]
    fn places_off_the_line() {
        let (mut leg, mut pool) = (leg(), Pool::new(1));
        for place in [-1, i64::MIN, i64::MAX, 1 << 50] {
            assert_eq!(leg.place(MediaTime(place), Law::Pcmu, &[1; 10], &mut pool), Placed::OffTheLine);
        }
    }
}
