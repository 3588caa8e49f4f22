//! A busy T-Server beside calls that are being recorded: whether an event is lost, and what the events cost.
//!
//! The simulated SIP Server (`nearend::msr::switch::crowd`) has its calls in progress and sends events at a steady pace; `nearend-msr`
//! records some of the same calls. What a packet costs is measured before the events, while they come, and after them, in
//! one life of the daemon.

use std::fmt;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use clap::Args;
use nearend::clock::Now;
use nearend::cti::lines::{Line, Lines};
use nearend::model::MonoTime;
use nearend::msr::switch::crowd::{Crowd, FIRST_DN};

use super::Result;
use super::machine::{Machine, wait_for};
use super::sender::Call;

/// Number of the run, from which both sides make the same CallUUIDs.
const RUN: u64 = 4;

/// How long everything is left alone before a measurement.
const SETTLE: Duration = Duration::from_secs(4);

/// What is to be done.
#[derive(Args, Debug)]
pub(crate) struct Plan {
    /// Calls in progress at the T-Server
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) calls: u32,
    /// Events per second
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(crate) rate: u32,
    /// How long they come
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) length: u64,
    /// How many of the calls are being recorded
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub(crate) recorded: u32,
    /// How long the cost of a packet is measured before the events, and after them
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) window: u64,
    /// Most that resident memory may grow by
    #[arg(long, value_name = "MB", default_value_t = 24)]
    pub(crate) growth: u64,
}

/// What was seen.
pub(crate) struct Report {
    calls: u32,
    recorded: u32,
    length: Duration,
    growth_mb: u64,
    sent: u64,
    taken: u64,
    lost: u64,
    bad_lines: u64,
    rss_kb: (u64, u64),
    /// Before the events, while they come, after them.
    spent: [Spent; 3],
    load: String,
}

pub(crate) fn run(plan: &Plan) -> Result<Report> {
    let mut machine = Machine::prepare("")?;
    let listener = TcpListener::bind(SocketAddr::from((machine.sender_ip(), 7_002)))?;
    machine.configure(&tserver(plan, listener.local_addr()?))?;
    machine.start()?;
    let switch = Switch::start(listener, plan)?;
    let (window, length) = (Duration::from_secs(plan.window), Duration::from_secs(plan.length));
    wait_for("the link to come up", Duration::from_secs(30), || {
        // Not there before the page has been renewed once.
        Ok(machine.metric("nearend_cti_link_up{tserver=\"east\"}").is_ok_and(|up| up == 1).then_some(()))
    })?;
    let mut recorded = record(&machine, plan)?;
    sleep(SETTLE);
    let before = Spent::while_sleeping(&machine, window)?;
    let rss_before = machine.memory_kb()?.0;
    switch.begin();
    let during = Spent::while_sleeping(&machine, length)?;
    switch.pause();
    sleep(SETTLE);
    let sent = switch.sent();
    let taken = wait_for("the last events to be taken", Duration::from_secs(30), || {
        let taken = messages(&machine)?.saturating_sub(switch.answers());
        Ok((taken >= sent).then_some(taken))
    })?;
    let rss_after = machine.memory_kb()?.0;
    let after = Spent::while_sleeping(&machine, window)?;
    let metric = |name: &str| machine.metric(&format!("nearend_cti_{name}_total{{tserver=\"east\"}}"));
    let (lost, bad_lines) = (metric("lost")?, metric("bad_lines")?);
    if let Some(recorded) = &mut recorded {
        recorded.finish()?;
    }
    machine.stop()?;
    switch.finish()?;
    Ok(Report {
        calls: plan.calls,
        recorded: plan.recorded,
        length,
        growth_mb: plan.growth,
        sent,
        taken,
        lost,
        bad_lines,
        rss_kb: (rss_before, rss_after),
        spent: [before, during, after],
        load: fs::read_to_string("/proc/loadavg")?.split(' ').take(3).collect::<Vec<_>>().join(" "),
    })
}

