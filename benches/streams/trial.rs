//! One contestant under load: started, measured while all its streams are up, ended, and measured once more.

use std::process::Stdio;
use std::thread::sleep;

use nearend::model::MonoTime;
use serde::Deserialize;

use super::Result;
use super::contestant::{Contestant, Counted, Running, SENDER};
use super::plan::Plan;
use super::process::{self, Core, Guarded, Usage};

/// Packets per second of a stream: 20 ms each.
const PACKETS_PER_S: f64 = 50.0;
/// Bytes of audio per packet.
const AUDIO_BYTES: f64 = 160.0;

/// What a contestant needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// CPU µs per packet while all streams are up.
    pub(crate) us_per_packet: f64,
    /// CPU ms per call for what is not per packet: set-up, hang-up, and all that is done with the recording afterwards.
    pub(crate) ms_per_call: f64,
    /// Packets sent and not counted. Negative would mean that it counts what was not sent.
    pub(crate) lost: i64,
    /// Peak of resident memory.
    pub(crate) rss_mb: f64,
    /// The same before the calls end and their files are made.
    pub(crate) rss_in_calls_mb: f64,
    /// Resident memory before the first call.
    pub(crate) idle_rss_mb: f64,
    /// Bytes written to the medium per byte of audio, while all streams are up.
    pub(crate) written_per_audio_byte: f64,
    /// The same from the first INVITE to the last finished file.
    pub(crate) written_per_audio_byte_whole: f64,
    /// By the contestant's own account: bytes written to the spool per byte of audio, and flushes to the medium per second.
    pub(crate) spool_per_audio_byte: Option<f64>,
    /// Flushes of the spool per second of the load.
    pub(crate) fsyncs_per_s: Option<f64>,
    /// Packets that the sender could not send in time, per packet.
    pub(crate) late_share: f64,
}

/// Runs one.
pub(crate) fn run(contestant: Contestant, streams: u32, plan: &Plan) -> Result<Measured> {
    let mut running = contestant.start(streams)?;
    sleep(Plan::SETTLE);
    let idle = Usage::of(running.pid())?;
    let sender = Sender::start(running.as_ref(), streams, plan)?;
    sleep(Plan::ramp(streams) + Plan::SETTLE);
    let begin = Usage::of(running.pid())?;
    sleep(plan.window());
    let end = Usage::of(running.pid())?;
    let sent = sender.finish()?;
    let counted = running.settle(sent.calls.completed)?;
    let last = Usage::of(running.pid())?;
    Ok(Trial { streams, idle, begin, end, last, sent, counted }.measured())
}

struct Trial {
    streams: u32,
    idle: Usage,
    begin: Usage,
    end: Usage,
    last: Usage,
    sent: Sent,
    counted: Counted,
}

impl Trial {
    fn measured(&self) -> Measured {
        let Trial { idle, begin, end, last, sent, counted, .. } = self;
        let sent_packets = sent.packets.sent as f64;
        let window_packets = f64::from(self.streams) * PACKETS_PER_S * seconds(begin.at, end.at);
        let us = |from: &Usage, to: &Usage| (to.cpu - from.cpu).as_secs_f64() * 1e6;
        let written = |from: &Usage, to: &Usage| (to.written_bytes - from.written_bytes) as f64 / AUDIO_BYTES;
        let us_per_packet = us(begin, end) / window_packets;
        let spool = counted.spool_bytes.zip(counted.audio_bytes).map(|(spool, audio)| spool as f64 / audio as f64);
        Measured {
            us_per_packet,
            ms_per_call: (us(idle, last) - us_per_packet * sent_packets) / 1e3 / sent.calls.placed as f64,
            lost: sent.packets.sent.cast_signed() - counted.packets.cast_signed(),
            rss_mb: last.peak_rss_kb as f64 / 1024.0,
            rss_in_calls_mb: end.peak_rss_kb as f64 / 1024.0,
            idle_rss_mb: idle.rss_kb as f64 / 1024.0,
            written_per_audio_byte: written(begin, end) / window_packets,
            written_per_audio_byte_whole: written(idle, last) / sent_packets,
            spool_per_audio_byte: spool,
            fsyncs_per_s: counted.fsyncs.map(|fsyncs| fsyncs as f64 / seconds(idle.at, last.at)),
            late_share: sent.packets.late as f64 / sent_packets,
        }
    }
}

fn seconds(from: MonoTime, to: MonoTime) -> f64 {
    to.since(from).as_secs_f64()
}

/// `nearend-msr`: the same packets at the same pace for all.
struct Sender(Guarded);

/// What it says at its end (docs/nearend-msr.md).
#[derive(Debug, Deserialize)]
struct Sent {
    calls: Calls,
    packets: Packets,
}

#[derive(Debug, Deserialize)]
struct Calls {
    placed: u64,
    completed: u64,
}

#[derive(Debug, Deserialize)]
struct Packets {
    sent: u64,
    late: u64,
    unsent: u64,
}

impl Sender {
    fn start(to: &dyn Running, streams: u32, plan: &Plan) -> Result<Sender> {
        let calls = streams / 2;
        let ramp = Plan::ramp(streams);
        let rate = f64::from(calls) / ramp.as_secs_f64();
        let duration = ramp + Plan::SETTLE + plan.window() + Plan::SETTLE;
        let child = process::command(env!("CARGO_BIN_EXE_nearend-msr"), Core::Sender)
            .args(["--to", &format!("sip:{}", to.sip()), "--local", &SENDER.to_string(), "--json", "--awake"])
            .args(["--calls", &calls.to_string(), "--rate", &rate.to_string()])
            .args(["--duration", &format!("{}ms", duration.as_millis())])
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Sender(Guarded(child)))
    }

    /// Waits until all calls have come to their end.
    fn finish(mut self) -> Result<Sent> {
        let output = self.0.0.stdout.take().ok_or("the sender has no standard output")?;
        let sent: Sent = serde_json::from_reader(output)?;
        match (sent.calls.placed - sent.calls.completed, sent.packets.unsent) {
            (0, 0) => Ok(sent),
            (failed, unsent) => Err(format!("{failed} calls failed, {unsent} packets could not be sent").into()),
        }
    }
}
