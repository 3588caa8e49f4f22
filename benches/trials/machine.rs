//! The box under trial: a folder, a configuration, the daemon as a process of its own on a loopback address of its own.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::sleep;
use std::time::Duration;

use nearend::clock::Now;
use nearend::model::WallTime;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::Result;

/// How long anything may take that should take moments.
const PATIENCE: Duration = Duration::from_secs(120);

/// The daemon, and where it works.
pub(crate) struct Machine {
    folder: TempDir,
    ip: Ipv4Addr,
    daemon: Option<Child>,
}

impl Machine {
    /// A box with `more` tables of configuration behind the usual ones, not running yet. `TARGET` in it becomes a path of that name.
    pub(crate) fn prepare(more: &str) -> Result<Machine> {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        fs::create_dir(folder.path().join("data"))?;
        let machine = Machine { folder, ip: address(), daemon: None };
        machine.configure(more)?;
        Ok(machine)
    }

    /// Other tables behind the usual ones, in force from the next start on.
    pub(crate) fn configure(&self, more: &str) -> Result<()> {
        Ok(fs::write(self.path("nearend.toml"), self.configuration(more))?)
    }

    /// Starts the daemon. Gives the time from the start of the process until calls are taken.
    pub(crate) fn start(&mut self) -> Result<Duration> {
        // Where the daemon says that it is ready (sd_notify(3)); gone again then, because nobody reads what it says later.
        let _ = fs::remove_file(self.path("ready")); // there is none before the first start
        let ready = UnixDatagram::bind(self.path("ready"))?;
        ready.set_read_timeout(Some(Duration::from_millis(500)))?;
        let log = OpenOptions::new().create(true).append(true).open(self.path("log"))?;
        let begin = Now::read().mono;
        let daemon = Command::new(env!("CARGO_BIN_EXE_nearend"))
            .args(["run", "--config"])
            .arg(self.path("nearend.toml"))
            .env("NOTIFY_SOCKET", self.path("ready"))
            .env("RUST_LOG", "nearend=info")
            .stderr(Stdio::from(log))
            .stdout(Stdio::null())
            .spawn()?;
        self.daemon = Some(daemon);
        let mut said = [0; 256];
        loop {
            let took = Now::read().mono.since(begin);
            match ready.recv(&mut said) {
                Ok(length) if said[..length].starts_with(b"READY=1") => return Ok(Now::read().mono.since(begin)),
                Ok(_) => {}
                Err(_) if !self.is_running()? => {
                    return Err(format!("the daemon ended while it started:\n{}", self.log_end()).into());
                }
                Err(_) if took > PATIENCE => return Err(format!("the daemon is not ready after {took:?}").into()),
                Err(_) => {}
            }
        }
    }

    /// SIGKILL. Gives the moment.
    pub(crate) fn kill(&mut self) -> Result<WallTime> {
        let mut daemon = self.daemon.take().ok_or("no daemon runs")?;
        let moment = Now::read().wall;
        daemon.kill()?;
        daemon.wait()?;
        Ok(moment)
    }

    /// SIGTERM; the daemon must end by itself, and as it should.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().ok_or("no daemon runs")?;
        kill(Pid::from_raw(daemon.id().cast_signed()), Signal::SIGTERM)?;
        let status = daemon.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the daemon ended with {status}:\n{}", self.log_end()).into()) }
    }

    /// Whether the process has not ended by itself.
    pub(crate) fn is_running(&mut self) -> Result<bool> {
        Ok(match &mut self.daemon {
            Some(daemon) => daemon.try_wait()?.is_none(),
            None => false,
        })
    }

    pub(crate) fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(self.daemon.as_ref().ok_or("no daemon runs")?.id().cast_signed()))
    }

    /// Resident memory of the process now, and the most it ever had, in kB.
    pub(crate) fn memory_kb(&self) -> Result<(u64, u64)> {
        let pid = self.pid()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(|| format!("/proc has no {name}"))?;
            Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.path("data/spool")
    }

    /// Every finished folder on the box.
    pub(crate) fn finished(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut look_in = vec![self.path("data/finished")];
        while let Some(folder) = look_in.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    look_in.push(path);
                } else if path.ends_with("recording.json") {
                    found.push(folder.clone());
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Where calls are placed.
    pub(crate) fn sip(&self) -> SocketAddr {
        SocketAddr::from((self.ip, 5_060))
    }

    /// Where calls come from.
    pub(crate) fn sender_ip(&self) -> IpAddr {
        let [a, b, c, d] = self.ip.octets();
        IpAddr::V4(Ipv4Addr::new(a, b, c, d + 1))
    }

    /// One value of the metrics page, which is renewed every second.
    pub(crate) fn metric(&self, name: &str) -> Result<u64> {
        let metrics = self.get("/metrics")?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.ok_or_else(|| format!("/metrics has no {name}"))?.parse()?)
    }

    /// What the daemon has logged, all of its lives.
    pub(crate) fn log(&self) -> String {
        let mut text = Vec::new();
        let read = File::open(self.path("log")).and_then(|mut log| log.read_to_end(&mut text));
        read.map_or_else(|error| error.to_string(), |_| String::from_utf8_lossy(&text).into_owned())
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// GET from the page's server; the body of a 200.
    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect((self.ip, 8_080))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let body = answer.strip_prefix("HTTP/1.1 200 ").and_then(|rest| rest.split_once("\r\n\r\n"));
        Ok(body.ok_or_else(|| format!("GET {path}: {}", answer.lines().next().unwrap_or_default()))?.1.to_owned())
    }

    fn configuration(&self, more: &str) -> String {
        let (ip, data) = (self.ip, self.path("data"));
        format!(
            "[site]\nname = \"trial\"\ndata_dir = {data:?}\n\
             [sip]\nlisten = [\"udp:{ip}:5060\"]\nmax_recordings = 1100\n\
             [rtp]\naddress = \"{ip}\"\nports = \"20000-29999\"\n\
             [web]\nlisten = \"{ip}:8080\"\n{more}",
            more = more.replace("TARGET", &self.path("TARGET").to_string_lossy())
        )
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill(); // it may have ended
            let _ = daemon.wait();
        }
    }
}

/// Tries until `done` gives something.
///
/// # Errors
/// When `patience` is over, or `done` fails.
pub(crate) fn wait_for<T>(what: &str, patience: Duration, mut done: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let give_up = Now::read().mono.after(patience);
    while Now::read().mono < give_up {
        if let Some(found) = done()? {
            return Ok(found);
        }
        sleep(Duration::from_millis(20));
    }
    Err(format!("waited {patience:?} in vain for {what}").into())
}

/// Copies the files of a folder, and of the folders in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A loopback address of this box alone; the next one is its senders'.
fn address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let process = u8::try_from(std::process::id() % 250).unwrap_or_default() + 2;
    Ipv4Addr::new(127, 1, process, 2 * NEXT.fetch_add(1, Ordering::Relaxed) + 1)
}
