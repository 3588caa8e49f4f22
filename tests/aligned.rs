//! An hour of a call whose two parties have clocks of their own: packets in, the finished file out, all in simulated time. Both
//! channels stand at the same time to the end, and a call that needs no correction is bit-exact.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics")]

use std::net::SocketAddr;

use nearend::finish::{self, Event, Finisher};
use nearend::model::block::Law;
use nearend::model::{
    Block, BlockSource, Damage, LegNo, MonoTime, Payload, Recording, RecordingId, RecordingNo, StoredBlock, StreamKey,
    StreamReport,
};
use nearend::rtp::blocks::Pool;
use nearend::rtp::stream::Stream;
use nearend::rtp::{PayloadMap, Remote, StreamSpec};
use serde_json::json;

const RATE: i64 = 8_000;
const PACKET: i64 = 160;
const HOUR: i64 = 3_600;

/// On the grid of blocks.
const ORIGIN_US: u64 = 7_000_000;

/// A second of quiet noise, then something loud for this long every ten seconds, by the true time.
const EVERY: i64 = 10 * RATE;
const LOUD: i64 = RATE / 25;

/// What the party's microphone hears at a moment of true time, in samples.
fn heard(at: i64) -> u8 {
    if at % EVERY < LOUD { 0x80 } else { 0xF0 | (at * 31 % 16) as u8 }
}

/// One party: its clock is off by `ppm`, its way through the network takes 30 ms and some jitter.
fn leg(no: u8, ppm: i64, seconds: i64) -> (Vec<Block>, StreamReport) {
    let peer = SocketAddr::from(([192, 0, 2, 10 + no], 30_000));
    let mut pool = Pool::new(100);
    let mut stream = Stream::new(&spec(no, peer), false);
    let mut random = fastrand::Rng::with_seed(u64::from(no));
    let mut blocks = Vec::new();
    for n in 0..seconds * RATE / PACKET {
        let true_time = |sample: i64| sample + sample * ppm / 1_000_000;
        let payload: Vec<u8> = (n * PACKET..(n + 1) * PACKET).map(|sample| heard(true_time(sample))).collect();
        let jitter_us = random.u64(0..15_000) * u64::from(random.u8(0..4) == 0);
        let sent_us = u64::try_from(true_time((n + 1) * PACKET) * 125).unwrap();
        let arrived = MonoTime(ORIGIN_US + sent_us + 30_000 + jitter_us);
        stream.rtp(arrived, peer, &datagram(n, &payload), &mut pool);
        if n % 25 == 24 {
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
    fn blocks(&self, _: RecordingNo) -> std::io::Result<Box<dyn Iterator<Item = Result<StoredBlock, Damage>> + '_>> {
        Ok(Box::new(self.0.iter().cloned().map(Ok)))
    }
}

fn stored(block: &Block) -> StoredBlock {
    let bytes = block.runs.iter().flat_map(|run| &block.samples[usize::from(run.start)..run.end()]).copied().collect();
    StoredBlock { leg: block.leg, number: block.number, law: block.law, runs: block.runs.clone(), bytes }
}

/// Both channels of the finished file, and its recording.json.
fn call(ppm: [i64; 2], seconds: i64) -> ([Vec<u8>; 2], serde_json::Value) {
    let legs = [leg(0, ppm[0], seconds), leg(1, ppm[1], seconds)];
    let mut blocks: Vec<StoredBlock> = legs.iter().flat_map(|(blocks, _)| blocks.iter().map(stored)).collect();
    blocks.sort_by_key(|block| (block.number, block.leg));
    let folder = tempfile::tempdir().unwrap();
    let (news, mut events) = tokio::sync::mpsc::channel(1);
    let config = finish::Config { finished_dir: folder.path().into(), ..finish::Config::default() };
    let finisher = Finisher::start(config, Box::new(Spool(blocks)), news).unwrap();
    finisher.submit(recording(seconds, legs.map(|(_, report)| report)));
    let Some(Event::Finished(finished)) = events.blocking_recv() else { panic!("not finished") };
    finisher.stop();
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

/// Where each loud piece begins.
fn onsets(channel: &[u8]) -> Vec<i64> {
    let is_loud = |at: usize| channel[at] == 0x80;
    (1..channel.len()).filter(|at| is_loud(*at) && !is_loud(at - 1)).map(|at| at as i64).collect()
}

fn ms(samples: i64) -> f64 {
    samples as f64 * 1_000.0 / RATE as f64
}

#[test]
fn an_hour_of_clocks_100_ppm_apart_stays_aligned() {
    for ppm in [[50, -50], [0, 100], [-100, 0]] {
        let ([recorded, other], json) = call(ppm, HOUR);
        let (recorded_onsets, other_onsets) = (onsets(&recorded), onsets(&other));
        assert!(recorded_onsets.len() >= 355 && recorded_onsets.len() == other_onsets.len(), "every loud piece is there, once");
        let apart: Vec<i64> = recorded_onsets.iter().zip(&other_onsets).map(|(a, b)| (a - b).abs()).collect();
        let (worst, last) = (apart.iter().max().unwrap(), apart.last().unwrap());
        println!("{ppm:?} ppm: at worst {} ms apart, at the end {} ms", ms(*worst), ms(*last));
        assert!(ms(*worst) <= 20.0, "{ppm:?}: {} ms", ms(*worst));
        let length = ms(recorded.len() as i64 - HOUR * RATE);
        assert!(
            (0.0..=45.0).contains(&length),
            "{ppm:?}: {length} ms longer than the call, of which 30 ms are the network's delay"
        );

        assert_eq!(json["nearend"]["audio"]["bitExact"], false);
        assert_eq!(json["nearend"]["gaps"].as_array().unwrap().iter().filter(|gap| gap["reason"] != "not-started").count(), 0);
        for (leg, ppm) in json["nearend"]["legs"].as_array().unwrap().iter().zip(ppm) {
            let (inserted, left_out) = (&leg["driftInsertedSamples"], &leg["driftLeftOutSamples"]);
            let net = inserted.as_i64().unwrap() - left_out.as_i64().unwrap();
            assert!((net - HOUR * RATE * ppm / 1_000_000).abs() <= 80, "{ppm} ppm: {net} samples");
        }
    }
}

#[test]
fn a_call_with_ordinary_clocks_is_bit_exact() {
    let (channels, json) = call([10, -10], 180);
    assert_eq!(json["nearend"]["audio"]["bitExact"], true);
    for (channel, ppm) in channels.iter().zip([10, -10]) {
        let sent: Vec<u8> = (0..180 * RATE).map(|sample| heard(sample + sample * ppm / 1_000_000)).collect();
        let begin = channel.iter().position(|byte| *byte != 0xFF).unwrap();
        assert!(channel[begin..].starts_with(&sent[sent.iter().position(|byte| *byte != 0xFF).unwrap()..]));
    }
}
