//! What the spool asks of its folder on the disk. The real one is in [`super::driver`]; tests put one before it that fails on
//! demand.

use std::io;
use std::ops::Range;

use super::segment::{Header, SegmentNo};
use crate::model::WallTime;

/// The folder of segment files, with the ledger's folder beside them.
pub trait Disk: Send + Sync {
    /// All segment files, ascending.
    ///
    /// # Errors
    /// When the folder cannot be read.
    fn segments(&self) -> io::Result<Vec<SegmentFile>>;

    /// Opens a segment for reading.
    ///
    /// # Errors
    /// When there is none of that number, or it cannot be opened.
    fn open(&self, segment: SegmentNo) -> io::Result<Box<dyn ReadAt>>;

    /// Creates a segment that holds only its header; it and its name are on the disk when this returns.
    ///
    /// # Errors
    /// When it exists, the disk is full or not writable; no file stays behind then.
    fn create(&self, header: &Header) -> io::Result<Box<dyn Append>>;

    /// Makes what a segment holds durable, whoever wrote it.
    ///
    /// # Errors
    /// When it cannot be opened or synced.
    fn sync(&self, segment: SegmentNo) -> io::Result<()>;

    /// Gives the room of these ranges of a segment back; they read as zeros from then on. A power cut may undo it. Returns the
    /// bytes that the segment takes on the disk now.
    ///
    /// # Errors
    /// `Unsupported` when the file system has no holes; else when the segment cannot be written to.
    fn punch(&self, segment: SegmentNo, holes: &[Range<u64>]) -> io::Result<u64>;

    /// Deletes a segment.
    ///
    /// # Errors
    /// When the folder is not writable. One that is gone already is no error.
    fn remove(&self, segment: SegmentNo) -> io::Result<()>;

    /// Bytes that are free for us.
    ///
    /// # Errors
    /// When the file system does not say.
    fn free_bytes(&self) -> io::Result<u64>;

    /// A file of a few kilobytes; none when there is none of that name.
    ///
    /// # Errors
    /// When it cannot be read.
    fn small_file(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Puts a file that only this user may read in the place of the one of that name; after a crash the old or the new one is
    /// there, after success the new one, even if the power fails.
    ///
    /// # Errors
    /// When it cannot be written; the old one may still be there then.
    fn replace_small_file(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Gives a file another name.
    ///
    /// # Errors
    /// When the folder is not writable, or there is no such file.
    fn rename_small_file(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes the folder of the ledger, which is closed, ready to be opened: half-written snapshots go, and nothing locks it.
    ///
    /// # Errors
    /// When one cannot be deleted, or something holds its lock for good.
    fn prepare_ledger(&self) -> io::Result<()>;

    /// Makes the ledger's files durable. Its own flush waits for the data, but not for the length of the file nor for
    /// the cache of the medium (sled 0.34 uses `sync_file_range`).
    ///
    /// # Errors
    /// When they cannot be synced.
    fn sync_ledger(&self) -> io::Result<()>;

    /// Renames the ledger's folder away, in place of one that was set aside before.
    ///
    /// # Errors
    /// When the folder is not writable.
    fn set_ledger_aside(&self) -> io::Result<()>;
}

/// A segment file as listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    /// Its number, from its name.
    pub no: SegmentNo,
    /// Its length.
    pub bytes: u64,
    /// What it takes on the disk: without its holes.
    pub taken_bytes: u64,
    /// When it was last written to.
    pub modified: WallTime,
}

/// A segment being read.
pub trait ReadAt: Send {
    /// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// When the medium cannot be read there.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The end of the hole that `offset` is in; `offset` itself when it is in none, or the file system does not say.
    fn hole_end(&self, offset: u64) -> u64;
}

/// The one segment that is written to.
pub trait Append: Send {
    /// Writes all of `bytes` at the end.
    ///
    /// # Errors
    /// Part of `bytes` may have been written then.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything appended durable.
    ///
    /// # Errors
    /// What was appended since the last success may or may not be on the disk, and a second try may lie about it.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file back to `bytes`, the length it had at the last successful sync.
    ///
    /// # Errors
    /// When the medium no longer takes even that.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
}

/// What went wrong, and so what is done about it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A segment that could not be written or synced is never written to again; the same is tried in a new one.
    #[error("the disk fails: {0}; check its free space and its health")]
    Disk(io::Error),
    /// It is opened again, or rebuilt from the segments.
    #[error("the ledger fails: {0}; it is opened again, or rebuilt from the segments")]
    Ledger(io::Error),
}
