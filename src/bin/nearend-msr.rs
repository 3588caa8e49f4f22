//! `nearend-msr`: the simulated media server on the command line. Reads the options, shows progress, prints the summary; all else
//! is in [`nearend::msr`].

use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use nearend::model::block::Law;
use nearend::model::dialog::Transport;
use nearend::msr::audio::Audio;
use nearend::msr::digits::Digits;
use nearend::msr::impair::Impairments;
use nearend::msr::options::{Mode, Options, Pause, SecondLeg, Target, Tls};
use nearend::msr::switch::player::Pace;
use nearend::msr::switch::{self, Script, Settings};
use nearend::msr::{self, Error, Progress, Summary};

const EXAMPLES: &str = "\
Examples:
  One call of ten seconds, with the bundled speech:
      nearend-msr --to sip:192.0.2.30
  Two hundred calls of a minute, twenty a second, over TCP:
      nearend-msr --to sip:192.0.2.30 --transport tcp --calls 200 --rate 20 --duration 60s
  A bad network, the same at each try, and what a perfect recorder would have in DIR:
      nearend-msr --to sip:192.0.2.30 --loss 2 --reorder 5 --duplicate 1 --seed 7 --dump DIR
  A SIPREC call of your own speech with a pause and digits, for a program to read:
      nearend-msr --to sip:192.0.2.30 --mode siprec --audio agent.wav,customer.wav --pause 10s:5s --duration 30s \\
          --dtmf 4711# --json
  A call with its events: the box must have a [[tserver]] with primary = \"tcp:192.0.2.20:7002\"
      nearend-msr --to sip:192.0.2.30 --scenario tests/data/scenarios/inbound.scenario --cti 192.0.2.20:7002
  The media server dies, and another carries the recording on:
      nearend-msr --to sip:192.0.2.30 --recording-id ID --vanish; nearend-msr --to sip:192.0.2.30 --recording-id ID

Exit status: 0 if every call was accepted and ended as it should, 1 if not, 2 if the command line makes no sense.
Times are written 500ms, 60s, 5m or 1h; a number alone is seconds.";

