//! SIGKILL at random moments while calls are up, again and again.
//!
//! What the box had acknowledged is known from outside in two ways. Before each kill its metrics say how many blocks it has
//! acknowledged since its start: so many at least must be in the spool afterwards. And after each kill the spool is copied and
//! read by the library: every sample in it, acknowledged or not, must be in the finished file, in its place. The finished
//! file is compared with what the sender says it sent, too: every sample that is there must be one that was sent, and what is not
//! there must have been sent within a second before a kill, or while the box was away.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use nearend::clock::Now;
use nearend::model::{MonoTime, Stage, WallTime};

use super::audio::{Finished, PER_MS, Piece, SILENCE, pieces};
use super::machine::{Machine, wait_for};
use super::sender::{Call, Running};
use super::spooled::Spooled;
use super::{Result, ledger};

/// The longest that the box is left alone between two kills.
const LONGEST_UP_MS: u64 = 3_500;

/// Before the end of the calls no kill comes any more, so that each can be hung up.
const QUIET: Duration = Duration::from_secs(4);

/// A box that was up for so long must have audio of that time.
const SURELY_HEARD: Duration = Duration::from_millis(1_500);

/// The most that may be lost of each channel by a kill.
const BAR_UNACKNOWLEDGED_MS: i64 = 1_000;

/// The latest that the box may be ready.
const BAR_READY: Duration = Duration::from_millis(1_500);

/// What is to be done.
#[derive(Args, Debug)]
pub(crate) struct Plan {
    /// How often the box is killed
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) kills: u32,
    /// Calls that are up, with two streams each
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) calls: u32,
    /// How long the calls of a round are; then others take their place
    #[arg(long, value_name = "SECONDS", default_value_t = 75, value_parser = clap::value_parser!(u64).range(12..=3_600))]
    pub(crate) length: u64,
    /// Recordings in the ledger beforehand: nine in ten released, the others delivered
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    pub(crate) recordings: u64,
    /// Decides when the kills come and what is said
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// What was seen.
#[derive(Default)]
pub(crate) struct Report {
    seed: u64,
    recordings: u64,
    kills: usize,
    calls: usize,
    /// Calls that did not end with an answered BYE.
    broken_off: usize,
    acknowledged_blocks: u64,
    /// Acknowledged, and not in the spool after the kill.
    not_in_spool: u64,
    spooled_samples: u64,
    /// In the spool after a kill, and not in the finished file.
    missing_samples: u64,
    damaged_pieces: u64,
    /// Lost before a kill, per kill and channel, ms; sorted at the end.
    unacknowledged_ms: Vec<i64>,
    /// Samples that were sent while the box was up, not just before a kill, and are not there.
    lost_samples: u64,
    /// Per kill and channel: nothing was kept between this start and the next kill, though there was time.
    not_continued: u64,
    /// The most by which a piece stands elsewhere than the first one of its channel, ms.
    displaced_ms: i64,
    ready: Vec<Duration>,
    idle_kb: (u64, u64),
}

/// A kill, and the start behind it.
#[derive(Clone, Copy)]
struct Death {
    at: WallTime,
    ready_at: WallTime,
}

pub(crate) fn run(plan: &Plan) -> Result<Report> {
    let mut machine = Machine::prepare("")?;
    if plan.recordings > 0 {
        eprintln!("trials: {} recordings are entered into the ledger", plan.recordings);
        ledger::fill(&mut machine, plan.recordings, |n| if n % 10 == 0 { Stage::Delivered } else { Stage::Released })?;
    }
    let mut trial = Trial {
        random: fastrand::Rng::with_seed(plan.seed),
        report: Report { seed: plan.seed, recordings: plan.recordings, ..Report::default() },
        machine,
        plan,
    };
    while trial.report.kills < plan.kills as usize {
        trial.round()?;
    }
    trial.report.unacknowledged_ms.sort_unstable();
    trial.report.ready.sort_unstable();
    Ok(trial.report)
}

struct Trial<'a> {
    plan: &'a Plan,
    random: fastrand::Rng,
    machine: Machine,
    report: Report,
}

