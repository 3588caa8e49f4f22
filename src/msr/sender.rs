//! When each packet of thousands of streams is due: a timer wheel of one turn per packet time, in steps of twenty microseconds,
//! because the packets of a thousand phones come one by one: in bunches, a receiver that wakes for each would look cheap
//! (docs/performance.md).
//!
//! A call gets the emptiest slot of the wheel, so that the calls are spread evenly over the packet time; its streams share the
//! frames, each one step behind the one before. A step's time is computed from the wheel's start, never from the step before: no
//! drift. Steps that were missed are made up for at once.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Now;
use crate::model::MonoTime;

use super::stream::{Counters, Stream};

/// Length of a step: the time between two packets of a thousand streams.
const STEP_US: u64 = 20;
/// A packet sent this much behind its time counts as late: a quarter of the usual packet time.
pub const LATE: Duration = Duration::from_millis(5);
/// Time between two sender reports (RFC 3550 §6.2: five seconds at least).
const REPORT_EVERY_US: u64 = 5_000_000;

/// A call, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallNo(pub u32);

/// A stream among all of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamNo(pub u32);

/// What the sender wants done, and for which stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<'a> {
    /// A datagram from the RTP port.
    Rtp(&'a [u8]),
    /// A datagram from the RTCP port.
    Rtcp(&'a [u8]),
    /// What a perfect recorder plays for frame `frame` of the call.
    Heard {
        /// Counted from the start of the call.
        frame: u64,
        /// Its samples.
        codes: &'a [u8],
    },
    /// The stream has reached its end and is gone.
    Finished(Counters),
}

/// All streams that are being sent.
#[derive(Debug)]
pub struct Sender {
    start: MonoTime,
    /// The next step to do.
    next_step: u64,
    /// Streams by slot; all slots together are a packet time.
    slots: Vec<Vec<StreamNo>>,
    calls: BTreeMap<CallNo, Timeline>,
    streams: BTreeMap<StreamNo, Running>,
    late: u64,
    scratch: Vec<Vec<u8>>,
}

/// Where a call's frames lie among the steps.
#[derive(Clone, Copy, Debug)]
struct Timeline {
    first_step: u64,
    /// Streams that have begun.
    begun: u64,
    /// Streams that are being sent.
    streams: u32,
}

#[derive(Debug)]
struct Running {
    call: CallNo,
    slot: usize,
    stream: Stream,
    /// The frame in which it ends.
    end: u64,
    started: bool,
}

impl Sender {
    /// A wheel that begins to turn at `start`, for streams of `ptime_ms` per packet.
    pub fn new(start: MonoTime, ptime_ms: u8) -> Sender {
        let slots = vec![Vec::new(); usize::from(ptime_ms.max(1)) * (1_000 / STEP_US) as usize];
        let (calls, streams) = (BTreeMap::new(), BTreeMap::new());
        Sender { start, next_step: 0, slots, calls, streams, late: 0, scratch: Vec::new() }
    }

    /// Sends `stream` as part of `call` until the call's frame `end`. The first stream of a call makes frame 0.
    pub fn start(&mut self, now: MonoTime, call: CallNo, no: StreamNo, stream: Stream, end: u64) {
        let present = self.next_step.max((now.since(self.start).as_micros() as u64).div_ceil(STEP_US));
        if self.streams.is_empty() {
            self.next_step = present; // steps in which nothing was to be sent are not made up for
        }
        let timeline = self.calls.entry(call).or_insert_with(|| Timeline::from(present, &self.slots));
        let slot = ((timeline.first_step + timeline.begun) % self.slots.len() as u64) as usize; // below len()
        timeline.begun += 1;
        timeline.streams += 1;
        self.slots[slot].push(no);
        self.streams.insert(no, Running { call, slot, stream, end, started: false });
    }

    /// Stops the packets of a stream for a while. Unknown and finished streams are none of its business, here as below.
    pub fn pause(&mut self, no: StreamNo, out: &mut impl FnMut(StreamNo, Output<'_>)) {
        if let Some(running) = self.streams.get_mut(&no) {
            running.stream.pause(&mut self.scratch);
            self.scratch.drain(..).for_each(|datagram| out(no, Output::Rtp(&datagram)));
        }
    }

    /// Sends its packets again.
    pub fn resume(&mut self, no: StreamNo) {
        if let Some(running) = self.streams.get_mut(&no) {
            running.stream.resume();
        }
    }

    /// Ends a stream before its time.
    pub fn stop(&mut self, now: Now, no: StreamNo, out: &mut impl FnMut(StreamNo, Output<'_>)) {
        let Some(Running { call, slot, mut stream, started, .. }) = self.streams.remove(&no) else { return };
        stream.flush(&mut self.scratch);
        self.scratch.drain(..).for_each(|datagram| out(no, Output::Rtp(&datagram)));
        self.slots[slot].retain(|other| *other != no);
        if let Some(timeline) = self.leave(call).filter(|_| started && stream.setup().goodbye) {
            let (frame, late) = self.position(timeline, now.mono);
            out(no, Output::Rtcp(&stream.report(now, frame, late).goodbye(&stream.setup().cname)));
        }
        out(no, Output::Finished(stream.counters()));
    }

    /// When the next packet is due; none when nothing is sent.
    pub fn next_due(&self) -> Option<MonoTime> {
        let turn = self.slots.len() as u64;
        (self.next_step..self.next_step + turn).find(|step| !self.slots[self.slot(*step)].is_empty()).map(|step| self.time(step))
    }

    /// Does every step that is due at `now`.
    pub fn run_due(&mut self, now: Now, out: &mut impl FnMut(StreamNo, Output<'_>)) {
        while let Some(at) = self.next_due().filter(|at| *at <= now.mono) {
            let step = at.since(self.start).as_micros() as u64 / STEP_US; // the inverse of `time`
            self.next_step = step + 1;
            for no in self.slots[self.slot(step)].clone() {
                self.run_stream(now, no, step, out);
            }
        }
    }

    /// Packets sent more than [`LATE`] behind their time.
    pub fn late(&self) -> u64 {
        self.late
    }

    fn run_stream(&mut self, now: Now, no: StreamNo, step: u64, out: &mut impl FnMut(StreamNo, Output<'_>)) {
        let (at, turn) = (self.time(step), self.slots.len() as u64);
        let Some(running) = self.streams.get_mut(&no) else { return };
        let since_first = self.calls.get(&running.call).and_then(|timeline| step.checked_sub(timeline.first_step));
        let Some(frame) = since_first.map(|steps| steps / turn) else { return };
        if frame >= running.end {
            return self.stop(now, no, out);
        }
        running.stream.tick(frame, &mut self.scratch);
        let late = now.mono.since(at);
        if late > LATE {
            self.late += self.scratch.len() as u64;
        }
        self.scratch.drain(..).for_each(|datagram| out(no, Output::Rtp(&datagram)));
        out(no, Output::Heard { frame, codes: running.stream.heard() });
        let first = !std::mem::replace(&mut running.started, true);
        if first || frame.is_multiple_of((REPORT_EVERY_US / (turn * STEP_US)).max(1)) {
            out(no, Output::Rtcp(&running.stream.report(now, frame, late).to_bytes(&running.stream.setup().cname)));
        }
    }

    /// Takes a stream from its call, and the call from the list when it was the last one.
    fn leave(&mut self, call: CallNo) -> Option<Timeline> {
        let timeline = self.calls.get_mut(&call)?;
        timeline.streams = timeline.streams.saturating_sub(1);
        let left = *timeline;
        if left.streams == 0 {
            self.calls.remove(&call);
        }
        Some(left)
    }

    /// The frame that `now` lies in, and how far.
    fn position(&self, timeline: Timeline, now: MonoTime) -> (u64, Duration) {
        let since_first = now.since(self.time(timeline.first_step));
        let frame_time = Duration::from_micros(STEP_US * self.slots.len() as u64);
        let frame = since_first.as_micros() / frame_time.as_micros();
        (frame as u64, since_first - frame_time * frame as u32)
    }

    fn slot(&self, step: u64) -> usize {
        (step % self.slots.len() as u64) as usize // below len()
    }

    fn time(&self, step: u64) -> MonoTime {
        self.start.after(Duration::from_micros(step * STEP_US))
    }
}

impl Timeline {
    /// In the emptiest slot, from its first turn at or after step `present`.
    fn from(present: u64, slots: &[Vec<StreamNo>]) -> Timeline {
        let turn = slots.len() as u64;
        // Looked at in the order of time, so that an idle wheel starts at once.
        let emptiest = (present..present + turn).min_by_key(|step| slots[(step % turn) as usize].len());
        Timeline { first_step: emptiest.unwrap_or(present), begun: 0, streams: 0 }
    }
}

#[cfg(test)]
mod tests {
    use rtp_types::RtpPacket;

    use crate::model::WallTime;

    use super::super::audio::Audio;
    use super::super::digits::Digits;
    use super::super::impair::Impairments;
    use super::super::stream::Setup;
    use super::*;

    fn stream(first_sequence: u16) -> Stream {
        Stream::new(Setup {
            ssrc: 1,
            first_sequence,
            first_timestamp: 0,
            audio: Audio::agent(),
            ptime_ms: 20,
            digits: Digits::default(),
            impairments: Impairments::default(),
            seed: 0,
            cname: "a".into(),
            goodbye: true,
        })
    }

    fn at(us: u64) -> Now {
        Now { mono: MonoTime(us), wall: WallTime(us as i64) }
    }

    /// What happened, when.
    #[derive(Debug, PartialEq, Eq, Clone, Copy)]
    enum Seen {
        Rtp(u64, StreamNo, u32),
        Rtcp(u64, StreamNo),
        Heard(u64),
        Finished,
    }

    fn record(now: Now, seen: &mut Vec<Seen>) -> impl FnMut(StreamNo, Output<'_>) + '_ {
        move |no, output| {
            seen.push(match output {
                Output::Rtp(packet) => Seen::Rtp(now.mono.0, no, RtpPacket::parse(packet).unwrap().timestamp()),
                Output::Rtcp(_) => Seen::Rtcp(now.mono.0, no),
                Output::Heard { frame, .. } => Seen::Heard(frame),
                Output::Finished(_) => Seen::Finished,
            })
        }
    }

    /// Steps from deadline to deadline until nothing is left to do or `end` is reached.
    fn play(sender: &mut Sender, end: u64) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Some(due) = sender.next_due().filter(|due| due.0 <= end) {
            sender.run_due(at(due.0), &mut record(at(due.0), &mut seen));
        }
        seen
    }

    fn packets(seen: &[Seen], no: u32) -> Vec<(u64, u32)> {
        seen.iter()
            .filter_map(|s| matches!(s, Seen::Rtp(_, n, _) if n.0 == no).then_some(*s))
            .map(|s| match s {
                Seen::Rtp(at, _, timestamp) => (at, timestamp),
                _ => (0, 0),
            })
            .collect()
    }

    #[test]
    fn packets_leave_on_the_grid_until_the_end() {
        let mut sender = Sender::new(MonoTime(500), 20);
        assert_eq!(sender.next_due(), None);
        sender.start(MonoTime(10_705), CallNo(0), StreamNo(0), stream(0), 3);
        let seen = play(&mut sender, u64::MAX);
        assert_eq!(packets(&seen, 0), [(10_720, 0), (30_720, 160), (50_720, 320)]);
        assert_eq!(seen.iter().filter(|s| matches!(s, Seen::Rtcp(..))).count(), 2, "a report and a goodbye");
        assert_eq!(seen.last(), Some(&Seen::Finished));
        assert_eq!((sender.next_due(), sender.late(), sender.calls.len()), (None, 0, 0));
    }

    #[test]
    fn calls_are_spread_over_the_packet_time_and_legs_share_their_frames() {
        let mut sender = Sender::new(MonoTime(0), 20);
        for call in 0..2_000 {
            sender.start(MonoTime(0), CallNo(call), StreamNo(2 * call), stream(0), 50);
        }
        assert!(sender.slots.iter().all(|slot| slot.len() == 2));
        play(&mut sender, 400_000);
        sender.start(MonoTime(401_234), CallNo(7), StreamNo(15), stream(0), 50);
        let seen = play(&mut sender, 2_000_000);
        let (first, second) = (packets(&seen, 14), packets(&seen, 15));
        let behind: Vec<_> = first.iter().map(|(at, timestamp)| (at + STEP_US, *timestamp)).collect();
        assert_eq!(behind[behind.len() - second.len()..], second, "the same frames, a step later");
        assert_eq!(second.last().unwrap().1, 49 * 160);
    }

    #[test]
    fn a_stall_is_made_up_for_and_counted_and_leaves_no_drift() {
        let mut sender = Sender::new(MonoTime(0), 20);
        sender.start(MonoTime(0), CallNo(0), StreamNo(0), stream(0), 1_000);
        play(&mut sender, 100_000); // frames 0..=5
        let mut seen = Vec::new();
        sender.run_due(at(204_000), &mut record(at(204_000), &mut seen)); // 6..=10, of which the last is 4 ms late
        assert_eq!(packets(&seen, 0).len(), 5);
        assert_eq!(sender.late(), 4);
        assert_eq!(sender.next_due(), Some(MonoTime(220_000)));
    }

    #[test]
    fn reports_come_at_first_and_every_five_seconds() {
        let mut sender = Sender::new(MonoTime(0), 20);
        sender.start(MonoTime(0), CallNo(0), StreamNo(0), stream(0), 600);
        let seen = play(&mut sender, 11_990_000);
        let times: Vec<_> = seen.iter().filter_map(|s| if let Seen::Rtcp(at, _) = s { Some(*at) } else { None }).collect();
        assert_eq!(times, [0, 5_000_000, 10_000_000]);
    }

    #[test]
    fn stopping_early_says_goodbye_once() {
        let mut sender = Sender::new(MonoTime(0), 20);
        sender.start(MonoTime(0), CallNo(0), StreamNo(0), stream(0), 600);
        play(&mut sender, 40_000);
        let mut seen = Vec::new();
        for _ in 0..2 {
            sender.stop(at(45_000), StreamNo(0), &mut record(at(45_000), &mut seen));
        }
        assert_eq!(seen, [Seen::Rtcp(45_000, StreamNo(0)), Seen::Finished]);
        assert_eq!(sender.next_due(), None);
    }
}