/// Places recording sessions at a recorder, as a Genesys media server or a SIPREC client does, and sends real audio.
#[derive(Debug, Parser)]
#[command(name = "nearend-msr", version, after_help = EXAMPLES)]
struct Args {
    /// The recorder: sip:HOST or sip:HOST:PORT
    #[arg(long, value_name = "URI")]
    to: Target,
    /// How SIP is carried
    #[arg(long, value_enum, default_value = "udp")]
    transport: TransportArg,
    /// The recorder's certificate must be signed by one of these, in PEM (with --transport tls)
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Certificate that the recorder is shown if it asks, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key to it
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Kind of recording session
    #[arg(long, value_enum, default_value = "two-session")]
    mode: ModeArg,
    /// Number of calls
    #[arg(long, value_name = "N", default_value_t = 1)]
    calls: u32,
    /// Calls placed per second
    #[arg(long, value_name = "PER-SECOND", default_value_t = 10.0)]
    rate: f64,
    /// How long each call speaks
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// WAV files of the recorded party and the other (mono, 8 kHz; one file: both say the same), repeated to the call's end
    #[arg(long, value_name = "A.WAV[,B.WAV]", value_delimiter = ',')]
    audio: Vec<PathBuf>,
    /// G.711 law
    #[arg(long, value_enum, default_value = "pcmu")]
    law: LawArg,
    /// Milliseconds of audio per packet: 10, 20 … 60
    #[arg(long, value_name = "MS", default_value_t = 20)]
    ptime: u8,
    /// Packets lost
    #[arg(long, value_name = "%", default_value_t = 0.0)]
    loss: f64,
    /// Packets sent behind their successor
    #[arg(long, value_name = "%", default_value_t = 0.0)]
    reorder: f64,
    /// Packets sent twice
    #[arg(long, value_name = "%", default_value_t = 0.0)]
    duplicate: f64,
    /// Decides which packets are struck
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Recording id to use (one call only); continues that recording
    #[arg(long, value_name = "ID")]
    recording_id: Option<String>,
    /// Make the CallUUIDs of this number and that of the call, so that a simulated switch can name the same calls
    #[arg(long, value_name = "N")]
    call_uuids: Option<u64>,
    /// Name of the tenant whose calls they are (MSR)
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// When the second session comes, after the first was accepted: TIME or "never" [default: together with the first]
    #[arg(long, value_name = "TIME", value_parser = second_leg)]
    second_leg: Option<SecondLeg>,
    /// At the end fall silent without BYE, like a media server that died
    #[arg(long)]
    vanish: bool,
    /// INVITE without SDP: the recorder makes the offer
    #[arg(long)]
    delayed_offer: bool,
    /// Pause by re-INVITE with a=inactive: when and for how long
    #[arg(long, value_name = "TIME:TIME", value_parser = pause)]
    pause: Option<Pause>,
    /// Digits that the other party dials, two seconds into the call (RFC 4733)
    #[arg(long, value_name = "DIGITS", default_value = "", value_parser = digits)]
    dtmf: Digits,
    /// Add the second Via and the Record-Route of a resource manager
    #[arg(long)]
    record_route: bool,
    /// Play this call scenario: its events over the CTI link, its recordings at the recorder
    #[arg(long, value_name = "FILE", requires = "cti")]
    scenario: Option<PathBuf>,
    /// Where the recorder finds the T-Server of the scenario
    #[arg(long, value_name = "ADDR:PORT", requires = "scenario")]
    cti: Option<SocketAddr>,
    /// The scenario's events come so much later than written
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration, requires = "scenario")]
    cti_delay: Duration,
    /// The scenario's recordings begin so much later than written
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration, requires = "scenario")]
    media_delay: Duration,
    /// Cut the CTI link where the scenario says "cut"
    #[arg(long, requires = "scenario")]
    cut: bool,
    /// Our address [default: the one the system uses towards the recorder]
    #[arg(long, value_name = "ADDR")]
    local: Option<IpAddr>,
    /// Stay awake between packets, so that each leaves at its time: takes a core
    #[arg(long)]
    awake: bool,
    /// Write what a perfect recorder would have on each channel, as bare G.711
    #[arg(long, value_name = "DIR")]
    dump: Option<PathBuf>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TransportArg {
    Udp,
    Tcp,
    Tls,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    /// MSR, one INVITE per party
    TwoSession,
    /// MSR, one INVITE with two m-lines
    OneSession,
    /// RFC 7866: SDP and metadata in one INVITE
    Siprec,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LawArg {
    Pcmu,
    Pcma,
}

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(tracing::Level::WARN).init();
    match run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err((code, message)) => {
            eprintln!("nearend-msr: {message}");
            ExitCode::from(code)
        }
    }
}

