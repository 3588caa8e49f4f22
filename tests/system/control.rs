//! Pause, resume and stop over HTTP, while a call is on.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::site::Site;

const ID: &str = "01ABCDEFGHIJKLMNOPQRSTUV00000009_2026-03-02_14-05-59";

fn call(site: &Site, seconds: u32) -> Child {
    let (to, local, duration) = (format!("sip:{}", site.sip()), site.peer().to_string(), format!("{seconds}s"));
    let player = Command::new(env!("CARGO_BIN_EXE_nearend-msr"))
        .args(["--to", &to, "--local", &local, "--recording-id", ID, "--duration", &duration])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    site.wait_for("the call to be heard", |site| site.metric("nearend_recordings_running") == Some(1) && heard(site) > 0);
    player
}

fn heard(site: &Site) -> u64 {
    let (_, status) = site.get("/api/v1/status");
    let status: Value = serde_json::from_str(&status).unwrap();
    status["totals"]["media"]["packets"].as_u64().unwrap()
}

fn post(site: &Site, path: &str, header: &str) -> (u16, String) {
    site.post(&format!("/api/v1/calls/{path}"), header)
}

#[test]
fn a_pause_over_http_ends_by_its_limit_and_nothing_in_it_is_kept() {
    let site = Site::start();
    let player = call(&site, 5);
    assert_eq!(post(&site, "nobody/pause", "").0, 404);
    let listed: Value = serde_json::from_str(&site.get("/api/v1/calls?limit=1").1).unwrap();
    assert_eq!(
        (&listed["calls"][0]["id"], &listed["calls"][0]["state"], &listed["next"]),
        (&ID.into(), &"recording".into(), &Value::Null)
    );
    let shown: Value = serde_json::from_str(&site.get(&format!("/api/v1/calls/{ID}")).1).unwrap();
    assert_eq!(shown["parties"], listed["calls"][0]["parties"], "{shown}");
    for (path, status, detail) in [
        ("/api/v1/calls/nobody", 404, "no call of this id"),
        ("/api/v1/calls?limit=0", 400, "from 1 to 1000"),
        ("/api/v1/calls?limit=many", 400, "limit"),
        ("/api/v1/calls?order=up", 400, "order"),
        ("/api/v1/nothing", 404, "nothing at this path"),
        (&format!("/api/v1/calls/{ID}/pause"), 405, "another method"),
    ] {
        let (answered, body) = site.get(path);
        let problem: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {body}"));
        assert_eq!((answered, &problem["status"]), (status, &status.into()), "{path}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|said| said.contains(detail)), "{path}: {problem}");
    }
    assert_eq!(post(&site, &format!("{ID}/dance"), "").0, 404);
    assert_eq!(post(&site, &format!("{ID}/pause"), "Origin: http://evil.example\r\n").0, 403);
    let (status, body) = post(&site, &format!("{ID}/pause?limit_s=1"), "Origin: http://box\r\n");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["state"], &body["id"]), (200, &Value::from("paused"), &Value::from(ID)));
    assert!(player.wait_with_output().unwrap().status.success());
    let recording = site.wait_for_recordings(1).pop().unwrap();
    super::conversations::check_masks(&recording);
    let masks: Vec<&str> =
        recording.json["mediaFiles"][0]["masks"].as_array().unwrap().iter().map(|m| m["type"].as_str().unwrap()).collect();
    assert_eq!(masks, ["paused", "paused", "resume", "resume"]);
    let legs = recording.json["nearend"]["legs"].as_array().unwrap();
    assert!(legs.iter().all(|leg| leg["masked"].as_u64().unwrap() >= 25), "the sender did not stop: {legs:?}");
}

#[test]
fn a_stop_over_http_hangs_up() {
    let site = Site::start();
    let player = call(&site, 60);
    let (status, body) = post(&site, &format!("{ID}/stop"), "");
    assert_eq!((status, body.contains("stopped")), (200, true));
    assert!(!player.wait_with_output().unwrap().status.success(), "the media server is hung up on");
    let recording = site.wait_for_recordings(1).pop().unwrap();
    assert_eq!(recording.json["nearend"]["endReason"], "stopped");
    assert_eq!(post(&site, &format!("{ID}/stop"), "").0, 404);
}
