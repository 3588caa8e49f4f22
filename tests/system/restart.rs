//! The box is killed in the middle of a call: all that was acknowledged is in the file, without anybody's help.

use super::pcap::{self, Network, Stream};
use super::sipp::{Scenario, device_message};
use super::site::Site;

#[test]
fn kill_in_the_middle_of_a_call_keeps_what_was_acknowledged() {
    let mut site = Site::start();
    let mut random = fastrand::Rng::with_seed(9);
    let audio: Vec<u8> = (0..10 * 8_000).map(|_| random.u8(0..0xFF)).collect();
    let pcap = site.path("long.pcap");
    pcap::write(&pcap, &[Stream { audio: &audio, payload_type: 0, ssrc: 1, port_offset: 0 }], Network::default());
    let invite = device_message("mcp_invite_two_sessions_recorded.sip");
    let call = Scenario::new().send(&invite).recv(200).ack().play(&pcap).pause_ms(60_000).bye().start(&site, "killed", "udp");
    site.wait_for("blocks to be acknowledged", |site| site.metric("nearend_spool_blocks_total") >= Some(6));
    let acknowledged = site.metric("nearend_spool_blocks_total").unwrap();
    site.kill();
    call.vanish();
    site.run();
    site.log_line(&["recording=02ABC", "interrupted"]);
    let [recording] = &site.wait_for_recordings(1)[..] else { unreachable!() };
    let wav = recording.wav();
    let begin = wav.channels[0].iter().position(|b| *b != 0xFF).unwrap();
    let end = wav.channels[0].iter().rposition(|b| *b != 0xFF).unwrap() + 1;
    assert!(wav.channels[0][begin..end] == audio[..end - begin], "bit-exact as far as it goes");
    // The first block is full only from where the call began.
    let at_least = (acknowledged as usize - 1) * 4_000;
    assert!(end - begin >= at_least, "{} samples of at least {at_least}", end - begin);
    assert!(recording.json["nearend"]["flags"].as_array().unwrap().contains(&"interrupted".into()));
}

#[test]
fn sigterm_ends_calls_with_bye_and_keeps_them() {
    let mut site = Site::start();
    let invite = device_message("mcp_invite_one_session.sip");
    let call = Scenario::new().send(&invite).recv(200).ack().recv_request("BYE").send_once(OK_TO_BYE);
    let sipp = call.start(&site, "stopped", "udp");
    site.log_line(&["recording=01ABC", "recording begins"]);
    assert_eq!(site.stop(), Some(0));
    sipp.succeed();
    site.run();
    let [recording] = &site.wait_for_recordings(1)[..] else { unreachable!() };
    assert_eq!(recording.json["nearend"]["endReason"], "shutdown");
}

const OK_TO_BYE: &str =
    "SIP/2.0 200 OK\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]\nContent-Length: 0\n\n";
