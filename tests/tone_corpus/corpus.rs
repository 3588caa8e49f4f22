//! Synthetic calls with and without recording tones, always the same for the same seed: what somebody says, dials or listens to,
//! a tone over it, through a codec, with 1 % of the packets lost.

use std::f64::consts::TAU;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nearend::model::g711::{alaw_to_linear, linear_to_alaw, linear_to_ulaw, ulaw_to_linear};
use nearend::tones::chain::Found;
use nearend::tones::detect::Detector;
use nearend::tones::presets::Preset;
use nearend::tones::synth::{self, to_sample};

pub(crate) const RATE: usize = 8_000;

/// Samples of a packet.
const PACKET: usize = 160;

const LOSS: f64 = 0.01;

/// What the channel carries beside the tone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Speech,
    Digits,
    Music,
}

/// What the audio goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    Ulaw,
    Alaw,
    /// Through this encoder of ffmpeg, and back.
    Ffmpeg(&'static str),
    /// Through [`build_g729`], and back.
    G729,
}

/// One channel of a call.
pub(crate) struct Call {
    pub(crate) content: Content,
    pub(crate) codec: Codec,
    pub(crate) preset: Preset,
    pub(crate) level_dbm0: f64,
    /// Where its tones really are.
    pub(crate) truth: Vec<Range<usize>>,
    pub(crate) samples: Vec<f32>,
}

/// How a call is made up.
pub(crate) struct Recipe {
    pub(crate) seconds: usize,
    pub(crate) with_tone: bool,
    pub(crate) codecs: &'static [Codec],
    /// More speech than the bundled one: 16-bit samples of 8 kHz.
    pub(crate) speech: Vec<Vec<f32>>,
    /// What [`build_g729`] made.
    pub(crate) g729: PathBuf,
}

impl Call {
    /// The call number `n`.
    pub(crate) fn new(n: u64, recipe: &Recipe) -> Call {
        let mut rng = fastrand::Rng::with_seed(n);
        let length = recipe.seconds * RATE;
        let content = [Content::Speech, Content::Speech, Content::Digits, Content::Music][rng.usize(..4)];
        let presets: Vec<Preset> = Preset::all().collect();
        let preset = presets[rng.usize(..presets.len())];
        let level_dbm0 = -30.0 + 24.0 * rng.f64();
        let codec = recipe.codecs[rng.usize(..recipe.codecs.len())];
        let mut signal = match content {
            Content::Music => music(&mut rng, length),
            _ => speech(&mut rng, &recipe.speech, length),
        };
        if content == Content::Digits {
            dial(&mut rng, &mut signal);
        }
        let truth = if recipe.with_tone { add_tones(&mut rng, preset, level_dbm0, &mut signal) } else { Vec::new() };
        let sent: Vec<i16> = signal.iter().map(|sample| to_sample(f64::from(*sample))).collect();
        let mut samples: Vec<f32> = match codec {
            Codec::Ulaw => sent.iter().map(|s| f32::from(ulaw_to_linear(linear_to_ulaw(*s)))).collect(),
            Codec::Alaw => sent.iter().map(|s| f32::from(alaw_to_linear(linear_to_alaw(*s)))).collect(),
            Codec::Ffmpeg(name) => through_ffmpeg(name, &sent),
            Codec::G729 => samples_of(&through(&mut Command::new(&recipe.g729), bytes_of(&sent))),
        };
        for packet in samples.chunks_mut(PACKET).filter(|_| rng.f64() < LOSS) {
            packet.fill(0.0);
        }
        Call { content, codec, preset, level_dbm0, truth, samples }
    }

    /// What the detector makes of it.
    pub(crate) fn examine(&self) -> Found {
        let rhythm = self.preset.rhythm();
        let mut detector = Detector::new(f64::from(self.preset.frequency_hz), rhythm.on_samples);
        self.samples.chunks(4_000).for_each(|part| detector.push(part));
        detector.finish(rhythm, std::slice::from_ref(&(0..self.samples.len() as u64)))
    }

