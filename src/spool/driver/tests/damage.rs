//! Ledgers that are lost, damaged, old or foreign, and segments with flipped and missing bytes.

use proptest::prelude::*;

use super::*;

/// A spool with two calls in it, stopped; and what a reader gets from it.
fn filled() -> (TempDir, Contents) {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    two_calls(&mut running);
    let expected = contents(&running.spool.reader());
    running.stop();
    (dir, expected)
}

fn segment_files(dir: &Path) -> Vec<PathBuf> {
    listing(dir).into_keys().filter(|path| path.extension().is_some_and(|ext| ext == "nseg")).collect()
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_lost_ledger_is_made_anew() {
    let (dir, expected) = filled();
    fs::remove_dir_all(dir.path().join("ledger")).unwrap();
    let mut running = open(dir.path());
    assert_eq!(contents(&running.spool.reader()), expected);
    assert!(running.recovered.report.entered > 20);
    // And it is as good as the old one.
    running.blocks(vec![block(1, 0, 99)]);
    running.describe(&recording(1, Stage::Ended));
    assert_eq!(read(&running.spool.reader(), 1).len(), 11);
    running.stop();
    let running = open(dir.path());
    assert_eq!(running.recovered.report, Report::default());
    assert_eq!(read(&running.spool.reader(), 1).len(), 11);
    running.stop();
}

#[test]
fn a_ledger_that_is_noise_is_set_aside() {
    let (dir, expected) = filled();
    let ledger = dir.path().join("ledger");
    for path in listing(&ledger).into_keys() {
        let noise: Vec<u8> = (0..fs::metadata(&path).unwrap().len()).map(|n| (n % 253) as u8).collect();
        fs::write(path, noise).unwrap();
    }
    let running = open(dir.path());
    assert!(running.recovered.report.rebuilt.is_some());
    assert!(dir.path().join("ledger.set-aside/db").exists());
    assert_eq!(contents(&running.spool.reader()), expected);
    running.stop();
}

#[test]
fn an_old_ledger_is_not_believed() {
    let dir = TempDir::new().unwrap();
    let old = TempDir::new().unwrap();
    let mut running = open(dir.path());
    running.describe(&recording(1, Stage::Recording));
    running.blocks((0..12).map(|n| block(1, 0, n)).collect());
    running.describe(&recording(1, Stage::Ended));
    running.stop();
    copy(&dir.path().join("ledger"), old.path());
    let mut running = open(dir.path());
    running.describe(&recording(1, Stage::Released));
    running.blocks((0..12).map(|n| block(2, 0, n)).collect());
    running.describe(&recording(2, Stage::Recording));
    running.stop();

    fs::remove_dir_all(dir.path().join("ledger")).unwrap();
    copy(old.path(), &dir.path().join("ledger"));
    let running = open(dir.path());
    assert!(running.recovered.report.rebuilt.is_some(), "{:?}", running.recovered.report);
    assert_eq!(running.recovered.recordings, [recording(2, Stage::Recording)], "1 is released and does not come back");
    assert_eq!(read(&running.spool.reader(), 2).len(), 12);
    running.stop();
}

#[test]
fn the_ledger_of_another_spool_is_not_believed() {
    let ((dir, expected), (other, _)) = (filled(), filled());
    fs::remove_dir_all(dir.path().join("ledger")).unwrap();
    copy(&other.path().join("ledger"), &dir.path().join("ledger"));
    let running = open(dir.path());
    assert_eq!(running.recovered.report.rebuilt.as_deref(), Some("it belongs to another spool"));
    assert_eq!(contents(&running.spool.reader()), expected);
    running.stop();
}

#[test]
fn a_segment_of_another_spool_is_left_alone() {
    let ((dir, expected), (other, _)) = (filled(), filled());
    let foreign = dir.path().join(SegmentNo(900).file_name());
    fs::copy(&segment_files(other.path())[0], &foreign).unwrap();
    let mut running = open(dir.path());
    assert_eq!(running.recovered.report.foreign, [SegmentNo(900)]);
    assert_eq!(contents(&running.spool.reader()), expected);
    running.describe(&recording(3, Stage::Recording));
    assert_eq!(running.segments().last(), Some(&901));
    assert!(foreign.exists());
    running.stop();
}

#[test]
fn an_interrupted_rebuild_begins_anew() {
    let (dir, expected) = filled();
    let ledger = closed_ledger(dir.path());
    ledger.reopen().unwrap();
    ledger.begin_rebuild(ledger.key().spool()).unwrap();
    ledger.close();
    let running = open(dir.path());
    assert_eq!(running.recovered.report.rebuilt.as_deref(), Some("its rebuilding was interrupted"));
    assert_eq!(contents(&running.spool.reader()), expected);
    running.stop();
}

/// What sled does with some damage: it goes back to an older state of a page, and does not say so.
fn roll_back(dir: &Path, work: impl FnOnce(&Ledger)) -> Running {
    let ledger = closed_ledger(dir);
    ledger.reopen().unwrap();
    work(&ledger);
    ledger.flush().unwrap();
    ledger.close();
    open(dir)
}

#[test]
fn a_ledger_that_lost_a_commit_in_the_middle_is_found_out() {
    for lost in [0, 4] {
        let (dir, expected) = filled();
        let running = roll_back(dir.path(), |ledger| ledger.forget_commits(lost..=lost).unwrap());
        let why = running.recovered.report.rebuilt.as_deref().unwrap();
        assert!(why.starts_with("it does not know the records in segment-"), "{why}");
        assert_eq!(contents(&running.spool.reader()), expected);
        running.stop();
    }
}

#[test]
fn a_ledger_that_lost_a_description_is_found_out() {
    let (dir, expected) = filled();
    let older = recording(2, Stage::Recording);
    let running = roll_back(dir.path(), |ledger| {
        let row = Row { stage: older.stage, last_commit: u64::MAX, ..ledger.row(older.no).unwrap().unwrap() };
        let row = Row { described_at: row.described_at.map(|(segment, offset)| (segment, offset - 1)), ..row };
        let sealed = ledger.sealed_description(older.no).unwrap().unwrap();
        ledger.describe(&Described { recording: &older, row, sealed: &sealed }).unwrap();
    });
    let why = running.recovered.report.rebuilt.as_deref();
    assert_eq!(why, Some("it does not know the last description of recording 2"));
    assert_eq!(contents(&running.spool.reader()), expected);
    running.stop();
    let running = roll_back(dir.path(), |ledger| ledger.forget_recording(older.no).unwrap());
    assert_eq!(running.recovered.report.rebuilt.as_deref(), Some("it does not know recording 2"));
    assert_eq!(contents(&running.spool.reader()), expected);
    running.stop();
}

#[test]
fn a_segment_that_is_gone_costs_what_was_in_it() {
    let (dir, expected) = filled();
    let segments = segment_files(dir.path());
    fs::remove_file(&segments[2]).unwrap();
    let running = open(dir.path());
    assert!(running.recovered.report.rebuilt.as_deref().unwrap().contains("is gone"), "{:?}", running.recovered.report);
    let left = contents(&running.spool.reader());
    assert_eq!(left.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    let count = |all: &BTreeMap<_, (_, Vec<_>)>| all.values().map(|(_, blocks)| blocks.len()).sum::<usize>();
    assert!((12..20).contains(&count(&left)));
    running.stop();
}

#[test]
fn a_damaged_block_is_one_damage() {
    let (dir, expected) = filled();
    flip(&segment_files(dir.path())[1], 5_000);
    let running = open(dir.path());
    let all = contents(&running.spool.reader());
    let damaged: Vec<&Damage> = all.values().flat_map(|(_, blocks)| blocks).filter_map(|block| block.as_ref().err()).collect();
    let [damage] = damaged[..] else { panic!("{damaged:?}") };
    assert_eq!((damage.segment, damage.what.as_str()), (2, "the CRC does not match"));
    for (no, (_, blocks)) in &all {
        let same = blocks.iter().zip(&expected[no].1).filter(|(is, was)| is == was).count();
        assert_eq!(same, if *no == damage.recording { 9 } else { 10 });
    }
    assert_eq!(running.spool.counters().damaged_blocks.load(std::sync::atomic::Ordering::Relaxed), 1);
    running.stop();
}

#[test]
fn a_damaged_description_of_a_running_call_costs_what_it_said_beyond_the_one_before() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    let first = recording(1, Stage::Recording);
    let mut second = first.clone();
    second.call_uuid = Some(CallUuid("later".into()));
    running.describe(&first);
    running.blocks(vec![block(1, 0, 0)]);
    running.describe(&second);
    let row = running.spool.reader.ledger.row(RecordingNo(1)).unwrap().unwrap();
    running.stop();
    let (segment, offset) = row.described_at.unwrap();
    flip(&dir.path().join(segment.file_name()), offset as usize + 60);

    let mut running = open(dir.path());
    assert_eq!(running.recovered.report.damaged_descriptions, [RecordingNo(1)]);
    assert_eq!(running.recovered.report.rebuilt, None, "what it remembers of others is kept");
    assert_eq!(running.recovered.recordings, [first]);
    assert_eq!(read(&running.spool.reader(), 1).len(), 1);
    running.describe(&second);
    running.stop();
    let running = open(dir.path());
    assert_eq!((running.recovered.report.damaged_descriptions.len(), &running.recovered.recordings[..]), (0, &[second][..]));
    running.stop();
}

#[test]
fn a_running_call_whose_only_description_is_damaged_gets_a_stand_in() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    running.describe(&recording(1, Stage::Recording));
    running.blocks(vec![block(1, 0, 0)]);
    running.describe(&recording(2, Stage::Recording));
    let row = running.spool.reader.ledger.row(RecordingNo(1)).unwrap().unwrap();
    running.stop();
    let (segment, offset) = row.described_at.unwrap();
    flip(&dir.path().join(segment.file_name()), offset as usize + 60);

    let running = open(dir.path());
    assert_eq!(running.recovered.report.stand_ins, [RecordingNo(1)]);
    let stages: Vec<_> = running.recovered.recordings.iter().map(|recording| (recording.no.0, recording.stage)).collect();
    assert_eq!(stages, [(1, Stage::Ended), (2, Stage::Recording)]);
    assert_eq!(read(&running.spool.reader(), 1).len(), 1);
    running.stop();
    let running = open(dir.path());
    assert_eq!(running.recovered.report, Report::default(), "once and for all");
    running.stop();
}

