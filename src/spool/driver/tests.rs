//! The spool as its neighbours see it, on a real folder with a real ledger. Faults and kills: `faults`; damage: `damage`;
//! keys: `sealing`; a long call beside short ones: `room`.

mod damage;
mod faults;
mod room;
mod sealing;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::mpsc::channel;

use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::super::disk::{Append, ReadAt, SegmentFile};
use super::super::fixture::{block, recording};
use super::super::ledger::{Described, Row};
use super::super::segment::tests::stored;
use super::super::segment::{Header, SegmentNo, seal_description};
use super::super::writer::ledger_path;
use super::*;
use crate::model::{BlockSource, CallUuid, Damage, MediaTime, RecordingId, RecordingNo, Run, Stage, StoredBlock};

/// A spool at work.
struct Running {
    spool: Spool,
    events: UnboundedReceiver<Event>,
    pool: Receiver<Samples>,
    recovered: Recovered,
}

/// Small segments: four full blocks each.
fn config(dir: &Path) -> Config {
    Config { dir: dir.into(), segment_bytes: 17_700, floor_bytes: 0, backlog_blocks: 100 }
}

fn open(dir: &Path) -> Running {
    open_on(dir, |folder| Arc::new(folder))
}

/// Opens it on what `disk` makes of its folder.
fn open_on(dir: &Path, disk: impl FnOnce(Folder) -> Arc<dyn Disk>) -> Running {
    let config = config(dir);
    let ((pool_in, pool), (events_in, events)) = (channel(), unbounded_channel());
    let folder = Folder { dir: dir.into(), is_writable: true };
    let (spool, recovered) = Spool::start(&config, lock(dir).unwrap(), disk(folder), pool_in, events_in).unwrap();
    Running { spool, events, pool, recovered }
}

/// The ledger in a folder that no spool serves.
fn closed_ledger(dir: &Path) -> Ledger {
    let box_key = keys::box_key(&Folder { dir: dir.into(), is_writable: true }, &mut entropy()).unwrap();
    Ledger::closed(Some(ledger_path(dir)), box_key)
}

impl Running {
    fn blocks(&self, blocks: Vec<Block>) {
        self.spool.commands.send(Command::Blocks(blocks)).unwrap();
    }

    /// Hands a description over and waits until it, and so all before it, is durable.
    fn describe(&mut self, recording: &Recording) {
        self.spool.commands.send(Command::Describe(Box::new(recording.clone()))).unwrap();
        self.wait_for(&Event::Described { no: recording.no, stage: recording.stage });
    }

    fn wait_for(&mut self, wanted: &Event) {
        while self.events.blocking_recv().expect("the thread lives") != *wanted {}
    }

    fn stop(self) {
        self.spool.stop().unwrap();
    }

    fn segments(&self) -> Vec<u64> {
        self.spool.reader.disk.segments().unwrap().into_iter().map(|file| file.no.0).collect()
    }
}

/// Everything a reader gets: descriptions with their blocks.
type Contents = BTreeMap<RecordingNo, (Recording, Vec<Result<StoredBlock, Damage>>)>;

fn contents(reader: &Reader) -> Contents {
    let all = reader.recordings().map(|recording| recording.unwrap());
    all.map(|recording| (recording.no, (recording.clone(), all_of(reader, recording.no)))).collect()
}

/// Every block of a recording, as far as it can be read.
fn all_of(reader: &Reader, no: RecordingNo) -> Vec<Result<StoredBlock, Damage>> {
    let mut blocks = reader.blocks(no).unwrap();
    (0..blocks.count()).map(|index| blocks.read(index)).collect()
}

fn read(reader: &Reader, no: u64) -> Vec<StoredBlock> {
    all_of(reader, RecordingNo(no)).into_iter().map(|block| block.unwrap()).collect()
}

