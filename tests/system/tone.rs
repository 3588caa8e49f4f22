//! The tone bench at the command line; what it renders is measured by sox, which nobody here wrote.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn nearend_json(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_nearend")).args(arguments).arg("--json").output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let json = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}\n{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), json)
}

fn render(dir: &Path, more: &[&str]) -> Value {
    let (code, json) = nearend_json(&[&["tone", "render", "--out", dir.to_str().unwrap()], more].concat());
    assert_eq!(code, Some(0), "{json}");
    json
}

/// What `sox FILE -n trim START LENGTH stat` says.
fn stat(file: &Path, start_s: &str, length_s: &str) -> BTreeMap<String, f64> {
    let output = Command::new("sox").arg(file).args(["-n", "trim", start_s, length_s, "stat"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    let line = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.split_whitespace().collect::<Vec<_>>().join(" "), value.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// RMS in a band of each channel of a file, in dB below full scale, over a stretch that begins at `start_s`.
fn loudness(file: &Path, start_s: f64, length_s: f64, band_hz: &str) -> Vec<f64> {
    let (start, length) = (format!("{start_s:.2}"), format!("{length_s:.2}"));
    let measure = ["-n", "trim", &start, &length, "sinc", "-n", "512", band_hz, "stats"];
    let output = Command::new("sox").arg(file).args(measure).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("RMS lev dB")).unwrap_or_else(|| panic!("{text}"));
    // The first number is of all channels together.
    line.split_whitespace().skip(1).map(|number| number.parse().unwrap_or(f64::NEG_INFINITY)).collect()
}

/// What each of the four files holds, by sox alone, in a call of which one party speaks (500 Hz) in the first second after `start_s` and the other in
/// the second one; a tone (1,400 Hz) would sound at `start_s`.
fn contents(four: &Path, start_s: f64) -> Vec<String> {
    let is_loud =
        |start: f64, length: f64, band: &str| loudness(four, start_s + start, length, band).into_iter().map(|db| db > -45.0);
    let recorddn: Vec<bool> = is_loud(0.6, 0.3, "450-550").collect();
    let otherdn: Vec<bool> = is_loud(1.1, 0.8, "450-550").collect();
    let tone: Vec<bool> = is_loud(0.1, 0.3, "1350-1450").collect();
    let content = |n: usize| {
        let speaker = match (recorddn[n], otherdn[n]) {
            (true, false) => "recorddn",
            (false, true) => "otherdn",
            (false, false) => "silence",
            (true, true) => "both",
        };
        format!("{speaker}{}", if tone[n] { "+tone" } else { "" })
    };
    (0..4).map(content).collect()
}

/// Every row of the plan's golden table, rendered and measured by sox: an all-party call is paused after two seconds, resumed after four.
#[test]
fn sox_hears_in_every_file_what_the_golden_table_says() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let make = |name: &str, length: &str, hz: &str| {
        let file = dir.join(name);
        let mut sox = Command::new("sox");
        sox.args(["-n", "-r", "8000", "-b", "16"]).arg(&file).args(["synth", length, "sine", hz, "gain", "-20"]);
        assert!(sox.status().unwrap().success());
        file
    };
    let (speech, tone) = (make("speech.wav", "1", "500"), format!("file://{}", make("tone.wav", "0.5", "1400").display()));
    let bad = format!("file://{}/nothing.wav", dir.display());
    let golden = include_str!("../../src/tones/plan/golden.txt");
    let rows: Vec<Vec<&str>> =
        golden.lines().filter(|line| !line.starts_with('#')).skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 16 * 12);
    let mut rendered: BTreeMap<String, (Value, PathBuf)> = BTreeMap::new();
    let mut measured: BTreeMap<(PathBuf, u8), Vec<String>> = BTreeMap::new();
    for row in rows {
        let parameters = match row[4] {
            "no-audiosrc" => vec!["--tonesilenceduration", "1500"],
            "empty-audiosrc" => vec!["--audiosrc", " ", "--tonesilenceduration", "1500"],
            "bad-audiosrc" => vec!["--audiosrc", &bad, "--tonesilenceduration", "1500"],
            "no-tonesilenceduration" => vec!["--audiosrc", &tone],
            "empty-tonesilenceduration" => vec!["--audiosrc", &tone, "--tonesilenceduration", ""],
            "bad-tonesilenceduration" => vec!["--audiosrc", &tone, "--tonesilenceduration", "1.5 s"],
            _ => vec!["--audiosrc", &tone, "--tonesilenceduration", "1500"],
        };
        let flag = |yes: &str| if yes == "yes" { "true" } else { "false" };
        let number = rendered.len();
        let (json, four) = rendered.entry(format!("{:?} {parameters:?}", &row[..4])).or_insert_with(|| {
            let out = dir.join(number.to_string());
            let options =
                ["--recorddn-hears", flag(row[0]), "--otherdn-hears", flag(row[1]), "--chan1", row[2], "--chan2", row[3]];
            let call = ["--seconds", "6", "--pause", "2:2", "--speech", speech.to_str().unwrap()];
            let json = render(&out, &[&parameters[..], &options, &call].concat());
            let names = ["recorddn-hears.wav", "otherdn-hears.wav", "channel-1.wav", "channel-2.wav"];
            let merged = Command::new("sox").current_dir(&out).arg("-M").args(names).arg("four.wav").status();
            assert!(merged.unwrap().success());
            (json, out.join("four.wav"))
        });
        let start_s = match row[4] {
            "paused" => 2,
            "resumed" => 4,
            _ => 0,
        };
        let found = measured.entry((four.clone(), start_s)).or_insert_with(|| contents(four, start_s.into()));
        assert_eq!(found.as_slice(), &row[5..9], "{row:?}");
        let consent = if row[4].ends_with("one-party") { "one_party_consent" } else { "all_party_consent" };
        assert!(row[4] == "paused" || json[consent] == (row[9] == "consent"), "{row:?}: {json}");
        let reason = json["no_tone"].as_str().unwrap_or("-");
        assert!(row[4] == "paused" || (reason == "-") == (row[10] == "-"), "{row:?}: {json}");
    }
}

