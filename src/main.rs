//! The command line of the box: one function per subcommand, each in a file of `cmd/`.

mod cmd;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Records calls at the edge: answers MSR and SIPREC recording sessions, keeps every call safe, forwards it when the link allows.
#[derive(Parser)]
#[command(version, propagate_version = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon; SIGTERM writes everything and stops, running calls go on after the next start
    Run {
        /// The configuration file; see docs/configuration.md
        #[arg(long, value_name = "FILE", default_value = "/etc/nearend/nearend.toml")]
        config: PathBuf,
    },
    /// Validate a configuration and print what would be used; exit 0, or 2 with each place and remedy
    Check {
        /// The configuration file
        #[arg(long, value_name = "FILE", default_value = "/etc/nearend/nearend.toml")]
        config: PathBuf,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Show everything on loopback: the box, a simulated media server that speaks, a folder as data centre
    Demo(cmd::demo::Arguments),
    /// List, show, export and verify what is on the box; also on a data directory copied from a dead one
    Recordings(cmd::recordings::Arguments),
    /// Consent tones: render what is heard and recorded, measure a file
    Tone(cmd::tone::Arguments),
    /// Check a switch's own list of calls against the recordings: missing, late, short, one-sided, silent
    Reconcile(cmd::reconcile::Arguments),
    /// Check the log of who did what over HTTP
    Audit(cmd::audit::Arguments),
    /// Fetch, install and start a new system, on a box that was made by scripts/image
    Update(cmd::update::Arguments),
    /// Explain which rule counts for a call
    Rules(cmd::rules::Arguments),
    /// Explain at which geo-location a call is recorded
    Geo(cmd::geo::Arguments),
}

const EXAMPLES: &str = "Examples:
  nearend check --config nearend.toml
  nearend run --config nearend.toml
  nearend demo --once
  nearend recordings ls
  nearend rules explain --config nearend.toml --dn 7010 --direction inbound
  nearend geo explain --direction inbound --trunk dallas --recorded agent";

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { config } => cmd::run::run(&config),
        Command::Check { config, json } => cmd::check::run(&config, json),
        Command::Demo(arguments) => cmd::demo::run(&arguments),
        Command::Recordings(arguments) => cmd::recordings::run(&arguments),
        Command::Tone(arguments) => cmd::tone::run(&arguments),
        Command::Reconcile(arguments) => cmd::reconcile::run(&arguments),
        Command::Audit(arguments) => cmd::audit::run(&arguments),
        Command::Update(arguments) => cmd::update::run(&arguments),
        Command::Rules(arguments) => cmd::rules::run(&arguments),
        Command::Geo(arguments) => cmd::geo::run(&arguments),
    }
}
