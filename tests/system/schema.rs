//! What arrives is what docs/schema/recording.schema.json says, and other people's tools can read it.

use std::process::Command;

use super::pcap::{self, Network, Stream};
use super::sipp::{Scenario, device_message};
use super::site::{Arrived, Site};

fn recorded(site: &Site) -> Arrived {
    let audio: Vec<u8> = (0..16_000_u32).map(|n| (n * 7 % 251) as u8).collect();
    let pcap = site.path("tone.pcap");
    pcap::write(&pcap, &[Stream { audio: &audio, payload_type: 0, ssrc: 1, port_offset: 0 }], Network::default());
    let invite = device_message("mcp_invite_one_session.sip");
    Scenario::new().send(&invite).recv(200).ack().play(&pcap).pause_ms(2_200).bye().start(site, "schema", "udp").succeed();
    site.wait_for_recordings(1).pop().unwrap()
}

#[test]
fn recording_json_follows_its_schema_and_keeps_all_metadata() {
    let site = Site::start();
    let recording = recorded(&site);
    let schema = include_str!("../../docs/schema/recording.schema.json");
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let faults: Vec<String> = schema.iter_errors(&recording.json).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert_eq!(faults, Vec::<String>::new());
    let parameters = &recording.json["mediaFiles"][0]["parameters"];
    assert_eq!(parameters["connId"], "0192037900000a7c");
    assert_eq!(parameters["agentId"], "agent_anna");
    assert_eq!(recording.json["callerPhoneNumber"], "5550100");
    let headers = recording.json["nearend"]["headers"].to_string();
    for name in ["X-Genesys-GVP-Session-ID", "X-Genesys-GVP-Session-Data", "X-Genesys-RM-Application-dbid", "User-to-User"] {
        assert!(headers.contains(name), "{name} is missing in {headers}");
    }
}

/// The commands of docs/recording-json.md, run in the folder that arrived.
#[test]
fn the_documented_check_of_checksums_works() {
    let site = Site::start();
    let recording = recorded(&site);
    let documents = include_str!("../../docs/recording-json.md");
    let command = documents.lines().map(str::trim).find(|line| line.starts_with("jq ")).unwrap();
    let check = Command::new("sh").args(["-c", command]).current_dir(&recording.folder).output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout);
    assert!(
        check.status.success() && said.contains("audio.wav: OK"),
        "{command}: {said}{}",
        String::from_utf8_lossy(&check.stderr)
    );
}

#[test]
fn ffprobe_and_sox_read_the_file() {
    let site = Site::start();
    let recording = recorded(&site);
    let wav = recording.folder.join("audio.wav");
    let probe = ["-v", "error", "-show_entries", "stream=codec_name,channels,sample_rate,duration", "-of", "json"];
    let probe = Command::new("ffprobe").args(probe).arg(&wav).output().unwrap();
    let probe: serde_json::Value = serde_json::from_slice(&probe.stdout).unwrap();
    let stream = &probe["streams"][0];
    assert_eq!((stream["codec_name"].as_str(), stream["channels"].as_u64()), (Some("pcm_mulaw"), Some(2)));
    let seconds: f64 = stream["duration"].as_str().unwrap().parse().unwrap();
    assert!((seconds - recording.wav().seconds()).abs() < 0.001);
    let stat = Command::new("sox").arg(&wav).args(["-n", "stat"]).output().unwrap();
    assert!(stat.status.success(), "{}", String::from_utf8_lossy(&stat.stderr));
}
