//! Watches what the box says and what it leaves, and knows what must hold:
//!
//! 1. What was acknowledged is there: after every boot in the spool or in the finished files, at the end at every target.
//! 2. Every sample is the one that belongs in its place, or silence; of each voice on its own channel, of no other call.
//! 3. A name at a target never gets another content, and no audio is delivered in two recordings.
//! 4. Everything ends: at last every recording that was ever acknowledged is delivered, and nothing waits.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use nearend::clock::Now;
use nearend::model::block::Law;
use nearend::model::recording::FileFact;
use nearend::model::{
    BLOCK_BYTES, Block, BlockNo, BlockSource, Channel, Flag, LegNo, MediaTime, Recording, RecordingNo, Run, Samples, Stage,
    StoredBlock,
};
use nearend::spool::{Event, Reader, Recovered};

use crate::calls::{Calls, FRAME, read_frame};
use crate::filesystem::{FINISHED, Target};
use crate::medium::{FAILED, Medium};

/// How far a sample may lie from when it was spoken: the network's delay, and what the time line tolerates of it.
const TOLERANCE: i64 = MediaTime::RATE * 12 / 10;

/// Length of the WAV head.
const WAV_HEADER: usize = nearend::finish::wav::HEADER_BYTES;

/// A block that was handed to the spool.
struct Handed {
    block: StoredBlock,
    acknowledged: bool,
}

/// What is known of a recording.
#[derive(Default)]
struct Facts {
    blocks: Vec<Handed>,
    /// The last description handed to the spool.
    described: Option<Recording>,
    acknowledged: Option<Stage>,
    /// How far it was when the box last came up.
    found: Option<Stage>,
    /// When its time line began, in true time; may be negative.
    origin_us: i64,
}

