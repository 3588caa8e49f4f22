//! What the spool holds of the running calls at the moment of a kill, read by the library from a copy: at least all that the
//! box had acknowledged by then.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nearend::model::{BLOCK_BYTES, BlockSource, Channel, RecordingNo, Stage, StoredBlock};
use nearend::spool::open_offline;

use super::Result;
use super::audio::{SILENCE, sounding};

/// The audio of each running recording, by id and channel, on its own time line.
#[derive(Default)]
pub(crate) struct Spooled {
    audio: BTreeMap<(String, u8), Vec<u8>>,
    /// Parts of blocks of running recordings, at the last look.
    pub(crate) parts: u64,
    /// Pieces that could not be read.
    pub(crate) damaged: u64,
}

impl Spooled {
    /// Copies what a rebuild needs, without the ledger.
    pub(crate) fn copy(spool: &Path, to: &Path) -> Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(spool)? {
            let entry = entry?;
            if entry.file_type()?.is_file() && entry.file_name() != "spool.lock" {
                fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    /// Adds what a copy holds. An error if a sample says something else than before.
    pub(crate) fn add(&mut self, copy: &Path) -> Result<()> {
        let (reader, _) = open_offline(copy)?;
        self.parts = 0;
        for recording in reader.recordings() {
            let recording = recording?;
            if recording.stage != Stage::Recording {
                continue;
            }
            let mut blocks = reader.blocks(recording.no)?;
            for n in 0..blocks.count() {
                self.parts += 1;
                let Ok(block) = blocks.read(n) else {
                    self.damaged += 1;
                    continue;
                };
                let channel = recording.legs.iter().find(|leg| leg.no == block.leg).map(|leg| leg.channel);
                let channel = channel.ok_or("a block of a leg that the description does not know")?;
                self.add_block(recording.no, &recording.id.0, channel, &block)?;
            }
        }
        Ok(())
    }

    fn add_block(&mut self, no: RecordingNo, id: &str, channel: Channel, block: &StoredBlock) -> Result<()> {
        let audio = self.audio.entry((id.to_owned(), channel.number())).or_default();
        let from = usize::try_from(block.number.0)? * BLOCK_BYTES;
        if audio.len() < from + BLOCK_BYTES {
            audio.resize(from + BLOCK_BYTES, SILENCE);
        }
        let mut bytes = block.bytes.iter();
        for at in block.runs.iter().flat_map(|run| usize::from(run.start)..run.end()) {
            let (place, byte) = (&mut audio[from + at], bytes.next().ok_or("a run without bytes")?);
            if *place != SILENCE && place != byte {
                return Err(format!("recording {no}: a sample in block {} has changed", block.number.0).into());
            }
            *place = *byte;
        }
        Ok(())
    }

    /// How many samples of a channel there are, and how many of them a finished channel does not have in their place.
    pub(crate) fn missing_in(&self, id: &str, channel: u8, kept: &[u8]) -> (u64, u64) {
        let Some(audio) = self.audio.get(&(id.to_owned(), channel)) else { return (0, 0) };
        let runs = sounding(audio);
        let count = runs.iter().map(|run| run.len() as u64).sum();
        let Some(first) = runs.first().cloned() else { return (0, 0) };
        let needle = &audio[first.start..first.end.min(first.start + 100)];
        let Some(at) = kept.windows(needle.len()).position(|window| window == needle) else { return (count, count) };
        let place = |n: usize| (n + at).checked_sub(first.start);
        let samples = runs.into_iter().flatten();
        let missing = samples.filter(|n| place(*n).and_then(|place| kept.get(place)) != audio.get(*n)).count();
        (count, missing as u64)
    }
}
