//! One RTP stream of a leg: decides what belongs to it, counts everything, and passes audio to its place and digits to
//! their list. Pure: packets come in with their arrival time, blocks go out into the pool, reports are asked for.
//!
//! A packet of another SSRC, or with a sequence number far from the others, may be a stray or the beginning of a new
//! source (RFC 3550 A.1). It is held, with its payload, until a second one follows it: then both are placed, and nothing of
//! the new source is lost. When the present source goes on meanwhile, it was a stray.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::model::block::Law;
use crate::model::recording::{ClockPoint, RtpAnchor};
use crate::model::{LegCounters, LegNo, MediaTime, MonoTime, Payload, RecordingId, RtpTime, Samples, StreamKey, StreamReport};

use super::blocks::{OpenBlocks, Placed, Pool};
use super::digits::Digits;
use super::drift::{LARGEST_STEP, is_quiet};
use super::packet::{self, Datagram, Packet, PayloadMap, TelephoneEvent};
use super::rtcp;
use super::source::Source;
use super::stats::{Order, Receiver};
use super::timeline::{Place, Timeline, Timing};

/// A block's length on the monotonic clock.
pub(super) const BLOCK: Duration = Duration::from_millis(500);

/// SSRCs kept for the description.
const MAX_SSRCS: usize = 16;

/// A second packet of a new source must follow within this time.
const SECOND_WITHIN: Duration = Duration::from_secs(2);

/// How often the same leg may complain in the log.
const COMPLAINT_EVERY: Duration = Duration::from_secs(10);

/// Audio so near to a key that is not to be known may still hold its tone: a gateway needs some 40 ms to tell it from speech.
const AROUND_DIGIT: i64 = 60 * MediaTime::RATE / 1_000;

/// How all streams of a box are received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Packets are taken from the first address heard instead of the negotiated one.
    pub latch: bool,
    /// Which keys were pressed is not kept, nor audio at that moment.
    pub mask_digits: bool,
}

/// Where the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Where its RTP comes from. Unspecified (`0.0.0.0`, `::`): not known, or, in a change, as before.
    pub rtp: SocketAddr,
    /// Where it takes RTCP; none: it takes none. With rtcp-mux the address of the RTP.
    pub rtcp: Option<SocketAddr>,
    /// RTCP goes and comes through the RTP port (RFC 5761).
    pub mux: bool,
}

/// A stream to be opened.
#[derive(Clone, Debug)]
pub struct StreamSpec {
    /// Which one.
    pub key: StreamKey,
    /// For the log.
    pub recording_id: RecordingId,
    /// Zero of the recording's time line, on the grid of quarter-seconds.
    pub origin: MonoTime,
    /// The address of the box to listen at; none: the configured one.
    pub local: Option<IpAddr>,
    /// The RTP port to listen at and no other, because the peer of a call from before a restart sends there; none: the next
    /// free one.
    pub port: Option<u16>,
    /// Where the peer is.
    pub remote: Remote,
    /// What its payload types mean.
    pub payloads: PayloadMap,
    /// Nothing is kept for now.
    pub paused: bool,
    /// Where the source's clock stood before a restart of the box.
    pub anchor: Option<RtpAnchor>,
    /// What lies before is of before a restart, and stays as it is.
    pub begins: MediaTime,
}

/// What a renegotiation changes; none: as before.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamChange {
    /// The peer has moved, or is known only now.
    pub remote: Option<Remote>,
    /// Other payload types.
    pub payloads: Option<PayloadMap>,
    /// Pause or go on.
    pub paused: Option<bool>,
    /// What was said before this moment is not kept, even if it arrives later: the end of a pause on request.
    pub kept_from: Option<MonoTime>,
}

/// One stream.
#[derive(Debug)]
pub struct Stream {
    key: StreamKey,
    recording_id: RecordingId,
    origin: MonoTime,
    source: Source,
    remote: Remote,
    payloads: PayloadMap,
    paused: bool,
    /// Changes whose time has not come: packets that arrived earlier are still to be read.
    changes: VecDeque<(MonoTime, StreamChange)>,
    /// The source that is heard; none before the first packet.
    receiver: Option<Receiver>,
    /// The source before, of which packets may still come.
    former: Option<Box<Receiver>>,
    /// The first packet of what may be a new source.
    held: Option<Held>,
    timeline: Timeline,
    /// What is known of the source from before a restart of the box.
    anchor: Option<RtpAnchor>,
    blocks: OpenBlocks,
    digits: Digits,
    counters: LegCounters,
    /// Packets lost of sources before the present one.
    lost_before: u64,
    ssrcs: heapless::Vec<u32, MAX_SSRCS>,
    clock: Option<(ClockPoint, ClockPoint)>,
    last_packet: Option<MonoTime>,
    /// What lies before is not kept.
    kept_from: MediaTime,
    /// The same of audio, where a masked digit reaches further.
    audio_from: MediaTime,
    mask_digits: bool,
    next_complaint: MonoTime,
}

