//! One RTP stream (RFC 3550 §5.1, RFC 3551 §4.5.14): what goes on the wire in each frame of a call, and what of it is audible.
//!
//! A frame is one packet time, counted from the start of the call, so that all streams of a call speak of the same moment. The
//! RTP timestamp follows the frames also while nothing is sent.

use std::time::Duration;

use crate::clock::Now;
use crate::model::block::Law;

use super::audio::Audio;
use super::digits::{Digits, EventPacket};
use super::impair::{Fate, Fates, Impairments};
use super::rtcp::Report;

/// Payload type of telephone events, as MSR offers it.
pub const EVENT_PAYLOAD_TYPE: u8 = 101;

/// Everything that makes a stream what it is.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Synchronisation source.
    pub ssrc: u32,
    /// First sequence number.
    pub first_sequence: u16,
    /// RTP timestamp of frame 0.
    pub first_timestamp: u32,
    /// What is said; its law is the stream's.
    pub audio: Audio,
    /// Milliseconds per packet.
    pub ptime_ms: u8,
    /// Digits dialled.
    pub digits: Digits,
    /// How bad the network is.
    pub impairments: Impairments,
    /// Decides the fates of the packets.
    pub seed: u64,
    /// Canonical name in RTCP.
    pub cname: String,
    /// Whether it says BYE at its end.
    pub goodbye: bool,
}

/// What a stream has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets made, and so sequence numbers spent.
    pub made: u32,
    /// Their payload bytes.
    pub octets: u32,
    /// Datagrams handed to the network.
    pub sent: u64,
    /// Of those made, not sent: the network's loss.
    pub lost: u64,
    /// Sent behind their successor.
    pub reordered: u64,
    /// Sent twice.
    pub duplicated: u64,
}

/// A stream that is being sent.
#[derive(Clone, Debug)]
pub struct Stream {
    setup: Setup,
    fates: Fates,
    /// A late packet, waiting for its successor to overtake it.
    held: Option<(Vec<u8>, Fate)>,
    paused: bool,
    /// The next packet begins a talk spurt.
    marker: bool,
    heard: Vec<u8>,
    counters: Counters,
}

impl Stream {
    /// A stream that has sent nothing yet.
    pub fn new(setup: Setup) -> Stream {
        let fates = Fates::new(setup.impairments, setup.seed);
        let heard = vec![setup.audio.law().silence(); usize::from(setup.ptime_ms) * 8];
        Stream { setup, fates, held: None, paused: false, marker: true, heard, counters: Counters::default() }
    }

    /// Makes the packet of `frame` and adds to `out` what the network carries now: none, one or several datagrams.
    pub fn tick(&mut self, frame: u64, out: &mut Vec<Vec<u8>>) {
        self.heard.fill(self.setup.audio.law().silence());
        if self.paused {
            return;
        }
        let (packet, is_audio) = match self.setup.digits.at(frame, self.setup.ptime_ms) {
            Some(event) => (self.event_packet(&event), false),
            None => (self.audio_packet(frame), true),
        };
        let fate = self.fates.draw();
        if fate.lost || !is_audio {
            self.heard.fill(self.setup.audio.law().silence());
        }
        let overtaken = self.held.take();
        match fate {
            Fate { lost: true, .. } => self.counters.lost += 1,
            Fate { late: true, .. } if overtaken.is_none() => self.held = Some((packet, fate)),
            _ => self.emit(packet, fate, out),
        }
        if let Some((packet, fate)) = overtaken {
            self.counters.reordered += 1;
            self.emit(packet, fate, out);
        }
    }

    /// What a perfect recorder plays for the last frame: its audio, or silence where none was sent.
    pub fn heard(&self) -> &[u8] {
        &self.heard
    }

    /// Sends nothing until [`resume`](Stream::resume); what is still held goes out now.
    pub fn pause(&mut self, out: &mut Vec<Vec<u8>>) {
        self.flush(out);
        self.paused = true;
        self.marker = true;
    }

    /// Sends again.
    pub fn resume(&mut self) {
        self.paused = false;
    }

    /// Sends what is held, before a pause or the end.
    pub fn flush(&mut self, out: &mut Vec<Vec<u8>>) {
        if let Some((packet, fate)) = self.held.take() {
            self.emit(packet, fate, out);
        }
    }