/// Whether all went as it should; or the exit status and why there was no run.
fn run(args: Args) -> Result<bool, (u8, String)> {
    let json = args.json;
    if let (Some(file), Some(listen)) = (args.scenario.clone(), args.cti) {
        return play(args, &file, listen, json);
    }
    let options = options(args).map_err(|why| (2, why))?;
    let interrupted = watch_for_interrupt();
    let on_terminal = io::stderr().is_terminal();
    let mut progress = |progress: Progress| {
        if on_terminal {
            show(progress);
        }
        if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let summary = msr::run(&options, &mut progress).map_err(|error| match error {
        Error::Options(why) => (2, why.to_string()),
        other => (1, other.to_string()),
    })?;
    if on_terminal {
        eprintln!();
    }
    print(&summary, json).map_err(|error| (1, format!("cannot print the summary: {error}")))?;
    Ok(summary.is_success())
}

/// How long a scenario waits for the box: to connect, to register, to make a request.
const PATIENCE: Duration = Duration::from_secs(60);

fn play(args: Args, file: &Path, listen: SocketAddr, json: bool) -> Result<bool, (u8, String)> {
    let pace = Pace { cti_delay: args.cti_delay, media_delay: args.media_delay, cut: args.cut };
    let wrong = |what: &dyn std::fmt::Display| (2, format!("--scenario {}: {what}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let script = Script::parse(&name, &text).map_err(|error| wrong(&error))?;
    let options = options(args).map_err(|why| (2, why))?;
    let played = switch::play(script, &Settings { listen, pace, options, patience: PATIENCE });
    let played = played.map_err(|failure| (1, failure.to_string()))?;
    for summary in &played.recordings {
        print(summary, json).map_err(|error| (1, format!("cannot print the summary: {error}")))?;
    }
    Ok(played.recordings.iter().all(Summary::is_success))
}

fn options(args: Args) -> Result<Options, String> {
    let audio = match args.audio.as_slice() {
        [] => [Audio::agent(), Audio::customer()],
        [both] => [read(both)?, read(both)?],
        [recorded, other] => [read(recorded)?, read(other)?],
        more => return Err(format!("--audio: two files at most, not {}", more.len())),
    };
    Ok(Options {
        transport: match args.transport {
            TransportArg::Udp => Transport::Udp,
            TransportArg::Tcp => Transport::Tcp,
            TransportArg::Tls => Transport::Tls,
        },
        tls: Tls { ca_file: args.tls_ca, identity: args.tls_cert.zip(args.tls_key) },
        mode: match args.mode {
            ModeArg::TwoSession => Mode::TwoSession,
            ModeArg::OneSession => Mode::OneSession,
            ModeArg::Siprec => Mode::Siprec,
        },
        calls: args.calls,
        rate: args.rate,
        duration: args.duration,
        audio,
        law: match args.law {
            LawArg::Pcmu => Law::Pcmu,
            LawArg::Pcma => Law::Pcma,
        },
        ptime_ms: args.ptime,
        impairments: Impairments { loss: args.loss / 100.0, reorder: args.reorder / 100.0, duplicate: args.duplicate / 100.0 },
        seed: args.seed,
        recording_id: args.recording_id,
        call_uuids: args.call_uuids,
        tenant: args.tenant,
        second_leg: args.second_leg.unwrap_or_default(),
        vanish: args.vanish,
        delayed_offer: args.delayed_offer,
        pause: args.pause,
        digits: args.dtmf,
        record_route: args.record_route,
        local: args.local,
        awake: args.awake,
        dump: args.dump,
        ..Options::new(args.to)
    })
}

fn read(path: &Path) -> Result<Audio, String> {
    let file = std::fs::read(path).map_err(|error| format!("--audio {}: {error}", path.display()))?;
    Audio::from_wav(&file).map_err(|error| format!("--audio {}: {error}", path.display()))
}

/// `500ms`, `60s`, `5m`, `1h`, or seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let ms_per_unit = match unit {
        "ms" => Some(1),
        "s" | "" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let ms = number.parse::<u64>().ok().zip(ms_per_unit).and_then(|(number, ms)| number.checked_mul(ms));
    ms.map(Duration::from_millis).ok_or_else(|| "expected a time as 500ms, 60s, 5m or 1h".to_owned())
}

fn second_leg(text: &str) -> Result<SecondLeg, String> {
    if text == "never" { Ok(SecondLeg::Never) } else { duration(text).map(SecondLeg::After) }
}

fn pause(text: &str) -> Result<Pause, String> {
    let (at, length) = text.split_once(':').ok_or("expected when and how long, for example 10s:5s")?;
    Ok(Pause { at: duration(at)?, length: duration(length)? })
}

fn digits(text: &str) -> Result<Digits, String> {
    Digits::new(text).map_err(|other| format!("'{other}' is none of 0-9, *, #, A-D"))
}

/// Becomes true at Ctrl-C: the calls are hung up then, not left to the recorder's timers.
fn watch_for_interrupt() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&interrupted);
    std::thread::spawn(move || {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build()
            && runtime.block_on(tokio::signal::ctrl_c()).is_ok()
        {
            seen.store(true, Ordering::Relaxed);
        }
    });
    interrupted
}

