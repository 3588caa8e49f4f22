//! Many calls at once, placed by nearend-msr.

use super::senders::msr;
use super::site::Site;

#[test]
fn two_hundred_calls_of_a_minute_lose_nothing() {
    let site = Site::start();
    let dump = site.path("sent");
    std::fs::create_dir(&dump).unwrap();
    let dump = dump.to_string_lossy().into_owned();
    let (to, local) = (format!("sip:{}", site.sip()), site.peer().to_string());
    let said = msr(&site, &to, &["--local", &local, "--calls", "200", "--rate", "20", "--duration", "60s", "--dump", &dump]);
    assert_eq!(said["calls"]["completed"], 200, "{said}");
    let recordings = site.wait_for_recordings(200);
    let mut packets = 0;
    for recording in &recordings {
        let legs = recording.json["nearend"]["legs"].as_array().unwrap();
        assert_eq!(legs.len(), 2, "{}", recording.id());
        for leg in legs {
            packets += leg["packets"].as_u64().unwrap();
            assert_eq!(leg["lost"], 0, "{}: {leg}", recording.id());
        }
        let wav = recording.wav();
        for channel in [0, 1] {
            let sent = std::fs::read(site.path("sent").join(format!("{}.channel-{}.ulaw", recording.id(), channel + 1))).unwrap();
            assert_eq!(sent.len(), 60 * 8_000);
            assert!(wav.find(channel, &sent).is_some(), "{} channel {} is not what was sent", recording.id(), channel + 1);
        }
    }
    // The second session of a call joins a moment later, so not every leg has all 3,000.
    assert!(packets > 200 * 2 * 2_990, "{packets}");
    assert_eq!(said["packets"]["sent"], packets, "every packet sent is in a recording");
    assert_eq!(site.metric("nearend_rtp_packets_total"), Some(packets));
    assert_eq!(site.metric("nearend_rtp_lost_total"), Some(0));
}
