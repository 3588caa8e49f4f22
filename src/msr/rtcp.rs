//! RTCP of a sender (RFC 3550 §6): sender reports, goodbye, and what the recorder's reports say.
//!
//! Written byte by byte, so that the box's own reader is tested against something that does not share its library.

use rtcp_types::{Compound, Packet, ReceiverReport, SenderReport};

use crate::model::WallTime;

/// Seconds from 1900 (NTP) to 1970.
const NTP_TO_UNIX_SECONDS: u64 = 2_208_988_800;

/// What a sender report says (§6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whose report it is.
    pub ssrc: u32,
    /// The wall clock now.
    pub wall: WallTime,
    /// The same instant on the stream's RTP clock.
    pub rtp_time: u32,
    /// Packets made so far; those that a bad network then loses are among them.
    pub packets: u32,
    /// Their payload bytes.
    pub octets: u32,
}

impl Report {
    /// A compound packet: sender report and SDES with the CNAME (at most 255 bytes of it).
    pub fn to_bytes(self, cname: &str) -> Vec<u8> {
        let ntp = ntp_time(self.wall);
        let mut bytes = vec![0x80, 200, 0, 6];
        bytes.extend(self.ssrc.to_be_bytes());
        bytes.extend(ntp.to_be_bytes());
        for word in [self.rtp_time, self.packets, self.octets] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(description(self.ssrc, cname));
        bytes
    }

    /// The last report, and BYE behind it (§6.6).
    pub fn goodbye(self, cname: &str) -> Vec<u8> {
        let mut bytes = self.to_bytes(cname);
        bytes.extend([0x81, 203, 0, 1]);
        bytes.extend(self.ssrc.to_be_bytes());
        bytes
    }
}

/// Packets lost so far by the recorder's count (RFC 3550 §6.4.1, cumulative), if `datagram` reports on `ssrc`.
pub fn reported_lost(datagram: &[u8], ssrc: u32) -> Option<u32> {
    let packets = Compound::parse(datagram).ok()?;
    let lost = |packet: Packet<'_>| {
        let of_sender = packet.try_as::<SenderReport<'_>>().ok();
        let of_receiver = packet.try_as::<ReceiverReport<'_>>().ok();
        let mut blocks: Vec<_> = of_sender.iter().flat_map(SenderReport::report_blocks).collect();
        blocks.extend(of_receiver.iter().flat_map(ReceiverReport::report_blocks));
        blocks.iter().find(|block| block.ssrc() == ssrc).map(|block| block.cumulative_lost())
    };
    packets.filter_map(Result::ok).find_map(lost)
}

fn description(ssrc: u32, cname: &str) -> Vec<u8> {
    let cname = &cname.as_bytes()[..cname.len().min(255)];
    let mut chunk = ssrc.to_be_bytes().to_vec();
    chunk.extend([1, cname.len() as u8]); // at most 255, as cut above
    chunk.extend(cname);
    chunk.resize(chunk.len() / 4 * 4 + 4, 0); // one to four zero bytes end the list of items (§6.5)
    let words = chunk.len() / 4;
    [vec![0x81, 202, 0, words as u8], chunk].concat() // at most 66 words
}

/// 32.32 bits of seconds since 1900; the era (2036) wraps, as in every NTP time stamp.
fn ntp_time(wall: WallTime) -> u64 {
    let (seconds, micros) = (wall.0.div_euclid(1_000_000), wall.0.rem_euclid(1_000_000));
    let fraction = (micros.unsigned_abs() << 32) / 1_000_000;
    seconds.cast_unsigned().wrapping_add(NTP_TO_UNIX_SECONDS) << 32 | fraction
}

#[cfg(test)]
mod tests {
    use rtcp_types::{Bye, ReportBlock, RtcpPacketWriterExt, Sdes};

    use super::*;

    const REPORT: Report = Report { ssrc: 0xABCD_EF01, wall: WallTime(1_500_000), rtp_time: 4_000, packets: 250, octets: 40_000 };

    #[test]
    fn another_library_reads_it() {
        for cname in ["", "a", "abc", "msr@192.0.2.1", &"x".repeat(300)] {
            let bytes = REPORT.goodbye(cname);
            let packets: Vec<_> = Compound::parse(&bytes).unwrap().map(Result::unwrap).collect();
            assert_eq!(packets.len(), 3);
            let report = packets[0].try_as::<SenderReport<'_>>().unwrap();
            assert_eq!((report.ssrc(), report.packet_count(), report.octet_count()), (REPORT.ssrc, 250, 40_000));
            assert_eq!(report.ntp_timestamp(), (NTP_TO_UNIX_SECONDS + 1) << 32 | 1 << 31);
            let sdes = packets[1].try_as::<Sdes<'_>>().unwrap();
            let chunk = sdes.chunks().next().unwrap();
            assert_eq!(chunk.items().next().unwrap().value(), &cname.as_bytes()[..cname.len().min(255)]);
            assert_eq!(packets[2].try_as::<Bye<'_>>().unwrap().ssrcs().collect::<Vec<_>>(), [REPORT.ssrc]);
        }
    }

    #[test]
    fn the_recorders_count_is_found() {
        let block = || ReportBlock::builder(7).cumulative_lost(12);
        let mut bytes = [0; 32];
        ReceiverReport::builder(1).add_report_block(block()).write_into(&mut bytes).unwrap();
        assert_eq!(reported_lost(&bytes, 7), Some(12));
        assert_eq!(reported_lost(&bytes, 8), None);
        assert_eq!(reported_lost(&bytes[..9], 7), None);
        assert_eq!(reported_lost(b"", 7), None);
    }
}
