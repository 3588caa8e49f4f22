//! Session descriptions as peers send them (RFC 8866), reduced to what a recorder needs to know of each m-line.
//!
//! `sdp-types` reads the lines; what comes to it is tidied first: left out is what nobody needs and what devices get
//! wrong, so that a bad `o=` or `t=` line costs no recording. [`LocalDescription`] writes our side.

mod local;

use std::fmt;
use std::net::IpAddr;

use sdp_types::{Attribute, Connection, Media, Session};
use thiserror::Error;

pub use local::LocalDescription;

/// An offer or an answer: its m-lines in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionDescription {
    /// One per m-line, audio or not, so that an index here is the index of the m-line.
    pub media: Vec<AudioMedia>,
}

/// One m-line with what the session level says for it, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioMedia {
    /// What the m-line carries.
    pub kind: MediaKind,
    /// RTP port; 0: the line is not used (RFC 3264 §5.1, §6).
    pub port: u16,
    /// Where its sender is; none when missing or given by name.
    pub addr: Option<IpAddr>,
    /// The transport as written, in upper case: `RTP/AVP`.
    pub profile: String,
    /// The formats as written, for an answer that repeats them.
    pub formats: String,
    /// The payload types in the order of preference.
    pub codecs: Vec<Codec>,
    /// Milliseconds of audio in a packet, `a=ptime`.
    pub ptime_ms: Option<u32>,
    /// Seen from the one who wrote it.
    pub direction: Direction,
    /// `a=record` (RFC 7866 §7.1), which MSR senders set, too.
    pub record: Option<RecordState>,
    /// `a=label` (RFC 4574).
    pub label: Option<String>,
    /// `a=rtcp` (RFC 3605), where RTCP is not on the next port.
    pub rtcp: Option<Rtcp>,
    /// `a=rtcp-mux` (RFC 5761).
    pub rtcp_mux: bool,
}

/// What an m-line carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// Audio.
    Audio,
    /// `video`, `image` …
    Other(String),
}

/// One payload type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codec {
    /// Its number in RTP.
    pub payload_type: u8,
    /// What it is.
    pub kind: CodecKind,
    /// Encoding name as written: `pcmu`.
    pub name: String,
    /// RTP clock rate in Hz.
    pub clock_hz: u32,
    /// `a=fmtp` without the number.
    pub fmtp: Option<String>,
}

/// The encodings that matter to the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodecKind {
    /// G.711 µ-law, 8 kHz, one channel.
    Pcmu,
    /// G.711 A-law, 8 kHz, one channel.
    Pcma,
    /// Comfort noise (RFC 3389) at 8 kHz.
    ComfortNoise,
    /// Digits (RFC 4733) at 8 kHz.
    TelephoneEvent,
    /// Anything else.
    Other,
}

/// Direction attribute (RFC 3264 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in the RFC")]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

/// `a=record`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordState {
    /// `on`
    On,
    /// `paused`
    Paused,
    /// `off`
    Off,
}

/// Where RTCP goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtcp {
    /// Its port.
    pub port: u16,
    /// Its address; none: that of the RTP.
    pub addr: Option<IpAddr>,
}

/// Why a description cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SdpError {
    /// Neither a `v=` nor an `m=` line.
    #[error("no session description: neither v= nor m= in it")]
    NoDescription,
    /// An m- or c-line that makes no sense.
    #[error("session description: {0}")]
    Line(String),
}

/// Why the box cannot record an m-line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unusable {
    /// Not audio.
    #[error("{0} is not recorded")]
    NotAudio(String),
    /// Port 0: its sender does not use it.
    #[error("the line is disabled (port 0)")]
    Disabled,
    /// A transport other than plain RTP.
    #[error("transport {0} is not supported, only RTP/AVP")]
    Profile(String),
    /// No G.711 among the formats.
    #[error("no PCMU or PCMA among {0}")]
    Codecs(String),
}

