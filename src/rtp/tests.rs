//! Whole streams: packets of a simulated sender in, samples on the time line out.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proptest::prelude::*;
use rtcp_types::SenderReport;
use rtcp_types::prelude::*;
use rtp_types::RtpPacketBuilder;

use super::blocks::Pool;
use super::packet::PayloadMap;
use super::stream::{Manner, Remote, Stream, StreamChange, StreamSpec};
use crate::model::block::Law;
use crate::model::recording::Digit;
use crate::model::{BLOCK_BYTES, Block, LegNo, MediaTime, MonoTime, Payload, RecordingId, RecordingNo, StreamKey, StreamReport};

const ORIGIN_MS: u64 = 3_600_500;
const PEER: &str = "10.0.0.1:4000";
const PCMU: u8 = 0;
const PCMA: u8 = 8;
const NOISE: u8 = 13;
const EVENT: u8 = 101;

pub(super) fn payloads() -> PayloadMap {
    PayloadMap::new([
        (PCMU, Payload::Audio(Law::Pcmu)),
        (PCMA, Payload::Audio(Law::Pcma)),
        (NOISE, Payload::ComfortNoise),
        (EVENT, Payload::TelephoneEvent),
    ])
}

pub(super) fn spec(remote: SocketAddr) -> StreamSpec {
    StreamSpec {
        key: StreamKey { recording: RecordingNo(7), leg: LegNo(1) },
        recording_id: RecordingId("test".into()),
        origin: mono(0),
        local: None,
        port: None,
        remote: Remote { rtp: remote, rtcp: None, mux: false },
        payloads: payloads(),
        paused: false,
        anchor: None,
        begins: MediaTime(0),
    }
}

pub(super) fn datagram(ssrc: u32, seq: u16, time: u32, payload_type: u8, payload: &[u8]) -> Vec<u8> {
    let packet = RtpPacketBuilder::<&[u8], &[u8]>::new().ssrc(ssrc).sequence_number(seq).timestamp(time);
    packet.payload_type(payload_type).payload(payload).write_vec().unwrap()
}

/// What lies on the time line: law and byte of each sample. Parts are laid over each other in their order.
pub(super) fn lay_out(blocks: &[Block]) -> BTreeMap<i64, (Law, u8)> {
    let mut line = BTreeMap::new();
    for block in blocks {
        for i in block.runs.iter().flat_map(|run| usize::from(run.start)..run.end()) {
            line.insert(i64::from(block.number.0) * BLOCK_BYTES as i64 + i as i64, (block.law, block.samples[i]));
        }
    }
    line
}

fn mono(ms: u64) -> MonoTime {
    MonoTime((ORIGIN_MS + ms) * 1_000)
}

/// A stream and its peer. Times in milliseconds from the origin; packets hold 20 ms of one byte.
struct World {
    stream: Stream,
    pool: Pool,
    ssrc: u32,
    from: SocketAddr,
}

impl World {
    fn new() -> World {
        World::with(&spec(PEER.parse().unwrap()))
    }

    fn with(spec: &StreamSpec) -> World {
        World { stream: Stream::new(spec, Manner::default()), pool: Pool::new(1_000), ssrc: 1, from: PEER.parse().unwrap() }
    }

    /// Packet number `n` of an even sender arrives.
    fn audio(&mut self, ms: u64, n: u16, byte: u8) {
        self.packet(ms, n, u32::from(n) * 160, PCMU, &[byte; 160]);
    }

    fn packet(&mut self, ms: u64, seq: u16, time: u32, payload_type: u8, payload: &[u8]) {
        let datagram = datagram(self.ssrc, seq, time, payload_type, payload);
        self.raw(ms, &datagram);
    }

    fn raw(&mut self, ms: u64, datagram: &[u8]) {
        self.stream.rtp(mono(ms), self.from, datagram, &mut self.pool);
    }

    fn change(&mut self, ms: u64, change: StreamChange) {
        self.stream.change(mono(ms), change);
    }