fn tserver(plan: &Plan, at: SocketAddr) -> String {
    let last = FIRST_DN + plan.calls - 1;
    format!(
        "[[switch]]\nid = \"east\"\n[[tserver]]\nname = \"east\"\nswitch = \"east\"\nprimary = \"tcp:{at}\"\n\
         dns = [{{ dn = \"{FIRST_DN}-{last}\", type = \"extension\" }}]\n"
    )
}

fn messages(machine: &Machine) -> Result<u64> {
    machine.metric("nearend_cti_messages_total{tserver=\"east\"}")
}

/// Has the calls recorded, and waits until all are.
fn record(machine: &Machine, plan: &Plan) -> Result<Option<super::sender::Running>> {
    if plan.recorded == 0 {
        return Ok(None);
    }
    let ramp = Duration::from_secs(2).max(Duration::from_millis(10 * u64::from(plan.recorded)));
    let length = ramp + 2 * SETTLE + Duration::from_secs(2 * plan.window + plan.length + 40);
    let rate = f64::from(plan.recorded) / ramp.as_secs_f64();
    let running = Call::plain(machine, length).many(plan.recorded, rate).known(RUN).start()?;
    wait_for("all calls to be recorded", ramp + Duration::from_secs(60), || {
        Ok((machine.metric("nearend_recordings_running")? == u64::from(plan.recorded)).then_some(()))
    })?;
    Ok(Some(running))
}

/// What the daemon spent in a time.
struct Spent {
    /// Packets that it placed.
    packets: u64,
    /// CPU time of the thread that reads audio.
    media: Duration,
    /// CPU time of all threads.
    all: Duration,
}

impl Spent {
    fn while_sleeping(machine: &Machine, time: Duration) -> Result<Spent> {
        let (packets, (media, all)) = (machine.metric("nearend_rtp_packets_total")?, cpu(machine)?);
        sleep(time);
        let (packets_now, (media_now, all_now)) = (machine.metric("nearend_rtp_packets_total")?, cpu(machine)?);
        Ok(Spent { packets: packets_now - packets, media: media_now - media, all: all_now - all })
    }
}

/// CPU time of the thread that reads audio, and of all threads (proc(5), schedstat).
fn cpu(machine: &Machine) -> Result<(Duration, Duration)> {
    let (mut media, mut all) = (Duration::ZERO, Duration::ZERO);
    for task in fs::read_dir(format!("/proc/{}/task", machine.pid()?))? {
        let task = task?.path();
        // A thread may have ended since.
        let Ok(stat) = fs::read_to_string(task.join("schedstat")) else { continue };
        let spent = Duration::from_nanos(stat.split(' ').next().unwrap_or_default().parse()?);
        all += spent;
        if fs::read_to_string(task.join("comm"))?.trim_end() == "media" {
            media += spent;
        }
    }
    Ok((media, all))
}

/// The T-Server on a thread of its own.
struct Switch {
    thread: JoinHandle<std::io::Result<()>>,
    desk: Arc<Desk>,
}

/// What the thread is told, and tells.
#[derive(Default)]
struct Desk {
    /// Events are to be sent.
    sends: AtomicBool,
    /// So many were.
    sent: AtomicU64,
    /// Lines that answer the box.
    answers: AtomicU64,
}

impl Switch {
    fn start(listener: TcpListener, plan: &Plan) -> Result<Switch> {
        let desk = Arc::new(Desk::default());
        let (calls, rate, at) = (plan.calls, plan.rate, Arc::clone(&desk));
        let thread = thread::Builder::new().name("switch".into()).spawn(move || serve(&listener, calls, rate, &at))?;
        Ok(Switch { thread, desk })
    }

    /// All calls begin at once, and their events go on.
    fn begin(&self) {
        self.desk.sends.store(true, Ordering::Relaxed);
    }

    fn pause(&self) {
        self.desk.sends.store(false, Ordering::Relaxed);
    }

    fn sent(&self) -> u64 {
        self.desk.sent.load(Ordering::Relaxed)
    }

    fn answers(&self) -> u64 {
        self.desk.answers.load(Ordering::Relaxed)
    }

    /// The daemon has ended; so does the thread.
    fn finish(self) -> Result<()> {
        Ok(self.thread.join().map_err(|_| "the switch panicked")??)
    }
}

