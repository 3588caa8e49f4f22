//! The ledger: what stands where in the segments, and the descriptions of recordings that are over. Keys and values in sled.
//!
//! | tree | key | value |
//! |---|---|---|
//! | `commits` | commit number | [`CommitIndex`], some bytes per record |
//! | `rows` | number of a recording that is not released | [`Row`] and what [`Kept`] says |
//! | `released` | number of one that is | [`Row`] |
//! | `descriptions` | number of a recording that is over | [`Recording`] as JSON, sealed as in the segments |
//! | `ids` | recording id, blinded | recording number |
//! | `meta` | `format`, `spool`, `unfinished`, `memo/…` | the format; the spool id; present while it is being rebuilt; see `memo` |
//!
//! Released recordings and descriptions stand apart, so that a start reads neither; the description of a recording that runs stands in
//! its segment alone (docs/decisions/0013, [`super::descriptions`]).
//!
//! Numbers are u64 in big-endian, so that sled's order is theirs. One thread writes; any may read. Nothing here is needed
//! for good: [`super::recovery`] makes all of it anew from the segments.
//!
//! sled 0.34 panics on some damaged files where others give an error, so every call runs under `catch_unwind`, and after any
//! error the database is dropped and opened again. It syncs its file by `sync_file_range`, which leaves out the
//! file's length and the medium's cache: after a power cut its last commits may be gone. And some damage it does not notice but
//! goes back to an older state of a page (3 of 200 trials with flipped bits), or takes what it does not give back (1 of 200).
//! Recovery finds these out.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::{Bound, RangeInclusive};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use super::descriptions::in_segment;
use super::index::CommitIndex;
use super::retention::Kept;
use super::scan::Place;
use super::seal::BoxKey;
use super::segment::{SegmentNo, SpoolId, open_description};
use crate::model::{Recording, RecordingId, RecordingNo, Stage};

mod memo;

/// Memory that sled may use for pages; the commits of a few minutes.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

const PAGE: usize = 64; // commits read at once

/// Raised with every change of keys or values; a ledger of another format is rebuilt.
const FORMAT: &[u8] = &[5];

/// A handle to the ledger; clones share it.
#[derive(Clone)]
pub struct Ledger {
    path: Option<PathBuf>,
    key: BoxKey,
    trees: Arc<RwLock<Option<Trees>>>,
}

struct Trees {
    db: sled::Db,
    commits: sled::Tree,
    rows: sled::Tree,
    released: sled::Tree,
    descriptions: sled::Tree,
    ids: sled::Tree,
    meta: sled::Tree,
}

/// What the ledger knows of a recording, beside its description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// How far it is.
    pub stage: Stage,
    /// The first commit with a record of it.
    pub first_commit: u64,
    /// The last one; `u64::MAX` while more may come.
    pub last_commit: u64,
    /// Segment and first byte of its last description; none when that is a stand-in.
    pub described_at: Option<(SegmentNo, u64)>,
}

/// A changed description, as it goes into the ledger.
pub struct Described<'a> {
    /// The description.
    pub recording: &'a Recording,
    /// What is known beside.
    pub row: Row,
    /// The description as it was sealed; entered only when the recording is over.
    pub sealed: &'a [u8],
}

impl Ledger {
    /// A ledger in the folder `path`, or one that is gone with the last handle. It is closed: [`Ledger::reopen`] opens it.
    pub fn closed(path: Option<PathBuf>, key: BoxKey) -> Ledger {
        Ledger { path, key, trees: Arc::default() }
    }

    /// The key with which its descriptions are sealed.
    pub fn key(&self) -> &BoxKey {
        &self.key
    }

    /// Drops what is open and opens it again.
    ///
    /// # Errors
    /// When sled cannot open it, in which case it stays closed.
    pub fn reopen(&self) -> io::Result<()> {
        let mut trees = self.trees.write().unwrap_or_else(PoisonError::into_inner);
        drop_guarded(trees.take());
        let config = sled::Config::new().cache_capacity(CACHE_BYTES).mode(sled::Mode::LowSpace).flush_every_ms(None);
        let config = match &self.path {
            Some(path) => config.path(path),
            None => config.temporary(true),
        };
        *trees = Some(guarded(|| Trees::open(&config))?);
        Ok(())
    }

