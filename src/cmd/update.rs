//! `nearend update`: fetches, installs and starts a new system for the box.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Args;
use nearend::clock::Now;
use nearend::config::{self, Config};
use nearend::update::{self, Waiting, driver};

#[derive(Args)]
pub(crate) struct Arguments {
    /// The bundle: http://…, https://…, or a file
    #[arg(value_name = "BUNDLE")]
    bundle: String,
    /// Start the new system at this time of day at the earliest, UTC
    #[arg(long, value_name = "HH:MM")]
    at: Option<String>,
    /// Install only; the new system runs after the next start
    #[arg(long, conflicts_with = "at")]
    no_start: bool,
    /// The configuration file, which says at which ports audio arrives
    #[arg(long, value_name = "FILE", default_value = "/etc/nearend/nearend.toml")]
    config: PathBuf,
    /// Where a download and what is known of slots are kept
    #[arg(long, value_name = "DIR", default_value = "/data/rauc")]
    state: PathBuf,
}

/// How often it is looked whether calls are up.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Exit code 0 when the new system is installed (and being started), 1 when not.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match update(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nearend: update: {error}");
            ExitCode::FAILURE
        }
    }
}

fn update(arguments: &Arguments) -> io::Result<()> {
    let at = arguments.at.as_deref().map(|at| update::next(Now::read().wall, at)).transpose().map_err(io::Error::other)?;
    let ports = configuration(&arguments.config)?.rtp.ports.0;
    let is_remote = ["http://", "https://"].iter().any(|scheme| arguments.bundle.starts_with(scheme));
    let bundle = if is_remote {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(driver::fetch(&arguments.bundle, &arguments.state.join("download")))?
    } else {
        PathBuf::from(&arguments.bundle)
    };
    let installed = driver::install(&bundle, &arguments.state);
    if is_remote {
        // Also one that RAUC refuses: gone on with, it would be refused for ever.
        std::fs::remove_dir_all(arguments.state.join("download"))?;
    }
    let slot = installed?;
    println!("installed in slot {slot}");
    if arguments.no_start {
        return Ok(());
    }
    let mut waiting = Waiting::new(at);
    println!("it is started when no call is up");
    loop {
        let now = Now::read();
        if waiting.look(now.mono, now.wall, driver::sockets(ports.clone())?) {
            println!("starting slot {slot}");
            return driver::start_anew();
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn configuration(path: &Path) -> io::Result<Config> {
    let loaded = config::load(path).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        io::Error::other(errors.join("\n"))
    })?;
    Ok(loaded.config)
}
