//! `nearend tone`: the bench for consent tones. Renders what parties hear and channels hold, and measures files.

mod check;
mod play;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgAction, Args, Subcommand, ValueEnum};
use nearend::tones::audio;
use nearend::tones::bench::{Facts, picture};
use nearend::tones::driver;
use nearend::tones::plan::{Chan1Source, Chan2Source, NoTone, Options, Parameters, Perspective, Plan, Rhythm};
use nearend::tones::presets::Preset;
use nearend::tones::synth::{self, Call};
use nearend::tones::verdict::Verdict;
use serde::Serialize;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// For programs
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Write what both parties hear and both channels hold in a call with this tone, and a picture of it
    Render(Render),
    /// Measure the tones of a file; exit 0 when all are there as they should be, 1 when not
    Check(check::Arguments),
    /// Let the box's own loudspeaker play the tone, by way of nearend-tone
    Play(play::Arguments),
}

#[derive(Args)]
struct Render {
    /// The tone of a country: us, de, uk …
    #[arg(long, value_parser = preset, required_unless_present_any = ["audiosrc", "tonesilenceduration"])]
    preset: Option<Preset>,
    /// A tone of one's own instead: http://…, https://… or file:///… of a WAV or MP3 file
    #[arg(long, value_name = "URI", conflicts_with = "preset")]
    audiosrc: Option<String>,
    /// Milliseconds between two of them; where one of the two is missing, no tone sounds
    #[arg(long, value_name = "MS", conflicts_with = "preset")]
    tonesilenceduration: Option<String>,
    /// Length of the call
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u32).range(1..=1800))]
    seconds: u32,
    /// Where the files go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A WAV or MP3 file that both parties say in turns; without it both are silent
    #[arg(long, value_name = "FILE")]
    speech: Option<PathBuf>,
    /// record_recorddnhearstone
    #[arg(long, action = ArgAction::Set, default_value = "true")]
    recorddn_hears: bool,
    /// record_otherdnhearstone
    #[arg(long, action = ArgAction::Set, default_value = "true")]
    otherdn_hears: bool,
    /// record_chan1source
    #[arg(long, value_enum, default_value = "recorddnsays")]
    chan1: Chan1,
    /// record_chan2source
    #[arg(long, value_enum, default_value = "otherdnsays")]
    chan2: Chan2,
    /// The recording is paused here, both in seconds; may be given several times
    #[arg(long, value_name = "AT:LENGTH", value_parser = pause)]
    pause: Vec<(u32, u32)>,
    /// Level of the tone
    #[arg(long, value_name = "DBM0", default_value_t = synth::USUAL_LEVEL_DBM0, allow_negative_numbers = true, value_parser = level)]
    level: f64,
}

const EXAMPLES: &str = "Examples:
  nearend tone render --preset us --seconds 60 --out bench --chan1 otherdnhears --json
  nearend tone render --audiosrc file:///opt/tone.mp3 --tonesilenceduration 15000 --out bench
  nearend tone render --preset de --out bench --speech talk.wav --recorddn-hears false --pause 20:10
  nearend tone check bench/channel-1.wav
  nearend tone play --preset us --tones 3
  nearend tone check audio.wav --preset us --demand 1 --json
  nearend tone check --recording 01ABCDEFGHIJKLMNOPQRSTUV00000001_2026-03-02_14-05-59";

/// More of a file than this is not speech for a bench.
const MOST_SPEECH_S: u32 = 1_800;
const MOST_SPEECH_BYTES: u64 = 512 << 20;

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "lowercase")]
enum Chan1 {
    RecordDnSays,
    OtherDnHears,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "lowercase")]
