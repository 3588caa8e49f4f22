//! `nearend-panel`: the box's lights and its button. A process of its own, so that whatever a driver does, no recording notices; all
//! that it decides is in [`nearend::panel`].
//!
//! ```text
//! daemon ──► /run/nearend-panel/socket ──► lights
//! button ──► a file in /run/nearend-panel/wishes, which systemd acts upon; tones are asked of nearend-tone
//! ```

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use nearend::clock::Now;
use nearend::panel::board::Board;
use nearend::panel::driver::{self, Ear, Lamps};
use nearend::panel::{Panel, SOCKET, Wish};
use nearend::tones::protocol::{self, Play, Request, State, Status};

/// Drives the lights and reads the button of a box.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    /// The board's file
    #[arg(long, value_name = "FILE", default_value = "/usr/share/nearend/board.toml")]
    board: PathBuf,
    /// Where the daemon speaks to it
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
    /// Where wishes are written, and where a simulated panel has its files
    #[arg(long, value_name = "DIR", default_value = "/run/nearend-panel")]
    folder: PathBuf,
}

const EXAMPLES: &str = "Examples:
  nearend-panel --board board/virt.toml --folder /tmp/panel --socket /tmp/panel/socket
  touch /tmp/panel/button; sleep 1; rm /tmp/panel/button      # a short press of the simulated button";

/// How often the button is looked at: a contact bounces for longer.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long the loudspeaker may take to answer.
const TONE_WAIT: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("nearend-panel: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<std::convert::Infallible> {
    let named = |e: io::Error, path: &Path| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    let text = fs::read_to_string(&arguments.board).map_err(|e| named(e, &arguments.board))?;
    let board: Board = toml::from_str(&text).map_err(|e| io::Error::other(format!("{}: {e}", arguments.board.display())))?;
    let mut lamps = Lamps::new(driver::open(&board.panel, &arguments.folder)?);
    let ear = Ear::listen(&arguments.socket).map_err(|e| named(e, &arguments.socket))?;
    println!("nearend-panel: {} with {} lights", board.name, board.panel.lights.len());
    let (mut panel, begin) = (Panel::default(), Now::read().mono);
    loop {
        let now = Now::read().mono;
        if let Some(word) = ear.hear() {
            panel.hear(now, word);
        }
        if let Some(wish) = panel.level(now, lamps.is_down()?) {
            println!("nearend-panel: {wish:?}");
            if let Err(error) = fulfil(wish, &arguments.folder) {
                eprintln!("nearend-panel: {wish:?}: {error}");
            }
        }
        lamps.show(panel.lights(now), now.since(begin))?;
        thread::sleep(LOOK_EVERY);
    }
}

fn fulfil(wish: Wish, folder: &Path) -> io::Result<()> {
    let wished = |name: &str| {
        let wishes = folder.join("wishes");
        fs::create_dir_all(&wishes).and_then(|()| fs::write(wishes.join(name), ""))
    };
    match wish {
        Wish::SayStatus(faults) => say(faults),
        Wish::TestCall => wished("test-call"),
        Wish::FactoryReset => wished("factory-reset"),
    }
}

/// A tone of a second when all is well, short ones otherwise. A consent tone is never interrupted.
fn say(faults: u8) -> io::Result<()> {
    if ask(&Request::Status {})?.state != State::Stopped {
        return Err(io::Error::other("the loudspeaker plays a consent tone, which goes before"));
    }
    let (on_ms, tones) = if faults == 0 { (1_000, 1) } else { (200, u32::from(faults)) };
    let play = Play { device: None, frequency_hz: 880, on_ms, off_ms: 300, level_dbm0: -20.0, tones: Some(tones), hear: None };
    ask(&Request::Play(play)).map(drop)
}

fn ask(request: &Request) -> io::Result<Status> {
    let stream = UnixStream::connect(protocol::SOCKET)?;
    stream.set_read_timeout(Some(TONE_WAIT))?;
    stream.set_write_timeout(Some(TONE_WAIT))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    (&stream).write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(io::Read::take(&stream, protocol::MOST_ANSWER_BYTES)).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}
