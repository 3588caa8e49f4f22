//! The finisher on a real file system: whole, interrupted, repeated, contested, damaged.

use std::fs;
use std::os::unix::fs::MetadataExt;

use tempfile::TempDir;

use super::*;
use crate::finish::testing::{Blocks, damage, full_block, recording};
use crate::finish::verify::{Checked, Verdict};
use crate::finish::wav;

const AUDIO: &str = "audio.wav";

fn world() -> (TempDir, Config) {
    let dir = tempfile::tempdir().unwrap();
    let facts = BoxFacts { site: "branch-17".into(), geo_location: None, box_name: "box-17".into() };
    let config = Config { finished_dir: dir.path().to_path_buf(), facts, ..Config::default() };
    (dir, config)
}

fn blocks() -> Blocks {
    Blocks((0..4).flat_map(|number| [Ok(full_block(0, number)), Ok(full_block(1, number))]).collect())
}

fn folder_of(config: &Config, recording: &Recording) -> PathBuf {
    config.finished_dir.join(recording.path())
}

/// Every file of the folder with its content.
fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|f| (f.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&f).unwrap())).collect()
}

#[test]
fn the_thread_leaves_a_folder_that_verifies_itself() {
    let (_dir, config) = world();
    let (sender, mut events) = events::channel(4);
    let finisher = Finisher::start(config.clone(), Box::new(blocks()), sender).unwrap();
    finisher.submit(recording(1, "a", 2_000));
    let Some(Event::Finished(finished)) = events.blocking_recv() else { panic!("not finished") };
    finisher.stop();
    assert!(events.blocking_recv().is_none());

    assert_eq!(finished.stage, Stage::Finished);
    let folder = folder_of(&config, &finished);
    let files = content(&folder);
    let facts: Vec<_> = files.iter().map(|(name, bytes)| fact(name, files::digest(bytes.as_slice()).unwrap())).collect();
    assert_eq!(finished.files, facts, "audio.wav and recording.json, nothing else");
    assert_eq!(files[0].1.len(), wav::HEADER_BYTES + 2 * 16_000);
    assert!(verify_folder(&folder, None).unwrap().is_intact());
}

#[test]
fn a_failure_is_reported_with_the_time_of_the_next_try() {
    let (_dir, mut config) = world();
    config.finished_dir.push("unmounted");
    let (sender, mut events) = events::channel(4);
    let finisher = Finisher::start(config, Box::new(blocks()), sender).unwrap();
    finisher.submit(recording(1, "a", 2_000));
    let Some(Event::Failed { no, error, again_in, .. }) = events.blocking_recv() else { panic!("finished") };
    assert_eq!((no, again_in), (RecordingNo(1), Some(Duration::from_secs(5))));
    assert!(error.to_string().contains("unmounted/101/2026-03-02/a: No such file"), "{error}");
    finisher.stop();
}

#[test]
fn what_a_crash_left_behind_changes_nothing() {
    let (_dir, config) = world();
    let call = recording(1, "a", 2_000);
    finish(&config, &System, &blocks(), &call).unwrap();
    let folder = folder_of(&config, &call);
    let clean = content(&folder);
    let crashes: [&[(&str, &str)]; 4] = [
        &[(".audio.wav.part", "half a fi")],
        &[("audio.wav", "of an earlier try")],
        &[("audio.wav", "x"), (".recording.json.part", "{")],
        &[("audio.opus", "of another format"), (".audio.wav.age.part", "x"), ("details.json.age", "x")],
    ];
    for left_behind in crashes {
        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in left_behind {
            fs::write(folder.join(name), text).unwrap();
        }
        finish(&config, &System, &blocks(), &call).unwrap();
        assert_eq!(content(&folder), clean, "{left_behind:?}");
    }
}

#[test]
fn what_is_finished_stays_untouched_and_what_broke_since_is_made_again() {
    let (_dir, config) = world();
    let call = recording(1, "a", 2_000);
    let first = finish(&config, &System, &blocks(), &call).unwrap();
    let audio = folder_of(&config, &call).join(AUDIO);
    let inode = fs::metadata(&audio).unwrap().ino();
    assert_eq!(finish(&config, &System, &blocks(), &call).unwrap(), first);
    assert_eq!(fs::metadata(&audio).unwrap().ino(), inode);

    fs::write(&audio, "bit rot").unwrap();
    assert_eq!(finish(&config, &System, &blocks(), &call).unwrap(), first);
    assert!(verify_folder(audio.parent().unwrap(), None).unwrap().is_intact());
}

#[test]
fn another_recording_in_the_same_place_is_left_alone() {
    let (_dir, config) = world();
    let first = recording(1, "a", 2_000);
    finish(&config, &System, &blocks(), &first).unwrap();
    let before = content(&folder_of(&config, &first));
    let error = finish(&config, &System, &blocks(), &recording(2, "a", 1_000)).unwrap_err();
    assert!(matches!(error, FinishError::Conflict { .. }));
    assert!(error.to_string().contains("recording a no. 1 of 2026-03-02T14:05:59.500Z; move that folder away"), "{error}");
    assert_eq!(content(&folder_of(&config, &first)), before);

    fs::write(folder_of(&config, &first).join(METADATA), "{").unwrap();
    assert!(matches!(finish(&config, &System, &blocks(), &first), Err(FinishError::Conflict { .. })), "whose is it?");
}

#[test]
fn a_file_in_the_way_of_the_folder_is_an_error_with_its_path() {
    let (dir, config) = world();
    fs::write(dir.path().join("101"), "").unwrap();
    let error = finish(&config, &System, &blocks(), &recording(1, "a", 0)).unwrap_err();
    assert!(matches!(error, FinishError::File { .. }), "{error}");
}

#[test]
fn damage_is_silence_with_a_flag() {
    let (_dir, config) = world();
    let mut damaged = blocks();
    damaged.0[2] = damage();
    let finished = finish(&config, &System, &damaged, &recording(1, "a", 2_000)).unwrap();
    assert_eq!(finished.flags, [Flag::Damaged]);
    let json = fs::read_to_string(folder_of(&config, &finished).join(METADATA)).unwrap();
    assert!(json.contains(r#""reason": "damage""#) && json.contains(r#""damaged""#));
}

#[test]
fn verify_names_the_file_that_changed() {
    let (_dir, config) = world();
    let folder = folder_of(&config, &finish(&config, &System, &blocks(), &recording(1, "a", 1)).unwrap());
    let audio = folder.join(AUDIO);
    let mut bytes = fs::read(&audio).unwrap();
    bytes[60] ^= 1;
    fs::write(&audio, &bytes).unwrap();
    let verification = verify_folder(&folder, None).unwrap();
    assert!(!verification.is_intact());
    assert!(matches!(&verification.files[..], [Checked { name, verdict: Verdict::WrongChecksum { .. } }] if name == AUDIO));
    fs::remove_file(&audio).unwrap();
    assert_eq!(verify_folder(&folder, None).unwrap().files[0].verdict, Verdict::Missing);
    fs::write(folder.join(METADATA), "no json").unwrap();
    assert_eq!(verify_folder(&folder, None).unwrap_err().kind(), io::ErrorKind::InvalidData);
}
