//! What is on the disk without a key says nothing; keys that are lost, damaged, destroyed, of another box, of another CPU.

use std::os::unix::fs::PermissionsExt;

use super::super::super::keys::BOX_KEY;
use super::super::super::keys::Keyring;
use super::super::super::seal::Algorithm;
use super::*;

/// A call of two legs with some audio, and another that keeps its segments.
fn call(running: &mut Running) {
    for number in 0..3 {
        running.blocks(vec![block(1, 0, number), block(2, 0, number), block(1, 1, number)]);
        running.describe(&recording(2, Stage::Recording));
    }
    running.describe(&recording(1, Stage::Ended));
}

fn is_on_disk(dir: &Path, wanted: &[u8]) -> bool {
    listing(dir).values().any(|bytes| bytes.windows(wanted.len()).any(|window| window == wanted))
}

/// `keys-ID` and `keys-ID.copy` of the spool in a folder.
fn key_files(dir: &Path) -> [PathBuf; 2] {
    let spool = closed_ledger(dir).key().spool().0;
    ["", ".copy"].map(|end| dir.join(format!("keys-{spool:032x}{end}")))
}

/// What a key file says of a recording.
fn entry(file: &Path, no: u64) -> Option<Vec<u8>> {
    let bytes = fs::read(file).unwrap();
    bytes[8..].chunks_exact(69).find(|entry| entry.starts_with(&no.to_be_bytes())).map(<[u8]>::to_vec)
}

fn has_key(dir: &Path, no: u64) -> bool {
    key_files(dir).iter().any(|file| entry(file, no).is_some())
}

/// How many blocks of a recording can be read, and how many not.
fn readable(running: &Running, no: u64) -> (usize, usize) {
    let blocks = all_of(&running.spool.reader(), RecordingNo(no));
    let good = blocks.iter().filter(|block| block.is_ok()).count();
    (good, blocks.len() - good)
}

#[test]
fn neither_audio_nor_numbers_are_on_the_disk() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    call(&mut running);
    let (audio, described) = (block(1, 0, 1).samples, recording(1, Stage::Ended));
    assert_eq!(read(&running.spool.reader(), 1)[2].bytes, *audio);
    running.stop();
    assert!(!is_on_disk(dir.path(), &audio[..40]));
    assert!(!is_on_disk(dir.path(), &audio[1_300..1_340]));
    assert!(!is_on_disk(dir.path(), described.parameters["ani"].as_bytes()));
    assert!(!is_on_disk(dir.path(), described.id.0.as_bytes()));
}

#[test]
fn a_finished_recording_is_gone_while_its_segments_are_still_there() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    call(&mut running);
    assert_eq!(readable(&running, 1), (6, 0));
    let (segments, key) = (running.segments(), entry(&key_files(dir.path())[0], 1).unwrap());
    let box_key = closed_ledger(dir.path()).key().clone();
    assert!(keys::find(running.spool.reader.disk.as_ref(), &box_key, RecordingNo(1)).is_some());
    running.describe(&recording(1, Stage::Finished));
    running.describe(&recording(2, Stage::Recording)); // so that what was to be done is done
    assert!(keys::find(running.spool.reader.disk.as_ref(), &box_key, RecordingNo(1)).is_none());
    assert_eq!(readable(&running, 1), (0, 6));
    assert_eq!(readable(&running, 2), (3, 0));
    assert_eq!(running.segments()[..segments.len()], segments);
    running.stop();
    assert!(!is_on_disk(dir.path(), &key[9..]), "not even sealed, and not in the ledger's log either");
    assert!(!is_on_disk(dir.path(), &block(1, 0, 1).samples[..40]));

    fs::remove_dir_all(dir.path().join("ledger")).unwrap();
    let running = open(dir.path());
    assert_eq!(running.recovered.recordings, [recording(1, Stage::Finished), recording(2, Stage::Recording)]);
    assert_eq!((readable(&running, 1).0, readable(&running, 2)), (0, (3, 0)));
    assert_eq!(running.recovered.report.lost_keys, []);
    running.stop();
}

#[test]
fn audio_that_comes_after_the_end_of_all_is_not_kept() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    call(&mut running);
    running.describe(&recording(1, Stage::Finished));
    running.blocks(vec![block(1, 0, 3), block(2, 0, 3)]);
    running.describe(&recording(2, Stage::Ended));
    assert_eq!((readable(&running, 1), readable(&running, 2)), ((0, 6), (4, 0)));
    running.stop();
    assert!(!has_key(dir.path(), 1));
}