impl Trial<'_> {
    /// Calls from their beginning to their finished files, with kills in between.
    fn round(&mut self) -> Result<()> {
        self.machine.start()?;
        let (calls, end) = self.place_calls()?;
        self.report.idle_kb = self.report.idle_kb.max(self.machine.memory_kb()?);
        let (mut deaths, mut spooled) = (Vec::new(), Spooled::default());
        while self.report.kills < self.plan.kills as usize {
            let up = Duration::from_millis(self.random.u64(0..LONGEST_UP_MS));
            if Now::read().mono.after(up + QUIET) >= end {
                break;
            }
            sleep(up);
            deaths.push(self.kill(&mut spooled)?);
        }
        self.judge(calls, &deaths, &spooled)?;
        self.machine.stop()
    }

    /// Gives the calls, once all are up, and when the first of them ends.
    fn place_calls(&mut self) -> Result<(Vec<Running>, MonoTime)> {
        let length = Duration::from_secs(self.plan.length);
        let mut calls = Vec::new();
        for n in 0..self.plan.calls {
            let id = format!("trial-{}-{n}", self.report.calls);
            calls.push(Call::noisy(&self.machine, length, &id, &mut self.random)?);
        }
        let begin = Now::read().mono;
        let calls = calls.into_iter().map(Call::start).collect::<Result<Vec<_>>>()?;
        let wanted = u64::from(self.plan.calls);
        wait_for("all calls to be up", Duration::from_secs(30), || {
            let running = self.machine.metric("nearend_recordings_running")?;
            Ok((running == wanted && self.machine.metric("nearend_spool_blocks_total")? >= 2 * wanted).then_some(()))
        })?;
        Ok((calls, begin.after(length)))
    }

    fn kill(&mut self, spooled: &mut Spooled) -> Result<Death> {
        let acknowledged = self.machine.metric("nearend_spool_blocks_total")?;
        let at = self.machine.kill()?;
        let copy = self.machine.path("copy");
        Spooled::copy(&self.machine.spool(), &copy)?;
        let ready = self.machine.start()?;
        let ready_at = Now::read().wall;
        let before = spooled.parts;
        spooled.add(&copy)?;
        fs::remove_dir_all(&copy)?;
        let report = &mut self.report;
        report.kills += 1;
        report.acknowledged_blocks += acknowledged;
        report.not_in_spool += acknowledged.saturating_sub(spooled.parts.saturating_sub(before));
        report.ready.push(ready);
        eprintln!("trials: kill {}: ready after {ready:.0?}, {acknowledged} blocks acknowledged before", report.kills);
        Ok(Death { at, ready_at })
    }

    /// Waits for the end of all calls and compares.
    fn judge(&mut self, mut calls: Vec<Running>, deaths: &[Death], spooled: &Spooled) -> Result<()> {
        self.report.calls += calls.len();
        self.report.damaged_pieces += spooled.damaged;
        for call in &mut calls {
            self.report.broken_off += usize::from(call.finish().is_err());
        }
        let wanted = self.report.calls + usize::from(self.report.recordings > 0);
        let folders = wait_for("all recordings to be finished", Duration::from_secs(120), || {
            let folders = self.machine.finished()?;
            Ok((folders.len() >= wanted).then_some(folders))
        })?;
        if folders.len() > wanted {
            return Err(format!("{} recordings of {wanted} calls", folders.len()).into());
        }
        let folders: BTreeMap<_, _> = folders.iter().filter_map(|path| Some((path.file_name()?.to_str()?, path))).collect();
        for call in &calls {
            let (id, sent) = call.sent()?;
            let finished = Finished::open(folders.get(id.as_str()).ok_or_else(|| format!("recording {id} is missing"))?)?;
            self.report.damaged_pieces += u64::from(finished.is_damaged);
            for (nth, (sent, (kept, moved))) in sent.iter().zip(&finished.channels).enumerate() {
                let (samples, missing) = spooled.missing_in(&id, nth as u8 + 1, kept);
                self.report.spooled_samples += samples;
                self.report.missing_samples += missing;
                let found = pieces(sent, kept).map_err(|why| format!("recording {id}, channel {}: {why}", nth + 1))?;
                let place = |at: WallTime| (at.0 - finished.start_us) / 125 + moved;
                self.report.add_channel(sent, &found, deaths, place);
            }
        }
        Ok(())
    }
}

