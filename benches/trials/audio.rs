//! What was sent beside what was kept. All that is sent is noise without a single byte of silence, so every sample of a
//! channel tells whether it is there, and a few of them tell where they belong.

use std::fs;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;

use super::Result;

/// µ-law for "nothing came".
pub(crate) const SILENCE: u8 = 0xFF;

/// Samples by which a place is found again: that they stand elsewhere by chance, too, is out of the question.
const NEEDLE: usize = 24;

/// Samples in a millisecond.
pub(crate) const PER_MS: i64 = 8;

/// Noise without silence.
pub(crate) fn noise(random: &mut fastrand::Rng, samples: usize) -> Vec<u8> {
    (0..samples).map(|_| random.u8(0..SILENCE)).collect()
}

/// Writes µ-law as a WAV file of one channel.
pub(crate) fn write_wav(path: &Path, codes: &[u8]) -> Result<()> {
    let length = u32::try_from(codes.len())?;
    let mut file = Vec::with_capacity(codes.len() + 58);
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(length + 38).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt \x12\0\0\0\x07\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0\0\0data");
    file.extend_from_slice(&length.to_le_bytes());
    file.extend_from_slice(codes);
    Ok(fs::write(path, file)?)
}

/// A finished folder, as far as it is needed here.
pub(crate) struct Finished {
    pub(crate) id: String,
    /// Start of the file, µs since 1970.
    pub(crate) start_us: i64,
    /// Both channels, and by how many samples each was moved later.
    pub(crate) channels: [(Vec<u8>, i64); 2],
    /// Whether the box says that something of it is damaged.
    pub(crate) is_damaged: bool,
}

impl Finished {
    pub(crate) fn open(folder: &Path) -> Result<Finished> {
        let json: Json = serde_json::from_slice(&fs::read(folder.join("recording.json"))?)?;
        let wav = fs::read(folder.join("audio.wav"))?;
        let at = wav.windows(4).position(|window| window == b"data").ok_or("audio.wav has no data")? + 8;
        let shift = |number: u8| json.nearend.legs.iter().find(|leg| leg.channel == number).map_or(0, |leg| leg.shift_samples);
        let channel = |nth: usize| wav[at..].iter().skip(nth).step_by(2).copied().collect();
        Ok(Finished {
            start_us: json.start_time.parse::<jiff::Timestamp>()?.as_microsecond(),
            channels: [(channel(0), shift(1)), (channel(1), shift(2))],
            is_damaged: json.nearend.flags.iter().any(|flag| flag == "damaged"),
            id: json.id,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    id: String,
    start_time: String,
    nearend: Nearend,
}

#[derive(Deserialize)]
struct Nearend {
    flags: Vec<String>,
    legs: Vec<Leg>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Leg {
    channel: u8,
    shift_samples: i64,
}

/// A piece of what was sent, where it was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Its first sample in what was sent.
    pub(crate) sent: usize,
    /// The same in what was kept.
    pub(crate) kept: usize,
    pub(crate) length: usize,
}

impl Piece {
    /// How much later it stands than it was sent, in samples.
    pub(crate) fn shift(&self) -> i64 {
        self.kept.cast_signed() as i64 - self.sent.cast_signed() as i64
    }
}

/// All that was kept, found again in what was sent, in order. An error when there is anything that was never sent so.
pub(crate) fn pieces(sent: &[u8], kept: &[u8]) -> Result<Vec<Piece>> {
    let mut found: Vec<Piece> = Vec::new();
    for run in sounding(kept) {
        let mut from = run.start;
        while from < run.end {
            let behind = found.last().map_or(0, |last| last.sent + last.length);
            let needle = &kept[from..run.end.min(from + NEEDLE)];
            let expected = found.last().map(|last| from.wrapping_add_signed(-(last.shift() as isize)));
            let at = expected.filter(|at| sent.get(*at..).is_some_and(|rest| rest.starts_with(needle)));
            let at = at.or_else(|| position(sent, behind, needle)).filter(|at| *at >= behind);
            let at = at.ok_or_else(|| format!("at sample {from} stands what was not sent there"))?;
            let same = sent[at..].iter().zip(&kept[from..run.end]).take_while(|(sent, kept)| sent == kept).count();
            found.push(Piece { sent: at, kept: from, length: same });
            from += same;
        }
    }
    Ok(found)
}

/// Where there is sound.
pub(crate) fn sounding(codes: &[u8]) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut at = 0;
    while let Some(start) = codes[at..].iter().position(|code| *code != SILENCE).map(|n| at + n) {
        let end = codes[start..].iter().position(|code| *code == SILENCE).map_or(codes.len(), |n| start + n);
        runs.push(start..end);
        at = end;
    }
    runs
}

fn position(codes: &[u8], from: usize, needle: &[u8]) -> Option<usize> {
    codes.get(from..)?.windows(needle.len()).position(|window| window == needle).map(|at| from + at)
}
