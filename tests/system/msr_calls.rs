//! The calls of a Genesys media server, placed by SIPp over UDP and TCP: the file that arrives is bit-exact.

use std::path::{Path, PathBuf};

use super::pcap::{self, FRAME, Network, Stream};
use super::sipp::{Scenario, Sipp, device_message};
use super::site::{Arrived, Site};

const RECORDED: &str = "mcp_invite_two_sessions_recorded.sip";
const FAR: &str = "mcp_invite_two_sessions_far.sip";
const ONE: &str = "mcp_invite_one_session.sip";

/// Seconds of audio per call.
const SECONDS: usize = 3;

const SILENCE: u8 = 0xFF;

/// Noise that holds every byte: nothing in it can be mistaken for silence or for the other party.
fn noise(seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..SECONDS * 8_000).map(|_| random.u8(0..SILENCE)).collect()
}

/// What the box must have of `audio` after `network`.
fn expected(audio: &[u8], network: Network) -> Vec<u8> {
    let mut audio = audio.to_vec();
    for (n, frame) in audio.chunks_mut(FRAME).enumerate().filter(|(n, _)| network.loses(*n)) {
        assert!(n > 0, "the first packet must arrive: the place is taken from it");
        frame.fill(SILENCE);
    }
    audio
}

fn capture(site: &Site, name: &str, audio: &[&[u8]], network: Network) -> PathBuf {
    let path = site.path(&format!("{name}.pcap"));
    let streams = audio.iter().zip(0_u16..);
    let streams = streams.map(|(audio, n)| Stream { audio, payload_type: 0, ssrc: 0x1000 + u32::from(n), port_offset: 2 * n });
    let streams: Vec<Stream<'_>> = streams.collect();
    pcap::write(&path, &streams, network);
    path
}

fn call(site: &Site, file: &str, transport: &str, pcap: &Path) -> Sipp {
    // The answer must carry the Record-Route to the byte, and say that the box only listens.
    let route =
        "Record-Route: <sip:0x196e3b00@[^>]*;lr;gvp.rm.datanodes=1;confinstid=2026-03-02:14-0[0-9]-RM:15060;idtag=0000000[CD]>";
    Scenario::new()
        .send(&device_message(file))
        .recv_with(200, &[route, "a=recvonly", "m=audio [0-9]+ RTP/AVP 0 101"])
        .ack()
        .play(pcap)
        .pause_ms(SECONDS as u64 * 1_000 + 300)
        .bye()
        .start(site, file.trim_end_matches(".sip"), transport)
}

fn two_session_call(transport: &str, network: Network) {
    let site = Site::start();
    let (near, far) = (noise(1), noise(2));
    let near_pcap = capture(&site, "near", &[&near], network);
    let far_pcap = capture(&site, "far", &[&far], network);
    let sessions = [call(&site, RECORDED, transport, &near_pcap), call(&site, FAR, transport, &far_pcap)];
    sessions.into_iter().for_each(|sipp| drop(sipp.succeed()));
    let [recording] = &site.wait_for_recordings(1)[..] else { unreachable!() };
    check_audio(recording, &expected(&near, network), &expected(&far, network));
    assert_eq!(recording.id(), "02ABCDEFGHIJKLMNOPQRSTUV00000002_2026-03-02_14-06-10");
}

fn one_session_call(transport: &str) {
    let site = Site::start();
    let (near, far) = (noise(3), noise(4));
    let both = capture(&site, "both", &[&near, &far], Network::default());
    call(&site, ONE, transport, &both).succeed();
    let [recording] = &site.wait_for_recordings(1)[..] else { unreachable!() };
    check_audio(recording, &near, &far);
    assert_eq!(recording.id(), "01ABCDEFGHIJKLMNOPQRSTUV00000001_2026-03-02_14-05-59");
}

fn check_audio(recording: &Arrived, near: &[u8], far: &[u8]) {
    let wav = recording.wav();
    assert_eq!(wav.format_tag, 7, "µ-law stays µ-law");
    for (channel, audio) in [near, far].into_iter().enumerate() {
        wav.find(channel, audio).unwrap_or_else(|| panic!("channel {} is not what was sent", channel + 1));
    }
    let file = &recording.json["mediaFiles"][0];
    let duration_ms: f64 = file["duration"].as_str().unwrap().parse().unwrap();
    assert!((wav.seconds() * 1_000.0 - duration_ms).abs() <= 20.0, "{} s in the file, {duration_ms} ms said", wav.seconds());
    assert!(wav.seconds() > SECONDS as f64 && wav.seconds() < SECONDS as f64 + 3.0, "{} s", wav.seconds());
}

#[test]
fn two_sessions_over_udp() {
    two_session_call("udp", Network::default());
}

#[test]
fn two_sessions_over_tcp() {
    two_session_call("tcp", Network::default());
}

#[test]
fn two_sessions_with_reorder_and_duplicates_lose_nothing() {
    two_session_call("udp", Network { reorder_every: Some(20), duplicate_every: Some(100), lose_every: None });
}

#[test]
fn two_sessions_with_loss_have_silence_in_exactly_those_frames() {
    two_session_call("udp", Network { lose_every: Some(50), ..Network::default() });
}

#[test]
fn one_session_over_udp() {
    one_session_call("udp");
}

#[test]
fn one_session_over_tcp() {
    one_session_call("tcp");
}
