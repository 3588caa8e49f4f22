//! Reads the kernel's files about the machine every 10 s, in a task on the main thread: they stand in memory.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;

use super::{Host, Link, boot_time, link, temperature};

const EVERY: Duration = Duration::from_secs(10);

/// More links are not shown.
const MOST_LINKS: usize = 16;

/// More sensors are not read.
const MOST_SENSORS: usize = 32;

/// Reads now and again for as long as somebody looks.
pub fn watch_over() -> watch::Receiver<Host> {
    let (news, seen) = watch::channel(Host::default());
    tokio::spawn(async move {
        loop {
            news.send_replace(read(Path::new("/")));
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = news.closed() => return,
            }
        }
    });
    seen
}

/// `root` is `/`.
fn read(root: &Path) -> Host {
    let text = |path: &Path| fs::read_to_string(path).ok();
    let zones = names(&root.join("sys/class/thermal"), MOST_SENSORS).into_iter().filter(|name| name.starts_with("thermal_zone"));
    let sensors = zones.filter_map(|zone| temperature(&text(&root.join("sys/class/thermal").join(zone).join("temp"))?));
    let timesync = root.join("run/systemd/timesync");
    Host {
        temperature_c: sensors.max_by(f64::total_cmp),
        clock_synchronised: timesync.exists().then(|| timesync.join("synchronized").exists()),
        booted: text(&root.join("proc/stat")).and_then(|stat| boot_time(&stat)),
        links: links(&root.join("sys/class/net")),
    }
}

/// Those with a device behind them; not loopback, bridges and the like.
fn links(folder: &Path) -> Vec<Link> {
    let real = |name: &String| name != "lo" && folder.join(name).join("device").exists();
    let read = |name: String| {
        let state = fs::read_to_string(folder.join(&name).join("operstate")).unwrap_or_default();
        let speed = fs::read_to_string(folder.join(&name).join("speed")).ok(); // cannot be read while it is down
        link(&name, &state, speed.as_deref())
    };
    names(folder, usize::MAX).into_iter().filter(real).take(MOST_LINKS).map(read).collect()
}

fn names(folder: &Path, most: usize) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).take(most).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_read_from_its_files() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(read(root.path()), Host::default());
        for (file, text) in [
            ("sys/class/thermal/thermal_zone0/temp", "41000\n"),
            ("sys/class/thermal/thermal_zone1/temp", "55500\n"),
            ("sys/class/thermal/cooling_device0/temp", "99000\n"),
            ("proc/stat", "btime 1772460359\n"),
            ("run/systemd/timesync/synchronized", ""),
            ("sys/class/net/eth0/operstate", "up\n"),
            ("sys/class/net/eth0/speed", "100\n"),
            ("sys/class/net/eth0/device/uevent", ""),
            ("sys/class/net/lo/operstate", "unknown\n"),
        ] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let host = read(root.path());
        assert_eq!((host.temperature_c, host.clock_synchronised), (Some(55.5), Some(true)));
        assert_eq!(host.links, [link("eth0", "up", Some("100"))]);
        fs::remove_file(root.path().join("run/systemd/timesync/synchronized")).unwrap();
        assert_eq!(read(root.path()).clock_synchronised, Some(false));
    }
}
