//! The one writer: turns a batch into records of the open segment, then into a commit of the ledger, and deletes segments
//! whose time is over.
//!
//! Nothing is written that is not sealed: a recording's key is on the disk before its first block, and destroyed when the
//! recording is finished.
//!
//! A batch is durable when [`Store::commit`] returns: first its records are on the disk, then the ledger knows them. After a
//! failed write or sync a segment is never written to again, because the kernel may have dropped the pages it could not write
//! and report the next sync as good; the batch goes into a new segment. After a failure of the ledger recovery finds
//! the batch behind the last commit, so that it is not written twice.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::backlog::Batch;
use super::counters::{self, Counters};
use super::descriptions::Descriptions;
use super::disk::{Append, Disk, Failure};
use super::holes::Holes;
use super::index::{CommitIndex, Entry};
use super::keys::Keyring;
use super::ledger::{Described, Ledger};
use super::recovery::{Inventory, recover};
use super::seal::{BoxKey, Entropy, Nonce};
use super::segment::{
    HEADER_BYTES, Header, SegmentNo, What, block_bytes, description_bytes, push_block, push_description, seal_description,
};
use crate::model::{Recording, RecordingNo, Stage};

/// Records are given to the system in pieces of this size: they stay in the CPU's cache on their way, and take little memory.
const WRITE_BYTES: usize = 256 * 1024;

/// So many of the latest recordings are remembered when they are released, by their numbers (docs/decisions/0013).
const REMEMBERED: u64 = 100_000;

/// Released recordings forgotten at once, because audio waits.
const FORGOTTEN: usize = 100;

/// Segments, ledger and what is known of them.
pub struct Store {
    disk: Arc<dyn Disk>,
    ledger: Ledger,
    counters: Arc<Counters>,
    segment_bytes: u64,
    inventory: Inventory,
    keys: Keyring,
    entropy: Entropy,
    open: Option<Open>,
    /// Records on their way to the segment, and the nonces of one batch; kept for their capacity.
    buffer: Vec<u8>,
    nonces: Vec<u8>,
    /// The ledger failed: it must agree with the segments again before anything is entered.
    recover_first: bool,
    /// Something happened that may let segments go.
    review: bool,
    /// The file system can make holes in files, as far as is known.
    makes_holes: bool,
}

/// The segment that is written to.
struct Open {
    no: SegmentNo,
    file: Box<dyn Append>,
    bytes: u64,
}

impl Store {
    /// A store that agrees with `inventory`. Segments are closed before they exceed `segment_bytes`.
    pub fn new(
        disk: Arc<dyn Disk>,
        ledger: Ledger,
        counters: Arc<Counters>,
        inventory: Inventory,
        keys: Keyring,
        entropy: Entropy,
        segment_bytes: u64,
    ) -> Store {
        Store {
            disk,
            ledger,
            counters,
            segment_bytes,
            inventory,
            keys,
            entropy,
            open: None,
            buffer: Vec::new(),
            nonces: Vec::new(),
            recover_first: false,
            review: true,
            makes_holes: true,
        }
    }

    /// Makes a batch durable. After an error the same batch must be given again.
    ///
    /// # Errors
    /// When segment or ledger cannot be written; nothing of the batch counts then.
    pub fn commit(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        self.recover_if_needed()?;
        if batch.written {
            self.count_commit(batch); // recovery has entered it
            return Ok(());
        }
        self.provide_keys(batch)?;
        let (index, sealed) = self.write(batch)?;
        batch.written = true;
        let entered = self.enter(batch, index, &sealed);
        self.checked(entered)
    }

