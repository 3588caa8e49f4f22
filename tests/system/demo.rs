//! The command line: demo, check, recordings.

use std::process::Command;

use super::site::Site;

fn nearend(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_nearend")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn demo_once_ends_when_the_file_has_arrived_and_verified() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_string_lossy().into_owned();
    let (code, stdout, stderr) = nearend(&["demo", "--once", "--dir", &dir]);
    assert_eq!(code, Some(0), "{stdout}\n{stderr}");
    let wav = stdout
        .split_whitespace()
        .find(|word| word.ends_with("audio.wav"))
        .unwrap_or_else(|| panic!("no file is named in\n{stdout}"));
    assert!(super::wav::Wav::open(wav.as_ref()).seconds() > 5.0);
    let (code, stdout, _) = nearend(&["recordings", "verify", "--config", &format!("{dir}/nearend.toml")]);
    assert_eq!(code, Some(0), "{stdout}");
}

/// The tests have Mosquitto; an S3 server is there only where somebody has installed one.
#[test]
fn demo_with_real_servers_shows_what_they_have() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_string_lossy().into_owned();
    let (code, stdout, stderr) = nearend(&["demo", "--once", "--servers", "--seconds", "2", "--dir", &dir]);
    assert_eq!(code, Some(0), "{stdout}\n{stderr}");
    let event = stdout.lines().find_map(|line| line.strip_prefix("The broker has told its subscribers: "));
    let event: serde_json::Value = serde_json::from_str(event.unwrap_or_else(|| panic!("{stdout}"))).unwrap();
    let path = folder.path().join("data-centre").join(event["path"].as_str().unwrap());
    assert!(path.join("recording.json").exists(), "{event}");
    assert_ne!(stdout.contains("An S3 server (s3s-fs) is a target"), stdout.contains("s3s-fs is not installed"), "{stdout}");
}

#[test]
fn check_names_line_and_remedy_and_exits_with_2() {
    let site = Site::prepare("[rtp] adress = \"10.0.0.1\"\n[spool] floor_bytes = \"64 parsecs\"");
    let config = site.path("nearend.toml");
    let (code, _, stderr) = nearend(&["check", "--config", &config.to_string_lossy()]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("nearend.toml:9:1:") && stderr.contains("did you mean"), "{stderr}");
    assert!(stderr.contains("nearend.toml:11:15:") && stderr.contains("expected a size with its unit"), "{stderr}");
}
