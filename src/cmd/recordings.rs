//! `nearend recordings`: what is on the box. Reads segments and finished files and changes neither, so it works beside a running
//! daemon and on a data directory copied from a dead box.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use nearend::daemon;
use nearend::finish::{self, BoxFacts, Finisher, Making, verify_folder};
use nearend::model::recording::SetAside;
use nearend::model::tone::ToneProof;
use nearend::model::{Recording, RecordingId, Stage, TenantId};
use nearend::spool::Reader;
use nearend::spool::driver::open_offline;
use nearend::tones::proof::Policy;

use super::place::{Place, load};
use super::verify;

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
    /// List all recordings, newest first
    Ls {
        /// Only those that a target will not take, and why
        #[arg(long)]
        set_aside: bool,
    },
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
    /// Recompute the checksums of finished files and check the box's signature; exit 1 when one is not as it should be
    Verify(verify::Arguments),
}

const EXAMPLES: &str = "Examples:
  nearend recordings ls
  nearend recordings ls --set-aside
  nearend recordings show 01ABCDEFGHIJKLMNOPQRSTUV00000001_2026-03-02_14-05-59
  nearend recordings --data-dir /mnt/dead-box/var/lib/nearend export ID --out rescued
  nearend recordings verify --json
In the data centre, with the box's identity.pub:
  nearend recordings verify --folder /archive/101/2026-03-02 --box-key branch-17.pub";

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    super::log::begin("nearend=warn");
    match carry_out(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, message)) => {
            eprintln!("{message}");
            ExitCode::from(code)
        }
    }
}

/// Exit code and what to say.
struct Failure(u8, String);

fn carry_out(arguments: &Arguments) -> Result<(), Failure> {
    if let Command::Verify(verify) = &arguments.command
        && !verify.folders.is_empty()
    {
        return verify.folders(arguments.place.json).map_err(|message| Failure(1, message));
    }
    let store =
        Store::open(&arguments.place.config, arguments.place.data_dir.as_deref()).map_err(|message| Failure(2, message))?;
    let done = match &arguments.command {
        Command::Ls { set_aside } => store.list(*set_aside, arguments.place.json),
        Command::Show { id } => store.find(id).and_then(|recording| store.show(&recording)),
        Command::Export { id, out } => store.find(id).and_then(|recording| store.export(recording, out)),
        Command::Verify(verify) => store.verify(verify, arguments.place.json),
    };
    done.map_err(|message| Failure(1, message))
}

/// Where the recordings are.
pub(super) struct Store {
    pub(super) reader: Reader,
    /// Where segments and keys are.
    spool: PathBuf,
    pub(super) finished_dir: PathBuf,
    facts: BoxFacts,
    tenants: BTreeMap<TenantId, Making>,
    /// By the configuration; none without one.
    pub(super) tones: Option<Policy>,
}

impl Store {
    /// Of a configuration, or of a data directory alone.
    pub(super) fn open(config: &Path, data_dir: Option<&Path>) -> Result<Store, String> {
        let (spool, data_dir, facts, tenants, tones) = match data_dir {
            Some(dir) => (dir.join("spool"), dir.to_path_buf(), BoxFacts::default(), BTreeMap::new(), None),
            None => {
                let config = load(config)?;
                let tones = daemon::tone_policy(&config);
                let facts = BoxFacts { site: config.site.name, geo_location: config.site.geo_location, ..BoxFacts::default() };
                let tenants = config.tenants.iter().map(|tenant| (tenant.id.clone(), daemon::making(tenant))).collect();
                (config.spool.path, config.site.data_dir, facts, tenants, Some(tones))
            }
        };
        let (reader, report) = open_offline(&spool).map_err(|e| e.to_string())?;
        tracing::debug!("read {}: {report}", spool.display());
        Ok(Store { reader, spool, finished_dir: data_dir.join("finished"), facts, tenants, tones })
    }

    fn all(&self) -> Result<Vec<Recording>, String> {
        self.reader.recordings().collect::<io::Result<_>>().map_err(|e| e.to_string())
    }

    pub(super) fn find(&self, id: &str) -> Result<Recording, String> {
        let found = self.reader.find(&RecordingId(id.into())).map_err(|e| e.to_string())?;
        found.ok_or_else(|| format!("no recording {id} here; `nearend recordings ls` lists those there are"))
    }