    /// Adds to `batch` the descriptions that must be written once more before segments can go.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn carry(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        self.recover_if_needed()?;
        let answers = self.ledger.spool().map(drop); // a reader may have found it broken, and nobody else would see to it
        self.checked(answers)?;
        if !self.review || batch.written {
            return Ok(());
        }
        let changed: BTreeSet<RecordingNo> = batch.descriptions.iter().map(|recording| recording.no).collect();
        let wanted = self.inventory.holdings.to_carry().into_iter().filter(|no| !changed.contains(no));
        let descriptions = Descriptions { disk: self.disk.as_ref(), ledger: &self.ledger };
        let read = wanted.filter_map(|no| descriptions.sealed(no).map(|sealed| Some((no, sealed?))).transpose()).collect();
        batch.carried = self.checked(read)?;
        Ok(())
    }

    /// Destroys the keys of finished recordings, deletes the segments that may go, makes holes in one that must stay, and
    /// forgets the oldest released recordings.
    ///
    /// # Errors
    /// When a file cannot be written or deleted, or the ledger cannot be written.
    pub fn reclaim(&mut self) -> Result<(), Failure> {
        self.recover_if_needed()?;
        let freed = self.free(); // first, because on a full disk no key file can be replaced
        // Many keys wait for the next audio, so that many calls do not wear out the medium.
        let saved = if self.keys.is_small() { self.save_keys() } else { Ok(()) };
        freed.and(saved)
    }

    fn free(&mut self) -> Result<(), Failure> {
        if !self.review {
            return Ok(());
        }
        if self.inventory.holdings.removable().is_some() {
            // What is only in the ledger from now on must really be there.
            self.sync_ledger()?;
        }
        while let Some((segment, commits)) = self.inventory.holdings.removable() {
            self.disk.remove(segment).map_err(Failure::Disk)?;
            let forgotten = commits.map_or(Ok(()), |numbers| self.ledger.forget_commits(numbers));
            self.checked(forgotten)?;
            self.inventory.holdings.remove_segment(segment);
            tracing::debug!(%segment, "segment deleted: its recordings are finished");
        }
        let done = self.forget_released().and_then(|()| self.ledger.flush());
        self.checked(done)?;
        let is_more_to_punch = self.punch()?;
        self.review = is_more_to_punch || !self.inventory.holdings.to_carry().is_empty();
        Ok(())
    }

    /// Bytes that the segments take.
    pub fn used_bytes(&self) -> u64 {
        self.inventory.holdings.used_bytes()
    }

    /// Closes the ledger for its readers, too.
    ///
    /// # Errors
    /// When keys that were to be destroyed are still on the disk; they go at the next start.
    pub fn close(mut self) -> Result<(), Failure> {
        self.ledger.close();
        self.save_keys()
    }

    /// Every recording with audio in the batch gets a key, durable before the first block is written.
    fn provide_keys(&mut self, batch: &Batch) -> Result<(), Failure> {
        for block in &batch.blocks {
            let no = block.recording;
            if !self.keys.has(no) && !self.is_finished(no)? {
                self.keys.begin(no, &mut self.entropy).map_err(Failure::Disk)?;
            }
        }
        if batch.blocks.is_empty() { Ok(()) } else { self.save_keys() }
    }

    /// The key of a finished recording is gone for good.
    fn is_finished(&mut self, no: RecordingNo) -> Result<bool, Failure> {
        let row = match self.inventory.holdings.row(no) {
            Some(row) => Some(row),
            None => {
                let row = self.ledger.row(no);
                self.checked(row)?
            }
        };
        Ok(row.is_some_and(|row| row.stage >= Stage::Finished))
    }

    fn save_keys(&mut self) -> Result<(), Failure> {
        let written = self.keys.save(self.disk.as_ref()).map_err(Failure::Disk)?;
        counters::add(&self.counters.bytes_written, written);
        Ok(())
    }

    /// Writes and syncs the records of a batch, and says where they are; and its changed descriptions as they were sealed.
    fn write(&mut self, batch: &Batch) -> Result<(CommitIndex, Vec<Vec<u8>>), Failure> {
        let records = batch.blocks.len() + batch.descriptions.len();
        self.nonces.resize(records * size_of::<Nonce>(), 0);
        (self.entropy)(&mut self.nonces).map_err(Failure::Disk)?;
        let mut nonces = Nonces(self.nonces.as_chunks().0.iter());
        let sealed = seal_descriptions(batch, self.ledger.key(), &mut nonces).map_err(Failure::Disk)?;
        let descriptions = batch.carried.iter().map(|(_, sealed)| sealed).chain(&sealed);
        let bytes = descriptions.map(|sealed| description_bytes(sealed)).chain(batch.blocks.iter().map(block_bytes));
        let mut open = self.room(bytes.sum::<usize>() as u64)?;
        let nonces = Nonces(self.nonces.as_chunks().0[batch.descriptions.len()..].iter());
        let records = Records { file: open.file.as_mut(), buffer: &mut self.buffer, entries: Vec::new() };
        match records.write(batch, &sealed, &self.keys, nonces).and_then(|entries| open.file.sync().map(|()| entries)) {
            Ok(entries) => {
                let index = CommitIndex { segment: open.no, offset: open.bytes, entries };
                let written = index.end() - index.offset;
                open.bytes = index.end();
                self.inventory.holdings.grow(open.no, written);
                self.open = Some(open);
                counters::add(&self.counters.bytes_written, written as usize);
                counters::add(&self.counters.fsyncs, 1);
                Ok((index, sealed))
            }
            Err(e) => {
                let durable_bytes = open.bytes;
                self.give_up(open, durable_bytes);
                Err(Failure::Disk(e))
            }
        }
    }

    /// Leaves a segment after a failure. Half a batch is better away; where even that fails, a scan steps over it.
    fn give_up(&mut self, mut open: Open, durable_bytes: u64) {
        let _ = open.file.cut(durable_bytes);
        let is_empty = durable_bytes == HEADER_BYTES as u64;
        if is_empty && self.disk.remove(open.no).is_ok() {
            self.inventory.holdings.remove_segment(open.no); // or there would be one for every try on a full disk
        }
    }

    /// Takes the segment for so many bytes: the open one, or a new one if that is full or there is none. Who takes it puts it
    /// back once all is well with it.
    fn room(&mut self, needed: u64) -> Result<Open, Failure> {
        let fits = |open: &Open| open.bytes == HEADER_BYTES as u64 || open.bytes + needed <= self.segment_bytes;
        match self.open.take().filter(fits) {
            Some(open) => Ok(open),
            None => self.begin_segment(),
        }
    }

    fn begin_segment(&mut self) -> Result<Open, Failure> {
        self.sync_ledger()?; // the header vouches for all commits before
        let no = self.inventory.next_segment;
        self.inventory.next_segment = SegmentNo(no.0.saturating_add(1));
        let header = Header {
            spool: self.ledger.key().spool(),
            segment: no,
            next_recording: self.inventory.next_recording,
            first_commit: self.inventory.next_commit,
        };
        let file = self.disk.create(&header).map_err(Failure::Disk)?;
        self.inventory.holdings.add_segment(no, HEADER_BYTES as u64);
        self.review = true;
        Ok(Open { no, file, bytes: HEADER_BYTES as u64 })
    }

    fn sync_ledger(&mut self) -> Result<(), Failure> {
        let synced = self.disk.sync_ledger();
        self.checked(synced)
    }

    /// Enters what was written into holdings and ledger.
    fn enter(&mut self, batch: &Batch, index: CommitIndex, sealed: &[Vec<u8>]) -> io::Result<()> {
        let (number, holdings) = (self.inventory.next_commit, &mut self.inventory.holdings);
        let touched = index.entries.iter().map(|entry| entry.recording);
        let (old, new): (BTreeSet<RecordingNo>, BTreeSet<_>) = touched.partition(|no| holdings.row(*no).is_some());
        if !holdings.add_commit(number, &index) {
            return Err(io::Error::other("the open segment is not known")); // begin_segment made it known
        }
        for no in new {
            // Without a trace so far, yet perhaps in the ledger: then it was released long ago.
            if let Some(row) = self.ledger.row(no)? {
                holdings.set_stage(no, row.stage);
            }
        }
        batch.descriptions.iter().for_each(|recording| holdings.set_stage(recording.no, recording.stage));
        let described = batch
            .descriptions
            .iter()
            .zip(sealed)
            .filter_map(|(recording, sealed)| Some(Described { recording, row: holdings.row(recording.no)?, sealed }));
        let described: Vec<Described<'_>> = described.collect();
        // Carried, or with audio that came after the end: only where it stands has changed.
        let carried = batch.carried.iter().map(|(no, _)| *no).collect::<BTreeSet<_>>();
        let moved = old.into_iter().filter_map(|no| Some((no, holdings.row(no)?)));
        let moved: Vec<_> = moved.filter(|(no, row)| carried.contains(no) || row.stage == Stage::Ended).collect();
        self.ledger.record(number, &index, &described, &moved)?;
        self.ledger.flush()?;
        self.inventory.next_commit = number.saturating_add(1);
        self.note(&batch.descriptions);
        self.count_commit(batch);
        Ok(())
    }

    fn count_commit(&self, batch: &Batch) {
        counters::add(&self.counters.commits, 1);
        counters::add(&self.counters.blocks, batch.blocks.len());
    }

    fn note(&mut self, described: &[Recording]) {
        for recording in described {
            let next = RecordingNo(recording.no.0.saturating_add(1));
            self.inventory.next_recording = self.inventory.next_recording.max(next);
            if recording.stage >= Stage::Finished {
                self.keys.destroy(recording.no);
                self.review = true;
            }
        }
    }

    fn forget_released(&mut self) -> io::Result<()> {
        let end = RecordingNo(self.inventory.next_recording.0.saturating_sub(REMEMBERED));
        let oldest = self.ledger.released_before(end, FORGOTTEN)?;
        // One with a trace in the segments would come back.
        let without_trace = oldest.into_iter().filter(|no| self.inventory.holdings.row(*no).is_none());
        without_trace.into_iter().try_for_each(|no| self.ledger.forget_recording(no))
    }

    fn recover_if_needed(&mut self) -> Result<(), Failure> {
        if !self.recover_first {
            return Ok(());
        }
        self.inventory = recover(self.disk.as_ref(), &self.ledger, &mut self.entropy)?;
        self.keys.agree(&self.ledger, &self.inventory.holdings).map_err(Failure::Ledger)?;
        self.open = None;
        (self.recover_first, self.review) = (false, true);
        tracing::warn!(report = %self.inventory.report, "the ledger agrees with the segments again");
        Ok(())
    }

    /// Punches holes into one segment, if any is worth it; says whether there may be more. Only one, because audio waits.
    fn punch(&mut self) -> Result<bool, Failure> {
        let holdings = &mut self.inventory.holdings;
        let Some((segment, commits)) = holdings.to_punch().filter(|_| self.makes_holes) else { return Ok(false) };
        let mut holes = Holes::default();
        let read = self.ledger.for_each_commit(commits, |_, index| {
            index.places().filter(|place| holdings.is_free(segment, place)).for_each(|place| holes.add(&place));
            Ok(())
        });
        self.checked(read)?;
        let holes = holes.ranges();
        match self.disk.punch(segment, &holes) {
            Ok(taken_bytes) => {
                self.inventory.holdings.punched(segment, taken_bytes);
                tracing::debug!(%segment, taken_bytes, holes = holes.len(), "finished recordings gave back their room");
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::Unsupported => {
                self.makes_holes = false;
                tracing::warn!(
                    "this file system cannot make holes in files: a long call keeps the room of those beside it; use ext4"
                );
                Ok(false)
            }
            Err(e) => Err(Failure::Disk(e)),
        }
    }

    /// Remembers that the ledger failed.
    fn checked<T>(&mut self, result: io::Result<T>) -> Result<T, Failure> {
        self.recover_first |= result.is_err();
        result.map_err(Failure::Ledger)
    }
}

