//! A block: half a second of one leg's audio, the unit that goes from `rtp` over `spool` to `finish`.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use super::{BlockNo, LegNo, RecordingNo};

/// Bytes (= samples of G.711) of a block: half a second. A kill costs at most this plus the grace of the sweep,
/// which keeps the loss below one second (docs/decisions/0001).
pub const BLOCK_BYTES: usize = 4_000;

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
    /// The samples; bytes outside the runs mean nothing.
    pub samples: Box<[u8; BLOCK_BYTES]>,
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
    /// The blocks of a recording, ordered by (block number, leg, order of writing), read one by one.
    ///
    /// # Errors
    /// When the list of its blocks cannot be read; a block that cannot be read is an item of the iterator.
    fn blocks(&self, no: RecordingNo) -> std::io::Result<Box<dyn Iterator<Item = Result<StoredBlock, Damage>> + '_>>;
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