    /// Closes it for everybody.
    pub fn close(&self) {
        drop_guarded(self.trees.write().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// The spool it belongs to; none when it is new.
    ///
    /// # Errors
    /// When it cannot be read, has another format, or its rebuilding was interrupted.
    pub fn spool(&self) -> io::Result<Option<SpoolId>> {
        let [format, unfinished, spool] =
            self.with(|t| Ok([t.meta.get("format")?, t.meta.get("unfinished")?, t.meta.get("spool")?]))?;
        match (format, unfinished, spool.and_then(|id| id.as_ref().try_into().ok())) {
            (None, _, _) => Ok(None),
            (Some(format), None, Some(id)) if format == FORMAT => Ok(Some(SpoolId(u128::from_be_bytes(id)))),
            (Some(format), None, _) => Err(io::Error::other(format!("format {format:?}, expected {FORMAT:?}"))),
            (_, Some(_), _) => Err(io::Error::other("its rebuilding was interrupted")),
        }
    }

    /// From here on it is in the making; a ledger that is opened like this counts for nothing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin_rebuild(&self, spool: SpoolId) -> io::Result<()> {
        self.with(|t| {
            t.meta.insert("unfinished", &[])?;
            t.meta.insert("spool", &spool.0.to_be_bytes())?;
            t.meta.insert("format", FORMAT)?;
            t.db.flush().map(drop)
        })
    }

    /// It is whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end_rebuild(&self) -> io::Result<()> {
        self.with(|t| {
            t.db.flush()?; // all of it before the mark goes
            t.meta.remove("unfinished")?;
            t.db.flush().map(drop)
        })
    }

    /// Enters a commit, the descriptions that changed with it, and the rows that changed without. The commit comes last: where
    /// it is, the rest is.
    ///
    /// # Errors
    /// When it cannot be written, or is not there afterwards.
    pub fn record(
        &self,
        number: u64,
        index: &CommitIndex,
        described: &[Described<'_>],
        amended: &[(RecordingNo, Row)],
    ) -> io::Result<()> {
        self.with(|t| {
            described.iter().try_for_each(|d| t.describe(d, &self.key))?;
            amended.iter().try_for_each(|(no, row)| t.amend(*no, *row))?;
            let key = number.to_be_bytes();
            t.commits.insert(key, index.encode())?;
            match t.commits.range(key..).next() {
                Some(Ok((entered, _))) if entered == key => Ok(()),
                _ => Err(sled::Error::ReportableBug(format!("commit {number} was entered and is not there"))),
            }
        })
    }

    /// Enters a description alone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn describe(&self, described: &Described<'_>) -> io::Result<()> {
        self.with(|t| t.describe(described, &self.key))
    }