/// Answers the box and sends it events, until the box closes the link.
fn serve(listener: &TcpListener, calls: u32, rate: u32, desk: &Desk) -> std::io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_millis(2)))?;
    let (mut crowd, mut lines) = (Crowd::new(RUN, calls), Lines::default());
    let mut began: Option<MonoTime> = None;
    while hear(&mut stream, &mut lines, &crowd, &desk.answers)? {
        if !desk.sends.load(Ordering::Relaxed) {
            continue;
        }
        let now = Now::read();
        let mut out = Vec::new();
        if began.is_none() {
            (0..calls).filter_map(|n| crowd.begin(n, now.wall)).flatten().for_each(|line| out.extend(line));
        }
        let elapsed = now.mono.since(*began.get_or_insert(now.mono));
        let due = 2 * u64::from(calls) + (elapsed.as_secs_f64() * f64::from(rate)) as u64;
        while crowd.sent() < due
            && let Some(line) = crowd.next(now.wall)
        {
            out.extend(line);
        }
        stream.write_all(&out)?;
        desk.sent.store(crowd.sent(), Ordering::Relaxed);
    }
    Ok(())
}

/// Answers what the box asks; false when it has closed the link.
fn hear(stream: &mut TcpStream, lines: &mut Lines, crowd: &Crowd, count: &AtomicU64) -> std::io::Result<bool> {
    let mut chunk = [0; 16_384];
    let length = match stream.read(&mut chunk) {
        Ok(0) => return Ok(false),
        Ok(length) => length,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(true),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut answers = Vec::new();
    lines.push(&chunk[..length], |line| {
        let Line::Whole(line) = line else { return };
        let answer = serde_json::from_slice(line).ok().and_then(|message| crowd.answer(&message));
        count.fetch_add(u64::from(answer.is_some()), Ordering::Relaxed);
        answers.extend(answer.into_iter().flatten());
    });
    stream.write_all(&answers)?;
    Ok(true)
}

impl Report {
    fn growth_mb(&self) -> f64 {
        (self.rss_kb.1 as f64 - self.rss_kb.0 as f64) / 1024.0
    }

    /// What does not hold.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut check = |holds: bool, what: &str| broken.extend((!holds).then(|| what.to_owned()));
        check(self.taken == self.sent, "not every event was taken");
        check(self.lost + self.bad_lines == 0, "the box missed events");
        check(self.growth_mb() <= self.growth_mb as f64, "memory grew by too much");
        broken
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_s = self.sent as f64 / self.length.as_secs_f64();
        writeln!(f, "calls in progress          {}, {} of them being recorded", self.calls, self.recorded)?;
        writeln!(f, "events sent                {} in {:.1?}, {per_s:.0}/s", self.sent, self.length)?;
        writeln!(f, "events taken               {}; lost {}, bad lines {}", self.taken, self.lost, self.bad_lines)?;
        let (before, after) = self.rss_kb;
        let (before, after) = (before as f64 / 1024.0, after as f64 / 1024.0);
        writeln!(f, "resident                   {before:.1} MB before, {after:.1} MB after: {:.1} MB more", self.growth_mb())?;
        let [before, during, after] = &self.spent;
        let quiet_time = (before.packets + after.packets).max(1) as f64;
        let us = |time: Duration, packets: f64| time.as_secs_f64() * 1e6 / packets;
        if during.packets > 0 {
            let packets = during.packets as f64;
            let rows = [
                ("reading audio", us(before.media + after.media, quiet_time), us(during.media, packets)),
                ("the whole process", us(before.all + after.all, quiet_time), us(during.all, packets)),
            ];
            for (what, without, with) in rows {
                let ratio = with / without;
                writeln!(f, "CPU µs per packet          {what}: {without:.3} without events, {with:.3} with: {ratio:.2}")?;
            }
        } else {
            writeln!(f, "CPU µs per event           {:.1}", us(during.all, self.sent as f64))?;
        }
        writeln!(f, "load of the machine        {}", self.load)?;
        let broken = self.broken();
        write!(
            f,
            "{}",
            if broken.is_empty() { "every count is as it must be".to_owned() } else { format!("BROKEN: {}", broken.join("; ")) }
        )
    }
}
