//! Session descriptions in the exact shape that media servers and SIPREC clients write, and what an answer means for us.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::model::block::Law;
use crate::sip::sdp::{AudioMedia, CodecKind, SessionDescription};

use super::options::Mode;
use super::stream::EVENT_PAYLOAD_TYPE;

/// Our side of a session: one sending m-line per party.
#[derive(Clone, Debug)]
pub struct Description {
    /// Whose habits it shows.
    pub mode: Mode,
    /// Number of the session, for `o=`.
    pub session: u32,
    /// Our address.
    pub ip: IpAddr,
    /// RTP port of each party.
    pub ports: Vec<u16>,
    /// The one law offered.
    pub law: Law,
    /// Milliseconds per packet.
    pub ptime_ms: u8,
    /// Nothing is sent for the moment.
    pub paused: bool,
    /// Grows with each change (RFC 3264 §8).
    pub version: u32,
}

/// Why a recorder's description is of no use to us.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMedia {
    /// Accepted without Contact: there is nowhere to send an ACK.
    #[error("a 2xx without Contact (RFC 3261 §12.1.1)")]
    NoContact,
    /// No body, or none that can be read.
    #[error("no session description that can be read")]
    Unreadable,
    /// Not one m-line for us.
    #[error("no audio line with our codec, a port and an address")]
    NoLine,
}

impl Description {
    /// The SDP with `lines` m-lines: as many as there are parties, unless an offer to be answered has another number.
    pub fn render(&self, lines: usize) -> String {
        let (ip, family) = (self.ip, if self.ip.is_ipv4() { "IP4" } else { "IP6" });
        let (session, version) = (self.session, self.version);
        let name = if self.mode == Mode::Siprec { "recording" } else { "phone-call" };
        let mut sdp = format!("v=0\r\no=- {session} {version} IN {family} {ip}\r\ns={name}\r\nc=IN {family} {ip}\r\nt=0 0\r\n");
        for line in 0..lines {
            match self.ports.get(line) {
                Some(port) => self.write_line(&mut sdp, line, *port),
                None => sdp.push_str("m=audio 0 RTP/AVP 0\r\n"),
            }
        }
        sdp
    }

    fn write_line(&self, sdp: &mut String, line: usize, port: u16) {
        let siprec = self.mode == Mode::Siprec;
        let (payload_type, name) = match (self.law, siprec) {
            (Law::Pcmu, false) => (0, "pcmu"),
            (Law::Pcmu, true) => (0, "PCMU"),
            (Law::Pcma, false) => (8, "pcma"),
            (Law::Pcma, true) => (8, "PCMA"),
        };
        let max_ptime = match self.mode {
            Mode::OneSession => format!("a=maxptime:{}\r\n", self.ptime_ms.max(30)),
            Mode::TwoSession | Mode::Siprec => String::new(),
        };
        let own = if siprec { format!("a=label:{}\r\n", line + 1) } else { "a=record:on\r\n".to_owned() };
        // Writing to a String cannot fail.
        let _ = write!(
            sdp,
            "m=audio {port} RTP/AVP {payload_type} {EVENT_PAYLOAD_TYPE}\r\n\
             a=rtpmap:{payload_type} {name}/8000\r\n\
             a=ptime:{}\r\n{max_ptime}\
             a=rtpmap:{EVENT_PAYLOAD_TYPE} telephone-event/8000\r\n\
             a=fmtp:{EVENT_PAYLOAD_TYPE} 0-15\r\n\
             a={}\r\n{own}",
            self.ptime_ms,
            if self.paused { "inactive" } else { "sendonly" },
        );
    }
}

/// Where the recorder wants each m-line's RTP, as far as it takes `law` there; none for a refused line.
///
/// # Errors
/// If it takes nothing of ours at all.
pub fn destinations(body: &[u8], law: Law) -> Result<Vec<Option<SocketAddr>>, NoMedia> {
    let description = SessionDescription::parse(body).map_err(|_| NoMedia::Unreadable)?;
    let lines: Vec<_> = description.media.iter().map(|media| destination(media, law)).collect();
    if lines.iter().any(Option::is_some) { Ok(lines) } else { Err(NoMedia::NoLine) }
}

fn destination(media: &AudioMedia, law: Law) -> Option<SocketAddr> {
    let wanted = match law {
        Law::Pcmu => CodecKind::Pcmu,
        Law::Pcma => CodecKind::Pcma,
    };
    let codecs = media.negotiate().ok()?;
    codecs.iter().find(|codec| codec.kind == wanted)?;
    Some(SocketAddr::new(media.addr?, media.port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(mode: Mode) -> Description {
        let ports = vec![43_912, 43_914];
        let ip = "192.0.2.21".parse().unwrap();
        Description { mode, session: 272_161_759, ip, ports, law: Law::Pcmu, ptime_ms: 20, paused: false, version: 0 }
    }

    fn body_of(sample: &str) -> String {
        sample.split_once("\n\n").unwrap().1.trim_end().replace('\n', "\r\n") + "\r\n"
    }

    #[test]
    fn the_media_servers_own_words() {
        let one = include_str!("../../tests/data/sip/mcp_invite_one_session.sip");
        assert_eq!(description(Mode::OneSession).render(2), body_of(one));
        let two = include_str!("../../tests/data/sip/mcp_invite_two_sessions_recorded.sip");
        let description = Description { session: 272_161_760, ports: vec![43_912], ..description(Mode::TwoSession) };
        assert_eq!(description.render(1), body_of(two));
    }

    #[test]
    fn siprec_labels_its_lines() {
        let sdp = Description { law: Law::Pcma, paused: true, version: 3, ..description(Mode::Siprec) }.render(2);
        let read = SessionDescription::parse(sdp.as_bytes()).unwrap();
        assert_eq!(read.media.iter().map(|m| m.label.as_deref()).collect::<Vec<_>>(), [Some("1"), Some("2")]);
        assert!(read.media.iter().all(|m| m.is_held() && m.codecs[0].kind == CodecKind::Pcma));
        assert!(sdp.contains("o=- 272161759 3 IN"));
    }

    #[test]
    fn an_answer_has_as_many_lines_as_the_offer() {
        let sdp = description(Mode::OneSession).render(3);
        let ports: Vec<_> = SessionDescription::parse(sdp.as_bytes()).unwrap().media.iter().map(|m| m.port).collect();
        assert_eq!(ports, [43_912, 43_914, 0]);
    }

    #[test]
    fn answers_say_where_to_send() {
        let answer = b"v=0\r\nc=IN IP4 192.0.2.30\r\nm=audio 20000 RTP/AVP 0\r\nm=audio 0 RTP/AVP 0\r\n\
            m=audio 20004 RTP/AVP 8\r\nc=IN IP6 2001:db8::1\r\n";
        let pcmu = destinations(answer, Law::Pcmu).unwrap();
        assert_eq!(pcmu, [Some("192.0.2.30:20000".parse().unwrap()), None, None]);
        let pcma = destinations(answer, Law::Pcma).unwrap();
        assert_eq!(pcma, [None, None, Some("[2001:db8::1]:20004".parse().unwrap())]);
        assert_eq!(destinations(b"", Law::Pcmu), Err(NoMedia::Unreadable));
        assert_eq!(destinations(b"v=0\r\nm=audio 0 RTP/AVP 0\r\n", Law::Pcmu), Err(NoMedia::NoLine));
    }
}
