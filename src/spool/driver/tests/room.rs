//! A long call beside many short ones keeps its own room and not theirs.

use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use super::faults::{Call, open_hooked};
use super::*;

/// The long one.
const LONG: u64 = 1;

/// How many short calls run at a time, and for how many half-seconds.
const BESIDE: u64 = 5;
const SHORT_TICKS: u32 = 20;

fn open_with(dir: &Path, segment_bytes: u64) -> Running {
    let config = Config { segment_bytes, backlog_blocks: 10_000, ..config(dir) };
    let ((pool_in, pool), (events_in, events)) = (channel(), unbounded_channel());
    let folder = Folder { dir: dir.into(), is_writable: true };
    let (spool, recovered) = Spool::start(&config, lock(dir).unwrap(), Arc::new(folder), pool_in, events_in).unwrap();
    Running { spool, events, pool, recovered }
}

/// The long call, and beside it rounds of short ones, each on its whole way to `Released`.
fn long_beside_short(running: &mut Running, rounds: u64) {
    running.describe(&recording(LONG, Stage::Recording));
    for round in 0..rounds {
        let short: Vec<u64> = (0..BESIDE).map(|n| 2 + round * BESIDE + n).collect();
        short.iter().for_each(|no| running.describe(&recording(*no, Stage::Recording)));
        for tick in 0..SHORT_TICKS {
            let of = |no: u64, tick| [block(no, 0, tick), block(no, 1, tick)];
            let long = of(LONG, tick + SHORT_TICKS * u32::try_from(round).unwrap());
            running.blocks(long.into_iter().chain(short.iter().flat_map(|no| of(*no, tick))).collect());
            running.describe(&recording(LONG, Stage::Recording)); // one commit for each half-second
        }
        for stage in [Stage::Ended, Stage::Finished, Stage::Delivered, Stage::Released] {
            short.iter().for_each(|no| running.describe(&recording(*no, stage)));
        }
    }
}

/// Lets the spool finish what it does between commits.
fn settle(running: &mut Running) {
    (0..50).for_each(|_| running.describe(&recording(LONG, Stage::Recording)));
}

/// What the segments take on the disk.
fn taken_bytes(dir: &Path) -> u64 {
    let segments = listing(dir).into_keys().filter(|path| path.extension().is_some_and(|ext| ext == "nseg"));
    segments.map(|path| fs::metadata(path).unwrap().blocks() * 512).sum()
}

#[test]
fn a_long_call_keeps_no_more_than_its_own_room() {
    let dir = TempDir::new().unwrap();
    let (rounds, segment_bytes) = (8, 128 * 1_024);
    let mut running = open_with(dir.path(), segment_bytes);
    long_beside_short(&mut running, rounds);
    settle(&mut running);
    let own_bytes = rounds * u64::from(SHORT_TICKS) * 2 * 4_036;
    let taken = taken_bytes(dir.path());
    // Two records share three grains with their neighbours; free records take up to half of that again; and the newest.
    assert!(taken < own_bytes * 9 / 4 + 2 * segment_bytes, "{taken} bytes for {own_bytes}");
    let known = running.spool.reader.disk.segments().unwrap().iter().map(|file| file.taken_bytes).sum::<u64>();
    assert_eq!(known, taken, "and says so");
    let (known, blocks) = (running.spool.counters(), read(&running.spool.reader(), LONG));
    assert_eq!(blocks.len() as u64, rounds * u64::from(SHORT_TICKS) * 2);
    assert_eq!(known.damaged_blocks.load(Relaxed), 0);
    running.stop();

    // A rebuild steps over the holes, reports no damage, and wakes none of the short calls.
    fs::remove_dir_all(dir.path().join("ledger")).unwrap();
    let running = open_with(dir.path(), segment_bytes);
    assert_eq!(running.recovered.recordings, [recording(LONG, Stage::Recording)]);
    assert_eq!((running.recovered.report.damaged_bytes, &running.recovered.report.stand_ins[..]), (0, &[][..]));
    assert_eq!(read(&running.spool.reader(), LONG), blocks);
    running.stop();

    // And the new ledger is trusted, although it knows nothing of what stood in the holes.
    let mut running = open_with(dir.path(), segment_bytes);
    assert_eq!(running.recovered.report, Report::default());
    assert_eq!(read(&running.spool.reader(), LONG), blocks);
    running.describe(&recording(LONG, Stage::Finished));
    running.describe(&recording(LONG, Stage::Released));
    running.describe(&recording(9_999, Stage::Recording));
    assert_eq!(running.segments().len(), 1, "with the long call all of it goes");
    running.stop();
}

/// The same on a disk that answers the n-th wish for holes with `answer(n)`; gives how many were answered.
fn with_punch(answer: impl Fn(usize) -> io::Result<()> + Send + 'static) -> (TempDir, Running, Arc<AtomicUsize>) {
    let (dir, asked) = (TempDir::new().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = asked.clone();
    let hook = move |call| if call == Call::Punch { answer(count.fetch_add(1, Relaxed)) } else { Ok(()) };
    let mut running = open_hooked(dir.path(), hook);
    long_beside_short(&mut running, 2);
    settle(&mut running);
    assert_eq!(read(&running.spool.reader(), LONG).len(), 2 * 2 * SHORT_TICKS as usize);
    (dir, running, asked)
}

#[test]
fn a_file_system_without_holes_is_asked_once_and_costs_room_only() {
    let (dir, running, asked) = with_punch(|_| Err(io::Error::from_raw_os_error(nix::libc::EOPNOTSUPP)));
    assert_eq!((asked.load(Relaxed), running.spool.counters().failures.load(Relaxed)), (1, 0));
    assert!(taken_bytes(dir.path()) > u64::from(SHORT_TICKS) * 2 * 2 * 4_000 * BESIDE);
    running.stop();
}

#[test]
fn holes_that_fail_are_tried_again() {
    let (dir, running, asked) = with_punch(|n| if n == 1 { Err(io::Error::from_raw_os_error(nix::libc::EIO)) } else { Ok(()) });
    assert!(asked.load(Relaxed) > 2);
    assert_eq!(running.spool.counters().failures.load(Relaxed), 1);
    assert!(taken_bytes(dir.path()) < u64::from(SHORT_TICKS) * 2 * 2 * 4_000 * BESIDE);
    running.stop();
}