enum Chan2 {
    OtherDnSays,
    RecordDnHears,
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let done = match &arguments.command {
        Command::Render(render) => render.run(arguments.json).map(|()| Verdict::Pass),
        Command::Check(check) => check.run(arguments.json),
        Command::Play(play) => match play.run(arguments.json) {
            Ok(()) => Ok(Verdict::Pass),
            Err(message) => {
                eprintln!("{message}");
                return ExitCode::FAILURE;
            }
        },
    };
    match done {
        Ok(Verdict::Pass) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

// ---- render

#[derive(Serialize)]
struct Rendered {
    /// None: a custom tone.
    preset: Option<&'static str>,
    /// Why there is no tone; none: there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_tone: Option<String>,
    frequency_hz: Option<u32>,
    on_ms: u64,
    off_ms: u64,
    level_dbm0: Option<f64>,
    all_party_consent: bool,
    one_party_consent: bool,
    tones_at_ms: Vec<u64>,
    files: Vec<RenderedFile>,
    picture: String,
}

#[derive(Serialize)]
struct RenderedFile {
    file: String,
    tone: bool,
    tones: usize,
}

impl Render {
    fn run(&self, json: bool) -> Result<(), String> {
        let options = Options {
            recorddn_hears: self.recorddn_hears,
            otherdn_hears: self.otherdn_hears,
            chan1: match self.chan1 {
                Chan1::RecordDnSays => Chan1Source::RecordDnSays,
                Chan1::OtherDnHears => Chan1Source::OtherDnHears,
            },
            chan2: match self.chan2 {
                Chan2::OtherDnSays => Chan2Source::OtherDnSays,
                Chan2::RecordDnHears => Chan2Source::RecordDnHears,
            },
        };
        let (rhythm, tone) = self.tone()?;
        let plan = Plan { rhythm, options };
        let length = self.seconds as usize * audio::RATE_HZ as usize;
        let speech = self.speech.as_deref().map_or(Ok([Vec::new(), Vec::new()]), |file| in_turns(file, length))?;
        let mut pauses: Vec<_> =
            self.pause.iter().map(|(at, long)| u64::from(*at) * 8_000..u64::from(at + long) * 8_000).collect();
        pauses.sort_by_key(|pause| pause.start);
        if pauses.windows(2).any(|pair| pair[0].end > pair[1].start) {
            return Err("--pause: pauses overlap; expected one to end before the next begins".into());
        }
        let call = Call { plan: &plan, tone: &tone, speech: [&speech[0], &speech[1]], length, pauses: &pauses };
        self.write(&call, json)
    }

    /// The tone and its rhythm, or why there is none.
    fn tone(&self) -> Result<(Result<Rhythm, NoTone>, Vec<i16>), String> {
        if let Some(preset) = self.preset {
            let tone = synth::tone(f64::from(preset.frequency_hz), preset.on_ms as usize * 8, self.level);
            return Ok((Ok(preset.rhythm()), tone));
        }
        let parameters = Parameters { audiosrc: self.audiosrc.clone(), tonesilenceduration: self.tonesilenceduration.clone() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let mut tone = Vec::new();
        let rhythm = parameters.rhythm(|uri| {
            let fetched = runtime.block_on(driver::fetch(uri, None)).map_err(|error| error.to_string())?;
            tone = fetched.iter().map(|sample| synth::to_sample(f64::from(*sample))).collect();
            Ok(tone.len() as u64)
        });
        runtime.shutdown_background(); // a file system that hangs is not waited for
        Ok((rhythm, tone))
    }

    fn write(&self, call: &Call, json: bool) -> Result<(), String> {
        let fault = |path: &Path| {
            let path = path.to_path_buf();
            move |e: io::Error| format!("--out {}: {e}; name a folder that may be written to", path.display())
        };
        std::fs::create_dir_all(&self.out).map_err(fault(&self.out))?;
        let facts = Facts::of(call);
        let mut files = Vec::new();
        for (perspective, held) in Perspective::ALL.into_iter().zip(&facts.perspectives) {
            let path = self.out.join(format!("{}.wav", held.name));
            std::fs::write(&path, audio::wav_bytes(&call.render(perspective))).map_err(fault(&path))?;
            let tones = if held.tone { facts.tones_at_ms.len() } else { 0 };
            files.push(RenderedFile { file: path.display().to_string(), tone: held.tone, tones });
        }
        let title = self.preset.map(|preset| preset.to_string()).or(self.audiosrc.clone()).unwrap_or_default();
        let drawn = self.out.join("picture.svg");
        std::fs::write(&drawn, picture(&title, call)).map_err(fault(&drawn))?;
        let rendered = Rendered {
            preset: self.preset.map(|preset| preset.country),
            no_tone: facts.no_tone,
            frequency_hz: self.preset.map(|preset| preset.frequency_hz),
            on_ms: call.plan.rhythm.as_ref().map_or(0, |rhythm| rhythm.on_samples / 8),
            off_ms: call.plan.rhythm.as_ref().map_or(0, |rhythm| rhythm.off_samples / 8),
            level_dbm0: self.preset.map(|_| self.level),
            all_party_consent: facts.all_party_consent,
            one_party_consent: facts.one_party_consent,
            tones_at_ms: facts.tones_at_ms,
            files,
            picture: drawn.display().to_string(),
        };
        rendered.print(json)
    }
}

impl Rendered {
    fn print(&self, json: bool) -> Result<(), String> {
        if json {
            return print_json(self);
        }
        for file in &self.files {
            println!("{:>3} tones  {}", file.tones, file.file);
        }
        println!("           {}", self.picture);
        if let Some(why) = &self.no_tone {
            println!("no tone sounds: {why}");
            return Ok(());
        }
        let consent = match (self.all_party_consent, self.one_party_consent) {
            (true, _) => "both parties hear the tone",
            (false, true) => "only one party hears the tone: not enough where the law asks for all parties' consent",
            (false, false) => "nobody hears the tone",
        };
        println!("{consent}");
        Ok(())
    }
}

/// The file said by the recorded party, then by the other, and so on.
fn in_turns(path: &Path, length: usize) -> Result<[Vec<i16>; 2], String> {
    let fault = |e: &dyn std::fmt::Display| format!("--speech {}: {e}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| fault(&e))?;
    file.take(MOST_SPEECH_BYTES).read_to_end(&mut bytes).map_err(|e| fault(&e))?;
    let speech = audio::load(&bytes, MOST_SPEECH_S).map_err(|e| fault(&e))?;
    let mut parties = [vec![0; length], vec![0; length]];
    for (turn, start) in (0..length).step_by(speech.len()).enumerate() {
        let says = parties[turn % 2][start..].iter_mut().zip(&speech);
        says.for_each(|(sample, said)| *sample = synth::to_sample(f64::from(*said)));
    }
    Ok(parties)
}

// ---- arguments

fn preset(country: &str) -> Result<Preset, String> {
    let known = || Preset::all().map(|preset| preset.country).collect::<Vec<_>>().join(", ");
    Preset::of(country).ok_or_else(|| format!("there is no preset {country:?}; expected one of {}", known()))
}

fn pause(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once(':').and_then(|(at, length)| Some((at.parse().ok()?, length.parse().ok()?)));
    let sane = parts.filter(|(at, length): &(u32, u32)| *at <= 1_800 && (1..=1_800).contains(length));
    sane.ok_or_else(|| format!("{text:?} is no pause; expected AT:LENGTH in seconds, such as 20:10"))
}

fn level(text: &str) -> Result<f64, String> {
    let level = text.parse().ok().filter(|level| (-60.0..=3.0).contains(level));
    level.ok_or_else(|| format!("{text:?} is no level; expected dBm0 from -60 to 3, such as -20"))
}

fn print_json(value: &impl Serialize) -> Result<(), String> {
    println!("{}", serde_json::to_string_pretty(value).map_err(|e| e.to_string())?);
    Ok(())
}
