//! A disk that fails at every kind of call, a kill at every one of them, and a real `kill -9`.

use std::io::{BufRead, BufReader};
use std::process::{Command as Process, Stdio};
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;

use super::*;

/// What the spool does to its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Create,
    /// Half of the bytes are written.
    Append,
    /// All of them are.
    Sync,
    Remove,
    Punch,
    SyncLedger,
    /// One of the files of keys, or `box.key`.
    Keys,
    ReadBoxKey,
}

/// Asked before each call: lets it pass, or fails it.
type Hook = Arc<Mutex<dyn FnMut(Call) -> io::Result<()> + Send>>;

/// A folder with a hook before it.
struct Hooked {
    folder: Folder,
    hook: Hook,
}

struct HookedSegment {
    segment: Box<dyn Append>,
    hook: Hook,
}

fn ask(hook: &Hook, call: Call) -> io::Result<()> {
    (hook.lock().unwrap())(call)
}

impl Disk for Hooked {
    fn create(&self, header: &Header) -> io::Result<Box<dyn Append>> {
        ask(&self.hook, Call::Create)?;
        Ok(Box::new(HookedSegment { segment: self.folder.create(header)?, hook: self.hook.clone() }))
    }
    fn remove(&self, segment: SegmentNo) -> io::Result<()> {
        ask(&self.hook, Call::Remove)?;
        self.folder.remove(segment)
    }
    fn punch(&self, segment: SegmentNo, holes: &[Range<u64>]) -> io::Result<u64> {
        ask(&self.hook, Call::Punch)?;
        self.folder.punch(segment, holes)
    }
    fn sync_ledger(&self) -> io::Result<()> {
        ask(&self.hook, Call::SyncLedger)?;
        self.folder.sync_ledger()
    }
    fn segments(&self) -> io::Result<Vec<SegmentFile>> {
        self.folder.segments()
    }
    fn open(&self, segment: SegmentNo) -> io::Result<Box<dyn ReadAt>> {
        self.folder.open(segment)
    }
    fn sync(&self, segment: SegmentNo) -> io::Result<()> {
        self.folder.sync(segment)
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.folder.free_bytes()
    }
    fn small_file(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        if name == keys::BOX_KEY {
            ask(&self.hook, Call::ReadBoxKey)?;
        }
        self.folder.small_file(name)
    }
    fn replace_small_file(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        ask(&self.hook, Call::Keys)?;
        self.folder.replace_small_file(name, bytes)
    }
    fn rename_small_file(&self, from: &str, to: &str) -> io::Result<()> {
        self.folder.rename_small_file(from, to)
    }
    fn prepare_ledger(&self) -> io::Result<()> {
        self.folder.prepare_ledger()
    }
    fn set_ledger_aside(&self) -> io::Result<()> {
        self.folder.set_ledger_aside()
    }
}

impl Append for HookedSegment {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        self.segment.append(first)?;
        ask(&self.hook, Call::Append)?;
        self.segment.append(second)
    }
    fn sync(&mut self) -> io::Result<()> {
        ask(&self.hook, Call::Sync)?;
        self.segment.sync()
    }
    fn cut(&mut self, _bytes: u64) -> io::Result<()> {
        Err(io::Error::other("it takes nothing any more"))
    }
}

pub(super) fn open_hooked(dir: &Path, hook: impl FnMut(Call) -> io::Result<()> + Send + 'static) -> Running {
    open_on(dir, |folder| Arc::new(Hooked { folder, hook: Arc::new(Mutex::new(hook)) }))
}

/// A whole life of recording 1, while 2 goes on.
fn lives(running: &mut Running, mut on_durable: impl FnMut(&Recording)) {
    let mut describe = |running: &mut Running, no, stage| {
        running.describe(&recording(no, stage));
        on_durable(&recording(no, stage));
    };
    describe(running, 1, Stage::Recording);
    for number in 0..6 {
        running.blocks(vec![block(1, 0, number), block(1, 1, number)]);
        describe(running, 1, Stage::Recording);
    }
    for stage in [Stage::Ended, Stage::Finished, Stage::Delivered] {
        running.blocks((0..4).map(|leg| block(2, leg, stage as u32)).collect());
        describe(running, 2, Stage::Recording);
        describe(running, 1, stage);
    }
    describe(running, 1, Stage::Released);
}

fn check_lives(dir: &Path) {
    let running = open(dir);
    assert_eq!(running.recovered.recordings, [recording(2, Stage::Recording)]);
    assert_eq!(read(&running.spool.reader(), 2).len(), 12);
    running.stop();
}

