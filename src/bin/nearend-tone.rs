//! The ALSA sidecar: plays consent tones on the box's loudspeaker, and nothing else. A process of its own, so that whatever a sound
//! driver does, no recording notices; the only file that names `alsa`.
//!
//! ```text
//! socket ──► main: opens devices, makes tones ──► ring of 8 ──► play: writes frames, allocates nothing
//!        ◄── answers                          ◄── ring of 256 ◄── what really happened
//! ```
//!
//! Spoken on the socket: `nearend::tones::protocol`, described in docs/tones.md.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use alsa::pcm::{Access, Format, HwParams, PCM};
use alsa::{Direction, ValueOr};
use clap::Parser;
use heapless::spsc::{Consumer, Producer, Queue};
use nearend::clock::Now;
use nearend::model::MonoTime;
use nearend::tones::bench::said;
use nearend::tones::plan::{Plan, Situation};
use nearend::tones::player::Player;
use nearend::tones::protocol::{LAST_TONES, MOST_LINE_BYTES, Play, Request, SOCKET, State, Status, ToneTime};
use nearend::tones::resample::Resampler;
use nearend::tones::synth;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::mman::{MlockAllFlags, mlockall};

/// Plays consent tones on an ALSA device, as told on a socket.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    /// The socket to listen on
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
    /// The ALSA device that is used when a request names none
    #[arg(long, value_name = "NAME", default_value = "default")]
    device: String,
}

const EXAMPLES: &str = "Examples:
  nearend-tone --device hw:1
  echo '{\"cmd\":\"status\"}' | socat - UNIX-CONNECT:/run/nearend-tone/socket";

/// Frames handed over at a time: 20 ms at 48 kHz.
const PERIOD: usize = 960;
const MOST_CHANNELS: usize = 2;
const PERIOD_US: u32 = 20_000;
const BUFFER_US: u32 = 500_000;
const TONE_RATE_HZ: u32 = 8_000;
const MOST_CLIENTS: usize = 16;

/// How often main looks at what the thread `play` reports.
const LOOK_EVERY_MS: u16 = 50;
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// main → play. The voice comes back when it is over, so that main frees it.
enum Order {
    Start(Box<Voice>),
    Pause,
    Resume,
    Stop,
}

/// play → main.
enum Report {
    Frames(u64),
    Tone(ToneTime),
    Underrun,
    Over(Box<Voice>),
    /// The device failed, with this errno.
    Lost(Box<Voice>, i32),
}

/// An open device and what is played on it.
struct Voice {
    pcm: PCM,
    player: Player,
    channels: usize,
    rate_hz: u32,
    written: u64,
}

// Both rings are fixed: what does not fit is not said. Orders come from a person, and the thread takes them every 20 ms.
type Orders = Queue<Order, 8>;
type Reports = Queue<Report, 256>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let is_locked = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE).is_ok();
    let listener = match listen(&arguments.socket) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("nearend-tone: {}: {error}; name a path where a socket may be made", arguments.socket.display());
            return ExitCode::FAILURE;
        }
    };
    // The rings live as long as the process does.
    let (orders, incoming) = Box::leak(Box::new(Orders::new())).split();
    let (outgoing, reports) = Box::leak(Box::new(Reports::new())).split();
    let spawned = thread::Builder::new().name("play".into()).spawn(move || Playing { incoming, outgoing, voice: None }.run());
    let player = match spawned {
        Ok(player) => player,
        Err(error) => {
            eprintln!("nearend-tone: no thread: {error}");
            return ExitCode::FAILURE;
        }
    };
    let status = Status { device: arguments.device.clone(), is_locked, is_real_time: is_real_time(), ..Status::default() };
    let bench = Bench {
        device: arguments.device,
        orders,
        reports,
        player: player.thread().clone(),
        status,
        wanted: None,
        open_at: None,
        is_playing: false,
    };
    match bench.serve(&listener) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nearend-tone: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A socket file that nobody listens on any more is in the way, and is removed.