pub(crate) struct Judge {
    medium: Medium,
    targets: Vec<Target>,
    pub(crate) true_us: u64,
    recordings: BTreeMap<RecordingNo, Facts>,
    /// Blocks that are neither acknowledged nor given up, by the address of their memory.
    in_flight: HashMap<usize, (RecordingNo, usize)>,
    /// Descriptions that the spool has and has not acknowledged.
    waiting: HashSet<RecordingNo>,
    /// When the wall clock was set.
    pub(crate) clock_set_us: Vec<u64>,
    /// Every name at a target, and the checksum of its first content.
    delivered: Vec<BTreeMap<PathBuf, u32>>,
    pub(crate) failure: Option<String>,
    pub(crate) log: Vec<String>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl Judge {
    pub(crate) fn new(medium: Medium, targets: Vec<Target>) -> Judge {
        Judge {
            medium,
            delivered: vec![BTreeMap::new(); targets.len()],
            targets,
            true_us: 0,
            recordings: BTreeMap::new(),
            in_flight: HashMap::new(),
            waiting: HashSet::new(),
            clock_set_us: Vec::new(),
            failure: None,
            log: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    pub(crate) fn note(&mut self, what: impl Into<String>) {
        let line = format!("{:>10.3} s  {}", self.true_us as f64 / 1e6, what.into());
        self.log.push(line);
    }

    pub(crate) fn count(&mut self, what: &'static str, by: u64) {
        *self.counts.entry(what).or_default() += by;
    }

    /// Something that must not be.
    pub(crate) fn complain(&mut self, what: String) {
        if self.medium.is_off() {
            return; // whatever a dead box says
        }
        self.note(format!("WRONG: {what}"));
        self.failure.get_or_insert(what);
    }

    /// Nothing of what the spool was given is unanswered.
    pub(crate) fn is_settled(&self) -> bool {
        self.in_flight.is_empty() && self.waiting.is_empty()
    }

    // ---- what the box does

    pub(crate) fn described(&mut self, now: Now, recording: &Recording) {
        let true_us = self.true_us.cast_signed();
        let facts = self.recordings.entry(recording.no).or_default();
        let is_other = facts.described.as_ref().is_some_and(|known| known.id != recording.id || known.origin != recording.origin);
        if is_other && facts.acknowledged.is_none() && !is_stand_in(recording) {
            *facts = Facts::default(); // the number of one that left no trace
            self.log.push(format!("number {} is used again", recording.no));
        }
        if facts.described.is_none() {
            self.log.push(format!("recording {} {} begins", recording.no, recording.id));
            facts.origin_us = true_us - (now.wall - recording.origin);
        }
        facts.described = Some(recording.clone());
        if recording.stage > Stage::Recording {
            self.note(format!("recording {} {}: {:?}", recording.no, recording.id, recording.stage));
        }
    }

    pub(crate) fn passed_on(&mut self, recording: &Recording) {
        self.waiting.insert(recording.no);
    }

    pub(crate) fn handed_over(&mut self, blocks: &[Block]) {
        for block in blocks {
            let facts = self.recordings.entry(block.recording).or_default();
            self.in_flight.insert(address(&block.samples), (block.recording, facts.blocks.len()));
            facts.blocks.push(Handed { block: stored(block), acknowledged: false });
        }
        self.count("blocks handed to the spool", blocks.len() as u64);
    }

    pub(crate) fn gave_up(&mut self, spare: &[Samples]) {
        for samples in spare {
            self.in_flight.remove(&address(samples));
        }
        self.count("blocks given up", spare.len() as u64);
    }

    pub(crate) fn wrote_blocks(&mut self, spare: &[Samples]) {
        for samples in spare {
            let Some((no, nth)) = self.in_flight.remove(&address(samples)) else { continue };
            if let Some(facts) = self.recordings.get_mut(&no) {
                facts.blocks[nth].acknowledged = true;
            }
        }
        self.count("blocks acknowledged", spare.len() as u64);
    }

    pub(crate) fn told(&mut self, event: &Event) {
        match event {
            Event::Described { no, stage } => {
                self.waiting.remove(no);
                let facts = self.recordings.entry(*no).or_default();
                facts.acknowledged = facts.acknowledged.max(Some(*stage));
                self.count("descriptions acknowledged", 1);
            }
            Event::Trouble { what } => self.note(format!("trouble: {what}")),
            Event::Mended => self.note("mended"),
            Event::Space { .. } => {}
        }
    }

    /// The process is gone, and all that was under way with it.
    pub(crate) fn died(&mut self) {
        self.count("blocks under way at a crash", self.in_flight.len() as u64);
        self.in_flight.clear();
        self.waiting.clear();
    }

    // ---- what it leaves

    /// The box is up again.
    pub(crate) fn booted(&mut self, reader: &Reader, recovered: &Recovered) {
        let report = &recovered.report;
        self.medium.observe(true);
        // Of what was never acknowledged, a torn write may leave the audio and take the description.
        let is_known = |no: &&RecordingNo| self.recordings.get(no).is_some_and(|facts| facts.acknowledged.is_some());
        let nameless = report.stand_ins.iter().filter(is_known).count();
        let lost = [("lost descriptions", nameless), ("lost keys", report.lost_keys.len()), ("foreign", report.foreign.len())];
        self.count("stand-ins for what was not acknowledged", report.stand_ins.len() as u64);
        for (what, count) in lost {
            if count > 0 {
                self.complain(format!("recovery has {count} {what}: {report}"));
            }
        }
        self.count("ledgers rebuilt", u64::from(report.rebuilt.is_some()));
        self.count("records that recovery entered", report.entered);
        let complaints: Vec<String> = self.recordings.iter().flat_map(|(no, facts)| self.look(reader, *no, facts)).collect();
        complaints.into_iter().for_each(|complaint| self.complain(complaint));
        // The box goes on from what it finds, whether or not it could say so before it went down.
        for (no, facts) in &mut self.recordings {
            facts.found = reader.recording(*no).ok().flatten().map(|recording| recording.stage);
        }
        self.medium.observe(false);
    }

    /// What is wrong with a recording in the spool, or with its finished files.
    fn look(&self, reader: &Reader, no: RecordingNo, facts: &Facts) -> Vec<String> {
        let Some(acknowledged) = facts.acknowledged else {
            let lost = facts.blocks.iter().any(|handed| handed.acknowledged);
            return if lost { vec![format!("recording {no} has acknowledged audio and no description")] } else { vec![] };
        };
        let recording = match reader.recording(no) {
            Ok(Some(recording)) => recording,
            Ok(None) if acknowledged == Stage::Released => return vec![],
            other => return vec![format!("recording {no}, acknowledged as {acknowledged:?}, is not in the ledger: {other:?}")],
        };
        let mut wrong = Vec::new();
        if recording.stage < acknowledged {
            wrong.push(format!("recording {no} was acknowledged as {acknowledged:?} and is {:?}", recording.stage));
        }
        if recording.stage < Stage::Finished {
            wrong.extend(self.missing_blocks(reader, no, facts));
        } else if recording.stage == Stage::Finished {
            let tree = self.medium.tree(FINISHED);
            let folder = Path::new(FINISHED).join(recording.path());
            wrong.extend(differing(&tree, &folder, &recording.files).map(|what| format!("finished recording {no}: {what}")));
        }
        wrong
    }

    fn missing_blocks(&self, reader: &Reader, no: RecordingNo, facts: &Facts) -> Option<String> {
        let (mut read, mut damaged) = (Vec::new(), None);
        match reader.blocks(no) {
            Ok(mut blocks) => (0..blocks.count()).for_each(|nth| match blocks.read(nth) {
                Ok(block) => read.push(block),
                Err(damage) => damaged = Some(damage),
            }),
            Err(error) => return Some(format!("blocks of recording {no} cannot be read: {error}")),
        }
        // What a failed sync left in the kernel's memory only, a box that was killed then takes for written. It was never
        // acknowledged, and after a power cut it is gone.
        let may_be_damaged = self.medium.state().counts.contains_key(FAILED);
        if let Some(damage) = damaged.filter(|_| !may_be_damaged) {
            return Some(damage.to_string());
        }
        if let Some(strange) = read.iter().find(|block| !facts.blocks.iter().any(|handed| handed.block == **block)) {
            return Some(format!("recording {no} leg {} has a block {} that was never its", strange.leg, strange.number));
        }
        let missing = facts.blocks.iter().find(|handed| handed.acknowledged && !read.contains(&handed.block));
        missing.map(|h| format!("recording {no} leg {}: block {} was acknowledged and is gone", h.block.leg, h.block.number))
    }

    /// Whether a name at a target has got another content.
    pub(crate) fn look_at_targets(&mut self) {
        let mut wrong = Vec::new();
        for (target, delivered) in self.targets.iter().zip(&mut self.delivered) {
            for (name, content) in target.medium.tree(target.root) {
                if name.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
                    continue; // on its way
                }
                let sum = crc32(&content);
                if *delivered.entry(name.clone()).or_insert(sum) != sum {
                    wrong.push(format!("{} has got another content", name.display()));
                }
            }
        }
        wrong.into_iter().for_each(|what| self.complain(what));
    }

    /// A target has confirmed a recording.
    pub(crate) fn arrived(&mut self, target: usize, no: RecordingNo) {
        self.count("deliveries", 1);
        let Some(recording) = self.recordings.get(&no).and_then(|facts| facts.described.clone()) else { return };
        if let Some(what) = self.at_target(target, &recording) {
            self.complain(format!("recording {no} is confirmed, and at target {target} {what}"));
        }
    }

    fn at_target(&self, target: usize, recording: &Recording) -> Option<String> {
        let target = &self.targets[target];
        differing(&target.medium.tree(target.root), &Path::new(target.root).join(recording.path()), &recording.files)
    }

    // ---- at the end

    pub(crate) fn conclude(&mut self, calls: &Calls) {
        self.medium.observe(true);
        self.look_at_targets();
        let recordings = std::mem::take(&mut self.recordings);
        let mut heard = HashMap::new();
        for (no, facts) in recordings.iter().filter(|(_, facts)| facts.acknowledged.is_some()) {
            let Some(recording) = &facts.described else { continue };
            self.count("recordings delivered", 1);
            if recording.stage < Stage::Delivered || facts.acknowledged.max(facts.found) < Some(Stage::Delivered) {
                self.complain(format!(
                    "recording {no} never ended: {:?}, acknowledged {:?}",
                    recording.stage, facts.acknowledged
                ));
                continue;
            }
            for target in 0..self.targets.len() {
                if let Some(what) = self.at_target(target, recording) {
                    self.complain(format!("recording {no} is delivered, and at target {target} {what}"));
                }
            }
            if recording.stage == Stage::Released {
                let folder = Path::new(FINISHED).join(recording.path());
                if self.medium.tree(FINISHED).keys().any(|name| name.starts_with(&folder)) {
                    self.complain(format!("recording {no} is released, and its files are still on the box"));
                }
            }
            self.listen(calls, facts, recording, &mut heard);
        }
        self.medium.observe(false);
        self.recordings = recordings;
    }

    /// Whether a recording's time line and the true time may differ: when the wall clock was set, a box that comes up again cannot
    /// know how long it was away.
    fn has_own_time(&self, facts: &Facts, recording: &Recording) -> bool {
        let is_during = |us: &u64| us.cast_signed() >= facts.origin_us;
        let is_interrupted = recording.flags.contains(&Flag::Interrupted);
        is_stand_in(recording) || is_interrupted && self.clock_set_us.iter().any(is_during)
    }

    /// Compares a delivered file with what was handed to the spool, and with who spoke when.
    fn listen(&mut self, calls: &Calls, facts: &Facts, recording: &Recording, heard: &mut HashMap<(u16, u32), RecordingNo>) {
        let target = &self.targets[0];
        let path = Path::new(target.root).join(recording.path()).join("audio.wav");
        let Ok(file) = target.medium.read(&path) else { return }; // at_target has said so
        let audio = file.get(WAV_HEADER..).unwrap_or_default();
        let start = MediaTime::from_micros(recording.started - recording.origin).0;
        let law = recording.legs.first().map_or(Law::Pcmu, |leg| leg.law);
        let mut wrong = Vec::new();
        for channel in [Channel::Recorded, Channel::Other] {
            let lane: Vec<u8> = audio.chunks_exact(2).map(|frame| frame[usize::from(channel.number() - 1)]).collect();
            wrong.extend(Expected::new(facts, recording, channel, start, lane.len()).compare(&lane, law));
            let has_own_time = self.has_own_time(facts, recording);
            let lane_of = Lane { channel, start, samples: &lane, has_own_time };
            let (found, counted) = spoken(calls, facts, recording, &lane_of, heard);
            wrong.extend(found);
            self.count("frames of 2 ms found in their place", counted);
        }
        if let Some(what) = wrong.into_iter().next() {
            self.complain(format!("recording {} {}: {what}", recording.no, recording.id));
        }
    }
}

/// What the blocks say of one channel.
struct Expected {
    /// The byte; 0xFF where there is none, which no voice says.
    bytes: Vec<u8>,
    acknowledged: Vec<bool>,
    /// Where blocks differ: what was said again elsewhere after a restart.
    others: HashMap<usize, Vec<u8>>,
    beyond: Option<BlockNo>,
}

impl Expected {
    fn new(facts: &Facts, recording: &Recording, channel: Channel, start: i64, length: usize) -> Expected {
        let mut expected =
            Expected { bytes: vec![0xFF; length], acknowledged: vec![false; length], others: HashMap::new(), beyond: None };
        let is_mine = |leg: LegNo| recording.legs.iter().any(|l| l.no == leg && l.channel == channel);
        for handed in facts.blocks.iter().filter(|handed| is_mine(handed.block.leg)) {
            expected.add(handed, start);
        }
        expected
    }

    fn add(&mut self, handed: &Handed, start: i64) {
        let mut bytes = handed.block.bytes.iter();
        let first = i64::from(handed.block.number.0) * BLOCK_BYTES as i64 - start;
        for run in &handed.block.runs {
            for (at, byte) in (first + i64::from(run.start)..).zip(bytes.by_ref().take(usize::from(run.len))) {
                let Ok(at) = usize::try_from(at) else { continue }; // before the call began
                let Some(place) = self.bytes.get_mut(at) else {
                    self.beyond = self.beyond.or(handed.acknowledged.then_some(handed.block.number));
                    continue;
                };
                if *place == 0xFF {
                    *place = *byte;
                } else if *place != *byte {
                    self.others.entry(at).or_default().push(*byte);
                }
                self.acknowledged[at] |= handed.acknowledged;
            }
        }
    }

    fn compare(&self, lane: &[u8], law: Law) -> Option<String> {
        if let Some(block) = self.beyond {
            return Some(format!("the file ends before block {block}, which was acknowledged"));
        }
        lane.iter().enumerate().find_map(|(at, byte)| {
            let seconds = at as f64 / 8_000.0;
            if *byte == law.silence() {
                return self.acknowledged[at].then(|| format!("silence at {seconds:.3} s, where audio was acknowledged"));
            }
            let is_known = self.bytes[at] == *byte || self.others.get(&at).is_some_and(|others| others.contains(byte));
            (!is_known).then(|| {
                let (want, from) = (self.bytes[at], at.saturating_sub(FRAME));
                format!(
                    "at {seconds:.3} s {byte:#04x}, received {want:#04x}; the file has {:02x?}, received {:02x?}",
                    &lane[from..(at + FRAME).min(lane.len())],
                    &self.bytes[from..(at + FRAME).min(lane.len())]
                )
            })
        })
    }
}

/// One channel of a delivered file.
struct Lane<'a> {
    channel: Channel,
    /// Where the file begins.
    start: i64,
    samples: &'a [u8],
    /// Its places cannot be told from the wall clock.
    has_own_time: bool,
}

/// Reads the frames of one channel: whose they are, and whether they lie where they were spoken. Gives what is wrong,
/// and how many there are.
fn spoken(
    calls: &Calls,
    facts: &Facts,
    recording: &Recording,
    &Lane { channel, start, samples: lane, has_own_time }: &Lane<'_>,
    heard: &mut HashMap<(u16, u32), RecordingNo>,
) -> (Option<String>, u64) {
    let stands_in = is_stand_in(recording);
    let mut last: HashMap<u16, u32> = HashMap::new();
    let (mut at, mut counted) = (0, 0);
    while at + FRAME <= lane.len() {
        let Some((nth, number)) = read_frame(&lane[at..]) else {
            at += 1;
            continue;
        };
        let seconds = at as f64 / 8_000.0;
        let wrong = |what: &str| (Some(format!("voice {nth}, frame {number} at {seconds:.3} s: {what}")), 0);
        let Some(voice) = calls.voices.get(usize::from(nth)) else { return wrong("nobody's") };
        let id = &calls.calls[voice.call].id;
        if !stands_in && !id.as_ref().is_none_or(|id| *recording.id.0 == **id || recording.id.0.starts_with(&format!("{id}~"))) {
            return wrong("of another call");
        }
        if voice.channel != channel && !stands_in {
            return wrong("on the other channel");
        }
        if let Some(last) = last.insert(nth, number).filter(|last| *last >= number) {
            return wrong(&format!("behind frame {last}"));
        }
        if heard.insert((nth, number), recording.no).is_some_and(|no| no != recording.no) {
            return wrong("is in another recording as well");
        }
        let spoken_us = voice.began_us.cast_signed() + i64::from(number) * 2_000 - facts.origin_us;
        let off = start + at as i64 - MediaTime::from_micros(spoken_us).0;
        if !has_own_time && off.abs() > TOLERANCE {
            return wrong(&format!("{} ms from its place", off / 8));
        }
        counted += 1;
        at += FRAME;
    }
    (None, counted)
}

/// Made up by recovery for audio whose description is lost.
fn is_stand_in(recording: &Recording) -> bool {
    recording.id.0.starts_with("recovered-")
}

/// What of `files` is not in `folder` as it should be.
fn differing(tree: &BTreeMap<PathBuf, Vec<u8>>, folder: &Path, files: &[FileFact]) -> Option<String> {
    if files.is_empty() {
        return Some("it has no files".into());
    }
    files.iter().find_map(|file| match tree.get(&folder.join(&file.name)) {
        None => Some(format!("{} is missing", file.name)),
        Some(content) => {
            let found = nearend::files::digest(content.as_slice()).ok()?;
            (found.sha256 != file.sha256).then(|| format!("{} has another content", file.name))
        }
    })
}

fn stored(block: &Block) -> StoredBlock {
    let bytes = |run: &Run| block.samples[usize::from(run.start)..run.end()].to_vec();
    StoredBlock {
        leg: block.leg,
        number: block.number,
        law: block.law,
        runs: block.runs.clone(),
        bytes: block.runs.iter().flat_map(bytes).collect(),
    }
}

fn address(samples: &Samples) -> usize {
    std::ptr::from_ref(samples.as_ref()).addr()
}

fn crc32(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}
