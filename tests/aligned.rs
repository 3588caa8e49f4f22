//! An hour of a call whose two parties have clocks of their own: packets in, the finished file out, all in simulated time. Both
//! channels stand at the same time to the end, and a call that needs no correction is bit-exact.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::SocketAddr;

use nearend::files::System;
use nearend::finish;
use nearend::model::block::Law;
use nearend::model::{
    BLOCK_BYTES, Block, BlockList, BlockNo, BlockSource, Damage, LegNo, MediaTime, MonoTime, Payload, Recording, RecordingId,
    RecordingNo, StoredBlock, StreamKey, StreamReport,
};
use nearend::rtp::blocks::Pool;
use nearend::rtp::stream::Stream;
use nearend::rtp::{Manner, PayloadMap, Remote, StreamSpec};
use serde_json::json;

const RATE: i64 = 8_000;
const PACKET: i64 = 480;
const HOUR: i64 = 3_600;

/// On the grid of blocks.
const ORIGIN_US: u64 = 7_000_000;

/// A second of quiet noise, then something loud for this long every ten seconds, by the true time.
const EVERY: i64 = 10 * RATE;
const LOUD: i64 = RATE / 25;
const SHOUT: u8 = 0x80;

/// What the party's microphone hears at a moment of true time, in samples.
fn heard(at: i64) -> u8 {
    if at % EVERY < LOUD { SHOUT } else { 0xF0 | (at * 31 % 16) as u8 }
}

/// One party: its clock is off by `ppm`, its way through the network takes 30 ms and some jitter.
fn leg(no: u8, ppm: i64, seconds: i64) -> (Vec<Block>, StreamReport) {
    let peer = SocketAddr::from(([192, 0, 2, 10 + no], 30_000));
    let mut pool = Pool::new(100);
    let mut stream = Stream::new(&spec(no, peer), Manner::default());
    let mut random = fastrand::Rng::with_seed(u64::from(no));
    let mut blocks = Vec::new();
    let true_time = |sample: i64| sample + sample * ppm / 1_000_000;
    for n in (0..).take_while(|n| true_time((n + 1) * PACKET) <= seconds * RATE) {
        let payload: Vec<u8> = (n * PACKET..(n + 1) * PACKET).map(|sample| heard(true_time(sample))).collect();
        // The first one has none: what it loses on its way moves the whole leg, and is not what is tested here.
        let jitter_us = random.u64(0..15_000) * u64::from(n > 0 && random.u8(0..4) == 0);
        let sent_us = u64::try_from(true_time((n + 1) * PACKET) * 125).unwrap();
        let arrived = MonoTime(ORIGIN_US + sent_us + 30_000 + jitter_us);
        stream.rtp(arrived, peer, &datagram(n, &payload), &mut pool);
        if n % 8 == 7 {
            stream.seal_until(MonoTime(arrived.0 - 200_000), &mut pool);
            blocks.extend(taken(&mut pool));
        }
    }
    stream.seal_all(&mut pool);
    blocks.extend(taken(&mut pool));
    (blocks, stream.report(true))
}

/// The pool's memory goes back, so that an hour does not need all of it at once.
fn taken(pool: &mut Pool) -> Vec<Block> {
    let sealed = pool.take_sealed();
    sealed.iter().for_each(|block| pool.give(block.samples.clone()));
    sealed
}

fn spec(no: u8, peer: SocketAddr) -> StreamSpec {
    StreamSpec {
        key: StreamKey { recording: RecordingNo(1), leg: LegNo(no) },
        recording_id: RecordingId("hour".into()),
        origin: MonoTime(ORIGIN_US),
        local: None,
        port: None,
        remote: Remote { rtp: peer, rtcp: None, mux: false },
        payloads: PayloadMap::new([(0, Payload::Audio(Law::Pcmu))]),
        paused: false,
        anchor: None,
        begins: MediaTime(0),
    }
}

fn datagram(n: i64, payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0x80, 0];
    datagram.extend((n as u16).to_be_bytes());
    datagram.extend(((n * PACKET) as u32).to_be_bytes());
    datagram.extend(7_u32.to_be_bytes());
    datagram.extend(payload);
    datagram
}

struct Spool(Vec<StoredBlock>);

impl BlockSource for Spool {
    fn blocks(&self, _: RecordingNo) -> std::io::Result<Box<dyn BlockList + '_>> {
        Ok(Box::new(List(&self.0)))
    }
}

struct List<'s>(&'s [StoredBlock]);

impl BlockList for List<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn number(&self, index: usize) -> Option<BlockNo> {
        self.0.get(index).map(|block| block.number)
    }

    fn read(&mut self, index: usize) -> Result<StoredBlock, Damage> {
        Ok(self.0[index].clone())
    }
}

fn stored(block: &Block) -> StoredBlock {
    let bytes = block.runs.iter().flat_map(|run| &block.samples[usize::from(run.start)..run.end()]).copied().collect();
    StoredBlock { leg: block.leg, number: block.number, law: block.law, runs: block.runs.clone(), bytes }
}

/// Both channels of the finished file, and its recording.json.
fn finished(legs: [(Vec<Block>, StreamReport); 2], seconds: i64) -> ([Vec<u8>; 2], serde_json::Value) {
    let mut blocks: Vec<StoredBlock> = legs.iter().flat_map(|(blocks, _)| blocks.iter().map(stored)).collect();
    blocks.sort_by_key(|block| (block.number, block.leg));
    let folder = tempfile::tempdir().unwrap();
    let config = finish::Config { finished_dir: folder.path().into(), ..finish::Config::default() };
    let call = recording(seconds, legs.map(|(_, report)| report));
    let finished = finish::driver::finish(&config, &System, &Spool(blocks), &call).unwrap();
    let folder = folder.path().join(finished.path());
    let wav = std::fs::read(folder.join("audio.wav")).unwrap();
    let channel = |n: usize| wav[58..].iter().skip(n).step_by(2).copied().collect();
    let json = serde_json::from_slice(&std::fs::read(folder.join("recording.json")).unwrap()).unwrap();
    ([channel(0), channel(1)], json)
}

