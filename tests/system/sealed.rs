//! Files for the tenant's eyes only: sealed by the box, opened by the `age` command, read by other people's tools, verified at both ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::senders::msr;
use super::site::{Arrived, Site};
use super::wav::Wav;

/// A recipient: the file with its secret key, and its public key.
pub(crate) struct Recipient {
    file: PathBuf,
    public: String,
}

pub(crate) fn recipient(folder: &Path, name: &str) -> Recipient {
    let file = folder.join(name);
    let made = Command::new("age-keygen").arg("-o").arg(&file).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let text = fs::read_to_string(&file).unwrap();
    let public = text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
    Recipient { file, public }
}

/// The tenant to which calls belong that name none.
pub(crate) fn tenant(format: &str, recipients: &[&Recipient]) -> String {
    let keys: Vec<&str> = recipients.iter().map(|recipient| recipient.public.as_str()).collect();
    format!("[[tenant]]\nid = \"default\"\nformat = {format:?}\nrecipients = {keys:?}\n")
}

/// One call of nearend-msr, and the bytes that it sent on each channel.
fn call(site: &Site, seconds: u32) -> (Arrived, [Vec<u8>; 2]) {
    let dump = site.path("sent").display().to_string();
    fs::create_dir_all(&dump).unwrap();
    let (to, local, duration) = (format!("sip:{}", site.sip()), site.peer().to_string(), format!("{seconds}s"));
    let before = site.delivered();
    msr(site, &to, &["--local", &local, "--duration", &duration, "--dump", &dump]);
    site.wait_for("the recording", |site| site.delivered().len() > before.len());
    let folder = site.delivered().into_iter().find(|folder| !before.contains(folder)).unwrap();
    let arrived = Arrived::open(folder);
    let sent = |channel: u8| fs::read(site.path("sent").join(format!("{}.channel-{channel}.ulaw", arrived.id()))).unwrap();
    let sent = [sent(1), sent(2)];
    (arrived, sent)
}

fn age(key: &Path, file: &Path, out: &Path) -> Output {
    Command::new("age").arg("-d").arg("-i").arg(key).arg("-o").arg(out).arg(file).output().unwrap()
}

fn opened(site: &Site, key: &Recipient, file: &Path) -> PathBuf {
    let out = site.path("opened").join(file.file_stem().unwrap());
    fs::create_dir_all(out.parent().unwrap()).unwrap();
    let done = age(&key.file, file, &out);
    assert!(done.status.success(), "{done:?}");
    out
}

/// `nearend recordings …` at the box: output, and whether it exited with 0.
pub(crate) fn recordings(site: &Site, arguments: &[&str]) -> (String, bool) {
    let mut nearend = Command::new(env!("CARGO_BIN_EXE_nearend"));
    let done = nearend.arg("recordings").args(arguments).arg("--config").arg(site.path("nearend.toml")).output().unwrap();
    (String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned(), done.status.success())
}