    /// Corrects what is known of a recording beside its description. One that is not there stays so.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn amend(&self, no: RecordingNo, row: Row) -> io::Result<()> {
        self.with(|t| t.amend(no, row))
    }

    /// Waits until everything entered is written.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&self) -> io::Result<()> {
        self.with(|t| t.db.flush().map(drop))
    }

    /// Removes commits.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub fn forget_commits(&self, numbers: RangeInclusive<u64>) -> io::Result<()> {
        self.with(|t| {
            let range = numbers.start().to_be_bytes()..=numbers.end().to_be_bytes();
            let keys: Vec<sled::IVec> = t.commits.range(range).keys().collect::<sled::Result<_>>()?;
            keys.iter().try_for_each(|key| t.commits.remove(key).map(drop))
        })
    }

    /// Removes a recording.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget_recording(&self, no: RecordingNo) -> io::Result<()> {
        self.with(|t| {
            let key = no.0.to_be_bytes();
            t.rows.remove(key)?;
            t.released.remove(key)?;
            let Some(value) = t.descriptions.remove(key)? else { return Ok(()) };
            let json = open_description(no, &value, &self.key.description_key(no)).unwrap_or_default();
            match serde_json::from_slice::<Recording>(&json) {
                Ok(recording) => t.ids.remove(self.key.blinded(&recording.id)).map(drop),
                Err(_) => Ok(()), // an id that leads nowhere does no harm
            }
        })
    }

    /// The last commit.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn last_commit(&self) -> io::Result<Option<(u64, CommitIndex)>> {
        let commit = |(key, value): (sled::IVec, sled::IVec)| {
            Ok((commit_number(&key)?, CommitIndex::decode(&value).ok_or_else(unreadable)?))
        };
        self.with(|t| t.commits.last())?.map(commit).transpose()
    }

    /// Calls `visit` with every commit of a range in turn.
    ///
    /// # Errors
    /// When one cannot be read, or what `visit` returns.
    pub fn for_each_commit(
        &self,
        numbers: RangeInclusive<u64>,
        mut visit: impl FnMut(u64, CommitIndex) -> io::Result<()>,
    ) -> io::Result<()> {
        self.for_each_value(numbers, |number, value| visit(number, CommitIndex::decode(value).ok_or_else(unreadable)?))
    }

    /// Calls `visit` with the segment and the place of every record of a recording in a range of commits.
    ///
    /// # Errors
    /// When a commit cannot be read.
    pub fn for_each_place(
        &self,
        no: RecordingNo,
        numbers: RangeInclusive<u64>,
        mut visit: impl FnMut(SegmentNo, Place),
    ) -> io::Result<()> {
        self.for_each_value(numbers, |_, value| CommitIndex::visit_places_of(value, no, &mut visit).ok_or_else(unreadable))
    }

    fn for_each_value(
        &self,
        numbers: RangeInclusive<u64>,
        mut visit: impl FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut next = *numbers.start();
        loop {
            // Page by page, so that nobody who reads slowly keeps the ledger from being reopened.
            let range = next.to_be_bytes()..=numbers.end().to_be_bytes();
            let page: Vec<_> = self.with(|t| t.commits.range(range).take(PAGE).collect())?;
            for (key, value) in &page {
                let number = commit_number(key)?;
                visit(number, value)?;
                next = number + 1; // no commit is ever numbered u64::MAX
            }
            if page.len() < PAGE || next > *numbers.end() {
                return Ok(());
            }
        }
    }

    /// What is known beside its description of every recording that is not released, in the order of numbers.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn rows(&self) -> io::Result<BTreeMap<RecordingNo, Row>> {
        self.each_row(|no, row, _| Some((no, row)))
    }

    /// What retention must know of every recording that is not released, in the order of numbers.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn kept(&self) -> io::Result<Vec<Kept>> {
        self.each_row(|no, row, tail| Kept::decode(no, row.stage, tail))
    }

    fn each_row<T: FromIterator<I>, I>(&self, read: impl Fn(RecordingNo, Row, &[u8]) -> Option<I>) -> io::Result<T> {
        let row = |(key, value): (sled::IVec, sled::IVec)| {
            let (row, tail) = split(&value)?;
            read(RecordingNo(number(&key)?), row, tail)
        };
        let rows: Option<T> = self.with(|t| t.rows.iter().map(|pair| pair.map(row)).collect())?;
        rows.ok_or_else(|| io::Error::other("a row of a recording cannot be read"))
    }

    /// Released recordings with lesser numbers than `end`, the oldest first, `limit` at most.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn released_before(&self, end: RecordingNo, limit: usize) -> io::Result<Vec<RecordingNo>> {
        let keys: Vec<_> = self.with(|t| t.released.range(..end.0.to_be_bytes()).keys().take(limit).collect())?;
        Ok(keys.iter().filter_map(|key| number(key)).map(RecordingNo).collect())
    }

    /// The greatest number of a recording that it knows.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn last_recording(&self) -> io::Result<Option<RecordingNo>> {
        let last = self.with(|t| Ok([t.rows.last()?, t.released.last()?]))?;
        Ok(last.iter().flatten().filter_map(|(key, _)| number(key)).max().map(RecordingNo))
    }

    /// What is known of one recording beside its description.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn row(&self, no: RecordingNo) -> io::Result<Option<Row>> {
        let value = self.with(|t| Ok(t.rows.get(no.0.to_be_bytes())?.or(t.released.get(no.0.to_be_bytes())?)))?;
        Ok(value.and_then(|value| Some(split(&value)?.0)))
    }

    /// The number of the recording that last came with this id.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn find(&self, id: &RecordingId) -> io::Result<Option<RecordingNo>> {
        let value = self.with(|t| t.ids.get(self.key.blinded(id)))?;
        Ok(value.and_then(|value| number(&value)).map(RecordingNo))
    }

    /// The description of a recording that is over, as it was sealed; perhaps one that this version cannot read.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn sealed_description(&self, no: RecordingNo) -> io::Result<Option<Vec<u8>>> {
        let value = self.with(|t| t.descriptions.get(no.0.to_be_bytes()))?;
        Ok(value.map(|sealed| sealed.to_vec()))
    }

    /// The numbers of up to `limit` recordings that are older than `before`, newest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn numbers_before(&self, before: Option<RecordingNo>, limit: usize) -> io::Result<Vec<RecordingNo>> {
        let end = before.map_or(Bound::Unbounded, |no| Bound::Excluded(no.0.to_be_bytes()));
        let newest = |tree: &sled::Tree| -> sled::Result<Vec<sled::IVec>> {
            tree.range::<[u8; 8], _>((Bound::Unbounded, end)).keys().rev().take(limit).collect()
        };
        let keys = self.with(|t| Ok([newest(&t.rows)?, newest(&t.released)?].concat()))?;
        let numbers: BTreeSet<u64> = keys.iter().filter_map(|key| number(key)).collect();
        Ok(numbers.into_iter().rev().take(limit).map(RecordingNo).collect())
    }

    fn with<T>(&self, work: impl FnOnce(&Trees) -> sled::Result<T>) -> io::Result<T> {
        let trees = self.trees.read().unwrap_or_else(PoisonError::into_inner);
        let trees = trees.as_ref().ok_or_else(|| io::Error::other("the ledger is closed while it is being mended"))?;
        guarded(|| work(trees))
    }
}

