//! Reads the spool: descriptions, and blocks one by one from the segments.

use std::io;
use std::sync::Arc;

use super::counters::{self, Counters};
use super::descriptions::Descriptions;
use super::disk::{Disk, ReadAt};
use super::keys;
use super::ledger::Ledger;
use super::retention::Kept;
use super::seal::SealingKey;
use super::segment::{Record, SegmentNo, What};
use crate::model::{BlockList, BlockNo, BlockSource, Damage, LegNo, Recording, RecordingId, RecordingNo, StoredBlock, TenantId};

/// Descriptions read at once.
const PAGE: usize = 32;

/// Reads recordings and their audio; any number may read while the spool's thread writes.
#[derive(Clone)]
pub struct Reader {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) ledger: Ledger,
    pub(super) counters: Arc<Counters>,
}

impl Reader {
    /// The latest durable description of a recording.
    ///
    /// # Errors
    /// When the ledger cannot be read; it is being mended then, so a second try later may succeed.
    pub fn recording(&self, no: RecordingNo) -> io::Result<Option<Recording>> {
        self.descriptions().recording(no)
    }

    /// The recording that last came with this id.
    ///
    /// # Errors
    /// As [`Reader::recording`].
    pub fn find(&self, id: &RecordingId) -> io::Result<Option<Recording>> {
        self.ledger.find(id)?.map_or(Ok(None), |no| self.recording(no))
    }

    /// What retention must know of every recording that is not released.
    ///
    /// # Errors
    /// As [`Reader::recording`].
    pub fn kept(&self) -> io::Result<Vec<Kept>> {
        self.ledger.kept()
    }

    /// What was kept by [`super::Command::Memo`] under keys that begin like this: the rest of each key, and its value.
    ///
    /// # Errors
    /// As [`Reader::recording`].
    pub fn memos(&self, begin: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
        self.ledger.memos(begin)
    }

    /// What stands for a tenant in [`Kept`].
    pub fn blinded_tenant(&self, id: &TenantId) -> [u8; 16] {
        self.ledger.key().blinded_tenant(id)
    }

    /// All recordings, newest first.
    pub fn recordings(&self) -> impl Iterator<Item = io::Result<Recording>> {
        self.recordings_before(None)
    }

    /// All recordings older than `before`, newest first: the next page of a list is `take(n)` of it.
    pub fn recordings_before(&self, before: Option<RecordingNo>) -> impl Iterator<Item = io::Result<Recording>> {
        let (mut last, mut is_over) = (before, false);
        let pages = std::iter::from_fn(move || {
            let page = (!is_over).then(|| self.descriptions().page(last, PAGE))?;
            last = page.as_ref().ok().and_then(|page| page.last()).map(|(no, _)| *no);
            is_over = last.is_none();
            Some(page.map_or_else(|e| vec![Err(e)], |page| page.into_iter().map(|(_, recording)| recording).collect()))
        });
        pages.flatten()
    }

    fn descriptions(&self) -> Descriptions<'_> {
        Descriptions { disk: self.disk.as_ref(), ledger: &self.ledger }
    }

    /// Where the parts of a recording's blocks stand, in the order of (block number, leg, writing).
    fn parts(&self, no: RecordingNo) -> io::Result<Vec<Part>> {
        let Some(row) = self.ledger.row(no)? else {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("recording {no} is not in the spool")));
        };
        let mut parts = Vec::new();
        self.ledger.for_each_place(no, row.first_commit..=row.last_commit, |segment, place| {
            if let What::Block { leg, number } = place.what {
                parts.push(Part { number, leg, segment, offset: place.offset, len: place.len });
            }
        })?;
        parts.sort_by_key(|part| (part.number, part.leg)); // stable: parts of one block stay in the order of writing
        Ok(parts)
    }
}

impl BlockSource for Reader {
    /// Memory: 32 bytes per part, 0.5 MB for an hour of two legs.
    fn blocks(&self, no: RecordingNo) -> io::Result<Box<dyn BlockList + '_>> {
        let key = keys::find(self.disk.as_ref(), self.ledger.key(), no);
        let segment = Cursor { disk: self.disk.as_ref(), key, open: None };
        Ok(Box::new(Parts { no, parts: self.parts(no)?, segment, counters: &self.counters }))
    }
}

/// The blocks of one recording.
struct Parts<'a> {
    no: RecordingNo,
    parts: Vec<Part>,
    segment: Cursor<'a>,
    counters: &'a Counters,
}

impl BlockList for Parts<'_> {
    fn count(&self) -> usize {
        self.parts.len()
    }

    fn number(&self, index: usize) -> Option<BlockNo> {
        self.parts.get(index).map(|part| part.number)
    }

    fn read(&mut self, index: usize) -> Result<StoredBlock, Damage> {
        let damage = |segment, offset, what| Damage { recording: self.no, segment, offset, what };
        let Some(part) = self.parts.get(index) else { return Err(damage(0, 0, "there is no such block".into())) };
        self.segment.read(self.no, part).map_err(|what| {
            counters::add(&self.counters.damaged_blocks, 1);
            damage(part.segment.0, part.offset, what)
        })
    }
}

struct Part {
    number: BlockNo,
    leg: LegNo,
    segment: SegmentNo,
    offset: u64,
    len: u32,
}

/// Keeps the last segment open, because the next part mostly stands in it as well.
struct Cursor<'a> {
    disk: &'a dyn Disk,
    key: Option<SealingKey>,
    open: Option<(SegmentNo, Box<dyn ReadAt>)>,
}

impl Cursor<'_> {
    fn read(&mut self, recording: RecordingNo, part: &Part) -> Result<StoredBlock, String> {
        let key = self.key.as_ref().ok_or("the key is gone: destroyed when the recording was finished, or lost")?;
        let file = match self.open.take().filter(|(no, _)| *no == part.segment) {
            Some((_, file)) => file,
            None => self.disk.open(part.segment).map_err(|e| format!("the segment cannot be opened: {e}"))?,
        };
        let file = &self.open.insert((part.segment, file)).1;
        let mut bytes = vec![0; usize::try_from(part.len).map_err(|e| e.to_string())?];
        let read = file.read_at(&mut bytes, part.offset).map_err(|e| format!("the record cannot be read: {e}"))?;
        let record = Record::check(&bytes[..read.min(bytes.len())])?;
        let block = record.block(key)?;
        if (record.recording, block.leg, block.number) != (recording, part.leg, part.number) {
            return Err("the record is another block than the ledger says".into());
        }
        Ok(block)
    }
}
