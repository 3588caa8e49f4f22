//! The forwarder over a bad WAN to real servers: everything arrives once, as it was, whatever lies between.

mod faults;
mod metadata_target;
mod proxy;
mod rate;
mod s3;
mod s3_target;
mod webdav_target;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nearend::files;
use nearend::forward::driver::{Config, Event, Forwarder};
use nearend::forward::pace::Schedule;
use nearend::forward::queue::Settings;
use nearend::forward::target::http::Access;
use nearend::forward::{Target, TargetKind};
use nearend::model::{Recording, RecordingNo};
use serde_json::json;
use tokio::sync::mpsc;

/// A box that has only its forwarder: finished recordings on a disk, and a ledger of them.
pub(crate) struct Sender {
    dir: tempfile::TempDir,
    ledger: Arc<Mutex<BTreeMap<RecordingNo, Recording>>>,
    random: fastrand::Rng,
}

/// A forwarder at work.
pub(crate) struct Running {
    forwarder: Forwarder,
    events: mpsc::Receiver<Event>,
    ledger: Arc<Mutex<BTreeMap<RecordingNo, Recording>>>,
}

impl Sender {
    pub(crate) fn new(seed: u64) -> Sender {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("finished")).unwrap();
        fs::write(dir.path().join("access-key"), s3::ACCESS_KEY).unwrap();
        fs::write(dir.path().join("secret-key"), format!("{}\n", s3::SECRET_KEY)).unwrap();
        Sender { dir, ledger: Arc::default(), random: fastrand::Rng::with_seed(seed) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A finished recording whose audio has so many bytes.
    pub(crate) fn record(&mut self, id: &str, bytes: usize) -> Recording {
        let mut ledger = self.ledger.lock().unwrap();
        let no = ledger.len() as u64 + 1;
        let mut recording: Recording = serde_json::from_value(json!({
            "no": no, "id": id, "call_uuid": null, "tenant": "101", "dialect": "msr", "stage": "finished", "legs": [],
            "origin": 1_772_460_359_000_000_i64, "started": 1_772_460_359_000_000_i64,
        }))
        .unwrap();
        let folder = files::create_folder(&files::System, &self.dir.path().join("finished"), &recording.path()).unwrap();
        let audio: Vec<u8> = std::iter::repeat_with(|| self.random.u8(..)).take(bytes).collect();
        let text = format!("{{\"id\": \"{id}\"}}").into_bytes();
        for (name, content) in [("recording.json", text), ("audio.wav", audio)] {
            let digest = files::digest(content.as_slice()).unwrap();
            fs::write(folder.join(name), content).unwrap();
            let fact = json!({ "name": name, "bytes": digest.bytes, "sha256": digest.sha256 });
            recording.files.push(serde_json::from_value(fact).unwrap());
        }
        ledger.insert(recording.no, recording.clone());
        recording
    }

    /// What of every recording has to be at the target: name and content.
    pub(crate) fn expected(&self) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        for recording in self.ledger.lock().unwrap().values() {
            for file in &recording.files {
                let name = format!("{}/{}", recording.path(), file.name);
                all.push((name.clone(), fs::read(self.dir.path().join("finished").join(&name)).unwrap()));
            }
        }
        all.sort();
        all
    }

    /// As if the box had been killed before it could write down what is delivered.
    pub(crate) fn forget_deliveries(&self) {
        self.ledger.lock().unwrap().values_mut().for_each(|recording| recording.stage = nearend::model::Stage::Finished);
    }

    /// Starts the forwarder over all that is not delivered.
    pub(crate) fn forward(&self, targets: Vec<Target>) -> Running {
        self.forward_by(targets, Settings::default(), Schedule::default())
    }

    pub(crate) fn forward_by(&self, targets: Vec<Target>, queue: Settings, schedule: Schedule) -> Running {
        let (news, events) = mpsc::channel(64);
        let finished_dir = self.dir.path().join("finished");
        let config = Config { finished_dir, targets, queue, schedule, box_name: "branch-17.box".into() };
        let ledger = Arc::clone(&self.ledger);
        let lookup = Box::new(move |no| Ok(ledger.lock().unwrap().get(&no).cloned()));
        let forwarder = Forwarder::start(config, lookup, news).unwrap();
        let waiting = self.ledger.lock().unwrap();
        waiting.values().filter(|r| r.stage == nearend::model::Stage::Finished).for_each(|r| forwarder.submit(r));
        Running { forwarder, events, ledger: Arc::clone(&self.ledger) }
    }

    pub(crate) fn s3(&self, endpoint: &str) -> Target {
        Target { name: "s3".into(), kind: TargetKind::S3(self.s3_settings(endpoint)), metadata: None }
    }

    pub(crate) fn s3_settings(&self, endpoint: &str) -> nearend::forward::target::s3::Settings {
        nearend::forward::target::s3::Settings {
            endpoint: endpoint.into(),
            bucket: "calls".into(),
            region: "us-east-1".into(),
            prefix: String::new(),
            virtual_host: false,
            access_key_file: self.path("access-key"),
            secret_key_file: self.path("secret-key"),
            part_bytes: 5 << 20, // the server takes no smaller ones
            access: Access { ca_file: None, timeout: Duration::from_secs(30) },
            uploads_dir: self.path("uploads"),
        }
    }
}

impl Running {
    /// The next event, as the daemon would take it: what is delivered is so from now on.
    pub(crate) fn next(&mut self) -> Event {
        let event = self.events.blocking_recv().expect("the forwarder lives");
        if let Event::Arrived { no, delivered: true, .. } = &event {
            self.ledger.lock().unwrap().get_mut(no).unwrap().stage = nearend::model::Stage::Delivered;
        }
        event
    }

    /// Waits until so many are delivered; gives the order.
    pub(crate) fn delivered(&mut self, count: usize) -> Vec<RecordingNo> {
        let mut order = Vec::new();
        while order.len() < count {
            match self.next() {
                Event::Arrived { no, delivered: true, .. } => order.push(no),
                Event::SetAside { error, .. } => panic!("set aside: {error}"),
                Event::TargetDown { error, .. } => eprintln!("down: {error}"), // shown when the test fails
                _ => {}
            }
        }
        order
    }

    pub(crate) fn stop(self) {
        drop(self.events);
        self.forwarder.stop();
    }
}

/// A folder for a server, with a bucket.
pub(crate) fn bucket(dir: &Path, name: &str) -> PathBuf {
    let root = dir.join("server");
    fs::create_dir_all(root.join(name)).unwrap();
    root
}

/// The same names, each with the same content.
pub(crate) fn assert_same(found: &[(String, Vec<u8>)], expected: &[(String, Vec<u8>)]) {
    let shown = |all: &[(String, Vec<u8>)]| -> Vec<(String, usize)> {
        all.iter().map(|(name, content)| (name.clone(), content.len())).collect()
    };
    assert_eq!(shown(found), shown(expected));
    assert!(found == expected, "something is not what was sent");
}