/// Two calls of two legs, one of them over; in five segments.
fn two_calls(running: &mut Running) {
    running.describe(&recording(2, Stage::Recording));
    for number in 0..5 {
        running.blocks(vec![block(1, 0, number), block(2, 0, number), block(1, 1, number), block(2, 1, number)]);
        running.describe(&recording(1, Stage::Recording));
    }
    running.describe(&recording(2, Stage::Ended));
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    assert!(running.recovered.recordings.is_empty());
    assert_eq!(running.recovered.next_no, RecordingNo(1));
    two_calls(&mut running);
    let before = contents(&running.spool.reader());
    assert_eq!(before[&RecordingNo(1)].1.len(), 10);
    assert!(running.segments().len() > 3);
    running.stop();

    let running = open(dir.path());
    assert_eq!(running.recovered.report, Report::default(), "a clean stop leaves nothing to mend");
    assert_eq!(running.recovered.recordings, [recording(1, Stage::Recording), recording(2, Stage::Ended)]);
    assert_eq!(running.recovered.kept, [(RecordingNo(1), MediaTime(5 * 4_000))].into());
    assert_eq!(running.recovered.next_no, RecordingNo(3));
    assert_eq!(contents(&running.spool.reader()), before);
    running.stop();
}

#[test]
fn blocks_come_by_number_then_leg_then_order_of_writing() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    let mut late = block(1, 0, 0);
    late.runs = [Run { start: 100, len: 80 }].into_iter().collect();
    late.samples.fill(7);
    let expected = [stored(&block(1, 0, 0)), stored(&late), stored(&block(1, 1, 0)), stored(&block(1, 1, 1))];
    running.blocks(vec![block(1, 1, 1), block(9, 0, 0)]);
    running.blocks(vec![block(1, 0, 0), block(1, 1, 0)]);
    running.blocks(vec![late]);
    running.describe(&recording(1, Stage::Recording));
    assert_eq!(read(&running.spool.reader(), 1), expected);
    assert_eq!(running.spool.reader().blocks(RecordingNo(9)).err().unwrap().kind(), ErrorKind::NotFound, "not described");
    running.stop();
}

#[test]
fn audio_that_comes_after_the_end_is_found() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    running.blocks(vec![block(1, 0, 0)]);
    running.describe(&recording(1, Stage::Ended));
    running.blocks(vec![block(1, 0, 1)]);
    running.describe(&recording(2, Stage::Recording));
    assert_eq!(read(&running.spool.reader(), 1).len(), 2);
    running.stop();
    let running = open(dir.path());
    assert_eq!(read(&running.spool.reader(), 1).len(), 2);
    running.stop();
}

#[test]
fn the_memory_of_blocks_goes_back_to_the_pool() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    two_calls(&mut running);
    let counters = running.spool.counters();
    let pool = running.pool;
    running.spool.stop().unwrap();
    assert_eq!(pool.iter().count(), 20);
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(load(&counters.blocks), 20);
    assert_eq!(load(&counters.dropped_blocks), 0);
    assert!((7..=12).contains(&load(&counters.commits)), "one for each description, or blocks apart");
    assert!(load(&counters.bytes_written) > 80_000);
}

#[test]
fn recordings_are_listed_newest_first_and_found_by_id() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    for no in 1..=70 {
        running.spool.commands.send(Command::Describe(Box::new(recording(no, Stage::Recording)))).unwrap();
    }
    running.describe(&recording(71, Stage::Recording));
    let reader = running.spool.reader();
    let numbers = |recordings: Vec<io::Result<Recording>>| recordings.into_iter().map(|r| r.unwrap().no.0).collect::<Vec<_>>();
    assert_eq!(numbers(reader.recordings().collect()), (1..=71).rev().collect::<Vec<_>>());
    let page = reader.recordings_before(Some(RecordingNo(40))).take(3).collect();
    assert_eq!(numbers(page), [39, 38, 37]);
    assert_eq!(reader.find(&recording(33, Stage::Ended).id).unwrap(), Some(recording(33, Stage::Recording)));
    assert_eq!(reader.find(&RecordingId("nobody".into())).unwrap(), None);
    running.stop();
}

