//! `nearend run`: the daemon.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nearend::config;
use nearend::daemon::{self, Listening};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(path: &Path) -> ExitCode {
    super::log::begin("nearend=info");
    let loaded = match config::load(path) {
        Ok(loaded) => loaded,
        Err(faults) => {
            faults.iter().for_each(|fault| tracing::error!("{fault}"));
            return ExitCode::from(2);
        }
    };
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    match serve(path, loaded.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(path: &Path, config: config::Config) -> Result<(), daemon::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(daemon::Error::Runtime)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(daemon::Error::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(daemon::Error::Runtime)?;
        let stop = async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        };
        let hangup = signal(SignalKind::hangup()).map_err(daemon::Error::Runtime)?;
        let (loaded, reloads) = mpsc::channel(1);
        tokio::spawn(reload(path.to_path_buf(), hangup, loaded));
        daemon::run(config, reloads, announce, stop).await
    })
}

/// Reads the file anew at every SIGHUP. One with an error is refused as a whole: what is in force stays in force.
async fn reload(path: PathBuf, mut hangup: Signal, reloads: mpsc::Sender<config::Loaded>) {
    while hangup.recv().await.is_some() {
        match config::load(&path) {
            Ok(loaded) => drop(reloads.send(loaded).await), // fails only when the daemon stops
            Err(faults) => {
                faults.iter().for_each(|fault| tracing::error!("{fault}"));
                tracing::error!("not reloaded: {} has errors; what was in force stays in force", path.display());
            }
        }
    }
}

fn announce(listening: &Listening) {
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]); // without systemd there is nobody to tell
    let sip: Vec<String> = listening.sip.iter().map(ToString::to_string).collect();
    tracing::info!(sip = %sip.join(" "), web = %listening.page(), "ready");
    if let Some(code) = &listening.first_use {
        tracing::warn!(
            "nobody may use the page yet: open {} and make the first administrator with the code {code}",
            listening.page()
        );
    }
}