    /// The stream is closed: its last report, and first sample, length and byte of each stretch of equal samples.
    fn close(mut self) -> (StreamReport, Vec<(i64, usize, u8)>) {
        let blocks = self.close_to_blocks();
        let mut stretches: Vec<(i64, usize, u8)> = Vec::new();
        for (at, (_, byte)) in lay_out(&blocks) {
            match stretches.last_mut() {
                Some((start, len, same)) if *same == byte && *start + *len as i64 == at => *len += 1,
                _ => stretches.push((at, 1, byte)),
            }
        }
        (self.stream.report(true), stretches)
    }

    fn close_to_blocks(&mut self) -> Vec<Block> {
        self.stream.seal_all(&mut self.pool);
        self.pool.take_sealed()
    }
}

/// Place of a millisecond.
fn at(ms: i64) -> i64 {
    ms * 8
}

const PAUSE: StreamChange = StreamChange { remote: None, payloads: None, paused: Some(true), kept_from: None };
const RESUME: StreamChange = StreamChange { remote: None, payloads: None, paused: Some(false), kept_from: None };

#[test]
fn a_new_ssrc_loses_nothing() {
    let mut world = World::new();
    world.audio(0, 10, 1);
    world.audio(20, 11, 2);
    world.ssrc = 2;
    world.audio(45, 5_000, 3);
    world.audio(65, 5_001, 4);
    world.audio(85, 5_003, 5);
    let (report, line) = world.close();
    assert_eq!(line, [(at(0), 160, 1), (at(20), 160, 2), (at(45), 160, 3), (at(65), 160, 4), (at(105), 160, 5)]);
    assert_eq!(report.ssrcs, [1, 2]);
    assert_eq!((report.counters.packets, report.counters.resyncs, report.counters.lost), (5, 1, 1));
}

#[test]
fn a_stray_ssrc_changes_nothing() {
    let mut world = World::new();
    world.audio(0, 10, 1);
    world.ssrc = 2;
    world.audio(5, 400, 9);
    world.audio(6, 400, 9);
    world.ssrc = 1;
    world.audio(20, 11, 2);
    world.ssrc = 2;
    world.audio(25, 401, 9);
    world.ssrc = 1;
    world.audio(40, 12, 3);
    let (report, line) = world.close();
    assert_eq!(line, [(at(0), 160, 1), (at(20), 160, 2), (at(40), 160, 3)]);
    assert_eq!(report.ssrcs, [1]);
    assert_eq!((report.counters.packets, report.counters.wrong_source, report.counters.duplicates), (3, 2, 1));
    assert_eq!((report.counters.resyncs, report.counters.lost), (0, 0));
}

#[test]
fn a_sender_that_begins_anew_with_the_same_ssrc_loses_nothing() {
    let mut world = World::new();
    world.audio(0, 10, 1);
    world.packet(1_000, 40_000, 77, PCMU, &[2; 160]);
    world.packet(1_020, 40_001, 77 + 160, PCMU, &[3; 160]);
    let (report, line) = world.close();
    assert_eq!(line, [(at(0), 160, 1), (at(1_000), 160, 2), (at(1_020), 160, 3)]);
    assert_eq!((report.counters.packets, report.counters.lost, report.ssrcs), (3, 0, vec![1]));
}

#[test]
fn a_timestamp_jump_is_taken_from_the_arrival() {
    let mut world = World::new();
    world.audio(0, 0, 1);
    world.packet(20, 1, 999_999, PCMU, &[2; 160]);
    world.packet(40, 2, 999_999 + 160, PCMU, &[3; 160]);
    let (report, line) = world.close();
    assert_eq!(line, [(at(0), 160, 1), (at(20), 160, 2), (at(40), 160, 3)]);
    assert_eq!(report.counters.resyncs, 1);
}