    /// How many of its tones are in `found`, and how many of those found are none.
    pub(crate) fn score(&self, found: &Found) -> Score {
        let is_at = |start: u64, tone: &Range<usize>| start.abs_diff(tone.start as u64) < RATE as u64 / 20;
        let right = self.truth.iter().filter(|tone| found.tones.iter().any(|f| is_at(f.start, tone))).count();
        let wrong = found.tones.iter().filter(|f| !self.truth.iter().any(|tone| is_at(f.start, tone))).count();
        Score { tones: self.truth.len(), found: right, wrong, samples: self.samples.len() }
    }
}

/// A count over calls.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Score {
    pub(crate) tones: usize,
    pub(crate) found: usize,
    pub(crate) wrong: usize,
    pub(crate) samples: usize,
}

impl Score {
    pub(crate) fn add(&mut self, other: Score) {
        self.tones += other.tones;
        self.found += other.found;
        self.wrong += other.wrong;
        self.samples += other.samples;
    }

    pub(crate) fn percent_found(&self) -> f64 {
        100.0 * self.found as f64 / self.tones.max(1) as f64
    }

    pub(crate) fn hours(&self) -> f64 {
        self.samples as f64 / RATE as f64 / 3_600.0
    }
}

/// The program that sends audio through G.729 and back, built into `folder`: no crate has an encoder.
pub(crate) fn build_g729(folder: &Path) -> PathBuf {
    let program = folder.join("g729");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tone_corpus/g729.c");
    let built = Command::new("cc").args(["-O2", "-o"]).arg(&program).arg(source).arg("-lbcg729").status();
    assert!(built.is_ok_and(|status| status.success()), "scripts/deps build test installs a C compiler and libbcg729-dev");
    program
}

fn add_tones(rng: &mut fastrand::Rng, preset: Preset, level_dbm0: f64, signal: &mut [f32]) -> Vec<Range<usize>> {
    let tone = synth::tone(f64::from(preset.frequency_hz), preset.on_ms as usize * 8, level_dbm0);
    let last = signal.len() - tone.len();
    let period = usize::try_from(preset.rhythm().period()).expect("a period is short");
    let truth: Vec<Range<usize>> = (rng.usize(..RATE)..last).step_by(period).map(|start| start..start + tone.len()).collect();
    for place in &truth {
        signal[place.clone()].iter_mut().zip(&tone).for_each(|(sample, tone)| *sample += f32::from(*tone));
    }
    truth
}

/// Somebody speaks, at another place, pitch and loudness in each call: from -26 to -14 dBm0 while speaking.
fn speech(rng: &mut fastrand::Rng, more: &[Vec<f32>], length: usize) -> Vec<f32> {
    let mut bundled = || {
        let side: &[u8] = if rng.bool() {
            include_bytes!("../../assets/speech/agent.ulaw")
        } else {
            include_bytes!("../../assets/speech/customer.ulaw")
        };
        side.iter().map(|code| f32::from(ulaw_to_linear(*code))).collect::<Vec<f32>>()
    };
    let source = if more.is_empty() { bundled() } else { more[rng.usize(..more.len())].clone() };
    let speed = 0.85 + 0.3 * rng.f64();
    let gain = level(-26.0 + 12.0 * rng.f64()) / active_rms(&source);
    let start = rng.usize(..source.len());
    let at = |n: usize| {
        let place = start as f64 + n as f64 * speed;
        let (whole, part) = (place as usize, place.fract() as f32);
        let (a, b) = (source[whole % source.len()], source[(whole + 1) % source.len()]);
        (a + (b - a) * part) * gain
    };
    (0..length).map(at).collect()
}

/// The RMS of a sine of this level, at the scale of 16 bits.
fn level(dbm0: f64) -> f32 {
    (32_768.0 / std::f64::consts::SQRT_2 * 10_f64.powf((dbm0 - 3.17) / 20.0)) as f32
}

/// Over the stretches of 20 ms in which somebody speaks.
fn active_rms(samples: &[f32]) -> f32 {
    let mean = |part: &[f32]| part.iter().map(|s| s * s).sum::<f32>() / part.len() as f32;
    let all: Vec<f32> = samples.chunks(PACKET).map(mean).collect();
    let threshold = mean(samples) / 30.0;
    let active: Vec<f32> = all.into_iter().filter(|square| *square > threshold).collect();
    (active.iter().sum::<f32>() / active.len() as f32).sqrt()
}

