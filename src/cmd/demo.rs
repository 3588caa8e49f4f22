//! `nearend demo`: the box, a simulated media server that speaks, and a folder as data centre, all on loopback; with real servers of
//! a data centre where they are installed.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use nearend::config::Config;
use nearend::daemon::{self, Listening};
use nearend::finish::{self, verify_folder};
use nearend::msr::{self, Options};
use tokio::sync::oneshot;

use self::servers::Servers;
use super::place::load;

mod servers;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Where everything goes: configuration, data of the box, data centre
    #[arg(long, value_name = "DIR", default_value = "nearend-demo")]
    dir: PathBuf,
    /// Stop when the recording has arrived and verified; else the box goes on until Ctrl-C
    #[arg(long)]
    once: bool,
    /// Deliver to a real S3 server (s3s-fs) and tell a real MQTT broker (mosquitto), where they are installed
    #[arg(long)]
    servers: bool,
    /// How long the simulated call speaks
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

const EXAMPLES: &str = "Examples:
  nearend demo --once
  nearend demo --servers
  nearend demo --dir /tmp/demo --seconds 30";

/// How long the file may take to arrive after the call.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the demo.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    super::log::begin("nearend=warn");
    match demo(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn demo(arguments: &Arguments) -> Result<(), String> {
    let dir = &make_folders(&arguments.dir)?;
    let mut servers = if arguments.servers { Servers::start(dir)? } else { Servers::default() };
    let config = write_config(dir, &servers.config(dir)?)?;
    let (ready, listening) = mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let daemon = std::thread::spawn(move || serve(config, ready, stopped));
    let shown = match listening.recv() {
        Ok(listening) => show(arguments, dir, &listening, &mut servers),
        Err(_) => Ok(()), // the daemon says below why it did not start
    };
    drop(stop);
    daemon.join().map_err(|_| "the daemon panicked".to_owned())?.map_err(|e| e.to_string())?;
    shown
}

/// Places the call and waits for what must come of it.
fn show(arguments: &Arguments, dir: &Path, listening: &Listening, servers: &mut Servers) -> Result<(), String> {
    let sip = listening.sip.first().ok_or("the box listens nowhere")?.address;
    println!("The box listens for SIP at {sip}. Its status page: {}", listening.page());
    if let Some(code) = &listening.first_use {
        println!("The page asks for the code of the first use: {code}");
    }
    println!("A simulated media server places a call of {} seconds, in which two people speak …", arguments.seconds);
    let id = place_call(sip, Duration::from_secs(arguments.seconds))?;
    let folder = arrived(dir, &dir.join("data-centre"), &id)?;
    println!("The recording has arrived, and its checksums are right:");
    println!("  audio:    {}", folder.join("audio.wav").display());
    println!("  metadata: {}", folder.join("recording.json").display());
    if let Some(bucket) = servers.bucket(dir) {
        println!("So it has in the bucket: {}", arrived(dir, &bucket, &id)?.display());
    }
    if let Some(event) = servers.event()? {
        println!("The broker has told its subscribers: {event}");
    }
    if !arguments.once {
        println!(
            "The box goes on. Look at {}, place more calls with `nearend-msr --to sip:{sip}`, end with Ctrl-C.",
            listening.page()
        );
        wait_for_interrupt()?;
    }
    Ok(())
}

/// The folder of the recording below `root`, once everything is there and as it should be.
fn arrived(dir: &Path, root: &Path, id: &str) -> Result<PathBuf, String> {
    let folder = wait_for(root, id)?;
    let key = dir.join("data/spool").join(finish::PUBLIC);
    let key = finish::read_public_key(&key).map_err(|e| e.to_string())?;
    let verification = verify_folder(&folder, Some(&key)).map_err(|e| format!("{}: {e}", folder.display()))?;
    match verification.is_intact() {
        true => Ok(folder),
        false => Err(format!("{}: not as its recording.json says: {verification:?}", folder.display())),
    }
}

fn make_folders(dir: &Path) -> Result<PathBuf, String> {
    let fault = |e: std::io::Error| format!("--dir {}: {e}; name a folder that may be written to", dir.display());
    for name in ["data", "data-centre"] {
        fs::create_dir_all(dir.join(name)).map_err(fault)?;
    }
    dir.canonicalize().map_err(fault)
}

/// An ordinary configuration, kept for the other commands; the ports are whatever is free.
fn write_config(dir: &Path, servers: &str) -> Result<Config, String> {
    let mut text = String::from("# Written by `nearend demo`.\n");
    let quoted = |name: &str| format!("{:?}", dir.join(name).display().to_string());
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "[site]\nname = \"demo\"\ndata_dir = {}\n[sip]\nlisten = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]\n\
         [rtp]\naddress = \"127.0.0.1\"\n[spool]\nfloor_bytes = \"16MiB\"\n[web]\nlisten = \"127.0.0.1:0\"\n\
         [[target]]\nname = \"data-centre\"\nkind = \"dir\"\npath = {}\n{servers}",
        quoted("data"),
        quoted("data-centre"),
    );
    let path = dir.join("nearend.toml");
    fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    load(&path)
}

fn serve(config: Config, ready: mpsc::Sender<Listening>, stopped: oneshot::Receiver<()>) -> Result<(), daemon::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(daemon::Error::Runtime)?;
    let announce = move |listening: &Listening| drop(ready.send(listening.clone()));
    let stop = async { drop(stopped.await) };
    let (_never, reloads) = tokio::sync::mpsc::channel(1);
    runtime.block_on(daemon::run(config, reloads, announce, stop))
}

/// Gives the recording id of the call.
fn place_call(sip: SocketAddr, duration: Duration) -> Result<String, String> {
    let recorder = format!("sip:{sip}").parse().map_err(|e: msr::options::OptionsError| e.to_string())?;
    let options = Options { duration, local: Some(Ipv4Addr::LOCALHOST.into()), ..Options::new(recorder) };
    let summary = msr::run(&options, &mut |_| ControlFlow::Continue(())).map_err(|e| e.to_string())?;
    match &summary.list[..] {
        [call] if summary.calls.completed == 1 => Ok(call.recording_id.clone()),
        _ => Err(format!("the call did not go as it should: {summary:?}")),
    }
}

/// The folder below `data_centre` that is the recording's, once its recording.json is there.
fn wait_for(data_centre: &Path, id: &str) -> Result<PathBuf, String> {
    let step = Duration::from_millis(100);
    for _ in 0..PATIENCE.as_millis() / step.as_millis() {
        if let Some(folder) = find(data_centre, id) {
            return Ok(folder);
        }
        std::thread::sleep(step);
    }
    Err(format!("recording {id} did not arrive in {} within {PATIENCE:?}", data_centre.display()))
}

/// `{tenant}/{date}/{id}` with unknown tenant and date.
fn find(data_centre: &Path, id: &str) -> Option<PathBuf> {
    let below = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let dates = below(data_centre.to_path_buf()).flat_map(below);
    dates.map(|date| date.join(id)).find(|folder| folder.join("recording.json").exists())
}

fn wait_for_interrupt() -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(tokio::signal::ctrl_c()).map_err(|e| e.to_string())
}