#[test]
fn segments_go_when_their_recordings_are_finished_and_descriptions_stay() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    two_calls(&mut running);
    let many = running.segments();
    running.describe(&recording(2, Stage::Finished));
    let still = running.segments();
    assert!(many.iter().all(|segment| still.contains(segment)), "recording 1 has blocks in every one of them");
    running.describe(&recording(1, Stage::Finished));
    running.describe(&recording(3, Stage::Recording)); // so that what was to be done is done
    let left = running.segments();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0] > 5);
    running.stop();

    // Even without the ledger.
    fs::remove_dir_all(dir.path().join("ledger")).unwrap();
    let running = open(dir.path());
    let expected = [recording(1, Stage::Finished), recording(2, Stage::Finished), recording(3, Stage::Recording)];
    assert_eq!(running.recovered.recordings, expected);
    assert_eq!(running.recovered.report.damaged_bytes, 0);
    running.stop();
}

#[test]
fn a_released_recording_stays_known_and_never_comes_back() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    two_calls(&mut running);
    running.describe(&recording(2, Stage::Released));
    running.describe(&recording(1, Stage::Released));
    running.describe(&recording(3, Stage::Recording));
    running.blocks((0..10).map(|n| block(3, 0, n)).collect());
    running.describe(&recording(3, Stage::Released));
    running.stop();
    let running = open(dir.path());
    assert!(running.recovered.recordings.is_empty());
    assert_eq!(running.spool.reader().find(&recording(2, Stage::Released).id).unwrap(), Some(recording(2, Stage::Released)));
    running.stop();

    fs::remove_dir_all(dir.path().join("ledger")).unwrap();
    let running = open(dir.path());
    assert!(running.recovered.recordings.is_empty());
    assert_eq!(running.recovered.next_no, RecordingNo(4), "no number is used twice");
    running.stop();
}

#[test]
fn what_another_version_wrote_is_listed_as_an_error_beside_the_others() {
    let dir = TempDir::new().unwrap();
    let running = open(dir.path());
    let ledger = &running.spool.reader.ledger;
    let row = Row { stage: Stage::Ended, first_commit: 0, last_commit: 0, described_at: None };
    for (no, json) in [(1, b"{\"later\":1}".to_vec()), (2, serde_json::to_vec(&recording(2, Stage::Ended)).unwrap())] {
        let no = RecordingNo(no);
        let sealed = seal_description(no, &json, &ledger.key().description_key(no), [5; 12]).unwrap();
        ledger.describe(&Described { recording: &recording(no.0, Stage::Ended), row, sealed: &sealed }).unwrap();
    }
    let listed: Vec<_> = running.spool.reader().recordings().collect();
    assert_eq!(listed[0].as_ref().unwrap(), &recording(2, Stage::Ended));
    assert!(listed[1].as_ref().is_err_and(|e| e.to_string().contains("recording 1 cannot be read")));
    running.stop();
}

#[test]
fn the_oldest_released_recordings_are_forgotten() {
    let dir = TempDir::new().unwrap();
    let ledger = closed_ledger(dir.path());
    ledger.reopen().unwrap();
    ledger.begin_rebuild(ledger.key().spool()).unwrap();
    let row = Row { stage: Stage::Released, first_commit: 0, last_commit: 0, described_at: None };
    for no in (1..=8).chain([100_004]) {
        ledger.describe(&Described { recording: &recording(no, Stage::Released), row, sealed: b"" }).unwrap();
    }
    ledger.end_rebuild().unwrap();
    ledger.close();

    let mut running = open(dir.path());
    assert_eq!(running.recovered.next_no, RecordingNo(100_005), "{:?}", running.recovered.report);
    running.describe(&recording(100_005, Stage::Recording));
    running.describe(&recording(100_005, Stage::Ended)); // so that what was to be done is done
    let ledger = &running.spool.reader.ledger;
    let left = ledger.released_before(RecordingNo(u64::MAX), 99).unwrap();
    assert_eq!(left, [6, 7, 8, 100_004].map(RecordingNo), "what is a hundred thousand numbers ago");
    assert!(ledger.sealed_description(RecordingNo(5)).unwrap().is_none() && ledger.row(RecordingNo(5)).unwrap().is_none());
    assert_eq!(ledger.rows().unwrap().len(), 1);
    running.stop();
}

