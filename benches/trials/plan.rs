//! The command line.

use clap::{Parser, Subcommand};

use super::{cti, flips, kills, load, start};

/// Kills, damages, stalls and loads the real daemon, and looks for every sample that was sent.
#[derive(Debug, Parser)]
#[command(name = "scripts/trials")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) trial: Option<Trial>,
    /// Given by cargo bench.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Trial {
    /// SIGKILL at random moments, with calls up: nothing acknowledged is missing, every call goes on
    Kills(kills::Plan),
    /// One flipped byte after the other: no panic gets out, and no more than the touched block is damaged
    Flips(flips::Plan),
    /// Many streams, with a writer that stands still: 5 s cost nothing, and what 30 s cost is counted
    Stall(load::Stall),
    /// Many streams for long: nothing is lost
    Endurance(load::Endurance),
    /// How soon the box is ready, and what it takes of memory, with many recordings in its ledger
    Start(start::Plan),
    /// A busy T-Server: no event is lost, and what the events cost of memory and CPU, with and without calls being recorded
    Cti(cti::Plan),
}
