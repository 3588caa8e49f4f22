//! The box goes away in the middle of a call: it comes back and the call goes on; all that was acknowledged is in the file.

use std::process::{Command, Stdio};
use std::time::Duration;

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
    // A further session takes the call up and says BYE, so that it is over at once.
    Scenario::new().send(&invite).recv(200).ack().bye().start(&site, "again", "udp").succeed();
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

/// How long the box is away at least, so that packets are lost on a machine of any speed.
const AWAY: Duration = Duration::from_millis(300);

/// One call of 12 s by nearend-msr, during which the box goes away in this way and comes back.
fn call_over_a_restart(go_away: impl FnOnce(&mut Site)) {
    let mut site = Site::start();
    let dump = site.path("sent").display().to_string();
    let (to, local) = (format!("sip:{}", site.sip()), site.peer().to_string());
    let arguments = ["--to", &to, "--local", &local, "--dump", &dump, "--duration", "12s", "--json"];
    let mut msr = Command::new(env!("CARGO_BIN_EXE_nearend-msr"));
    let msr = msr.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    site.wait_for("blocks to be acknowledged", |site| site.metric("nearend_spool_blocks_total") >= Some(12));
    go_away(&mut site);
    std::thread::sleep(AWAY); // not a wait for anything: the call goes on without the box
    site.run();
    let output = msr.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "the call must end with an answered BYE: {said}\n{}", site.log().join("\n"));

    let [recording] = &site.wait_for_recordings(1)[..] else { unreachable!() };
    let nearend = &recording.json["nearend"];
    assert_eq!((&nearend["endReason"], nearend["legs"].as_array().unwrap().len()), (&"bye".into(), 2), "{nearend}");
    assert!(nearend["flags"].as_array().unwrap().contains(&"interrupted".into()));
    let restarts = nearend["gaps"].as_array().unwrap().iter().filter(|gap| gap["reason"] == "restart");
    let lengths_ms: Vec<u64> = restarts.map(|gap| gap["lengthMs"].as_u64().unwrap()).collect();
    assert!(lengths_ms.len() == 2 && lengths_ms.iter().all(|ms| *ms > 0), "one gap per channel: {}", nearend["gaps"]);
    let wav = recording.wav();
    for channel in [0, 1] {
        let name = format!("{}.channel-{}.ulaw", recording.id(), channel + 1);
        let sent = std::fs::read(site.path("sent").join(name)).unwrap();
        let find = |needle: &[u8]| wav.channels[channel].windows(needle.len()).position(|window| window == needle).unwrap();
        let before = find(&sent[4_000..12_000]) as i64 - 4_000;
        let tail = sent.len() - 16_000..sent.len() - 8_000;
        let after = find(&sent[tail.clone()]) as i64 - tail.start as i64;
        assert!((after - before).abs() <= 160, "what follows the gap is within 20 ms of its place: {before} {after}");
    }
}

#[test]
fn a_kill_does_not_end_a_call() {
    call_over_a_restart(Site::kill);
}

#[test]
fn a_stop_for_an_update_does_not_end_a_call() {
    call_over_a_restart(|site| assert_eq!(site.stop(), Some(0)));
}
