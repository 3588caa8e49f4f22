//! The CTI link of the running daemon when the other end sends what it should not: the log says so, the link comes back, calls are
//! recorded all the while.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::site::Site;

const UUID: &str = "01ABCDEFGHIJKLMNOPQRSTUV00000042";

/// The other end of a link. It answers what a T-Server must answer, each line as it is read.
struct TServer {
    listener: TcpListener,
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl TServer {
    fn accept(listener: TcpListener) -> TServer {
        let (stream, _) = listener.accept().unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        let mut tserver = TServer { listener, stream, reader };
        tserver.answer_until("RequestSnapshot");
        tserver
    }

    fn again(self) -> TServer {
        TServer::accept(self.listener)
    }

    /// Answers up to and including a request of this name.
    fn answer_until(&mut self, msg: &str) {
        loop {
            let mut line = String::new();
            assert!(self.reader.read_line(&mut line).unwrap() > 0, "the box closed the link while {msg} was waited for");
            let request: Value = serde_json::from_str(&line).unwrap();
            let answer = match request["msg"].as_str().unwrap() {
                "RegisterAddress" => json!({"msg": "EventRegistered", "ref": request["ref"], "dn": request["dn"]}),
                _ => json!({"msg": "EventACK", "ref": request["ref"]}),
            };
            self.send(&answer);
            if request["msg"] == msg {
                return;
            }
        }
    }

    fn send(&mut self, message: &Value) {
        self.raw(format!("{message}\n").as_bytes());
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Until the box has taken so many bytes that it gives the connection up.
    fn raw_until_closed(&mut self, bytes: &[u8]) {
        while self.stream.write_all(bytes).is_ok() {}
    }
}

fn event(msg: &str, seq: u64, more: Value) -> Value {
    let mut event = json!({"msg": msg, "seq": seq, "connId": "c42", "callUuid": UUID, "thisDn": "7001", "otherDn": "5550100"});
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

fn data(seq: u64, value: u64) -> Value {
    event("EventAttachedDataChanged", seq, json!({"userData": {"Step": value.to_string()}}))
}

fn call(site: &Site) -> Child {
    let (to, local, id) = (format!("sip:{}", site.sip()), site.peer().to_string(), format!("{UUID}_2026-03-02_14-05-59"));
    Command::new(env!("CARGO_BIN_EXE_nearend-msr"))
        .args(["--to", &to, "--local", &local, "--recording-id", &id, "--duration", "600s"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn links(site: &Site, name: &str) -> u64 {
    site.metric(&format!("nearend_cti_{name}{{tserver=\"hq\"}}")).unwrap_or_default()
}

fn config(listener: &TcpListener, dn: &str) -> String {
    format!(
        "[[switch]]\nid = \"hq\"\n[[tserver]]\nname = \"hq\"\nswitch = \"hq\"\nprimary = \"tcp:{}\"\n\
         dns = [{{ dn = \"{dn}\", type = \"extension\" }}]\n",
        listener.local_addr().unwrap()
    )
}

#[test]
fn the_centres_configuration_is_used_while_it_is_away() {
    let mut site = Site::prepare("");
    let listener = TcpListener::bind((site.peer(), 0)).unwrap();
    let tenant = "[[tenant]]\nid = \"1\"\nname = \"acme\"\nswitches = [\"hq\"]\n";
    let rule = "[[rule]]\nname = \"ports\"\nswitch = [\"hq\"]\ndn_type = [\"voice-treatment-port\"]\n";
    site.add_config(&(config(&listener, "8001") + tenant + rule));
    site.run();
    let mut tserver = TServer::accept(listener);
    // The media server names the tenant by its id, 1; of the DN the file says nothing, and whose the switch is only the file says.
    tserver.send(&json!({
        "msg": "ConfigSnapshot", "tenants": [{"id": "1", "name": "acme"}],
        "switches": [{"id": "hq"}, {"id": "north", "tenant": "1"}], "tservers": [{"name": "x", "switch": "hq"}],
        "dns": [{"dn": "7001", "dnType": "Extension"}]
    }));
    tserver.send(&json!({"msg": "ConfigUpdate", "switches": [{"id": "hq", "tenant": "2"}], "dns": [
        {"dn": "7001", "dnType": "VoiceTreatmentPort"}
    ]}));
    site.log_line(&["the centre's configuration has been told", "dns=1"]);
    site.wait_for("its age", |site| links(site, "connections_total") == 1 && age(site) == Some(0));
    site.wait_for("the switch without T-Server", |site| {
        site.get("/api/v1/status").1.contains("Switch north cannot be monitored")
    });
    drop(tserver);
    site.kill(); // the link was down before, so that it is written
    site.run();
    site.wait_for("the page to say so", |site| {
        age(site).is_some() && site.get("/api/v1/status").1.contains("the centre's configuration is ")
    });
    let (to, local) = (format!("sip:{}", site.sip()), site.peer().to_string());
    let player = Command::new(env!("CARGO_BIN_EXE_nearend-msr"))
        .args(["--to", &to, "--local", &local, "--duration", "1s"])
        .output()
        .unwrap();
    assert!(player.status.success());
    let recording = site.wait_for_recordings(1).pop().unwrap();
    let nearend = &recording.json["nearend"];
    let couple = &nearend["couples"][0];
    assert_eq!((&couple["GEN_CFG_TENANT"], &couple["GEN_CFG_SWITCH"]), (&"1".into(), &"hq".into()), "{nearend}");
    assert_eq!(nearend["rule"], "ports", "by the type of the DN, as the centre last told it");
}

fn age(site: &Site) -> Option<u64> {
    site.metric("nearend_cti_configuration_age_seconds{tserver=\"hq\"}")
}

#[test]
fn whatever_a_tserver_sends_the_link_recovers_and_calls_are_recorded() {
    let mut site = Site::prepare("");
    let listener = TcpListener::bind((site.peer(), 0)).unwrap();
    site.add_config(&config(&listener, "7001"));
    site.run();
    let mut tserver = TServer::accept(listener);
    let mut player = call(&site);
    site.wait_for("the call to be recorded", |site| site.metric("nearend_recordings_running") == Some(1));
    tserver.send(&event("EventEstablished", 1, json!({"agentId": "anna", "userData": {"Step": "1"}})));

    // Lines that are no message, and messages that nobody knows, among good ones.
    tserver.raw(b"not JSON\n\xFF\xFE\x00\x01\n{\"msg\":7}\n\n[]\n");
    tserver.raw(b"{\"msg\":\"EventOfTheFuture\",\"shape\":[1,{\"a\":null}]}\n");
    tserver.send(&data(2, 2));
    // A line of 10 MB is not kept, and the next one counts.
    tserver.raw(b"{\"msg\":\"EventUserEvent\",\"userData\":{\"x\":\"");
    (0..10).for_each(|_| tserver.raw(&[b'a'; 1 << 20]));
    tserver.raw(b"\"}}\n{\"msg\":\"EventEstablished\"}\n");
    tserver.send(&data(3, 3));
    // Twice, out of order, and one that never comes.
    tserver.send(&data(3, 99));
    tserver.send(&data(5, 5));
    tserver.send(&data(4, 4));
    tserver.send(&data(7, 7));
    tserver.answer_until("RegisterAddress"); // to learn what was missed
    site.log_line(&["a line is skipped", "no message"]);
    site.log_line(&["a line is skipped", "a line of 10485", "at most 262144 are taken"]);
    site.wait_for("what is wrong to be counted", |site| {
        links(site, "bad_lines_total") == 5 && links(site, "duplicates_total") == 1 && links(site, "lost_total") == 1
    });

    // Half a line, and the end.
    tserver.raw(b"{\"msg\":\"EventAttached");
    drop(tserver.stream.shutdown(std::net::Shutdown::Both));
    let mut tserver = tserver.again();
    site.log_line(&["CTI link lost", "half_line_bytes=21"]);
    tserver.send(&data(1, 8));

    // Nothing but garbage: the box hangs up, and comes back.
    tserver.raw_until_closed(&b"?\n".repeat(4_096));
    let mut tserver = tserver.again();
    site.log_line(&["CTI link lost", "it sends what is no CTI message"]);
    tserver.send(&data(1, 9));
    tserver.send(&event("EventReleased", 2, json!({})));
    assert_eq!(site.metric("nearend_recordings_running"), Some(1), "the call has gone on");

    // SIGINT ends the calls of the media server in order.
    let id = nix::unistd::Pid::from_raw(player.id().try_into().unwrap());
    site.wait_for("the last event to be taken", |site| {
        links(site, "connections_total") == 3 && links(site, "messages_total") >= 15
    });
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).unwrap();
    player.wait().unwrap();
    let recording = site.wait_for_recordings(1).pop().unwrap();
    let conversation = &recording.json["nearend"]["conversation"];
    let steps = conversation["dataChanges"].as_array().unwrap().iter().map(|change| change["value"].as_str().unwrap().to_owned());
    assert_eq!(steps.collect::<Vec<_>>(), ["1", "2", "3", "4", "5", "7", "8", "9"], "{conversation}");
    assert_eq!(conversation["agents"][0]["agentId"], "anna");
    assert_eq!(conversation["blind"].as_array().map(Vec::len), Some(2), "when the link was down is said: {conversation}");
}