#[test]
fn with_many_calls_a_key_goes_with_the_next_audio() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    running.blocks((1..=70).map(|no| block(no, 0, 0)).collect());
    running.describe(&recording(1, Stage::Ended));
    let written = fs::metadata(&key_files(dir.path())[0]).unwrap().modified().unwrap();
    running.describe(&recording(1, Stage::Finished));
    running.describe(&recording(2, Stage::Ended));
    assert_eq!(fs::metadata(&key_files(dir.path())[0]).unwrap().modified().unwrap(), written);
    running.blocks(vec![block(3, 0, 1)]);
    running.describe(&recording(2, Stage::Finished));
    assert_eq!((has_key(dir.path(), 1), has_key(dir.path(), 3)), (false, true));
    running.stop();
    assert!(!has_key(dir.path(), 2), "at the end, too");
}

#[test]
fn one_key_file_may_be_lost_or_damaged_anywhere() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    call(&mut running);
    running.stop();
    let files = key_files(dir.path());
    let whole = fs::read(&files[0]).unwrap();
    assert_eq!((whole.len(), fs::read(&files[1]).unwrap()), (8 + 2 * 69, whole.clone()));
    for harm in (0..whole.len()).step_by(13).map(Some).chain([None]) {
        for file in &files {
            match harm {
                None => fs::remove_file(file).unwrap(),
                Some(at) if at % 2 == 0 => fs::write(file, &whole[..at]).unwrap(),
                Some(at) => {
                    let mut bytes = whole.clone();
                    bytes[at] ^= 1;
                    fs::write(file, bytes).unwrap();
                }
            }
            let running = open(dir.path());
            assert_eq!(running.recovered.report, Report::default(), "{harm:?}");
            assert_eq!((readable(&running, 1), readable(&running, 2)), ((6, 0), (3, 0)), "{harm:?}");
            running.stop();
            assert!(files.iter().all(|file| fs::read(file).unwrap() == whole), "made good");
        }
    }
}

#[test]
fn a_lost_key_costs_the_audio_of_its_recording_only() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    call(&mut running);
    running.stop();
    for file in key_files(dir.path()) {
        let mut bytes = fs::read(&file).unwrap();
        let at = bytes.windows(8).position(|window| window == 1_u64.to_be_bytes()).unwrap();
        bytes[at + 30] ^= 1;
        fs::write(file, bytes).unwrap();
    }
    let mut running = open(dir.path());
    assert_eq!(running.recovered.report.lost_keys, [RecordingNo(1)]);
    assert!(running.recovered.report.to_string().contains("key lost, audio gone: recordings 1"));
    assert_eq!((readable(&running, 1), readable(&running, 2)), ((0, 6), (3, 0)));
    // What comes from now on is kept again.
    running.blocks(vec![block(1, 0, 3)]);
    running.describe(&recording(1, Stage::Ended));
    assert_eq!(readable(&running, 1), (1, 6));
    running.stop();
}

#[test]
fn without_any_key_file_everything_goes_on() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    call(&mut running);
    running.stop();
    key_files(dir.path()).iter().for_each(|file| fs::remove_file(file).unwrap());
    let mut running = open(dir.path());
    assert_eq!(running.recovered.report.lost_keys, [RecordingNo(1), RecordingNo(2)]);
    assert_eq!(running.recovered.recordings, [recording(1, Stage::Ended), recording(2, Stage::Recording)]);
    let reader = running.spool.reader();
    assert!(all_of(&reader, RecordingNo(1)).into_iter().all(|block| block.unwrap_err().what.contains("the key is gone")));
    running.blocks(vec![block(3, 0, 0)]);
    running.describe(&recording(3, Stage::Ended));
    assert_eq!(readable(&running, 3), (1, 0));
    running.stop();
}

