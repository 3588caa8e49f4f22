//! SIPp (package sip-tester), an agent that nobody here wrote, placing the calls of tests/data/sip.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::site::{Site, data};

/// A scenario in SIPp's own language, in the making.
pub(crate) struct Scenario(String);

impl Scenario {
    pub(crate) fn new() -> Scenario {
        Scenario("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<scenario name=\"recording session\">\n".into())
    }

    pub(crate) fn send(self, message: &str) -> Scenario {
        self.add(&format!("<send retrans=\"500\"><![CDATA[\n{message}\n]]></send>\n"))
    }

    pub(crate) fn send_once(self, message: &str) -> Scenario {
        self.add(&format!("<send><![CDATA[\n{message}\n]]></send>\n"))
    }

    pub(crate) fn recv(self, code: u16) -> Scenario {
        self.add("<recv response=\"100\" optional=\"true\"></recv>\n")
            .add(&format!("<recv response=\"{code}\" rrs=\"true\"></recv>\n"))
    }

    /// Expects a response in which each pattern is found.
    pub(crate) fn recv_with(self, code: u16, patterns: &[&str]) -> Scenario {
        let mut checks = String::new();
        let names: Vec<String> = (0..patterns.len()).map(|n| format!("seen{n}")).collect();
        for (name, pattern) in names.iter().zip(patterns) {
            let pattern = pattern.replace('<', "&lt;").replace('>', "&gt;");
            let _ = write!(checks, "<ereg regexp=\"{pattern}\" search_in=\"msg\" check_it=\"true\" assign_to=\"{name}\"/>");
        }
        self.add("<recv response=\"100\" optional=\"true\"></recv>\n")
            .add(&format!("<recv response=\"{code}\" rrs=\"true\"><action>{checks}</action></recv>\n"))
            .add(&format!("<Reference variables=\"{}\"/>\n", names.join(",")))
    }

    pub(crate) fn play(self, pcap: &Path) -> Scenario {
        self.add(&format!("<nop><action><exec play_pcap_audio=\"{}\"/></action></nop>\n", pcap.display()))
    }

    pub(crate) fn pause_ms(self, ms: u64) -> Scenario {
        self.add(&format!("<pause milliseconds=\"{ms}\"/>\n"))
    }

    pub(crate) fn ack(self) -> Scenario {
        self.send_once(&in_dialog("ACK", 1, None))
    }

    /// ACK to a response over 299, which belongs to the INVITE transaction.
    pub(crate) fn ack_refusal(self) -> Scenario {
        let ack = "ACK [next_url] SIP/2.0\n[last_Via:]\nMax-Forwards: 70\n[last_From:]\n[last_To:]\n[last_Call-ID:]\nCSeq: 1 ACK\nContent-Length: 0\n\n";
        self.send_once(ack)
    }

    pub(crate) fn bye(self) -> Scenario {
        self.send(&in_dialog("BYE", 9, None)).recv(200)
    }

    /// Starts SIPp with this scenario for one call.
    pub(crate) fn start(self, site: &Site, name: &str, transport: &str) -> Sipp {
        let from = site.peer();
        let file = site.path(&format!("{name}.xml"));
        fs::write(&file, self.0 + "</scenario>\n").unwrap();
        let log = site.path(&format!("{name}.log"));
        let mut command = sipp_command();
        command.arg(site.sip().to_string()).arg("-sf").arg(&file).args(["-i", &from.to_string(), "-mi", &from.to_string()]);
        command.args(["-t", if transport == "tcp" { "t1" } else { "u1" }, "-m", "1", "-l", "1", "-nostdin"]);
        let tenant = site.path("tenant.csv");
        fs::write(&tenant, "SEQUENTIAL\n[Environment]\n").unwrap();
        command
            .arg("-inf")
            .arg(&tenant)
            .args(["-recv_timeout", "20000", "-timeout", "120s", "-timeout_error", "-trace_err", "-error_file"])
            .arg(&log);
        let trace = site.path(&format!("{name}.messages"));
        command.args(["-trace_msg", "-message_file"]).arg(&trace);
        command.current_dir(site.path("")).stdout(Stdio::null()).stderr(Stdio::piped());
        Sipp { process: command.spawn().expect("sipp (package sip-tester) is installed by scripts/deps"), log, trace }
    }

