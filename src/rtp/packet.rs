//! What a datagram on an RTP port is: RTP (RFC 3550 §5.1) or, with rtcp-mux, RTCP (RFC 5761 §4); and what its payload
//! type means by the negotiation: G.711 (RFC 3551 §4.5.14), comfort noise (RFC 3389) or a telephone event (RFC 4733).

use rtp_types::RtpPacket;

use crate::model::{Payload, RtpTime};

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// An RTP packet.
    Rtp(Packet<'a>),
    /// An RTCP packet, to be read by [`super::rtcp`].
    Rtcp,
}

/// An RTP packet, without what a recorder has no use for (marker, CSRCs, header extensions, padding).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The sender's SSRC.
    pub ssrc: u32,
    /// Sequence number; wraps.
    pub seq: u16,
    /// Timestamp of the first sample.
    pub time: RtpTime,
    /// Payload type, 7 bits.
    pub payload_type: u8,
    /// The payload.
    pub payload: &'a [u8],
}

/// Reads a datagram that came to an RTP port. None: it is neither RTP nor RTCP.
pub fn read(datagram: &[u8]) -> Option<Datagram<'_>> {
    // RFC 5761 §4: with the marker bit off, RTCP's packet types 192-223 are the payload types 64-95, which no RTP uses.
    if datagram.get(1).is_some_and(|second| (64..=95).contains(&(second & 0x7F))) {
        return (datagram.first()? >> 6 == 2).then_some(Datagram::Rtcp);
    }
    let rtp = RtpPacket::parse(datagram).ok()?;
    let start = rtp.payload_offset();
    Some(Datagram::Rtp(Packet {
        ssrc: rtp.ssrc(),
        seq: rtp.sequence_number(),
        time: RtpTime(rtp.timestamp()),
        payload_type: rtp.payload_type(),
        payload: datagram.get(start..start + rtp.payload_len())?,
    }))
}

/// The payload types of a stream, as negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadMap([Option<Payload>; 128]);

impl PayloadMap {
    /// The map of these types; types above 127 cannot occur in RTP and are left out.
    pub fn new(types: impl IntoIterator<Item = (u8, Payload)>) -> PayloadMap {
        let mut map = [None; 128];
        for (number, payload) in types {
            if let Some(slot) = map.get_mut(usize::from(number)) {
                *slot = Some(payload);
            }
        }
        PayloadMap(map)
    }

    /// What `payload_type` carries, if it was negotiated.
    pub fn of(&self, payload_type: u8) -> Option<Payload> {
        self.0.get(usize::from(payload_type)).copied().flatten()
    }
}

/// A telephone event of one packet (RFC 4733 §2.3).
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |     event     |E|R| volume    |          duration             |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// The key: `0`-`9`, `*`, `#`, `A`-`D`, or `F` for flash. None: no key but a tone, as of a fax or modem.
    pub digit: Option<char>,
    /// The event is over.
    pub end: bool,
    /// How long it has lasted so far, in ticks of 8 kHz.
    pub duration_ticks: u16,
}

impl TelephoneEvent {
    /// Reads a payload. None: it is too short.
    pub fn read(payload: &[u8]) -> Option<TelephoneEvent> {
        let &[event, flags, high, low] = payload.first_chunk()?;
        let digit = match event {
            0..=9 => Some(char::from(b'0' + event)),
            10 => Some('*'),
            11 => Some('#'),
            12..=15 => Some(char::from(b'A' + event - 12)),
            16 => Some('F'),
            _ => None,
        };
        Some(TelephoneEvent { digit, end: flags & 0x80 != 0, duration_ticks: u16::from_be_bytes([high, low]) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtp_types::RtpPacketBuilder;

    use super::*;

    fn rtp(datagram: &[u8]) -> Packet<'_> {
        match read(datagram) {
            Some(Datagram::Rtp(packet)) => packet,
            other => panic!("not RTP but {other:?}"),
        }
    }

    #[test]
    fn the_payload_stands_between_csrcs_extension_and_padding() {
        let payload = [1_u8, 2, 3, 4, 5];
        let datagram = RtpPacketBuilder::<&[u8], &[u8]>::new()
            .payload_type(8)
            .marker_bit(true)
            .sequence_number(65_535)
            .timestamp(u32::MAX)
            .ssrc(0xDEAD_BEEF)
            .add_csrc(1)
            .add_csrc(2)
            .extension(0xBEDE, &[9, 9, 9, 9, 9, 9, 9, 9])
            .padding(4)
            .payload(&payload)
            .write_vec()
            .unwrap();
        let expected =
            Packet { ssrc: 0xDEAD_BEEF, seq: 65_535, time: RtpTime(u32::MAX), payload_type: 8, payload: &[1, 2, 3, 4, 5] };
        assert_eq!(rtp(&datagram), expected);
    }

    #[test]
    fn an_empty_payload_is_rtp() {
        let datagram = [0x80, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        assert_eq!(rtp(&datagram).payload, &[] as &[u8]);
    }

    #[test]
    fn rtcp_is_told_from_rtp() {
        assert_eq!(read(&[0x80, 200, 0, 6]), Some(Datagram::Rtcp));
        assert_eq!(read(&[0x81, 201, 0, 7]), Some(Datagram::Rtcp));
        assert_eq!(read(&[0x00, 201, 0, 7]), None, "version 0");
        assert_eq!(read(b"\x80"), None);
        assert_eq!(read(b""), None);
    }

    #[test]
    fn keys_of_telephone_events() {
        let digit = |event| TelephoneEvent::read(&[event, 0x8A, 0x03, 0x20]).unwrap().digit;
        assert_eq!((0..=17).map_while(digit).collect::<String>(), "0123456789*#ABCDF");
        let event = TelephoneEvent::read(&[5, 0x8A, 0x03, 0x20]).unwrap();
        assert_eq!(event, TelephoneEvent { digit: Some('5'), end: true, duration_ticks: 800 });
        assert_eq!(TelephoneEvent::read(&[5, 0x8A, 0x03]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..80), first in 0x80..=0xBF_u8) {
            let mut bytes = bytes;
            if let Some(b) = bytes.first_mut() {
                *b = first;
            }
            let _ = read(&bytes);
            let _ = TelephoneEvent::read(&bytes);
        }
    }
}
