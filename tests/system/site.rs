//! A box under test: a temporary folder, a configuration, the daemon as a process, and what arrives in its data centre.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Of the administrator that the tests make.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// How long anything may take that should take moments; only a hang ever reaches it.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Site {
    folder: tempfile::TempDir,
    /// The box's own loopback address: tests run side by side without sharing ports.
    pub(crate) ip: Ipv4Addr,
    peers: AtomicU8,
    daemon: Option<Child>,
    log: Arc<Mutex<Vec<String>>>,
    token: OnceLock<String>,
}

impl Site {
    /// A box with the usual configuration, running.
    pub(crate) fn start() -> Site {
        Site::start_with("")
    }

    /// The same with more configuration: lines `[table] key = value` of tables that are completed, or whole tables.
    pub(crate) fn start_with(more: &str) -> Site {
        let mut site = Site::prepare(more);
        site.run();
        site
    }

    /// Not running yet.
    pub(crate) fn prepare(more: &str) -> Site {
        let ip = address();
        let folder = tempfile::tempdir().unwrap();
        let site = Site { folder, ip, peers: AtomicU8::new(2), daemon: None, log: Arc::default(), token: OnceLock::new() };
        fs::create_dir(site.path("dc")).unwrap();
        fs::create_dir(site.path("data")).unwrap();
        fs::write(site.path("nearend.toml"), site.config(more)).unwrap();
        site
    }

