//! Opens the ledger and makes it agree with the segments, which are the truth.
//!
//! 1. *Trust*: the ledger opens, belongs to these segments, its making was not interrupted and it is not older than the newest
//!    segment's beginning; its commits cover all of every segment up to the last commit, but for what is damage; every
//!    recording's row tells of the very description that the commits say is the last; and no segment is gone that is still
//!    needed. Any other ledger is set aside, and an empty one takes its place.
//! 2. *Catching up*: every whole record behind its last commit is entered: after a kill what was written but not yet entered,
//!    with an empty ledger everything. A torn tail stays where it is; the next commit begins a new segment.
//! 3. *Taking stock*: the last description found of a recording is entered. A recording of which blocks are left but no
//!    description gets a stand-in, so that its audio is finished and delivered all the same. The last description of a recording
//!    that runs is read; a damaged one is replaced by the last whole one.
//!
//! Until 3 is done the ledger is marked as unfinished, so a crash in between leads to a new beginning.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;

use super::descriptions::{in_segment, sealed_at};
use super::disk::{Disk, Failure, SegmentFile};
use super::holdings::Holdings;
use super::index::{CommitIndex, Entry};
use super::ledger::{Described, Ledger, Row};
use super::scan::{Found, Place, Scan};
use super::seal::{Entropy, Nonce};
use super::segment::{HEADER_BYTES, Header, SegmentNo, What, open_description, seal_description};
use super::stand_in::StandIn;
use crate::model::{Recording, RecordingNo, Stage};

/// Records entered as one commit.
const COMMIT_RECORDS: usize = 500;

/// Damaged ranges listed one by one; more are only counted.
const LISTED_DAMAGE: usize = 100;

/// Ledger and segments agree; this is what they hold.
#[derive(Debug)]
pub struct Inventory {
    /// What each segment holds.
    pub holdings: Holdings,
    /// Number of the next segment.
    pub next_segment: SegmentNo,
    /// Number of the next commit.
    pub next_commit: u64,
    /// The least recording number that was never used.
    pub next_recording: RecordingNo,
    /// What had to be mended.
    pub report: Report,
}

/// What recovery came upon; empty after a clean stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Why the ledger was made anew.
    pub rebuilt: Option<String>,
    /// Records entered that the ledger did not have.
    pub entered: u64,
    /// Ranges without any whole record, the first hundred of them.
    pub damaged: Vec<(SegmentNo, Range<u64>)>,
    /// Bytes in all such ranges.
    pub damaged_bytes: u64,
    /// Segments of another spool, sealed with another `box.key`, which are left alone.
    pub foreign: Vec<SegmentNo>,
    /// Running recordings whose last description is damaged: an older one was taken, or a stand-in.
    pub damaged_descriptions: Vec<RecordingNo>,
    /// Recordings whose description was lost.
    pub stand_ins: Vec<RecordingNo>,
    /// Recordings with audio that nobody can open any more.
    pub lost_keys: Vec<RecordingNo>,
}

/// Opens `ledger` and makes it agree with those segments of `disk` that belong to its key.
///
/// # Errors
/// When segments cannot be read, or not even an empty ledger can be opened.
pub fn recover(disk: &dyn Disk, ledger: &Ledger, entropy: &mut Entropy) -> Result<Inventory, Failure> {
    let segments = list(disk).map_err(Failure::Disk)?;
    match Recovery::open(disk, ledger, &segments).and_then(|recovery| recovery.run(entropy)) {
        Err(Failure::Ledger(why)) => {
            ledger.close();
            disk.set_ledger_aside().map_err(Failure::Disk)?;
            let mut inventory = Recovery::open(disk, ledger, &segments)?.run(entropy)?;
            inventory.report.rebuilt = Some(why.to_string());
            Ok(inventory)
        }
        done => done,
    }
}

type Listed = Vec<(SegmentFile, Option<Header>)>;

