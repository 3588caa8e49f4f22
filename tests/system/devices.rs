//! Recording sessions as the devices of tests/data/siprec send them, through the real socket: who speaks on which channel, whatever
//! the dialect.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use nearend::sip::sdp::{AudioMedia, Direction, MediaKind};
use nearend::sip::{Message, Response, SessionDescription};
use serde_json::{Value, json};

use super::site::{Arrived, Site, data};

/// Where the device sends its audio from, as its file says.
const FIRST_PORT: u16 = 6000;

/// Packets of 20 ms per line.
const PACKETS: usize = 50;

/// One device at an address of its own.
struct Device {
    socket: UdpSocket,
    head: String,
    body: String,
}

impl Device {
    fn new(site: &Site, file: &str) -> Device {
        let socket = UdpSocket::bind((site.peer(), 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.connect(site.sip()).unwrap();
        let local = socket.local_addr().unwrap();
        let text = fs::read_to_string(data("siprec").join(format!("{file}.sip"))).unwrap();
        let text = text.replace("192.0.2.77:5060", &local.to_string()).replace("192.0.2.77", &local.ip().to_string());
        let (head, body) = text.split_once("\n\n").unwrap();
        Device { socket, head: head.to_owned(), body: body.to_owned() }
    }

    fn send(&self, head: &str, body: &str) {
        let body = body.replace('\n', "\r\n");
        let head = head.replace('\n', "\r\n").replace("Content-Length: 0", &format!("Content-Length: {}", body.len()));
        self.socket.send(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
    }

    fn response(&self) -> Response {
        loop {
            let mut bytes = [0; 8_192];
            let len = self.socket.recv(&mut bytes).expect("an answer");
            match Message::parse(&bytes[..len]) {
                Ok(Message::Response(response)) if response.is_provisional() => {}
                Ok(Message::Response(response)) => return response,
                other => panic!("{other:?}"),
            }
        }
    }

    /// A request in the dialog that `ok` has opened.
    fn in_dialog(&self, method: &str, cseq: u32, ok: &Response, body: &str) {
        let line = |name: &str| self.head.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap().to_owned();
        let to = ok.headers.text("To").unwrap();
        let mut head = format!(
            "{method} sip:box@{} SIP/2.0\n{}-{method}\n{}\nTo: {to}\n{}\nCSeq: {cseq} {method}\nMax-Forwards: 70\n",
            self.socket.peer_addr().unwrap(),
            line("Via"),
            line("From"),
            line("Call-ID")
        );
        if !body.is_empty() {
            head += "Content-Type: application/sdp\n";
        }
        self.send(&(head + "Content-Length: 0"), body);
    }

    /// The answer to an offer of the box: one line, from the first port.
    fn answer_to(&self, offer: &SessionDescription) -> String {
        let ip = self.socket.local_addr().unwrap().ip();
        let line = |n: usize| format!("m=audio {} RTP/AVP 0\na=sendonly\n", if n == 0 { FIRST_PORT } else { 0 });
        let lines: String = (0..offer.media.len()).map(line).collect();
        format!("v=0\no=- 1 1 IN IP4 {ip}\ns=-\nc=IN IP4 {ip}\nt=0 0\n{lines}")
    }

    /// The whole call but its end: audio on every line that the box takes and that is not inactive, of which each byte is `mark` plus
    /// the line's number.
    fn talk(&self, mark: u8) -> Response {
        self.send(&self.head, &self.body);
        let ok = self.response();
        assert_eq!(ok.status.code(), 200, "{}", ok.reason);
        let theirs = SessionDescription::parse(&sdp_of(&ok)).unwrap();
        let answer = if self.body.is_empty() { self.answer_to(&theirs) } else { String::new() };
        self.in_dialog("ACK", 1, &ok, &answer);
        let ip = self.socket.local_addr().unwrap().ip();
        let is_up = |line: &AudioMedia| line.kind == MediaKind::Audio && line.port != 0 && line.direction != Direction::Inactive;
        let lines: Vec<_> =
            theirs.media.iter().enumerate().filter(|(n, line)| is_up(line) && (*n == 0 || answer.is_empty())).collect();
        let bind = |n: usize| UdpSocket::bind((ip, FIRST_PORT + 2 * u16::try_from(n).unwrap())).unwrap();
        let sockets: Vec<UdpSocket> = lines.iter().map(|(n, _)| bind(*n)).collect();
        for packet in 0..PACKETS {
            for ((n, line), socket) in lines.iter().zip(&sockets) {
                let to = SocketAddr::new(line.addr.unwrap(), line.port);
                socket.send_to(&rtp(*n, packet, mark + u8::try_from(*n).unwrap()), to).unwrap();
            }
            std::thread::sleep(Duration::from_millis(20)); // as devices speak
        }
        ok
    }

    fn hang_up(&self, ok: &Response) {
        self.in_dialog("BYE", 2, ok, "");
        assert_eq!(self.response().status.code(), 200);
    }
}

fn sdp_of(response: &Response) -> Vec<u8> {
    assert_eq!(response.content_type().as_deref(), Some("application/sdp"));
    response.body.clone()
}

/// A packet of 20 ms of µ-law.
fn rtp(line: usize, packet: usize, byte: u8) -> Vec<u8> {
    let mut bytes = vec![0x80, 0];
    bytes.extend(u16::try_from(packet).unwrap().to_be_bytes());
    bytes.extend(u32::try_from(packet * 160).unwrap().to_be_bytes());
    bytes.extend(u32::try_from(0x1000 + line).unwrap().to_be_bytes());
    bytes.extend([byte; 160]);
    bytes
}

/// The recording of one call of these devices: one after the other sets up, all hang up at the end.
fn recorded(files: &[&str]) -> (Site, Arrived) {
    let site = Site::start();
    let devices: Vec<Device> = files.iter().map(|file| Device::new(&site, file)).collect();
    let answers: Vec<Response> = devices.iter().zip([0x10, 0x20]).map(|(device, mark)| device.talk(mark)).collect();
    devices.iter().zip(&answers).for_each(|(device, ok)| device.hang_up(ok));
    let [recording] = <[Arrived; 1]>::try_from(site.wait_for_recordings(1)).unwrap_or_else(|_| unreachable!());
    (site, recording)
}

/// Dialect, flags, and of each leg with audio: channel, party, label.
fn told(recording: &Arrived) -> Value {
    let nearend = &recording.json["nearend"];
    let legs = nearend["legs"].as_array().unwrap().iter().filter(|leg| leg["packets"] != 0);
    let legs: Vec<Value> = legs.map(|leg| json!([leg["channel"], leg["dn"], leg["label"]])).collect();
    json!({"dialect": nearend["dialect"], "flags": nearend["flags"], "legs": legs})
}

/// The byte of each channel; silence where there is none.
fn heard(recording: &Arrived) -> [u8; 2] {
    let wav = recording.wav();
    [0, 1].map(|channel| {
        let samples: Vec<u8> = wav.channels[channel].iter().copied().filter(|byte| *byte != 0xFF).collect();
        assert!(samples.is_empty() || samples.len() == PACKETS * 160, "channel {channel}: {} samples", samples.len());
        samples.first().copied().unwrap_or(0xFF)
    })
}

#[test]
fn oracle_sends_within_the_participant_and_keeps_two_lines_inactive() {
    let (_site, recording) = recorded(&["oracle_sbc"]);
    let expected = json!({"dialect": "siprec", "flags": ["metadata-incomplete"],
        "legs": [[1, "sip:5550100@pstn.example", "1006633140"], [2, "sip:7001@pbx.example", "1006633150"]]});
    assert_eq!(told(&recording), expected);
    assert_eq!(heard(&recording), [0x12, 0x13]);
    assert!(
        recording.json["nearend"]["notes"].to_string().contains("From: <sip:5550100@pstn.example>;tag=1"),
        "raw bytes are kept"
    );
}

#[test]
fn broadworks_has_two_streams_and_one_line() {
    let (_site, recording) = recorded(&["broadworks"]);
    assert_eq!(told(&recording)["legs"], json!([[1, "sip:7001@as.example", "1"]]));
    assert_eq!(heard(&recording), [0x10, 0xFF]);
}

#[test]
fn avaya_leaves_open_who_speaks() {
    let (_site, recording) = recorded(&["avaya_sbce"]);
    let expected = json!({"dialect": "siprec", "flags": ["metadata-incomplete"], "legs": [[1, null, "1"], [2, null, "2"]]});
    assert_eq!(told(&recording), expected);
    assert_eq!(heard(&recording), [0x10, 0x11]);
}

#[test]
fn metaswitch_is_mono_and_forgets_a_bracket() {
    let (_site, recording) = recorded(&["metaswitch"]);
    let expected = json!({"dialect": "siprec", "flags": ["one-sided"], "legs": [[1, "5550100@metaswitch.example", "mix"]]});
    assert_eq!(told(&recording), expected);
}

#[test]
fn sonus_has_its_lines_in_another_order_than_its_streams() {
    let (_site, recording) = recorded(&["sonus_sbc"]);
    let expected = json!({"dialect": "siprec", "flags": [],
        "legs": [[2, "sip:5550100@sonus.example", "12"], [1, "sip:7001@sonus.example", "11"]]});
    assert_eq!(told(&recording), expected);
    assert_eq!(heard(&recording), [0x11, 0x10]);
}

#[test]
fn audiocodes_knows_the_genesys_call() {
    let (_site, recording) = recorded(&["audiocodes_sbc"]);
    assert_eq!(told(&recording)["legs"], json!([[1, "7001@audiocodes.example", "1"], [2, "5550100@audiocodes.example", "2"]]));
    assert_eq!(recording.json["mediaFiles"][0]["callUUID"], "04ABCDEFGHIJKLMNOPQRSTUV00000004");
}

#[test]
fn cisco_cube_names_its_participants_in_headers() {
    let (_site, recording) = recorded(&["cisco_cube"]);
    let expected =
        json!({"dialect": "cube", "flags": [], "legs": [[1, "sip:7001@192.0.2.10", null], [2, "sip:5550100@192.0.2.9", null]]});
    assert_eq!(told(&recording), expected);
    assert_eq!(heard(&recording), [0x10, 0x11]);
}

#[test]
fn the_two_ends_of_a_cisco_bridge_are_one_recording() {
    let (_site, recording) = recorded(&["cisco_cucm_farend", "cisco_cucm_nearend"]);
    let expected = json!({"dialect": "cucm", "flags": [], "legs": [[2, "5550100", null], [1, "7001", null]]});
    assert_eq!(told(&recording), expected);
    assert_eq!(heard(&recording), [0x20, 0x10]);
}
