//! Recordings that a target will not take, and those that shall go first: kept over a restart, shown, and changed over HTTP.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::site::Site;

fn call(site: &Site, id: &str) {
    let (to, local) = (format!("sip:{}", site.sip()), site.peer().to_string());
    let mut msr = Command::new(env!("CARGO_BIN_EXE_nearend-msr"));
    let output = msr.args(["--to", &to, "--local", &local, "--recording-id", id, "--duration", "1s"]).output().unwrap();
    assert!(output.status.success());
}

fn post(site: &Site, path: &str, header: &str) -> (u16, Value) {
    let (status, body) = site.post(&format!("/api/v1/recordings/{path}"), header);
    (status, serde_json::from_str(&body).unwrap())
}

fn list(site: &Site, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nearend"));
    let output = command.args(["recordings", "--data-dir"]).arg(site.path("data")).arg("ls").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The folder of a finished recording, below the finished folder.
fn folder(site: &Site, id: &str) -> PathBuf {
    let tenant = site.path("data/finished/default");
    let day = fs::read_dir(&tenant).unwrap().map(|day| day.unwrap().path()).find(|day| day.join(id).exists());
    Path::new("default").join(day.unwrap().file_name().unwrap()).join(id)
}

#[test]
fn what_a_target_will_not_take_stays_set_aside_until_it_is_tried_again() {
    let mut site = Site::start();
    let (dc, away) = (site.path("dc"), site.path("away"));
    fs::rename(&dc, &away).unwrap();
    call(&site, "01FIRST");
    call(&site, "02SECOND");
    site.wait_for("both to be finished", |site| site.metric("nearend_recordings_finished_total") == Some(2));
    // Both names of the first are taken by something else.
    let first = folder(&site, "01FIRST");
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let names = [first.clone(), PathBuf::from(format!("{}~branch-17.{host}", first.display()))];
    for name in &names {
        fs::create_dir_all(away.join(name)).unwrap();
        fs::write(away.join(name).join("audio.wav"), "of somebody else").unwrap();
    }
    assert_eq!(post(&site, "02SECOND/first", "Origin: http://evil.example\r\n").0, 403);
    let (status, body) = post(&site, "02SECOND/first", "");
    assert_eq!((status, &body["state"]), (200, &"first".into()));
    assert_eq!((post(&site, "nobody/first", "").0, post(&site, "02SECOND/dance", "").0), (404, 404));
    fs::rename(&away, &dc).unwrap();
    site.wait_for("the first to be set aside", |site| site.metric("nearend_target_set_aside{target=\"dc\"}") == Some(1));
    site.wait_for("the second to arrive", |site| site.metric("nearend_recordings_delivered_total") == Some(1));

    site.wait_for("the reason on the page", |site| site.get("/api/v1/status").1.contains("exists with another content"));
    site.stop();
    let listed = list(&site, &["--set-aside"]);
    assert!(listed.contains("finished aside") && listed.contains("dc, since ") && !listed.contains("02SECOND"), "{listed}");
    let all: Value = serde_json::from_str(&list(&site, &["--json"])).unwrap();
    let second = all.as_array().unwrap().iter().find(|recording| recording["id"] == "02SECOND").unwrap();
    assert_eq!((&second["immediate"], &second["set_aside"]), (&true.into(), &Value::Null));

    for name in &names {
        fs::remove_dir_all(dc.join(name)).unwrap();
    }
    site.run();
    site.wait_for("it to be set aside still", |site| site.metric("nearend_target_set_aside{target=\"dc\"}") == Some(1));
    let (_, page) = site.get("/api/v1/status");
    assert!(page.contains("\"aside\":[{\"recording\":\"01FIRST\",\"tenant\":\"default\",\"target\":\"dc\""), "{page}");
    assert_eq!(post(&site, "02SECOND/again", "").0, 409, "it is delivered");
    assert_eq!(post(&site, "01FIRST/again", "").1["state"], "waiting");
    site.wait_for("it to arrive", |site| site.delivered().len() == 2);
    site.wait_for("nothing to be set aside", |site| site.get("/api/v1/status").1.contains("\"aside\":[]"));
}

#[test]
fn what_several_targets_confirm_at_once_is_all_written_down() {
    let mut site = Site::prepare("");
    let more = ["second", "third", "fourth"].map(|name| {
        fs::create_dir(site.path(name)).unwrap();
        format!("[[target]]\nname = \"{name}\"\nkind = \"dir\"\npath = \"{}\"\n", site.path(name).display())
    });
    site.add_config(&more.concat());
    site.run();
    call(&site, "01FIRST");
    site.wait_for("it to be delivered", |site| {
        site.metric("nearend_recordings_delivered_total") == Some(1) && site.delivered().len() == 1
    });
    site.stop();
    let all: Value = serde_json::from_str(&list(&site, &["--json"])).unwrap();
    let mut arrived: Vec<&str> = all[0]["arrived_at"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    arrived.sort_unstable();
    assert_eq!(arrived, ["dc", "fourth", "second", "third"]);
}