/// A nonce for each record that is not sealed yet.
struct Nonces<'a>(std::slice::Iter<'a, Nonce>);

impl Nonces<'_> {
    fn next(&mut self) -> io::Result<Nonce> {
        self.0.next().copied().ok_or_else(|| io::Error::other("more records than nonces"))
    }
}

/// Each changed description of a batch, sealed.
fn seal_descriptions(batch: &Batch, box_key: &BoxKey, nonces: &mut Nonces<'_>) -> io::Result<Vec<Vec<u8>>> {
    let seal = |recording: &Recording| {
        let json = serde_json::to_vec(recording)?;
        seal_description(recording.no, &json, &box_key.description_key(recording.no), nonces.next()?)
    };
    batch.descriptions.iter().map(seal).collect()
}

/// Writes the records of a batch, one after the other.
struct Records<'a> {
    file: &'a mut dyn Append,
    buffer: &'a mut Vec<u8>,
    entries: Vec<Entry>,
}

impl Records<'_> {
    /// Gives the entry of each record.
    fn write(mut self, batch: &Batch, sealed: &[Vec<u8>], keys: &Keyring, mut nonces: Nonces<'_>) -> io::Result<Vec<Entry>> {
        self.buffer.clear();
        for (no, sealed) in &batch.carried {
            self.push(*no, What::Description, |out| push_description(out, *no, sealed))?;
        }
        for (recording, sealed) in batch.descriptions.iter().zip(sealed) {
            self.push(recording.no, What::Description, |out| push_description(out, recording.no, sealed))?;
        }
        for block in &batch.blocks {
            let Some(key) = keys.key(block.recording) else {
                tracing::warn!(
                    no = block.recording.0,
                    "half a second of audio came after its recording was finished; it is not kept"
                );
                continue;
            };
            let (what, nonce) = (What::Block { leg: block.leg, number: block.number }, nonces.next()?);
            self.push(block.recording, what, |out| push_block(out, block, &key, nonce))?;
        }
        self.file.append(self.buffer)?;
        Ok(self.entries)
    }

    fn push(
        &mut self,
        recording: RecordingNo,
        what: What,
        record: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.buffer.len() >= WRITE_BYTES {
            self.file.append(self.buffer)?;
            self.buffer.clear();
        }
        let start = self.buffer.len();
        record(self.buffer)?;
        let too_long = |_| io::Error::other(format!("a record of recording {recording} is over 4 GiB"));
        let len = u32::try_from(self.buffer.len() - start).map_err(too_long)?;
        self.entries.push(Entry { recording, what, len });
        Ok(())
    }
}