    /// A sender report at `now`, which is `late` after the time of `frame`.
    pub fn report(&self, now: Now, frame: u64, late: Duration) -> Report {
        let late_ticks = (late.as_micros() * 8 / 1_000) as u32; // RTP time wraps
        let rtp_time = self.timestamp(frame).wrapping_add(late_ticks);
        let Counters { made: packets, octets, .. } = self.counters;
        Report { ssrc: self.setup.ssrc, wall: now.wall, rtp_time, packets, octets }
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How it was set up.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    fn audio_packet(&mut self, frame: u64) -> Vec<u8> {
        self.setup.audio.copy_at(frame * self.samples_per_frame(), &mut self.heard);
        let payload_type = match self.setup.audio.law() {
            Law::Pcmu => 0,
            Law::Pcma => 8,
        };
        let marker = std::mem::take(&mut self.marker);
        let packet = self.packet(marker, payload_type, self.timestamp(frame), &self.heard);
        self.count(self.heard.len());
        packet
    }

    fn event_packet(&mut self, event: &EventPacket) -> Vec<u8> {
        let packet = self.packet(event.first, EVENT_PAYLOAD_TYPE, self.timestamp(event.began), &event.payload);
        self.count(event.payload.len());
        self.marker = true; // audio comes back as a new talk spurt
        packet
    }

    fn packet(&self, marker: bool, payload_type: u8, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let sequence = self.setup.first_sequence.wrapping_add(self.counters.made as u16); // both wrap
        let mut packet = Vec::with_capacity(12 + payload.len());
        packet.extend([0x80, u8::from(marker) << 7 | payload_type]);
        packet.extend(sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(self.setup.ssrc.to_be_bytes());
        packet.extend(payload);
        packet
    }

    fn count(&mut self, octets: usize) {
        self.counters.made = self.counters.made.wrapping_add(1);
        self.counters.octets = self.counters.octets.wrapping_add(octets as u32); // at most 480; RTCP lets it wrap
    }

    fn emit(&mut self, packet: Vec<u8>, fate: Fate, out: &mut Vec<Vec<u8>>) {
        self.counters.sent += 1;
        if fate.doubled {
            self.counters.sent += 1;
            self.counters.duplicated += 1;
            out.push(packet.clone());
        }
        out.push(packet);
    }

    fn timestamp(&self, frame: u64) -> u32 {
        self.setup.first_timestamp.wrapping_add((frame * self.samples_per_frame()) as u32) // RTP time wraps
    }

    fn samples_per_frame(&self) -> u64 {
        u64::from(self.setup.ptime_ms) * 8
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtp_types::RtpPacket;

    use crate::model::MonoTime;
    use crate::model::WallTime;

    use super::*;

    fn setup() -> Setup {
        Setup {
            ssrc: 0x1234_5678,
            first_sequence: u16::MAX - 1,
            first_timestamp: u32::MAX - 100,
            audio: Audio::agent(),
            ptime_ms: 20,
            digits: Digits::default(),
            impairments: Impairments::default(),
            seed: 1,
            cname: "a@b".into(),
            goodbye: true,
        }
    }

    fn run(stream: &mut Stream, frames: std::ops::Range<u64>) -> (Vec<Vec<u8>>, Vec<u8>) {
        let (mut wire, mut heard) = (Vec::new(), Vec::new());
        for frame in frames {
            stream.tick(frame, &mut wire);
            heard.extend_from_slice(stream.heard());
        }
        stream.flush(&mut wire);
        (wire, heard)
    }

    /// What a recorder without faults makes of the wire.
    fn record(wire: &[Vec<u8>], setup: &Setup, frames: usize) -> Vec<u8> {
        let spf = usize::from(setup.ptime_ms) * 8;
        let mut line = vec![setup.audio.law().silence(); frames * spf];
        for packet in wire.iter().map(|p| RtpPacket::parse(p).unwrap()).filter(|p| p.payload_type() != EVENT_PAYLOAD_TYPE) {
            let at = packet.timestamp().wrapping_sub(setup.first_timestamp) as usize;
            line[at..at + packet.payload().len()].copy_from_slice(packet.payload());
        }
        line
    }

    #[test]
    fn numbers_run_on_and_wrap() {
        let mut stream = Stream::new(setup());
        let (wire, heard) = run(&mut stream, 0..3);
        let packets: Vec<_> = wire.iter().map(|p| RtpPacket::parse(p).unwrap()).collect();
        assert_eq!(packets.iter().map(RtpPacket::sequence_number).collect::<Vec<_>>(), [65_534, 65_535, 0]);
        assert_eq!(packets.iter().map(RtpPacket::timestamp).collect::<Vec<_>>(), [u32::MAX - 100, 59, 219]);
        assert_eq!(packets.iter().map(RtpPacket::marker_bit).collect::<Vec<_>>(), [true, false, false]);
        assert!(packets.iter().all(|p| p.ssrc() == 0x1234_5678 && p.payload_type() == 0));
        let mut said = [0; 480];
        Audio::agent().copy_at(0, &mut said);
        assert_eq!(heard, said);
    }

    #[test]
    fn a_late_packet_changes_places_with_the_next_and_is_never_kept_back() {
        let impairments = Impairments { reorder: 1.0, ..Impairments::default() };
        let mut stream = Stream::new(Setup { first_sequence: 0, impairments, ..setup() });
        let (wire, _) = run(&mut stream, 0..5);
        let order: Vec<_> = wire.iter().map(|p| RtpPacket::parse(p).unwrap().sequence_number()).collect();
        assert_eq!(order, [1, 0, 3, 2, 4]);
        assert_eq!(stream.counters().reordered, 2);
    }

    #[test]
    fn a_pause_stops_packets_but_not_time() {
        let mut stream = Stream::new(setup());
        let mut wire = Vec::new();
        stream.tick(0, &mut wire);
        stream.pause(&mut wire);
        stream.tick(1, &mut wire);
        assert!(stream.heard().iter().all(|code| *code == 0xFF));
        stream.resume();
        stream.tick(2, &mut wire);
        let last = RtpPacket::parse(&wire[1]).unwrap();
        assert_eq!((wire.len(), last.sequence_number(), last.timestamp(), last.marker_bit()), (2, 65_535, 219, true));
    }

    #[test]
    fn digits_take_the_place_of_audio() {
        let mut stream = Stream::new(Setup { digits: Digits::new("1").unwrap(), ..setup() });
        let (wire, heard) = run(&mut stream, 100..108);
        let types: Vec<_> = wire.iter().map(|p| RtpPacket::parse(p).unwrap().payload_type()).collect();
        assert_eq!(types, [101, 101, 101, 101, 101, 101, 101, 0]);
        assert!(heard[..7 * 160].iter().all(|code| *code == 0xFF));
        assert!(RtpPacket::parse(&wire[7]).unwrap().marker_bit());
    }

    #[test]
    fn a_report_ties_both_clocks_together() {
        let mut stream = Stream::new(setup());
        run(&mut stream, 0..50);
        let now = Now { mono: MonoTime(0), wall: WallTime(9) };
        let report = stream.report(now, 50, Duration::from_millis(3));
        assert_eq!(report.rtp_time, (u32::MAX - 100).wrapping_add(50 * 160 + 24));
        assert_eq!((report.packets, report.octets, report.wall), (50, 8_000, WallTime(9)));
    }

    proptest! {
        #[test]
        fn what_is_heard_is_what_a_perfect_recorder_records(
            seed: u64, loss in 0.0..0.3, reorder in 0.0..0.5, duplicate in 0.0..0.3, ptime in 1u8..=6, pause in 0u64..150, alaw: bool,
        ) {
            let law = if alaw { Law::Pcma } else { Law::Pcmu };
            let setup = Setup {
                seed, ptime_ms: ptime * 10, audio: Audio::customer().in_law(law), digits: Digits::new("42").unwrap(),
                impairments: Impairments { loss, reorder, duplicate }, ..setup()
            };
            let mut stream = Stream::new(setup.clone());
            let (mut wire, mut heard) = run(&mut stream, 0..pause);
            stream.pause(&mut wire);
            heard.extend(run(&mut stream, pause..pause + 10).1);
            stream.resume();
            let (more, rest) = run(&mut stream, pause + 10..200);
            wire.extend(more);
            heard.extend(rest);
            prop_assert_eq!(record(&wire, &setup, 200), heard);
            let counted = stream.counters();
            prop_assert_eq!(counted.sent, wire.len() as u64);
            prop_assert_eq!(u64::from(counted.made) + counted.duplicated, counted.sent + counted.lost);
        }
    }
}