#[test]
fn every_failing_call_is_tried_again_until_all_is_durable() {
    for wanted in [Call::Create, Call::Append, Call::Sync, Call::Remove, Call::SyncLedger, Call::Keys] {
        let dir = TempDir::new().unwrap();
        let mut calls = 0;
        let mut running = open_hooked(dir.path(), move |call| {
            calls += usize::from(call == wanted);
            if call == wanted && calls == 2 { Err(io::Error::from_raw_os_error(nix::libc::ENOSPC)) } else { Ok(()) }
        });
        lives(&mut running, |_| {});
        let counters = running.spool.counters();
        running.stop();
        assert_eq!(counters.failures.load(Relaxed), 1, "{wanted:?}");
        assert_eq!(counters.dropped_blocks.load(Relaxed), 0, "{wanted:?}");
        check_lives(dir.path());
        fs::remove_dir_all(dir.path().join("ledger")).unwrap();
        check_lives(dir.path());
    }
}

#[test]
fn trouble_and_its_end_are_announced_and_the_segment_is_left() {
    let dir = TempDir::new().unwrap();
    let mut syncs = 0;
    let mut running = open_hooked(dir.path(), move |call| {
        syncs += usize::from(call == Call::Sync);
        if call == Call::Sync && [2, 3].contains(&syncs) { Err(io::Error::from_raw_os_error(nix::libc::EIO)) } else { Ok(()) }
    });
    running.describe(&recording(1, Stage::Recording));
    running.blocks(vec![block(1, 0, 0)]);
    let trouble = loop {
        if let Event::Trouble { what } = running.events.blocking_recv().unwrap() {
            break what;
        }
    };
    assert!(trouble.contains("os error 5"), "{trouble}");
    running.wait_for(&Event::Mended);
    assert_eq!(running.segments(), [1, 3], "nothing was in the second");
    assert_eq!(read(&running.spool.reader(), 1).len(), 1);
    running.stop();
}

#[test]
fn a_box_key_that_is_forbidden_is_no_reason_for_a_new_one() {
    let dir = TempDir::new().unwrap();
    open(dir.path()).stop();
    let before = listing(dir.path());
    let folder = Folder { dir: dir.path().into(), is_writable: true };
    let hook = |call| if call == Call::ReadBoxKey { Err(ErrorKind::PermissionDenied.into()) } else { Ok(()) };
    let disk = Arc::new(Hooked { folder, hook: Arc::new(Mutex::new(hook)) });
    let refused = Spool::start(&config(dir.path()), lock(dir.path()).unwrap(), disk, channel().0, unbounded_channel().0);
    assert!(matches!(refused, Err(Failure::Disk(e)) if e.to_string().contains("box.key")));
    assert_eq!(listing(dir.path()), before);
}

#[test]
fn a_disk_that_stays_broken_costs_the_oldest_audio_only() {
    let dir = TempDir::new().unwrap();
    let is_broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let broken = is_broken.clone();
    let mut running = open_hooked(dir.path(), move |call| match call {
        Call::Append if broken.load(Relaxed) => Err(io::Error::from_raw_os_error(nix::libc::EROFS)),
        _ => Ok(()),
    });
    running.blocks(vec![block(1, 0, 0)]);
    while !matches!(running.events.blocking_recv().unwrap(), Event::Trouble { .. }) {}
    for number in 1..=149 {
        running.blocks(vec![block(1, 0, number)]); // 100 may wait; the first is on its way
    }
    let given_up: Vec<_> = running.pool.iter().take(49).map(|samples| samples[12]).collect();
    assert_eq!(given_up, (1..50).collect::<Vec<_>>());
    is_broken.store(false, Relaxed);
    running.wait_for(&Event::Mended);
    running.describe(&recording(1, Stage::Ended));
    let stored: Vec<u32> = read(&running.spool.reader(), 1).iter().map(|block| block.number.0).collect();
    assert_eq!(stored, [0].into_iter().chain(50..150).collect::<Vec<_>>());
    assert_eq!(running.spool.counters().dropped_blocks.load(Relaxed), 49);
    running.stop();
}

