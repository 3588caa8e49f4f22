//! One flipped byte at a random place of what the box keeps on its disk, and a start.
//!
//! The same box is put back before each flip: three recordings are finished and wait for their target, three are over and not
//! finished yet. Then the target is there, and what arrives in it is compared with what arrives from an undamaged box.
//!
//! | flipped in | may cost |
//! |---|---|
//! | a segment | the audio of one block: silence, said to be damaged |
//! | the ledger, a file of recordings' keys | nothing |
//! | `box.key` | nothing, once the right one is back; until then nothing arrives |
//! | a finished file | this recording is not delivered, which is said |
//!
//! In any case the process lives, answers, and ends as it should.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use nearend::model::BLOCK_BYTES;

use super::Result;
use super::audio::Finished;
use super::machine::{Machine, copy_folder, wait_for};
use super::sender::Call;

/// Recordings of each kind.
const EACH: usize = 3;

/// How long a box may take to deliver six short recordings.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be done.
#[derive(Args, Debug)]
pub(crate) struct Plan {
    /// How many bytes are flipped, one after the other, each in a box that is otherwise whole
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) flips: u32,
    /// Decides what is flipped
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Where a byte is flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Segment,
    Ledger,
    Keys,
    BoxKey,
    FinishedFile,
}

/// In turns: most of them where most bytes are.
const TURNS: [Place; 8] = [
    Place::Segment,
    Place::Ledger,
    Place::FinishedFile,
    Place::Segment,
    Place::Keys,
    Place::Ledger,
    Place::Segment,
    Place::BoxKey,
];

/// What was seen.
#[derive(Default)]
pub(crate) struct Report {
    seed: u64,
    flips: BTreeMap<Place, u32>,
    /// Recordings with silence in place of a block, which they say.
    with_a_block_less: u32,
    /// Finished files that were found changed, and not delivered.
    not_delivered: u32,
    /// Panics that were caught in the ledger.
    caught: usize,
    /// What must not be.
    wrong: Vec<String>,
}

pub(crate) fn run(plan: &Plan) -> Result<Report> {
    let mut trial = Trial::prepare(plan)?;
    let control = trial.arrived(2 * EACH)?;
    trial.machine.stop()?;
    for n in 0..plan.flips {
        let place = TURNS[n as usize % TURNS.len()];
        *trial.report.flips.entry(place).or_default() += 1;
        let what = trial.flip(place)?;
        if let Err(why) = trial.look(place, &control) {
            eprintln!("trials: flip {n}, {what}: {why}");
            trial.report.wrong.push(format!("{what}: {why}"));
        }
    }
    Ok(trial.report)
}

struct Trial {
    machine: Machine,
    random: fastrand::Rng,
    report: Report,
}

impl Trial {
    /// Makes the box that is put back before each flip, and starts it once with its target.
    fn prepare(plan: &Plan) -> Result<Trial> {
        let target = "[[target]]\nname = \"dc\"\nkind = \"dir\"\npath = \"TARGET\"\n";
        let mut machine = Machine::prepare(target)?;
        let mut random = fastrand::Rng::with_seed(plan.seed);
        fs::create_dir(machine.path("TARGET"))?;
        machine.start()?;
        fs::remove_dir(machine.path("TARGET"))?;
        place_calls(&machine, "finished", &mut random)?;
        wait_for("the calls to be finished", PATIENCE, || Ok((machine.finished()?.len() == EACH).then_some(())))?;
        // A file where the folder of their tenant should be keeps further recordings from being finished.
        let (folder, away) = (machine.path("data/finished/default"), machine.path("data/finished/away"));
        fs::rename(&folder, &away)?;
        fs::write(&folder, "in the way")?;
        place_calls(&machine, "over", &mut random)?;
        wait_for("the calls to be over, durably", PATIENCE, || {
            let log = machine.log();
            Ok((0..EACH).all(|n| log.contains(&format!("not finished recording=over-{n}"))).then_some(()))
        })?;
        machine.kill()?;
        fs::remove_file(&folder)?;
        fs::rename(&away, &folder)?;
        copy_folder(&machine.path("data"), &machine.path("whole"))?;
        let mut trial = Trial { machine, random, report: Report { seed: plan.seed, ..Report::default() } };
        trial.put_back()?;
        trial.machine.start()?;
        Ok(trial)
    }

    /// Everything is again as it was, and nothing has been delivered.
    fn put_back(&mut self) -> Result<()> {
        for folder in ["data", "TARGET"] {
            if self.machine.path(folder).exists() {
                fs::remove_dir_all(self.machine.path(folder))?;
            }
        }
        copy_folder(&self.machine.path("whole"), &self.machine.path("data"))?;
        Ok(fs::create_dir(self.machine.path("TARGET"))?)
    }

    /// Flips a byte, and says which.
    fn flip(&mut self, place: Place) -> Result<String> {
        self.put_back()?;
        let files: Vec<(PathBuf, u64)> =
            all_files(&self.machine.path("data"))?.into_iter().filter(|(path, bytes)| *bytes > 0 && place.is_of(path)).collect();
        let mut at = self.random.u64(0..files.iter().map(|(_, bytes)| bytes).sum());
        let (path, _) = files
            .iter()
            .find(|(_, bytes)| {
                let is_here = at < *bytes;
                if !is_here {
                    at -= bytes;
                }
                is_here
            })
            .ok_or("no file to flip a byte in")?;
        let mut bytes = fs::read(path)?;
        bytes[usize::try_from(at)?] ^= self.random.u8(1..);
        fs::write(path, bytes)?;
        Ok(format!("byte {at} of {}", path.strip_prefix(self.machine.path("data"))?.display()))
    }

