//! The audio lines of a session description that the box takes, and how their packets are to be read.

use std::net::{IpAddr, SocketAddr};

use crate::model::block::Law;
use crate::model::{Line, Payload};
use crate::sip::sdp::{AudioMedia, Codec, CodecKind, SessionDescription, Unusable};

/// A recording has two channels; more lines than that have no place in its file.
const MAX_LINES: usize = 2;

/// The lines that the box takes, one entry per m-line: of more than two, those that are active come first (Oracle offers four
/// of which two are inactive). An error says why none can be taken.
pub fn lines(sdp: &SessionDescription, peer: IpAddr) -> Result<Vec<Option<Line>>, String> {
    let read: Vec<_> = sdp.media.iter().map(|media| line(media, peer)).collect();
    if !read.iter().any(Result::is_ok) {
        let why: Vec<String> = read.iter().filter_map(|line| line.as_ref().err()).map(Unusable::to_string).collect();
        return Err(if why.is_empty() { "no media line at all".into() } else { why.join("; ") });
    }
    let usable = |active: bool| {
        let indexed = read.iter().enumerate();
        indexed.filter_map(move |(n, line)| line.as_ref().is_ok_and(|line| line.active == active).then_some(n))
    };
    let taken: Vec<usize> = usable(true).chain(usable(false)).take(MAX_LINES).collect();
    Ok(read.into_iter().enumerate().map(|(n, line)| line.ok().filter(|_| taken.contains(&n))).collect())
}

/// Reads an m-line of the peer; `peer` is where its SIP comes from, for a line that names no address.
fn line(media: &AudioMedia, peer: IpAddr) -> Result<Line, Unusable> {
    let payload = |codec: &Codec| match codec.kind {
        CodecKind::Pcmu => Some((codec.payload_type, Payload::Audio(Law::Pcmu))),
        CodecKind::Pcma => Some((codec.payload_type, Payload::Audio(Law::Pcma))),
        CodecKind::ComfortNoise => Some((codec.payload_type, Payload::ComfortNoise)),
        CodecKind::TelephoneEvent => Some((codec.payload_type, Payload::TelephoneEvent)),
        CodecKind::Other => None,
    };
    let payloads: Vec<(u8, Payload)> = media.negotiate()?.iter().filter_map(payload).collect();
    let law = payloads.iter().find_map(|(_, payload)| match payload {
        Payload::Audio(law) => Some(*law),
        _ => None,
    });
    let address = media.addr.unwrap_or(peer);
    let rtcp = match media.rtcp {
        _ if media.rtcp_mux => (address, media.port),
        Some(rtcp) => (rtcp.addr.unwrap_or(address), rtcp.port),
        None => (address, media.port.saturating_add(1)),
    };
    Ok(Line {
        law: law.ok_or_else(|| Unusable::Codecs(media.formats.clone()))?,
        remote: SocketAddr::new(address, media.port),
        remote_rtcp: Some(rtcp.into()).filter(|_| !address.is_unspecified()),
        rtcp_mux: media.rtcp_mux,
        active: !media.is_paused(),
        label: media.label.clone(),
        payloads,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Vec<Option<Line>>, String> {
        let sdp = format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{body}");
        lines(&SessionDescription::parse(sdp.as_bytes()).unwrap(), IpAddr::from([198, 51, 100, 7]))
    }

    #[test]
    fn the_first_law_offered_counts() {
        let lines = read("m=audio 4000 RTP/AVP 18 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n").unwrap();
        let line = lines[0].as_ref().unwrap();
        assert_eq!((line.law, line.remote.port(), line.remote_rtcp.unwrap().port()), (Law::Pcma, 4000, 4001));
        assert_eq!(
            line.payloads,
            [(8, Payload::Audio(Law::Pcma)), (0, Payload::Audio(Law::Pcmu)), (101, Payload::TelephoneEvent)]
        );
    }

    #[test]
    fn active_lines_go_before_inactive_ones() {
        let body = "m=audio 4000 RTP/AVP 0\r\na=inactive\r\nm=audio 4002 RTP/AVP 0\r\nm=audio 4004 RTP/AVP 0\r\nm=video 9 RTP/AVP 96\r\n";
        let taken: Vec<_> = read(body).unwrap().iter().map(Option::is_some).collect();
        assert_eq!(taken, [false, true, true, false]);
    }

    #[test]
    fn what_cannot_be_taken_says_why() {
        let why = read("m=audio 4000 RTP/AVP 18\r\nm=audio 4002 RTP/SAVP 0\r\n").unwrap_err();
        assert!(why.contains("G729") && why.contains("RTP/SAVP"), "{why}");
        assert_eq!(read("").unwrap_err(), "no media line at all");
    }

    #[test]
    fn hold_and_pause_in_every_form() {
        for form in ["a=inactive", "a=recvonly", "a=record:paused", "a=record:off", "c=IN IP4 0.0.0.0"] {
            let lines = read(&format!("m=audio 4000 RTP/AVP 0\r\n{form}\r\n")).unwrap();
            assert!(!lines[0].as_ref().unwrap().active, "{form}");
        }
    }
}
