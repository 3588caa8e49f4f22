//! A disk with little room: new calls are refused in time, running ones lose nothing, and only what was delivered goes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nearend::clock::Now;

use super::faults::{ONE, RECORDED, noise_pcap, options};
use super::senders::msr;
use super::sipp::{Scenario, Sipp, device_message};
use super::site::Site;

/// A disk of its own under the box's data folder; it goes with this.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn under(site: &Site, mebibytes: u64) -> SmallDisk {
        let folder = site.path("data");
        as_root(&["mount", "-t", "tmpfs", "-o", &format!("size={mebibytes}m,mode=0777"), "tmpfs", &folder.to_string_lossy()]);
        SmallDisk(folder)
    }

    /// Leaves only so much room.
    fn fill_up_to(&self, left_bytes: u64) {
        let facts = nix::sys::statvfs::statvfs(&self.0).unwrap();
        let free = facts.blocks_available() * facts.fragment_size();
        // The box writes meanwhile: that there is no room for all of it is what is wanted.
        let _ = fs::write(self.0.join("ballast"), vec![1; usize::try_from(free.saturating_sub(left_bytes)).unwrap()]);
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        as_root(&["umount", "--lazy", &self.0.to_string_lossy()]);
    }
}

/// Mounting takes root, or sudo.
fn as_root(command: &[&str]) {
    let sudo: &[&str] = if nix::unistd::geteuid().is_root() { &[] } else { &["sudo", "-n"] };
    let words: Vec<&str> = sudo.iter().chain(command).copied().collect();
    let status = Command::new(words[0]).args(&words[1..]).status().unwrap();
    assert!(status.success(), "{words:?}: {status}");
}

/// A call of `seconds` that is being recorded.
fn call(site: &Site, seconds: usize) -> (Vec<u8>, Sipp) {
    let (audio, pcap) = noise_pcap(site, seconds);
    let length_ms = u64::try_from(seconds).unwrap() * 1_000 + 300;
    let call = Scenario::new().send(&device_message(RECORDED)).recv(200).ack().play(&pcap).pause_ms(length_ms).bye();
    let sipp = call.start(site, "running", "udp");
    site.log_line(&["recording=02ABC", "recording begins"]);
    (audio, sipp)
}

fn refused(site: &Site, why: &str) {
    let scenario = Scenario::new().send(&device_message(ONE)).recv_with(503, &["Retry-After: [0-9]+"]).ack_refusal();
    scenario.start(site, "refused", "udp").succeed();
    site.log_line(&["503", why]);
}

/// The running call is complete, and the box takes calls again.
fn all_is_well(site: &Site, audio: &[u8], sipp: Sipp) {
    sipp.succeed();
    let [recording] = &site.wait_for_recordings(1)[..] else { unreachable!() };
    assert!(recording.wav().find(0, audio).is_some(), "nothing of the running call is lost");
    assert_eq!(recording.json["nearend"]["flags"], serde_json::json!(["one-sided"]));
    assert_eq!(site.metric("nearend_spool_blocks_dropped_total"), Some(0));
    site.wait_for("room again", |site| options(site).starts_with("SIP/2.0 200"));
}

#[test]
fn at_the_floor_new_calls_get_503_and_running_ones_go_on() {
    let mut site = Site::prepare("[spool] floor_bytes = \"24MiB\"");
    let disk = SmallDisk::under(&site, 64);
    site.run();
    let (audio, sipp) = call(&site, 10);
    disk.fill_up_to(20 << 20);
    site.wait_for("the floor to be seen", |site| options(site).starts_with("SIP/2.0 503"));
    refused(&site, "the disk is below [spool] floor_bytes");
    site.log_line(&["recording=02ABC", "finished"]); // below the floor; room comes only then
    disk.make_room();
    all_is_well(&site, &audio, sipp);
}

