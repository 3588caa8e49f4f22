//! The ALSA sidecar as a process, heard through ALSA's own `file` plug-in: what a loudspeaker would have got, sample by sample.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nearend::tones::plan::Rhythm;
use nearend::tones::synth;
use serde_json::{Value, json};

use super::site::Site;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Sidecar {
    folder: tempfile::TempDir,
    process: Child,
    stream: BufReader<UnixStream>,
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Sidecar {
    /// One whose devices `heard` and `elsewhere` write a WAV file each.
    fn start() -> Sidecar {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let device = |name: &str| {
            let file = path(&format!("{name}.wav"));
            format!("pcm.{name} {{ type file slave.pcm null file \"{}\" format wav }}\n", file.display())
        };
        let devices = device("heard") + &device("elsewhere");
        Sidecar::start_with(folder, &devices, "heard")
    }

    /// One of these devices.
    pub(crate) fn start_with(folder: tempfile::TempDir, devices: &str, device: &str) -> Sidecar {
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("alsa.conf"), format!("</usr/share/alsa/alsa.conf>\n{devices}")).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_nearend-tone"))
            .env("ALSA_CONFIG_PATH", path("alsa.conf"))
            .args(["--device", device, "--socket"])
            .arg(path("socket"))
            .spawn()
            .unwrap();
        let until = Instant::now() + PATIENCE;
        let stream = loop {
            if let Ok(stream) = UnixStream::connect(path("socket")) {
                break stream;
            }
            assert!(Instant::now() < until && process.try_wait().unwrap().is_none(), "the sidecar does not listen");
            std::thread::sleep(Duration::from_millis(20));
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Sidecar { folder, process, stream: BufReader::new(stream) }
    }

    pub(crate) fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.stream.get_mut(), "{request}").unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"))
    }

    pub(crate) fn wait_for(&mut self, what: &str, is_there: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.ask(&json!({"cmd": "status"}));
            if is_there(&status) {
                return status;
            }
            assert!(Instant::now() < until, "{what}: {status}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The samples that the plug-in wrote.
    fn heard(&self, name: &str) -> Vec<i16> {
        let file = std::fs::read(self.path(name)).unwrap();
        let data = file.windows(4).position(|w| w == b"data").unwrap() + 8;
        file[data..].chunks_exact(2).map(|s| i16::from_le_bytes([s[0], s[1]])).collect()
    }
}

fn play(tones: Option<u32>) -> Value {
    json!({"cmd": "play", "frequency_hz": 1400, "on_ms": 500, "off_ms": 1500, "level_dbm0": -10.0, "tones": tones})
}

#[test]
fn the_device_gets_exactly_the_planned_samples() {
    let mut sidecar = Sidecar::start();
    sidecar.ask(&play(Some(4)));
    let status = sidecar.wait_for("four tones", |status| status["state"] == "stopped");
    let rate_hz = status["rate_hz"].as_u64().unwrap();
    assert_eq!((rate_hz, status["channels"].as_u64(), status["underruns"].as_u64()), (8_000, Some(1), Some(0)), "{status}");

    let rhythm = Rhythm::from_ms(500, 1_500);
    let tone = synth::tone(1_400.0, 4_000, -10.0);
    let mut planned = vec![0; 3 * 16_000 + 4_000];
    for place in rhythm.tones(planned.len() as u64, &[]) {
        planned[place.start as usize..place.end as usize].copy_from_slice(&tone);
    }
    let heard = sidecar.heard("heard.wav");
    assert_eq!(heard.len(), planned.len());
    assert!(heard == planned, "first difference at {:?}", heard.iter().zip(&planned).position(|(a, b)| a != b));

    assert_eq!((status["tones"].as_u64(), status["frames_written"].as_u64()), (Some(4), Some(52_000)), "{status}");
    let frames: Vec<u64> = status["last_tones"].as_array().unwrap().iter().map(|t| t["frame"].as_u64().unwrap()).collect();
    assert_eq!(frames, [0, 16_000, 32_000, 48_000], "the times of each tone are those of the samples");
}

#[test]
fn it_pauses_resumes_and_stops_as_told_and_says_what_it_cannot() {
    let mut sidecar = Sidecar::start();
    assert!(sidecar.ask(&json!({"cmd": "pause"}))["error"].as_str().unwrap().contains("expected playing"));
    assert!(sidecar.ask(&json!({"cmd": "dance"}))["error"].as_str().unwrap().contains("dance"));
    assert_eq!(sidecar.ask(&play(None))["state"], "playing");
    sidecar.wait_for("tones", |status| status["tones"].as_u64() > Some(2));
    assert_eq!(sidecar.ask(&json!({"cmd": "pause"}))["state"], "paused");
    let paused = sidecar.wait_for("silence", |status| status["frames_written"].as_u64() > Some(100_000));
    assert_eq!(sidecar.ask(&json!({"cmd": "resume"}))["state"], "playing");
    sidecar.wait_for("tones again", |status| status["tones"].as_u64() > paused["tones"].as_u64());
    assert_eq!(sidecar.ask(&json!({"cmd": "stop"}))["state"], "stopped");
    assert!(sidecar.heard("heard.wav").len() > 100_000);

    let mut elsewhere = play(Some(1));
    elsewhere["device"] = "elsewhere".into();
    sidecar.ask(&elsewhere);
    let status = sidecar.wait_for("one tone", |status| status["state"] == "stopped");
    assert_eq!((&status["device"], status["tones"].as_u64()), (&"elsewhere".into(), Some(1)));
    assert_eq!(sidecar.heard("elsewhere.wav").len(), 4_000);
}

#[test]
fn a_device_that_is_not_there_or_fails_is_tried_until_it_works() {
    let mut sidecar = Sidecar::start();
    let define = |sidecar: &Sidecar, name: &str, file: &Path| {
        let mut config = std::fs::read_to_string(sidecar.path("alsa.conf")).unwrap();
        config += &format!("pcm.{name} {{ type file slave.pcm null file \"{}\" format wav }}\n", file.display());
        std::fs::write(sidecar.path("alsa.conf"), &config).unwrap();
        // ALSA reads its configuration anew when the file's time differs by whole seconds.
        let file = std::fs::File::options().write(true).open(sidecar.path("alsa.conf")).unwrap();
        file.set_modified(std::time::SystemTime::now() + Duration::from_secs(config.len() as u64)).unwrap();
    };
    let mut request = play(Some(1));
    request["device"] = "unknown".into();
    let status = sidecar.ask(&request);
    assert_eq!(status["state"], "no-device", "{status}");
    assert!(status["error"].as_str().unwrap().contains("unknown"), "{status}");
    define(&sidecar, "unknown", &sidecar.path("unknown.wav"));
    let status = sidecar.wait_for("the device", |status| status["state"] == "stopped");
    assert!(status["device_losses"].as_u64() >= Some(1) && status["tones"].as_u64() == Some(1), "{status}");
    assert_eq!(sidecar.heard("unknown.wav").len(), 4_000);

    // It opens, but takes nothing: as a device that was pulled out.
    define(&sidecar, "pulled", &sidecar.path("gone/pulled.wav"));
    request["device"] = "pulled".into();
    request["tones"] = 3.into(); // more than the device's buffer takes
    sidecar.ask(&request);
    let status = sidecar.wait_for("its loss", |status| status["state"] == "no-device");
    assert!(status["error"].as_str().unwrap().contains("pulled has gone"), "{status}");
    std::fs::create_dir(sidecar.path("gone")).unwrap();
    sidecar.wait_for("its return", |status| status["state"] == "stopped");
    assert_eq!(sidecar.heard("gone/pulled.wav").len(), 2 * 16_000 + 4_000);
}

#[test]
fn the_box_shows_logs_and_counts_once_that_its_loudspeaker_is_gone_and_records_all_the_same() {
    let mut sidecar = Sidecar::start();
    let site = Site::start_with(&format!("[tone]\nsidecar = \"{}\"\n", sidecar.path("socket").display()));
    let state = |site: &Site, state: &str| site.metric(&format!("nearend_tone_sidecar{{state=\"{state}\"}}")) == Some(1);
    site.wait_for("a sidecar at rest", |site| state(site, "stopped"));
    assert_eq!(site.metric("nearend_tone_sidecar_trouble"), Some(0));
    let mut request = play(None);
    request["device"] = "hw:17".into();
    assert_eq!(sidecar.ask(&request)["state"], "no-device");
    site.wait_for("its loss", |site| state(site, "no-device") && site.metric("nearend_tone_device_losses") > Some(1));
    let (_, status) = site.get("/api/v1/status");
    assert!(status.contains("\"what\":\"Tones: the loudspeaker cannot be used: hw:17"), "{status}");
    assert_eq!(site.get("/health/ready").0, 200, "calls are recorded all the same");
    sidecar.ask(&json!({"cmd": "stop"}));
    site.wait_for("its end", |site| state(site, "stopped") && site.metric("nearend_tone_sidecar_trouble") == Some(0));
    sidecar.process.kill().unwrap();
    site.wait_for("its death", |site| state(site, "silent") && site.metric("nearend_tone_sidecar_trouble") == Some(1));
    assert!(site.get("/api/v1/status").1.contains("nearend-tone does not answer: Connection refused"));
    let said = |words: &str| site.log().iter().filter(|line| line.contains(words)).count();
    assert_eq!((said("the loudspeaker cannot be used"), said("no more trouble"), said("does not answer")), (1, 1, 1));
}

/// A device that only one program can have at a time (exclusive.c), in a file `lock`.
pub(crate) fn exclusive(lock: &Path) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let (library, source) =
        (folder.path().join("exclusive.so"), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/exclusive.c"));
    let built =
        Command::new("cc").args(["-O1", "-DPIC", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-lasound").status();
    assert!(built.unwrap().success(), "scripts/deps build installs a C compiler and libasound2-dev");
    let kind = format!("pcm_type.exclusive {{ lib \"{}\" }}\n", library.display());
    let devices = format!("{kind}pcm.one {{ type exclusive lock \"{}\" }}\n", lock.display());
    (folder, devices)
}

#[test]
fn a_busy_device_is_shown_logged_and_counted_and_used_as_soon_as_it_is_free() {
    let shared = tempfile::tempdir().unwrap();
    let start = || {
        let (folder, devices) = exclusive(&shared.path().join("lock"));
        Sidecar::start_with(folder, &devices, "one")
    };
    let (mut other, mut sidecar) = (start(), start());
    assert_eq!(other.ask(&play(None))["state"], "playing", "another program has it");
    let site = Site::start_with(&format!("[tone]\nsidecar = \"{}\"\n", sidecar.path("socket").display()));
    let state = |site: &Site, state: &str| site.metric(&format!("nearend_tone_sidecar{{state=\"{state}\"}}")) == Some(1);
    let status = sidecar.ask(&play(None));
    assert_eq!((&status["state"], status["tones"].as_u64()), (&"device-busy".into(), Some(0)), "{status}");
    assert!(status["error"].as_str().unwrap().contains("one: another program has it"), "{status}");
    site.wait_for("the state", |site| state(site, "device-busy") && site.metric("nearend_tone_sidecar_trouble") == Some(1));
    let losses = site.metric("nearend_tone_device_losses");
    site.wait_for("another try", |site| site.metric("nearend_tone_device_losses") > losses);
    other.process.kill().unwrap();
    other.process.wait().unwrap();
    let status = sidecar.wait_for("tones, once it is free", |status| status["tones"].as_u64() >= Some(2));
    assert_eq!((&status["state"], &status["error"]), (&"playing".into(), &Value::Null), "{status}");
    let frames: Vec<u64> = status["last_tones"].as_array().unwrap().iter().map(|tone| tone["frame"].as_u64().unwrap()).collect();
    assert_eq!(frames[1] - frames[0], 2 * status["rate_hz"].as_u64().unwrap(), "{status}");
    site.wait_for("no more trouble", |site| state(site, "playing") && site.metric("nearend_tone_sidecar_trouble") == Some(0));
    let said = |words: &str| site.log().iter().filter(|line| line.contains(words)).count();
    assert_eq!((said("the loudspeaker is busy: one: another program has it"), said("no more trouble")), (1, 1));
}

#[test]
fn a_call_is_heard_from_its_perspectives_and_a_pause_is_one() {
    let mut sidecar = Sidecar::start();
    let mut request = play(Some(1));
    request["off_ms"] = 500.into();
    let mut heard = |perspective: &str, options: Value, speech: bool| {
        request["hear"] = json!({"perspective": perspective, "speech": speech, "options": options});
        sidecar.ask(&request);
        sidecar.wait_for("its end", |status| status["state"] == "stopped");
        sidecar.heard("heard.wav")
    };
    let tone = synth::tone(1_400.0, 4_000, -10.0);
    let hears = json!({"chan1": "otherdnhears"});
    assert_eq!(heard("channel-1", hears.clone(), false), tone);
    let said: Vec<i16> = nearend::tones::bench::said(nearend::tones::plan::Party::RecordDn).take(4_000).collect();
    let both: Vec<i16> = said.iter().zip(&tone).map(|(said, tone)| said.saturating_add(*tone)).collect();
    assert_eq!(heard("channel-1", hears, true), both, "exactly what `nearend tone render` makes");
    request["tones"] = Value::Null;
    request["hear"] = json!({"perspective": "channel-1", "speech": true, "options": {}});
    sidecar.ask(&request);
    let status = sidecar.wait_for("a second", |status| status["frames_written"].as_u64() > Some(8_000));
    assert_eq!(status["tones"], 0, "recorddnsays never holds one: {status}");
    assert_eq!(sidecar.ask(&json!({"cmd": "pause"}))["state"], "paused");
    sidecar.ask(&json!({"cmd": "stop"}));
    assert_eq!(sidecar.heard("heard.wav")[..4_000], said);
}

#[test]
fn the_command_line_plays_and_shows_what_was_played() {
    let sidecar = Sidecar::start();
    let played = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nearend"));
        command.args(["tone", "play", "--preset", "de", "--tones", "2", "--json", "--socket"]).arg(sidecar.path("socket"));
        let output = command.args(more).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let (code, said) = played(&[]);
    let status: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!((code, status["tones"].as_u64(), &status["device"]), (Some(0), Some(2), &"heard".into()), "{status}");
    assert_eq!(sidecar.heard("heard.wav").len(), 15_080 * 8 + 640);
    let (code, said) = played(&["--device", "nowhere"]);
    assert!(code == Some(1) && said.contains("nowhere"), "{said}");
}