#[test]
fn nothing_that_arrives_in_a_pause_is_kept() {
    let mut world = World::new();
    world.audio(0, 0, 1);
    world.change(30, PAUSE);
    world.change(90, RESUME);
    world.audio(20, 1, 2); // read after the change was asked for, but arrived before
    world.audio(40, 2, 9);
    let (seq, time) = (3, 480);
    world.packet(60, seq, time, EVENT, &[5, 0x80, 0x03, 0x20]);
    world.audio(80, 4, 9);
    world.audio(100, 5, 3);
    let (report, line) = world.close();
    assert_eq!(line, [(at(0), 160, 1), (at(20), 80, 2), (at(100), 160, 3)], "and nothing reaches into it");
    assert_eq!((report.counters.packets, report.counters.masked, report.counters.lost), (3, 3, 0));
    assert_eq!(report.digits, []);
    assert_eq!(report.last_packet, Some(mono(100)));
}

#[test]
fn a_clock_that_stood_still_in_a_pause_is_set_anew() {
    let mut world = World::new();
    world.audio(0, 0, 1);
    world.change(20, PAUSE);
    world.change(700, RESUME);
    world.audio(710, 1, 2);
    world.audio(730, 2, 3);
    let (report, line) = world.close();
    assert_eq!(line, [(at(0), 160, 1), (at(710), 160, 2), (at(730), 160, 3)]);
    assert_eq!(report.counters.resyncs, 1);
}

#[test]
fn a_held_packet_does_not_outlive_a_pause() {
    let mut world = World::new();
    world.audio(0, 0, 1);
    world.ssrc = 2;
    world.audio(10, 500, 9);
    world.change(20, PAUSE);
    world.change(25, RESUME);
    world.audio(30, 501, 2);
    world.audio(50, 502, 3);
    let (report, line) = world.close();
    assert_eq!(line, [(at(0), 160, 1), (at(30), 160, 2), (at(50), 160, 3)]);
    assert_eq!(report.counters.wrong_source, 1);
}

#[test]
fn the_law_may_change_in_the_call() {
    let mut world = World::new();
    world.audio(0, 0, 1);
    world.packet(20, 1, 160, PCMA, &[2; 160]);
    let blocks = world.close_to_blocks();
    let line = lay_out(&blocks);
    assert_eq!(line.get(&0), Some(&(Law::Pcmu, 1)));
    assert_eq!(line.get(&160), Some(&(Law::Pcma, 2)));
    assert_eq!(line.len(), 320);
}

#[test]
fn payload_types_follow_the_negotiation() {
    let mut world = World::new();
    world.audio(0, 0, 1);
    world.change(
        10,
        StreamChange { payloads: Some(PayloadMap::new([(PCMA, Payload::Audio(Law::Pcma))])), ..StreamChange::default() },
    );
    world.audio(20, 1, 9);
    world.packet(40, 2, 320, PCMA, &[2; 160]);
    let (report, line) = world.close();
    assert_eq!(line, [(at(0), 160, 1), (at(40), 160, 2)]);
    assert_eq!((report.counters.wrong_payload_type, report.counters.lost), (1, 0));
}

#[test]
fn late_packets_still_come_to_their_place() {
    let mut world = World::new();
    for n in [0, 2, 4] {
        world.audio(440 + u64::from(n) * 20, n, n as u8);
    }
    world.stream.seal_until(mono(500), &mut world.pool);
    let early = world.pool.take_sealed();
    world.audio(610, 1, 1); // its block is written
    world.audio(610, 3, 3); // its block is open
    let counters = world.stream.report(true).counters;
    let blocks: Vec<Block> = early.into_iter().chain(world.close_to_blocks()).collect();
    assert_eq!((counters.late, counters.reordered, counters.packets), (1, 2, 5));
    let expected = (0..5 * 160).map(|i| (at(440) + i, (Law::Pcmu, (i / 160) as u8))).collect();
    assert_eq!(lay_out(&blocks), expected);
}

#[test]
fn digits_are_metadata_and_never_audio() {
    let mut world = World::new();
    world.audio(0, 0, 1);
    for (n, flags, ticks) in [(1, 0x0A, 160), (2, 0x0A, 320), (3, 0x8A, 400), (4, 0x8A, 400), (5, 0x8A, 400)] {
        let [high, low] = u16::to_be_bytes(ticks);
        world.packet(20 * u64::from(n), n, 160, EVENT, &[11, flags, high, low]);
    }
    world.packet(90, 6, 720, PCMU, &[2; 160]);
    world.packet(110, 7, 880, EVENT, &[11]);
    let (report, line) = world.close();
    assert_eq!(report.digits, [Digit { at: MediaTime(at(20)), digit: '#', duration_ms: 50 }]);
    assert_eq!(line, [(at(0), 160, 1), (at(90), 160, 2)]);
    assert_eq!((report.counters.packets, report.counters.malformed, report.counters.lost), (2, 1, 0));
}

