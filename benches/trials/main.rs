//! Trials: the real daemon is killed, damaged, stalled and loaded, and every sample that was sent is looked for in what it
//! leaves. Judged by counts; docs/trials.md has the last figures.
//!
//! ```text
//! nearend-msr, noise that never repeats ──► machine: nearend run ──► finished folders ──► audio: what is there, what is not
//!                                             ▲
//!                        kills, flips, stall ─┘
//! ```
//!
//! | file | responsible for |
//! |---|---|
//! | `plan` | the command line |
//! | `kills` | SIGKILL at random moments with calls up; every call goes on, nothing that was on the disk is missing |
//! | `flips` | one flipped byte after the other, wherever the box keeps anything |
//! | `load` | many streams for long, and with a writer that stands still |
//! | `start` | ready, and resident memory, with many recordings in the ledger |
//! | `cti` | a busy T-Server, with and without calls being recorded |
//! | `machine` | the box: its folder, its process, when it is ready |
//! | `ledger` | a spool that knows many recordings |
//! | `sender` | calls with audio of their own |
//! | `audio` | what was sent beside what was kept |
//! | `spooled` | what the spool holds at the moment of a kill |
//!
//! The short versions in `tests/system/trials.rs` are made of the same files.

mod audio;
mod cti;
mod flips;
mod kills;
mod ledger;
mod load;
mod machine;
mod plan;
mod sender;
mod spooled;
mod start;

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use load::{Load, Stall};
use plan::{Arguments, Trial};

/// How long all streams are up, beside the stall.
const STALLED_WITHIN: Duration = Duration::from_secs(20);

/// What may go wrong is said to a person and ends the run.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let done = match Arguments::parse().trial {
        Some(Trial::Kills(plan)) => kills::run(&plan).map(|report| told(&report, report.broken().is_empty())),
        Some(Trial::Flips(plan)) => flips::run(&plan).map(|report| told(&report, report.broken().is_empty())),
        Some(Trial::Stall(plan)) => stall(&plan),
        Some(Trial::Endurance(plan)) => {
            carry(Load { streams: plan.streams, length: Duration::from_secs(plan.length), stall: None, seed: plan.seed })
        }
        Some(Trial::Start(plan)) => start::run(&plan).map(|report| told(&report, true)),
        Some(Trial::Cti(plan)) => cti::run(&plan).map(|report| told(&report, report.broken().is_empty())),
        None => Ok(told(&"scripts/trials --help says which trials there are", true)),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("trials: {error}");
            ExitCode::FAILURE
        }
    }
}

fn stall(plan: &Stall) -> Result<ExitCode> {
    for length in plan.length.iter().copied().map(Duration::from_secs) {
        let load = Load { streams: plan.streams, length: STALLED_WITHIN, stall: Some(length), seed: plan.seed };
        if carry(load)? != ExitCode::SUCCESS {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn carry(load: Load) -> Result<ExitCode> {
    load::run(load).map(|report| told(&report, report.broken().is_empty()))
}

fn told(report: &dyn Display, is_good: bool) -> ExitCode {
    println!("{report}");
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