    fn add(mut self, xml: &str) -> Scenario {
        self.0 += xml;
        self
    }
}

/// Playing a capture takes raw sockets: root, or sudo.
fn sipp_command() -> Command {
    if nix::unistd::geteuid().is_root() {
        return Command::new("sipp");
    }
    let mut command = Command::new("sudo");
    command.args(["-n", "sipp"]);
    command
}

/// A running SIPp.
pub(crate) struct Sipp {
    process: Child,
    log: PathBuf,
    trace: PathBuf,
}

impl Sipp {
    /// Waits for its end; it must have gone as the scenario says.
    pub(crate) fn succeed(self) -> String {
        let output = self.process.wait_with_output().unwrap();
        let trace = fs::read_to_string(&self.trace).unwrap_or_default();
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "sipp says {}:\n{stderr}\n{log}\n{trace}", output.status);
        trace
    }

    /// Kills it: the peer vanishes without a word.
    pub(crate) fn vanish(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A message of tests/data/sip with SIPp's own addresses and branch put in; all else stays as the device sends it.
/// `id` replaces the recording id's last digit group, so that tests do not share recordings.
pub(crate) fn device_message(file: &str) -> String {
    let text = fs::read_to_string(data("sip").join(file)).unwrap();
    let (head, body) = text.split_once("\n\n").unwrap();
    let mut media = 0;
    let mut via = 0;
    let head = head.lines().map(|line| match line.split_once(':').map_or("", |(name, _)| name) {
        _ if line.ends_with("SIP/2.0") && line.starts_with("INVITE") => {
            // SIPp would take the bracket of the tenant for the beginning of a keyword; what comes from a file it leaves alone.
            line.replace("[Environment]", "[field0]").replace("box.example:5060", "[remote_ip]:[remote_port]")
        }
        "Via" => {
            via += 1;
            if via == 1 { "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]".into() } else { line.to_owned() }
        }
        "Record-Route" => line.replace("192.0.2.20:15060", "[local_ip]:[local_port]"),
        "Call-ID" => "Call-ID: [call_id]".into(),
        "From" => line.replace("tag=", "tag=[call_number]-"),
        "Contact" => "Contact: <sip:Genesys@[local_ip]:[local_port];transport=[transport]>".into(),
        "Content-Length" => "Content-Length: [len]".into(),
        _ => line.to_owned(),
    });
    let head: Vec<String> = head.collect();
    let body = body.lines().map(|line| match line.get(..2) {
        Some("c=") => "c=IN IP[media_ip_type] [media_ip]".to_owned(),
        Some("o=") => line.replace("IN IP4 192.0.2.21", "IN IP[local_ip_type] [local_ip]"),
        Some("m=") => {
            let (_, formats) = line.split_once(" RTP").unwrap();
            let port = if media == 0 { "[media_port]".into() } else { format!("[media_port+{media}]") };
            media += 2;
            format!("m=audio {port} RTP{formats}")
        }
        _ => line.to_owned(),
    });
    let body: Vec<String> = body.collect();
    format!("{}\n\n{}\n", head.join("\n"), body.join("\n"))
}

/// A request in the dialog that the INVITE set up.
pub(crate) fn in_dialog(method: &str, cseq: u32, body: Option<(&str, &str)>) -> String {
    let mut message = format!(
        "{method} [next_url] SIP/2.0\nVia: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n[routes]\nMax-Forwards: 70\n\
         [last_From:]\n[last_To:]\n[last_Call-ID:]\nCSeq: {cseq} {method}\n\
         Contact: <sip:Genesys@[local_ip]:[local_port];transport=[transport]>\n"
    );
    if let Some((content_type, _)) = body {
        let _ = writeln!(message, "Content-Type: {content_type}");
    }
    message += "Content-Length: [len]\n\n";
    message + body.map_or("", |(_, body)| body)
}
