//! What is fuzzed: each function takes any bytes, gives them to a part of the box that reads what others send, and panics when a promise is
//! broken. `scripts/fuzz` lets libFuzzer drive them; `tests/hostile.rs` does so for a moment in every test run.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::{fs, io};

use nearend::config;
use nearend::model::block::Law;
use nearend::model::{LegNo, MediaTime, MonoTime, Payload, RecordingId, RecordingNo, StreamKey};
use nearend::rtp::blocks::Pool;
use nearend::rtp::stream::Stream;
use nearend::rtp::{Manner, PayloadMap, Remote, StreamSpec, packet, rtcp};
use nearend::session::{Session, lines, multipart, siprec};
use nearend::sip::endpoint::{Config, Endpoint};
use nearend::sip::framing::{Frame, StreamFramer};
use nearend::sip::{Event, Flow, LocalDescription, Message, SessionDescription, Transport};

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 9] = [
    ("sip_message", sip_message),
    ("sip_stream", sip_stream),
    ("sip_endpoint", sip_endpoint),
    ("sdp", sdp),
    ("rs_metadata", rs_metadata),
    ("multipart", multipart_body),
    ("rtp", rtp),
    ("rtcp", rtcp_compound),
    ("configuration", configuration),
];

/// What was read is written so that it is read again, and means the same.
pub fn sip_message(bytes: &[u8]) {
    let Ok(Message::Request(request)) = Message::parse(bytes) else { return };
    let rendered = request.render();
    match Message::parse(&rendered) {
        Ok(Message::Request(again)) => {
            assert_eq!((again.method, &again.call_id, again.cseq), (request.method, &request.call_id, request.cseq));
            assert_eq!(again.body, request.body);
        }
        other => panic!("what was written is not read: {other:?}"),
    }
    let _ = Session::read(&request, None, 2);
}

/// How TCP cuts a stream does not change what is in it.
pub fn sip_stream(bytes: &[u8]) {
    let whole = frames(bytes, bytes.len().max(1));
    let cut = usize::from(bytes.first().copied().unwrap_or(1)).max(1);
    assert_eq!(frames(bytes, cut), whole);
}

fn frames(bytes: &[u8], cut: usize) -> Vec<String> {
    let mut framer = StreamFramer::default();
    let mut found = Vec::new();
    for piece in bytes.chunks(cut) {
        framer.push(piece);
        while let Some(frame) = framer.next_frame() {
            let is_end = matches!(frame, Frame::Broken { .. });
            found.push(format!("{frame:?}"));
            if is_end {
                return found; // the connection is closed
            }
        }
    }
    found
}

/// A peer says anything, in several datagrams (apart by NUL), and time passes: the box answers or does not, and all state it has taken up
/// is gone after an hour in which nobody keeps it.
pub fn sip_endpoint(bytes: &[u8]) {
    let flow = Flow { transport: Transport::Udp, local: at(30), remote: at(20), connection: None };
    let mut endpoint = Endpoint::new(Config::default(), [7; 32]);
    let mut now = MonoTime(0);
    for datagram in bytes.split(|byte| *byte == 0) {
        endpoint.handle_message(now, flow, datagram);
        while let Some(event) = endpoint.poll_event() {
            if let Event::Invite { dialog, .. } | Event::Reinvite { dialog, .. } = event {
                let _ = endpoint.accept(now, dialog, "application/sdp", b"v=0\r\n".to_vec()); // gone when cancelled meanwhile
            }
        }
        while endpoint.poll_transmit().is_some() {}
        now = MonoTime(now.0 + 100_000);
    }
    let end = MonoTime(now.0 + 4 * 3_600_000_000);
    let mut steps = 0;
    while let Some(due) = endpoint.poll_timeout().filter(|due| *due <= end) {
        now = now.max(due);
        endpoint.handle_timeout(now);
        while endpoint.poll_event().is_some() {}
        while endpoint.poll_transmit().is_some() {}
        steps += 1;
        assert!(steps < 100_000, "deadlines that never end");
    }
}

/// Every description that can be read is answered line for line.
pub fn sdp(bytes: &[u8]) {
    let Ok(offer) = SessionDescription::parse(bytes) else { return };
    let _ = lines::lines(&offer, at(20).ip());
    let ports: Vec<Option<SocketAddr>> = offer.media.iter().map(|_| Some(at(30))).collect();
    let answer = LocalDescription::new(1).answer(&offer, &ports, at(30).ip());
    let answer = SessionDescription::parse(&answer).unwrap_or_else(|fault| panic!("our own answer: {fault}"));
    assert_eq!(answer.media.len(), offer.media.len(), "RFC 3264 §6");
}

/// A metadata document gives a bounded number of parties.
pub fn rs_metadata(bytes: &[u8]) {
    let metadata = siprec::read(bytes);
    assert!(metadata.parties().len() <= 64 && metadata.participants.len() <= 64);
    let _ = metadata.leaves_open();
}

/// A body of several parts: its first line is the media type.
pub fn multipart_body(bytes: &[u8]) {
    let (media_type, body) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &b""[..]),
    };
    let parts = multipart::parts(&String::from_utf8_lossy(media_type), body);
    assert!(parts.iter().map(|part| part.body.len()).sum::<usize>() <= body.len(), "no byte is in two parts");
}

