//! Assurance: what is wrong with a recording is logged, counted, shown and in the day's report; `nearend reconcile` finds it in a
//! switch's own call records.

use std::process::Command;

use serde_json::Value;

use super::senders::msr;
use super::sipp::{Scenario, device_message};
use super::site::Site;

/// `nearend reconcile` with these rows: exit code and answer.
fn reconcile(site: &Site, rows: &[String]) -> (Option<i32>, Value) {
    let csv = site.path("calls.csv");
    std::fs::write(&csv, format!("call_uuid,dn,start,end\n{}\n", rows.join("\n"))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nearend"));
    let output =
        command.args(["reconcile", "--json", "--calls"]).arg(&csv).arg("--data-dir").arg(site.path("data")).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {errors}")))
}

fn kinds(entry: &Value) -> Vec<&str> {
    entry["findings"].as_array().unwrap().iter().map(|finding| finding["kind"].as_str().unwrap()).collect()
}

#[test]
fn good_silent_and_missing_calls_are_told_apart() {
    let mut site = Site::start();
    let (to, local) = (format!("sip:{}", site.sip()), site.peer().to_string());
    msr(&site, &to, &["--local", &local, "--duration", "2s"]);
    let silent =
        Scenario::new().send(&device_message("mcp_invite_two_sessions_recorded.sip")).recv(200).ack().pause_ms(300).bye();
    silent.start(&site, "silent", "udp").succeed();
    let recordings = site.wait_for_recordings(2);
    let row = |recording: &super::site::Arrived| {
        let (media, parameters) = (&recording.json["mediaFiles"][0], &recording.json["mediaFiles"][0]["parameters"]);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        format!(
            "{},{},{},{}",
            text(&media["callUUID"]),
            text(&parameters["recordDN"]),
            text(&media["startTime"]),
            text(&media["stopTime"])
        )
    };
    let mut rows: Vec<String> = recordings.iter().map(row).collect();
    let silent_first = recordings[0].id().starts_with("02ABC");
    if silent_first {
        rows.swap(0, 1);
    }
    let (code, answer) = reconcile(&site, &rows[..1]);
    assert_eq!((code, &answer["good"]), (Some(0), &1.into()), "{answer}");
    rows.push("00NEVER,7999,2026-03-02T14:05:59Z,2026-03-02T14:06:59Z".into());
    let (code, answer) = reconcile(&site, &rows);
    assert_eq!((code, &answer["calls"], &answer["good"]), (Some(1), &3.into(), &1.into()), "{answer}");
    let wrong = answer["wrong"].as_array().unwrap();
    assert_eq!((wrong[0]["line"].as_u64(), kinds(&wrong[0])), (Some(3), vec!["silent"]));
    assert_eq!((wrong[1]["line"].as_u64(), kinds(&wrong[1])), (Some(4), vec!["missing"]));

    site.log_line(&["not recorded as it should be", "finding=\"silent\""]);
    site.wait_for("the count", |site| site.metric("nearend_call_findings_today{finding=\"silent\"}") == Some(1));
    assert!(site.get("/api/v1/status").1.contains("2 calls checked, 1 good; silent 1"), "{}", site.get("/api/v1/status").1);
    assert_eq!(site.stop(), Some(0));
    let report = std::fs::read_dir(site.path("data/reports")).unwrap().next().unwrap().unwrap().path();
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!((&report["checked"], &report["good"], &report["findings"]["silent"]), (&2.into(), &1.into(), &1.into()));
    site.run();
    site.wait_for("the report to go on after a restart", |site| site.metric("nearend_calls_checked_today") == Some(2));
}

#[test]
fn a_bad_row_is_named() {
    let site = Site::prepare("");
    let csv = site.path("calls.csv");
    std::fs::write(&csv, "dn,start,end\n7001,yesterday,today\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_nearend")).args(["reconcile", "--calls"]).arg(&csv).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.contains("calls.csv: line 2: \"yesterday\" is no time; expected one with its offset"), "{errors}");
}

#[test]
fn of_the_copies_of_two_boxes_the_better_one_is_named() {
    const ID: &str = "01TWOBOXES";
    let sites = [Site::start(), Site::start()];
    for (site, loss) in sites.iter().zip(["30", "0"]) {
        let (to, local) = (format!("sip:{}", site.sip()), site.peer().to_string());
        msr(site, &to, &["--local", &local, "--duration", "2s", "--recording-id", ID, "--loss", loss]);
    }
    let [first, second] = sites.each_ref().map(|site| site.wait_for_recordings(1).remove(0).folder);
    let beside = first.with_file_name(format!("{ID}~other"));
    std::fs::create_dir(&beside).unwrap();
    for file in ["audio.wav", "recording.json"] {
        std::fs::copy(second.join(file), beside.join(file)).unwrap();
    }
    let compare = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nearend"));
        let output = command.args(["reconcile", "--json", "--copies"]).arg(sites[0].path("dc")).output().unwrap();
        assert!(output.status.success());
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let told = compare();
    assert_eq!(told[0]["better"], beside.display().to_string(), "{told}");
    assert!(told[0]["why"].as_str().unwrap().contains(" ms of audio are missing, "), "{told}");
    // What was changed on the way is worse than what is incomplete.
    std::fs::write(beside.join("audio.wav"), "something else").unwrap();
    let told = compare();
    assert_eq!((&told[0]["better"], told.as_array().unwrap().len()), (&first.display().to_string().into(), 1), "{told}");
}
