//! The emulated box: its disk, its power switch, what an installer gives it, and what can be seen of it from outside.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::audio::Finished;
use super::s3::{ACCESS_KEY, S3Server, SECRET_KEY};

/// Where scripts/emulate puts the box.
pub(crate) const BOX: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 30);
/// And this machine.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// How long anything may take on a machine that does much else; only a hang ever reaches it.
const PATIENCE: Duration = Duration::from_secs(900);

pub(crate) struct Machine {
    folder: PathBuf,
    pub(crate) server: S3Server,
    emulator: Option<Child>,
}

impl Machine {
    /// A box with a new disk, without power.
    pub(crate) fn flash(name: &str) -> Machine {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulation").join(name);
        let _ = fs::remove_dir_all(&folder); // there is none the first time
        for part in ["dc/calls", "site/credentials"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        let server = S3Server::start(&folder.join("dc"), HOST);
        let site = folder.join("site");
        fs::write(site.join("credentials/access-key"), ACCESS_KEY).unwrap();
        fs::write(site.join("credentials/secret-key"), SECRET_KEY).unwrap();
        fs::write(site.join("nearend.toml"), configuration(server.address)).unwrap();
        let key = folder.join("ssh-key");
        let status = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap();
        assert!(status.success(), "an SSH key");
        fs::copy(key.with_extension("pub"), site.join("authorized_keys")).unwrap();
        Machine { folder, server, emulator: None }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn power_on(&mut self) -> Instant {
        let console = fs::OpenOptions::new().create(true).append(true).open(self.path("console")).unwrap();
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/emulate"));
        command.args(["virt", "--dir"]).arg(&self.folder).arg("--site").arg(self.path("site"));
        command.stdin(Stdio::null()).stdout(console.try_clone().unwrap()).stderr(console);
        let begin = Instant::now();
        self.emulator = Some(command.spawn().unwrap());
        begin
    }

    /// SIGKILL: what was not written is gone. The script has become the emulator.
    pub(crate) fn cut(&mut self) -> Instant {
        let mut emulator = self.emulator.take().unwrap();
        emulator.kill().unwrap();
        let at = Instant::now();
        emulator.wait().unwrap();
        at
    }

    /// As a person would who has the time.
    pub(crate) fn power_off(&mut self) {
        self.ssh("systemctl poweroff --no-block");
        self.emulator.take().unwrap().wait().unwrap();
    }

    /// Waits until SIP is answered there. Gives the moment.
    pub(crate) fn accepts_calls(&mut self) -> Instant {
        self.wait_for("the box to take calls", Duration::from_millis(50), |_| {
            let answered = TcpStream::connect_timeout(&SocketAddr::from((BOX, 5060)), Duration::from_millis(500)).is_ok();
            answered.then(Instant::now)
        })
    }

    pub(crate) fn wait_for<T>(&mut self, what: &str, every: Duration, mut look: impl FnMut(&mut Machine) -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(seen) = look(self) {
                return seen;
            }
            let is_running = self.emulator.as_mut().is_some_and(|emulator| emulator.try_wait().unwrap().is_none());
            assert!(is_running && begin.elapsed() < PATIENCE, "waited for {what}; the console:\n{}", self.console_end());
            sleep(every);
        }
    }

    fn console_end(&self) -> String {
        let text = fs::read(self.path("console")).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(4_000)..]).into_owned()
    }

    /// A value of /metrics, which is open to programs on the box.
    pub(crate) fn metric(&mut self, name: &str) -> Option<u64> {
        let page = self.ssh(
            "bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080; printf \"GET /metrics HTTP/1.1\\r\\nHost: box\\r\\nConnection: close\\r\\n\\r\\n\" >&3; cat <&3'",
        );
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok()).map(|value| value as u64)
    }

    /// What a command says on the box.
    pub(crate) fn ssh(&mut self, command: &str) -> String {
        self.wait_for("an answer over SSH", Duration::from_secs(1), |machine| {
            let mut ssh = Command::new("ssh");
            ssh.args([
                "-q",
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "ConnectTimeout=60",
                "-i",
            ]);
            let output = ssh.arg(machine.path("ssh-key")).arg(format!("root@{BOX}")).arg(command).stdin(Stdio::null()).output();
            let output = output.unwrap();
            (output.status.code() != Some(255)).then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        })
    }

    /// Everything that has arrived in the data centre, whole.
    pub(crate) fn arrived(&self) -> Vec<Finished> {
        let keys = self.server.objects("calls").into_iter().map(|(key, _)| key);
        let folders = keys.filter_map(|key| key.strip_suffix("/recording.json").map(|folder| self.path("dc/calls").join(folder)));
        folders.filter(|folder| folder.join("audio.wav").exists()).map(|folder| Finished::open(&folder).unwrap()).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(emulator) = &mut self.emulator {
            let _ = emulator.kill(); // it may have ended
            let _ = emulator.wait();
        }
    }
}

fn configuration(server: SocketAddr) -> String {
    format!(
        "[site]\nname = \"emulated\"\n\n[sip]\ntrusted = [\"192.0.2.0/24\", \"127.0.0.0/8\"]\n\n\
         [[target]]\nname = \"dc\"\nkind = \"s3\"\nendpoint = \"http://{server}\"\nbucket = \"calls\"\n\
         access_key_file = \"/etc/nearend/credentials/access-key\"\nsecret_key_file = \"/etc/nearend/credentials/secret-key\"\n"
    )
}
