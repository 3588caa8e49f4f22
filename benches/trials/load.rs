//! Many streams, for long, or with a writer that stands still meanwhile: every packet that was sent is placed, or counted as
//! lost where people look for it.
//!
//! The writer is stopped as a tracer stops a thread (ptrace(2)), wherever it is. So it is as if its disk did not answer.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use nearend::clock::Now;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde::Deserialize;

use super::Result;
use super::audio::{Finished, SILENCE, pieces};
use super::machine::{Machine, wait_for};
use super::sender::{Call, Running};

/// Calls whose audio is compared sample by sample.
const COMPARED: u32 = 10;

/// Samples in a packet.
const PACKET: u64 = 160;

/// How long the finishing of so many calls may take.
const FINISHED_WITHIN: Duration = Duration::from_secs(1_200);

/// The load, and what is done to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Two per call.
    pub(crate) streams: u32,
    /// From the moment all are up.
    pub(crate) length: Duration,
    /// How long the writer stands still meanwhile.
    pub(crate) stall: Option<Duration>,
    pub(crate) seed: u64,
}

/// 2,000 streams for ten minutes.
#[derive(Args, Debug)]
pub(crate) struct Endurance {
    /// G.711 streams, two per call
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(40..=4_000))]
    pub(crate) streams: u32,
    /// How long all of them are up
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=7_200))]
    pub(crate) length: u64,
    /// Decides what is said
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// The writer stands still.
#[derive(Args, Debug)]
pub(crate) struct Stall {
    /// G.711 streams, two per call
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(40..=4_000))]
    pub(crate) streams: u32,
    /// How long, one trial each
    #[arg(long, value_name = "SECONDS,…", value_delimiter = ',', default_value = "5,30",
          value_parser = clap::value_parser!(u64).range(1..=120))]
    pub(crate) length: Vec<u64>,
    /// Decides what is said
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// What was seen.
pub(crate) struct Report {
    load: Load,
    calls: u64,
    sent: u64,
    /// Packets that left late, by the sender's own fault.
    late: u64,
    /// By the metrics.
    placed: u64,
    /// By the recordings' own account.
    legs: Counters,
    /// Samples of the compared calls: sent, and not in the file.
    compared: (u64, u64),
    /// Packets that the compared recordings say they dropped.
    compared_dropped: u64,
    was_refusing: bool,
    peak_kb: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counters {
    packets: u64,
    lost: u64,
    overrun: u64,
    kernel_drops: u64,
}

pub(crate) fn run(load: Load) -> Result<Report> {
    let mut machine = Machine::prepare("")?;
    machine.start()?;
    let (mut crowd, mut compared) = place_calls(&machine, load)?;
    let mut was_refusing = false;
    match load.stall {
        None => sleep(load.length),
        Some(stall) => {
            sleep(load.length / 4);
            was_refusing = stand_still(&machine, stall)?;
            sleep(load.length * 3 / 4);
        }
    }
    let mut sent = crowd.finish()?;
    for call in &mut compared {
        sent = sent.plus(&call.finish()?);
    }
    let folders = wait_for("all recordings to be finished", FINISHED_WITHIN, || {
        let is_finished = machine.metric("nearend_recordings_finished_total")? >= sent.calls.placed;
        is_finished.then(|| machine.finished()).transpose()
    })?;
    let mut report = Report {
        load,
        calls: sent.calls.completed,
        sent: sent.packets.sent,
        late: sent.packets.late,
        placed: machine.metric("nearend_rtp_packets_total")?,
        legs: Counters::default(),
        compared: (0, 0),
        compared_dropped: 0,
        was_refusing,
        peak_kb: machine.memory_kb()?.1,
    };
    let mut by_id = BTreeMap::new();
    for folder in &folders {
        let (id, legs) = counters(folder)?;
        report.legs = report.legs.plus(legs);
        by_id.insert(id, (folder, legs));
    }
    for call in &compared {
        let (id, sent) = call.sent()?;
        let (folder, legs) = by_id.get(&id).ok_or_else(|| format!("recording {id} is missing"))?;
        report.compared_dropped += legs.overrun + legs.kernel_drops;
        for (sent, (kept, _)) in sent.iter().zip(&Finished::open(folder)?.channels) {
            let there: usize = pieces(sent, kept)?.iter().map(|piece| piece.length).sum();
            let all = sent.iter().filter(|code| **code != SILENCE).count();
            report.compared = (report.compared.0 + all as u64, report.compared.1 + (all - there) as u64);
        }
    }
    machine.stop()?;
    Ok(report)
}

/// Calls of all streams: most by one process, and those that are compared by one each.
fn place_calls(machine: &Machine, load: Load) -> Result<(Running, Vec<Running>)> {
    let crowd = load.streams / 2 - COMPARED;
    let ramp = Duration::from_secs(2).max(Duration::from_millis(4 * u64::from(crowd)));
    let length = ramp + load.length + load.stall.unwrap_or_default() + Duration::from_secs(5);
    let mut random = fastrand::Rng::with_seed(load.seed);
    let calls = (0..COMPARED).map(|n| Call::noisy(machine, length, &format!("compared-{n}"), &mut random));
    let calls = calls.collect::<Result<Vec<_>>>()?;
    let crowd = Call::plain(machine, length).many(crowd, f64::from(crowd) / ramp.as_secs_f64()).start()?;
    let calls = calls.into_iter().map(Call::start).collect::<Result<Vec<_>>>()?;
    let wanted = u64::from(load.streams / 2);
    wait_for("all calls to be up", ramp + Duration::from_secs(30), || {
        Ok((machine.metric("nearend_recordings_running")? == wanted).then_some(()))
    })?;
    Ok((crowd, calls))
}

/// Stops the thread that writes, for so long. Says whether the box took no new calls at the end of it.
fn stand_still(machine: &Machine, stall: Duration) -> Result<bool> {
    let writer = thread_of(machine.pid()?, "spool")?;
    ptrace::seize(writer, ptrace::Options::empty())?;
    ptrace::interrupt(writer)?;
    waitpid(writer, Some(WaitPidFlag::__WALL))?;
    let begin = Now::read().mono;
    eprintln!("trials: the writer stands still");
    sleep(stall);
    let is_refusing = machine.metric("nearend_accepting")? == 0;
    ptrace::detach(writer, None)?;
    eprintln!("trials: it went on after {:.1?}", Now::read().mono.since(begin));
    Ok(is_refusing)
}

fn thread_of(process: Pid, name: &str) -> Result<Pid> {
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?;
        if fs::read_to_string(task.path().join("comm"))?.trim_end() == name {
            return Ok(Pid::from_raw(task.file_name().to_string_lossy().parse()?));
        }
    }
    Err(format!("the daemon has no thread {name}").into())
}

