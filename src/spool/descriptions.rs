//! Where the latest description of a recording is read: while it runs in its segment, later in the ledger.
//!
//! A call that runs is described again and again. In the ledger, too, that would be half of what a short call writes, and
//! kilobytes of memory for each (docs/decisions/0013). What is over has two copies, because its audio will go.

use std::io;

use super::disk::Disk;
use super::ledger::{Ledger, Row};
use super::segment::{PREFIX_BYTES, Record, SegmentNo, open_description};
use crate::model::{Recording, RecordingNo, Stage};

/// The longest description that is taken for one: beyond it a damaged length would cost its memory.
const LONGEST_BYTES: usize = 64 * 1024 * 1024;

/// A description may be carried to another segment between two looks at the ledger; not so often.
const TRIES: usize = 3;

/// Ledger and segments together.
#[derive(Clone, Copy)]
pub struct Descriptions<'a> {
    /// The segments.
    pub disk: &'a dyn Disk,
    /// The ledger.
    pub ledger: &'a Ledger,
}

impl Descriptions<'_> {
    /// The latest description of a recording, as it was sealed; perhaps one that this version cannot read.
    ///
    /// # Errors
    /// When ledger or segment cannot be read.
    pub fn sealed(&self, no: RecordingNo) -> io::Result<Option<Vec<u8>>> {
        let mut row = self.ledger.row(no)?;
        for _ in 0..TRIES {
            let Some((segment, offset)) = row.and_then(in_segment) else { break };
            match sealed_at(self.disk, no, segment, offset) {
                Ok(sealed) => return Ok(Some(sealed)),
                Err(why) => {
                    let again = self.ledger.row(no)?;
                    if std::mem::replace(&mut row, again) == again {
                        return Err(unreadable(no, &why));
                    }
                }
            }
        }
        self.ledger.sealed_description(no)
    }

    /// The latest description of a recording.
    ///
    /// # Errors
    /// When ledger or segment cannot be read, or another version wrote it.
    pub fn recording(&self, no: RecordingNo) -> io::Result<Option<Recording>> {
        self.sealed(no)?.map(|sealed| self.opened(no, &sealed)).transpose()
    }

    /// Up to `limit` recordings, newest first, that are older than `before`. One that cannot be read is an item.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn page(&self, before: Option<RecordingNo>, limit: usize) -> io::Result<Vec<(RecordingNo, io::Result<Recording>)>> {
        let numbers = self.ledger.numbers_before(before, limit)?;
        Ok(numbers.into_iter().filter_map(|no| Some((no, self.recording(no).transpose()?))).collect())
    }

    fn opened(&self, no: RecordingNo, sealed: &[u8]) -> io::Result<Recording> {
        let json = open_description(no, sealed, &self.ledger.key().description_key(no));
        let json = json.ok_or_else(|| unreadable(no, &"it was sealed with another box.key, or is damaged"))?;
        serde_json::from_slice(&json).map_err(|e| unreadable(no, &e))
    }
}

/// Where the description stands if the ledger does not hold it.
pub fn in_segment(row: Row) -> Option<(SegmentNo, u64)> {
    row.described_at.filter(|_| row.stage == Stage::Recording)
}

/// The description of `no` that stands at an offset of a segment, as it was sealed.
///
/// # Errors
/// When it cannot be read or is damaged.
pub fn sealed_at(disk: &dyn Disk, no: RecordingNo, segment: SegmentNo, offset: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(segment)?;
    let mut prefix = [0; PREFIX_BYTES];
    let read = file.read_at(&mut prefix, offset)?;
    let length = prefix.get(..read).and_then(Record::length).filter(|length| *length <= LONGEST_BYTES);
    let mut bytes = vec![0; length.ok_or_else(|| io::Error::other("no record begins there"))?];
    let read = file.read_at(&mut bytes, offset)?;
    let record = Record::check(&bytes[..read.min(bytes.len())]).map_err(io::Error::other)?;
    let sealed = record.description().filter(|_| record.recording == no);
    sealed.map(<[u8]>::to_vec).ok_or_else(|| io::Error::other("the record there is something else"))
}

fn unreadable(no: RecordingNo, why: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("the description of recording {no} cannot be read: {why}"))
}
