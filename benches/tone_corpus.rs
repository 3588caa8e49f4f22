//! The whole corpus of synthetic calls: how many tones the detector finds, how often it errs. Called by `scripts/tone-corpus`.

#[path = "../tests/tone_corpus/corpus.rs"]
mod corpus;

use std::collections::BTreeMap;
use std::process::ExitCode;

use corpus::{Call, Codec, Recipe, Score};

const CODECS: [Codec; 5] = [Codec::Ulaw, Codec::Alaw, Codec::Ulaw, Codec::Ffmpeg("libopus"), Codec::G729];

/// Calls without a tone have numbers of their own.
const WITHOUT: u64 = 1 << 32;

fn main() -> ExitCode {
    let value = |name: &str| std::env::args().skip_while(|argument| argument != name).nth(1);
    let number = |name: &str, default: u64| value(name).map_or(Ok(default), |text| text.parse());
    let (Ok(with), Ok(without), Ok(first)) = (number("--calls", 1_000), number("--silent-calls", 1_000), number("--first", 0))
    else {
        eprintln!("--calls, --silent-calls and --first expect a number");
        return ExitCode::from(2);
    };
    let Ok(folder) = tempfile::tempdir() else {
        eprintln!("there is no room for temporary files");
        return ExitCode::from(2);
    };
    let g729 = corpus::build_g729(folder.path());
    let speech = std::env::args().skip_while(|argument| argument != "--speech").skip(1).filter_map(|path| raw(&path)).collect();
    let mut recipe = Recipe { seconds: 60, with_tone: true, codecs: &CODECS, speech, g729 };
    let found = run("calls with tones", first..first + with, &recipe);
    recipe.with_tone = false;
    let silent = run("calls without", WITHOUT + first..WITHOUT + first + without, &recipe);
    let wrong = found.wrong + silent.wrong;
    let hours = found.hours() + silent.hours();
    println!("found {:.2} % of {} tones; {wrong} false in {hours:.1} hours", found.percent_found(), found.tones);
    let passed = found.percent_found() >= 99.5 && wrong as f64 <= hours / 10.0;
    println!("{}", if passed { "passed: at least 99.5 % found, at most one false in 10 hours" } else { "FAILED" });
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Speech of a file: 16 bits, 8 kHz, without header.
fn raw(path: &str) -> Option<Vec<f32>> {
    let bytes = std::fs::read(path).inspect_err(|e| eprintln!("{path}: {e}")).ok()?;
    Some(bytes.chunks_exact(2).map(|s| f32::from(i16::from_le_bytes([s[0], s[1]]))).collect())
}

fn run(title: &str, calls: std::ops::Range<u64>, recipe: &Recipe) -> Score {
    let mut all = Score::default();
    let mut parts: BTreeMap<String, Score> = BTreeMap::new();
    let many = calls.end - calls.start;
    for n in calls {
        let call = Call::new(n, recipe);
        let score = call.score(&call.examine());
        all.add(score);
        if score.wrong > 0 {
            println!(
                "  call {n}: {} false: {:?} through {:?}, {:.0} dBm0, {}",
                score.wrong, call.content, call.codec, call.level_dbm0, call.preset
            );
        }
        let codec = if let Codec::Ffmpeg(name) = call.codec { name.to_owned() } else { format!("{:?}", call.codec) };
        let level = (call.level_dbm0 / 6.0).floor() * 6.0;
        for part in [
            format!("content {:?}", call.content),
            format!("codec {codec}"),
            format!("level from {level:4} dBm0"),
            format!("length {:3} ms", call.preset.on_ms),
            format!("frequency {:4} Hz", call.preset.frequency_hz),
        ] {
            parts.entry(part).or_default().add(score);
        }
    }
    println!("{many} {title}, {:.1} hours", all.hours());
    for (part, score) in parts {
        println!("  {part:22} {:6} tones, {:6.2} % found, {:3} false", score.tones, score.percent_found(), score.wrong);
    }
    all
}