#[test]
fn sox_measures_the_frequency_the_level_and_the_rhythm() {
    let folder = tempfile::tempdir().unwrap();
    for (country, hz, on_s, period_s) in [("us", 1_400.0, 0.5, 15.5), ("cn", 950.0, 0.4, 10.4), ("au", 425.0, 0.36, 15.36)] {
        let json = render(folder.path(), &["--preset", country, "--seconds", "40", "--level", "-10"]);
        let file = folder.path().join("recorddn-hears.wav");
        let tones = json["tones_at_ms"].as_array().unwrap().len();
        for n in 0..tones {
            let start = n as f64 * period_s;
            let tone = stat(&file, &format!("{:.3}", start + 0.02), &format!("{:.3}", on_s - 0.04));
            // The difference of two samples of a sine is 2·sin(π·f/8000) of its amplitude; sox's own "rough" figure leaves out the sine.
            let measured = 8_000.0 / std::f64::consts::PI * (tone["RMS delta"] / tone["RMS amplitude"] / 2.0).asin();
            assert!((measured / hz - 1.0).abs() < 0.002, "{country}: {measured} Hz, {tone:?}");
            // A sine of -10 dBm0 has its peak 13.17 dB below full scale.
            assert!((20.0 * tone["Maximum amplitude"].log10() + 13.17).abs() < 0.3, "{country}: {tone:?}");
            let behind = stat(&file, &format!("{:.3}", start + on_s), &format!("{:.3}", (40.0 - start - on_s).min(9.9)));
            assert!(behind["Maximum amplitude"] < 0.001, "{country}: silence behind the tone: {behind:?}");
        }
        assert_eq!(stat(&file, "0", "40")["Length (seconds)"], 40.0);
    }
}

