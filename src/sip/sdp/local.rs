//! Our side of offer and answer (RFC 3264): answers that only receive, and the offer that a 200 carries when the INVITE had none.

use std::net::{IpAddr, SocketAddr};

use sdp_types::{Attribute, Connection, Media, Origin, Session, Time};

use super::{AudioMedia, Codec, Direction, SessionDescription};

pub use crate::model::LocalDescription;

impl LocalDescription {
    /// A dialog's description; `session_id` shall be unique on this box (RFC 8866 §5.2).
    pub fn new(session_id: u64) -> LocalDescription {
        LocalDescription { session_id, version: 0, last: None }
    }

    /// The answer to `offer`: one m-line per m-line. `ports` says where the box listens for each of them; a line without (or one
    /// that cannot be negotiated) is refused with port 0. `own` is the box's address, for when no line has one.
    pub fn answer(&mut self, offer: &SessionDescription, ports: &[Option<SocketAddr>], own: IpAddr) -> Vec<u8> {
        let ports = ports.iter().copied().chain(std::iter::repeat(None));
        let medias = offer.media.iter().zip(ports).map(|(offered, port)| answer_line(offered, port, own)).collect();
        self.write(medias, own)
    }

    /// An offer of one receiving m-line per port, for an INVITE that brought none.
    pub fn offer(&mut self, ports: &[SocketAddr], own: IpAddr) -> Vec<u8> {
        let digits = Codec { fmtp: Some("0-15".to_owned()), ..Codec::new(101, "telephone-event", 8_000) };
        let codecs = [Codec::new(0, "PCMU", 8_000), Codec::new(8, "PCMA", 8_000), Codec::new(13, "CN", 8_000), digits];
        let line = |port: &SocketAddr| {
            let mut media = accepted_line("RTP/AVP", *port, &codecs, own);
            media.attributes.push(direction(Direction::RecvOnly));
            media
        };
        self.write(ports.iter().map(line).collect(), own)
    }

    /// An offer for a re-INVITE that brought none: the lines as they are, wanting audio again on each that has a port. None
    /// before the first description.
    pub fn offer_again(&mut self, own: IpAddr) -> Option<Vec<u8>> {
        let mut medias = Session::parse(self.last.as_ref()?.as_bytes()).ok()?.medias;
        let is_direction = |a: &Attribute| a.attribute == "inactive" || a.attribute == "recvonly";
        for attribute in medias.iter_mut().filter(|media| media.port != 0).flat_map(|media| &mut media.attributes) {
            if is_direction(attribute) {
                *attribute = direction(Direction::RecvOnly);
            }
        }
        Some(self.write(medias, own))
    }

    fn write(&mut self, medias: Vec<Media>, own: IpAddr) -> Vec<u8> {
        let origin = Origin::with_ip_addr(self.session_id, self.version, own);
        let mut session = Session::new(origin, "-");
        session.connection = Some(Connection::from_ip_addr(own));
        session.times = vec![Time::new(0, 0)];
        session.medias = medias;
        let mut text = session.to_string();
        if self.last.as_ref().is_some_and(|last| *last != text) {
            self.version += 1;
            session.origin.sess_version = self.version;
            text = session.to_string();
        }
        self.last.insert(text).clone().into_bytes()
    }
}

fn answer_line(offered: &AudioMedia, port: Option<SocketAddr>, own: IpAddr) -> Media {
    let (Some(port), Ok(codecs)) = (port, offered.negotiate()) else { return refused_line(offered) };
    let mut media = accepted_line(&offered.profile, port, &codecs, own);
    if let Some(ptime_ms) = offered.ptime_ms {
        media.attributes.push(Attribute::with_value("ptime", ptime_ms));
    }
    media.attributes.push(direction(if offered.is_held() { Direction::Inactive } else { Direction::RecvOnly }));
    if let Some(label) = &offered.label {
        media.attributes.push(Attribute::with_value("label", label));
    }
    if offered.rtcp_mux {
        media.attributes.push(Attribute::new("rtcp-mux"));
    }
    media
}

/// RFC 3264 §6: the formats are repeated, the port is 0.
fn refused_line(offered: &AudioMedia) -> Media {
    let kind = match &offered.kind {
        super::MediaKind::Audio => "audio",
        super::MediaKind::Other(kind) => kind,
    };
    bare_line(kind, 0, &offered.profile, &offered.formats)
}

fn accepted_line(profile: &str, port: SocketAddr, codecs: &[Codec], own: IpAddr) -> Media {
    let formats: Vec<_> = codecs.iter().map(|codec| codec.payload_type.to_string()).collect();
    let mut media = bare_line("audio", port.port(), profile, &formats.join(" "));
    if port.ip() != own {
        media.connections.push(Connection::from_ip_addr(port.ip()));
    }
    for codec in codecs {
        media.attributes.push(Attribute::with_value("rtpmap", format!("{} {codec}", codec.payload_type)));
        if let Some(fmtp) = &codec.fmtp {
            media.attributes.push(Attribute::with_value("fmtp", format!("{} {fmtp}", codec.payload_type)));
        }
    }
    media
}

fn bare_line(kind: &str, port: u16, profile: &str, formats: &str) -> Media {
    Media {
        media: kind.to_owned(),
        port,
        num_ports: None,
        proto: profile.to_owned(),
        fmt: formats.to_owned(),
        media_title: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes: Vec::new(),
    }
}

