//! Real servers of the data centre for `nearend demo`, where they are installed: an S3 server and an MQTT broker. They end with the demo.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

const BUCKET: &str = "calls";

/// Those that run.
#[derive(Default)]
pub(super) struct Servers {
    s3: Option<Running>,
    broker: Option<Running>,
    /// `mosquitto_sub`, which waits for the first event.
    subscriber: Option<Child>,
}

struct Running {
    child: Child,
    address: SocketAddr,
}

impl Drop for Servers {
    fn drop(&mut self) {
        let running = [self.s3.take(), self.broker.take()].into_iter().flatten().map(|running| running.child);
        for mut child in running.chain(self.subscriber.take()) {
            let _ = child.kill(); // it may have ended
            let _ = child.wait();
        }
    }
}

impl Servers {
    /// Starts what there is, with its files below `dir`, and says what there is not.
    pub(super) fn start(dir: &Path) -> Result<Servers, String> {
        let mut servers = Servers { s3: start_s3(dir)?, broker: start_broker(dir)?, subscriber: None };
        match &servers.s3 {
            Some(s3) => println!("An S3 server (s3s-fs) is a target: http://{}/{BUCKET}", s3.address),
            None => println!("No S3 server: s3s-fs is not installed (cargo install s3s-fs --features binary)"),
        }
        match &servers.broker {
            Some(broker) => {
                println!("An MQTT broker (mosquitto) is told what happens: mqtt://{}", broker.address);
                servers.subscriber = subscribe(broker.address)?;
            }
            None => println!("No MQTT broker: mosquitto is not installed (Debian: mosquitto, mosquitto-clients)"),
        }
        Ok(servers)
    }

    /// What of the configuration is about them.
    pub(super) fn config(&self, dir: &Path) -> Result<String, String> {
        let mut text = String::new();
        if let Some(s3) = &self.s3 {
            let [access, secret] = [("access-key", ACCESS_KEY), ("secret-key", SECRET_KEY)].map(|(name, key)| {
                let path = dir.join(name);
                write(&path, key).map(|()| format!("{:?}", path.display().to_string()))
            });
            text += &format!(
                "[[target]]\nname = \"s3\"\nkind = \"s3\"\nendpoint = \"http://{}\"\nbucket = \"{BUCKET}\"\naccess_key_file = {}\nsecret_key_file = {}\n",
                s3.address, access?, secret?
            );
        }
        if let Some(broker) = &self.broker {
            text += &format!("[events]\nbroker = \"mqtt://{}\"\n", broker.address);
        }
        Ok(text)
    }

    /// The folder of the S3 server that is the bucket; none: there is no such server.
    pub(super) fn bucket(&self, dir: &Path) -> Option<PathBuf> {
        self.s3.is_some().then(|| dir.join("s3").join(BUCKET))
    }

    /// The event of the recording, as a subscriber of the broker has heard it; none: there is no broker.
    pub(super) fn event(&mut self) -> Result<Option<String>, String> {
        let Some(subscriber) = self.subscriber.take() else { return Ok(None) };
        let output = subscriber.wait_with_output().map_err(|e| format!("mosquitto_sub: {e}"))?;
        let event = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if event.is_empty() { Err("the broker has told nothing of the recording".into()) } else { Ok(Some(event)) }
    }
}

const ACCESS_KEY: &str = "AKIADEMO";
const SECRET_KEY: &str = "a secret of this machine alone";

fn start_s3(dir: &Path) -> Result<Option<Running>, String> {
    let root = dir.join("s3");
    fs::create_dir_all(root.join(BUCKET)).map_err(|e| format!("{}: {e}", root.display()))?;
    start(&["s3s-fs"], |command, address| {
        command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
        command.args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]).arg(&root);
    })
}

fn start_broker(dir: &Path) -> Result<Option<Running>, String> {
    let path = dir.join("mosquitto.conf");
    let is_written = |address: SocketAddr| {
        // Started by root, it would go on as somebody who may not read what is below this folder.
        write(
            &path,
            &format!("listener {} {}\nallow_anonymous true\npersistence false\nuser root\n", address.port(), address.ip()),
        )
    };
    let address = free()?;
    is_written(address)?;
    // Debian has it where only root looks.
    start_at(address, &["mosquitto", "/usr/sbin/mosquitto"], |command, _| {
        command.arg("-c").arg(&path);
    })
}

fn subscribe(address: SocketAddr) -> Result<Option<Child>, String> {
    let mut command = Command::new("mosquitto_sub");
    command.args(["-V", "5", "-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
    command.args(["-t", "nearend/+/recording", "-C", "1", "-W", "900"]).stdout(Stdio::piped()).stderr(Stdio::null());
    match command.spawn() {
        Ok(child) => Ok(Some(child)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("mosquitto_sub: {error}")),
    }
}

fn start(names: &[&str], arguments: impl Fn(&mut Command, SocketAddr)) -> Result<Option<Running>, String> {
    start_at(free()?, names, arguments)
}

/// Starts the first of these programs that there is, and waits until it listens.
fn start_at(
    address: SocketAddr,
    names: &[&str],
    arguments: impl Fn(&mut Command, SocketAddr),
) -> Result<Option<Running>, String> {
    for name in names {
        let mut command = Command::new(name);
        arguments(&mut command, address);
        match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(child) => return wait_for(name, Running { child, address }).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{name}: {error}")),
        }
    }
    Ok(None)
}

fn wait_for(name: &str, mut running: Running) -> Result<Running, String> {
    let step = Duration::from_millis(50);
    for _ in 0..PATIENCE.as_millis() / step.as_millis() {
        if TcpStream::connect(running.address).is_ok() {
            return Ok(running);
        }
        if let Ok(Some(status)) = running.child.try_wait() {
            return Err(format!("{name} ended at once ({status}); is its version one that this demo knows?"));
        }
        std::thread::sleep(step);
    }
    let _ = running.child.kill(); // it is of no use
    Err(format!("{name} does not listen at {}", running.address))
}

fn free() -> Result<SocketAddr, String> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    bound.map_err(|e| format!("no port is free on 127.0.0.1: {e}"))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}