impl SessionDescription {
    /// Reads an offer or an answer.
    pub fn parse(body: &[u8]) -> Result<SessionDescription, SdpError> {
        let text = String::from_utf8_lossy(body);
        if !text.lines().any(|line| line.starts_with("v=") || line.starts_with("m=")) {
            return Err(SdpError::NoDescription);
        }
        let session = Session::parse(tidy(&text).as_bytes()).map_err(|e| SdpError::Line(e.to_string()))?;
        Ok(SessionDescription { media: session.medias.iter().map(|media| AudioMedia::read(&session, media)).collect() })
    }

    /// Whether any m-line can be recorded; for 488 otherwise.
    pub fn is_usable(&self) -> bool {
        self.media.iter().any(|media| media.negotiate().is_ok())
    }
}

impl AudioMedia {
    /// The payload types to be received: G.711 in the order offered, and with it comfort noise and digits.
    pub fn negotiate(&self) -> Result<Vec<Codec>, Unusable> {
        if let MediaKind::Other(kind) = &self.kind {
            return Err(Unusable::NotAudio(kind.clone()));
        }
        if self.port == 0 {
            return Err(Unusable::Disabled);
        }
        if self.profile != "RTP/AVP" {
            return Err(Unusable::Profile(self.profile.clone()));
        }
        if !self.codecs.iter().any(|codec| matches!(codec.kind, CodecKind::Pcmu | CodecKind::Pcma)) {
            let names: Vec<_> = self.codecs.iter().map(Codec::to_string).collect();
            return Err(Unusable::Codecs(names.join(", ")));
        }
        Ok(self.codecs.iter().filter(|codec| codec.kind != CodecKind::Other).cloned().collect())
    }

    /// Whether its sender has stopped its audio: nothing is sent, or the old way of hold, `c=0.0.0.0` (RFC 3264 §8.4).
    pub fn is_held(&self) -> bool {
        matches!(self.direction, Direction::Inactive | Direction::RecvOnly) || self.addr.is_some_and(|addr| addr.is_unspecified())
    }

    /// Whether nothing of it may be kept: held, or paused by `a=record`.
    pub fn is_paused(&self) -> bool {
        self.is_held() || matches!(self.record, Some(RecordState::Paused | RecordState::Off))
    }

    fn read(session: &Session, media: &Media) -> AudioMedia {
        let attributes = || media.attributes.iter().chain(&session.attributes);
        let value =
            |name: &str| attributes().find(|a| a.attribute.eq_ignore_ascii_case(name)).map(|a| a.value.as_deref().unwrap_or(""));
        AudioMedia {
            kind: if media.media.eq_ignore_ascii_case("audio") {
                MediaKind::Audio
            } else {
                MediaKind::Other(media.media.clone())
            },
            port: media.port,
            addr: media.connections.first().or(session.connection.as_ref()).and_then(address),
            profile: media.proto.to_ascii_uppercase(),
            formats: media.fmt.clone(),
            codecs: media
                .fmt
                .split_ascii_whitespace()
                .filter_map(|pt| Codec::read(pt.parse().ok()?, &media.attributes))
                .collect(),
            ptime_ms: value("ptime").and_then(|v| v.trim().parse().ok()),
            direction: attributes().find_map(|a| Direction::read(&a.attribute)).unwrap_or(Direction::SendRecv),
            record: value("record").and_then(RecordState::read),
            label: value("label").map(|v| v.trim().to_owned()),
            rtcp: value("rtcp").and_then(Rtcp::read),
            rtcp_mux: value("rtcp-mux").is_some(),
        }
    }
}

impl Codec {
    /// The static payload types that need no `a=rtpmap` (RFC 3551 §6) and are met in the field.
    const STATIC: [(u8, &str); 5] = [(0, "PCMU"), (8, "PCMA"), (9, "G722"), (13, "CN"), (18, "G729")];

    fn new(payload_type: u8, name: &str, clock_hz: u32) -> Codec {
        let kind = match (name.to_ascii_uppercase().as_str(), clock_hz) {
            ("PCMU", 8_000) => CodecKind::Pcmu,
            ("PCMA", 8_000) => CodecKind::Pcma,
            ("CN", 8_000) => CodecKind::ComfortNoise,
            ("TELEPHONE-EVENT", 8_000) => CodecKind::TelephoneEvent,
            _ => CodecKind::Other,
        };
        Codec { payload_type, kind, name: name.to_owned(), clock_hz, fmtp: None }
    }

