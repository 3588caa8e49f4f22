//! What waits to be written, in the order in which it is written, and what is given up when the disk does not take it
//! for too long.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::{Block, Recording, RecordingNo, Stage};

/// Blocks and descriptions that wait.
#[derive(Debug)]
pub struct Backlog {
    blocks: VecDeque<Block>,
    /// The newest of each recording; an older one is of no use any more.
    descriptions: BTreeMap<RecordingNo, Recording>,
    limit_blocks: usize,
}

/// What is written, synced and acknowledged as one.
#[derive(Debug, Default)]
pub struct Batch {
    /// Last descriptions, sealed, that stand in segments about to go; nobody waits for them.
    pub carried: Vec<(RecordingNo, Vec<u8>)>,
    /// Descriptions, one of each recording.
    pub descriptions: Vec<Recording>,
    /// Blocks in the order of arrival.
    pub blocks: Vec<Block>,
    /// It stands in a segment for good; only the ledger may not know it yet.
    pub written: bool,
}

impl Batch {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.carried.is_empty() && self.descriptions.is_empty() && self.blocks.is_empty()
    }
}

impl Backlog {
    /// Keeps at most `limit_blocks` blocks. Descriptions need no limit: there is one for each recording in work.
    pub fn new(limit_blocks: usize) -> Backlog {
        Backlog { blocks: VecDeque::new(), descriptions: BTreeMap::new(), limit_blocks }
    }

    /// Adds blocks and returns those that are given up for them: the oldest.
    pub fn add_blocks(&mut self, blocks: Vec<Block>) -> Vec<Block> {
        self.blocks.extend(blocks);
        let excess = self.blocks.len().saturating_sub(self.limit_blocks);
        self.blocks.drain(..excess).collect()
    }

    /// Adds a description in place of an older one of the same recording.
    pub fn add_description(&mut self, recording: Recording) {
        self.descriptions.insert(recording.no, recording);
    }

    /// Something waits, but no audio.
    pub fn has_only_descriptions(&self) -> bool {
        self.blocks.is_empty() && !self.descriptions.is_empty()
    }

    /// As many blocks wait as one batch takes.
    pub fn is_worth(&self, batch_blocks: usize) -> bool {
        self.blocks.len() >= batch_blocks
    }

    /// Takes the next batch of at most `max_blocks` blocks. Descriptions go with the last blocks that wait, so that one that
    /// says "ended" is never durable before the audio that was handed over before it.
    pub fn take(&mut self, max_blocks: usize) -> Batch {
        let blocks: Vec<Block> = self.blocks.drain(..self.blocks.len().min(max_blocks)).collect();
        let descriptions = if self.blocks.is_empty() {
            std::mem::take(&mut self.descriptions).into_values().collect()
        } else {
            self.ahead_of(&blocks)
        };
        Batch { blocks, descriptions, ..Batch::default() }
    }

    /// The descriptions that go ahead with `blocks`: of the same recordings, so that no audio is durable before its leg is
    /// known. One that has ended still runs there.
    fn ahead_of(&self, blocks: &[Block]) -> Vec<Recording> {
        let recordings: BTreeSet<RecordingNo> = blocks.iter().map(|block| block.recording).collect();
        let waiting = recordings.iter().filter_map(|no| self.descriptions.get(no));
        let unfinished = waiting.filter(|recording| recording.stage <= Stage::Ended);
        unfinished.map(|recording| Recording { stage: Stage::Recording, ..recording.clone() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{block, recording};
    use super::*;

    fn numbers(blocks: &[Block]) -> Vec<u32> {
        blocks.iter().map(|block| block.number.0).collect()
    }

    #[test]
    fn the_oldest_blocks_are_given_up() {
        let mut backlog = Backlog::new(3);
        assert!(backlog.add_blocks(vec![block(1, 0, 0), block(1, 0, 1)]).is_empty());
        assert_eq!(numbers(&backlog.add_blocks(vec![block(1, 0, 2), block(1, 0, 3), block(1, 0, 4)])), [0, 1]);
        assert_eq!(numbers(&backlog.take(10).blocks), [2, 3, 4]);
        assert!(backlog.take(10).is_empty());
    }

    #[test]
    fn an_end_never_overtakes_audio_nor_audio_its_leg() {
        let mut backlog = Backlog::new(100);
        backlog.add_blocks((0..5).map(|n| block(1, 0, n)).collect());
        backlog.add_description(recording(1, Stage::Recording));
        backlog.add_description(recording(1, Stage::Ended));
        backlog.add_description(recording(2, Stage::Finished));
        assert!(backlog.is_worth(3));
        let first = backlog.take(3);
        assert_eq!(numbers(&first.blocks), [0, 1, 2]);
        assert_eq!(first.descriptions, [recording(1, Stage::Recording)], "it still runs, and recording 2 has no audio here");
        let second = backlog.take(3);
        assert_eq!(numbers(&second.blocks), [3, 4]);
        assert_eq!(second.descriptions, [recording(1, Stage::Ended), recording(2, Stage::Finished)], "the newest ones only");
    }
}
