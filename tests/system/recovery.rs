//! The box is killed in the middle of a call and its ledger or a segment is damaged meanwhile: everything that was acknowledged is in
//! the file all the same, without anybody's help.

use std::fs;
use std::path::{Path, PathBuf};

use super::faults::{RECORDED, noise_pcap};
use super::sipp::{Scenario, device_message};
use super::site::Site;

/// Kills the box in mid-call after `prepare`, does `harm` to its spool, and checks what arrives. Gives the box's report.
fn after(prepare: impl FnOnce(&mut Site), harm: impl FnOnce(&Path)) -> String {
    let mut site = Site::start();
    prepare(&mut site);
    let (audio, pcap) = noise_pcap(&site, 10);
    let call = Scenario::new().send(&device_message(RECORDED)).recv(200).ack().play(&pcap).pause_ms(60_000).bye();
    let call = call.start(&site, "killed", "udp");
    site.wait_for("blocks to be acknowledged", |site| site.metric("nearend_spool_blocks_total") >= Some(6));
    let acknowledged = usize::try_from(site.metric("nearend_spool_blocks_total").unwrap()).unwrap();
    site.kill();
    call.vanish();
    harm(&site.path("data/spool"));
    site.run();
    // A further session takes the call up and says BYE, so that it is over at once.
    Scenario::new().send(&device_message(RECORDED)).recv(200).ack().bye().start(&site, "again", "udp").succeed();
    let [recording] = &site.wait_for_recordings(1)[..] else { unreachable!() };
    let wav = recording.wav();
    let begin = wav.channels[0].iter().position(|byte| *byte != 0xFF).unwrap();
    let end = wav.channels[0].iter().rposition(|byte| *byte != 0xFF).unwrap() + 1;
    assert!(wav.channels[0][begin..end] == audio[..end - begin], "bit-exact as far as it goes");
    let at_least = (acknowledged - 1) * 4_000; // the first block is full only from where the call began
    assert!(end - begin >= at_least, "{} samples of at least {at_least}", end - begin);
    assert!(!recording.json["nearend"]["flags"].as_array().unwrap().contains(&"damaged".into()));
    site.log().into_iter().find(|line| line.contains("the spool was not left in order")).unwrap_or_default()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
}

fn newest_segment(spool: &Path) -> PathBuf {
    files(spool).into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "nseg")).max().unwrap()
}

#[test]
fn without_its_ledger() {
    let report = after(|_| {}, |spool| fs::remove_dir_all(spool.join("ledger")).unwrap());
    assert!(report.contains("records entered"), "{report}");
}

#[test]
fn with_a_ledger_of_noise() {
    let noise = |spool: &Path| {
        for file in files(&spool.join("ledger")) {
            fs::write(file, (0..60_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>()).unwrap();
        }
    };
    assert!(after(|_| {}, noise).contains("set aside and rebuilt"));
}

#[test]
fn with_a_ledger_that_nobody_may_open() {
    // A file where the folder should be: also root cannot open that.
    let harm = |spool: &Path| {
        fs::remove_dir_all(spool.join("ledger/blobs")).unwrap();
        fs::remove_file(spool.join("ledger/db")).unwrap();
        fs::create_dir(spool.join("ledger/db")).unwrap();
    };
    assert!(after(|_| {}, harm).contains("set aside and rebuilt"));
}

#[test]
fn with_the_ledger_of_yesterday() {
    let old = tempfile::tempdir().unwrap();
    let keep = |site: &mut Site| {
        site.stop();
        copy_files(&site.path("data/spool/ledger"), old.path());
        site.run();
    };
    let restore = |spool: &Path| {
        let ledger = spool.join("ledger");
        files(&ledger).into_iter().for_each(|file| fs::remove_file(file).unwrap());
        copy_files(old.path(), &ledger);
    };
    assert!(after(keep, restore).contains("records entered"));
}

fn copy_files(from: &Path, to: &Path) {
    for file in files(from) {
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

#[test]
fn with_a_torn_tail_and_the_segment_of_another_box() {
    let harm = |spool: &Path| {
        let newest = newest_segment(spool);
        let mut bytes = fs::read(&newest).unwrap();
        let half = bytes[bytes.len() - 3_000..].to_vec();
        bytes.extend_from_slice(&half);
        fs::write(&newest, &bytes).unwrap();
        let other = Site::start();
        fs::copy(newest_segment_after_a_call(&other), spool.join("segment-0000000999.nseg")).unwrap();
    };
    let report = after(|_| {}, harm);
    assert!(report.contains("3000 damaged bytes") && report.contains("segment-0000000999.nseg"), "{report}");
}

fn newest_segment_after_a_call(site: &Site) -> PathBuf {
    let (to, local) = (format!("sip:{}", site.sip()), site.peer().to_string());
    super::senders::msr(site, &to, &["--local", &local, "--calls", "1", "--duration", "2s"]);
    site.wait_for_recordings(1);
    newest_segment(&site.path("data/spool"))
}
