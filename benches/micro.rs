//! Micro-benchmarks of what happens all the time: an INVITE is parsed, a packet is placed, a block becomes a record of the
//! spool. `cargo bench --bench micro` compares with the run before.

use std::hint::black_box;
use std::io::Write as _;
use std::net::SocketAddr;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use nearend::finish::Sealing;
use nearend::finish::audio::AudioFile;
use nearend::finish::seal::Outlet;
use nearend::model::block::Law;
use nearend::model::g711::ulaw_to_linear;
use nearend::model::{
    AudioFormat, BLOCK_BYTES, Block, BlockNo, LegNo, MediaTime, MonoTime, Payload, RecordingId, RecordingNo, StreamKey,
};
use nearend::rtp::blocks::Pool;
use nearend::rtp::stream::Stream;
use nearend::rtp::{Manner, PayloadMap, Remote, StreamSpec};
use nearend::sip::Message;
use nearend::spool::seal::{Algorithm, SealingKey};
use nearend::spool::segment::push_block;
use nearend::tones::presets::Preset;
use nearend::tones::synth;
use nearend::tones::verdict::Target;

const INVITE: &[u8] = include_bytes!("../tests/data/sip/mcp_invite_two_sessions_recorded.sip");

/// Samples per packet.
const PACKET: u32 = 160;

fn parse(c: &mut Criterion) {
    let wire = as_sent(INVITE);
    assert!(matches!(Message::parse(&wire), Ok(Message::Request(_))), "the INVITE of tests/data is readable");
    c.bench_function("sip: parse the INVITE of a media server", |b| b.iter(|| Message::parse(black_box(&wire)).is_ok()));
}

/// The file has Content-Length 0, because it is filled in when it is sent.
fn as_sent(file: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(file).replace("\r\n", "\n");
    let body = text.split_once("\n\n").map_or(0, |(_, body)| body.len() + body.matches('\n').count());
    text.replace("Content-Length: 0", &format!("Content-Length: {body}")).replace('\n', "\r\n").into_bytes()
}

fn place(c: &mut Criterion) {
    let peer = SocketAddr::from(([192, 0, 2, 20], 43_912));
    let (mut stream, mut pool) = (Stream::new(&spec(peer), Manner::default()), Pool::new(64));
    let mut n = 0_u32;
    c.bench_function("rtp: place a packet of 20 ms, with the sealing of its share of a block", |b| {
        b.iter(|| {
            let arrived = MonoTime(u64::from(n) * 20_000);
            stream.rtp(arrived, peer, &packet(n), &mut pool);
            n += 1;
            if n.is_multiple_of(25) {
                stream.seal_until(arrived, &mut pool);
                pool.take_sealed().into_iter().for_each(|block| pool.give(block.samples));
            }
        });
    });
    assert_eq!(stream.report(false).counters.packets, u64::from(n), "every packet was placed");
}

fn spec(peer: SocketAddr) -> StreamSpec {
    StreamSpec {
        key: StreamKey { recording: RecordingNo(1), leg: LegNo(0) },
        recording_id: RecordingId("bench".into()),
        origin: MonoTime(0),
        local: None,
        port: None,
        remote: Remote { rtp: peer, rtcp: None, mux: false },
        payloads: PayloadMap::new([(0, Payload::Audio(Law::Pcmu))]),
        paused: false,
        anchor: None,
        begins: MediaTime(0),
    }
}

fn packet(n: u32) -> [u8; 12 + PACKET as usize] {
    let mut packet = [0x55; 12 + PACKET as usize];
    packet[..2].copy_from_slice(&[0x80, 0]);
    packet[2..4].copy_from_slice(&(n as u16).to_be_bytes()); // sequence numbers wrap
    packet[4..8].copy_from_slice(&n.wrapping_mul(PACKET).to_be_bytes());
    packet[8..12].copy_from_slice(&7_u32.to_be_bytes());
    packet
}

fn encode(c: &mut Criterion) {
    let mut block = Block::new(RecordingNo(1), LegNo(0), BlockNo(0), Law::Pcmu, Box::new([0; BLOCK_BYTES]));
    assert_eq!(block.place(0, &[0x55; BLOCK_BYTES]), BLOCK_BYTES, "a block takes its own length");
    let mut group = c.benchmark_group("spool");
    group.throughput(Throughput::Bytes(BLOCK_BYTES as u64));
    for algorithm in [Algorithm::Aes256Gcm, Algorithm::ChaCha20Poly1305] {
        let key = SealingKey::new(algorithm, &[7; 32]);
        group.bench_function(format!("a block of half a second becomes a record, sealed by {algorithm:?}, with its CRC"), |b| {
            b.iter_batched_ref(
                || Vec::with_capacity(2 * BLOCK_BYTES),
                |out| push_block(out, black_box(&block), &key, [1; 12]),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// A minute of both channels of a call in which somebody speaks, the tone in one of them.
fn detect(c: &mut Criterion) {
    let us = Preset::of("us").expect("it is in the table");
    let target = Target::from(us);
    let speech = [include_bytes!("../assets/speech/agent.ulaw"), include_bytes!("../assets/speech/customer.ulaw")];
    let mut channels = speech.map(|codes| {
        let samples = codes.iter().cycle().take(60 * 8_000).map(|code| f32::from(ulaw_to_linear(*code)));
        samples.collect::<Vec<f32>>()
    });
    let tone = synth::tone(1_400.0, 4_000, -20.0);
    for place in target.rhythm.tones(480_000, &[]) {
        let start = usize::try_from(place.start).expect("a minute is short");
        channels[0][start..].iter_mut().zip(&tone).for_each(|(sample, tone)| *sample += f32::from(*tone));
    }
    let find = |samples: &[f32]| {
        let mut detector = target.detector();
        samples.chunks(4_000).for_each(|part| detector.push(part));
        detector.finish(target.rhythm, std::slice::from_ref(&(0..480_000))).tones.len()
    };
    assert_eq!(channels.each_ref().map(|samples| find(samples)), [4, 0], "the tones are found, and nothing else");
    c.bench_function("tones: look for the tone in a minute of a call, both channels", |b| {
        b.iter(|| channels.each_ref().map(|samples| find(black_box(samples))));
    });
}

/// What finishing adds for Opus and for sealing: a minute of the bundled speech, both parties, into memory.
fn finish(c: &mut Criterion) {
    let agent = include_bytes!("../assets/speech/agent.ulaw").iter().copied().cycle();
    let customer = include_bytes!("../assets/speech/customer.ulaw").iter().copied().cycle();
    let minute: Vec<u8> = agent.zip(customer).take(60 * 8_000).flat_map(|(agent, customer)| [agent, customer]).collect();
    let key = age::x25519::Identity::generate().to_public(); // nobody will open it
    let mut group = c.benchmark_group("finish");
    group.sample_size(10);
    for format in AudioFormat::ALL {
        for (how, sealing) in [("plain", Sealing::default()), ("sealed", Sealing::to(vec![key.clone()]))] {
            group.bench_function(format!("a minute of a call as {}, {how}", format.name()), |b| {
                b.iter(|| {
                    let out = sealing.begin(Vec::new()).expect("memory takes it");
                    let mut file = AudioFile::begin(format, Law::Pcmu, 480_000, 1, out).expect("memory takes it");
                    file.write_all(&minute).expect("memory takes it");
                    file.finish().and_then(Outlet::finish).expect("memory takes it").len()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, parse, place, encode, detect, finish);
criterion_main!(benches);
