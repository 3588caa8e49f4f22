//! Whole runs against small recorders on loopback.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use rtp_types::RtpPacket;

use super::super::options::{Mode, SecondLeg};
use super::super::summary::Outcome;
use super::*;
use crate::model::block::Law;
use crate::sip::framing::{Frame, StreamFramer};
use crate::sip::{Message, Method, Request, Transport};

/// The least recorder there is: takes everything (or refuses everything) and keeps what it hears.
struct Recorder {
    at: SocketAddr,
    done: std::sync::Arc<AtomicBool>,
    thread: JoinHandle<Vec<Line>>,
}

/// One m-line's sockets and what came: timestamp and payload.
struct Line {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    packets: Vec<(u32, Vec<u8>)>,
    reports: usize,
}

impl Recorder {
    fn start(transport: Transport, status: u16) -> Recorder {
        let done = std::sync::Arc::new(AtomicBool::new(false));
        let stop = done.clone();
        let (at, thread) = match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
                (socket.local_addr().unwrap(), thread::spawn(move || serve_udp(&socket, &stop, status)))
            }
            Transport::Tcp | Transport::Tls => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                (listener.local_addr().unwrap(), thread::spawn(move || serve_tcp(&listener, status)))
            }
        };
        Recorder { at, done, thread }
    }

    fn options(&self) -> Options {
        let duration = Duration::from_millis(300);
        Options { duration, ..Options::new(format!("sip:{}", self.at).parse().unwrap()) }
    }

    fn finish(self) -> Vec<Line> {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn serve_udp(socket: &UdpSocket, stop: &AtomicBool, status: u16) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut datagram = [0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut datagram)
            && let Some(answer) = answer(&datagram[..length], status, &mut lines)
        {
            socket.send_to(&answer, from).unwrap();
        }
        lines.iter_mut().for_each(Line::drain);
    }
    lines.iter_mut().for_each(Line::drain);
    lines
}