    /// None for a number that is neither static nor mapped, or no payload type at all.
    fn read(payload_type: u8, attributes: &[Attribute]) -> Option<Codec> {
        let of_this = |name: &str| {
            let values = attributes.iter().filter(|a| a.attribute.eq_ignore_ascii_case(name)).filter_map(|a| a.value.as_deref());
            values.filter_map(|v| v.trim().split_once(' ')).find(|(pt, _)| pt.parse() == Ok(payload_type)).map(|(_, v)| v.trim())
        };
        let mut codec = match of_this("rtpmap") {
            Some(map) => {
                let mut fields = map.split('/');
                let (name, clock) = (fields.next()?, fields.next().and_then(|c| c.trim().parse().ok())?);
                let mono = fields.next().is_none_or(|channels| channels.trim() == "1");
                let codec = Codec::new(payload_type, name.trim(), clock);
                if mono { codec } else { Codec { kind: CodecKind::Other, ..codec } }
            }
            None => {
                let (_, name) = Codec::STATIC.into_iter().find(|(pt, _)| *pt == payload_type)?;
                Codec::new(payload_type, name, 8_000)
            }
        };
        codec.fmtp = of_this("fmtp").map(str::to_owned);
        (payload_type < 128).then_some(codec)
    }
}

/// `pcmu/8000`, as in `a=rtpmap`.
impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.clock_hz)
    }
}

impl Direction {
    fn read(attribute: &str) -> Option<Direction> {
        match attribute.trim().to_ascii_lowercase().as_str() {
            "sendrecv" => Some(Direction::SendRecv),
            "sendonly" => Some(Direction::SendOnly),
            "recvonly" => Some(Direction::RecvOnly),
            "inactive" => Some(Direction::Inactive),
            _ => None,
        }
    }
}

impl RecordState {
    fn read(value: &str) -> Option<RecordState> {
        match value.trim().to_ascii_lowercase().as_str() {
            "on" => Some(RecordState::On),
            "paused" => Some(RecordState::Paused),
            "off" => Some(RecordState::Off),
            _ => None,
        }
    }
}

impl Rtcp {
    /// `port` or `port IN IP4 address`.
    fn read(value: &str) -> Option<Rtcp> {
        let mut words = value.split_ascii_whitespace();
        let port = words.next()?.parse().ok()?;
        Some(Rtcp { port, addr: words.nth(2).and_then(|addr| addr.parse().ok()) })
    }
}

fn address(connection: &Connection) -> Option<IpAddr> {
    connection.try_address().ok().map(|address| address.ip)
}