fn recording(seconds: i64, reports: [StreamReport; 2]) -> Recording {
    let origin = 1_772_460_359_500_000_i64;
    let ended = origin + seconds * 1_000_000;
    let leg = |no: usize, report: &StreamReport| {
        json!({
            "no": no, "channel": if no == 0 { "Recorded" } else { "Other" }, "dn": null, "call_id": "a", "law": "PCMU",
            "local": "192.0.2.1:20000", "remote": "192.0.2.10:30000", "started": origin, "ended": ended,
            "counters": report.counters,
        })
    };
    serde_json::from_value(json!({
        "no": 1, "id": "hour", "call_uuid": null, "tenant": "default", "dialect": "plain", "origin": origin, "started": origin,
        "ended": ended, "stage": "ended", "legs": [leg(0, &reports[0]), leg(1, &reports[1])],
    }))
    .unwrap()
}

/// Where each loud piece begins: a loud sample with none right before it.
fn onsets(loud: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut onsets = Vec::new();
    let mut last = -2 * LOUD;
    for at in loud {
        if at - last > LOUD {
            onsets.push(at);
        }
        last = at;
    }
    onsets
}

fn onsets_in_file(channel: &[u8]) -> Vec<i64> {
    onsets((0..).zip(channel).filter(|(_, byte)| **byte == SHOUT).map(|(at, _)| at))
}

fn onsets_in_blocks(blocks: &[Block]) -> Vec<i64> {
    let mut loud: Vec<i64> = Vec::new();
    for block in blocks {
        let places = block.runs.iter().flat_map(|run| usize::from(run.start)..run.end());
        let start = i64::from(block.number.0) * BLOCK_BYTES as i64;
        loud.extend(places.filter(|place| block.samples[*place] == SHOUT).map(|place| start + place as i64));
    }
    loud.sort_unstable();
    onsets(loud.into_iter())
}

fn ms(samples: i64) -> f64 {
    samples as f64 * 1_000.0 / RATE as f64
}

/// How far apart both channels are at worst, and at the end, in milliseconds.
fn apart([a, b]: [Vec<i64>; 2]) -> (f64, f64) {
    assert!(a.len() >= 360 && b.len() >= 360 && a.len().abs_diff(b.len()) <= 1, "{} and {} loud pieces", a.len(), b.len());
    let apart: Vec<i64> = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).collect();
    (ms(*apart.iter().max().unwrap()), ms(*apart.last().unwrap()))
}

#[test]
fn an_hour_of_clocks_100_ppm_apart_stays_aligned() {
    let ppm = [50, -50];
    let (channels, json) = finished([leg(0, ppm[0], HOUR), leg(1, ppm[1], HOUR)], HOUR);
    let length = ms(channels[0].len() as i64 - HOUR * RATE);
    let (worst, last) = apart(channels.map(|channel| onsets_in_file(&channel)));
    println!("{ppm:?} ppm: at worst {worst} ms apart, at the end {last} ms");
    assert!(worst <= 20.0, "{worst} ms");
    // A packet lies where it arrives, so the end is late by the packet's own length, 60 ms, and by the network's delay.
    assert!((0.0..=60.0 + 45.0 + 20.0).contains(&length), "{length} ms longer than the call");

    assert_eq!(json["nearend"]["audio"]["bitExact"], false);
    let gaps = json["nearend"]["gaps"].as_array().unwrap();
    let within = |gap: &&serde_json::Value| gap["startMs"] != 0 && gap["startMs"].as_i64() < Some(HOUR * 1_000);
    assert_eq!(gaps.iter().filter(within).count(), 0, "{gaps:?}");
    for (leg, ppm) in json["nearend"]["legs"].as_array().unwrap().iter().zip(ppm) {
        let [inserted, left_out] = ["driftInsertedSamples", "driftLeftOutSamples"].map(|name| leg[name].as_i64().unwrap());
        assert!((inserted - left_out - HOUR * RATE * ppm / 1_000_000).abs() <= 80, "{ppm} ppm: {inserted} - {left_out}");
    }
}

#[test]
fn it_does_not_matter_whose_clock_is_wrong() {
    for ppm in [[0, 100], [-100, 0]] {
        let (worst, last) = apart(ppm.map(|ppm| onsets_in_blocks(&leg(u8::from(ppm == 0), ppm, HOUR).0)));
        println!("{ppm:?} ppm: at worst {worst} ms apart, at the end {last} ms");
        assert!(worst <= 20.0, "{ppm:?}: {worst} ms");
    }
}

#[test]
fn a_call_with_ordinary_clocks_is_bit_exact() {
    let ppm = [10, -10];
    let (channels, json) = finished([leg(0, ppm[0], 180), leg(1, ppm[1], 180)], 180);
    assert_eq!(json["nearend"]["audio"]["bitExact"], true);
    for (channel, ppm) in channels.iter().zip(ppm) {
        let sent: Vec<u8> = (0..179 * RATE).map(|sample| heard(sample + sample * ppm / 1_000_000)).collect();
        let begin = channel.iter().position(|byte| *byte != 0xFF).unwrap();
        assert!(channel[begin..].starts_with(&sent));
    }
}
