//! RTCP: what is read of the peer's reports and what the box reports itself (RFC 3550 §6).

use rtcp_types::prelude::*;
use rtcp_types::{Compound, Packet, ReceiverReport, ReportBlockBuilder, RtcpWriteError, Sdes, SdesChunk, SdesItem};

use crate::model::RtpTime;

/// Of a sender report: the same instant on two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport {
    /// Whose clocks.
    pub ssrc: u32,
    /// NTP time, 32.32 bits since 1900.
    pub ntp: u64,
    /// RTP time.
    pub time: RtpTime,
}

/// The sender reports of a compound packet, up to where it cannot be read any more. None: it is no RTCP at all.
pub fn sender_reports(datagram: &[u8]) -> Option<impl Iterator<Item = SenderReport>> {
    let packets = Compound::parse(datagram).ok()?.map_while(Result::ok);
    Some(packets.filter_map(|packet| match packet {
        Packet::Sr(report) => {
            Some(SenderReport { ssrc: report.ssrc(), ntp: report.ntp_timestamp(), time: RtpTime(report.rtp_timestamp()) })
        }
        _ => None,
    }))
}

/// Writes a receiver report with the CNAME that RFC 3550 §6.1 demands in every compound packet; gives its length.
///
/// # Errors
/// `out` is too small, or `cname` longer than 255 bytes.
pub fn write_receiver_report(ssrc: u32, about: ReportBlockBuilder, cname: &str, out: &mut [u8]) -> Result<usize, RtcpWriteError> {
    let name = SdesChunk::builder(ssrc).add_item(SdesItem::builder(SdesItem::CNAME, cname));
    Compound::builder()
        .add_packet(ReceiverReport::builder(ssrc).add_report_block(about))
        .add_packet(Sdes::builder().add_chunk(name))
        .write_into(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtcp_types::{Bye, SenderReport as Sr};

    use super::*;
    use crate::model::MonoTime;
    use crate::rtp::stats::Receiver;

    fn bytes(packet: impl RtcpPacketWriter) -> Vec<u8> {
        let mut out = vec![0; packet.calculate_size().unwrap()];
        packet.write_into(&mut out).unwrap();
        out
    }

    fn report() -> Vec<u8> {
        let sr = Sr::builder(0xAABB_CCDD).ntp_timestamp(0x0102_0304_0506_0708).rtp_timestamp(160).packet_count(1);
        let name = SdesChunk::builder(0xAABB_CCDD).add_item(SdesItem::builder(SdesItem::CNAME, "mcp@10.0.0.1"));
        bytes(
            Compound::builder()
                .add_packet(sr)
                .add_packet(Sdes::builder().add_chunk(name))
                .add_packet(Bye::builder().add_source(1)),
        )
    }

    #[test]
    fn a_sender_report_ties_two_clocks() {
        let found: Vec<_> = sender_reports(&report()).unwrap().collect();
        assert_eq!(found, [SenderReport { ssrc: 0xAABB_CCDD, ntp: 0x0102_0304_0506_0708, time: RtpTime(160) }]);
        assert!(sender_reports(b"GET / HTTP/1.1").is_none());
    }

    #[test]
    fn a_receiver_report_has_a_cname() {
        let mut out = [0; 128];
        let block = Receiver::new(5, 100).report(MonoTime(0));
        let len = write_receiver_report(9, block, "nearend@10.1.2.3", &mut out).unwrap();
        let packets: Vec<_> = Compound::parse(&out[..len]).unwrap().map(Result::unwrap).collect();
        let [Packet::Rr(rr), Packet::Sdes(sdes)] = &packets[..] else { panic!("{packets:?}") };
        assert_eq!((rr.ssrc(), rr.report_blocks().next().unwrap().ssrc()), (9, 5));
        assert_eq!(sdes.chunks().next().unwrap().items().next().unwrap().value(), b"nearend@10.1.2.3");
        assert!(write_receiver_report(9, Receiver::new(5, 100).report(MonoTime(0)), "n", &mut [0; 8]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(noise in prop::collection::vec(any::<u8>(), 4..120), kind in 190..=210_u8, words in 0..30_u8) {
            let mut noise = noise;
            let first = 0x80 | noise[0] & 0x3F;
            noise[..4].copy_from_slice(&[first, kind, 0, words]);
            for _ in sender_reports(&noise).into_iter().flatten() {}
        }

        #[test]
        fn damaged_reports_are_survived(at in 0..60_usize, byte: u8, len in 0..80_usize) {
            let mut report = report();
            let at = at.min(report.len() - 1);
            report[at] = byte;
            report.truncate(len);
            for _ in sender_reports(&report).into_iter().flatten() {}
        }
    }
}