/// The same in the data centre, which has the folder and the box's public key.
fn verify(folder: &Path, key: &Path) -> (Value, bool) {
    let mut nearend = Command::new(env!("CARGO_BIN_EXE_nearend"));
    let nearend = nearend.args(["recordings", "verify", "--json", "--folder"]).arg(folder).arg("--box-key").arg(key);
    let done = nearend.stderr(Stdio::null()).output().unwrap();
    (serde_json::from_slice(&done.stdout).unwrap(), done.status.success())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn assert_valid(json: &Value) {
    let schema = serde_json::from_str(include_str!("../../docs/schema/recording.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<String> = schema.iter_errors(json).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn each_recipient_opens_a_sealed_wav_and_the_box_does_not() {
    let keys = tempfile::tempdir().unwrap();
    let [one, two, stranger] = ["one", "two", "stranger"].map(|name| recipient(keys.path(), name));
    let site = Site::start_with(&tenant("wav", &[&one, &two]));
    let (recording, sent) = call(&site, 3);
    assert_eq!(names(&recording.folder), ["audio.wav.age", "details.json.age", "recording.json"]);
    assert_valid(&recording.json);

    for key in [&one, &two] {
        let wav = Wav::open(&opened(&site, key, &recording.folder.join("audio.wav.age")));
        for channel in [0, 1] {
            assert!(wav.find(channel, &sent[channel]).is_some(), "channel {} is not bit-exact", channel + 1);
        }
    }
    let refused = age(&stranger.file, &recording.folder.join("audio.wav.age"), &site.path("nothing"));
    assert!(!refused.status.success(), "a key that is not a recipient's opens nothing");

    let details = fs::read(opened(&site, &one, &recording.folder.join("details.json.age"))).unwrap();
    let details: Value = serde_json::from_slice(&details).unwrap();
    assert_valid(&details);
    let (number, dn) =
        (details["callerPhoneNumber"].as_str().unwrap(), details["nearend"]["channels"][0]["dn"].as_str().unwrap());
    let text = fs::read_to_string(recording.folder.join("recording.json")).unwrap();
    assert!(
        !text.contains(&format!("{number:?}")) && !text.contains(&format!("{dn:?}")),
        "{number} and {dn} are not for everyone"
    );
    assert_eq!(recording.json["nearend"]["headers"], serde_json::json!([]));
    assert!(details["nearend"]["headers"].as_array().unwrap().len() > 1);
    assert_eq!((&details["id"], &details["startTime"]), (&recording.json["id"], &recording.json["startTime"]));

    let (listed, _) = recordings(&site, &["ls"]);
    assert!(listed.contains("delivered sealed") || listed.contains("finished sealed"), "{listed}");
    let out = site.path("export").display().to_string();
    for arguments in [&["show", recording.id()][..], &["export", recording.id(), "--out", &out]] {
        let (said, done) = recordings(&site, arguments);
        assert!(done && said.contains("this box cannot open it any more") && said.contains("age -d -i KEY"), "{said}");
    }
}

#[test]
fn a_sealed_opus_file_is_read_by_other_peoples_tools() {
    let keys = tempfile::tempdir().unwrap();
    let key = recipient(keys.path(), "key");
    let site = Site::start_with(&tenant("opus", &[&key]));
    let (recording, sent) = call(&site, 6);
    assert_eq!(names(&recording.folder), ["audio.opus.age", "details.json.age", "recording.json"]);
    assert_valid(&recording.json);
    let opus = opened(&site, &key, &recording.folder.join("audio.opus.age"));
    let packets: u64 =
        recording.json["nearend"]["legs"].as_array().unwrap().iter().map(|leg| leg["packets"].as_u64().unwrap()).sum();
    let rtp_bytes = packets * (20 + 8 + 12 + 160); // IPv4, UDP, RTP, 20 ms of G.711
    let sealed_bytes = fs::metadata(recording.folder.join("audio.opus.age")).unwrap().len();
    assert!(sealed_bytes * 4 <= rtp_bytes, "{sealed_bytes} bytes of a call of which {rtp_bytes} came");

    let probe = ["-v", "error", "-show_entries", "stream=codec_name,channels:format=duration", "-of", "json"];
    let probe = Command::new("ffprobe").args(probe).arg(&opus).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&probe.stderr), "");
    let probe: Value = serde_json::from_slice(&probe.stdout).unwrap();
    assert_eq!((&probe["streams"][0]["codec_name"], &probe["streams"][0]["channels"]), (&"opus".into(), &2.into()));
    let seconds: f64 = probe["format"]["duration"].as_str().unwrap().parse().unwrap();
    let said_ms: f64 = recording.json["mediaFiles"][0]["duration"].as_str().unwrap().parse().unwrap();
    assert!((seconds * 1_000.0 - said_ms).abs() <= 20.0, "{seconds} s in the file, {said_ms} ms said");
    let info = Command::new("opusinfo").arg(&opus).output().unwrap();
    let info = String::from_utf8_lossy(&[info.stdout, info.stderr].concat()).into_owned();
    assert!(!info.to_lowercase().contains("warning") && info.contains("Channels: 2"), "{info}");
    let wav = site.path("decoded.wav"); // Debian's sox reads no Opus itself
    assert!(Command::new("opusdec").arg("--quiet").arg(&opus).arg(&wav).status().unwrap().success());
    let stat = Command::new("sox").arg(&wav).args(["-n", "stat"]).output().unwrap();
    assert!(stat.status.success(), "{}", String::from_utf8_lossy(&stat.stderr));

    // What is heard is what was said, each party on its own channel.
    let decoded =
        Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(&opus).args(["-ar", "8000", "-f", "s16le", "-"]).output();
    let decoded = decoded.unwrap().stdout;
    let samples: Vec<i16> = decoded.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    for channel in [0, 1] {
        let heard: Vec<f64> = samples.iter().skip(channel).step_by(2).map(|sample| f64::from(*sample)).collect();
        let likeness = [0, 1].map(|party: usize| likeness(&loudness(&heard), &spoken(&sent[party])));
        assert!(likeness[channel] > 0.9 && likeness[1 - channel] < 0.5, "channel {}: like the parties {likeness:?}", channel + 1);
    }
}

/// The loudness of µ-law speech, in steps of 20 ms.
fn spoken(ulaw: &[u8]) -> Vec<f64> {
    loudness(&ulaw.iter().map(|byte| f64::from(nearend::model::g711::ulaw_to_linear(*byte))).collect::<Vec<_>>())
}

fn loudness(samples: &[f64]) -> Vec<f64> {
    samples.chunks(160).map(|chunk| chunk.iter().map(|sample| sample.abs()).sum::<f64>()).collect()
}

/// The correlation of two curves, at the delay at which they fit best; 1: the same.
fn likeness(heard: &[f64], said: &[f64]) -> f64 {
    let at = |delay: usize| {
        let pairs: Vec<(f64, f64)> = heard.iter().skip(delay).copied().zip(said.iter().copied()).collect();
        let n = pairs.len() as f64;
        let (x, y) = pairs.iter().fold((0.0, 0.0), |(x, y), (a, b)| (x + a / n, y + b / n));
        let sums = pairs
            .iter()
            .fold([0.0; 3], |[xy, xx, yy], (a, b)| [xy + (a - x) * (b - y), xx + (a - x) * (a - x), yy + (b - y) * (b - y)]);
        sums[0] / (sums[1] * sums[2]).sqrt()
    };
    (0..60).map(at).fold(0.0, f64::max)
}

#[test]
fn both_ends_verify_and_neither_believes_a_forgery() {
    let keys = tempfile::tempdir().unwrap();
    let key = recipient(keys.path(), "key");
    let site = Site::start_with(&tenant("wav", &[&key]));
    let (recording, _) = call(&site, 2);
    let (said, done) = recordings(&site, &["verify"]);
    assert!(done && said.starts_with("intact  "), "{said}");

    let box_key = site.path("branch-17.pub");
    fs::copy(site.path("data/spool/identity.pub"), &box_key).unwrap();
    let (verdict, done) = verify(&site.path("dc"), &box_key);
    assert_eq!((&verdict[0]["signature"], &verdict[0]["files"][0]["verdict"], done), (&"right".into(), &"intact".into(), true));

    let metadata = recording.folder.join("recording.json");
    let original = fs::read_to_string(&metadata).unwrap();
    let forged = original.replace("\"stopTime\"", "\"stop_time\"");
    let unsigned = {
        let mut json = recording.json.clone();
        json["nearend"].as_object_mut().unwrap().remove("signature");
        json.to_string()
    };
    let reformatted = recording.json.to_string();
    for (text, expected) in [(&forged, "wrong"), (&unsigned, "unsigned"), (&reformatted, "right")] {
        fs::write(&metadata, text).unwrap();
        let (verdict, done) = verify(&recording.folder, &box_key);
        assert_eq!((&verdict[0]["signature"], done), (&expected.into(), expected == "right"), "{verdict}");
    }
    fs::write(&metadata, &original).unwrap();
    let other = Site::start();
    let (verdict, done) = verify(&recording.folder, &other.path("data/spool/identity.pub"));
    assert_eq!((&verdict[0]["signature"], done), (&"other-box".into(), false));

    let audio = recording.folder.join("audio.wav.age");
    let mut bytes = fs::read(&audio).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&audio, bytes).unwrap();
    let (verdict, done) = verify(&recording.folder, &box_key);
    assert_eq!((&verdict[0]["files"][0]["verdict"], done), (&"wrong-checksum".into(), false));
}

