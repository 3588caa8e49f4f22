//! What the spool counts, for metrics and for the watchdog. Written by the spool's thread, read by any.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// All since start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Turns of the spool's thread. One that stands still for longer than a minute hangs at the disk.
    pub turns: AtomicU64,
    /// Commits that are durable.
    pub commits: AtomicU64,
    /// Blocks (or parts of them) that are durable.
    pub blocks: AtomicU64,
    /// Bytes written to segments and key files.
    pub bytes_written: AtomicU64,
    /// Syncs of segments.
    pub fsyncs: AtomicU64,
    /// Blocks dropped because the disk did not take them for too long.
    pub dropped_blocks: AtomicU64,
    /// Blocks that could not be read back.
    pub damaged_blocks: AtomicU64,
    /// How often the disk or the ledger failed.
    pub failures: AtomicU64,
}

/// Counts up. No other memory hangs on a counter, so relaxed is enough.
pub(super) fn add(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Relaxed);
}