#[test]
fn masked_digits_leave_neither_key_nor_tone() {
    let mut world = World::new();
    world.stream = Stream::new(&spec(PEER.parse().unwrap()), Manner { mask_digits: true, ..Manner::default() });
    (0..10).for_each(|n| world.audio(20 * u64::from(n), n, 3)); // the last three may hold the beginning of the tone
    for (n, flags, ticks) in [(10, 0x0A, 160), (12, 0x0A, 320), (14, 0x8A, 400)] {
        let [high, low] = u16::to_be_bytes(ticks);
        world.packet(200 + 10 * u64::from(n - 10), n, 1_600, EVENT, &[7, flags, high, low]);
        let beside = 1_600 + 160 * u32::from(n - 10) / 2;
        world.packet(205 + 10 * u64::from(n - 10), n + 1, beside, PCMU, &[9; 160]);
    }
    world.packet(300, 16, 2_480, PCMU, &[5; 160]); // until 310 ms
    world.packet(320, 17, 2_640, PCMU, &[6; 160]);
    let (report, line) = world.close();
    assert_eq!(report.digits, [Digit { at: MediaTime(at(200)), digit: 'x', duration_ms: 50 }]);
    let kept: Vec<(i64, usize)> = line.iter().map(|(place, samples, _)| (*place, *samples)).collect();
    assert_eq!(kept.iter().map(|(_, samples)| samples).sum::<usize>(), 7 * 160 + 2 * 160, "{kept:?}");
    assert!(kept.iter().all(|(place, samples)| place + *samples as i64 <= at(140) || *place >= at(310)), "{kept:?}");
    assert_eq!(report.counters.masked, 3);
}

#[test]
fn a_masked_digit_reaches_back_over_the_end_of_a_block() {
    let mut world = World::new();
    world.stream = Stream::new(&spec(PEER.parse().unwrap()), Manner { mask_digits: true, ..Manner::default() });
    (0..26).for_each(|n| world.audio(20 * u64::from(n), n, 3)); // up to 520 ms
    world.stream.seal_until(mono(500), &mut world.pool);
    assert!(!world.stream.is_due(mono(500)) && world.stream.is_due(mono(1_000)));
    world.packet(530, 26, 26 * 160, EVENT, &[7, 0x0A, 0, 160]);
    world.stream.seal_until(mono(1_000), &mut world.pool);
    let (_, line) = world.close();
    assert_eq!(line.iter().map(|(place, samples, _)| place + *samples as i64).max(), Some(at(460)));
}

#[test]
fn a_digit_before_all_audio_lies_where_it_began() {
    let mut world = World::new();
    world.packet(520, 0, 5, EVENT, &[5, 0, 0, 160]);
    assert_eq!(world.close().0.digits, [Digit { at: MediaTime(at(500)), digit: '5', duration_ms: 20 }]);
}

#[test]
fn comfort_noise_is_silence() {
    let mut world = World::new();
    world.audio(0, 0, 1);
    world.packet(20, 1, 160, NOISE, &[60]);
    world.packet(3_020, 2, 160 + 8 * 3_000, PCMU, &[2; 160]);
    let (report, line) = world.close();
    assert_eq!(line, [(at(0), 160, 1), (at(3_020), 160, 2)]);
    assert_eq!((report.counters.comfort_noise, report.counters.packets, report.counters.resyncs), (1, 2, 0));
}

