//! Rules at a running box, with media servers that ask by themselves: what a rule wants is in the recording, what no rule wants is
//! declined, and SIGHUP brings new rules or none.

use std::process::Command;

use serde_json::Value;

use super::sipp::{Scenario, device_message};
use super::site::Site;

const ONE: &str = "mcp_invite_one_session.sip";

const PEERS: &str = r#"
[[peer]]
uri = "sip:192.0.2.41:5060"
geo_location = "austin"
[[peer]]
uri = "sip:192.0.2.42:5060"
geo_location = "dallas"
"#;

/// The recorded DN of nearend-msr's calls is on the switch `hq`.
const CENTRE: &str = r#"
[[tenant]]
id = "1"
name = "acme"
switches = ["hq"]
[[switch]]
id = "hq"
[[tserver]]
switch = "hq"
primary = "tcp:127.0.0.1:9"
[[tserver.dns]]
dn = "7000-7999"
"#;

fn rule(name: &str, rest: &str) -> String {
    format!("{CENTRE}[[rule]]\nname = \"{name}\"\n{rest}\n")
}

/// Places a call; gives the summary, whether or not the box took it.
fn call(site: &Site, mode: &str) -> Value {
    let (to, local) = (format!("sip:{}", site.sip()), site.peer().to_string());
    let mut msr = Command::new(env!("CARGO_BIN_EXE_nearend-msr"));
    let output = msr.args(["--json", "--duration", "1s", "--mode", mode, "--to", &to, "--local", &local]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn status(summary: &Value) -> u64 {
    summary["list"][0]["status"].as_u64().unwrap_or(200)
}

#[test]
fn what_a_rule_wants_is_in_the_recording() {
    let site = Site::start_with(&rule(
        "extensions",
        "tenant = [\"1\"]\nswitch = [\"hq\"]\ndn_type = [\"extension\"]\nretention_class = \"five-years\"\npartitions = [\"cards\"]",
    ));
    assert_eq!(status(&call(&site, "two-session")), 200);
    let recording = &site.wait_for_recordings(1)[0];
    let nearend = &recording.json["nearend"];
    assert_eq!((&nearend["rule"], &nearend["retentionClass"]), (&"extensions".into(), &"five-years".into()));
    assert_eq!(recording.json["mediaFiles"][0]["partitions"], serde_json::json!(["cards"]));
    let couple = &nearend["couples"][0];
    assert_eq!((&couple["GEN_CFG_TENANT"], &couple["GEN_CFG_SWITCH"]), (&"1".into(), &"hq".into()));
}

#[test]
fn a_rule_may_want_another_format_than_the_tenant() {
    let site = Site::start_with(&rule("small", "format = \"opus\"\ntone = \"us\""));
    assert_eq!(status(&call(&site, "one-session")), 200);
    site.wait_for("the recording to arrive", |site| !site.delivered().is_empty());
    let folder = site.delivered().remove(0);
    assert!(folder.join("audio.opus").exists(), "{}", folder.display());
    let json: Value = serde_json::from_slice(&std::fs::read(folder.join("recording.json")).unwrap()).unwrap();
    assert_eq!((&json["nearend"]["audio"]["codec"], &json["nearend"]["tone"]), (&"OPUS".into(), &"us".into()));
}

#[test]
fn what_a_rule_does_not_want_is_declined_in_both_forms() {
    let site = Site::start_with(&rule("nobody", "record = \"none\""));
    for mode in ["two-session", "one-session", "siprec"] {
        assert_eq!(status(&call(&site, mode)), 603, "{mode}");
    }
    site.log_line(&["INVITE refused: rule \"nobody\" wants nothing recorded", "status=603"]);
    assert_eq!(site.get("/health/ready").0, 200, "the box itself is well");
    assert!(site.delivered().is_empty());
}

#[test]
fn new_rules_are_in_force_after_sighup() {
    let site = Site::start_with(&rule("nobody", "record = \"none\""));
    assert_eq!(status(&call(&site, "one-session")), 603);
    site.rewrite(&rule("everybody", "retention_class = \"short\""));
    site.hang_up();
    site.log_line(&["reloaded: the new rules are in force", "rules=1"]);
    assert_eq!(status(&call(&site, "one-session")), 200);
    assert_eq!(site.wait_for_recordings(1)[0].json["nearend"]["rule"], "everybody");
}

#[test]
fn the_rules_in_force_are_explained_over_http() {
    let site = Site::start_with(&rule("extensions", "switch = [\"hq\"]\ndirection = [\"inbound\"]"));
    let explain =
        |query: &str| -> Value { serde_json::from_str(&site.get(&format!("/api/v1/rules/explain?{query}")).1).unwrap() };
    assert_eq!(explain("switch=hq&direction=inbound&attached=a%3Db")["rule"], "extensions");
    let other = explain("switch=hq&direction=outbound");
    assert_eq!((&other["rule"], &other["steps"][0]["failed"]["condition"]), (&Value::Null, &"direction".into()));
    assert_eq!(explain("direction=up")["status"], 400);
}

#[test]
fn a_file_with_an_error_is_refused_as_a_whole() {
    let site = Site::start_with(&rule("before", "retention_class = \"short\""));
    let broken = rule("after", "retention_class = \"long\"") + "[[rule]]\nname = \"broken\"\ndn = [\"7049-7001\"]\n";
    site.rewrite(&broken);
    let text = std::fs::read_to_string(site.path("nearend.toml")).unwrap();
    let line = text.lines().position(|line| line.contains("7049-7001")).unwrap() + 1;
    site.hang_up();
    site.log_line(&[&format!("nearend.toml:{line}:7: [[rule]] dn: \"7049-7001\" is empty")]);
    site.log_line(&["not reloaded", "what was in force stays in force"]);
    assert_eq!(status(&call(&site, "one-session")), 200);
    assert_eq!(site.wait_for_recordings(1)[0].json["nearend"]["rule"], "before");
}

#[test]
fn what_needs_a_restart_is_said() {
    let site = Site::start_with(CENTRE);
    site.rewrite(&format!("[sip] max_recordings = 7\n{}", rule("everybody", "")));
    site.hang_up();
    site.log_line(&["in force after a restart, which ends no call"]);
    site.log_line(&["reloaded: the new rules are in force"]);
}

#[test]
fn a_full_box_names_its_peers_the_near_one_first() {
    let site = Site::start_with(&format!("[sip] max_recordings = 1\n{PEERS}"));
    let long = Scenario::new().send(&device_message(ONE)).recv(200).ack().pause_ms(3_000).bye().start(&site, "long", "udp");
    site.wait_for("the box to be full", |site| site.metric("nearend_recordings_running") == Some(1));
    let other = device_message(ONE).replace("02ABC", "09ABC").replace("01ABC", "09ABC");
    let contacts = "Contact: <sip:192.0.2.42:5060>;q=1.0, <sip:192.0.2.41:5060>;q=0.9";
    Scenario::new().send(&other).recv_with(302, &[contacts]).ack_refusal().start(&site, "other", "udp").succeed();
    long.succeed();
    assert_eq!(site.wait_for_recordings(1).len(), 1);
}

#[test]
fn a_call_of_another_location_is_sent_there() {
    let site = Site::start_with(PEERS);
    let at = |location: &str| {
        device_message(ONE).replace("Content-Type:", &format!("X-Genesys-geo-location: {location}\nContent-Type:"))
    };
    let there = Scenario::new().send(&at("austin")).recv_with(302, &["Contact: <sip:192.0.2.41:5060>;q=1.0"]).ack_refusal();
    there.start(&site, "austin", "udp").succeed();
    let here = Scenario::new().send(&at("houston")).recv(200).ack().pause_ms(200).bye();
    here.start(&site, "houston", "udp").succeed();
    let recording = &site.wait_for_recordings(1)[0];
    assert!(recording.json["nearend"]["headers"].to_string().contains("houston"), "no box is there: better here than not at all");
}