#[test]
fn a_disk_that_takes_five_seconds_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let (release, released) = channel::<()>();
    let (at_sync, in_sync) = channel();
    let mut is_first = true;
    let mut running = open_hooked(dir.path(), move |call| {
        if call == Call::Sync && std::mem::take(&mut is_first) {
            at_sync.send(()).unwrap();
            let _ = released.recv(); // hangs until the test lets go
        }
        Ok(())
    });
    running.blocks(vec![block(1, 0, 0)]);
    in_sync.recv().unwrap();
    let turns = running.spool.counters().turns.load(Relaxed);
    for number in 1..=10 {
        // As the media thread does it: without ever waiting.
        let blocks = (0..9).map(|leg| block(1, leg, number)).collect();
        running.spool.commands.try_send(Command::Blocks(blocks)).unwrap();
    }
    assert_eq!(running.spool.counters().turns.load(Relaxed), turns, "it stands still, which a watchdog sees");
    release.send(()).unwrap();
    running.describe(&recording(1, Stage::Ended));
    assert_eq!(read(&running.spool.reader(), 1).len(), 1 + 10 * 9);
    let counters = running.spool.counters();
    assert_eq!((counters.dropped_blocks.load(Relaxed), counters.failures.load(Relaxed)), (0, 0));
    running.stop();
}

#[test]
fn a_disk_that_is_pulled_keeps_what_was_acknowledged() {
    let dir = TempDir::new().unwrap();
    let is_pulled = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let pulled = is_pulled.clone();
    let gone = move |_| if pulled.load(Relaxed) { Err(io::Error::from_raw_os_error(nix::libc::ENODEV)) } else { Ok(()) };
    let mut running = open_hooked(dir.path(), gone);
    running.blocks((0..5).map(|number| block(1, 0, number)).collect());
    running.describe(&recording(1, Stage::Recording));
    is_pulled.store(true, Relaxed);
    running.blocks(vec![block(1, 0, 5)]);
    while !matches!(running.events.blocking_recv().unwrap(), Event::Trouble { .. }) {}
    assert!(running.spool.stop().is_err(), "what waits in memory is lost, and that is told");
    let running = open(dir.path());
    assert_eq!(running.recovered.recordings, [recording(1, Stage::Recording)]);
    assert!(read(&running.spool.reader(), 1).len() >= 5);
    running.stop();
}

#[test]
fn what_cannot_be_written_at_the_end_is_told() {
    let dir = TempDir::new().unwrap();
    let mut running = open_hooked(dir.path(), |call| match call {
        Call::Create => Err(io::Error::from_raw_os_error(nix::libc::EROFS)),
        _ => Ok(()),
    });
    running.blocks(vec![block(1, 0, 0)]);
    while !matches!(running.events.blocking_recv().unwrap(), Event::Trouble { .. }) {}
    assert!(matches!(running.spool.stop(), Err(Failure::Disk(_))));
}

#[test]
fn a_ledger_that_fails_is_opened_again() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    running.describe(&recording(1, Stage::Recording));
    running.spool.reader.ledger.close(); // every call fails from here on
    running.blocks(vec![block(1, 0, 0)]);
    running.describe(&recording(1, Stage::Ended));
    assert_eq!(read(&running.spool.reader(), 1).len(), 1, "written once, not twice");
    assert!(!dir.path().join("ledger.set-aside").exists());
    running.stop();
}

#[test]
fn a_ledger_that_fails_while_segments_go_is_opened_again_before_all_is_well() {
    let dir = TempDir::new().unwrap();
    let ledger: Arc<Mutex<Option<Ledger>>> = Arc::default();
    let to_close = ledger.clone();
    let mut running = open_hooked(dir.path(), move |call| {
        if call == Call::Remove {
            to_close.lock().unwrap().take().iter().for_each(Ledger::close);
        }
        Ok(())
    });
    *ledger.lock().unwrap() = Some(running.spool.reader.ledger.clone());
    running.describe(&recording(2, Stage::Recording));
    running.blocks((0..8).map(|number| block(1, 0, number)).collect());
    running.describe(&recording(1, Stage::Recording));
    running.describe(&recording(1, Stage::Finished));
    running.blocks(vec![block(2, 0, 0)]);
    running.wait_for(&Event::Mended);
    assert!(running.spool.reader.ledger.rows().is_ok());
    running.describe(&recording(2, Stage::Ended));
    running.stop();
    let running = open(dir.path());
    assert_eq!(running.recovered.report, Report::default());
    assert_eq!(read(&running.spool.reader(), 2).len(), 1);
    running.stop();
}