/// Datagrams of a length given by their first byte, with time between them given by the second, into a stream with few blocks.
pub fn rtp(bytes: &[u8]) {
    let remote = at(20);
    let spec = StreamSpec {
        key: StreamKey { recording: RecordingNo(1), leg: LegNo(0) },
        recording_id: RecordingId("fuzz".into()),
        origin: MonoTime(0),
        local: None,
        port: None,
        remote: Remote { rtp: remote, rtcp: Some(remote), mux: true },
        payloads: PayloadMap::new([
            (0, Payload::Audio(Law::Pcmu)),
            (8, Payload::Audio(Law::Pcma)),
            (13, Payload::ComfortNoise),
            (101, Payload::TelephoneEvent),
        ]),
        paused: false,
        anchor: None,
        begins: MediaTime(0),
    };
    let (mut stream, mut pool) = (Stream::new(&spec, Manner::default()), Pool::new(8));
    let (mut now, mut rest) = (MonoTime(0), bytes);
    while let Some((&[len, later], tail)) = rest.split_first_chunk::<2>() {
        let (datagram, tail) = tail.split_at(usize::from(len).min(tail.len()));
        now = MonoTime(now.0 + u64::from(later) * 20_000);
        stream.rtp(now, remote, datagram, &mut pool);
        if later > 128 {
            stream.seal_until(now, &mut pool);
            for block in pool.take_sealed() {
                pool.give(block.samples);
            }
        }
        rest = tail;
    }
    let mut report = [0; 512];
    let _ = stream.receiver_report(now, 1, "fuzz", &mut report);
    stream.seal_all(&mut pool);
    let _ = packet::read(bytes);
}

/// A compound RTCP packet.
pub fn rtcp_compound(bytes: &[u8]) {
    if let Some(reports) = rtcp::sender_reports(bytes) {
        assert!(reports.count() <= bytes.len() / 8);
    }
}

/// A configuration file: every complaint has a place in it.
pub fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(faults) = config::parse("nearend.toml", text) {
        assert!(!faults.is_empty());
        assert!(faults.iter().all(|fault| fault.line <= text.lines().count().max(1) + 1), "{faults:?}");
    }
}

/// Real input for a target, to begin with: from the messages, examples and packets that the tests have, too. `root` is the repository.
///
/// # Errors
/// A file of the repository cannot be read.
pub fn seeds(target: &str, root: &Path) -> io::Result<Vec<Vec<u8>>> {
    let bodies = |wanted: &str| -> io::Result<Vec<Vec<u8>>> {
        let of = |message: &Vec<u8>| {
            let (content_type, body) = content(message)?;
            let parts = multipart::parts(&content_type, body);
            parts.into_iter().find(|part| part.media_type.starts_with(wanted)).map(|part| part.body.to_vec())
        };
        Ok(messages(root)?.iter().filter_map(of).collect())
    };
    match target {
        "sip_message" | "sip_stream" | "sip_endpoint" => messages(root),
        "sdp" => bodies("application/sdp"),
        "rs_metadata" => bodies("application/rs-metadata"),
        "multipart" => {
            let joined = |message: &Vec<u8>| content(message).map(|(head, body)| [head.as_bytes(), b"\n", body].concat());
            Ok(messages(root)?.iter().filter_map(joined).collect())
        }
        "rtp" => Ok(vec![(0..40).flat_map(rtp_packet).collect()]),
        "rtcp" => Ok(vec![SENDER_REPORT.to_vec()]),
        "configuration" => files(&root.join("docs/examples")),
        other => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no target {other}"))),
    }
}

fn messages(root: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    for folder in ["sip", "siprec", "torture"] {
        all.extend(files(&root.join("tests/data").join(folder))?);
    }
    Ok(all)
}

fn files(folder: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.sort();
    paths.retain(|path| path.extension().is_some_and(|ending| ending != "md"));
    paths.iter().map(fs::read).collect()
}

/// Content-Type and body of a message.
fn content(message: &[u8]) -> Option<(String, &[u8])> {
    let (end, length) = [(&b"\r\n\r\n"[..], 4), (b"\n\n", 2)]
        .into_iter()
        .find_map(|(gap, length)| Some((message.windows(length).position(|window| window == gap)?, length)))?;
    let head = String::from_utf8_lossy(&message[..end]).into_owned();
    let content_type = head.lines().find_map(|line| line.strip_prefix("Content-Type:"))?.trim().to_owned();
    Some((content_type, &message[end + length..]))
}

/// Packet `n` of a call with its length and distance in front, as [`rtp`] reads it.
fn rtp_packet(n: u16) -> Vec<u8> {
    let mut bytes = vec![172, if n.is_multiple_of(25) { 200 } else { 1 }, 0x80, if n % 10 == 9 { 101 } else { 0 }];
    bytes.extend(n.to_be_bytes());
    bytes.extend((u32::from(n) * 160).to_be_bytes());
    bytes.extend([0, 0, 0, 1]);
    bytes.extend([0x55; 160]);
    bytes
}

/// A sender report with one report block, and a BYE.
const SENDER_REPORT: [u8; 60] = [
    0x81, 200, 0, 12, 0, 0, 0, 1, 0xE0, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0x10, 0, 0, 0, 0, 50, 0, 0, 0x1F, 0x40, // sender
    0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, // report block
    0x81, 203, 0, 1, 0, 0, 0, 1, // BYE
];

fn at(last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::from([192, 0, 2, last]), 5060)
}