/// The commands of docs/recording-json.md for those without `nearend`, run in the folder that arrived.
#[test]
fn the_documented_check_of_the_signature_works() {
    let site = Site::start();
    let (recording, _) = call(&site, 2);
    let scratch = tempfile::tempdir().unwrap();
    fs::copy(recording.folder.join("recording.json"), scratch.path().join("recording.json")).unwrap();
    fs::copy(site.path("data/spool/identity.pub"), scratch.path().join("identity.pub")).unwrap();
    let documents = include_str!("../../docs/recording-json.md");
    let command = |begin: &str| documents.lines().map(str::trim).find(|line| line.starts_with(begin)).unwrap();
    let commands = ["jq -r .nearend.signature", "jq -cSj", "openssl pkeyutl"].map(command).join(" && ");
    let run = || Command::new("sh").args(["-c", &commands]).current_dir(scratch.path()).output().unwrap();
    let right = run();
    assert!(right.status.success() && String::from_utf8_lossy(&right.stdout).contains("Success"), "{right:?}");
    let path = scratch.path().join("recording.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"branch-17\"", "\"branch-18\"")).unwrap();
    assert!(!run().status.success(), "one letter changed");
}

#[test]
fn other_recipients_hold_for_what_is_finished_from_then_on() {
    let keys = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| recipient(keys.path(), name));
    let mut site = Site::start_with(&tenant("wav", &[&old]));
    let (before, _) = call(&site, 1);
    assert_eq!(site.stop(), Some(0));
    let config = fs::read_to_string(site.path("nearend.toml")).unwrap();
    fs::write(site.path("nearend.toml"), config.replace(&old.public, &new.public)).unwrap();
    site.run();
    let (after, _) = call(&site, 1);
    for (recording, key, other) in [(&before, &old, &new), (&after, &new, &old)] {
        let audio = recording.folder.join("audio.wav.age");
        opened(&site, key, &audio);
        assert!(!age(&other.file, &audio, &site.path("nothing")).status.success());
        assert_eq!(recording.json["nearend"]["sealed"]["recipients"], serde_json::json!([key.public]));
    }
    let (said, done) = recordings(&site, &["verify"]);
    assert!(done && said.matches("intact").count() == 2, "the box is the same as before: {said}");
}
