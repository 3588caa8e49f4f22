//! A stolen disk: the raw image of the box's file system, deleted blocks included, while calls are in progress and a hundred are
//! finished. Nothing of the finished ones is readable without their recipient's key, not even with the box's; of the calls in progress
//! nothing without the box's.
//!
//! As root with loop devices the box works on an ext4 image of its own, which is searched byte by byte. Without (an unprivileged
//! container), the files of its data directory are searched instead, and the test says so.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nearend::model::g711::{linear_to_ulaw, ulaw_to_linear};
use nearend::spool::seal::BoxKey;

use super::sealed::{recipient, recordings, tenant};
use super::senders::msr;
use super::site::Site;
use super::wav::Wav;

/// So many calls of each format are finished.
const FINISHED: usize = 50;
const RUNNING: usize = 4;

/// Samples that must be alike to be known: nothing else holds the same eight bytes of noise by chance.
const WINDOW: usize = 16;

/// An image as the box's disk.
struct Disk {
    image: Option<PathBuf>,
    data: PathBuf,
}

impl Disk {
    fn under(site: &Site) -> Disk {
        let (image, data) = (site.path("disk.img"), site.path("data"));
        let script = "truncate -s 192M \"$1\" && mkfs.ext4 -q -E nodiscard \"$1\" && mount -o loop,nodiscard \"$1\" \"$2\"";
        let done = Command::new("sh").args(["-c", script, "sh"]).arg(&image).arg(&data).output().unwrap();
        if !done.status.success() {
            eprintln!("no loop mount here, files are searched: {}", String::from_utf8_lossy(&done.stderr));
        }
        Disk { image: done.status.success().then_some(image), data }
    }