#[test]
fn a_ledger_that_is_damaged_at_work_is_rebuilt_at_work() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    two_calls(&mut running);
    let expected = contents(&running.spool.reader());
    running.spool.reader.ledger.close();
    fs::write(dir.path().join("ledger/conf"), [0xFF; 40]).unwrap();
    running.describe(&recording(1, Stage::Recording));
    assert!(dir.path().join("ledger.set-aside").exists());
    assert_eq!(contents(&running.spool.reader()), expected);
    running.stop();
}

#[test]
fn a_kill_at_any_call_loses_nothing_acknowledged() {
    let (dir, snapshots) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let durable: Arc<Mutex<Vec<Recording>>> = Arc::default();
    let taken: Arc<Mutex<Vec<Vec<Recording>>>> = Arc::default();
    let hook = {
        let (dir, snapshots) = (dir.path().to_owned(), snapshots.path().to_owned());
        let (durable, taken) = (durable.clone(), taken.clone());
        move |_| {
            let mut taken = taken.lock().unwrap();
            taken.push(durable.lock().unwrap().clone());
            copy(&dir, &snapshots.join(taken.len().to_string()));
            Ok(())
        }
    };
    let mut running = open_hooked(dir.path(), hook);
    lives(&mut running, |recording| durable.lock().unwrap().push(recording.clone()));
    running.stop();

    let taken = taken.lock().unwrap();
    assert!(taken.len() > 30);
    for (n, durable) in (1..).zip(taken.iter()) {
        for lose_ledger in [false, true] {
            check_snapshot(&snapshots.path().join(n.to_string()), durable, lose_ledger);
        }
    }
}

/// `durable`: what had been acknowledged by then, in order.
fn check_snapshot(dir: &Path, durable: &[Recording], lose_ledger: bool) {
    if lose_ledger {
        fs::remove_dir_all(dir.join("ledger")).unwrap();
    }
    let running = open(dir);
    for no in [1, 2] {
        let said: Vec<Stage> = durable.iter().filter(|recording| recording.no.0 == no).map(|recording| recording.stage).collect();
        let Some(stage) = said.last() else { continue };
        let found = running.spool.reader().recording(RecordingNo(no)).unwrap();
        assert!(found.as_ref().map_or(Stage::Released, |recording| recording.stage) >= *stage, "{dir:?}: {found:?}");
        if let Some(recording) = found.filter(|recording| recording.stage < Stage::Finished) {
            // The blocks between one description and the next, see `lives`.
            let blocks = if no == 1 { 2 * (said.len() - 1).min(6) } else { 4 * said.len() };
            let read = read(&running.spool.reader(), no).len();
            assert!(read >= blocks, "{dir:?}: {read} of {blocks} blocks of recording {}", recording.no);
        }
    }
    let recordings: Vec<Recording> = running.spool.reader().recordings().map(Result::unwrap).collect();
    running.stop();
    let (folder, box_key) = (Folder { dir: dir.into(), is_writable: false }, closed_ledger(dir).key().clone());
    for recording in recordings.iter().filter(|recording| recording.stage >= Stage::Finished) {
        assert!(keys::find(&folder, &box_key, recording.no).is_none(), "{dir:?}: the key of {} is still there", recording.no);
    }
}

const CHILD_DIR: &str = "NEAREND_TEST_SPOOL_CHILD";

#[test]
#[ignore = "not a test of its own: the process that `a_real_kill_loses_nothing_acknowledged` kills"]
fn child_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let mut running = open(Path::new(&dir));
    for number in 0.. {
        running.blocks(vec![block(1, 0, number), block(1, 1, number)]);
        running.describe(&recording(1, Stage::Recording));
        println!("\ndurable {number}");
    }
}

#[test]
fn a_real_kill_loses_nothing_acknowledged() {
    let dir = TempDir::new().unwrap();
    let mut child = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "spool::driver::tests::faults::child_that_is_killed"])
        .env(CHILD_DIR, dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let mut durable = lines.filter_map(|line| line.strip_prefix("durable ").map(|number| number.parse::<usize>().unwrap()));
    assert_eq!(durable.by_ref().find(|number| *number >= 20), Some(20));
    child.kill().unwrap(); // SIGKILL
    let last = durable.last().unwrap_or(20);
    child.wait().unwrap();

    let running = open(dir.path());
    assert!(running.recovered.report.rebuilt.is_none(), "{:?}", running.recovered.report);
    assert!(read(&running.spool.reader(), 1).len() >= 2 * (last + 1));
    running.stop();
}