fn direction(direction: Direction) -> Attribute {
    Attribute::new(match direction {
        Direction::SendRecv => "sendrecv",
        Direction::SendOnly => "sendonly",
        Direction::RecvOnly => "recvonly",
        Direction::Inactive => "inactive",
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    fn parse(text: &str) -> SessionDescription {
        SessionDescription::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn an_answer_line_for_line() {
        let offer = parse(
            "v=0\r\nc=IN IP4 192.0.2.21\r\nm=video 5000 RTP/AVP 96 97\r\nm=audio 4000 RTP/AVP 18 8 0 101\r\na=rtpmap:8 pcma/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendonly\r\na=label:7\r\na=rtcp-mux\r\n\
             m=audio 4002 RTP/AVP 0\r\na=inactive\r\nm=audio 4004 RTP/AVP 18\r\nm=audio 4006 RTP/AVP 0\r\n",
        );
        let own = "192.0.2.30".parse().unwrap();
        let ports = [Some(addr("192.0.2.30:1")), Some(addr("192.0.2.30:20000")), Some(addr("192.0.2.31:20002")), None];
        let answer = text(LocalDescription::new(77).answer(&offer, &ports, own));
        let expected = "v=0\r\no=- 77 0 IN IP4 192.0.2.30\r\ns=-\r\nc=IN IP4 192.0.2.30\r\nt=0 0\r\n\
             m=video 0 RTP/AVP 96 97\r\n\
             m=audio 20000 RTP/AVP 8 0 101\r\na=rtpmap:8 pcma/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
             a=fmtp:101 0-15\r\na=ptime:20\r\na=recvonly\r\na=label:7\r\na=rtcp-mux\r\n\
             m=audio 20002 RTP/AVP 0\r\nc=IN IP4 192.0.2.31\r\na=rtpmap:0 PCMU/8000\r\na=inactive\r\n\
             m=audio 0 RTP/AVP 18\r\nm=audio 0 RTP/AVP 0\r\n";
        assert_eq!(answer, expected);
    }

    #[test]
    fn the_version_counts_changes_only() {
        let own = "2001:db8::1".parse().unwrap();
        let ports = [Some(addr("[2001:db8::1]:20000"))];
        let (on, held) = (parse("v=0\r\nm=audio 4000 RTP/AVP 0\r\n"), parse("v=0\r\nm=audio 4000 RTP/AVP 0\r\na=inactive\r\n"));
        let mut local = LocalDescription::new(5);
        let mut origin = |offer| text(local.answer(offer, &ports, own)).lines().nth(1).unwrap().to_owned();
        assert_eq!(origin(&on), "o=- 5 0 IN IP6 2001:db8::1");
        assert_eq!(origin(&on), "o=- 5 0 IN IP6 2001:db8::1");
        assert_eq!(origin(&held), "o=- 5 1 IN IP6 2001:db8::1");
        assert_eq!(origin(&held), "o=- 5 1 IN IP6 2001:db8::1");
        assert_eq!(origin(&on), "o=- 5 2 IN IP6 2001:db8::1");
    }

    #[test]
    fn the_version_goes_on_after_a_restart() {
        let own = "192.0.2.30".parse().unwrap();
        let ports = [Some(addr("192.0.2.30:20000"))];
        let (on, held) = (parse("v=0\r\nm=audio 4000 RTP/AVP 0\r\n"), parse("v=0\r\nm=audio 4000 RTP/AVP 0\r\na=inactive\r\n"));
        let restart = |local| serde_json::from_str::<LocalDescription>(&serde_json::to_string(&local).unwrap()).unwrap();
        let mut local = restart(LocalDescription::new(5));
        assert_eq!(local.offer_again(own), None);
        local.answer(&on, &ports, own);
        let held_before = local.answer(&held, &ports, own);
        let mut local = restart(local);
        assert_eq!(local.answer(&held, &ports, own), held_before);
        let offer = text(restart(local.clone()).offer_again(own).unwrap());
        assert_eq!(offer, text(held_before).replace("o=- 5 1 ", "o=- 5 2 ").replace("inactive", "recvonly"));
        assert!(text(local.answer(&on, &ports, own)).contains("o=- 5 2 "));
    }

    #[test]
    fn the_offer_of_a_delayed_one() {
        let ports = [addr("192.0.2.30:20000"), addr("192.0.2.30:20002")];
        let offer = parse(&text(LocalDescription::new(1).offer(&ports, ports[0].ip())));
        assert_eq!(offer.media.iter().map(|m| m.port).collect::<Vec<_>>(), [20000, 20002]);
        for media in &offer.media {
            assert_eq!(media.direction, Direction::RecvOnly);
            assert_eq!(media.negotiate().unwrap().iter().map(|c| c.payload_type).collect::<Vec<_>>(), [0, 8, 13, 101]);
        }
    }

    proptest! {
        /// What has been answered, whatever the offer was, can be offered again; and that is no change.
        #[test]
        fn every_answer_can_be_offered_again(
            lines in prop::collection::vec("m=(audio|video|\\PC{0,3}) [0-9]{1,4} (RTP/AVP|\\PC{0,5}) ?[0-9 ]{0,6}|a=label:\\PC{0,5}|a=rtpmap:0 PCMU/8000|a=fmtp:0 \\PC{0,5}", 0..6),
            port in prop::option::of(1..u16::MAX),
        ) {
            let own: IpAddr = "192.0.2.30".parse().unwrap();
            let Ok(offer) = SessionDescription::parse(format!("v=0\n{}", lines.join("\n")).as_bytes()) else { return Ok(()) };
            let ports = vec![port.map(|port| SocketAddr::new(own, port)); offer.media.len()];
            let mut local = LocalDescription::new(5);
            let answer = local.answer(&offer, &ports, own);
            prop_assert_eq!(local.offer_again(own), Some(answer));
        }
    }
}