fn list(disk: &dyn Disk) -> io::Result<Listed> {
    let files = disk.segments()?;
    let mut out = Vec::with_capacity(files.len());
    for file in files {
        let mut bytes = [0; HEADER_BYTES];
        match disk.open(file.no).and_then(|segment| segment.read_at(&mut bytes, 0)) {
            Ok(_) => out.push((file, Header::parse(&bytes))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {} // deleted meanwhile: this is a copy, or a running spool
            Err(_) => out.push((file, None)),                   // a bad sector: the records may still be read
        }
    }
    Ok(out)
}

/// A segment from its header to `end`, but for `gaps`.
#[derive(Default)]
struct Covered {
    end: u64,
    gaps: Vec<Range<u64>>,
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    ledger: &'a Ledger,
    segments: Listed,
    next_segment: SegmentNo,
    next_commit: u64,
    /// What the ledger's commits cover of each segment.
    covered: BTreeMap<SegmentNo, Covered>,
    /// The ledger was empty when it was opened: what it lacks was not lost by it.
    is_new: bool,
    /// The ledger is marked as unfinished.
    marked: bool,
    /// The last description of each recording behind what the ledger knows.
    descriptions: BTreeMap<RecordingNo, (SegmentNo, Place)>,
    holdings: Holdings,
    report: Report,
}

impl<'a> Recovery<'a> {
    /// Step 1, as far as it can be told without what the commits say.
    fn open(disk: &'a dyn Disk, ledger: &'a Ledger, listed: &Listed) -> Result<Recovery<'a>, Failure> {
        ledger.close();
        disk.prepare_ledger().map_err(Failure::Disk)?;
        ledger.reopen().map_err(Failure::Ledger)?;
        let known = ledger.spool().map_err(Failure::Ledger)?;
        let last = ledger.last_commit().map_err(Failure::Ledger)?;
        let spool = ledger.key().spool();
        if known.is_some_and(|id| id != spool) {
            return Err(distrust("it belongs to another spool"));
        }
        let is_foreign = |header: &Option<Header>| header.is_some_and(|header| header.spool != spool);
        let (foreign, segments): (Listed, Listed) = listed.iter().copied().partition(|(_, header)| is_foreign(header));
        let begun_after = segments.iter().filter_map(|(_, header)| *header).map(|h| h.first_commit).max().unwrap_or(0);
        let next_commit = last.as_ref().map_or(0, |(number, _)| number + 1); // the ledger allows none numbered u64::MAX
        if last.is_some() && begun_after > next_commit {
            return Err(distrust("it is older than the newest segment"));
        }
        let last_segment = listed.iter().map(|(file, _)| file.no.0).max().unwrap_or(0);
        let mut recovery = Recovery {
            disk,
            ledger,
            segments,
            next_segment: SegmentNo(last_segment.saturating_add(1)),
            next_commit,
            covered: BTreeMap::new(),
            is_new: known.is_none(),
            marked: false,
            descriptions: BTreeMap::new(),
            holdings: Holdings::default(),
            report: Report { foreign: foreign.iter().map(|(file, _)| file.no).collect(), ..Report::default() },
        };
        if known.is_none() {
            recovery.mark()?;
        }
        Ok(recovery)
    }

    fn run(mut self, entropy: &mut Entropy) -> Result<Inventory, Failure> {
        self.segments.iter().for_each(|(file, _)| self.holdings.add_segment(file.no, file.taken_bytes));
        let lost = self.read_commits().map_err(Failure::Ledger)?;
        let last_known = self.covered.keys().next_back().copied();
        for (file, header) in std::mem::take(&mut self.segments) {
            if Some(file.no) < last_known {
                self.check_covered(file)?;
            } else {
                self.catch_up(file, header)?;
            }
            self.segments.push((file, header));
        }
        self.take_stock(&lost, entropy).map_err(Failure::Ledger)?;
        if self.marked {
            self.read_back()?;
            self.ledger.end_rebuild().map_err(Failure::Ledger)?;
        }
        let last_used = self.ledger.last_recording().map_err(Failure::Ledger)?.map_or(0, |no| no.0);
        let noted = self.segments.iter().filter_map(|(_, header)| *header).map(|h| h.next_recording.0).max().unwrap_or(0);
        Ok(Inventory {
            holdings: self.holdings,
            next_segment: self.next_segment,
            next_commit: self.next_commit,
            next_recording: RecordingNo(noted.max(last_used.saturating_add(1))),
            report: self.report,
        })
    }

    /// Enters what the ledger knows into the holdings. Returns the commits whose segment is gone.
    fn read_commits(&mut self) -> io::Result<Vec<(u64, CommitIndex)>> {
        let mut lost = Vec::new();
        self.ledger.for_each_commit(0..=u64::MAX - 1, |number, index| {
            if !self.holdings.add_commit(number, &index) {
                lost.push((number, index));
                return Ok(());
            }
            let covered = self.covered.entry(index.segment).or_default();
            let from = covered.end.max(HEADER_BYTES as u64);
            if index.offset > from {
                covered.gaps.push(from..index.offset);
            }
            covered.end = index.end();
            Ok(())
        })?;
        Ok(lost)
    }

    /// Step 1: what the commits do not cover of a segment before the last must be damage.
    fn check_covered(&mut self, file: SegmentFile) -> Result<(), Failure> {
        let covered = self.covered.remove(&file.no).unwrap_or_default();
        let tail = covered.end.max(HEADER_BYTES as u64)..file.bytes;
        self.check_gaps(file, covered.gaps.into_iter().chain([tail]))
    }

    fn check_gaps(&mut self, file: SegmentFile, gaps: impl Iterator<Item = Range<u64>>) -> Result<(), Failure> {
        for gap in gaps.filter(|gap| !gap.is_empty()) {
            let segment = self.disk.open(file.no).map_err(Failure::Disk)?;
            let mut found = Scan::new(segment.as_ref(), gap.start, file.bytes).take_while(|found| found.offset() < gap.end);
            if found.any(|found| matches!(found, Found::Record(_))) {
                return Err(distrust(&format!("it does not know the records in {} from {}", file.no.file_name(), gap.start)));
            }
        }
        Ok(())
    }

    /// Step 2, for one segment: enters what stands behind the last commit.
    fn catch_up(&mut self, file: SegmentFile, header: Option<Header>) -> Result<(), Failure> {
        let covered = self.covered.remove(&file.no).unwrap_or_default();
        self.check_gaps(file, covered.gaps.into_iter())?;
        let from = covered.end.max(HEADER_BYTES as u64);
        if header.is_none() {
            self.note_damage(file.no, 0..file.bytes.min(HEADER_BYTES as u64));
        }
        if file.bytes <= from {
            return Ok(());
        }
        self.next_commit = self.next_commit.max(header.map_or(0, |h| h.first_commit));
        // After a kill the records may be in memory only; the ledger must never know more than the disk.
        let opened = self.disk.sync(file.no).and_then(|()| self.disk.open(file.no));
        let segment = match opened {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()), // deleted meanwhile, by the daemon of this spool
            opened => opened.map_err(Failure::Disk)?,
        };
        let mut commit = CommitIndex { segment: file.no, offset: from, entries: Vec::new() };
        for found in Scan::new(segment.as_ref(), from, file.bytes) {
            match found {
                Found::Damaged(range) => self.note_damage(file.no, range),
                Found::Record(place) => {
                    if commit.entries.len() >= COMMIT_RECORDS || place.offset != commit.end() {
                        self.enter(&commit)?;
                        commit = CommitIndex { segment: file.no, offset: place.offset, entries: Vec::new() };
                    }
                    commit.entries.push(Entry { recording: place.recording, what: place.what, len: place.len });
                    if place.what == What::Description {
                        self.descriptions.insert(place.recording, (file.no, place));
                    }
                }
            }
        }
        self.enter(&commit)
    }

    fn enter(&mut self, commit: &CommitIndex) -> Result<(), Failure> {
        if commit.entries.is_empty() {
            return Ok(());
        }
        self.mark()?;
        self.ledger.record(self.next_commit, commit, &[], &[]).map_err(Failure::Ledger)?;
        let _ = self.holdings.add_commit(self.next_commit, commit); // its segment is listed
        self.next_commit = self.next_commit.saturating_add(1);
        self.report.entered += commit.entries.len() as u64;
        Ok(())
    }

    /// Step 3, and the rest of 1.
    fn take_stock(&mut self, lost: &[(u64, CommitIndex)], entropy: &mut Entropy) -> io::Result<()> {
        for (no, (segment, place)) in std::mem::take(&mut self.descriptions) {
            match self.read_description(segment, place) {
                Some((recording, sealed)) => self.describe(no, &recording, &sealed)?,
                None => self.note_damage(segment, place.offset..place.offset + u64::from(place.len)),
            }
        }
        let rows = self.rows(&self.holdings)?;
        rows.iter().for_each(|(no, row)| self.holdings.set_stage(*no, row.stage));
        self.drop_lost(lost, &rows)?;
        for (no, row) in &rows {
            let told = self.holdings.row(*no);
            if row.described_at != told.and_then(|told| told.described_at) && (told.is_some() || row.stage < Stage::Released) {
                return Err(io::Error::other(format!("it does not know the last description of recording {no}")));
            }
            if let Some(told) = told.filter(|told| row.stage < Stage::Finished && row != told) {
                self.ledger.amend(*no, told)?;
            }
        }
        let nameless: Vec<RecordingNo> = self.holdings.recordings().filter(|no| !rows.contains_key(no)).collect();
        for no in nameless {
            if !self.is_new && self.holdings.row(no).is_some_and(|told| told.described_at.is_some()) {
                return Err(io::Error::other(format!("it does not know recording {no}")));
            }
            self.stand_in(no, entropy)?;
        }
        self.check_running(&rows, entropy)
    }

    /// The rows of all recordings that are not released, and of the released ones that have left a trace.
    fn rows(&self, holdings: &Holdings) -> io::Result<BTreeMap<RecordingNo, Row>> {
        let mut rows = self.ledger.rows()?;
        let released: Vec<RecordingNo> = holdings.recordings().filter(|no| !rows.contains_key(no)).collect();
        for no in released {
            rows.extend(self.ledger.row(no)?.map(|row| (no, row)));
        }
        Ok(rows)
    }

    /// Makes sure that what was entered is there. A damaged tree has been seen to take commits and not to give them back.
    fn read_back(&self) -> Result<(), Failure> {
        let mut again = Holdings::default();
        self.segments.iter().for_each(|(file, _)| again.add_segment(file.no, file.taken_bytes));
        let enter = |number, index: CommitIndex| {
            let _ = again.add_commit(number, &index); // what does not fit shows below
            Ok(())
        };
        self.ledger.for_each_commit(0..=u64::MAX - 1, enter).map_err(Failure::Ledger)?;
        self.rows(&again).map_err(Failure::Ledger)?.iter().for_each(|(no, row)| again.set_stage(*no, row.stage));
        if again == self.holdings { Ok(()) } else { Err(distrust("it does not give back what was entered")) }
    }

    /// Commits of segments that are gone: deleted when their recordings were finished, just before a crash; or else the
    /// ledger cannot be trusted.
    fn drop_lost(&self, lost: &[(u64, CommitIndex)], rows: &BTreeMap<RecordingNo, Row>) -> io::Result<()> {
        for (number, index) in lost {
            for Entry { recording: no, .. } in index.entries.iter().filter(|entry| entry.what != What::Description) {
                // One without any trace is in `rows` only as long as it is not released.
                let row = rows.get(no).copied().map_or_else(|| self.ledger.row(*no), |row| Ok(Some(row)))?;
                if row.is_none_or(|row| row.stage < Stage::Finished) {
                    let segment = index.segment;
                    return Err(io::Error::other(format!("segment {segment} is gone, with audio of recording {no} in it")));
                }
            }
            self.ledger.forget_commits(*number..=*number)?;
        }
        Ok(())
    }

    fn read_description(&self, segment: SegmentNo, place: Place) -> Option<(Recording, Vec<u8>)> {
        let sealed = sealed_at(self.disk, place.recording, segment, place.offset).ok()?;
        let json = open_description(place.recording, &sealed, &self.ledger.key().description_key(place.recording))?;
        let recording: Recording = serde_json::from_slice(&json).ok()?;
        (recording.no == place.recording).then_some((recording, sealed))
    }

    /// The rest of 3: the description of a recording that runs stands in its segment alone. In place of a damaged one an older
    /// one is taken until the daemon says more, or a stand-in.
    fn check_running(&mut self, rows: &BTreeMap<RecordingNo, Row>, entropy: &mut Entropy) -> io::Result<()> {
        for (no, row) in rows {
            let Some((segment, offset)) = in_segment(*row) else { continue };
            if sealed_at(self.disk, *no, segment, offset).is_ok() {
                continue;
            }
            self.report.damaged_descriptions.push(*no);
            let mut places = Vec::new();
            self.ledger.for_each_place(*no, row.first_commit..=row.last_commit, |segment, place| {
                places.extend((place.what == What::Description).then_some((segment, place)));
            })?;
            let whole =
                places.into_iter().rev().find(|(segment, place)| sealed_at(self.disk, *no, *segment, place.offset).is_ok());
            match whole {
                Some((segment, place)) => self.holdings.set_described(*no, segment, &place),
                None => self.stand_in(*no, entropy)?,
            }
            if let Some(row) = self.holdings.row(*no) {
                self.ledger.amend(*no, row)?;
            }
        }
        Ok(())
    }

    fn describe(&mut self, no: RecordingNo, recording: &Recording, sealed: &[u8]) -> io::Result<()> {
        self.holdings.set_stage(no, recording.stage);
        let Some(row) = self.holdings.row(no) else { return Ok(()) }; // it was found, so there is one
        self.ledger.describe(&Described { recording, row, sealed })
    }

    fn stand_in(&mut self, no: RecordingNo, entropy: &mut Entropy) -> io::Result<()> {
        let mut stand_in = StandIn::default();
        let mut first_segment = None;
        self.ledger.for_each_commit(0..=u64::MAX - 1, |_, index| {
            for entry in index.entries.iter().filter(|entry| entry.recording == no) {
                first_segment.get_or_insert(index.segment);
                stand_in.add(entry.what);
            }
            Ok(())
        })?;
        let file = self.segments.iter().find(|(file, _)| Some(file.no) == first_segment);
        let seen = file.map(|(file, _)| file.modified).unwrap_or_default();
        let recording = stand_in.recording(self.ledger.key().spool(), no, seen);
        self.report.stand_ins.push(no);
        let (json, mut nonce) = (serde_json::to_vec(&recording)?, Nonce::default());
        entropy(&mut nonce)?;
        let sealed = seal_description(no, &json, &self.ledger.key().description_key(no), nonce)?;
        self.describe(no, &recording, &sealed)
    }

    fn mark(&mut self) -> Result<(), Failure> {
        if !self.marked {
            self.ledger.begin_rebuild(self.ledger.key().spool()).map_err(Failure::Ledger)?;
            self.marked = true;
        }
        Ok(())
    }

    fn note_damage(&mut self, segment: SegmentNo, range: Range<u64>) {
        self.report.damaged_bytes += range.end - range.start;
        if self.report.damaged.len() < LISTED_DAMAGE && !range.is_empty() {
            self.report.damaged.push((segment, range));
        }
    }
}

fn distrust(why: &str) -> Failure {
    Failure::Ledger(io::Error::other(why))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.rebuilt {
            write!(f, "the ledger was set aside and rebuilt from the segments ({why}); ")?;
        }
        write!(f, "{} records entered that the ledger did not have; {} damaged bytes", self.entered, self.damaged_bytes)?;
        for (segment, range) in &self.damaged {
            write!(f, ", {} {}..{}", segment.file_name(), range.start, range.end)?;
        }
        if !self.foreign.is_empty() {
            let names: Vec<String> = self.foreign.iter().map(|no| no.file_name()).collect();
            let what = "sealed with another box.key and left alone";
            write!(f, "; {what}: {}; put the right key back, or move them to a folder of their own", names.join(", "))?;
        }
        let lists = [
            ("last description damaged", &self.damaged_descriptions),
            ("description lost, audio kept", &self.stand_ins),
            ("key lost, audio gone", &self.lost_keys),
        ];
        for (what, numbers) in lists {
            if !numbers.is_empty() {
                let numbers: Vec<String> = numbers.iter().map(RecordingNo::to_string).collect();
                write!(f, "; {what}: recordings {}", numbers.join(", "))?;
            }
        }
        Ok(())
    }
}