/// The lines that matter (`c=`, `m=`, `a=`), white space put right, behind a `v=0`: devices send a bad `o=`, `t=` or `b=`,
/// empty lines, LF alone, and two spaces where one is due.
fn tidy(text: &str) -> String {
    let mut tidy = String::from("v=0\r\n");
    let mut in_media = false;
    let mut has_connection = false;
    for line in text.lines().map(str::trim) {
        let Some((key @ ("c" | "m" | "a"), value)) = line.split_once('=') else { continue };
        in_media |= key == "m";
        if key == "c" && !in_media && std::mem::replace(&mut has_connection, true) {
            continue; // the first one of the session level counts
        }
        let words: Vec<_> = value.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
        tidy.push_str(&format!("{key}={}\r\n", words.join(" ")));
    }
    tidy
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn media(text: &str) -> AudioMedia {
        SessionDescription::parse(text.as_bytes()).unwrap().media.remove(0)
    }

    fn names(codecs: &[Codec]) -> Vec<(u8, String)> {
        codecs.iter().map(|c| (c.payload_type, c.to_string())).collect()
    }

    #[test]
    fn the_offers_of_a_media_server() {
        let file = include_str!("../../tests/data/sip/mcp_invite_one_session.sip");
        let (_, body) = file.split_once("\n\n").unwrap();
        let offer = SessionDescription::parse(body.as_bytes()).unwrap();
        assert_eq!(offer.media.len(), 2);
        let first = &offer.media[0];
        assert_eq!((first.port, first.addr), (43912, Some("192.0.2.21".parse().unwrap())));
        assert_eq!((first.direction, first.record), (Direction::SendOnly, Some(RecordState::On)));
        assert_eq!((first.ptime_ms, first.profile.as_str(), first.label.as_deref()), (Some(20), "RTP/AVP", None));
        let codecs = first.negotiate().unwrap();
        assert_eq!(names(&codecs), [(0, "pcmu/8000".into()), (101, "telephone-event/8000".into())]);
        assert_eq!((codecs[0].kind, codecs[1].fmtp.as_deref()), (CodecKind::Pcmu, Some("0-15")));
        assert_eq!(offer.media[1].port, 43914);
        assert!(offer.is_usable() && !first.is_paused());
    }

    #[test]
    fn careless_writing_is_understood() {
        let m = media(
            "v=0\no=a b 99999999999999999999 0 IN IP4\ns=\nt=x\nb=AS\nc=IN  IP6 2001:db8::7\nc=IN IP4 192.0.2.1\na=inactive\n\n\
             m=audio  4000/2 rtp/avp 8  0 13 96 97 x 300\na=rtpmap:96 telephone-event/8000\na=rtpmap:97 PCMU/16000\na=RTCP:4009 IN IP4 192.0.2.9\n\
             a=rtcp-mux\na=label: 1234567890 \na=sendonly\na=record:PAUSED\na=ptime:30\nnonsense\n",
        );
        assert_eq!(m.addr, Some("2001:db8::7".parse().unwrap()));
        assert_eq!(m.rtcp, Some(Rtcp { port: 4009, addr: Some("192.0.2.9".parse().unwrap()) }));
        assert_eq!((m.rtcp_mux, m.label.as_deref(), m.ptime_ms), (true, Some("1234567890"), Some(30)));
        assert_eq!((m.direction, m.is_held(), m.is_paused()), (Direction::SendOnly, false, true));
        let pts: Vec<_> = m.negotiate().unwrap().iter().map(|c| c.payload_type).collect();
        assert_eq!(pts, [8, 0, 13, 96]);
    }

    #[test]
    fn all_forms_of_hold() {
        let offer = |session: &str, line: &str| media(&format!("v=0\r\nc=IN IP4 {session}\r\nm=audio 4000 RTP/AVP 0\r\n{line}"));
        assert!(!offer("192.0.2.1", "").is_held());
        assert!(offer("0.0.0.0", "").is_held());
        assert!(offer("192.0.2.1", "c=IN IP4 0.0.0.0\r\n").is_held());
        assert!(offer("192.0.2.1", "a=inactive\r\n").is_held());
        assert!(offer("192.0.2.1", "a=record:off\r\n").is_paused());
    }

    #[test]
    fn what_cannot_be_recorded_says_why() {
        let why = |line: &str| media(&format!("v=0\r\nm={line}\r\n")).negotiate().unwrap_err().to_string();
        assert_eq!(why("video 4000 RTP/AVP 96"), "video is not recorded");
        assert_eq!(why("audio 0 RTP/AVP 0"), "the line is disabled (port 0)");
        assert_eq!(why("audio 4000 RTP/SAVP 0"), "transport RTP/SAVP is not supported, only RTP/AVP");
        assert_eq!(why("audio 4000 RTP/AVP 18 9 13"), "no PCMU or PCMA among G729/8000, G722/8000, CN/8000");
    }

    #[test]
    fn what_is_no_description() {
        assert_eq!(SessionDescription::parse(b"<recording/>"), Err(SdpError::NoDescription));
        assert!(matches!(SessionDescription::parse(b"v=0\r\nm=audio 99999 RTP/AVP 0\r\n"), Err(SdpError::Line(_))));
        assert_eq!(SessionDescription::parse(b"v=0\r\n").unwrap().media, []);
    }

    proptest! {
        #[test]
        fn any_text_at_all(lines in prop::collection::vec("[vosctmab]=[ -~]{0,30}|m=audio [0-9]{1,6} RTP/AVP [0-9 ]{1,9}|a=rtpmap:[0-9]{1,3} [A-Z/0-9]{0,12}", 0..12)) {
            if let Ok(offer) = SessionDescription::parse(lines.join("\n").as_bytes()) {
                offer.media.iter().for_each(|m| drop(m.negotiate()));
            }
        }
    }
}
