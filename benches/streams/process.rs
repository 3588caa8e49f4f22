//! A child process on a core of its own, and what the kernel knows of it (proc(5)).

use std::fs;
use std::io;
use std::process::{Child, Command};
use std::time::Duration;

use nearend::clock::Now;
use nearend::model::MonoTime;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use super::Result;

/// Which core a process has. With a single one all share it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Core {
    /// For the sender. Packets over loopback are delivered on their sender's core.
    Sender,
    /// For the contestant.
    Contestant,
}

/// A command that runs on its core only, with all its threads.
pub(crate) fn command(program: &str, core: Core) -> Command {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let core = match core {
        Core::Sender => 0,
        Core::Contestant => cores - 1,
    };
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &core.to_string(), program]);
    command
}

/// Puts everything started here before all else on this machine, for those who may (root): what runs beside would bunch the
/// packets, and whoever wakes for each of them would have less to do. Between sessions it is the group's nice value that
/// counts (sched(7), autogroup).
pub(crate) struct Precedence;

impl Precedence {
    const GROUP: &str = "/proc/self/autogroup";

    pub(crate) fn take() -> Precedence {
        if fs::write(Precedence::GROUP, "-20").is_err() {
            eprintln!("bench: not before all else on this machine (only root may); keep it idle");
        }
        Precedence
    }
}

impl Drop for Precedence {
    fn drop(&mut self) {
        let _ = fs::write(Precedence::GROUP, "0"); // where it failed above, it need not be taken back
    }
}

/// A child that does not outlive its owner.
pub(crate) struct Guarded(pub(crate) Child);

impl Guarded {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// What a process has used up to a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// The moment.
    pub(crate) at: MonoTime,
    /// User and system time of all threads, also of those that have ended.
    pub(crate) cpu: Duration,
    /// Resident memory, kB.
    pub(crate) rss_kb: u64,
    /// The most it ever had, kB.
    pub(crate) peak_rss_kb: u64,
    /// Bytes that it made the file system write to the medium, in whole pages.
    pub(crate) written_bytes: u64,
}

impl Usage {
    /// Of a running process.
    pub(crate) fn of(pid: Pid) -> Result<Usage> {
        let cpu = clock_getcpuclockid(pid).and_then(clock_gettime)?;
        let (status, io) = (fs::read_to_string(format!("/proc/{pid}/status"))?, fs::read_to_string(format!("/proc/{pid}/io"))?);
        Ok(Usage {
            at: Now::read().mono,
            cpu: cpu.into(),
            rss_kb: field(&status, "VmRSS:")?,
            peak_rss_kb: field(&status, "VmHWM:")?,
            written_bytes: field(&io, "write_bytes:")?,
        })
    }
}

fn field(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()).ok_or_else(|| format!("/proc has no {name}"))?;
    Ok(number.parse()?)
}

/// Two sockets per stream are more than the usual soft limit; children inherit it.
pub(crate) fn raise_file_limit() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
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
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("waited {patience:?} in vain for {what}").into())
}
