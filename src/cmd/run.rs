//! `nearend run`: the daemon.

use std::path::Path;
use std::process::ExitCode;

use nearend::config;
use nearend::daemon::{self, Listening};
use tokio::signal::unix::{SignalKind, signal};

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
    match serve(loaded.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(config: config::Config) -> Result<(), daemon::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(daemon::Error::Runtime)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(daemon::Error::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(daemon::Error::Runtime)?;
        let stop = async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        };
        daemon::run(config, announce, stop).await
    })
}

fn announce(listening: &Listening) {
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]); // without systemd there is nobody to tell
    let sip: Vec<String> = listening.sip.iter().map(ToString::to_string).collect();
    tracing::info!(sip = %sip.join(" "), web = %format_args!("http://{}/", listening.web), "ready");
}