fn listen(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Whether systemd gave the process SCHED_FIFO or SCHED_RR: field 41 of proc_pid_stat(5).
fn is_real_time() -> bool {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().nth(38).is_some_and(|policy| policy == "1" || policy == "2")
}

// ---- main: the socket, the devices

struct Bench {
    device: String,
    orders: Producer<'static, Order>,
    reports: Consumer<'static, Report>,
    player: thread::Thread,
    status: Status,
    /// What should be played; its device is opened again when it fails.
    wanted: Option<Play>,
    open_at: Option<MonoTime>,
    /// The thread has a voice.
    is_playing: bool,
}

struct Client {
    stream: UnixStream,
    line: Vec<u8>,
}

impl Bench {
    fn serve(mut self, listener: &UnixListener) -> io::Result<()> {
        let mut clients: VecDeque<Client> = VecDeque::new();
        loop {
            let mut fds = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            fds.extend(clients.iter().map(|client| PollFd::new(client.stream.as_fd(), PollFlags::POLLIN)));
            match poll(&mut fds, PollTimeout::from(LOOK_EVERY_MS)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            self.take_reports();
            self.open_if_due();
            if let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(true)?;
                if clients.len() == MOST_CLIENTS {
                    clients.pop_front(); // the oldest
                }
                clients.push_back(Client { stream, line: Vec::new() });
            }
            clients.retain_mut(|client| self.hear(client).is_ok());
        }
    }

    /// Reads what a client said and answers every line of it.
    fn hear(&mut self, client: &mut Client) -> io::Result<()> {
        let mut part = [0; 512];
        loop {
            match client.stream.read(&mut part) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => client.line.extend_from_slice(&part[..read]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
            while let Some(end) = client.line.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = client.line.drain(..=end).collect();
                let error = Request::read(&line).and_then(|request| self.carry_out(request)).err();
                self.answer(&mut client.stream, error)?;
            }
            if client.line.len() > MOST_LINE_BYTES {
                self.answer(&mut client.stream, Some(format!("a line has at most {MOST_LINE_BYTES} bytes")))?;
                return Err(ErrorKind::InvalidData.into());
            }
        }
    }

    /// A client that does not read its answers is dropped: nothing here waits.
    fn answer(&mut self, stream: &mut UnixStream, error: Option<String>) -> io::Result<()> {
        self.take_reports();
        let error = error.or_else(|| self.status.error.clone());
        let status = Status { error, play: self.wanted.clone(), ..self.status.clone() };
        let mut line = serde_json::to_vec(&status)?;
        line.push(b'\n');
        stream.write_all(&line)
    }

    fn carry_out(&mut self, request: Request) -> Result<(), String> {
        match request {
            Request::Play(play) => {
                self.stop();
                let device = play.device.clone().unwrap_or_else(|| self.device.clone());
                let Status { is_real_time, is_locked, .. } = self.status;
                self.status = Status { device, is_real_time, is_locked, state: State::NoDevice, ..Status::default() };
                self.wanted = Some(play);
                self.open();
            }
            Request::Pause {} => self.change(State::Playing, State::Paused, Order::Pause)?,
            Request::Resume {} => self.change(State::Paused, State::Playing, Order::Resume)?,
            Request::Stop {} => self.stop(),
            Request::Status {} => {}
        }
        Ok(())
    }

    fn change(&mut self, from: State, to: State, order: Order) -> Result<(), String> {
        if self.status.state != from {
            return Err(format!("it is {:?}; expected {from:?}", self.status.state).to_lowercase());
        }
        self.status.state = to;
        self.send(order);
        Ok(())
    }

    /// Waits until the device is closed: a new one may be the same.
    fn stop(&mut self) {
        self.wanted = None;
        self.open_at = None;
        if self.is_playing {
            self.send(Order::Stop);
        }
        while self.is_playing {
            self.take_reports();
            thread::park_timeout(Duration::from_millis(2));
        }
        self.status.state = State::Stopped;
        self.status.error = None;
    }

    fn send(&mut self, order: Order) {
        let mut order = Some(order);
        while let Some(Err(refused)) = order.take().map(|order| self.orders.enqueue(order)) {
            order = Some(refused);
            self.take_reports();
            thread::park_timeout(Duration::from_millis(2));
        }
        self.player.unpark();
    }

    fn open_if_due(&mut self) {
        if self.open_at.is_some_and(|at| at <= Now::read().mono) {
            self.open();
        }
    }

    fn open(&mut self) {
        self.open_at = None;
        let Some(play) = self.wanted.clone() else { return };
        match Voice::open(&self.status.device, &play) {
            Ok(voice) => {
                self.status.rate_hz = voice.rate_hz;
                self.status.channels = u32::try_from(voice.channels).unwrap_or(0);
                self.status.state = State::Playing;
                if self.status.error.take().is_some() {
                    eprintln!("nearend-tone: {} is there", self.status.device);
                }
                self.is_playing = true;
                self.send(Order::Start(Box::new(voice)));
            }
            Err(error) if error.errno() == Errno::EBUSY as i32 => {
                self.lost(State::DeviceBusy, &format!("{}: another program has it", self.status.device));
            }
            Err(error) => self.lost(State::NoDevice, &format!("{}: {error}", self.status.device)),
        }
    }

    fn lost(&mut self, state: State, error: &str) {
        if self.status.error.as_deref() != Some(error) {
            eprintln!("nearend-tone: {error}; it is tried again every second");
        }
        self.status.device_losses += 1;
        self.status.state = state;
        self.status.error = Some(error.to_owned());
        self.open_at = Some(Now::read().mono.after(OPEN_AGAIN));
    }

    fn take_reports(&mut self) {
        while let Some(report) = self.reports.dequeue() {
            match report {
                Report::Frames(frames) => self.status.frames_written += frames,
                Report::Underrun => self.status.underruns += 1,
                Report::Tone(tone) => {
                    self.status.tones += 1;
                    if self.status.last_tones.len() == LAST_TONES {
                        self.status.last_tones.remove(0);
                    }
                    self.status.last_tones.push(tone);
                }
                Report::Over(voice) => {
                    drop(voice); // closes the device
                    self.is_playing = false;
                    self.wanted = None;
                    self.status.state = State::Stopped;
                }
                Report::Lost(voice, errno) => {
                    drop(voice);
                    self.is_playing = false;
                    self.lost(State::NoDevice, &format!("{} has gone: {}", self.status.device, Errno::from_raw(errno)));
                }
            }
        }
    }
}

impl Voice {
    /// Opens the device and makes the tone at its rate.
    fn open(device: &str, play: &Play) -> alsa::Result<Voice> {
        let pcm = PCM::new(device, Direction::Playback, false)?;
        let (rate_hz, channels) = {
            let hardware = HwParams::any(&pcm)?;
            hardware.set_access(Access::RWInterleaved)?;
            hardware.set_format(Format::s16())?;
            let channels = hardware.set_channels_near(1)?;
            let rate_hz = hardware.set_rate_near(TONE_RATE_HZ, ValueOr::Nearest)?;
            hardware.set_period_time_near(PERIOD_US, ValueOr::Nearest)?;
            hardware.set_buffer_time_near(BUFFER_US, ValueOr::Nearest)?;
            pcm.hw_params(&hardware)?;
            let software = pcm.sw_params_current()?;
            software.set_start_threshold(hardware.get_buffer_size()? - hardware.get_period_size()?)?;
            pcm.sw_params(&software)?;
            (rate_hz, channels as usize)
        };
        if channels > MOST_CHANNELS || rate_hz == 0 {
            return Err(alsa::Error::new("channels", Errno::EINVAL as i32));
        }
        Ok(Voice { pcm, player: player(play, rate_hz), channels, rate_hz, written: 0 })
    }
}

/// Tone and speech of what is to be heard, by the rules for a real call.
fn player(play: &Play, rate_hz: u32) -> Player {
    let samples = play.on_ms as usize * TONE_RATE_HZ as usize / 1_000;
    let tone = || at_rate(&synth::tone(f64::from(play.frequency_hz), samples, play.level_dbm0), rate_hz);
    let rhythm = play.rhythm(rate_hz);
    let Some(hear) = play.hear else { return Player::new(tone(), rhythm, play.tones) };
    let plan = Plan { rhythm: Ok(rhythm), options: hear.options };
    let content = plan.content(hear.perspective, Situation::Recording);
    let tone = if content.is_some_and(|content| content.tone) { tone() } else { Box::default() };
    let speech = content.filter(|_| hear.speech).map(|content| at_rate(&said(content.speaker).collect::<Vec<i16>>(), rate_hz));
    let speaks_on = plan.content(hear.perspective, Situation::Paused).is_some();
    Player::new(tone, rhythm, play.tones).over(speech.unwrap_or_default(), speaks_on)
}

/// Samples of 8 kHz at the rate of the device.
fn at_rate(samples: &[i16], rate_hz: u32) -> Box<[i16]> {
    let mut resampler = Resampler::new(TONE_RATE_HZ, rate_hz);
    let mut out = Vec::new();
    resampler.push(&samples.iter().map(|sample| f32::from(*sample)).collect::<Vec<f32>>(), &mut out);
    resampler.finish(&mut out);
    out.into_iter().map(|sample| synth::to_sample(f64::from(sample))).collect()
}

// ---- play: the real-time thread; from here on nothing is allocated or freed

struct Playing {
    incoming: Consumer<'static, Order>,
    outgoing: Producer<'static, Report>,
    voice: Option<Box<Voice>>,
}

impl Playing {
    fn run(mut self) {
        let mut mono = [0_i16; PERIOD];
        let mut frames = [0_i16; PERIOD * MOST_CHANNELS];
        loop {
            self.take_orders();
            let Some(voice) = self.voice.take() else {
                thread::park_timeout(Duration::from_millis(100));
                continue;
            };
            self.voice = self.play(voice, &mut mono, &mut frames);
        }
    }

    fn take_orders(&mut self) {
        while let Some(order) = self.incoming.dequeue() {
            match (order, &mut self.voice) {
                (Order::Start(voice), _) => self.voice = Some(voice), // main sends it only when the last one came back
                (Order::Pause, Some(voice)) => voice.player.pause(),
                (Order::Resume, Some(voice)) => voice.player.resume(),
                (Order::Stop, voice) => {
                    if let Some(voice) = voice.take() {
                        let _ = voice.pcm.drop(); // what it holds is thrown away; it is closed next
                        self.give_back(Report::Over(voice));
                    }
                }
                (Order::Pause | Order::Resume, None) => {}
            }
        }
    }

    /// Hands over the next frames. Gives the voice back unless it is over.
    fn play(
        &mut self,
        mut voice: Box<Voice>,
        mono: &mut [i16; PERIOD],
        frames: &mut [i16; PERIOD * MOST_CHANNELS],
    ) -> Option<Box<Voice>> {
        let filled = voice.player.fill(mono);
        let channels = voice.channels;
        for (frame, sample) in frames.chunks_exact_mut(channels).zip(&mono[..filled.samples]) {
            frame.fill(*sample);
        }
        if let Some(at) = filled.tone_at {
            let tone = ToneTime { frame: voice.written + at as u64, handed_over_us: Now::read().wall.0 };
            self.say(Report::Tone(tone));
        }
        match self.write(&voice.pcm, &frames[..filled.samples * channels], channels) {
            Err(errno) => self.give_back(Report::Lost(voice, errno)),
            Ok(()) if filled.samples < mono.len() => {
                self.say(Report::Frames(filled.samples as u64));
                let drained = voice.pcm.drain();
                self.give_back(match drained {
                    Ok(()) => Report::Over(voice),
                    Err(error) => Report::Lost(voice, error.errno()),
                });
            }
            Ok(()) => {
                voice.written += filled.samples as u64;
                self.say(Report::Frames(filled.samples as u64));
                return Some(voice);
            }
        }
        None
    }

    /// Writes all frames; a device that ran dry goes on, another fault is its errno.
    fn write(&mut self, pcm: &PCM, mut frames: &[i16], channels: usize) -> Result<(), i32> {
        let io = pcm.io_i16().map_err(|error| error.errno())?;
        while !frames.is_empty() {
            match io.writei(frames) {
                Ok(written) => frames = &frames[written * channels..],
                Err(error) if error.errno() == Errno::EPIPE as i32 => {
                    self.say(Report::Underrun);
                    pcm.prepare().map_err(|error| error.errno())?;
                }
                Err(error) if error.errno() == Errno::EINTR as i32 => {}
                Err(error) => pcm.try_recover(error, true).map_err(|error| error.errno())?,
            }
        }
        Ok(())
    }

    /// Says it if there is room: counts are not worth waiting for.
    fn say(&mut self, report: Report) {
        let _ = self.outgoing.enqueue(report);
    }

    /// Hands the voice back, which has to arrive: nothing plays meanwhile.
    fn give_back(&mut self, report: Report) {
        let mut report = Some(report);
        while let Some(Err(refused)) = report.take().map(|report| self.outgoing.enqueue(report)) {
            report = Some(refused);
            thread::park_timeout(Duration::from_millis(2));
        }
    }
}
