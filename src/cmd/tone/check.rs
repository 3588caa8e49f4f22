//! `nearend tone check`: measures the tones of a WAV file, or of a recording for as long as this box may read it.

mod recording;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use clap::Args;
use nearend::tones::audio::{self, WavHead};
use nearend::tones::plan::spans;
use nearend::tones::presets::Preset;
use nearend::tones::resample::Resampler;
use nearend::tones::survey::Survey;
use nearend::tones::verdict::{self, Channel, Target, Verdict};
use serde::Serialize;

use super::print_json;

#[derive(Args)]
pub(super) struct Arguments {
    /// A WAV file; a recording's audio.wav, too
    #[arg(required_unless_present = "recording", conflicts_with = "recording")]
    file: Option<PathBuf>,
    /// A recording on this box instead, by its id
    #[arg(long, value_name = "ID")]
    recording: Option<String>,
    /// The configuration that says where the recordings are
    #[arg(long, value_name = "FILE", default_value = "/etc/nearend/nearend.toml", conflicts_with_all = ["data_dir", "file"])]
    config: PathBuf,
    /// A data directory, such as one copied from a dead box, instead of the configured one
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    data_dir: Option<PathBuf>,
    /// Compare with the tone of this country; without it the tone of a file is found out, and that of a recording is the one of its rule
    /// or of [tone]
    #[arg(long, value_parser = super::preset)]
    preset: Option<Preset>,
    /// There must be a tone in this channel; may be given several times
    #[arg(long, value_name = "CHANNEL", value_parser = clap::value_parser!(u8).range(1..=2))]
    demand: Vec<u8>,
}

/// A tone that nobody named is found out by so much of a file: ten minutes.
const SURVEYED: u64 = 600 * audio::RATE_HZ as u64;

const HEAD_BYTES: u64 = 64 << 10;
const READ_BYTES: usize = 1 << 20;

#[derive(Serialize)]
struct Checked {
    channels: Vec<Channel>,
    /// The preset that was compared with, or the ones that the tone is like.
    presets: Vec<&'static str>,
    verdict: Verdict,
}

impl Arguments {
    pub(super) fn run(&self, json: bool) -> Result<Verdict, String> {
        match (&self.file, &self.recording) {
            (Some(path), _) => self.file(path, json).map_err(|e| format!("{}: {e}", path.display())),
            (None, Some(id)) => self.recording(id, json),
            (None, None) => Err("neither a file nor a recording is named".into()),
        }
    }

    fn file(&self, path: &Path, json: bool) -> Result<Verdict, String> {
        let mut file = WavFile::open(path)?;
        let targets = match self.preset {
            Some(preset) => vec![Some(Target::from(preset)); file.head.channels],
            None => found_out(&mut file)?,
        };
        let presets = match self.preset {
            Some(preset) => vec![preset.country],
            None => like(targets.iter().flatten().next()),
        };
        let channels = self.measure(&mut file, &targets)?;
        let verdict = verdict::overall(&channels);
        let checked = Checked { channels, presets, verdict };
        if json {
            print_json(&checked)?;
        } else {
            checked.channels.iter().for_each(|channel| println!("{channel}"));
            println!("presets: {}", if checked.presets.is_empty() { "none".into() } else { checked.presets.join(", ") });
            println!("verdict: {}", said(verdict));
        }
        Ok(verdict)
    }

    /// Each channel against its target; one without is only as long as it is.
    fn measure(&self, file: &mut WavFile, targets: &[Option<Target>]) -> Result<Vec<Channel>, String> {
        let mut detectors: Vec<_> = targets.iter().map(|target| target.map(|target| target.detector())).collect();
        let mut lengths = vec![0; targets.len()];
        file.read(u64::MAX, |channel, samples| {
            lengths[channel] += samples.len() as u64;
            let Some((detector, target)) = detectors[channel].as_mut().zip(targets[channel]) else { return };
            detector.push(samples);
            if detector.is_full() {
                detector.settle(target.rhythm, &spans(lengths[channel], &[]));
            }
        })?;
        let spans = spans(lengths.first().copied().unwrap_or(0), &[]);
        let nothing = Target::from(Preset::default());
        let judge = |(n, detector): (usize, Option<nearend::tones::detect::Detector>)| {
            let target = targets[n].unwrap_or(nothing);
            let found = detector.map(|detector| detector.finish(target.rhythm, &spans)).unwrap_or_default();
            Channel::judge(n + 1, &found, &target, &spans, self.demand.iter().any(|channel| usize::from(*channel) == n + 1))
        };
        Ok(detectors.into_iter().enumerate().map(judge).collect())
    }
}

/// The tone of each channel that has one.
fn found_out(file: &mut WavFile) -> Result<Vec<Option<Target>>, String> {
    let mut surveys: Vec<_> = (0..file.head.channels).map(|_| Survey::default()).collect();
    let length = file.read(SURVEYED, |channel, samples| surveys[channel].push(samples))?;
    let spans = spans(length, &[]);
    Ok(surveys.into_iter().map(|survey| survey.finish(&spans).map(|(target, _)| target)).collect())
}

/// The presets whose tone this is.
fn like(target: Option<&Target>) -> Vec<&'static str> {
    Preset::all().filter(|preset| target == Some(&Target::from(*preset))).map(|preset| preset.country).collect()
}

fn said(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "FAIL",
        Verdict::NoTone => "no tone",
    }
}

/// A WAV file, read in pieces.
struct WavFile {
    head: WavHead,
    file: File,
}

impl WavFile {
    fn open(path: &Path) -> Result<WavFile, String> {
        let mut file = File::open(path).map_err(|e| e.to_string())?;
        let mut start = Vec::new();
        Read::by_ref(&mut file).take(HEAD_BYTES).read_to_end(&mut start).map_err(|e| e.to_string())?;
        let head = WavHead::read(&start).map_err(|e| e.to_string())?;
        Ok(WavFile { head, file })
    }

    /// Hands out the samples of each channel at 8 kHz, from the start and not many more than `most`. Returns how many there are.
    fn read(&mut self, most: u64, mut out: impl FnMut(usize, &[f32])) -> Result<u64, String> {
        let head = self.head;
        self.file.seek(SeekFrom::Start(head.data_start as u64)).map_err(|e| e.to_string())?;
        let mut resamplers = vec![Resampler::new(head.rate_hz, audio::RATE_HZ); head.channels];
        // A length of zero or of all ones was never filled in: then the file goes to its end.
        let unknown = head.data_bytes == 0 || head.data_bytes == u32::MAX;
        let mut rest = if unknown { u64::MAX } else { u64::from(head.data_bytes) };
        let mut length = 0;
        let mut resampled = Vec::new();
        while rest > 0 && length < most {
            let mut bytes = Vec::new();
            let whole = (READ_BYTES / head.frame_bytes() * head.frame_bytes()) as u64;
            Read::by_ref(&mut self.file).take(rest.min(whole)).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
            rest = if bytes.is_empty() { 0 } else { rest - bytes.len() as u64 };
            let mut channels = vec![Vec::new(); head.channels];
            head.decode(&bytes, &mut channels);
            for (channel, samples) in channels.iter().enumerate() {
                resampled.clear();
                resamplers[channel].push(samples, &mut resampled);
                if rest == 0 {
                    resamplers[channel].finish(&mut resampled);
                }
                out(channel, &resampled);
                length += if channel == 0 { resampled.len() as u64 } else { 0 };
            }
        }
        Ok(length)
    }
}
