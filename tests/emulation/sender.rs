//! Calls from this machine to the box by `nearend-msr`, one process each, with noise that is nobody else's.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::audio::{noise, write_wav};
use super::machine::{BOX, HOST, Machine};

pub(crate) struct Call {
    pub(crate) id: String,
    /// Shortly before its first packet.
    pub(crate) placed: Instant,
    process: Child,
}

impl Call {
    pub(crate) fn place(machine: &Machine, id: &str, duration: Duration, random: &mut fastrand::Rng) -> Call {
        let (sent, samples) = (machine.path("sent"), usize::try_from(duration.as_millis()).unwrap() * 8 + 8_000);
        fs::create_dir_all(&sent).unwrap();
        let files = ["1", "2"].map(|party| sent.join(format!("{id}-{party}.wav")));
        files.iter().for_each(|file| write_wav(file, &noise(random, samples)).unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_nearend-msr"));
        command
            .args(["--to", &format!("sip:{BOX}"), "--local", &HOST.to_string(), "--json", "--recording-id", id])
            .args(["--duration", &format!("{}ms", duration.as_millis()), "--dump"])
            .arg(&sent)
            .arg("--audio")
            .arg(files.map(|file| file.display().to_string()).join(","))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        Call { id: id.to_owned(), placed: Instant::now(), process: command.spawn().unwrap() }
    }

    /// Waits for its end. Gives what `nearend-msr` says of it (docs/nearend-msr.md), and whether all went as it should.
    pub(crate) fn finish(&mut self) -> (serde_json::Value, bool) {
        let said = serde_json::from_reader(self.process.stdout.take().unwrap()).unwrap();
        (said, self.process.wait().unwrap().success())
    }

    /// What it has sent on each channel.
    pub(crate) fn sent(&self, machine: &Machine) -> [Vec<u8>; 2] {
        [1, 2].map(|channel| fs::read(machine.path("sent").join(format!("{}.channel-{channel}.ulaw", self.id))).unwrap())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended
        let _ = self.process.wait();
    }
}