#[test]
fn what_does_not_belong_is_counted_and_dropped() {
    let mut world = World::new();
    world.audio(0, 0, 1);
    world.packet(20, 1, 160, 18, &[9; 20]);
    world.raw(21, b"hello");
    world.raw(22, &[]);
    world.raw(23, &[0x80, 200, 0, 1]);
    world.packet(25, 2, 320, PCMU, &[]);
    world.from = "10.0.0.1:4002".parse().unwrap();
    world.audio(30, 3, 9);
    world.from = "10.6.6.6:4000".parse().unwrap();
    world.audio(31, 3, 9);
    world.raw(32, &[0x80, 200, 0, 1]);
    let (report, line) = world.close();
    assert_eq!(line, [(at(0), 160, 1)]);
    let counters = report.counters;
    assert_eq!((counters.packets, counters.bytes), (2, 160), "an empty packet is a packet");
    assert_eq!((counters.wrong_payload_type, counters.malformed, counters.wrong_source), (1, 3, 3));
}

#[test]
fn the_answer_to_a_delayed_offer_makes_the_peer_known() {
    let mut world = World::with(&spec("0.0.0.0:0".parse().unwrap()));
    let remote = Remote { rtp: PEER.parse().unwrap(), rtcp: None, mux: false };
    world.change(50, StreamChange { remote: Some(remote), ..StreamChange::default() });
    world.audio(40, 0, 1); // overtook the answer
    world.audio(60, 1, 2);
    let hold = Remote { rtp: "0.0.0.0:4000".parse().unwrap(), rtcp: None, mux: false };
    world.change(70, StreamChange { remote: Some(hold), ..StreamChange::default() });
    world.audio(80, 2, 3);
    assert_eq!(world.close().1, [(at(40), 160, 1), (at(60), 160, 2), (at(80), 160, 3)]);
}

#[test]
fn an_empty_pool_costs_audio_and_is_counted() {
    let mut world = World { pool: Pool::new(1), ..World::new() };
    world.audio(480, 0, 1);
    world.audio(500, 1, 2);
    world.audio(520, 2, 3);
    assert_eq!((world.stream.report(false).counters.packets, world.stream.report(false).counters.overrun), (1, 2));
    world.stream.seal_until(mono(500), &mut world.pool);
    for block in world.pool.take_sealed() {
        world.pool.give(block.samples);
    }
    world.audio(540, 3, 4);
    let (report, line) = world.close();
    assert_eq!(line, [(at(540), 160, 4)]);
    assert_eq!((report.counters.packets, report.counters.overrun), (2, 2));
}

#[test]
fn sender_reports_tie_the_clocks_and_receiver_reports_answer_them() {
    let rtcp = "10.0.0.1:4001".parse().unwrap();
    let peer = Remote { rtp: PEER.parse().unwrap(), rtcp: Some(rtcp), mux: false };
    let mut world = World::with(&StreamSpec { remote: peer, ..spec(peer.rtp) });
    let mut out = [0; 256];
    assert_eq!(world.stream.receiver_report(mono(0), 9, "box", &mut out), None, "nothing heard");
    world.audio(0, 0, 1);
    for (ntp, ms) in [(1_u64 << 32, 100_u32), (2 << 32, 1_100), (3 << 32, 2_100)] {
        let report = SenderReport::builder(1).ntp_timestamp(ntp).rtp_timestamp(ms * 8);
        let mut bytes = vec![0; report.calculate_size().unwrap()];
        report.write_into(&mut bytes).unwrap();
        world.stream.rtcp(mono(u64::from(ms) + 3), rtcp, &bytes);
    }
    let clock = world.stream.report(false).clock;
    assert_eq!(
        clock.iter().map(|p| (p.ntp, p.at.0, p.arrived.0)).collect::<Vec<_>>(),
        [(1 << 32, at(100), at(103)), (3 << 32, at(2_100), at(2_103))]
    );
    let (to, len) = world.stream.receiver_report(mono(2_203), 9, "box", &mut out).unwrap();
    assert_eq!(to, peer);
    let report = rtcp_types::ReportBlock::parse(&out[8..32]).unwrap();
    assert!(len > 32);
    assert_eq!((report.last_sender_report_timestamp(), report.delay_since_last_sender_report_timestamp()), (3 << 16, 6_553));
}

/// How the network treats one packet.
#[derive(Clone, Copy, Debug)]
struct Fate {
    lost: bool,
    delay_ms: u64,
    /// A second copy with this delay.
    again_ms: Option<u64>,
}