#[test]
fn audio_without_any_description_is_kept() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    running.blocks((0..8).map(|n| block(5, 1, n)).collect()); // two segments full, and not a word
    running.describe(&recording(6, Stage::Recording));
    running.stop();
    let mut running = open(dir.path());
    assert_eq!(running.recovered.report.stand_ins, [RecordingNo(5)]);
    let stand_in = running.recovered.recordings[0].clone();
    assert_eq!((stand_in.no, stand_in.stage), (RecordingNo(5), Stage::Ended));
    assert!(stand_in.id.0.starts_with("recovered-"));
    assert_eq!(read(&running.spool.reader(), 5).len(), 8);
    // It goes its way like any other.
    running.describe(&Recording { stage: Stage::Released, ..stand_in });
    running.describe(&recording(6, Stage::Ended));
    running.stop();
    let running = open(dir.path());
    assert_eq!(running.recovered.recordings, [recording(6, Stage::Ended)]);
    running.stop();
}

/// Either way of damage to a segment.
#[derive(Clone, Debug)]
enum Harm {
    Flip(prop::sample::Index, prop::sample::Index),
    Truncate(prop::sample::Index, prop::sample::Index),
}

fn any_harm() -> impl Strategy<Value = Harm> {
    let place = || (any::<prop::sample::Index>(), any::<prop::sample::Index>());
    prop_oneof![place().prop_map(|(file, at)| Harm::Flip(file, at)), place().prop_map(|(file, at)| Harm::Truncate(file, at))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_damage_keeps_it_from_opening_or_forges_audio(harms in proptest::collection::vec(any_harm(), 1..6), lose_ledger: bool) {
        let (dir, expected) = filled();
        let segments = segment_files(dir.path());
        for harm in harms {
            let (Harm::Flip(file, at) | Harm::Truncate(file, at)) = &harm;
            let path = file.get(&segments);
            let mut bytes = fs::read(path).unwrap();
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                match harm {
                    Harm::Flip(..) => bytes[at] ^= 1,
                    Harm::Truncate(..) => bytes.truncate(at),
                }
                fs::write(path, bytes).unwrap();
            }
        }
        if lose_ledger {
            fs::remove_dir_all(dir.path().join("ledger")).unwrap();
        }
        let running = open(dir.path());
        for (no, (_, blocks)) in contents(&running.spool.reader()) {
            let genuine: Vec<&StoredBlock> = expected[&no].1.iter().flatten().collect();
            prop_assert!(blocks.iter().flatten().all(|block| genuine.contains(&block)));
        }
        running.stop();
    }

    #[test]
    fn no_damage_to_the_ledger_costs_anything(flips in proptest::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 1..20), cut: Option<prop::sample::Index>) {
        let (dir, expected) = filled();
        let files: Vec<PathBuf> = listing(&dir.path().join("ledger")).into_keys().collect();
        for (file, at) in flips {
            let path = file.get(&files);
            flip(path, at.index(fs::metadata(path).unwrap().len() as usize));
        }
        if let Some(cut) = cut {
            let path = dir.path().join("ledger/db");
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..cut.index(bytes.len())]).unwrap();
        }
        let running = open(dir.path());
        prop_assert_eq!(contents(&running.spool.reader()), expected, "{:?}", running.recovered.report);
        running.stop();
    }
}
