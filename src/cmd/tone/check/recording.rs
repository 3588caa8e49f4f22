//! The tones of a recording by its id: a running or unfinished one from the spool, a finished one from its file. A sealed file cannot be read
//! on this box; then what was measured before it was sealed is shown.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::path::Path;

use nearend::finish::{self, opus_reader};
use nearend::model::block::Law;
use nearend::model::tone::{ToneFindings, ToneListener, ToneProof};
use nearend::model::{AudioFormat, Recording, Stage, ToneDemand};
use nearend::tones::proof::Policy;
use nearend::tones::verdict::Verdict;
use serde_json::Value;

use super::super::print_json;
use super::{Arguments, said};
use crate::cmd::recordings::{Store, is_sealed};

const READ_BYTES: usize = 64 << 10;

/// Samples of a millisecond.
const PER_MS: u64 = 8;

impl Arguments {
    pub(super) fn recording(&self, id: &str, json: bool) -> Result<Verdict, String> {
        let store = Store::open(&self.config, self.data_dir.as_deref())?;
        let mut recording = store.find(id)?;
        let folder = store.finished_dir.join(recording.path());
        let policy = self.policy(store.tones);
        let findings = match recording.stage {
            Stage::Released => {
                return Err(format!(
                    "{id}: delivered, and its copy here was released; it is in the data centre as {}",
                    recording.path()
                ));
            }
            _ if is_sealed(&recording) => self.before_it_was_sealed(&recording)?,
            stage => {
                if self.preset.is_some() {
                    recording.ruling = None; // else the tone of its rule counts
                }
                let mut listener = policy.listen(&recording, law(&recording));
                let spans = match stage {
                    Stage::Finished | Stage::Delivered => from_file(&folder, &recording, &mut *listener)?,
                    _ => finish::listen(&store.reader, &recording, &mut *listener).map_err(|e| e.to_string())?,
                };
                listener.finish(spans)
            }
        };
        if json {
            print_json(&findings)?;
        } else {
            show(&findings);
        }
        Ok(findings.verdict)
    }

    /// What is asked for, else what is configured.
    fn policy(&self, configured: Option<Policy>) -> Policy {
        let configured = configured.unwrap_or(Policy { preset: Default::default(), demand: ToneDemand::None });
        let demand = match (self.demand.contains(&1), self.demand.contains(&2)) {
            (false, false) => configured.demand,
            (true, false) => ToneDemand::Channel1,
            (false, true) => ToneDemand::Channel2,
            (true, true) => ToneDemand::Both,
        };
        Policy { preset: self.preset.unwrap_or(configured.preset), demand }
    }

    fn before_it_was_sealed(&self, recording: &Recording) -> Result<ToneFindings, String> {
        let sealed = format!("{}: it is sealed to the tenant's recipients, and this box cannot read it any more", recording.id);
        let Some(findings) = recording.tones.as_deref() else { return Err(format!("{sealed}; nothing was measured before")) };
        if self.preset.is_some_and(|preset| preset.country != findings.preset) || !self.demand.is_empty() {
            return Err(format!("{sealed}; leave out --preset and --demand to see what was measured before it was sealed"));
        }
        eprintln!("{sealed}; this was measured before it was sealed");
        Ok(findings.clone())
    }
}

/// That of the file.
fn law(recording: &Recording) -> Law {
    finish::encode::law(recording)
}

/// Listens to a finished file; gives when each channel was recorded, as `recording.json` says.
fn from_file(folder: &Path, recording: &Recording, listener: &mut dyn ToneListener) -> Result<[Vec<Range<u64>>; 2], String> {
    let format = AudioFormat::ALL.into_iter().find(|format| recording.files.iter().any(|file| file.name == format.file_name()));
    let format = format.ok_or_else(|| format!("{}: there is no audio among its files", recording.id))?;
    let path = folder.join(format.file_name());
    let fault = |e: io::Error| format!("{}: {e}", path.display());
    let gaps = gaps(folder)?;
    let mut heard = Heard { listener, gaps, length: 0 };
    let mut file = BufReader::new(File::open(&path).map_err(fault)?);
    match format {
        AudioFormat::Opus => opus_reader::read(file, law(recording), |frames| heard.frames(frames)).map_err(fault)?,
        AudioFormat::Wav => {
            file.read_exact(&mut [0; finish::wav::HEADER_BYTES]).map_err(fault)?;
            let mut frames = Vec::with_capacity(READ_BYTES);
            while Read::by_ref(&mut file).take(READ_BYTES as u64).read_to_end(&mut frames).map_err(fault)? > 0 {
                heard.frames(&frames);
                frames.clear();
            }
        }
    }
    Ok(heard.spans())
}

struct Heard<'l> {
    listener: &'l mut dyn ToneListener,
    gaps: [Vec<Range<u64>>; 2],
    length: u64,
}

impl Heard<'_> {
    fn frames(&mut self, frames: &[u8]) {
        self.listener.frames(frames);
        self.length += frames.len() as u64 / 2;
        if self.listener.is_full() {
            self.listener.settle(self.spans());
        }
    }

    fn spans(&self) -> [Vec<Range<u64>>; 2] {
        self.gaps.each_ref().map(|gaps| nearend::tones::plan::spans(self.length, gaps))
    }
}

/// Where each channel was not recorded on purpose or by the box. What a network lost is no such place.
fn gaps(folder: &Path) -> Result<[Vec<Range<u64>>; 2], String> {
    let path = folder.join("recording.json");
    let json = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let json: Value = serde_json::from_slice(&json).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut gaps = [Vec::new(), Vec::new()];
    for gap in json["nearend"]["gaps"].as_array().into_iter().flatten() {
        let samples = |key: &str| gap[key].as_u64().unwrap_or(0).saturating_mul(PER_MS);
        let lane = if gap["channel"] == 2 { 1 } else { 0 };
        if gap["reason"] != "loss" && gap["reason"] != "no-stream" {
            gaps[lane].push(samples("startMs")..samples("startMs").saturating_add(samples("lengthMs")));
        }
    }
    Ok(gaps)
}

fn show(findings: &ToneFindings) {
    println!("preset {}, demanded: {}", findings.preset, findings.demand.name());
    for channel in &findings.channels {
        print!("channel {}: {} of {} tones", channel.channel, channel.found, channel.expected);
        if let (Some(hz), Some(ms), Some(level), Some(first)) =
            (channel.frequency_hz, channel.length_ms, channel.level_dbm0, channel.first_ms)
        {
            print!(", {hz:.1} Hz, {ms:.0} ms, {level:.1} dBm0, the first at {:.2} s", first / 1_000.0);
        }
        println!();
        channel.faults.iter().for_each(|fault| println!("  {fault}"));
    }
    println!("verdict: {}", said(findings.verdict));
}