/// An RTP packet that waits for a second one.
#[derive(Debug)]
struct Held {
    arrived: MonoTime,
    ssrc: u32,
    seq: u16,
    time: RtpTime,
    payload: Payload,
    len: usize,
    samples: Samples,
}

impl Stream {
    /// A stream as negotiated.
    pub fn new(spec: &StreamSpec, manner: Manner) -> Stream {
        Stream {
            key: spec.key,
            recording_id: spec.recording_id.clone(),
            origin: spec.origin,
            source: Source::new(spec.remote.rtp, manner.latch),
            remote: spec.remote,
            payloads: spec.payloads,
            paused: spec.paused,
            changes: VecDeque::new(),
            receiver: None,
            former: None,
            held: None,
            timeline: Timeline::new(spec.origin, spec.begins),
            anchor: spec.anchor,
            blocks: OpenBlocks::new(spec.key.recording, spec.key.leg),
            digits: Digits::new(manner.mask_digits),
            counters: LegCounters::default(),
            lost_before: 0,
            ssrcs: heapless::Vec::new(),
            clock: None,
            last_packet: None,
            next_complaint: MonoTime(0),
            kept_from: MediaTime(i64::MIN),
            audio_from: MediaTime(i64::MIN),
            mask_digits: manner.mask_digits,
        }
    }

    /// Which one it is.
    pub fn key(&self) -> StreamKey {
        self.key
    }

    /// The session was renegotiated at `at`: it applies to packets that arrive from then on. Only what makes the peer known
    /// at last (the answer to a delayed offer) applies at once, because its packets may overtake the answer.
    pub fn change(&mut self, at: MonoTime, change: StreamChange) {
        let at = if self.source.is_known() || self.paused { at } else { MonoTime(0) };
        self.changes.push_back((at, change));
    }

    /// Time has gone by, and all packets that arrived before `now` have been read.
    pub fn handle_timeout(&mut self, now: MonoTime, pool: &mut Pool) {
        self.apply_changes(now, pool);
    }

    /// A datagram came to the RTP port.
    pub fn rtp(&mut self, arrived: MonoTime, from: SocketAddr, datagram: &[u8], pool: &mut Pool) {
        self.apply_changes(arrived, pool);
        match packet::read(datagram) {
            Some(Datagram::Rtcp) => self.rtcp(arrived, from, datagram),
            _ if !self.source.admits(from, arrived) => {
                self.counters.wrong_source += 1;
                let expected = self.remote.rtp;
                self.complain(arrived, |id, leg| {
                    tracing::warn!(recording = %id, %leg, %from, %expected, "RTP from another address than negotiated is dropped; if the peer is behind NAT, switch latching on");
                });
            }
            Some(Datagram::Rtp(packet)) => self.packet(arrived, from, packet, pool),
            None => self.counters.malformed += 1,
        }
    }

    /// A datagram came to the RTCP port, or RTCP to the RTP port.
    pub fn rtcp(&mut self, arrived: MonoTime, from: SocketAddr, datagram: &[u8]) {
        if !self.source.admits_rtcp(from) {
            self.counters.wrong_source += 1;
            return;
        }
        let Some(reports) = rtcp::sender_reports(datagram) else {
            self.counters.malformed += 1;
            return;
        };
        for report in reports {
            let Some(receiver) = self.receiver.as_mut().filter(|receiver| receiver.ssrc() == report.ssrc) else { continue };
            receiver.sender_report(arrived, report.ntp);
            if let Some(at) = self.timeline.of(report.time, arrived) {
                let point = ClockPoint { ssrc: report.ssrc, ntp: report.ntp, at, arrived: self.timeline.at(arrived) };
                self.clock = Some((self.clock.map_or(point, |(first, _)| first), point));
            }
        }
    }

    /// The kernel has dropped so many packets so far because the socket's buffer was full.
    pub fn kernel_drops(&mut self, drops: u32) {
        self.counters.kernel_drops = drops.into();
    }