impl Trees {
    fn open(config: &sled::Config) -> sled::Result<Trees> {
        let db = config.open()?;
        let tree = |name| db.open_tree(name);
        Ok(Trees {
            commits: tree("commits")?,
            rows: tree("rows")?,
            released: tree("released")?,
            descriptions: tree("descriptions")?,
            ids: tree("ids")?,
            meta: tree("meta")?,
            db,
        })
    }

    fn describe(&self, described: &Described<'_>, box_key: &BoxKey) -> sled::Result<()> {
        let Described { recording, row, sealed } = described;
        let key = recording.no.0.to_be_bytes();
        if in_segment(*row).is_none() {
            self.descriptions.insert(key, *sealed)?;
        }
        let before = if row.stage == Stage::Released {
            self.released.insert(key, row.encode().as_slice())?;
            self.rows.remove(key)?
        } else {
            let kept = Kept::of(recording, box_key).encode();
            self.rows.insert(key, [row.encode().as_slice(), &kept].concat())?
        };
        if before.is_none() {
            self.ids.insert(box_key.blinded(&recording.id), &key)?;
        }
        Ok(())
    }

    fn amend(&self, no: RecordingNo, row: Row) -> sled::Result<()> {
        let key = no.0.to_be_bytes();
        for tree in [&self.rows, &self.released] {
            let Some(mut value) = tree.get(key)? else { continue };
            if let Some(head) = value.get_mut(..ROW_BYTES) {
                head.copy_from_slice(&row.encode());
                tree.insert(key, value)?;
            }
        }
        Ok(())
    }
}

/// Runs `work` so that neither an error nor a panic of sled gets past.
fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> io::Result<T> {
    // Unwind-safe: after an error the caller drops everything that a panic could have left half done.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(io::Error::other),
        Err(_) => Err(io::Error::other("sled panicked: its files are damaged")),
    }
}

/// Drops a database, whose last flush may fail or panic once more.
fn drop_guarded(trees: Option<Trees>) {
    let _ = guarded(|| {
        drop(trees);
        Ok(())
    });
}

const ROW_BYTES: usize = 33;
const STAGES: [Stage; 5] = [Stage::Recording, Stage::Ended, Stage::Finished, Stage::Delivered, Stage::Released];

impl Row {
    fn encode(self) -> [u8; ROW_BYTES] {
        let mut out = [0; ROW_BYTES];
        out[0] = match self.stage {
            Stage::Recording => 0,
            Stage::Ended => 1,
            Stage::Finished => 2,
            Stage::Delivered => 3,
            Stage::Released => 4,
        };
        // No segment is numbered 0, so that says none.
        let (segment, offset) = self.described_at.unwrap_or((SegmentNo(0), 0));
        let numbers = [self.first_commit, self.last_commit, segment.0, offset];
        out[1..].copy_from_slice(numbers.map(u64::to_be_bytes).as_flattened());
        out
    }
}

