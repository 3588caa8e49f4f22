//! The forwarder with its threads: two targets, one of them away, one contested.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::*;
use crate::files::{self, System};
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
    Target { name: name.into(), kind: TargetKind::Dir { path }, metadata: None }
}

/// A forwarder that knows these recordings.
fn start(dir: &Path, targets: Vec<Target>, recordings: &[&Recording], events: events::Sender<Event>) -> Forwarder {
    let ledger: BTreeMap<RecordingNo, Recording> = recordings.iter().map(|r| (r.no, (*r).clone())).collect();
    let config = Config {
        finished_dir: dir.into(),
        targets,
        queue: Settings::default(),
        schedule: Schedule::default(),
        box_name: "branch-17".into(),
    };
    let forwarder = Forwarder::start(config, Box::new(move |no| Ok(ledger.get(&no).cloned())), events).unwrap();
    recordings.iter().for_each(|recording| forwarder.submit(recording));
    forwarder
}

#[test]
fn recording_json_is_delivered_last() {
    let dir = tempfile::tempdir().unwrap();
    let delivery = Delivery::new(&finished(dir.path(), 1, "a"));
    assert_eq!(delivery.files.last().unwrap().name, "recording.json");
    assert_eq!(delivery.path, "101/2026-03-02/a");
    assert_eq!(delivery.beside("box 1").to, "101/2026-03-02/a~box%201");
}

#[test]
fn delivered_when_a_target_that_was_away_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (here, away) = (dir.path().join("here"), dir.path().join("away"));
    fs::create_dir(&here).unwrap();
    let call = finished(dir.path(), 1, "a");
    let (sender, mut events) = events::channel(8);
    let targets = vec![target("here", here.clone()), target("away", away.clone())];
    let forwarder = start(dir.path(), targets, &[&call], sender);

    let mut down = None;
    while down.is_none() {
        match events.blocking_recv().unwrap() {
            Event::TargetDown { target, error, .. } => down = Some((target, error)),
            Event::Arrived { target, delivered, .. } => assert_eq!((target.as_str(), delivered), ("here", false)),
            other => panic!("{other:?}"),
        }
    }
    let (name, error) = down.unwrap();
    assert!(name == "away" && error.contains("is it mounted?"), "{error}");
    fs::create_dir(&away).unwrap();
    let mut news = Vec::new();
    while !matches!(news.last(), Some(Event::Arrived { delivered: true, .. })) {
        news.push(events.blocking_recv().unwrap());
    }
    assert!(news.iter().any(|event| matches!(event, Event::TargetUp { target } if target == "away")), "{news:?}");
    for target in [here, away] {
        assert!(target.join(call.path()).join("recording.json").exists());
    }
    forwarder.stop();
    assert!(events.blocking_recv().is_none());
}

#[test]
fn a_name_that_is_taken_is_left_alone_and_a_contested_recording_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let dc = dir.path().join("dc");
    let (beside, contested, fine) = (finished(dir.path(), 1, "a"), finished(dir.path(), 2, "b"), finished(dir.path(), 3, "c"));
    let taken = |folder: &str| {
        fs::create_dir_all(dc.join(folder)).unwrap();
        fs::write(dc.join(folder).join("audio.wav"), "another").unwrap();
    };
    taken(&beside.path());
    taken(&contested.path());
    taken(&format!("{}~branch-17", contested.path()));
    let (sender, mut events) = events::channel(8);
    let forwarder = start(dir.path(), vec![target("dc", dc.clone())], &[&beside, &contested, &fine], sender);

    assert!(matches!(events.blocking_recv(), Some(Event::Arrived { no, delivered: true, .. }) if no == beside.no));
    assert!(dc.join(format!("{}~branch-17/recording.json", beside.path())).exists());
    let Some(Event::SetAside { no, target, error, .. }) = events.blocking_recv() else { panic!("not set aside") };
    assert_eq!((no, target.as_str()), (contested.no, "dc"));
    assert!(error.contains("audio.wav exists with another content"), "{error}");
    assert!(matches!(events.blocking_recv(), Some(Event::Arrived { no, .. }) if no == fine.no));
    assert_eq!(fs::read_to_string(dc.join(beside.path()).join("audio.wav")).unwrap(), "another");
    forwarder.stop();
}

#[test]
fn without_a_target_recordings_just_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, mut events) = events::channel(1);
    let forwarder = start(dir.path(), Vec::new(), &[&finished(dir.path(), 1, "a")], sender);
    forwarder.stop();
    assert!(events.blocking_recv().is_none());
}

#[test]
fn the_threads_end_when_nobody_listens() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, events) = events::channel(1);
    drop(events);
    let call = finished(dir.path(), 1, "a");
    start(dir.path(), vec![target("dc", dir.path().join("dc"))], &[&call], sender).stop();
}
