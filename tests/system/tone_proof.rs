//! Proof of the recording tone in finished recordings: calls with a tone, without one, and with one that a rule demands, through a
//! running box.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::senders::msr;
use super::site::{Arrived, Site};

/// The tone of China is the most frequent one: every 10.4 s.
const CHINA: &str = "[tone]\npreset = \"cn\"\ndemand = \"channel-1\"\n";

/// What a party that hears the tone sends: the far party's speech, which is silence here, and the tone.
fn rendered(site: &Site) -> PathBuf {
    let out = site.path("bench");
    let render = ["tone", "render", "--preset", "cn", "--seconds", "13", "--chan1", "otherdnhears", "--out"];
    assert!(Command::new(env!("CARGO_BIN_EXE_nearend")).args(render).arg(&out).output().unwrap().status.success());
    out
}

/// A call of 12 s in which the parties say these files.
fn call(site: &Site, recorded: &Path, other: &Path) {
    let (to, local) = (format!("sip:{}", site.sip()), site.peer().to_string());
    let audio = format!("{},{}", recorded.display(), other.display());
    msr(site, &to, &["--local", &local, "--duration", "12s", "--audio", &audio]);
}

fn tones(recording: &Arrived) -> &Value {
    let tones = &recording.json["nearend"]["tones"];
    let schema: Value = serde_json::from_str(include_str!("../../docs/schema/recording.schema.json")).unwrap();
    let faults: Vec<String> =
        jsonschema::validator_for(&schema).unwrap().iter_errors(&recording.json).map(|e| e.to_string()).collect();
    assert_eq!(faults, Vec::<String>::new());
    tones
}

#[test]
fn a_call_with_the_tone_and_one_without_are_told_apart_and_the_second_is_an_alarm() {
    let site = Site::start_with(CHINA);
    let bench = rendered(&site);
    let (with, without) = (bench.join("channel-1.wav"), bench.join("channel-2.wav"));
    std::thread::scope(|scope| {
        scope.spawn(|| call(&site, &with, &without));
        scope.spawn(|| call(&site, &without, &without));
    });
    let recordings = site.wait_for_recordings(2);
    let all: Vec<&Value> = recordings.iter().map(tones).collect();
    let of = |verdict: &str| all.iter().position(|tones| tones["verdict"] == verdict).unwrap_or_else(|| panic!("{all:?}"));
    let (good, bad) = (all[of("pass")], all[of("fail")]);

    assert_eq!((&good["preset"], &good["demand"]), (&"cn".into(), &"channel-1".into()));
    let recorded = &good["channels"][0];
    assert_eq!((&recorded["expected"], &recorded["found"], &recorded["missing"]), (&2.into(), &2.into(), &0.into()), "{good}");
    let number = |key: &str| recorded[key].as_f64().unwrap();
    assert!((number("frequencyHz") - 950.0).abs() < 1.0 && (number("lengthMs") - 400.0).abs() < 5.0, "{recorded}");
    assert!((number("levelDbm0") + 20.0).abs() < 0.3, "{recorded}");
    assert!((number("lastMs") - number("firstMs") - 10_400.0).abs() < 10.0, "{recorded}");
    assert_eq!((&good["channels"][1]["found"], &good["channels"][1]["verdict"]), (&0.into(), &"no-tone".into()));

    assert_eq!(bad["channels"][0]["found"], 0, "{bad}");
    assert!(bad["channels"][0]["missingAtMs"][0].as_u64().unwrap() < 500, "it begins with the first packet: {bad}");
    assert_eq!(bad["channels"][0]["faults"], serde_json::json!(["no tone was found"]), "{bad}");
    let id = recordings[of("fail")].id();
    site.log_line(&["not recorded as it should be", id, "finding=\"tone\"", "tone cn demanded in channel-1"]);
    site.wait_for("the alarm's metrics", |site| {
        let failed = ["nearend_tone_recordings_failed_total", "nearend_call_findings_today{finding=\"tone\"}"];
        failed.iter().all(|name| site.metric(name) == Some(1)) && site.metric("nearend_tone_recordings_demanded_total") == Some(2)
    });
    assert_eq!((site.metric("nearend_tones_found_total"), site.metric("nearend_tones_missing_total")), (Some(2), Some(1)));
    let (_, page) = site.get("/api/v1/status");
    assert!(page.contains("Recording tone: 1 recordings of today"), "{page}");
}