    fn list(&self, set_aside: bool, json: bool) -> Result<(), String> {
        let mut recordings = self.all()?;
        if set_aside {
            recordings.retain(|recording| recording.stage == Stage::Finished && !recording.set_aside.is_empty());
        }
        if json {
            return print_json(&recordings);
        }
        println!("{:<24}  {:>8}  {:<9}  {:<17}  ID", "BEGAN", "SECONDS", "TENANT", "STATE");
        for recording in recordings {
            let seconds = recording.ended.map_or_else(|| "-".into(), |end| ((end - recording.started) / 1_000_000).to_string());
            let sealed = if is_sealed(&recording) { " sealed" } else { "" };
            let aside = if recording.set_aside.is_empty() { "" } else { " aside" };
            let state = format!("{:?}{sealed}{aside}", recording.stage).to_lowercase();
            println!(
                "{:<24}  {seconds:>8}  {:<9}  {state:<17}  {}",
                recording.started.to_string(),
                recording.tenant.0,
                recording.id
            );
            for SetAside { target, time, why } in recording.set_aside.iter().filter(|_| set_aside) {
                println!("  {target}, since {time}: {why}");
            }
        }
        Ok(())
    }

    fn show(&self, recording: &Recording) -> Result<(), String> {
        print_json(recording)?;
        say_if_sealed(recording);
        Ok(())
    }

    fn export(&self, recording: Recording, out: &Path) -> Result<(), String> {
        let folder = out.join(recording.path());
        let exported = match recording.stage {
            Stage::Released => {
                return Err(format!(
                    "{}: delivered, and its copy on the box was released; it is in the data centre as {}",
                    recording.id,
                    recording.path()
                ));
            }
            Stage::Finished | Stage::Delivered => {
                copy(&self.finished_dir.join(recording.path()), &folder)?;
                recording
            }
            Stage::Recording | Stage::Ended => self.finish(recording, out)?,
        };
        let checked = verify_folder(&folder, None).map_err(|e| format!("{}: {e}", folder.display()))?;
        println!("{}", folder.display());
        say_if_sealed(&exported);
        verify::intact(&[checked])
    }

    /// Does in `out` what the box has not come to do: by the configuration, if one is given, sealed as it says; from a copied data
    /// directory, in the clear.
    fn finish(&self, mut recording: Recording, out: &Path) -> Result<Recording, String> {
        std::fs::create_dir_all(out).map_err(|e| format!("{}: {e}", out.display()))?;
        recording.stage = Stage::Ended;
        let (news, mut events) = tokio::sync::mpsc::channel(1);
        let identity = finish::find_identity(&self.spool).map_err(|e| format!("{}: {e}", self.spool.display()))?;
        let (facts, tenants, tones) = (self.facts.clone(), self.tenants.clone(), self.tones);
        let tones = tones.map(|policy| Arc::new(policy) as Arc<dyn ToneProof>);
        let config = finish::Config { finished_dir: out.to_path_buf(), facts, tenants, tones, identity: identity.map(Arc::new) };
        let finisher = Finisher::start(config, Box::new(self.reader.clone()), news).map_err(|e| e.to_string())?;
        finisher.submit(recording);
        let event = events.blocking_recv();
        events.close();
        finisher.stop();
        match event {
            Some(finish::Event::Finished(finished)) => Ok(*finished),
            Some(finish::Event::Failed { error, .. }) => Err(error.to_string()),
            None => Err("the finisher ended without a result".into()),
        }
    }

    fn verify(&self, arguments: &verify::Arguments, json: bool) -> Result<(), String> {
        let mut recordings = match &arguments.id {
            Some(id) => vec![self.find(id)?],
            None => self.all()?,
        };
        recordings.retain(|recording| matches!(recording.stage, Stage::Finished | Stage::Delivered));
        let folders = recordings.iter().map(|recording| self.finished_dir.join(recording.path()));
        verify::all(folders, arguments.key(Some(&self.spool))?.as_ref(), json)
    }
}

pub(super) fn is_sealed(recording: &Recording) -> bool {
    recording.files.iter().any(|file| file.name.ends_with(finish::SEALED_SUFFIX))
}

/// To standard error, so that a program that reads the output is not disturbed.
fn say_if_sealed(recording: &Recording) {
    if is_sealed(recording) {
        let names: Vec<&str> =
            recording.files.iter().map(|file| &*file.name).filter(|n| n.ends_with(finish::SEALED_SUFFIX)).collect();
        eprintln!(
            "{} sealed to the tenant's recipients: this box cannot open it any more. Where a recipient's secret key is: age -d -i KEY {}",
            if names.len() == 1 { "The file is" } else { "The files are" },
            names.join(" | ")
        );
    }
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

pub(super) fn print_json(value: &impl serde::Serialize) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(|e| e.to_string())?;
    println!("{text}");
    Ok(())
}
