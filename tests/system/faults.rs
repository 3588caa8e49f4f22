//! Calls that go wrong: each ends as it should, with a log line that says what happened.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::pcap::{self, Network, Stream};
use super::sipp::{Scenario, device_message, in_dialog};
use super::site::Site;

pub(crate) const ONE: &str = "mcp_invite_one_session.sip";
pub(crate) const RECORDED: &str = "mcp_invite_two_sessions_recorded.sip";

pub(crate) fn noise_pcap(site: &Site, seconds: usize) -> (Vec<u8>, std::path::PathBuf) {
    let mut random = fastrand::Rng::with_seed(7);
    let audio: Vec<u8> = (0..seconds * 8_000).map(|_| random.u8(0..0xFF)).collect();
    let path = site.path("noise.pcap");
    pcap::write(&path, &[Stream { audio: &audio, payload_type: 0, ssrc: 1, port_offset: 0 }], Network::default());
    (audio, path)
}

/// Sends bytes over UDP and gives the first answer.
fn ask(site: &Site, bytes: &[u8]) -> String {
    let socket = UdpSocket::bind((site.peer(), 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.send_to(bytes, site.sip()).unwrap();
    let mut answer = [0; 4_096];
    let len = socket.recv(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer[..len]).into_owned()
}

pub(crate) fn options(site: &Site) -> String {
    let text = std::fs::read_to_string(super::site::data("sip/rm_options.sip")).unwrap().replace('\n', "\r\n");
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let n = ASKED.fetch_add(1, Ordering::Relaxed);
    let text = text.replace("branch=z9hG4bK0x0ff0", &format!("rport;branch=z9hG4bK{n}"));
    ask(site, text.replace("Call-ID: ", &format!("Call-ID: {n}-")).as_bytes())
}

#[test]
fn a_vanished_peer_is_noticed_and_its_audio_kept() {
    let site = Site::start_with("[rtp] silence_timeout = \"4s\"");
    let (audio, pcap) = noise_pcap(&site, 3);
    let call = Scenario::new().send(&device_message(RECORDED)).recv(200).ack().play(&pcap).pause_ms(60_000).bye();
    let sipp = call.start(&site, "vanishing", "udp");
    // Wait for its last packet, then take the peer away.
    site.wait_for("all packets", |site| site.metric("nearend_rtp_packets_total") == Some(150));
    sipp.vanish();
    site.log_line(&["recording=02ABC", "no packet for 4s"]);
    site.log_line(&["recording=02ABC", "PeerVanished"]);
    let [recording] = &site.wait_for_recordings(1)[..] else { unreachable!() };
    let wav = recording.wav();
    assert!(wav.find(0, &audio).is_some(), "what it had sent is kept");
    assert!(wav.seconds() < 4.0, "the recording ends with the last packet, not when the peer was missed: {} s", wav.seconds());
    assert_eq!(recording.json["nearend"]["endReason"], "peer-vanished");
}

#[test]
fn a_second_leg_that_never_comes_is_silence_and_flagged() {
    let site = Site::start();
    let (audio, pcap) = noise_pcap(&site, 2);
    let call = Scenario::new().send(&device_message(RECORDED)).recv(200).ack().play(&pcap).pause_ms(2_200).bye();
    call.start(&site, "lonely", "udp").succeed();
    site.log_line(&["recording=02ABC", "recording over", "OneSided"]);
    let [recording] = &site.wait_for_recordings(1)[..] else { unreachable!() };
    let wav = recording.wav();
    assert!(wav.find(0, &audio).is_some());
    assert!(wav.channels[1].iter().all(|byte| *byte == 0xFF), "the missing side is silent");
    assert_eq!(recording.json["nearend"]["flags"], serde_json::json!(["one-sided"]));
}

#[test]
fn an_invite_without_sdp_gets_an_offer_and_is_recorded() {
    let site = Site::start();
    let (audio, pcap) = noise_pcap(&site, 2);
    let invite = device_message(RECORDED);
    let (head, sdp) = invite.split_once("\n\n").unwrap();
    let head = head.replace("Content-Type: application/sdp\n", "");
    let answer = sdp.replace("RTP/AVP 0 101", "RTP/AVP 0").replace("a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\n", "");
    let call = Scenario::new()
        .send(&format!("{head}\n\n"))
        .recv_with(200, &["m=audio [0-9]+ RTP/AVP 0 8", "a=recvonly"])
        .send_once(&in_dialog("ACK", 1, Some(("application/sdp", &answer))))
        .play(&pcap)
        .pause_ms(2_200)
        .bye();
    call.start(&site, "offerless", "udp").succeed();
    site.log_line(&["recording=02ABC", "delayed offer"]);
    let [recording] = &site.wait_for_recordings(1)[..] else { unreachable!() };
    assert!(recording.wav().find(0, &audio).is_some());
    assert_eq!(recording.json["nearend"]["legs"].as_array().unwrap().len(), 1, "a line without an answer is no leg");
}

#[test]
fn a_codec_the_box_does_not_know_is_488() {
    let site = Site::start();
    let invite = device_message(RECORDED)
        .replace("a=rtpmap:0 pcmu/8000", "a=rtpmap:18 g729/8000")
        .replace("RTP/AVP 0 101", "RTP/AVP 18 101");
    Scenario::new().send(&invite).recv_with(488, &["Warning: 305"]).ack_refusal().start(&site, "g729", "udp").succeed();
    site.log_line(&["488", "g729"]);
    site.wait_for("the refusal to be counted", |site| site.metric("nearend_sessions_refused_total{status=\"488\"}") == Some(1));
}

#[test]
fn a_full_box_says_503_and_goes_on_recording() {
    let site = Site::start_with("[sip] max_recordings = 1");
    let (audio, pcap) = noise_pcap(&site, 2);
    let first = Scenario::new().send(&device_message(RECORDED)).recv(200).ack().play(&pcap).pause_ms(2_200).bye();
    let first = first.start(&site, "first", "udp");
    site.log_line(&["recording=02ABC", "recording begins"]);
    Scenario::new()
        .send(&device_message(ONE))
        .recv_with(503, &["Retry-After: [0-9]+"])
        .ack_refusal()
        .start(&site, "second", "udp")
        .succeed();
    site.log_line(&["503", "max_recordings"]);
    assert!(options(&site).starts_with("SIP/2.0 503"), "the resource manager is told, too");
    first.succeed();
    let [recording] = &site.wait_for_recordings(1)[..] else { unreachable!() };
    assert!(recording.wav().find(0, &audio).is_some());
    site.wait_for("room again", |site| options(site).starts_with("SIP/2.0 200"));
}

#[test]
fn a_disk_below_its_floor_says_503() {
    let site = Site::start_with("[spool] floor_bytes = \"1000TiB\"");
    site.wait_for("the floor to be seen", |site| options(site).starts_with("SIP/2.0 503"));
    Scenario::new()
        .send(&device_message(ONE))
        .recv_with(503, &["Retry-After: [0-9]+"])
        .ack_refusal()
        .start(&site, "floor", "udp")
        .succeed();
    site.log_line(&["503", "floor"]);
    site.wait_for("the page to know", |site| site.get("/health/ready").0 == 503);
}

#[test]
fn a_body_cut_short_is_400() {
    let site = Site::start();
    let text = std::fs::read_to_string(super::site::data("sip").join(RECORDED)).unwrap();
    let text = text.replace('\n', "\r\n").replace("branch=z9hG4bK0xaaaa\r\n", "branch=z9hG4bK0xaaaa;rport\r\n");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let head = head.replace("Content-Length: 0", &format!("Content-Length: {}", body.len()));
    let answer = ask(&site, format!("{head}\r\n\r\n{}", &body[..body.len() / 2]).as_bytes());
    assert!(answer.starts_with("SIP/2.0 400 "), "{answer}");
    site.log_line(&["400", "Content-Length"]);
    assert_eq!(site.metric("nearend_recordings_total"), Some(0));
}

#[test]
fn a_pause_is_silence_and_a_mask_and_nothing_said_in_it_is_kept() {
    let site = Site::start();
    let (audio, pcap) = noise_pcap(&site, 6);
    let invite = device_message(RECORDED);
    let sdp = invite.split_once("\n\n").unwrap().1.to_owned();
    let paused = sdp.replace("a=sendonly", "a=inactive").replace("a=record:on", "a=record:paused");
    let reinvite = |cseq: u32, sdp: &str| in_dialog("INVITE", cseq, Some(("application/sdp", sdp)));
    let call = Scenario::new().send(&invite).recv(200).ack().play(&pcap).pause_ms(2_000);
    let call =
        call.send(&reinvite(2, &paused)).recv_with(200, &["a=inactive"]).send_once(&in_dialog("ACK", 2, None)).pause_ms(2_000);
    let call =
        call.send(&reinvite(3, &sdp)).recv_with(200, &["a=recvonly"]).send_once(&in_dialog("ACK", 3, None)).pause_ms(2_500).bye();
    call.start(&site, "paused", "udp").succeed();
    let [recording] = &site.wait_for_recordings(1)[..] else { unreachable!() };
    let masks = recording.json["mediaFiles"][0]["masks"].as_array().unwrap();
    assert_eq!(masks.iter().map(|m| m["type"].as_str().unwrap()).collect::<Vec<_>>(), ["paused", "resume"]);
    let wav = recording.wav();
    let begin = wav.channels[0].iter().position(|b| *b != 0xFF).unwrap();
    let kept = &wav.channels[0][begin..begin + audio.len()];
    let silent: Vec<usize> = kept.chunks(160).enumerate().filter(|(_, f)| f.iter().all(|b| *b == 0xFF)).map(|(n, _)| n).collect();
    assert!((80..=120).contains(&silent.len()), "about two of six seconds are silent: {} frames", silent.len());
    assert!(silent.windows(2).all(|pair| pair[1] == pair[0] + 1), "in one piece: {silent:?}");
    for (n, (have, sent)) in kept.chunks(160).zip(audio.chunks(160)).enumerate().filter(|(n, _)| !silent.contains(n)) {
        // The pause may begin within a frame.
        let end = if n + 1 == silent[0] { have.iter().rposition(|b| *b != 0xFF).unwrap() + 1 } else { 160 };
        assert!(have[..end] == sent[..end], "frame {n} before or behind the pause is in its place");
    }
}
