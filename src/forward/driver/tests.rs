//! The forwarder with its threads: two targets, one of them away, one contested.

use std::fs;
use std::path::Path;

use super::*;
use crate::files;
use crate::finish::testing::recording;
use crate::forward::target::TargetKind;
use crate::model::Stage;
use crate::model::recording::FileFact;

fn finished(dir: &Path, no: u64, id: &str) -> Recording {
    let mut recording = recording(no, id, 1_000);
    recording.stage = Stage::Finished;
    let folder = files::create_folder(&System, dir, &recording.path()).unwrap();
    for name in ["recording.json", "audio.wav"] {
        fs::write(folder.join(name), name).unwrap();
        let digest = files::digest(name.as_bytes()).unwrap();
        recording.files.push(FileFact { name: name.into(), bytes: digest.bytes, sha256: digest.sha256 });
    }
    recording
}

fn target(name: &str, path: PathBuf) -> Target {
    Target { name: name.into(), kind: TargetKind::Dir { path } }
}

#[test]
fn recording_json_is_delivered_last() {
    let dir = tempfile::tempdir().unwrap();
    let delivery = Delivery::new(&finished(dir.path(), 1, "a"));
    assert_eq!(delivery.files.last().unwrap().name, "recording.json");
    assert_eq!(delivery.path, "101/2026-03-02/a");
}

#[test]
fn delivered_when_a_target_that_was_away_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (here, away) = (dir.path().join("here"), dir.path().join("away"));
    fs::create_dir(&here).unwrap();
    let call = finished(dir.path(), 1, "a");
    let (sender, mut events) = events::channel(8);
    let targets = vec![target("here", here.clone()), target("away", away.clone())];
    let forwarder = Forwarder::start(Config { finished_dir: dir.path().into(), targets }, sender).unwrap();
    forwarder.submit(&call);

    let Some(Event::TargetDown { target, error }) = events.blocking_recv() else { panic!("down comes first") };
    assert_eq!(target, "away");
    assert!(error.contains("is it mounted?"), "{error}");
    fs::create_dir(&away).unwrap();
    assert!(matches!(events.blocking_recv(), Some(Event::TargetUp { target }) if target == "away"));
    assert!(matches!(events.blocking_recv(), Some(Event::Delivered { no, .. }) if no == call.no));
    for target in [here, away] {
        assert!(target.join(call.path()).join("recording.json").exists());
    }
    forwarder.stop();
    assert!(events.blocking_recv().is_none());
}

#[test]
fn a_contested_recording_is_set_aside_and_the_next_one_goes() {
    let dir = tempfile::tempdir().unwrap();
    let dc = dir.path().join("dc");
    let (contested, fine) = (finished(dir.path(), 1, "a"), finished(dir.path(), 2, "b"));
    fs::create_dir_all(dc.join(contested.path())).unwrap();
    fs::write(dc.join(contested.path()).join("audio.wav"), "another").unwrap();
    let (sender, mut events) = events::channel(8);
    let config = Config { finished_dir: dir.path().into(), targets: vec![target("dc", dc)] };
    let forwarder = Forwarder::start(config, sender).unwrap();
    forwarder.submit(&contested);
    forwarder.submit(&fine);

    let Some(Event::SetAside { no, target, error, .. }) = events.blocking_recv() else { panic!("not set aside") };
    assert_eq!((no, target.as_str()), (contested.no, "dc"));
    assert!(error.to_string().contains("audio.wav exists with another content"), "{error}");
    assert!(matches!(events.blocking_recv(), Some(Event::Delivered { no, .. }) if no == fine.no));
    forwarder.stop();
}

#[test]
fn without_a_target_recordings_just_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, mut events) = events::channel(1);
    let config = Config { finished_dir: dir.path().into(), targets: Vec::new() };
    let forwarder = Forwarder::start(config, sender).unwrap();
    forwarder.submit(&finished(dir.path(), 1, "a"));
    forwarder.stop();
    assert!(events.blocking_recv().is_none());
}

#[test]
fn the_threads_end_when_nobody_listens() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, events) = events::channel(1);
    drop(events);
    let config = Config { finished_dir: dir.path().into(), targets: vec![target("dc", dir.path().join("dc"))] };
    let forwarder = Forwarder::start(config, sender).unwrap();
    forwarder.submit(&finished(dir.path(), 1, "a"));
    forwarder.stop();
}