fn split(value: &[u8]) -> Option<(Row, &[u8])> {
    let (row, sealed) = value.split_first_chunk::<ROW_BYTES>()?;
    let stage = *STAGES.get(usize::from(row[0]))?;
    let &[first_commit, last_commit, segment, offset] = row[1..].as_chunks::<8>().0 else { return None };
    let described_at = Some((SegmentNo(u64::from_be_bytes(segment)), u64::from_be_bytes(offset)));
    let described_at = described_at.filter(|(segment, _)| segment.0 != 0);
    let (first_commit, last_commit) = (u64::from_be_bytes(first_commit), u64::from_be_bytes(last_commit));
    Some((Row { stage, first_commit, last_commit, described_at }, sealed))
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

fn commit_number(key: &[u8]) -> io::Result<u64> {
    number(key).filter(|n| *n < u64::MAX).ok_or_else(unreadable)
}

fn unreadable() -> io::Error {
    io::Error::other("a commit cannot be read")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::recording;
    use super::super::index::Entry;
    use super::super::segment::{What, seal_description};
    use super::*;

    fn open() -> Ledger {
        let ledger = Ledger::closed(None, BoxKey::new(&[1; 32]));
        ledger.reopen().unwrap();
        ledger
    }

    fn describe(ledger: &Ledger, recording: &Recording, row: Row) {
        describe_as(ledger, recording, row, &serde_json::to_vec(recording).unwrap());
    }

    fn describe_as(ledger: &Ledger, recording: &Recording, row: Row, json: &[u8]) {
        let sealed = seal_description(recording.no, json, &ledger.key.description_key(recording.no), [5; 12]).unwrap();
        ledger.describe(&Described { recording, row, sealed: &sealed }).unwrap();
    }

    fn commit_of(no: u64) -> CommitIndex {
        let entries = vec![Entry { recording: RecordingNo(no), what: What::Description, len: 9 }];
        CommitIndex { segment: SegmentNo(1), offset: no, entries }
    }

    #[test]
    fn commits_come_in_order_over_many_pages() {
        let ledger = open();
        (0..300).rev().for_each(|n| ledger.record(n, &commit_of(n), &[], &[]).unwrap());
        ledger.forget_commits(100..=199).unwrap();
        let mut seen = Vec::new();
        let visit = |number, index: CommitIndex| {
            assert_eq!(index, commit_of(number));
            seen.push(number);
            Ok(())
        };
        ledger.for_each_commit(10..=u64::MAX, visit).unwrap();
        assert_eq!(seen, (10..100).chain(200..300).collect::<Vec<_>>());
        assert_eq!(ledger.last_commit().unwrap(), Some((299, commit_of(299))));
    }

    #[test]
    fn a_row_is_amended_without_touching_the_description() {
        let ledger = open();
        let before = Row { stage: Stage::Recording, first_commit: 3, last_commit: u64::MAX, described_at: None };
        let after = Row { stage: Stage::Ended, first_commit: 3, last_commit: 70, described_at: Some((SegmentNo(2), 52)) };
        describe(&ledger, &recording(7, Stage::Recording), before);
        assert_eq!(ledger.row(RecordingNo(7)).unwrap(), Some(before));
        ledger.amend(RecordingNo(7), after).unwrap();
        ledger.amend(RecordingNo(8), after).unwrap();
        assert_eq!(ledger.rows().unwrap(), [(RecordingNo(7), after)].into());
        assert!(ledger.sealed_description(RecordingNo(7)).unwrap().is_some(), "it was described without a place in a segment");
    }

    #[test]
    fn a_forgotten_recording_is_not_found_by_its_id() {
        let ledger = open();
        let row = Row { stage: Stage::Released, first_commit: 0, last_commit: 0, described_at: None };
        (1..=3).for_each(|no| describe(&ledger, &recording(no, Stage::Released), row));
        let id = recording(2, Stage::Released).id;
        assert_eq!(ledger.find(&id).unwrap(), Some(RecordingNo(2)));
        ledger.forget_recording(RecordingNo(2)).unwrap();
        assert_eq!(ledger.find(&id).unwrap(), None);
        assert_eq!(ledger.numbers_before(None, 9).unwrap(), [RecordingNo(3), RecordingNo(1)]);
    }

    #[test]
    fn what_another_version_wrote_is_an_error_and_no_panic() {
        let ledger = open();
        let row = Row { stage: Stage::Ended, first_commit: 0, last_commit: 0, described_at: None };
        describe_as(&ledger, &recording(1, Stage::Ended), row, b"{\"later\":1}");
        describe(&ledger, &recording(2, Stage::Ended), row);
        assert!(ledger.sealed_description(RecordingNo(1)).unwrap().is_some());
        ledger.forget_recording(RecordingNo(1)).unwrap();
        assert_eq!(ledger.rows().unwrap().len(), 1);
    }

    #[test]
    fn only_a_whole_ledger_of_a_known_format_says_whose_it_is() {
        let ledger = open();
        assert_eq!(ledger.spool().unwrap(), None);
        ledger.begin_rebuild(SpoolId(5)).unwrap();
        assert!(ledger.spool().is_err());
        ledger.end_rebuild().unwrap();
        assert_eq!(ledger.spool().unwrap(), Some(SpoolId(5)));
        ledger.with(|t| t.meta.insert("format", &[9])).unwrap();
        assert!(ledger.spool().is_err());
        ledger.close();
        assert!(ledger.spool().is_err(), "closed");
    }
}
