//! Events over MQTT 5 to a broker that nobody here wrote, Mosquitto: what a subscriber hears of a box, and what of it outlives a broker that is away.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::server::Server;
use super::site::Site;

const PATIENCE: Duration = Duration::from_secs(60);

/// Mosquitto at an address, with more lines of configuration. None: somebody else has the port.
fn mosquitto_at(site: &Site, address: SocketAddr, more: &str) -> Option<Server> {
    let conf = site.path("mosquitto.conf");
    let login = "password_file {}\nallow_anonymous false\n".replace("{}", &site.path("users").display().to_string());
    let text = format!("listener {} {}\n{more}{login}user root\n", address.port(), address.ip());
    fs::write(&conf, text).unwrap();
    Server::start_at(address, &|_| {
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(&conf);
        command
    })
}

/// A port for a broker that may not be there yet.
fn free(site: &Site) -> SocketAddr {
    std::net::TcpListener::bind((site.ip, 0)).unwrap().local_addr().unwrap()
}

/// Who listens to all topics of the broker.
struct Subscriber {
    child: Child,
    lines: Receiver<String>,
    /// What came on other topics than the one that was waited for.
    others: RefCell<Vec<String>>,
}

impl Subscriber {
    fn start(address: SocketAddr, more: &[&Path]) -> Subscriber {
        let mut command = Command::new("mosquitto_sub");
        command.args(["-V", "5", "-q", "1", "-t", "#", "-F", "%r %t %p", "-u", "box", "-P", "a secret"]);
        command.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
        // Of every subscriber but the first the broker need not remember anything.
        command.args(["-c", "-x", "3600", "-i", &format!("subscriber-{}", fastrand::u64(..))]);
        for (option, file) in ["--cafile", "--cert", "--key"].iter().zip(more) {
            command.arg(option).arg(file);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().expect("scripts/deps test");
        let (lines, received) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).all(|line| lines.send(line).is_ok()));
        Subscriber { child, lines: received, others: RefCell::default() }
    }

    /// The next message on a topic that ends like this: whether it was retained, its topic, its content.
    fn next(&self, leaf: &str) -> (bool, String, Value) {
        let is_wanted = |line: &str| line.split(' ').nth(1).unwrap().ends_with(leaf);
        let known = self.others.borrow().iter().position(|line| is_wanted(line));
        let line = known.map(|at| self.others.borrow_mut().remove(at)).unwrap_or_else(|| {
            loop {
                let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("nothing comes on {leaf}"));
                if is_wanted(&line) {
                    return line;
                }
                self.others.borrow_mut().push(line);
            }
        });
        let [retained, topic, payload] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let message: Value = serde_json::from_str(payload).unwrap();
        assert_valid(leaf, &message);
        (retained == "1", topic.to_owned(), message)
    }

    fn next_status(&self, wanted: impl Fn(&Value) -> bool) -> (bool, Value) {
        loop {
            let (retained, _, status) = self.next("/status");
            if wanted(&status) {
                return (retained, status);
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn assert_valid(leaf: &str, message: &Value) {
    let schema = match leaf {
        "/status" => include_str!("../../docs/schema/event-status.schema.json"),
        "/recording" => include_str!("../../docs/schema/event-recording.schema.json"),
        _ => include_str!("../../docs/schema/event-alarm.schema.json"),
    };
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let faults: Vec<String> = schema.iter_errors(message).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert_eq!(faults, Vec::<String>::new(), "{message}");
}

/// A box that tells a broker at this address, with a target that is not there yet.
fn prepare(broker: &str, ca: &str) -> Site {
    let site = Site::prepare("");
    fs::write(site.path("password"), "a secret\n").unwrap();
    let password = site.path("password").display().to_string();
    let ca = if ca.is_empty() { String::new() } else { format!("ca_file = \"{}\"\n", site.path(ca).display()) };
    site.add_config(&format!("[events]\nbroker = \"{broker}\"\nuser = \"box\"\npassword_file = \"{password}\"\n{ca}"));
    let made = Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(site.path("users")).args(["box", "a secret"]).status();
    assert!(made.expect("scripts/deps test").success());
    site
}

/// Calls, all at once.
fn call(site: &Site, count: usize) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nearend-msr"));
    command.args(["--to", &format!("sip:{}", site.sip()), "--calls", &count.to_string(), "--duration", "1s"]);
    let placed = command.output().unwrap();
    assert!(placed.status.success(), "{}", String::from_utf8_lossy(&placed.stderr));
}

fn is_on(status: &Value) -> bool {
    status["online"] == true
}

#[test]
fn every_recording_is_told_once_whoever_is_away_meanwhile() {
    let mut site = prepare("mqtt://BROKER", "");
    let address = free(&site);
    let config = fs::read_to_string(site.path("nearend.toml")).unwrap().replace("BROKER", &address.to_string());
    fs::write(site.path("nearend.toml"), config).unwrap();
    // The broker is away, and the box is killed.
    site.run();
    call(&site, 2);
    site.wait_for_recordings(2);
    site.wait_for("the events on the disk", |site| {
        fs::read_to_string(site.path("data/events/waiting.jsonl")).is_ok_and(|text| text.lines().count() == 2)
    });
    // Else the second would be delivered, and told, once more.
    let delivered = |site: &Site| site.log().iter().filter(|line| line.contains("stage=Delivered")).count();
    site.wait_for("both to be written down", |site| delivered(site) == 2);
    site.kill();
    // It keeps for the subscriber what comes while that is away, over a restart of its own.
    let persistent = format!("persistence true\npersistence_location {}/\n", site.path("").display());
    let broker = mosquitto_at(&site, address, &persistent).unwrap();
    let subscriber = Subscriber::start(address, &[]);
    site.run();
    let told = [subscriber.next("/recording"), subscriber.next("/recording")];
    for (retained, topic, event) in &told {
        assert!(!retained && topic.starts_with("nearend/branch-17."), "{topic}");
        let path = site.path("dc").join(event["path"].as_str().unwrap());
        assert!(path.join("recording.json").exists() && event["targets"] == serde_json::json!(["dc"]));
    }
    assert_ne!(told[0].2["id"], told[1].2["id"]);
    // The broker goes and comes back.
    drop(broker);
    site.log_line(&["events are kept until it is there"]);
    call(&site, 1);
    site.wait_for_recordings(3);
    let _broker = mosquitto_at(&site, address, &persistent).unwrap();
    // At least once (QoS 1): what the broker had not acknowledged, or the subscriber not, comes again, under its id.
    let is_known = |event: &Value| told.iter().any(|(_, _, known)| known == event);
    while is_known(&subscriber.next("/recording").2) {}
    site.wait_for("nothing to wait", |site| fs::read(site.path("data/events/waiting.jsonl")).unwrap().is_empty());
    // The target goes, the box says so; then it goes itself.
    fs::rename(site.path("dc"), site.path("gone")).unwrap();
    call(&site, 1);
    let (_, _, alarm) = subscriber.next("/alarm");
    assert_eq!((&alarm["alarm"], &alarm["subject"], &alarm["state"]), (&"target-down".into(), &"dc".into(), &"raised".into()));
    let (_, status) = subscriber.next_status(|status| is_on(status) && status["alarms"] != serde_json::json!([]));
    assert_eq!((&status["alarms"][0]["alarm"], &status["targets"]["dc"]["waiting"]), (&"target-down".into(), &1.into()));
    site.kill();
    subscriber.next_status(|status| !is_on(status));
    // Who comes later sees what was said last.
    let (retained, _) = Subscriber::start(address, &[]).next_status(|_| true);
    assert!(retained);
}

#[test]
fn a_broker_with_tls_and_a_box_that_stops_in_order() {
    let mut site = prepare("mqtts://BROKER", "ca.pem");
    let address = free(&site);
    let made = rcgen::generate_simple_self_signed([site.ip.to_string()]).unwrap();
    fs::write(site.path("ca.pem"), made.cert.pem()).unwrap();
    fs::write(site.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let file = |name: &str| site.path(name).display().to_string();
    let tls = format!("certfile {}\nkeyfile {}\n", file("ca.pem"), file("key.pem"));
    let config = fs::read_to_string(site.path("nearend.toml")).unwrap().replace("BROKER", &address.to_string());
    let ca_line = format!("ca_file = \"{}\"\n", file("ca.pem"));
    fs::write(site.path("nearend.toml"), config.replace(&ca_line, "")).unwrap();
    let _broker = mosquitto_at(&site, address, &tls).unwrap();
    site.run();
    site.log_line(&["certificate", "events are kept"]);
    assert_eq!(site.stop(), Some(0));
    fs::write(site.path("nearend.toml"), config).unwrap();
    let subscriber = Subscriber::start(address, &[&site.path("ca.pem")]);
    site.run();
    subscriber.next_status(is_on);
    call(&site, 1);
    assert_eq!(subscriber.next("/recording").2["site"], "branch-17");
    assert_eq!(site.stop(), Some(0));
    subscriber.next_status(|status| !is_on(status));
    site.log_line(&["stopped"]);
}

#[test]
fn a_broker_that_asks_for_a_certificate() {
    let mut site = prepare("mqtts://BROKER", "ca.pem");
    let address = free(&site);
    let file = |name: &str| site.path(name).display().to_string();
    let key = || rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = rcgen::CertifiedIssuer::self_signed(params, key()).unwrap();
    fs::write(file("ca.pem"), ca.pem()).unwrap();
    for (name, subject) in [("broker", site.ip.to_string()), ("box", "branch-17".to_owned())] {
        let own = key();
        let mut params = rcgen::CertificateParams::new(vec![subject]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name); // else it looks as if it had signed itself
        let cert = params.signed_by(&own, &ca).unwrap();
        fs::write(file(&format!("{name}.pem")), cert.pem()).unwrap();
        fs::write(file(&format!("{name}.key")), own.serialize_pem()).unwrap();
    }
    let tls = format!(
        "certfile {}\nkeyfile {}\ncafile {}\nrequire_certificate true\n",
        file("broker.pem"),
        file("broker.key"),
        file("ca.pem")
    );
    let config = fs::read_to_string(file("nearend.toml")).unwrap().replace("BROKER", &address.to_string());
    fs::write(file("nearend.toml"), &config).unwrap();
    let _broker = mosquitto_at(&site, address, &tls).unwrap();
    site.run();
    site.log_line(&["events are kept until it is there", "ertificate"]);
    assert_eq!(site.stop(), Some(0));
    let identity =
        format!("cert_file = \"{}\"\nkey_file = \"{}\"\n", site.path("box.pem").display(), site.path("box.key").display());
    site.add_config(&identity); // the table [events] is the last one
    let paths = ["ca.pem", "box.pem", "box.key"].map(|name| site.path(name));
    let subscriber = Subscriber::start(address, &paths.each_ref().map(|path| path.as_path()));
    site.run();
    subscriber.next_status(is_on);
}