fn show(progress: Progress) {
    let Progress { placed, of, active, completed, unsuccessful } = progress;
    eprint!("\r{placed} of {of} calls placed, {active} up, {completed} completed, {unsuccessful} not ");
}

fn print(summary: &Summary, json: bool) -> io::Result<()> {
    let text = if json { serde_json::to_string(summary)? } else { summary.to_string() };
    writeln!(io::stdout(), "{text}")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        let args = Args::try_parse_from(format!("nearend-msr {line}").split(' ')).map_err(|error| error.to_string())?;
        options(args)
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn options_reach_the_library_in_its_units() {
        let options = parse("--to sip:[::1]:5070 --loss 2.5 --pause 1500ms:2 --second-leg 1m --dtmf 1# --duration 1h").unwrap();
        assert_eq!(options.to.to_string(), "[::1]:5070");
        assert_eq!(options.impairments.loss, 0.025);
        assert_eq!(options.pause, Some(Pause { at: Duration::from_millis(1_500), length: Duration::from_secs(2) }));
        assert_eq!(options.second_leg, SecondLeg::After(Duration::from_secs(60)));
        assert_eq!((options.duration, options.digits), (Duration::from_secs(3_600), Digits::new("1#").unwrap()));
        let plain = parse("--to sip:box").unwrap();
        assert_eq!((plain.mode, plain.second_leg, plain.calls), (Mode::TwoSession, SecondLeg::Together, 1));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, word) in [
            ("--calls 1", "--to"),
            ("--to box", "sip:HOST"),
            ("--to sip:box --duration 1.5s", "500ms"),
            ("--to sip:box --duration 99999999999999999h", "500ms"),
            ("--to sip:box --pause 3s", "10s:5s"),
            ("--to sip:box --dtmf 12x", "'x'"),
            ("--to sip:box --audio no-such-file.wav", "no-such-file.wav"),
            ("--to sip:box --audio a,b,c", "two files"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    /// Every command line in a text: from `nearend-msr --` to the end of the line, a backtick, a semicolon or a new cell.
    fn command_lines(text: &str) -> Vec<String> {
        let joined = text.replace("\\\n", " ");
        let lines =
            joined.lines().flat_map(|line| line.split(['`', ';', '|'])).filter_map(|part| part.split_once("nearend-msr --to"));
        lines.map(|(_, rest)| format!("--to {}", rest.split_whitespace().collect::<Vec<_>>().join(" "))).collect()
    }

    #[test]
    fn the_examples_of_help_and_documentation_are_understood() {
        let documented = command_lines(include_str!("../../docs/nearend-msr.md"));
        let helped = command_lines(EXAMPLES);
        assert_eq!((documented.len(), helped.len()), (9, 7));
        for line in documented.iter().chain(&helped) {
            let args = Args::try_parse_from(format!("nearend-msr {line}").split(' ')).expect(line);
            let needs_no_files = args.audio.is_empty();
            assert_eq!(options(args).and_then(|o| o.check().map_err(|e| e.to_string())).is_ok(), needs_no_files, "{line}");
        }
    }

    #[test]
    fn the_documented_json_is_what_is_printed() {
        let docs = include_str!("../../docs/nearend-msr.md");
        let example = docs.split_once("```json\n").and_then(|(_, rest)| rest.split_once("```")).map(|(json, _)| json).unwrap();
        let documented: serde_json::Value = serde_json::from_str(example).unwrap();
        let mut summary = Summary { setup_ms: Some(Default::default()), ..Summary::default() };
        summary.calls.refused.insert(503, 1);
        let printed = serde_json::to_value(&summary).unwrap();
        let keys = |value: &serde_json::Value| value.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>());
        assert_eq!(keys(&printed), keys(&documented));
        for part in ["calls", "packets", "rtcp", "setup_ms"] {
            assert_eq!(keys(&printed[part]), keys(&documented[part]), "{part}");
        }
    }
}