#[test]
fn a_configured_tone_that_is_not_there_is_said_and_one_that_comes_back_too() {
    let site = Site::prepare("");
    let tone = site.path("tone.wav");
    site.add_config(&format!("[tone]\naudiosrc = \"file://{}\"\n", tone.display()));
    let mut site = site;
    site.run();
    site.log_line(&["no tone sounds", "state=\"not-found\""]);
    site.wait_for("the metric", |site| site.metric("nearend_tone_source{state=\"not-found\"}") == Some(1));
    let (_, page) = site.get("/api/v1/status");
    assert!(page.contains("\"what\":\"Recording tone file:") && page.contains("(not-found)"), "{page}");
    assert_eq!(site.get("/health/ready").0, 200, "calls are recorded all the same");
    std::fs::copy(rendered(&site).join("channel-1.wav"), &tone).unwrap();
    site.kill();
    site.run();
    site.log_line(&["the tone is there"]);
    site.wait_for("the metric", |site| site.metric("nearend_tone_source{state=\"usable\"}") == Some(1));
    let bench = site.path("custom");
    let render = ["tone", "render", "--seconds", "30", "--tonesilenceduration", "1000", "--json", "--audiosrc"];
    let render = |uri: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nearend"));
        let output = command.args(render).arg(uri).arg("--out").arg(&bench).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let custom = render(&format!("file://{}", tone.display()));
    assert_eq!((&custom["on_ms"], &custom["tones_at_ms"]), (&13_000.into(), &serde_json::json!([0, 14_000, 28_000])), "{custom}");
    let none = render("file:///nothing.wav");
    assert!(none["no_tone"].as_str().unwrap().contains("nothing is there") && none["files"][0]["tones"] == 0, "{none}");
}

#[test]
fn a_rule_demands_a_tone_and_the_days_report_names_the_recording_without_it() {
    let mut site = Site::start_with("[[rule]]\nname = \"with tone\"\ndn = [\"7000-7999\"]\ntone = \"cn\"\n");
    let silent = rendered(&site).join("channel-2.wav");
    call(&site, &silent, &silent);
    let recordings = site.wait_for_recordings(1);
    let tones = tones(&recordings[0]);
    assert_eq!((&tones["preset"], &tones["demand"], &tones["verdict"]), (&"cn".into(), &"any".into(), &"fail".into()), "{tones}");
    site.stop();
    let mut reports = std::fs::read_dir(site.path("data/reports")).unwrap().map(|entry| entry.unwrap().path());
    let reports: Vec<Value> =
        reports.by_ref().map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()).collect();
    let entries = reports.iter().flat_map(|day| day["calls"].as_array().unwrap());
    let found = entries.filter(|call| call["rule"] == "with tone" && call["findings"].to_string().contains("\"tone\"")).count();
    assert_eq!(found, 1, "{reports:?}");
}

/// `nearend tone check --recording ID …` at the box: exit status, findings, what it said beside them.
fn check(site: &Site, id: &str, more: &[&str]) -> (Option<i32>, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nearend"));
    command.args(["tone", "check", "--json", "--recording", id]).args(more);
    let output = command.arg("--config").arg(site.path("nearend.toml")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
}

#[test]
fn a_recording_is_measured_by_its_id_while_the_box_may_read_it() {
    for format in ["wav", "opus"] {
        let site = Site::start_with(&format!("{CHINA}[[tenant]]\nid = \"default\"\nformat = \"{format}\"\n"));
        let bench = rendered(&site);
        call(&site, &bench.join("channel-1.wav"), &bench.join("channel-2.wav"));
        let recordings = site.wait_for_recordings(1);
        let (code, measured, said) = check(&site, recordings[0].id(), &[]);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{measured}");
        let before = &tones(&recordings[0])["channels"][0];
        let again = &measured["channels"][0];
        assert_eq!((&again["expected"], &again["missing"]), (&before["expected"], &before["missing"]), "{format}");
        for (key, by) in [("frequencyHz", 0.5), ("lengthMs", 5.0), ("levelDbm0", 2.0), ("firstMs", 5.0), ("lastMs", 5.0)] {
            let off = (again[key].as_f64().unwrap() - before[key].as_f64().unwrap()).abs();
            assert!(off < by, "{format} {key}: {again} {before}");
        }
        let (code, other, _) = check(&site, recordings[0].id(), &["--preset", "us", "--demand", "2"]);
        assert_eq!((code, &other["preset"], &other["demand"]), (Some(1), &"us".into(), &"channel-2".into()), "{other}");
    }
}

#[test]
fn of_a_sealed_recording_what_was_measured_before_is_shown_and_a_running_one_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let sealed = super::sealed::tenant("wav", &[&super::sealed::recipient(folder.path(), "key")]);
    let site = Site::start_with(&format!("{CHINA}{sealed}"));
    let bench = rendered(&site);
    std::thread::scope(|scope| {
        scope.spawn(|| call(&site, &bench.join("channel-1.wav"), &bench.join("channel-2.wav")));
        let running = || super::sealed::recordings(&site, &["ls", "--json"]).0;
        let id = || serde_json::from_str::<Value>(&running()).ok()?[0]["id"].as_str().map(str::to_owned);
        site.wait_for("a tone in the running call", |site| {
            id().is_some_and(|id| check(site, &id, &[]).1["channels"][0]["found"].as_u64() >= Some(1))
        });
    });
    let recordings = site.wait_for_recordings(1);
    let (code, measured, said) = check(&site, recordings[0].id(), &[]);
    assert_eq!((code, &measured["channels"][0]["found"]), (Some(0), &2.into()), "{measured} {said}");
    assert!(said.contains("before it was sealed"), "{said}");
    let (code, _, said) = check(&site, recordings[0].id(), &["--preset", "us"]);
    assert!(code == Some(2) && said.contains("leave out --preset"), "{said}");
    let (code, _, said) = check(&site, "nobody", &[]);
    assert!(code == Some(2) && said.contains("no recording nobody here"), "{said}");
}