#[test]
fn check_measures_what_render_made_and_what_sox_made_of_it() {
    let folder = tempfile::tempdir().unwrap();
    render(folder.path(), &["--preset", "us", "--seconds", "60", "--chan1", "otherdnhears"]);
    let check = |file: &str, more: &[&str]| {
        let path = folder.path().join(file);
        nearend_json(&[&["tone", "check", path.to_str().unwrap()], more].concat())
    };
    let (code, json) = check("channel-1.wav", &[]);
    assert_eq!((code, &json["verdict"], &json["presets"][0]), (Some(0), &"pass".into(), &"us".into()), "{json}");
    let channel = &json["channels"][0];
    assert_eq!((channel["expected"].as_u64(), channel["missing"].as_u64()), (Some(4), Some(0)), "{json}");
    let tone = &channel["tones"][1];
    let near = |key: &str, right: f64, by: f64| (tone[key].as_f64().unwrap() - right).abs() < by;
    assert!(near("start_ms", 15_500.0, 4.0) && near("length_ms", 500.0, 4.0) && near("frequency_hz", 1_400.0, 1.0), "{tone}");
    assert!(near("level_dbfs", -23.17, 0.2) && near("level_dbm0", -20.0, 0.2), "{tone}");

    let (code, json) = check("channel-2.wav", &["--preset", "us"]);
    assert_eq!((code, &json["verdict"]), (Some(1), &"no-tone".into()), "nothing is demanded of a silent channel: {json}");
    let (_, json) = check("channel-2.wav", &["--preset", "us", "--demand", "1"]);
    assert_eq!((&json["verdict"], json["channels"][0]["missing"].as_u64()), (&"fail".into(), Some(3)), "{json}");

    let sox = |arguments: &[&str]| {
        let done = Command::new("sox").current_dir(folder.path()).args(arguments).status().unwrap();
        assert!(done.success(), "{arguments:?}");
    };
    sox(&["channel-1.wav", "-r", "44100", "-e", "float", "-b", "32", "other.wav"]);
    sox(&["-M", "channel-2.wav", "channel-1.wav", "-e", "mu-law", "-b", "8", "stereo.wav"]);
    assert_eq!(check("other.wav", &[]).1["channels"][0]["expected"], 4, "44.1 kHz, float");
    let (_, json) = check("stereo.wav", &["--preset", "us"]);
    assert_eq!(
        (&json["channels"][0]["tones"], json["channels"][1]["expected"].as_u64()),
        (&Value::Array(vec![]), Some(4)),
        "{json}"
    );
    sox(&["channel-1.wav", "slow.wav", "speed", "0.95"]);
    let (code, json) = check("slow.wav", &["--preset", "us"]);
    assert_eq!(code, Some(1), "5 % too low: {json}");
}

/// Ends with the test.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_mp3_is_fetched_by_https_from_whom_the_system_trusts() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    render(dir, &["--preset", "us", "--seconds", "1", "--level", "-10"]);
    let encode = ["-v", "error", "-i", "recorddn-hears.wav", "-ar", "44100", "-c:a", "libmp3lame", "tone.mp3"];
    assert!(Command::new("ffmpeg").current_dir(dir).args(encode).status().unwrap().success());
    let ip = super::site::address();
    let made = rcgen::generate_simple_self_signed([ip.to_string()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let port = std::net::TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap().port();
    let address = format!("{ip}:{port}");
    let serve = ["s_server", "-quiet", "-WWW", "-cert", "cert.pem", "-key", "key.pem", "-accept", &address];
    let _server = Server(Command::new("openssl").current_dir(dir).args(serve).spawn().unwrap());
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while std::net::TcpStream::connect(&address).is_err() {
        assert!(std::time::Instant::now() < until, "openssl does not listen");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let uri = format!("https://{address}/tone.mp3");
    let fetched = |trusted: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nearend"));
        command.args(["tone", "render", "--seconds", "9", "--tonesilenceduration", "2000", "--json", "--audiosrc", &uri]);
        let output = command.arg("--out").arg(dir.join("custom")).env("SSL_CERT_FILE", dir.join(trusted)).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    };
    let custom = fetched("cert.pem");
    // The encoder fills its first and last frame.
    assert!(custom["on_ms"].as_u64().is_some_and(|ms| (1_000..1_120).contains(&ms)), "{custom}");
    assert_eq!(custom["tones_at_ms"].as_array().map(Vec::len), Some(3), "{custom}");
    let heard = stat(&dir.join("custom/recorddn-hears.wav"), "0.1", "0.3");
    let hz = 8_000.0 / std::f64::consts::PI * (heard["RMS delta"] / heard["RMS amplitude"] / 2.0).asin();
    assert!((hz - 1_400.0).abs() < 5.0 && (20.0 * heard["Maximum amplitude"].log10() + 13.17).abs() < 0.5, "{heard:?}");
    std::fs::write(dir.join("nobody.pem"), rcgen::generate_simple_self_signed(["other".into()]).unwrap().cert.pem()).unwrap();
    assert!(fetched("nobody.pem")["no_tone"].as_str().is_some_and(|why| why.contains("certificate")), "nobody vouches for it");
}

#[test]
fn a_file_that_is_none_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.wav");
    std::fs::write(&file, "<html>").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_nearend")).args(["tone", "check"]).arg(&file).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("page.wav") && stderr.contains("neither a WAV"), "{stderr}");
}