/// A recording's id, and what its legs say together.
fn counters(folder: &Path) -> Result<(String, Counters)> {
    #[derive(Deserialize)]
    struct Json {
        id: String,
        nearend: Nearend,
    }
    #[derive(Deserialize)]
    struct Nearend {
        legs: Vec<Counters>,
    }
    let json: Json = serde_json::from_slice(&fs::read(folder.join("recording.json"))?)?;
    Ok((json.id, json.nearend.legs.into_iter().fold(Counters::default(), Counters::plus)))
}

impl Counters {
    fn plus(self, other: Counters) -> Counters {
        Counters {
            packets: self.packets + other.packets,
            lost: self.lost + other.lost,
            overrun: self.overrun + other.overrun,
            kernel_drops: self.kernel_drops + other.kernel_drops,
        }
    }

    fn dropped(&self) -> u64 {
        self.overrun + self.kernel_drops
    }
}

impl Report {
    /// What does not hold.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut check = |holds: bool, what: &str| broken.extend((!holds).then(|| what.to_owned()));
        check(self.sent == self.legs.packets + self.legs.dropped(), "packets are neither placed nor counted as dropped");
        check(self.placed == self.legs.packets, "the metrics say something else than the recordings");
        check(self.compared.1 == self.compared_dropped * PACKET, "the compared calls lack something else than they say");
        let may_lose = self.load.stall.is_some_and(|stall| stall > Duration::from_secs(5));
        check(may_lose || self.legs.dropped() + self.legs.lost == 0, "packets were lost");
        let must_refuse = self.load.stall.is_some_and(|stall| stall >= Duration::from_secs(20));
        check(!must_refuse || self.was_refusing, "new calls were taken while the writer stood still");
        broken
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Load { streams, length, stall, seed } = self.load;
        let stalled =
            stall.map_or("never".to_owned(), |stall| format!("{stall:?}, new calls refused then: {}", self.was_refusing));
        writeln!(f, "seed                       {seed}")?;
        writeln!(f, "streams                    {streams} in {} calls, all up for {length:?}", self.calls)?;
        writeln!(f, "writer stood still         {stalled}")?;
        writeln!(f, "packets sent               {}, {} of them late", self.sent, self.late)?;
        writeln!(f, "packets placed             {}", self.legs.packets)?;
        writeln!(f, "dropped and counted        {} by the box, {} by the kernel", self.legs.overrun, self.legs.kernel_drops)?;
        writeln!(f, "never came                 {}", self.legs.lost)?;
        writeln!(f, "samples of {COMPARED} calls        {} sent, {} not in the files", self.compared.0, self.compared.1)?;
        writeln!(f, "resident                   {:.1} MB at most", self.peak_kb as f64 / 1024.0)?;
        let broken = self.broken();
        write!(
            f,
            "{}",
            if broken.is_empty() { "every count is as it must be".to_owned() } else { format!("BROKEN: {}", broken.join("; ")) }
        )
    }
}