    /// Whether a block has ended at `boundary` that was not over when blocks were last sealed.
    pub fn is_due(&self, boundary: MonoTime) -> bool {
        self.blocks_over(boundary) > self.blocks.written()
    }

    /// Seals the blocks that end at `boundary` or earlier.
    pub fn seal_until(&mut self, boundary: MonoTime, pool: &mut Pool) {
        self.blocks.seal_before(self.blocks_over(boundary), pool);
    }

    fn blocks_over(&self, boundary: MonoTime) -> u32 {
        let over = boundary.since(self.origin).as_micros() / BLOCK.as_micros();
        // Out of one that is written nothing is taken back: while keys are masked, each stays open for the length of another.
        u32::try_from(over).unwrap_or(u32::MAX).saturating_sub(self.mask_digits.into())
    }

    /// The end: seals all blocks.
    pub fn seal_all(&mut self, pool: &mut Pool) {
        self.drop_held(pool);
        self.blocks.seal_before(u32::MAX, pool);
    }

    /// All that is known.
    pub fn report(&self, closed: bool) -> StreamReport {
        let mut counters = self.counters;
        let heard = self.receiver.iter().chain(self.former.as_deref());
        counters.lost = self.lost_before + heard.map(Receiver::lost).sum::<u64>();
        counters.jitter_us = self.receiver.as_ref().map_or(0, Receiver::jitter_us);
        let clock = match self.clock {
            Some((first, latest)) if first != latest => vec![first, latest],
            Some((first, _)) => vec![first],
            None => Vec::new(),
        };
        let (ssrcs, digits) = (self.ssrcs.to_vec(), self.digits.all().to_vec());
        let newest = self.receiver.as_ref().zip(self.timeline.newest());
        let anchor = newest.map(|(receiver, (time, at))| RtpAnchor { ssrc: receiver.ssrc(), time, at });
        StreamReport { key: self.key, counters, ssrcs, digits, clock, anchor, last_packet: self.last_packet, closed }
    }

    /// Writes a receiver report; gives where it goes and its length. None: the peer takes none, or nothing was received.
    pub fn receiver_report(&mut self, now: MonoTime, ssrc: u32, cname: &str, out: &mut [u8]) -> Option<(Remote, usize)> {
        self.remote.rtcp?;
        let about = self.receiver.as_mut()?.report(now);
        Some((self.remote, rtcp::write_receiver_report(ssrc, about, cname, out).ok()?))
    }

    fn apply_changes(&mut self, now: MonoTime, pool: &mut Pool) {
        while let Some((at, change)) = self.changes.pop_front_if(|(at, _)| *at <= now) {
            if let Some(remote) = change.remote
                && self.source.renegotiate(remote.rtp)
            {
                self.remote = remote;
            }
            self.payloads = change.payloads.unwrap_or(self.payloads);
            match change.paused {
                Some(true) if !self.paused => {
                    self.drop_held(pool);
                    // What came just before may reach into the pause: by a packet, or further when the first one was late.
                    self.blocks.cut(self.timeline.at(at));
                }
                Some(false) if self.paused => self.timeline.resume(),
                _ => {}
            }
            self.paused = change.paused.unwrap_or(self.paused);
            self.kept_from = change.kept_from.map_or(self.kept_from, |from| self.timeline.at(from));
            self.audio_from = self.audio_from.max(self.kept_from);
        }
    }

    fn packet(&mut self, arrived: MonoTime, from: SocketAddr, packet: Packet<'_>, pool: &mut Pool) {
        let payload = self.payloads.of(packet.payload_type);
        let of_source = self.receiver.as_mut().filter(|receiver| receiver.ssrc() == packet.ssrc);
        let order = of_source.map_or(Order::Stranger, |receiver| receiver.sequence(packet.seq));
        if order == Order::Duplicate {
            self.counters.duplicates += 1;
            return;
        }
        let Some(payload) = payload else {
            self.counters.wrong_payload_type += 1;
            return;
        };
        self.source.heard(from, arrived);
        self.last_packet = Some(arrived);
        if self.paused {
            self.counters.masked += 1;
        } else if order == Order::Stranger {
            if let Payload::Audio(law) = payload
                && self.is_overtaken(arrived, &packet, law, pool)
            {
                return;
            }
            self.stranger(arrived, packet, payload, pool);
        } else {
            if order == Order::Next {
                self.drop_held(pool); // the present source goes on: what is held was a stray
            }
            self.accept(arrived, packet, payload, order, pool);
        }
    }

