//! `nearend recordings`: what is on the box. Reads segments and finished files and changes neither, so it works beside a running
//! daemon and on a data directory copied from a dead box.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use nearend::config;
use nearend::finish::{self, BoxFacts, Finisher, Verification, verify_folder};
use nearend::model::{Recording, RecordingId, Stage};
use nearend::spool::Reader;
use nearend::spool::driver::open_offline;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The configuration that says where the data is
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/nearend/nearend.toml", conflicts_with = "data_dir")]
    config: PathBuf,
    /// A data directory, such as one copied from a dead box, instead of the configured one
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// For programs
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// List all recordings, newest first
    Ls,
    /// Show all that is known of one
    Show {
        /// Its recording id
        id: String,
    },
    /// Write its files to a folder; one that was never finished is finished there
    Export {
        /// Its recording id
        id: String,
        /// The folder; the recording goes to TENANT/DATE/ID below it
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
    /// Recompute the checksums of finished files; exit 1 when one is not as it should be
    Verify {
        /// Only this recording
        id: Option<String>,
    },
}

const EXAMPLES: &str = "Examples:
  nearend recordings ls
  nearend recordings show 01ABCDEFGHIJKLMNOPQRSTUV00000001_2026-03-02_14-05-59
  nearend recordings --data-dir /mnt/dead-box/var/lib/nearend export ID --out rescued
  nearend recordings verify --json";

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    super::log::begin("nearend=warn");
    let store = match Store::open(arguments) {
        Ok(store) => store,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let done = match &arguments.command {
        Command::Ls => store.list(arguments.json),
        Command::Show { id } => store.find(id).and_then(|recording| print_json(&recording)),
        Command::Export { id, out } => store.find(id).and_then(|recording| store.export(recording, out)),
        Command::Verify { id } => store.verify(id.as_deref(), arguments.json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Where the recordings are.
struct Store {
    reader: Reader,
    finished_dir: PathBuf,
    facts: BoxFacts,
}

impl Store {
    fn open(arguments: &Arguments) -> Result<Store, String> {
        let (spool, data_dir, facts) = match &arguments.data_dir {
            Some(dir) => (dir.join("spool"), dir.clone(), BoxFacts::default()),
            None => {
                let faults = |faults: Vec<config::Diagnostic>| faults.iter().map(|f| format!("{f}\n")).collect::<String>();
                let config = config::load(&arguments.config).map_err(faults)?.config;
                let facts = BoxFacts { site: config.site.name, geo_location: config.site.geo_location, ..BoxFacts::default() };
                (config.spool.path, config.site.data_dir, facts)
            }
        };
        let (reader, report) = open_offline(&spool).map_err(|e| e.to_string())?;
        tracing::debug!("read {}: {report}", spool.display());
        Ok(Store { reader, finished_dir: data_dir.join("finished"), facts })
    }

    fn all(&self) -> Result<Vec<Recording>, String> {
        self.reader.recordings().collect::<io::Result<_>>().map_err(|e| e.to_string())
    }

    fn find(&self, id: &str) -> Result<Recording, String> {
        let found = self.reader.find(&RecordingId(id.into())).map_err(|e| e.to_string())?;
        found.ok_or_else(|| format!("no recording {id} here; `nearend recordings ls` lists those there are"))
    }

    fn list(&self, json: bool) -> Result<(), String> {
        let recordings = self.all()?;
        if json {
            return print_json(&recordings);
        }
        println!("{:<24}  {:>8}  {:<9}  {:<9}  ID", "BEGAN", "SECONDS", "TENANT", "STATE");
        for recording in recordings {
            let seconds = recording.ended.map_or_else(|| "-".into(), |end| ((end - recording.started) / 1_000_000).to_string());
            let state = format!("{:?}", recording.stage).to_lowercase();
            println!(
                "{:<24}  {seconds:>8}  {:<9}  {state:<9}  {}",
                recording.started.to_string(),
                recording.tenant.0,
                recording.id
            );
        }
        Ok(())
    }

    fn export(&self, recording: Recording, out: &Path) -> Result<(), String> {
        let folder = out.join(recording.path());
        if recording.stage >= Stage::Finished {
            copy(&self.finished_dir.join(recording.path()), &folder)?;
        } else {
            self.finish(recording, out)?;
        }
        let checked = verify_folder(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        println!("{}", folder.display());
        intact(&[checked])
    }

    /// Does in `out` what the dead box had not come to do.
    fn finish(&self, mut recording: Recording, out: &Path) -> Result<(), String> {
        std::fs::create_dir_all(out).map_err(|e| format!("{}: {e}", out.display()))?;
        recording.stage = Stage::Ended;
        let (news, mut events) = tokio::sync::mpsc::channel(1);
        let config = finish::Config { finished_dir: out.to_path_buf(), facts: self.facts.clone() };
        let finisher = Finisher::start(config, Box::new(self.reader.clone()), news).map_err(|e| e.to_string())?;
        finisher.submit(recording);
        let event = events.blocking_recv();
        events.close();
        finisher.stop();
        match event {
            Some(finish::Event::Finished(_)) => Ok(()),
            Some(finish::Event::Failed { error, .. }) => Err(error.to_string()),
            None => Err("the finisher ended without a result".into()),
        }
    }

    fn verify(&self, id: Option<&str>, json: bool) -> Result<(), String> {
        let mut recordings = id.map_or_else(|| self.all(), |id| self.find(id).map(|recording| vec![recording]))?;
        recordings.retain(|recording| matches!(recording.stage, Stage::Finished | Stage::Delivered));
        let verify = |recording: &Recording| {
            let folder = self.finished_dir.join(recording.path());
            verify_folder(&folder).map_err(|e| format!("{}: {e}", folder.display()))
        };
        let checked: Vec<Verification> = recordings.iter().map(verify).collect::<Result<_, _>>()?;
        if json {
            print_json(&checked)?;
        } else {
            for verification in &checked {
                let verdict = if verification.is_intact() { "intact" } else { "DAMAGED" };
                println!("{verdict}  {}", verification.id);
            }
        }
        intact(&checked)
    }
}

fn intact(checked: &[Verification]) -> Result<(), String> {
    let damaged: Vec<&str> = checked.iter().filter(|v| !v.is_intact()).map(|v| v.id.as_str()).collect();
    if damaged.is_empty() { Ok(()) } else { Err(format!("not as recording.json says: {}", damaged.join(", "))) }
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let fault = |path: &Path| {
        let path = path.to_path_buf();
        move |e: io::Error| format!("{}: {e}", path.display())
    };
    std::fs::create_dir_all(to).map_err(fault(to))?;
    for entry in std::fs::read_dir(from).map_err(fault(from))? {
        let entry = entry.map_err(fault(from))?;
        std::fs::copy(entry.path(), to.join(entry.file_name())).map_err(fault(&entry.path()))?;
    }
    Ok(())
}

fn print_json(value: &impl serde::Serialize) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(|e| e.to_string())?;
    println!("{text}");
    Ok(())
}