    /// Adds whole tables to the configuration of a box that is not running.
    pub(crate) fn add_config(&self, tables: &str) {
        let path = self.path("nearend.toml");
        let config = fs::read_to_string(&path).unwrap();
        fs::write(path, config + tables).unwrap();
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) fn run(&mut self) {
        let mut daemon = Command::new(env!("CARGO_BIN_EXE_nearend"))
            .args(["run", "--config"])
            .arg(self.path("nearend.toml"))
            .env("RUST_LOG", "nearend=debug")
            .env("NOTIFY_SOCKET", self.path("notify")) // where a test may listen as systemd does
            .env("WATCHDOG_USEC", "60000000")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(daemon.stderr.take().unwrap());
        let log = Arc::clone(&self.log);
        let seen = log.lock().unwrap().len();
        thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| log.lock().unwrap().push(line)));
        self.daemon = Some(daemon);
        self.wait_for("the daemon to be ready", |site| site.log().iter().skip(seen).any(|line| line.contains("ready")));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn sip(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.ip), 5060)
    }

    /// An address for one more peer.
    pub(crate) fn peer(&self) -> IpAddr {
        let [a, b, c, _] = self.ip.octets();
        IpAddr::V4(Ipv4Addr::new(a, b, c, self.peers.fetch_add(1, Ordering::Relaxed)))
    }

    /// SIGKILL, as a power cut would.
    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let mut daemon = self.daemon.take().unwrap();
        kill(Pid::from_raw(daemon.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        daemon.wait().unwrap().code()
    }

    /// Replaces the configuration, as a person would with an editor.
    pub(crate) fn rewrite(&self, more: &str) {
        fs::write(self.path("nearend.toml"), self.config(more)).unwrap();
    }

    /// SIGHUP.
    pub(crate) fn hang_up(&self) {
        let daemon = self.daemon.as_ref().unwrap();
        kill(Pid::from_raw(daemon.id().try_into().unwrap()), Signal::SIGHUP).unwrap();
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The first log line that contains all of `words`; waits for it.
    pub(crate) fn log_line(&self, words: &[&str]) -> String {
        let find = |site: &Site| site.log().into_iter().find(|line| words.iter().all(|word| line.contains(word)));
        self.wait_for(&format!("a log line with {words:?}"), |site| find(site).is_some());
        find(self).unwrap()
    }

    /// GET from the box's own web server, as an administrator: status code and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "")
    }

    /// POST without a body, as an administrator; `headers` with their line ends.
    pub(crate) fn post(&self, path: &str, headers: &str) -> (u16, String) {
        self.ask("POST", path, headers)
    }

    fn ask(&self, method: &str, path: &str, headers: &str) -> (u16, String) {
        let token = if path.starts_with("/api/") { format!("Authorization: Bearer {}\r\n", self.token()) } else { String::new() };
        let (status, _, body) = self.exchange(method, path, &format!("{token}{headers}"), "");
        (status, body)
    }

    /// One request as nobody: status code, head and body.
    pub(crate) fn exchange(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
        let (status, head, body) = self.exchange_bytes(method, path, headers, body);
        (status, head, String::from_utf8(body).unwrap())
    }

    /// The same with a body that is no text.
    pub(crate) fn exchange_bytes(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect((self.ip, 8080)).unwrap();
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let length = if method == "GET" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: box\r\nConnection: close\r\n{headers}{kind}{length}\r\n");
        stream.write_all((head + body).as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head, answer.split_off(end + 4))
    }

    /// The code of the first use, as the log says it.
    pub(crate) fn code(&self) -> String {
        const WORDS: &str = "first administrator with the code ";
        self.log_line(&[WORDS]);
        let lines = self.log();
        let last = lines.iter().rev().find_map(|line| line.split(WORDS).nth(1)).unwrap();
        last.split_whitespace().next().unwrap().to_owned()
    }

    /// A token of an administrator, whom the first call makes as a person would.
    pub(crate) fn token(&self) -> &str {
        self.token.get_or_init(|| {
            let body = format!("{{\"code\": \"{}\", \"name\": \"tester\", \"password\": \"{PASSWORD}\"}}", self.code());
            let (status, head, said) = self.exchange("POST", "/api/v1/access/first", "", &body);
            assert_eq!(status, 200, "{said}");
            let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")?.split(';').next()).unwrap();
            self.new_token(&format!("Cookie: {cookie}\r\n"), "tests", "admin", "null")
        })
    }

    /// Makes a token by a session or a token of an administrator; `tenants` as JSON.
    pub(crate) fn new_token(&self, by: &str, name: &str, role: &str, tenants: &str) -> String {
        let body = format!("{{\"name\": \"{name}\", \"role\": \"{role}\", \"tenants\": {tenants}}}");
        let (status, _, said) = self.exchange("POST", "/api/v1/access/tokens", by, &body);
        assert_eq!(status, 201, "{said}");
        let said: Value = serde_json::from_str(&said).unwrap();
        said["token"].as_str().unwrap().to_owned()
    }

    /// One value of the metrics page, which is renewed every second; none while it has no such line.
    pub(crate) fn metric(&self, name: &str) -> Option<u64> {
        let (_, text) = self.get("/metrics");
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?.parse().ok()
    }

    /// Folders in the data centre that hold a recording.json, in order of their names.
    pub(crate) fn delivered(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut look_in = vec![self.path("dc")];
        while let Some(folder) = look_in.pop() {
            for entry in fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()) {
                if entry.is_dir() {
                    look_in.push(entry);
                } else if entry.ends_with("recording.json") {
                    found.push(folder.clone());
                }
            }
        }
        found.sort();
        found
    }

    /// Waits until `n` recordings have arrived, and gives them.
    pub(crate) fn wait_for_recordings(&self, n: usize) -> Vec<Arrived> {
        self.wait_for(&format!("{n} recordings in the data centre"), |site| site.delivered().len() >= n);
        let delivered = self.delivered();
        assert_eq!(delivered.len(), n, "more recordings than calls: {delivered:?}");
        delivered.into_iter().map(Arrived::open).collect()
    }

    pub(crate) fn wait_for(&self, what: &str, done: impl Fn(&Site) -> bool) {
        let begin = Instant::now();
        while !done(self) {
            assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}; the log:\n{}", self.log().join("\n"));
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn config(&self, more: &str) -> String {
        let (folder, ip) = (self.folder.path().display(), self.ip);
        let table = |name: &str| -> String {
            let prefix = format!("[{name}] ");
            more.lines().filter_map(|line| line.strip_prefix(&prefix)).map(|line| format!("{line}\n")).collect()
        };
        let is_completion = |line: &&str| line.starts_with('[') && line.contains("] ");
        let rest: String = more.lines().filter(|line| !is_completion(line)).map(|line| format!("{line}\n")).collect();
        let (mut sip, rtp, spool, web) = (table("sip"), table("rtp"), table("spool"), table("web"));
        if !sip.contains("listen") {
            sip += &format!("listen = [\"udp:{ip}:5060\", \"tcp:{ip}:5060\"]\n");
        }
        format!(
            "[site]\nname = \"branch-17\"\ngeo_location = \"dallas\"\ndata_dir = \"{folder}/data\"\n\
             [sip]\n{sip}\
             [rtp]\nports = \"20000-29999\"\n{rtp}[spool]\n{spool}[web]\nlisten = \"{ip}:8080\"\n{web}\
             [[target]]\nname = \"dc\"\nkind = \"dir\"\npath = \"{folder}/dc\"\n{rest}"
        )
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        if thread::panicking() {
            eprintln!("--- log of the box ---\n{}", self.log().join("\n"));
        }
    }
}

/// A recording as it arrived.
pub(crate) struct Arrived {
    pub(crate) folder: PathBuf,
    pub(crate) json: Value,
}

impl Arrived {
    pub(crate) fn open(folder: PathBuf) -> Arrived {
        let json = serde_json::from_slice(&fs::read(folder.join("recording.json")).unwrap()).unwrap();
        Arrived { folder, json }
    }

    pub(crate) fn wav(&self) -> super::wav::Wav {
        super::wav::Wav::open(&self.folder.join("audio.wav"))
    }

    pub(crate) fn id(&self) -> &str {
        self.json["id"].as_str().unwrap()
    }
}

/// A loopback address of this test alone: by process and by a count.
pub(crate) fn address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = u8::try_from(std::process::id() % 250).unwrap() + 2;
    let test = NEXT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, process, test, 1)
}

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}
