//! Calls by `nearend-msr`: one process each, so that every call has audio of its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use super::Result;
use super::audio::{noise, write_wav};
use super::machine::Machine;

/// A call that is to be placed.
pub(crate) struct Call {
    command: Command,
    /// Its recording id, and where what it sends is written.
    named: Option<(String, PathBuf)>,
}

impl Call {
    /// One with the built-in voices.
    pub(crate) fn plain(machine: &Machine, duration: Duration) -> Call {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nearend-msr"));
        command
            .args(["--to", &format!("sip:{}", machine.sip()), "--local", &machine.sender_ip().to_string(), "--json"])
            .args(["--duration", &format!("{}ms", duration.as_millis())])
            .stdout(Stdio::piped());
        Call { command, named: None }
    }

    /// So many of them, by one process.
    pub(crate) fn many(mut self, calls: u32, rate: f64) -> Call {
        self.command.args(["--calls", &calls.to_string(), "--rate", &rate.to_string()]);
        self
    }

    /// With CallUUIDs that the simulated switch knows.
    pub(crate) fn known(mut self, call_uuids: u64) -> Call {
        self.command.args(["--call-uuids", &call_uuids.to_string()]);
        self
    }

    /// One with this recording id and noise that is nobody else's.
    pub(crate) fn noisy(machine: &Machine, duration: Duration, id: &str, random: &mut fastrand::Rng) -> Result<Call> {
        let mut call = Call::plain(machine, duration);
        let dump = machine.path("sent");
        fs::create_dir_all(&dump)?;
        let files = ["1", "2"].map(|party| machine.path(&format!("{id}-{party}.wav")));
        let samples = usize::try_from(duration.as_millis())? * 8 + 8_000;
        files.iter().try_for_each(|file| write_wav(file, &noise(random, samples)))?;
        call.command.arg("--dump").arg(&dump).args(["--recording-id", id, "--audio"]);
        call.command.arg(files.map(|file| file.display().to_string()).join(","));
        call.named = Some((id.to_owned(), dump));
        Ok(call)
    }

    /// Places it.
    pub(crate) fn start(mut self) -> Result<Running> {
        Ok(Running { process: self.command.spawn()?, named: self.named })
    }
}

/// A call that is up.
pub(crate) struct Running {
    process: Child,
    named: Option<(String, PathBuf)>,
}

impl Running {
    /// Waits for its end; it must have gone as it should. Gives what it says of itself.
    pub(crate) fn finish(&mut self) -> Result<Sent> {
        let output = self.process.stdout.take().ok_or("it was waited for before")?;
        let said = serde_json::from_reader(output);
        let status = self.process.wait()?;
        if status.success() { Ok(said?) } else { Err(format!("nearend-msr ended with {status}: {said:?}").into()) }
    }

    /// Its recording id, and what it has sent on each channel.
    pub(crate) fn sent(&self) -> Result<(String, [Vec<u8>; 2])> {
        let (id, dump) = self.named.as_ref().ok_or("what it sends is not kept")?;
        let read = |channel: u8| fs::read(dump.join(format!("{id}.channel-{channel}.ulaw")));
        Ok((id.clone(), [read(1)?, read(2)?]))
    }
}

/// What `nearend-msr` says at its end (docs/nearend-msr.md).
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Sent {
    pub(crate) calls: Calls,
    pub(crate) packets: Packets,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Calls {
    pub(crate) placed: u64,
    pub(crate) completed: u64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Packets {
    pub(crate) sent: u64,
    pub(crate) late: u64,
}

impl Sent {
    pub(crate) fn plus(self, other: &Sent) -> Sent {
        let calls =
            Calls { placed: self.calls.placed + other.calls.placed, completed: self.calls.completed + other.calls.completed };
        let packets = Packets { sent: self.packets.sent + other.packets.sent, late: self.packets.late + other.packets.late };
        Sent { calls, packets }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended
        let _ = self.process.wait();
    }
}