fn serve_tcp(listener: &TcpListener, status: u16) -> Vec<Line> {
    let mut lines = Vec::new();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let mut framer = StreamFramer::default();
    let mut chunk = [0; 4_096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => framer.push(&chunk[..length]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        while let Some(Frame::Message(message)) = framer.next_frame() {
            answer(&message, status, &mut lines).into_iter().for_each(|answer| stream.write_all(&answer).unwrap());
        }
        lines.iter_mut().for_each(Line::drain);
    }
    lines.iter_mut().for_each(Line::drain);
    lines
}

fn answer(message: &[u8], status: u16, lines: &mut Vec<Line>) -> Option<Vec<u8>> {
    let Ok(Message::Request(request)) = Message::parse(message) else { return None };
    if request.method == Method::Ack {
        return None;
    }
    let status = if request.method == Method::Invite { status } else { 200 };
    let sdp =
        if request.method == Method::Invite && request.to.tag().is_none() { description(&request, lines) } else { String::new() };
    let header = |name: &str| request.headers.text(name).unwrap().into_owned();
    let tag = if request.to.tag().is_some() { "" } else { ";tag=r" };
    let text = format!(
        "SIP/2.0 {status} x\r\nVia: {}\r\nFrom: {}\r\nTo: {}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <sip:127.0.0.1>\r\n\
         Content-Length: {}\r\n\r\n{sdp}",
        header("Via"),
        header("From"),
        header("To"),
        request.call_id,
        request.cseq,
        sdp.len()
    );
    Some(text.into_bytes())
}

/// Opens ports for each m-line offered; for one where the offer is left to us.
fn description(request: &Request, lines: &mut Vec<Line>) -> String {
    let mut sdp = "v=0\r\nc=IN IP4 127.0.0.1\r\n".to_owned();
    for _ in 0..String::from_utf8_lossy(&request.body).matches("m=audio").count().max(1) {
        let (rtp, rtcp) = port_pair(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        sdp += &format!("m=audio {} RTP/AVP 0 8\r\na=recvonly\r\n", rtp.local_addr().unwrap().port());
        lines.push(Line { rtp, rtcp, packets: Vec::new(), reports: 0 });
    }
    sdp
}

impl Line {
    fn drain(&mut self) {
        let mut datagram = [0; 1_500];
        while let Ok(length) = self.rtp.recv(&mut datagram) {
            let packet = RtpPacket::parse(&datagram[..length]).unwrap();
            self.packets.push((packet.timestamp(), packet.payload().to_vec()));
        }
        while self.rtcp.recv(&mut datagram).is_ok() {
            self.reports += 1;
        }
    }

    /// From the first packet to the last; silence where nothing came.
    fn audio(&self, law: Law) -> Vec<u8> {
        let first = self.packets.iter().map(|p| p.0).reduce(|a, b| if b.wrapping_sub(a) > u32::MAX / 2 { b } else { a }).unwrap();
        let mut audio = Vec::new();
        for (timestamp, payload) in &self.packets {
            let at = timestamp.wrapping_sub(first) as usize;
            let length = audio.len().max(at + payload.len());
            audio.resize(length, law.silence());
            audio[at..at + payload.len()].copy_from_slice(payload);
        }
        audio
    }
}

/// The dump is what was heard, but for lost frames at either end.
fn assert_same(dump: &[u8], heard: &[u8], law: Law) {
    let at = (0..dump.len()).step_by(80).find(|at| dump[*at..].starts_with(heard)).expect("heard what was dumped");
    let silent = |codes: &[u8]| codes.iter().all(|code| *code == law.silence());
    assert!(silent(&dump[..at]) && silent(&dump[at + heard.len()..]));
}

fn undisturbed(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn dump_of(dir: &tempfile::TempDir, summary: &Summary, end: &str) -> Vec<u8> {
    fs::read(dir.path().join(format!("{}.{end}", summary.list[0].recording_id))).unwrap()
}

#[test]
fn two_sessions_over_udp_on_a_bad_network() {
    let recorder = Recorder::start(Transport::Udp, 200);
    let dir = tempfile::tempdir().unwrap();
    let impairments = super::super::impair::Impairments { loss: 0.1, reorder: 0.2, duplicate: 0.1 };
    let dump = Some(dir.path().to_owned());
    let summary = run(&Options { impairments, dump, ..recorder.options() }, &mut undisturbed).unwrap();
    let lines = recorder.finish();
    assert!(summary.is_success(), "{summary}");
    let heard = lines.iter().map(|line| line.packets.len() as u64).sum::<u64>();
    assert_eq!((lines.len(), heard), (2, summary.packets.sent));
    assert_eq!(summary.packets.sent + summary.packets.lost, 30 + summary.packets.duplicated);
    for (line, channel) in lines.iter().zip(["channel-1.ulaw", "channel-2.ulaw"]) {
        let dump = dump_of(&dir, &summary, channel);
        assert_eq!(dump.len(), 2_400);
        assert_same(&dump, &line.audio(Law::Pcmu), Law::Pcmu);
        assert_eq!(line.reports, 2, "a sender report and a goodbye");
    }
}

#[test]
fn one_session_over_tcp_in_a_law_and_long_packets() {
    let recorder = Recorder::start(Transport::Tcp, 200);
    let dir = tempfile::tempdir().unwrap();
    let dump = Some(dir.path().to_owned());
    let (transport, mode, law) = (Transport::Tcp, Mode::OneSession, Law::Pcma);
    let options = Options { transport, mode, law, dump, ptime_ms: 60, ..recorder.options() };
    let summary = run(&options, &mut undisturbed).unwrap();
    let lines = recorder.finish();
    assert!(summary.is_success(), "{summary}");
    assert_eq!(lines.iter().map(|line| line.packets.len()).collect::<Vec<_>>(), [5, 5]);
    for (line, channel) in lines.iter().zip(["channel-1.alaw", "channel-2.alaw"]) {
        assert_eq!(dump_of(&dir, &summary, channel), line.audio(Law::Pcma));
    }
}

#[test]
fn a_late_second_leg_is_dumped_in_its_place() {
    let recorder = Recorder::start(Transport::Udp, 200);
    let dir = tempfile::tempdir().unwrap();
    let (second_leg, dump) = (SecondLeg::After(Duration::from_millis(100)), Some(dir.path().to_owned()));
    let summary = run(&Options { second_leg, dump, delayed_offer: true, ..recorder.options() }, &mut undisturbed).unwrap();
    let lines = recorder.finish();
    assert!(summary.is_success(), "{summary}");
    let dump = dump_of(&dir, &summary, "channel-2.ulaw");
    let heard = lines[1].audio(Law::Pcmu);
    assert_eq!(dump.len(), 2_400);
    assert!(heard.len() < 2_400 && dump.ends_with(&heard));
}

#[test]
fn siprec_with_many_calls() {
    let recorder = Recorder::start(Transport::Udp, 200);
    let options = Options { mode: Mode::Siprec, calls: 20, rate: 100.0, ..recorder.options() };
    let summary = run(&options, &mut undisturbed).unwrap();
    let lines = recorder.finish();
    assert!(summary.is_success(), "{summary}");
    assert_eq!((lines.len(), summary.packets.sent), (40, 20 * 2 * 15));
    assert!(lines.iter().all(|line| line.packets.len() == 15));
}

#[test]
fn refusals_are_counted() {
    let recorder = Recorder::start(Transport::Udp, 503);
    let summary = run(&Options { calls: 3, rate: 1_000.0, ..recorder.options() }, &mut undisturbed).unwrap();
    recorder.finish();
    assert_eq!((summary.calls.refused.get(&503), summary.is_success()), (Some(&3), false));
    assert_eq!(summary.packets.sent, 0);
}

#[test]
fn a_run_can_be_stopped() {
    let recorder = Recorder::start(Transport::Udp, 200);
    let options = Options { duration: Duration::from_secs(3_600), ..recorder.options() };
    let mut stop = |progress: Progress| if progress.active > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let summary = run(&options, &mut stop).unwrap();
    recorder.finish();
    assert!(summary.stopped && summary.list[0].outcome == Outcome::Stopped);
}

#[test]
fn what_the_machine_does_not_give_is_said() {
    let to: Target = "sip:127.0.0.1:9".parse().unwrap();
    let fails = |options: Options| run(&options, &mut undisturbed).expect_err("no run").to_string();
    assert!(fails(Options { local: Some(Ipv6Addr::LOCALHOST.into()), ..Options::new(to.clone()) }).contains("127.0.0.1:9"));
    assert!(fails(Options { local: Some([192, 0, 2, 1].into()), ..Options::new(to.clone()) }).contains("--local"));
    let many = Options { calls: u32::MAX, rate: 10_000.0, duration: Duration::from_secs(86_400), ..Options::new(to.clone()) };
    assert!(fails(many).contains("ulimit"));
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(fails(Options { dump: Some(file.path().to_owned()), ..Options::new(to) }).contains("cannot write"));
}