    /// Places a packet of the source before that was overtaken by the present one; false when it is none.
    fn is_overtaken(&mut self, arrived: MonoTime, packet: &Packet<'_>, law: Law, pool: &mut Pool) -> bool {
        let Some(former) = self.former.as_mut().filter(|former| former.ssrc() == packet.ssrc) else { return false };
        let timing = Timing { arrived, seq: packet.seq, time: packet.time, samples: packet.payload.len() };
        let Some(place) = self.timeline.place_of_left(timing) else { return false };
        match former.sequence(packet.seq) {
            Order::Stranger => return false,
            Order::Duplicate => self.counters.duplicates += 1,
            Order::Next | Order::Reordered => {
                self.counters.reordered += u64::from(place != Place::Nowhere);
                self.put(arrived, place, packet.payload, law, pool);
            }
        }
        true
    }

    /// A packet that fits no source so far.
    fn stranger(&mut self, arrived: MonoTime, packet: Packet<'_>, payload: Payload, pool: &mut Pool) {
        if self.receiver.is_none() {
            self.begin_source(packet.ssrc, packet.seq);
            self.accept(arrived, packet, payload, Order::Next, pool);
            return;
        }
        match self.held.take() {
            Some(held) if held.ssrc == packet.ssrc && held.seq == packet.seq => {
                self.counters.duplicates += 1;
                self.held = Some(held);
            }
            Some(held) if held.is_followed_by(arrived, packet) => self.change_source(held, (arrived, packet, payload), pool),
            other => {
                self.held = other;
                self.drop_held(pool);
                self.hold(arrived, packet, payload, pool);
            }
        }
    }

