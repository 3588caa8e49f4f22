//! What a packet costs: the box beside two bare sinks and rtpengine, in one run, with the same packets from the same sender.
//! docs/performance.md explains what is compared and why.
//!
//! ```text
//! plan ──► trial, one at a time, round-robin ──► report: medians over the rounds, as table or JSON
//!            │  sender: nearend-msr, one core
//!            └► contestant, the other core: sink | box | rtpengine, each a process of its own
//! ```
//!
//! | file | responsible for |
//! |---|---|
//! | `plan` | the command line |
//! | `trial` | one contestant under load: started, measured, ended |
//! | `contestant` | what all contestants have in common |
//! | `sinks` | the two that throw everything away; they run in this program, started once more |
//! | `recorder` | the box |
//! | `rtpengine`, `bencode` | rtpengine and the language of its control port |
//! | `front` | SIP for those that speak none |
//! | `process` | a child on a core of its own, and what the kernel knows of it |
//! | `report` | medians, table, JSON |

mod bencode;
mod contestant;
mod front;
mod plan;
mod process;
mod recorder;
mod report;
mod rtpengine;
mod sinks;
mod trial;

use std::process::ExitCode;

use clap::Parser;

use plan::{Arguments, Plan};

/// What may go wrong is said to a person and ends the run.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.sink {
        Some(sink) => sinks::run(sink, &arguments),
        None => compare(&arguments.plan),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// All rounds at all sizes, and the report.
fn compare(plan: &Plan) -> Result<()> {
    process::raise_file_limit()?;
    let _before_others = process::Precedence::take();
    let mut report = report::Report::new();
    for streams in plan.streams.iter().copied() {
        for round in 1..=plan.rounds {
            for contestant in contestant::ALL {
                eprintln!("bench: {streams} streams, round {round} of {}: {}", plan.rounds, contestant.name());
                match trial::run(contestant, streams, plan) {
                    Ok(measured) => report.add(streams, contestant, measured),
                    Err(error) if contestant.is_optional() => report.note(format!("{}: {error}", contestant.name())),
                    Err(error) => return Err(format!("{} at {streams} streams: {error}", contestant.name()).into()),
                }
            }
        }
    }
    if plan.json { report.print_json() } else { report.print_table() }
}
