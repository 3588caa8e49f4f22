//! A world for the endpoint: one peer, a clock that is stepped from deadline to deadline, and all that was sent, with its time.

mod calls;
mod network;
mod requests;
mod restart;
mod session_timers;
mod torture;

use std::time::Duration;

use super::*;
use crate::sip::flow::Transport;
use crate::sip::headers::Headers;
use crate::sip::message::Response;
use crate::sip::{CSeq, Method};

const OFFER: &str = "v=0\r\nm=audio 4000 RTP/AVP 0\r\n";
const ANSWER: &str = "v=0\r\nm=audio 20000 RTP/AVP 0\r\n";
const SDP: &str = "application/sdp";

struct World {
    now: MonoTime,
    endpoint: Endpoint,
    flow: Flow,
    sent: VecDeque<Sent>,
}

/// What the endpoint sent, and when.
#[derive(Debug)]
struct Sent {
    at_ms: u64,
    flow: Flow,
    bytes: Vec<u8>,
}

/// A request of the peer in the making.
#[derive(Clone)]
struct Ask {
    method: &'static str,
    cseq: u32,
    branch: String,
    to_tag: String,
    more: String,
    body: &'static str,
}

fn udp() -> Flow {
    let (local, remote) = ("192.0.2.30:5060".parse().unwrap(), "192.0.2.20:5060".parse().unwrap());
    Flow { transport: Transport::Udp, local, remote, connection: None }
}

fn tcp(connection: u64) -> Flow {
    let remote = "192.0.2.20:40000".parse().unwrap();
    Flow { transport: Transport::Tcp, remote, connection: Some(ConnectionId(connection)), ..udp() }
}

fn ask(method: &'static str) -> Ask {
    Ask { method, cseq: 1, branch: format!("z9hG4bK-{method}-1"), to_tag: String::new(), more: String::new(), body: "" }
}

/// An INVITE with an offer, from a peer that knows session timers.
fn invite() -> Ask {
    ask("INVITE").more("Supported: timer\r\n").body(OFFER)
}

impl Ask {
    fn cseq(self, cseq: u32) -> Ask {
        Ask { cseq, branch: format!("z9hG4bK-{}-{cseq}", self.method), ..self }
    }

    fn to(self, tag: &str) -> Ask {
        Ask { to_tag: format!(";tag={tag}"), ..self }
    }

    fn more(self, lines: &str) -> Ask {
        Ask { more: self.more + lines, ..self }
    }

    fn body(self, body: &'static str) -> Ask {
        let content_type = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        Ask { body, ..self }.more(content_type)
    }

    fn text(&self) -> String {
        let Ask { method, cseq, branch, to_tag, more, body } = self;
        let length = body.len();
        format!(
            "{method} sip:box@192.0.2.30 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.20;branch={branch}\r\nFrom: <sip:mcp@192.0.2.20>;tag=peer\r\n\
             To: <sip:box@192.0.2.30>{to_tag}\r\nCall-ID: call\r\nCSeq: {cseq} {method}\r\nContact: <sip:mcp@192.0.2.21:7090>\r\n\
             {more}Content-Length: {length}\r\n\r\n{body}"
        )
    }
}

impl World {
    fn new() -> World {
        World::with(Config::default())
    }

    fn with(config: Config) -> World {
        let config = Config { user_agent: "nearend".into(), ..config };
        World { now: MonoTime(0), endpoint: Endpoint::new(config, [1; 32]), flow: udp(), sent: VecDeque::new() }
    }

    fn collect(&mut self) {
        while let Some(Transmit { flow, bytes }) = self.endpoint.poll_transmit() {
            self.sent.push_back(Sent { at_ms: self.now.0 / 1_000, flow, bytes });
        }
    }

    fn receive(&mut self, text: impl AsRef<[u8]>) {
        self.endpoint.handle_message(self.now, self.flow, text.as_ref());
        self.collect();
    }

    /// Lets time pass, stopping at every deadline on the way.
    fn pass(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while let Some(at) = self.endpoint.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now);
            self.collect();
            assert!(self.endpoint.poll_timeout().is_none_or(|next| next > self.now), "a deadline that stays due");
        }
        self.now = end;
    }

    fn pass_s(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    fn response(&mut self) -> Response {
        let sent = self.sent.pop_front().expect("a response was sent");
        match Message::parse(&sent.bytes) {
            Ok(Message::Response(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    fn request(&mut self) -> Request {
        let sent = self.sent.pop_front().expect("a request was sent");
        match Message::parse(&sent.bytes) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    /// The status that `ask` gets at once.
    fn status_of(&mut self, ask: &Ask) -> u16 {
        self.receive(ask.text());
        self.response().status.code()
    }

    fn event(&mut self) -> Event {
        self.endpoint.poll_event().expect("an event")
    }

    fn accept(&mut self, dialog: DialogId, body: &str) {
        self.endpoint.accept(self.now, dialog, SDP, body.into()).unwrap();
        self.collect();
    }

    /// A call that is up: its dialog, our tag, and the 200.
    fn call(&mut self, invite: &Ask) -> (DialogId, String, Response) {
        self.receive(invite.text());
        let Event::Invite { dialog, .. } = self.event() else { panic!() };
        self.accept(dialog, ANSWER);
        let ok = self.response();
        assert_eq!(ok.status.code(), 200);
        let tag = ok.to.tag().unwrap().to_owned();
        self.receive(ask("ACK").cseq(invite.cseq).to(&tag).text());
        (dialog, tag, ok)
    }

    /// Answers a request of the endpoint.
    fn answer(&mut self, request: &Request, status: u16, more: &[(&str, &str)]) {
        let mut headers = Headers::default();
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            headers.push(name, request.headers.first(name).unwrap());
        }
        more.iter().for_each(|(name, value)| headers.push(name, *value));
        self.receive(crate::sip::render::response(&StatusCode::from(status), "because", &headers, b""));
    }

    /// When each message was sent, with its start line.
    fn times(&mut self) -> Vec<(u64, String)> {
        let start = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().next().unwrap().to_owned();
        self.sent.drain(..).map(|sent| (sent.at_ms, start(&sent.bytes))).collect()
    }
}

/// Milliseconds after the first at which a message is repeated: T1 doubling to T2, for 64 T1.
const REPEATS_MS: [u64; 10] = [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
