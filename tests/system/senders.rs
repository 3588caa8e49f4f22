//! SIPREC in its RFC form, and what else nearend-msr can do at a box: pauses, delayed offers, digits, TCP, IPv6.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::site::{Arrived, Site};

/// Places calls with nearend-msr; gives its summary.
pub(crate) fn msr(site: &Site, to: &str, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_nearend-msr")).args(["--to", to, "--json"]).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}\n{stderr}\n{}", output.status, site.log().join("\n"));
    serde_json::from_str(&text).unwrap()
}

/// One call with these arguments: the box and the recording that came of it, compared with what was sent.
fn recorded(arguments: &[&str]) -> (Site, Arrived) {
    let site = Site::start();
    let dump = site.path("sent").display().to_string();
    let (to, local) = (format!("sip:{}", site.sip()), site.peer().to_string());
    let said = msr(&site, &to, &[&["--local", &local, "--dump", &dump, "--duration", "4s"], arguments].concat());
    let [recording] = <[Arrived; 1]>::try_from(site.wait_for_recordings(1)).unwrap_or_else(|_| unreachable!());
    compare(&recording, Path::new(&dump), said["list"][0]["recording_id"].as_str().unwrap());
    (site, recording)
}

/// Every sample that was sent is in its place; the dump has silence where nothing was sent.
pub(crate) fn compare(recording: &Arrived, dump: &Path, name: &str) {
    let wav = recording.wav();
    let ending = if wav.format_tag == 7 { "ulaw" } else { "alaw" };
    for channel in [0, 1] {
        let sent = std::fs::read(dump.join(format!("{name}.channel-{}.{ending}", channel + 1))).unwrap();
        assert!(wav.find(channel, &sent).is_some(), "channel {} is not what was sent", channel + 1);
    }
}

#[test]
fn siprec_parties_come_by_labels() {
    let (_site, recording) = recorded(&["--mode", "siprec"]);
    let legs = recording.json["nearend"]["legs"].as_array().unwrap();
    let labels: Vec<_> =
        legs.iter().map(|leg| (leg["channel"].as_u64().unwrap(), leg["label"].is_string(), leg["dn"].is_string())).collect();
    assert_eq!(labels, [(1, true, true), (2, true, true)]);
    assert_eq!(recording.json["nearend"]["dialect"], "siprec");
    let notes = recording.json["nearend"]["notes"].to_string();
    assert!(notes.contains("rs-metadata"), "the document is kept as it came");
}

#[test]
fn a_law_over_tcp_with_other_packet_sizes() {
    let (_site, recording) = recorded(&["--transport", "tcp", "--law", "pcma", "--ptime", "60", "--mode", "one-session"]);
    assert_eq!(recording.wav().format_tag, 6, "A-law stays A-law");
}

#[test]
fn loss_reorder_and_duplicates_of_a_bad_network() {
    let (_site, recording) = recorded(&["--loss", "3", "--reorder", "5", "--duplicate", "2", "--seed", "11"]);
    let legs = recording.json["nearend"]["legs"].as_array().unwrap();
    let sum = |name: &str| legs.iter().map(|leg| leg[name].as_u64().unwrap()).sum::<u64>();
    assert!(sum("lost") > 0 && sum("reordered") > 0 && sum("duplicates") > 0, "{legs:?}");
}

#[test]
fn digits_are_metadata_and_never_audio() {
    let (_site, recording) = recorded(&["--dtmf", "15#"]);
    let digits: String =
        recording.json["nearend"]["legs"][1]["digits"].as_array().unwrap().iter().map(|d| d["digit"].as_str().unwrap()).collect();
    assert_eq!(digits, "15#");
}

#[test]
fn a_paused_call_has_its_silence_in_place() {
    let (_site, recording) = recorded(&["--pause", "1s:1s"]);
    let masks = recording.json["mediaFiles"][0]["masks"].as_array().unwrap();
    assert!(masks.iter().any(|m| m["type"] == "paused") && masks.iter().any(|m| m["type"] == "resume"), "{masks:?}");
}

#[test]
fn a_delayed_offer_behind_a_resource_manager() {
    let (_site, recording) = recorded(&["--delayed-offer", "--record-route"]);
    assert_eq!(recording.json["nearend"]["legs"].as_array().unwrap().len(), 2);
}

#[test]
fn calls_over_ipv6() {
    let site = Site::start_with("[sip] listen = [\"udp:[::1]:0\", \"tcp:[::1]:0\"]");
    let line = site.log_line(&["ready"]);
    for transport in ["udp", "tcp"] {
        let address = line
            .split_whitespace()
            .find_map(|word| word.trim_start_matches("sip=").strip_prefix(&format!("{transport}:")))
            .unwrap();
        msr(&site, &format!("sip:{address}"), &["--transport", transport, "--duration", "1s", "--local", "::1"]);
    }
    for recording in site.wait_for_recordings(2) {
        assert_eq!(recording.json["nearend"]["flags"], serde_json::json!([]));
        assert!(recording.wav().seconds() >= 1.0);
    }
}