    /// Starts the box and compares what arrives. An error says what must not be.
    fn look(&mut self, place: Place, control: &Arrived) -> Result<()> {
        let logged = self.machine.log().len();
        let log = |machine: &Machine| machine.log()[logged..].to_owned();
        self.machine.start()?;
        if place == Place::BoxKey {
            // With another key it is another spool. The right one comes back.
            self.machine.stop()?;
            fs::copy(self.machine.path("whole/spool/box.key"), self.machine.path("data/spool/box.key"))?;
            self.machine.start()?;
        }
        let arrived = match place {
            Place::FinishedFile => {
                wait_for("the changed file to be noticed", PATIENCE, || {
                    Ok(log(&self.machine).contains("set aside: not delivered").then_some(()))
                })?;
                self.report.not_delivered += 1;
                self.arrived(2 * EACH - 1)?
            }
            _ => self.arrived(2 * EACH)?,
        };
        self.report.with_a_block_less += compare(&arrived, control, place)?;
        self.machine.stop()?;
        let log = log(&self.machine);
        self.report.caught += log.matches("panicked at").count();
        match log.lines().find(|line| line.contains("panicked at") && !line.contains("/sled-")) {
            Some(line) => Err(line.into()),
            None => Ok(()),
        }
    }

    /// Waits until so many recordings have arrived, and reads all.
    fn arrived(&mut self, wanted: usize) -> Result<Arrived> {
        let target = self.machine.path("TARGET");
        let folders = wait_for(&format!("{wanted} recordings in the target"), PATIENCE, || {
            if !self.machine.is_running()? {
                return Err("the process has ended".into());
            }
            let files = all_files(&target)?.into_iter().map(|(path, _)| path);
            let folders: Vec<PathBuf> = files
                .filter(|path| path.ends_with("recording.json"))
                .filter_map(|path| Some(path.parent()?.to_owned()))
                .collect();
            Ok((folders.len() >= wanted).then_some(folders))
        })?;
        let finished = folders.iter().map(|folder| Finished::open(folder));
        finished.map(|finished| finished.map(|finished| (finished.id.clone(), finished))).collect()
    }
}

type Arrived = BTreeMap<String, Finished>;

/// How many recordings lack a block. An error when one lacks more, has what is wrong, or does not say what it lacks.
fn compare(arrived: &Arrived, control: &Arrived, place: Place) -> Result<u32> {
    let mut with_a_block_less = 0;
    for (id, found) in arrived {
        let whole = control.get(id).ok_or_else(|| format!("recording {id} was never made"))?;
        let mut lacking = 0;
        for ((found, _), (whole, _)) in found.channels.iter().zip(&whole.channels) {
            if found.len() != whole.len() {
                return Err(format!("recording {id} has {} samples, not {}", found.len(), whole.len()).into());
            }
            lacking += found.iter().zip(whole).filter(|(found, whole)| found != whole).count();
        }
        if lacking > BLOCK_BYTES || (lacking > 0 && (place != Place::Segment || !found.is_damaged)) {
            return Err(format!("recording {id} lacks {lacking} samples, flagged as damaged: {}", found.is_damaged).into());
        }
        with_a_block_less += u32::from(lacking > 0);
    }
    if with_a_block_less > 1 { Err("more than one recording lacks something".into()) } else { Ok(with_a_block_less) }
}

impl Place {
    fn is_of(self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_in = |folder: &str| path.components().any(|part| part.as_os_str() == folder);
        match self {
            Place::Segment => name.ends_with(".nseg"),
            Place::Ledger => is_in("ledger"),
            Place::Keys => name.starts_with("keys-"),
            Place::BoxKey => name == "box.key",
            Place::FinishedFile => is_in("finished"),
        }
    }
}

fn place_calls(machine: &Machine, name: &str, random: &mut fastrand::Rng) -> Result<()> {
    let call = |n| Call::noisy(machine, Duration::from_secs(3), &format!("{name}-{n}"), random)?.start();
    let mut calls = (0..EACH).map(call).collect::<Result<Vec<_>>>()?;
    calls.iter_mut().try_for_each(|call| call.finish().map(drop))
}

/// Every file below a folder, with its length, in the order of paths.
fn all_files(folder: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(facts) if facts.is_dir() => folders.push(entry.path()),
                Ok(facts) => files.push((entry.path(), facts.len())),
                Err(_) => {} // a temporary file that has got its name meanwhile
            }
        }
    }
    files.sort();
    Ok(files)
}

impl Report {
    /// What must not be.
    pub(crate) fn broken(&self) -> &[String] {
        &self.wrong
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |place| self.flips.get(&place).copied().unwrap_or_default();
        writeln!(f, "seed                       {}", self.seed)?;
        writeln!(
            f,
            "bytes flipped              {}: {} in segments, {} in the ledger, {} in finished files, {} in key files, {} in box.key",
            self.flips.values().sum::<u32>(),
            of(Place::Segment),
            of(Place::Ledger),
            of(Place::FinishedFile),
            of(Place::Keys),
            of(Place::BoxKey)
        )?;
        writeln!(f, "a block less, and flagged  {} recordings", self.with_a_block_less)?;
        writeln!(f, "found changed, set aside   {} recordings", self.not_delivered)?;
        writeln!(f, "panics caught in sled      {}", self.caught)?;
        self.wrong.iter().try_for_each(|wrong| writeln!(f, "WRONG: {wrong}"))?;
        write!(f, "{}", if self.wrong.is_empty() { "every outcome is as it must be" } else { "BROKEN" })
    }
}