/// Runs of 3 to 16 digits (ITU-T Q.23), 40 to 300 ms each, in three places.
fn dial(rng: &mut fastrand::Rng, signal: &mut [f32]) {
    for _ in 0..3 {
        let mut at = rng.usize(..signal.len());
        let (on, off) = (rng.usize(320..2_400), rng.usize(320..1_600));
        let peak = level(-14.0 + 8.0 * rng.f64()) * std::f32::consts::SQRT_2;
        for _ in 0..rng.usize(3..16) {
            let low = [697.0, 770.0, 852.0, 941.0][rng.usize(..4)];
            let high = [1_209.0, 1_336.0, 1_477.0, 1_633.0][rng.usize(..4)];
            for n in 0..on.min(signal.len().saturating_sub(at)) {
                let wave = |frequency: f64| (TAU * frequency * n as f64 / RATE as f64).sin() as f32;
                let both = peak * (wave(low) + wave(high)) / 2.0;
                signal[at + n] += both;
            }
            at += on + off;
        }
    }
}

/// Music on hold: three voices of plucked and held notes with overtones, some with vibrato, each piece in a tuning of its own, from
/// -28 to -18 dBm0.
fn music(rng: &mut fastrand::Rng, length: usize) -> Vec<f32> {
    let mut signal = vec![0.0_f32; length];
    let beat = rng.usize(RATE / 8..RATE / 2);
    let tuning = 434.0 + 12.0 * rng.f64();
    for _ in 0..3 {
        let decay = 0.3 + 6.0 * rng.f64();
        let vibrato = if rng.bool() { 0.004 } else { 0.0 };
        let mut at = 0;
        while at < length {
            let notes = rng.usize(1..5);
            let frequency = tuning * 2_f64.powf(rng.i32(-24..=24) as f64 / 12.0);
            let brightness = 0.2 + 0.6 * rng.f64();
            for n in 0..(beat * notes).min(length - at) {
                let time = n as f64 / RATE as f64;
                let swing = vibrato / (TAU * 5.5) * (TAU * 5.5 * time).sin();
                let attack = (n as f64 / 80.0).min(1.0);
                let mut value = 0.0;
                for overtone in (1..=8).take_while(|o| f64::from(*o) * frequency < 3_600.0) {
                    let overtone = f64::from(overtone);
                    value += brightness.powf(overtone) * (TAU * overtone * frequency * (time + swing)).sin();
                }
                signal[at + n] += (attack * (-decay * time).exp() * value) as f32;
            }
            at += beat * notes;
        }
    }
    let gain = level(-28.0 + 10.0 * rng.f64()) / active_rms(&signal);
    signal.iter().map(|sample| sample * gain).collect()
}

/// Encodes and decodes again. The codec's delay is undone by ffmpeg itself (pre-skip).
fn through_ffmpeg(codec: &'static str, samples: &[i16]) -> Vec<f32> {
    let raw = ["-f", "s16le", "-ar", "8000", "-ac", "1"];
    let encode = [&raw[..], &["-i", "-", "-c:a", codec, "-b:a", "16k", "-application", "voip", "-f", "ogg", "-"]].concat();
    let decode = [&["-i", "-"], &raw[..], &["-"]].concat();
    let ffmpeg = |arguments: &[&str], input| {
        let mut command = Command::new("ffmpeg");
        through(command.args(["-hide_banner", "-loglevel", "error"]).args(arguments), input)
    };
    let out = samples_of(&ffmpeg(&decode, ffmpeg(&encode, bytes_of(samples))));
    assert!(out.len() >= RATE, "ffmpeg gave no audio for {codec}");
    out
}

fn bytes_of(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|s| s.to_le_bytes()).collect()
}

fn samples_of(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(2).map(|s| f32::from(i16::from_le_bytes([s[0], s[1]]))).collect()
}

/// What a program makes of its input.
fn through(program: &mut Command, input: Vec<u8>) -> Vec<u8> {
    let child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("scripts/deps test installs ffmpeg and libbcg729-dev");
    let mut stdin = child.stdin.take().expect("it is piped");
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it can be waited for");
    writer.join().expect("it does not panic").expect("it reads all of its input");
    output.stdout
}
