//! `nearend reconcile`: the box's recordings against a switch's own list of calls, and in the data centre the copies of two boxes against
//! each other. Reads only, also beside a running daemon.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use nearend::assurance::calls_csv::{self, Row};
use nearend::assurance::{Call, Finding, Heard, Kind, Tolerance, reconcile};
use nearend::model::RecordingId;
use nearend::spool::driver::open_offline;
use serde_json::{Value, json};

use super::place::load;

mod copies;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The calls: CSV with a header line and the columns start, end, and call_uuid or dn
    #[arg(long, value_name = "CSV", required_unless_present = "copies", conflicts_with = "copies")]
    calls: Option<PathBuf>,
    /// A folder of the data centre: of every recording below it of which two boxes have made copies, say which is the better one and why
    #[arg(long, value_name = "DIR")]
    copies: Option<PathBuf>,
    /// The configuration that says where the recordings are
    #[arg(long, value_name = "FILE", default_value = "/etc/nearend/nearend.toml", conflicts_with = "data_dir")]
    config: PathBuf,
    /// A data directory, such as one copied from a dead box, instead of the configured one
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How many seconds may be missing at the begin and at the end of a call
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=3_600))]
    tolerance: u32,
    /// For programs
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  nearend reconcile --calls calls.csv
  nearend reconcile --calls calls.csv --data-dir /mnt/dead-box/var/lib/nearend --json
  nearend reconcile --copies /archive/101/2026-03-02

Exit code 0 when every call was recorded as it should be, 1 when not, 2 when something cannot be read.";

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    super::log::begin("nearend=warn");
    match (&arguments.copies, &arguments.calls) {
        (Some(folder), _) => copies::run(folder, arguments.json),
        (None, Some(csv)) => calls(csv, arguments),
        (None, None) => ExitCode::from(2), // not reached: one of them is required
    }
}

fn calls(csv: &Path, arguments: &Arguments) -> ExitCode {
    let (rows, heard) = match read(csv, arguments) {
        Ok(read) => read,
        Err(message) => {
            eprintln!("{}", message.trim_end());
            return ExitCode::from(2);
        }
    };
    let calls: Vec<Call> = rows.iter().map(|row| row.call.clone()).collect();
    let checked = reconcile(&calls, &heard, Tolerance { us: i64::from(arguments.tolerance) * 1_000_000 });
    let results: Vec<Checked> = rows.iter().zip(&checked).map(|(row, (ids, findings))| Checked { row, ids, findings }).collect();
    match arguments.json {
        true => println!("{:#}", as_json(&results)),
        false => print!("{}", in_words(&results)),
    }
    if results.iter().all(|one| one.findings.is_empty()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A row of the file, the recordings of it, what is wrong.
struct Checked<'a> {
    row: &'a Row,
    ids: &'a [RecordingId],
    findings: &'a [Finding],
}

fn read(csv: &Path, arguments: &Arguments) -> Result<(Vec<Row>, Vec<Heard>), String> {
    let shown = csv.display();
    let text = std::fs::read_to_string(csv).map_err(|error| format!("{shown}: {error}"))?;
    let rows = calls_csv::parse(&text).map_err(|why| format!("{shown}: {why}"))?;
    let spool = match &arguments.data_dir {
        Some(dir) => dir.join("spool"),
        None => load(&arguments.config)?.spool.path,
    };
    let (reader, _) = open_offline(&spool).map_err(|error| error.to_string())?;
    let heard: io::Result<Vec<Heard>> = reader.recordings().map(|recording| recording.map(|r| Heard::of(&r))).collect();
    Ok((rows, heard.map_err(|error| error.to_string())?))
}

fn counts(results: &[Checked<'_>]) -> Vec<(Kind, usize)> {
    let count = |kind: Kind| results.iter().flat_map(|one| one.findings).filter(|finding| finding.kind == kind).count();
    Kind::ALL.into_iter().map(|kind| (kind, count(kind))).collect()
}

fn as_json(results: &[Checked<'_>]) -> Value {
    let wrong = results.iter().filter(|one| !one.findings.is_empty());
    let entry = |one: &Checked<'_>| {
        let call = &one.row.call;
        json!({
            "line": one.row.line, "callUuid": call.call_uuid, "dn": call.dn, "start": call.started.to_string(),
            "end": call.ended.to_string(), "recordings": one.ids, "findings": one.findings,
        })
    };
    let counts: serde_json::Map<String, Value> =
        counts(results).into_iter().map(|(k, n)| (k.name().to_owned(), n.into())).collect();
    let good = results.iter().filter(|one| one.findings.is_empty()).count();
    json!({ "calls": results.len(), "good": good, "counts": counts, "wrong": wrong.map(entry).collect::<Vec<_>>() })
}

fn in_words(results: &[Checked<'_>]) -> String {
    let mut text = String::new();
    for one in results.iter().filter(|one| !one.findings.is_empty()) {
        let call = &one.row.call;
        let name = call.call_uuid.as_ref().map_or_else(|| call.dn.clone().unwrap_or_default(), ToString::to_string);
        for finding in one.findings {
            text +=
                &format!("line {:<5} {:<10} {name}  {}: {}\n", one.row.line, finding.kind.name(), call.started, finding.detail);
        }
    }
    let good = results.iter().filter(|one| one.findings.is_empty()).count();
    let wrong: Vec<String> =
        counts(results).into_iter().filter(|(_, n)| *n > 0).map(|(kind, n)| format!("{} {n}", kind.name())).collect();
    let wrong = if wrong.is_empty() { String::new() } else { format!("; {}", wrong.join(", ")) };
    text + &format!("{} calls, {good} recorded as they should be{wrong}\n", results.len())
}