    /// All that is on it.
    fn content(&self) -> Vec<u8> {
        assert!(Command::new("sync").arg("-f").arg(&self.data).status().unwrap().success());
        match &self.image {
            // Most of it was never written to.
            Some(image) => {
                fs::read(image).unwrap().chunks(4_096).filter(|page| **page != [0; 4_096]).flatten().copied().collect()
            }
            None => files(&self.data).iter().flat_map(|file| fs::read(file).unwrap()).collect(),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.image.is_some() {
            let _ = Command::new("umount").arg("-l").arg(&self.data).status();
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What a party says: noise, of which any few samples are known again anywhere. A WAV file of 16 bits for nearend-msr, and its µ-law.
fn noise(path: &Path, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let ulaw: Vec<u8> = (0..16_000).map(|_| random.u8(0..0x70) | random.choice([0, 0x80]).unwrap()).collect();
    let pcm: Vec<u8> = ulaw.iter().flat_map(|byte| ulaw_to_linear(*byte).to_le_bytes()).collect();
    let mut wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    wav[4..8].copy_from_slice(&(36 + pcm.len() as u32).to_le_bytes());
    wav.extend_from_slice(&8_000_u32.to_le_bytes());
    wav.extend_from_slice(&16_000_u32.to_le_bytes());
    wav.extend_from_slice(b"\x02\0\x10\0data");
    wav.extend_from_slice(&(pcm.len() as u32).to_le_bytes());
    wav.extend_from_slice(&pcm);
    fs::write(path, wav).unwrap();
    ulaw
}

/// Known audio, to be found in whatever form it lies somewhere.
struct Known {
    windows: HashSet<[u8; WINDOW]>,
    /// By the first three samples of a window: most places are dismissed by a look at this.
    begins: Vec<bool>,
    /// The 16-bit samples that occur.
    samples: Vec<bool>,
}

fn begin(first: u8, second: u8, third: u8) -> usize {
    usize::from(first) << 16 | usize::from(second) << 8 | usize::from(third)
}

impl Known {
    fn new(parties: &[&[u8]]) -> Known {
        let windows: HashSet<[u8; WINDOW]> =
            parties.iter().flat_map(|ulaw| ulaw.windows(WINDOW)).map(|window| window.try_into().unwrap()).collect();
        let mut begins = vec![false; 1 << 24];
        windows.iter().for_each(|window| begins[begin(window[0], window[1], window[2])] = true);
        let mut samples = vec![false; 1 << 16];
        parties.iter().copied().flatten().for_each(|byte| samples[usize::from(ulaw_to_linear(*byte).cast_unsigned())] = true);
        Known { windows, begins, samples }
    }

    /// How often it stands in `bytes`: as µ-law of one channel or of two that take turns, as 16-bit samples of one or of two.
    fn found_in(&self, bytes: &[u8]) -> usize {
        let mut found = 0;
        for at in 0..bytes.len().saturating_sub(2 * WINDOW) {
            for step in [1, 2] {
                if self.begins[begin(bytes[at], bytes[at + step], bytes[at + 2 * step])] {
                    found += usize::from(self.is_known(bytes[at..].iter().copied().step_by(step)));
                }
            }
        }
        // 16-bit samples begin at even places, as every file does.
        for at in (0..bytes.len().saturating_sub(1)).step_by(2).filter(|at| self.samples[sample(bytes, *at)]) {
            let samples = || bytes[at..].chunks_exact(2).map(|pair| linear_to_ulaw(i16::from_le_bytes([pair[0], pair[1]])));
            found += usize::from(self.is_known(samples()));
            found += usize::from(self.is_known(samples().step_by(2)));
        }
        found
    }

    fn is_known(&self, samples: impl Iterator<Item = u8>) -> bool {
        let mut window = [0; WINDOW];
        window.iter_mut().zip(samples).for_each(|(place, sample)| *place = sample);
        self.windows.contains(&window)
    }
}

fn sample(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn places(bytes: &[u8], sign: &[u8]) -> impl Iterator<Item = usize> {
    let begins = bytes.iter().zip(0..).filter(|(byte, _)| **byte == sign[0]).map(|(_, at)| at);
    begins.filter(|at| bytes[*at..].starts_with(sign))
}

/// The recordings whose blocks the box's key would still open: by every copy of a key file that is anywhere on the disk, deleted
/// ones included.
fn recordings_with_keys(disk: &[u8], box_key: &BoxKey) -> BTreeSet<u64> {
    const MAGIC: &[u8] = b"NEARKEY\x01";
    const ENTRY: usize = 69;
    let wrapping = box_key.wrapping_key();
    let mut found = BTreeSet::new();
    for start in places(disk, MAGIC) {
        let entries = disk[start + MAGIC.len()..].chunks_exact(ENTRY);
        for entry in entries.take_while(|entry| wrapping.open(&entry[..9], &entry[9..]).is_some()) {
            found.insert(u64::from_be_bytes(entry[..8].try_into().unwrap()));
        }
    }
    found
}

fn place_calls(site: &Site, audio: &str, calls: usize) {
    let (to, local, calls) = (format!("sip:{}", site.sip()), site.peer().to_string(), calls.to_string());
    let said = msr(site, &to, &["--local", &local, "--calls", &calls, "--rate", "25", "--duration", "2s", "--audio", audio]);
    assert_eq!(said["calls"]["completed"].to_string(), calls);
}

#[test]
fn a_stolen_disk_gives_nothing_away() {
    let keys = tempfile::tempdir().unwrap();
    let key = recipient(keys.path(), "key");
    let floor = "[spool] floor_bytes = \"16MiB\"\n";
    let mut site = Site::prepare(&format!("{floor}{}", tenant("wav", &[&key])));
    let disk = Disk::under(&site);
    let audio = |name: &str, seed: u64| (site.path(name).display().to_string(), noise(&site.path(name), seed));
    let [(a, a_ulaw), (b, b_ulaw)] = [audio("a.wav", 1), audio("b.wav", 2)];
    let [(c, c_ulaw), (d, d_ulaw)] = [audio("c.wav", 3), audio("d.wav", 4)];
    let known = Known::new(&[&a_ulaw, &b_ulaw, &c_ulaw, &d_ulaw]);
    let stereo: Vec<u8> = a_ulaw.iter().zip(&b_ulaw).flat_map(|(a, b)| [*a, *b]).collect();
    for bytes in [&fs::read(&a).unwrap(), &c_ulaw, &stereo] {
        assert!(known.found_in(bytes) > 10_000, "it can be found at all");
    }

    site.run();
    place_calls(&site, &format!("{a},{b}"), FINISHED);
    site.wait_for_recordings(FINISHED);
    assert_eq!(site.stop(), Some(0));
    let config = fs::read_to_string(site.path("nearend.toml")).unwrap();
    fs::write(site.path("nearend.toml"), config.replace("format = \"wav\"", "format = \"opus\"")).unwrap();
    site.run();
    let (to, local, calls) = (format!("sip:{}", site.sip()), site.peer().to_string(), RUNNING.to_string());
    let mut in_progress = Command::new(env!("CARGO_BIN_EXE_nearend-msr"))
        .args(["--to", &to, "--local", &local, "--calls", &calls, "--duration", "10m", "--audio", &format!("{c},{d}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    site.wait_for("the calls", |site| site.metric("nearend_recordings_running") == Some(RUNNING as u64));
    place_calls(&site, &format!("{a},{b}"), FINISHED);
    site.wait_for_recordings(2 * FINISHED);
    let blocks = site.metric("nearend_spool_blocks_total").unwrap();
    site.wait_for("more of the calls", |site| site.metric("nearend_spool_blocks_total") > Some(blocks + 40));
    site.kill();
    in_progress.kill().unwrap();
    in_progress.wait().unwrap();

    let content = disk.content();
    eprintln!("{} MB searched, as {}", content.len() >> 20, if disk.image.is_some() { "a raw image" } else { "files" });
    assert_eq!(known.found_in(&content), 0, "no audio lies on the disk in the clear");
    for sign in ["WAVEfmt ", "OpusHead", "OpusTags"] {
        assert_eq!(places(&content, sign.as_bytes()).count(), 0, "{sign} on the disk");
    }

    // With the box's key: the calls in progress, which shows that there was something to be found, and no others.
    let box_key = BoxKey::new(&fs::read(site.path("data/spool/box.key")).unwrap().try_into().unwrap());
    let listed: serde_json::Value = serde_json::from_str(&recordings(&site, &["ls", "--json"]).0).unwrap();
    let number = |recording: &serde_json::Value| recording["no"].as_u64().unwrap();
    let is_running = |recording: &&serde_json::Value| recording["stage"] == "recording";
    let in_progress: BTreeSet<u64> = listed.as_array().unwrap().iter().filter(is_running).map(number).collect();
    assert_eq!(in_progress.len(), RUNNING);
    assert_eq!(recordings_with_keys(&content, &box_key), in_progress, "keys that can still be had");
    let out = site.path("export").display().to_string();
    let data_dir = site.path("data").display().to_string();
    for recording in listed.as_array().unwrap().iter().filter(is_running).take(1) {
        let mut nearend = Command::new(env!("CARGO_BIN_EXE_nearend"));
        let id = recording["id"].as_str().unwrap();
        let done = nearend.args(["recordings", "--data-dir", &data_dir, "export", id, "--out", &out]).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    let wavs: Vec<PathBuf> = files(&site.path("export")).into_iter().filter(|file| file.ends_with("audio.wav")).collect();
    let wav = Wav::open(&wavs[0]);
    assert!(known.found_in(&wav.channels[0]) > 8_000, "a call in progress, with the box's key");
}