impl Report {
    /// Counts what is not there of one channel. `place` gives the place of a moment in the file.
    fn add_channel(&mut self, sent: &[u8], pieces: &[Piece], deaths: &[Death], place: impl Fn(WallTime) -> i64) {
        let Some(first) = pieces.first() else {
            self.lost_samples += sent.len() as u64;
            return;
        };
        let sounding = |from: usize, to: usize| sent[from..to].iter().filter(|code| **code != SILENCE).count() as u64;
        let end = |piece: &Piece| (piece.sent + piece.length, (piece.kept + piece.length) as i64);
        self.lost_samples += sounding(0, first.sent);
        for (n, piece) in pieces.iter().enumerate() {
            let (sent_until, kept_until) = end(piece);
            let (sent_again, kept_again) = pieces.get(n + 1).map_or((sent.len(), i64::MAX), |next| (next.sent, next.kept as i64));
            let is_killed = |death: &Death| (kept_until - 50 * PER_MS..=kept_again).contains(&place(death.at));
            if !deaths.iter().any(is_killed) {
                self.lost_samples += sounding(sent_until, sent_again);
            }
            self.displaced_ms = self.displaced_ms.max((piece.shift() - first.shift()).abs() / PER_MS);
        }
        let mut up_from = 0;
        for (n, death) in deaths.iter().enumerate() {
            let killed = place(death.at);
            let before = pieces.iter().filter(|piece| (piece.kept as i64) < killed).map(|piece| end(piece).1).max().unwrap_or(0);
            self.unacknowledged_ms.push((killed - before.max(up_from)).max(0) / PER_MS);
            up_from = place(death.ready_at);
            let until = deaths.get(n + 1).map_or(i64::MAX, |next| place(next.at));
            let is_heard = pieces.iter().any(|piece| (piece.kept as i64) < until && end(piece).1 > up_from);
            let must_be = until.saturating_sub(up_from) > SURELY_HEARD.as_millis() as i64 * PER_MS;
            self.not_continued += u64::from(must_be && !is_heard);
        }
    }

    /// What of the bars does not hold.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut check = |holds: bool, what: &str| broken.extend((!holds).then(|| what.to_owned()));
        check(self.not_in_spool == 0 && self.missing_samples == 0, "what was acknowledged is missing");
        check(self.damaged_pieces == 0, "a kill has damaged audio");
        check(self.lost_samples == 0, "audio is lost that was not sent right before a kill");
        check(self.broken_off == 0 && self.not_continued == 0, "a call did not go on");
        check(self.unacknowledged_ms.last().is_none_or(|most| *most <= BAR_UNACKNOWLEDGED_MS), "more than a second was lost");
        check(self.displaced_ms <= 20, "what came after a kill stands more than a packet from its place");
        broken
    }

    /// Whether the box was ready in time, which depends on what else the machine does.
    fn is_ready_in_time(&self) -> bool {
        self.ready.last().is_none_or(|most| *most <= BAR_READY)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |values: &[i64], percent: usize| {
            values.get((values.len() * percent / 100).min(values.len().saturating_sub(1))).copied().unwrap_or(0)
        };
        let ms = &self.unacknowledged_ms;
        let ready = |nth: usize| self.ready.get(nth).copied().unwrap_or_default();
        let in_time = if self.is_ready_in_time() { "" } else { ", LATE" };
        writeln!(f, "seed                       {}", self.seed)?;
        writeln!(
            f,
            "kills                      {}, {} calls, {} recordings in the ledger beforehand",
            self.kills, self.calls, self.recordings
        )?;
        writeln!(f, "calls not hung up properly {}, not continued after a kill {}", self.broken_off, self.not_continued)?;
        writeln!(
            f,
            "blocks acknowledged        {} before the kills, {} of them not in the spool afterwards",
            self.acknowledged_blocks, self.not_in_spool
        )?;
        writeln!(
            f,
            "samples in the spool       {} after the kills, {} of them not in the finished files",
            self.spooled_samples, self.missing_samples
        )?;
        writeln!(f, "damaged pieces             {}", self.damaged_pieces)?;
        writeln!(
            f,
            "lost before a kill         {} ms median, {} ms 99 %, {} ms at most, of a channel",
            share(ms, 50),
            share(ms, 99),
            share(ms, 100)
        )?;
        writeln!(f, "lost otherwise             {} samples", self.lost_samples)?;
        writeln!(f, "displaced after a kill     {} ms at most", self.displaced_ms)?;
        writeln!(
            f,
            "ready after                {:.0?} median, {:.0?} 99 %, {:.0?} at most{in_time}",
            ready(self.ready.len() / 2),
            ready(self.ready.len() * 99 / 100),
            ready(self.ready.len().saturating_sub(1))
        )?;
        writeln!(
            f,
            "resident with calls        {:.1} MB, {:.1} MB at most",
            self.idle_kb.0 as f64 / 1024.0,
            self.idle_kb.1 as f64 / 1024.0
        )?;
        let broken = self.broken();
        write!(
            f,
            "{}",
            if broken.is_empty() { "every count is as it must be".to_owned() } else { format!("BROKEN: {}", broken.join("; ")) }
        )
    }
}