#[test]
fn without_its_box_key_a_new_spool_begins_and_the_old_one_waits() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    call(&mut running);
    let (old_segments, old_keys) = (running.segments(), key_files(dir.path()));
    running.stop();
    let elsewhere = dir.path().join("elsewhere");
    fs::rename(dir.path().join(BOX_KEY), &elsewhere).unwrap();

    let mut running = open(dir.path());
    let foreign: Vec<u64> = running.recovered.report.foreign.iter().map(|no| no.0).collect();
    assert_eq!((foreign, running.recovered.recordings.len()), (old_segments, 0));
    assert!(running.recovered.report.to_string().contains("sealed with another box.key"), "{}", running.recovered.report);
    running.blocks(vec![block(1, 0, 0)]);
    running.describe(&recording(1, Stage::Released));
    running.stop();
    assert!(old_keys.iter().all(|file| file.exists()), "keys of the old spool are not overwritten");

    fs::rename(elsewhere, dir.path().join(BOX_KEY)).unwrap();
    let running = open(dir.path());
    assert_eq!(running.recovered.recordings, [recording(1, Stage::Ended), recording(2, Stage::Recording)]);
    assert_eq!((readable(&running, 1), readable(&running, 2)), ((6, 0), (3, 0)));
    running.stop();
}

#[test]
fn a_damaged_box_key_is_set_aside() {
    let dir = TempDir::new().unwrap();
    open(dir.path()).stop();
    let bytes = fs::read(dir.path().join(BOX_KEY)).unwrap();
    fs::write(dir.path().join(BOX_KEY), &bytes[..31]).unwrap();
    open(dir.path()).stop();
    let aside = listing(dir.path()).into_iter().find(|(path, _)| path.to_string_lossy().contains("box.key.set-aside-"));
    assert_eq!(aside.map(|(_, bytes)| bytes).as_deref(), Some(&bytes[..31]));
    assert_eq!(fs::read(dir.path().join(BOX_KEY)).unwrap().len(), 32);
}

#[test]
fn a_copy_is_read_with_its_own_key_only() {
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut running = open(dir.path());
    call(&mut running);
    let expected = contents(&running.spool.reader());
    running.stop();
    open(other.path()).stop();
    let box_key = dir.path().join(BOX_KEY);
    let kept = fs::read(&box_key).unwrap();
    fs::remove_file(&box_key).unwrap();
    let refused = open_offline(dir.path()).err().unwrap();
    assert!(matches!(refused, OpenError::Key { .. }) && refused.to_string().contains("copy box.key"), "{refused}");
    assert!(!box_key.exists(), "nothing is changed");
    fs::copy(other.path().join(BOX_KEY), &box_key).unwrap();
    let (reader, report) = open_offline(dir.path()).unwrap();
    assert_eq!((contents(&reader).len(), report.foreign.is_empty()), (0, false));
    fs::write(&box_key, kept).unwrap();
    let (reader, report) = open_offline(dir.path()).unwrap();
    assert_eq!((contents(&reader), report.lost_keys), (expected, vec![]));
}

#[test]
fn a_spool_goes_on_where_the_cpu_seals_otherwise() {
    let dir = TempDir::new().unwrap();
    let folder = Folder { dir: dir.path().into(), is_writable: true };
    let box_key = keys::box_key(&folder, &mut entropy()).unwrap();
    for (no, algorithm) in [(1, Algorithm::Aes256Gcm), (2, Algorithm::ChaCha20Poly1305)] {
        let mut keys = Keyring::load(&folder, &box_key, algorithm);
        keys.begin(RecordingNo(no), &mut entropy()).unwrap();
        keys.save(&folder).unwrap();
        assert_eq!(entry(&key_files(dir.path())[0], no).unwrap()[8], algorithm.code());
    }
    let mut running = open(dir.path());
    call(&mut running);
    assert_eq!((readable(&running, 1), readable(&running, 2)), ((6, 0), (3, 0)));
    running.stop();
    let codes = [1, 2].map(|no| entry(&key_files(dir.path())[0], no).unwrap()[8]);
    assert_eq!(codes, [1, 2], "those keys were used");
}

#[test]
fn the_key_of_one_recording_does_not_pass_for_another() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    call(&mut running);
    running.stop();
    for file in key_files(dir.path()) {
        let mut bytes = fs::read(&file).unwrap();
        let (one, two) = (entry(&file, 1).unwrap(), entry(&file, 2).unwrap());
        bytes.truncate(8);
        bytes.extend_from_slice(&[&one[..8], &two[8..], &two[..8], &one[8..]].concat());
        fs::write(file, bytes).unwrap();
    }
    let running = open(dir.path());
    assert_eq!(running.recovered.report.lost_keys, [RecordingNo(1), RecordingNo(2)]);
    running.stop();
}

#[test]
fn only_this_user_may_read_keys() {
    let dir = TempDir::new().unwrap();
    let mut running = open(dir.path());
    call(&mut running);
    running.stop();
    for file in key_files(dir.path()).into_iter().chain([dir.path().join(BOX_KEY)]) {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}
