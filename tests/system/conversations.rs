//! Call scenarios of tests/data/scenarios: events over the CTI link and recording sessions over SIP and RTP at the same time, from
//! `nearend-msr`, and what recording.json then says of the conversation.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::site::{Arrived, Site, data};

/// A scenario and what it needs of the box.
struct Play {
    name: &'static str,
    recordings: usize,
}

const PLAYS: &[Play] = &[
    Play { name: "inbound", recordings: 1 },
    Play { name: "outbound", recordings: 1 },
    Play { name: "internal", recordings: 1 },
    Play { name: "hold", recordings: 1 },
    Play { name: "consult", recordings: 2 },
    Play { name: "two-step-transfer", recordings: 2 },
    Play { name: "single-step-transfer", recordings: 2 },
    Play { name: "conference", recordings: 1 },
    Play { name: "queue", recordings: 1 },
    Play { name: "multi-site", recordings: 2 },
    Play { name: "pause", recordings: 1 },
    Play { name: "rule", recordings: 1 },
    Play { name: "strategy", recordings: 1 },
];

/// The rule that two of the scenarios are about.
const RULE: &str =
    "[[rule]]\nname = \"calls-in\"\nswitch = [\"rule\", \"strategy\"]\ndirection = [\"inbound\"]\nrecord = \"audio\"\n";

/// Plays all scenarios against one box, each with a T-Server of its own.
fn play(arguments: &[&str]) {
    let mut site = Site::prepare("");
    let players: Vec<_> = PLAYS.iter().map(|play| (play, site.peer())).collect();
    let tservers: String = players
        .iter()
        .map(|(play, ip)| {
            format!(
                "[[switch]]\nid = \"{0}\"\n[[tserver]]\nname = \"{0}\"\nswitch = \"{0}\"\nprimary = \"tcp:{ip}:7002\"\n\
                 dns = [{{ dn = \"7001-7009\", type = \"extension\" }}, {{ dn = \"8001\", type = \"voice-treatment-port\" }}]\n",
                play.name
            )
        })
        .collect();
    site.add_config(&(tservers + RULE));
    site.run();
    let running: Vec<(&Play, Child)> =
        players.iter().map(|(play, ip)| (*play, start(&site, play.name, &ip.to_string(), arguments))).collect();
    for (play, player) in running {
        let output = player.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}\n{}", play.name, site.log().join("\n"));
    }
    let arrived = site.wait_for_recordings(PLAYS.iter().map(|play| play.recordings).sum());
    for play in PLAYS {
        check(play.name, &arrived);
    }
    check_requests(&site);
    // The media server says nothing of the direction; the T-Server has.
    let by_rule = arrived.iter().find(|recording| recording.json["nearend"]["conversation"]["calls"][0]["switch"] == "rule");
    assert_eq!(by_rule.unwrap().json["nearend"]["rule"], "calls-in");
}

fn start(site: &Site, name: &str, ip: &str, arguments: &[&str]) -> Child {
    let scenario = data(&format!("scenarios/{name}.scenario"));
    Command::new(env!("CARGO_BIN_EXE_nearend-msr"))
        .args(["--to", &format!("sip:{}", site.sip()), "--json", "--local", ip, "--cti", &format!("{ip}:7002"), "--scenario"])
        .arg(scenario)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Compares what is known of a scenario's recordings with its snapshot. `UPDATE_SNAPSHOTS=1` writes it anew.
fn check(name: &str, arrived: &[Arrived]) {
    let is_of_scenario = |recording: &&Arrived| recording.json["nearend"]["conversation"]["calls"][0]["switch"] == name;
    let mut told: Vec<Value> = arrived.iter().filter(is_of_scenario).map(essence).collect();
    told.sort_by_key(Value::to_string);
    let told = serde_json::to_string_pretty(&told).unwrap() + "\n";
    let path: PathBuf = data(&format!("scenarios/{name}.expected.json"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &told).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(told, expected, "{name}: what is left is what came of it");
}

/// Every rule's request has been made, answered and, after the refusal, made again.
fn check_requests(site: &Site) {
    let asked = site.log().iter().filter(|line| line.contains("the switch is asked to have this call recorded")).count();
    assert_eq!(asked, 1, "the strategy's call is not asked for");
    site.log_line(&["the switch did not do what it was asked", "as the scenario says", "tried again"]);
}

/// What must be the same each time: everything but times and made-up ids.
fn essence(recording: &Arrived) -> Value {
    let schema = include_str!("../../docs/schema/recording.schema.json");
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let faults: Vec<String> = schema.iter_errors(&recording.json).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert_eq!(faults, Vec::<String>::new());
    let nearend = &recording.json["nearend"];
    let conversation = &nearend["conversation"];
    let list = |of: &Value| of.as_array().cloned().unwrap_or_default();
    let couples: Vec<Value> = list(&nearend["couples"])
        .iter()
        .map(|couple| {
            json!([
                couple["GEN_CFG_TENANT"],
                couple["GEN_CFG_SWITCH"],
                couple["recordedDn"],
                couple["otherDns"],
                couple["callUuid"]
            ])
        })
        .collect();
    let calls: Vec<Value> = list(&conversation["calls"])
        .iter()
        .map(|call| json!([call["callUuid"], call["direction"], call["ani"], call["dnis"], call["consultOf"]]))
        .collect();
    let agents: Vec<Value> = list(&conversation["agents"]).iter().map(|agent| json!([agent["agentId"], agent["dn"]])).collect();
    let changes: Vec<Value> =
        list(&conversation["dataChanges"]).iter().map(|change| json!([change["key"], change["value"]])).collect();
    let masks: Vec<Value> = list(&recording.json["mediaFiles"][0]["masks"]).iter().map(|mask| mask["type"].clone()).collect();
    let legs: Vec<Value> = list(&nearend["legs"]).iter().map(|leg| json!([leg["channel"], leg["dn"]])).collect();
    check_masks(recording);
    json!({
        "conversation": conversation["id"], "calls": calls, "couples": couples, "agents": agents, "legs": legs, "masks": masks,
        "attachedData": conversation["attachedData"], "dataChanges": changes,
    })
}

/// Nothing is in the file within a pause. Masks are in whole milliseconds.
pub(crate) fn check_masks(recording: &Arrived) {
    let masks = recording.json["nearend"]["masks"].as_array().unwrap();
    let at = |mask: &Value| mask["startMs"].as_u64().unwrap() as usize * 8;
    for mask in masks.iter().filter(|mask| mask["type"] == "paused") {
        let ends = masks.iter().filter(|end| end["type"] == "resume" && end["leg"] == mask["leg"]).map(at);
        let (from, to) = (at(mask) + 8, ends.filter(|end| *end > at(mask)).min().unwrap());
        let channel = recording.json["nearend"]["legs"].as_array().unwrap().iter().find(|leg| leg["no"] == mask["leg"]);
        let channel = usize::from(channel.unwrap()["channel"] == 2);
        let heard = recording.wav().channels[channel][from..to].iter().filter(|code| **code != 0xFF).count();
        assert_eq!(heard, 0, "{}: samples of channel {} in a pause", recording.id(), channel + 1);
        assert!(to - from > 4_000, "{masks:?}");
    }
}

#[test]
fn media_and_events_together() {
    play(&[]);
}

#[test]
fn the_media_comes_first() {
    play(&["--cti-delay", "900ms"]);
}

#[test]
fn the_events_come_first() {
    play(&["--media-delay", "900ms"]);
}

#[test]
fn the_link_is_cut_in_the_middle() {
    play(&["--cut"]);
}