fn fate() -> impl Strategy<Value = Fate> {
    let delay = || prop_oneof![6 => 0..3_u64, 2 => 0..60_u64, 1 => 0..350_u64];
    (prop::bool::weighted(0.1), delay(), prop::option::weighted(0.1, delay())).prop_map(|(lost, delay_ms, again_ms)| Fate {
        lost,
        delay_ms,
        again_ms,
    })
}

fn sample(packet: usize, i: usize) -> u8 {
    (packet * 31 + i * 7 + packet * i) as u8
}

proptest! {
    /// Whatever the network loses, swaps, delays and doubles: each sample that arrived lies at its place, bit for bit, and
    /// nothing else does, also when blocks are sealed meanwhile.
    #[test]
    fn the_network_moves_nothing(
        fates in prop::collection::vec(fate(), 1..150),
        ptime_ms in (1..=6_u64).prop_map(|tens| tens * 10),
        first_seq: u16,
        first_time: u32,
    ) {
        let samples = ptime_ms as usize * 8;
        let mut arrivals: Vec<(u64, usize)> = Vec::new();
        for (n, fate) in fates.iter().enumerate().filter(|(_, fate)| !fate.lost) {
            let sent_ms = 1_000 + n as u64 * ptime_ms;
            arrivals.extend([Some(fate.delay_ms), fate.again_ms].into_iter().flatten().map(|delay| (sent_ms + delay, n)));
        }
        arrivals.sort_unstable();
        let Some(&(first_ms, first_n)) = arrivals.first() else { return Ok(()) };

        let mut world = World::new();
        let mut blocks = Vec::new();
        let mut sweep_ms = 1_100;
        for &(ms, n) in &arrivals {
            while ms >= sweep_ms {
                world.stream.seal_until(mono(sweep_ms - 100), &mut world.pool);
                blocks.extend(world.pool.take_sealed());
                sweep_ms += 500;
            }
            let payload: Vec<u8> = (0..samples).map(|i| sample(n, i)).collect();
            world.packet(ms, first_seq.wrapping_add(n as u16), first_time.wrapping_add((n * samples) as u32), PCMU, &payload);
        }
        blocks.extend(world.close_to_blocks());

        let came: std::collections::BTreeSet<usize> = arrivals.iter().map(|&(_, n)| n).collect();
        let mut expected = BTreeMap::new();
        for &n in &came {
            let place = at(first_ms as i64) + (n as i64 - first_n as i64) * samples as i64;
            expected.extend((0..samples).map(|i| (place + i as i64, (Law::Pcmu, sample(n, i)))));
        }
        prop_assert!(lay_out(&blocks) == expected);
        let counters = world.stream.report(true).counters;
        prop_assert_eq!(counters.packets, came.len() as u64);
        prop_assert_eq!(counters.duplicates, (arrivals.len() - came.len()) as u64);
        let span = came.last().unwrap() - came.first().unwrap() + 1;
        prop_assert_eq!(counters.lost, (span - came.len()) as u64);
        prop_assert_eq!((counters.resyncs, counters.malformed, counters.overrun, counters.wrong_source), (0, 0, 0, 0));
    }

    #[test]
    fn no_sequence_of_packets_panics_or_fills_the_memory(
        packets in prop::collection::vec((any::<u16>(), any::<u32>(), 0..4_u32, 0..1_400_usize, 0..5_000_u64, 0..3_usize), 0..200),
    ) {
        let mut world = World { pool: Pool::new(16), ..World::new() };
        let mut ms = 0;
        for (seq, time, ssrc, len, later_ms, kind) in packets {
            ms += later_ms;
            world.ssrc = ssrc;
            world.packet(ms, seq, time, [PCMU, PCMA, EVENT][kind], &vec![1; len]);
            if later_ms > 4_000 {
                world.stream.seal_until(mono(ms), &mut world.pool);
                for block in world.pool.take_sealed() {
                    world.pool.give(block.samples);
                }
            }
        }
        world.close_to_blocks();
    }
}
