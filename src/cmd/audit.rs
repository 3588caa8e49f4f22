//! `nearend audit`: is the log of who did what as it was written?

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use nearend::access::driver::{Verified, verify};
use serde_json::json;

use super::place::{Place, load};

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    place: Place,
}

#[derive(Subcommand)]
enum Command {
    /// Recompute the chain of hashes; exit 1, and the place, when a line was changed, removed or added
    Verify {
        /// A line's number and hash as they were noted elsewhere, such as in the journal: they must be in the log
        #[arg(long, value_name = "NUMBER:HASH", value_parser = noted)]
        head: Option<(u64, String)>,
    },
}

const EXAMPLES: &str = "Examples:
  nearend audit verify
  nearend audit verify --data-dir /mnt/dead-box/var/lib/nearend --json
  nearend audit verify --head 4711:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn noted(text: &str) -> Result<(u64, String), String> {
    let pair = text.split_once(':').and_then(|(no, hash)| Some((no.parse().ok()?, hash.to_ascii_lowercase())));
    pair.filter(|(_, hash)| hash.len() == 64).ok_or_else(|| "expected NUMBER:HASH with a hash of 64 digits".into())
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let Command::Verify { head } = &arguments.command;
    let dir = match folder(&arguments.place) {
        Ok(dir) => dir,
        Err(faults) => {
            eprint!("{faults}");
            return ExitCode::from(2);
        }
    };
    let outcome = check(&dir, head.as_ref());
    match &outcome {
        Ok(whole) if arguments.place.json => println!("{}", json!({"whole": true, "lines": whole.lines, "hash": whole.hash})),
        Ok(whole) => println!("the audit log is whole: {} lines, the last with the hash {}", whole.lines, whole.hash),
        Err(error) if arguments.place.json => println!("{}", json!({"whole": false, "error": error.to_string()})),
        Err(error) => eprintln!("{error}"),
    }
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn folder(place: &Place) -> Result<PathBuf, String> {
    let data_dir = match &place.data_dir {
        Some(dir) => dir.clone(),
        None => load(&place.config)?.site.data_dir,
    };
    Ok(data_dir.join("access"))
}

fn check(dir: &Path, head: Option<&(u64, String)>) -> io::Result<Verified> {
    let whole = verify(dir, head.map(|(no, _)| *no)).map_err(|e| match e.kind() {
        io::ErrorKind::InvalidData => e,
        _ => io::Error::new(e.kind(), format!("{}: {e}", dir.display())),
    })?;
    match head {
        Some((no, hash)) if whole.asked.as_ref() != Some(hash) => {
            let found = whole.asked.map_or_else(|| "there is no such line".into(), |found| format!("its hash is {found}"));
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("line {no} is not the one that was noted: {found}")))
        }
        _ => Ok(whole),
    }
}
