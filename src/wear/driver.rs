//! The thread `wear`: once an hour it reads the counters of the medium that a folder is on, and keeps the history in a file.
//! It is never waited for, because reading from a sick medium may hang.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use nix::sys::stat::{major, minor};
use tokio::sync::watch;

use super::history::{History, Reading, Wear};
use super::medium::{self, Health};

const EVERY: Duration = Duration::from_hours(1);

/// Volumes on volumes on a disk.
const DEEPEST: usize = 8;

/// The running thread; it ends when this is dropped.
pub struct Watch {
    /// The latest figures.
    pub wear: watch::Receiver<Wear>,
    _running: Sender<()>,
}

/// Watches the medium that `folder` is on; the history is kept in `folder/wear.json`.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(folder: PathBuf) -> io::Result<Watch> {
    let ((news, wear), (running, stopped)) = (watch::channel(Wear::default()), channel());
    std::thread::Builder::new().name("wear".into()).spawn(move || watch(&folder, &news, &stopped))?;
    Ok(Watch { wear, _running: running })
}

fn watch(folder: &Path, news: &watch::Sender<Wear>, stopped: &Receiver<()>) {
    let file = folder.join("wear.json");
    // One that cannot be read begins anew.
    let mut history: History = fs::read(&file).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
    loop {
        if let Some(reading) = read(folder, Path::new("/")) {
            let wear = history.add(&reading);
            if let Some(warning) = wear.warning {
                tracing::warn!(device = reading.device, "the medium wears out: {warning}");
            }
            if let Err(error) = save(&file, &history) {
                tracing::warn!("{}: {error}; the history of the medium's wear is not kept", file.display());
            }
            news.send_replace(wear);
        }
        if stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

fn save(file: &Path, history: &History) -> io::Result<()> {
    let temporary = file.with_extension("json.part");
    let mut out = File::create(&temporary)?;
    out.write_all(&serde_json::to_vec(history)?)?;
    out.sync_all()?;
    fs::rename(temporary, file)
}

/// Reads everything; none when the folder is on no block device (such as in memory). `root` is `/`.
fn read(folder: &Path, root: &Path) -> Option<Reading> {
    let number = fs::metadata(folder).ok()?.dev();
    let block = disk_of(&root.join(format!("sys/dev/block/{}:{}", major(number), minor(number))))?;
    let device = block.file_name()?.to_str()?.to_owned();
    let text = |path: PathBuf| fs::read_to_string(path).ok();
    Some(Reading {
        serial: ["device/cid", "device/serial", "serial"].iter().find_map(|name| text(block.join(name))).unwrap_or_default(),
        boot: text(root.join("proc/sys/kernel/random/boot_id"))?,
        uptime_s: medium::uptime_s(&text(root.join("proc/uptime"))?)?,
        written_bytes: medium::written_bytes(&text(block.join("stat"))?)?,
        health: health(&block, &device),
        device,
    })
}

/// The disk that a partition or volume lies on.
fn disk_of(block: &Path) -> Option<PathBuf> {
    let mut block = fs::canonicalize(block).ok()?;
    for _ in 0..DEEPEST {
        if block.join("partition").exists() {
            block.pop();
        }
        let lower = fs::read_dir(block.join("slaves")).ok().and_then(|mut volumes| volumes.next()?.ok());
        let Some(lower) = lower else { return Some(block) };
        block = fs::canonicalize(lower.path()).ok()?;
    }
    None
}

fn health(block: &Path, device: &str) -> Health {
    let register = |name| fs::read_to_string(block.join("device").join(name));
    if let Ok(life_time) = register("life_time") {
        return medium::emmc(&life_time, &register("pre_eol_info").unwrap_or_default());
    }
    // Its exit code is a set of findings; where it is not installed or not permitted, nothing is known.
    let mut ask = Command::new("smartctl");
    ask.args(["--json", "-A", "-H", "-l", "devstat"]).arg(format!("/dev/{device}"));
    let said = ask.stdin(Stdio::null()).stderr(Stdio::null()).output();
    said.map(|said| medium::smart(&said.stdout)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system with the folder on the second partition of an eMMC.
    fn system(folder: &Path) -> tempfile::TempDir {
        let root = tempfile::TempDir::new().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("sys/devices/mmc/block/mmcblk7/stat", "1 2 3 4 5 6 2000 8 9 10 11");
        write("sys/devices/mmc/block/mmcblk7/device/life_time", "0x01 0x03\n");
        write("sys/devices/mmc/block/mmcblk7/device/pre_eol_info", "0x01\n");
        write("sys/devices/mmc/block/mmcblk7/device/cid", "1501\n");
        write("sys/devices/mmc/block/mmcblk7/mmcblk7p2/partition", "2\n");
        write("proc/uptime", "7200.50 1.0\n");
        write("proc/sys/kernel/random/boot_id", "abc\n");
        let dev = fs::metadata(folder).unwrap().dev();
        let link = root.path().join(format!("sys/dev/block/{}:{}", major(dev), minor(dev)));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("../../devices/mmc/block/mmcblk7/mmcblk7p2", link).unwrap();
        root
    }

    #[test]
    fn the_disk_under_a_folder_is_found_and_read() {
        let folder = tempfile::TempDir::new().unwrap();
        let root = system(folder.path());
        let reading = read(folder.path(), root.path()).unwrap();
        assert_eq!((reading.device.as_str(), reading.serial.as_str()), ("mmcblk7", "1501\n"));
        assert_eq!((reading.uptime_s, reading.written_bytes, reading.health.used_percent), (7_200, 1_024_000, Some(30)));
        assert_eq!(read(folder.path(), folder.path()), None, "no such device");
    }

    #[test]
    fn the_history_outlives_the_process() {
        let folder = tempfile::TempDir::new().unwrap();
        let root = system(folder.path());
        let mut history = History::default();
        history.add(&read(folder.path(), root.path()).unwrap());
        let file = folder.path().join("wear.json");
        save(&file, &history).unwrap();
        assert_eq!(serde_json::from_slice::<History>(&fs::read(&file).unwrap()).unwrap(), history);
    }
}