#[test]
fn a_full_disk_costs_a_running_call_nothing_once_there_is_room() {
    let mut site = Site::prepare("[spool] floor_bytes = \"16MiB\"");
    let disk = SmallDisk::under(&site, 48);
    site.run();
    let (audio, sipp) = call(&site, 12);
    disk.fill_up_to(0);
    site.wait_for("the spool's trouble", |site| site.metric("nearend_spool_trouble") == Some(1));
    refused(&site, "the spool cannot write");
    disk.make_room();
    site.log_line(&["the spool writes again"]);
    all_is_well(&site, &audio, sipp);
}

/// Starts the box, which was stopped, with a limit to what it may hold; it looks what may go as soon as it runs.
fn run_with_max(site: &mut Site, max_bytes: u64) {
    let path = site.path("nearend.toml");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("max_bytes")).collect();
    let max = format!("[spool]\nmax_bytes = \"{max_bytes}B\"");
    fs::write(&path, lines.join("\n").replace("[spool]", &max)).unwrap();
    site.run();
}

/// Recordings whose files are on the box, and how many bytes they take.
fn on_box(site: &Site) -> (Vec<String>, u64) {
    let (mut names, mut bytes) = (Vec::new(), 0);
    let folders = |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let dates = folders(&site.path("data/finished/default"));
    for folder in dates.iter().flat_map(|date| folders(date)) {
        names.push(folder.file_name().unwrap().to_string_lossy().into_owned());
        bytes += folders(&folder).iter().map(|file| fs::metadata(file).unwrap().len()).sum::<u64>();
    }
    names.sort();
    (names, bytes)
}

/// Bytes that the segments of the spool take.
fn segment_bytes(site: &Site) -> u64 {
    let files = fs::read_dir(site.path("data/spool")).unwrap().map(|entry| entry.unwrap().path());
    let segments = files.filter(|file| file.extension().is_some_and(|extension| extension == "nseg"));
    segments.map(|segment| fs::metadata(segment).unwrap().blocks() * 512).sum()
}

/// Places one more call; gives the names of all `n` that are delivered then.
fn deliver(site: &Site, n: u64) -> Vec<String> {
    let (to, local) = (format!("sip:{}", site.sip()), site.peer().to_string());
    msr(site, &to, &["--local", &local, "--calls", "1", "--duration", "2s"]);
    site.wait_for("the delivery", |site| site.metric("nearend_recordings_delivered_total") == Some(n));
    site.delivered().iter().map(|folder| folder.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn the_oldest_delivered_go_first_and_an_undelivered_one_never() {
    let mut site = Site::start();
    // The oldest of all is one that the data centre will not take: others of its name, and of its name with this box's, are there.
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let today = Now::read().wall;
    for day in [today, today.plus_micros(86_400_000_000)] {
        let name = "02ABCDEFGHIJKLMNOPQRSTUV00000002_2026-03-02_14-06-10";
        for name in [name.to_owned(), format!("{name}~branch-17.{host}")] {
            let taken = site.path("dc/default").join(day.date()).join(name);
            fs::create_dir_all(&taken).unwrap();
            fs::write(taken.join("audio.wav"), "of another recording").unwrap();
        }
    }
    let (_, sipp) = call(&site, 2);
    sipp.succeed();
    site.log_line(&["recording=02ABC", "set aside"]);
    let first = deliver(&site, 1).remove(0);
    deliver(&site, 2);
    assert_eq!(site.stop(), Some(0));
    let (before, bytes) = on_box(&site);
    assert_eq!(before.len(), 3, "{before:?}");

    let spool_bytes = segment_bytes(&site);
    run_with_max(&mut site, spool_bytes + bytes - 10_000);
    site.log_line(&["local copy released"]);
    let after = on_box(&site).0;
    assert_eq!(after, before.into_iter().filter(|name| *name != first).collect::<Vec<_>>());

    assert_eq!(site.stop(), Some(0));
    run_with_max(&mut site, 1);
    site.wait_for("the other one to go", |site| on_box(site).0.len() == 1);
    let left = on_box(&site).0;
    assert!(left[0].starts_with("02ABC"), "{left:?}");
    assert_eq!(site.stop(), Some(0));
}
