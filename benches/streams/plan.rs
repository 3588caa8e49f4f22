//! The command line.

use std::net::Ipv4Addr;
use std::time::Duration;

use clap::{Args, Parser};

use super::sinks::Sink;

/// Compares CPU, memory and loss of the box with two bare sinks and with rtpengine, side by side on this machine.
#[derive(Debug, Parser)]
#[command(name = "scripts/bench")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) plan: Plan,
    /// Be a sink: how this program starts itself as a contestant.
    #[arg(long, hide = true)]
    pub(crate) sink: Option<Sink>,
    /// Where a sink listens.
    #[arg(long, hide = true, default_value_t = Ipv4Addr::LOCALHOST)]
    pub(crate) address: Ipv4Addr,
    /// Given by cargo bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is to be run.
#[derive(Args, Debug)]
pub(crate) struct Plan {
    /// Numbers of G.711 streams, two per call
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "200,1000,2000",
          value_parser = clap::value_parser!(u32).range(2..=4_000))]
    pub(crate) streams: Vec<u32>,
    /// How long each contestant is measured, with all its streams up, in each round
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) seconds: u64,
    /// Rounds: in each, every contestant has its turn
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

impl Plan {
    /// From the last call to the begin of the measurement.
    pub(crate) const SETTLE: Duration = Duration::from_secs(1);

    /// The time in which all calls are placed.
    pub(crate) fn ramp(streams: u32) -> Duration {
        Duration::from_secs(2).max(Duration::from_millis(2 * u64::from(streams)))
    }

    /// How long each contestant is measured.
    pub(crate) fn window(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}
