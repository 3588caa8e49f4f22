//! `nearend tone play`: lets the sidecar play a tone on the box's loudspeaker, and shows what it really did.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use nearend::tones::presets::Preset;
use nearend::tones::protocol::{self, Request, SOCKET, State, Status};
use nearend::tones::synth;

#[derive(Args)]
pub(super) struct Arguments {
    /// The tone of a country
    #[arg(long, value_parser = super::preset)]
    preset: Preset,
    /// How many tones; without it until Ctrl-C
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    tones: Option<u32>,
    /// ALSA device; without it the one that the sidecar was started with
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Level of the tone
    #[arg(long, value_name = "DBM0", default_value_t = synth::USUAL_LEVEL_DBM0, allow_negative_numbers = true, value_parser = super::level)]
    level: f64,
    /// The socket of the sidecar
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
}

const LOOK_EVERY: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(10);

impl Arguments {
    /// Plays until it is over, or somebody presses Ctrl-C.
    pub(super) fn run(&self, json: bool) -> Result<(), String> {
        let mut sidecar = Sidecar::connect(&self.socket)?;
        let mut status = sidecar.ask(&Request::Play(protocol::Play {
            device: self.device.clone(),
            frequency_hz: self.preset.frequency_hz,
            on_ms: self.preset.on_ms,
            off_ms: self.preset.off_ms,
            level_dbm0: self.level,
            tones: self.tones,
            hear: None,
        }))?;
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        on_interrupt(stop)?;
        let mut shown = 0;
        while matches!(status.state, State::Playing | State::Paused) {
            if stopped.recv_timeout(LOOK_EVERY).is_ok() {
                status = sidecar.ask(&Request::Stop {})?;
                break;
            }
            status = sidecar.ask(&Request::Status {})?;
            if !json && status.tones > shown {
                shown = status.tones;
                println!("tone {shown} on {} at {} Hz, {} underruns", status.device, status.rate_hz, status.underruns);
            }
        }
        let is_lost = matches!(status.state, State::NoDevice | State::DeviceBusy);
        if is_lost {
            sidecar.ask(&Request::Stop {})?; // the sidecar would try for ever
        }
        if json {
            super::print_json(&status)?;
        }
        match status.error.filter(|_| is_lost) {
            Some(error) => Err(format!("{error}; `aplay -L` lists the devices there are")),
            None => Ok(()),
        }
    }
}

struct Sidecar(BufReader<UnixStream>);

impl Sidecar {
    fn connect(socket: &std::path::Path) -> Result<Sidecar, String> {
        let fault = |e| format!("{}: {e}; is nearend-tone running? `systemctl status nearend-tone`", socket.display());
        let stream = UnixStream::connect(socket).map_err(fault)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(fault)?;
        Ok(Sidecar(BufReader::new(stream)))
    }

    fn ask(&mut self, request: &Request) -> Result<Status, String> {
        let fault = |e: &dyn std::fmt::Display| format!("nearend-tone does not answer: {e}");
        let line = serde_json::to_string(request).map_err(|e| fault(&e))? + "\n";
        self.0.get_mut().write_all(line.as_bytes()).map_err(|e| fault(&e))?;
        let mut answer = String::new();
        self.0.read_line(&mut answer).map_err(|e| fault(&e))?;
        serde_json::from_str(&answer).map_err(|e| fault(&e))
    }
}

/// Ctrl-C ends the tone, not only this program.
fn on_interrupt(stop: std::sync::mpsc::Sender<()>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    std::thread::spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            let _ = stop.send(()); // it was over anyway
        }
    });
    Ok(())
}
