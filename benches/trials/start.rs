//! How soon the box is ready after a kill, and what it takes of memory, with many recordings in its ledger.

use std::fmt;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use nearend::model::Stage;

use super::machine::Machine;
use super::{Result, ledger};

/// After the first look at what may go, which comes five seconds after the start.
const IDLE: Duration = Duration::from_secs(12);

/// What is to be done.
#[derive(Args, Debug)]
pub(crate) struct Plan {
    /// Recordings in the ledger
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) recordings: u64,
    /// How many of a hundred are still on the box, delivered; all others are released
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub(crate) on_box: u64,
    /// How many of a hundred wait for a target
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub(crate) waiting: u64,
    /// How often the box is started; before each it is killed
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) starts: u32,
}

/// What was seen.
pub(crate) struct Report {
    recordings: u64,
    ledger_mb: f64,
    ready: Vec<Duration>,
    idle_mb: f64,
    peak_mb: f64,
}

pub(crate) fn run(plan: &Plan) -> Result<Report> {
    // A folder in which nobody can make another.
    let mut machine = Machine::prepare("[[target]]\nname = \"down\"\nkind = \"dir\"\npath = \"/proc\"\n")?;
    ledger::fill(&mut machine, plan.recordings, |n| match n % 100 {
        n if n < plan.waiting => Stage::Finished,
        n if n < plan.waiting + plan.on_box => Stage::Delivered,
        _ => Stage::Released,
    })?;
    let mut ready = Vec::new();
    for _ in 0..plan.starts {
        ready.push(machine.start()?);
        eprintln!("trials: ready after {:?}", ready[ready.len() - 1]);
        machine.kill()?;
    }
    ready.push(machine.start()?);
    sleep(IDLE);
    let (idle_kb, peak_kb) = machine.memory_kb()?;
    machine.stop()?;
    ready.sort();
    let mb = |kb: u64| kb as f64 / 1024.0;
    let ledger_mb = ledger_bytes(&machine)? as f64 / 1e6;
    Ok(Report { recordings: plan.recordings, ledger_mb, ready, idle_mb: mb(idle_kb), peak_mb: mb(peak_kb) })
}

/// Bytes of the ledger's files.
fn ledger_bytes(machine: &Machine) -> Result<u64> {
    let files = fs::read_dir(machine.spool().join("ledger"))?;
    Ok(files.map(|file| Ok(file?.metadata()?.len())).sum::<std::io::Result<u64>>()?)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, most) = (self.ready[self.ready.len() / 2], self.ready[self.ready.len() - 1]);
        writeln!(f, "recordings in the ledger   {}, which takes {:.0} MB", self.recordings, self.ledger_mb)?;
        writeln!(f, "ready after                {median:.2?} (median of {}), {most:.2?} at most", self.ready.len())?;
        write!(f, "resident                   {:.1} MB idle, {:.1} MB at most", self.idle_mb, self.peak_mb)
    }
}