    /// Two packets in sequence: a new source has begun.
    fn change_source(&mut self, held: Held, (arrived, packet, payload): (MonoTime, Packet<'_>, Payload), pool: &mut Pool) {
        self.begin_source(held.ssrc, held.seq);
        let (ssrc, seq, time) = (held.ssrc, held.seq, held.time);
        let first = Packet { ssrc, seq, time, payload_type: 0, payload: held.samples.get(..held.len).unwrap_or_default() };
        self.accept(held.arrived, first, held.payload, Order::Next, pool);
        pool.give(held.samples);
        let order = self.receiver.as_mut().map_or(Order::Next, |receiver| receiver.sequence(packet.seq));
        self.accept(arrived, packet, payload, order, pool);
    }

    fn begin_source(&mut self, ssrc: u32, seq: u16) {
        if let Some(last) = self.receiver.replace(Receiver::new(ssrc, seq)) {
            let older = self.former.replace(Box::new(last));
            self.lost_before += older.map_or(0, |older| older.lost());
        }
        self.timeline.forget_source();
        if let Some(anchor) = self.anchor.take().filter(|anchor| anchor.ssrc == ssrc) {
            self.timeline.go_on_from(anchor.time, anchor.at);
        }
        if !self.ssrcs.contains(&ssrc) {
            let _ = self.ssrcs.push(ssrc); // only the first ones are kept
        }
    }

    fn hold(&mut self, arrived: MonoTime, packet: Packet<'_>, payload: Payload, pool: &mut Pool) {
        let Some(mut samples) = pool.take(packet.payload.len()) else {
            self.counters.overrun += 1;
            return;
        };
        let len = packet.payload.len().min(samples.len());
        samples[..len].copy_from_slice(&packet.payload[..len]);
        let Packet { ssrc, seq, time, .. } = packet;
        self.held = Some(Held { arrived, ssrc, seq, time, payload, len, samples });
    }

    fn drop_held(&mut self, pool: &mut Pool) {
        if let Some(held) = self.held.take() {
            self.counters.wrong_source += 1;
            pool.give(held.samples);
        }
    }

    /// A packet of the present source that has not been there before.
    fn accept(&mut self, arrived: MonoTime, packet: Packet<'_>, payload: Payload, order: Order, pool: &mut Pool) {
        self.counters.reordered += u64::from(order == Order::Reordered);
        match payload {
            Payload::Audio(law) => self.audio(arrived, packet, law, pool),
            Payload::ComfortNoise => {
                self.counters.comfort_noise += 1;
                self.place(arrived, packet, 0, || false);
            }
            Payload::TelephoneEvent => self.telephone_event(arrived, packet),
        }
    }

    fn audio(&mut self, arrived: MonoTime, packet: Packet<'_>, law: Law, pool: &mut Pool) {
        let place = self.place(arrived, packet, packet.payload.len(), || is_quiet(law, packet.payload));
        self.put(arrived, place, packet.payload, law, pool);
    }

    /// Puts samples to their place, unless they were said in a pause.
    fn put(&mut self, arrived: MonoTime, place: Place, payload: &[u8], law: Law, pool: &mut Pool) {
        if let Place::Known(at) | Place::Corrected { at, .. } = place
            && at < self.audio_from
        {
            self.counters.masked += 1;
            return;
        }
        let placed = match place {
            Place::First(at) | Place::Known(at) | Place::Anew(at) => self.blocks.place(at, law, payload, pool),
            Place::Corrected { at, by } => self.corrected(at, by, law, payload, pool),
            Place::Nowhere => Placed::OffTheLine,
        };
        match placed {
            Placed::InTime | Placed::Late => {
                self.counters.packets += 1;
                self.counters.bytes += payload.len() as u64;
                self.counters.late += u64::from(placed == Placed::Late);
            }
            Placed::OffTheLine => self.counters.malformed += 1,
            Placed::NoMemory => {
                self.counters.overrun += 1;
                self.complain(arrived, |id, leg| {
                    tracing::warn!(recording = %id, %leg, "audio is lost: no block is free, because the spool cannot keep up");
                });
            }
        }
    }

    /// The leg's clock is set right by some samples: silence goes before the packet, or its beginning is left out.
    fn corrected(&mut self, at: MediaTime, by: i64, law: Law, payload: &[u8], pool: &mut Pool) -> Placed {
        let samples = usize::try_from(by.unsigned_abs()).unwrap_or(0).min(payload.len());
        if by < 0 {
            self.counters.drift_left_out += samples as u64;
            return self.blocks.place(at, law, &payload[samples..], pool);
        }
        self.counters.drift_inserted += samples as u64;
        let silence = [law.silence(); LARGEST_STEP];
        let silence = &silence[..samples.min(LARGEST_STEP)];
        match self.blocks.place(MediaTime(at.0 - silence.len() as i64), law, silence, pool) {
            Placed::InTime | Placed::Late => self.blocks.place(at, law, payload, pool),
            nowhere => nowhere,
        }
    }

    fn place(&mut self, arrived: MonoTime, packet: Packet<'_>, samples: usize, is_quiet: impl FnOnce() -> bool) -> Place {
        let place = self.timeline.place(Timing { arrived, seq: packet.seq, time: packet.time, samples }, is_quiet);
        let anew = matches!(place, Place::Anew(_));
        if let Some(receiver) = &mut self.receiver {
            if anew {
                receiver.jumped();
            }
            receiver.heard(arrived, packet.time);
        }
        if anew {
            self.counters.resyncs += 1;
            let (ssrc, seq) = (packet.ssrc, packet.seq);
            self.complain(arrived, |id, leg| {
                tracing::info!(recording = %id, %leg, ssrc, seq, "place on the time line taken anew from the arrival time");
            });
        }
        place
    }

    fn telephone_event(&mut self, arrived: MonoTime, packet: Packet<'_>) {
        let Some(event) = TelephoneEvent::read(packet.payload) else {
            self.counters.malformed += 1;
            return;
        };
        let by_arrival = MonoTime(arrived.0.saturating_sub(u64::from(event.duration_ticks) * 125));
        let at = self.timeline.of(packet.time, arrived).unwrap_or_else(|| self.timeline.at(by_arrival));
        if at < self.kept_from {
            self.counters.masked += 1;
            return;
        }
        let begins = self.digits.event(packet.ssrc, packet.time, event, at);
        if self.mask_digits {
            if begins {
                self.blocks.cut(MediaTime(at.0 - AROUND_DIGIT));
            }
            // A key that is held comes again with a longer duration.
            let until = at.0 + i64::from(event.duration_ticks) + AROUND_DIGIT;
            self.audio_from = self.audio_from.max(MediaTime(until));
        }
    }

    fn complain(&mut self, now: MonoTime, log: impl FnOnce(&RecordingId, LegNo)) {
        if now >= self.next_complaint {
            self.next_complaint = now.after(COMPLAINT_EVERY);
            log(&self.recording_id, self.key.leg);
        }
    }
}

impl Held {
    fn is_followed_by(&self, arrived: MonoTime, packet: Packet<'_>) -> bool {
        let steps = packet.seq.wrapping_sub(self.seq).cast_signed();
        packet.ssrc == self.ssrc && steps.unsigned_abs() <= 100 && arrived.since(self.arrived) <= SECOND_WITHIN
    }
}