#[test]
fn two_daemons_on_one_folder_are_refused() {
    let dir = TempDir::new().unwrap();
    let running = open(dir.path());
    let refused = Spool::open(&config(dir.path()), channel().0, unbounded_channel().0);
    assert!(matches!(refused, Err(OpenError::InUse { .. })));
    running.stop();
    open(dir.path()).stop();
}

#[test]
fn a_folder_that_cannot_be_made_is_refused() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let refused = Spool::open(&config(&dir.path().join("file/spool")), channel().0, unbounded_channel().0);
    let text = refused.err().unwrap().to_string();
    assert!(text.contains("file/spool") && text.contains("writ"), "{text}");
}

#[test]
fn a_full_disk_is_announced() {
    let dir = TempDir::new().unwrap();
    let (events_in, mut events) = unbounded_channel();
    let full = Config { floor_bytes: u64::MAX, ..config(dir.path()) };
    let (spool, _) = Spool::open(&full, channel().0, events_in).unwrap();
    spool.commands.send(Command::Describe(Box::new(recording(1, Stage::Recording)))).unwrap();
    let space = events.blocking_recv().unwrap();
    assert!(matches!(space, Event::Space { accepting: false, free_bytes: 1.., .. }), "{space:?}");
    spool.stop().unwrap();
}

#[test]
fn a_copy_is_read_offline_and_not_changed() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    two_calls(&mut running);
    let expected = contents(&running.spool.reader());

    let (reader, report) = open_offline(dir.path()).unwrap();
    assert_eq!(contents(&reader), expected, "while the daemon runs");
    assert_eq!(report.damaged_bytes, 0);
    running.stop();

    fs::remove_dir_all(dir.path().join("ledger")).unwrap();
    let before = listing(dir.path());
    let (reader, _) = open_offline(dir.path()).unwrap();
    assert_eq!(contents(&reader), expected, "of a dead box");
    assert_eq!(reader.find(&recording(2, Stage::Ended).id).unwrap(), Some(recording(2, Stage::Ended)));
    drop(reader);
    assert_eq!(listing(dir.path()), before);
    assert!(open_offline(&dir.path().join("nothing")).is_err());
}

#[test]
fn it_opens_again_at_once_after_it_was_stopped() {
    let dir = TempDir::new().unwrap();
    for round in 0..10 {
        let mut running = open(dir.path());
        assert_eq!(running.recovered.report, Report::default(), "round {round}");
        running.blocks((0..50).map(|n| block(1, 0, n)).collect());
        running.describe(&recording(1, Stage::Recording));
        let reader = running.spool.reader(); // a reader that is left over does not keep the ledger
        running.stop();
        assert!(reader.recording(RecordingNo(1)).is_err());
    }
}

#[test]
fn a_lock_that_sled_lets_go_late_is_waited_for() {
    let (dir, mut running) = (TempDir::new().unwrap(), None);
    open(dir.path()).stop();
    let held = Flock::lock(File::open(dir.path().join("ledger/db")).unwrap(), FlockArg::LockExclusive).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| running = Some(open(dir.path())));
        drop(held); // before or after it is first looked at
    });
    let running = running.unwrap();
    assert_eq!(running.recovered.report, Report::default());
    running.stop();
}

/// Every file with its bytes.
fn listing(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(listing(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// What a kill at this moment would leave.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for (path, bytes) in listing(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, bytes).unwrap();
    }
}
