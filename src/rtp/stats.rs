//! Receiver statistics of one RTP source: sequence numbers, loss and jitter (RFC 3550 §6.4.1, appendices A.1, A.3, A.8).

use rtcp_types::{ReportBlock, ReportBlockBuilder};

use crate::model::{MonoTime, RtpTime};

/// So far ahead a sequence number may be and still belong to the source (RFC 3550 A.1).
const MAX_DROPOUT: u16 = 3_000;

/// So far behind (RFC 3550 A.1). Packets that far apart are also told from their duplicates.
const MAX_MISORDER: u16 = 100;

/// How a packet fits to those that came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Newer than all others.
    Next,
    /// Older than one that is there already.
    Reordered,
    /// There already.
    Duplicate,
    /// Its sequence number is far from the others: perhaps the sender began anew.
    Stranger,
}

/// One source (SSRC), from its first packet on.
#[derive(Debug)]
pub struct Receiver {
    ssrc: u32,
    /// Sequence numbers with their wraps counted, from one wrap on, so that a packet before the first is no underflow.
    first: u64,
    highest: u64,
    received: u64,
    /// Bit n: the packet `highest - n` has come.
    seen: u128,
    jitter: Jitter,
    /// Middle 32 bits of the NTP time of the last sender report, and when it came.
    last_report: Option<(u32, MonoTime)>,
    expected_at_report: u64,
    received_at_report: u64,
}

impl Receiver {
    /// A source whose first packet has come.
    pub fn new(ssrc: u32, seq: u16) -> Receiver {
        let first = (1 << 16) + u64::from(seq);
        Receiver {
            ssrc,
            first,
            highest: first,
            received: 1,
            seen: 1,
            jitter: Jitter::default(),
            last_report: None,
            expected_at_report: 0,
            received_at_report: 0,
        }
    }

    /// Whose statistics these are.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// How a further packet of this source fits; it is counted unless it is a duplicate or a stranger.
    pub fn sequence(&mut self, seq: u16) -> Order {
        let ahead = seq.wrapping_sub(self.highest as u16);
        let behind = ahead.wrapping_neg();
        if (1..MAX_DROPOUT).contains(&ahead) {
            self.highest += u64::from(ahead);
            self.seen = self.seen.checked_shl(ahead.into()).unwrap_or(0) | 1;
            self.received += 1;
            return Order::Next;
        }
        if behind > MAX_MISORDER {
            return Order::Stranger;
        }
        let bit = 1_u128 << behind;
        if self.seen & bit != 0 {
            return Order::Duplicate;
        }
        self.seen |= bit;
        self.received += 1;
        self.first = self.first.min(self.highest - u64::from(behind));
        Order::Reordered
    }

    /// Takes an audio packet into the jitter.
    pub fn heard(&mut self, arrived: MonoTime, time: RtpTime) {
        self.jitter.heard(arrived, time);
    }

    /// The timestamps jumped: jitter is measured from the next packet on.
    pub fn jumped(&mut self) {
        self.jitter.last = None;
    }

    /// A sender report came; the next receiver report says so.
    pub fn sender_report(&mut self, arrived: MonoTime, ntp: u64) {
        self.last_report = Some(((ntp >> 16) as u32, arrived));
    }

    /// Packets that never came.
    pub fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }

    /// Interarrival jitter in microseconds.
    pub fn jitter_us(&self) -> u64 {
        self.jitter.ticks() * 125 // of 8 kHz
    }

    /// The block of a receiver report on this source, and the beginning of the next interval.
    pub fn report(&mut self, now: MonoTime) -> ReportBlockBuilder {
        let (last, delay) = match self.last_report {
            Some((ntp, arrived)) => (ntp, now.since(arrived).as_micros() * 65_536 / 1_000_000),
            None => (0, 0),
        };
        ReportBlock::builder(self.ssrc)
            .fraction_lost(self.begin_interval())
            .cumulative_lost(self.lost().min(0x7F_FFFF) as u32)
            .extended_sequence_number((self.highest - (1 << 16)) as u32)
            .interarrival_jitter(u32::try_from(self.jitter.ticks()).unwrap_or(u32::MAX))
            .last_sender_report_timestamp(last)
            .delay_since_last_sender_report_timestamp(u32::try_from(delay).unwrap_or(u32::MAX))
    }

    /// The fraction lost since the last report in 256ths (A.3).
    fn begin_interval(&mut self) -> u8 {
        let expected = self.expected().saturating_sub(self.expected_at_report);
        let received = self.received - self.received_at_report;
        self.expected_at_report = self.expected();
        self.received_at_report = self.received;
        let lost = expected.saturating_sub(received);
        (lost * 256).checked_div(expected).map_or(0, |fraction| fraction.min(255) as u8)
    }

    fn expected(&self) -> u64 {
        self.highest - self.first + 1
    }
}

/// Interarrival jitter (A.8) at 8 kHz, in sixteenths of a tick.
#[derive(Debug, Default)]
struct Jitter {
    last: Option<(MonoTime, RtpTime)>,
    sixteenths: u64,
}

impl Jitter {
    fn heard(&mut self, arrived: MonoTime, time: RtpTime) {
        if let Some((last_arrived, last_time)) = self.last.replace((arrived, time)) {
            let apart_us = arrived.0.cast_signed() - last_arrived.0.cast_signed();
            let difference = (apart_us / 125 - time.ticks_since(last_time)).unsigned_abs();
            self.sixteenths = self.sixteenths + difference - ((self.sixteenths + 8) >> 4);
        }
    }

    fn ticks(&self) -> u64 {
        self.sixteenths >> 4
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtcp_types::prelude::*;
    use rtcp_types::{ReceiverReport, ReportBlock};

    use super::*;

    fn report_bytes(receiver: &mut Receiver, now: MonoTime) -> Vec<u8> {
        let report = ReceiverReport::builder(1).add_report_block(receiver.report(now));
        let mut bytes = vec![0; report.calculate_size().unwrap()];
        report.write_into(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn wraps_gaps_and_duplicates() {
        let mut receiver = Receiver::new(7, 65_534);
        assert_eq!(receiver.sequence(65_535), Order::Next);
        assert_eq!(receiver.sequence(2), Order::Next);
        assert_eq!(receiver.lost(), 2);
        assert_eq!(receiver.sequence(0), Order::Reordered);
        assert_eq!(receiver.sequence(0), Order::Duplicate);
        assert_eq!(receiver.sequence(2), Order::Duplicate);
        assert_eq!(receiver.lost(), 1);
        assert_eq!(receiver.sequence(65_533), Order::Reordered, "before the first");
        assert_eq!(receiver.lost(), 1);
        assert_eq!(receiver.sequence(2 + MAX_DROPOUT), Order::Stranger);
        assert_eq!(receiver.sequence(2_u16.wrapping_sub(MAX_MISORDER + 1)), Order::Stranger);
        assert_eq!(receiver.lost(), 1);
    }

    #[test]
    fn a_report_tells_the_loss_of_its_interval_and_of_all_time() {
        let mut receiver = Receiver::new(7, 100);
        for seq in (101..=200).filter(|seq| seq % 4 != 0) {
            receiver.sequence(seq);
        }
        receiver.sender_report(MonoTime(1_000_000), 0x1122_3344_5566_7788);
        let bytes = report_bytes(&mut receiver, MonoTime(3_500_000));
        let report = ReportBlock::parse(&bytes[8..]).unwrap();
        assert_eq!(report.ssrc(), 7);
        assert_eq!(report.extended_sequence_number(), 199);
        assert_eq!((report.cumulative_lost(), report.fraction_lost()), (24, (24 * 256 / 100) as u8));
        assert_eq!(report.last_sender_report_timestamp(), 0x3344_5566);
        assert_eq!(report.delay_since_last_sender_report_timestamp(), 65_536 * 5 / 2);
        let bytes = report_bytes(&mut receiver, MonoTime(4_000_000));
        assert_eq!(ReportBlock::parse(&bytes[8..]).unwrap().fraction_lost(), 0);
    }

    #[test]
    fn jitter_of_an_even_stream_is_zero_and_of_an_alternating_one_its_swing() {
        let mut even = Receiver::new(7, 0);
        let mut uneven = Receiver::new(7, 0);
        for n in 0..400_u32 {
            let time = RtpTime((n * 160).wrapping_sub(1_000));
            even.heard(MonoTime(u64::from(n) * 20_000), time);
            uneven.heard(MonoTime(u64::from(n) * 20_000 + u64::from(n % 2) * 4_000), time);
        }
        assert_eq!(even.jitter_us(), 0);
        assert!((3_700..=4_000).contains(&uneven.jitter_us()), "{}", uneven.jitter_us());
    }

    proptest! {
        #[test]
        fn lost_is_what_never_came(start: u16, lost in prop::collection::btree_set(1..299_u16, 0..50), seed: u64) {
            let mut order: Vec<u16> = (0..300).filter(|n| !lost.contains(n)).collect();
            let mut random = fastrand::Rng::with_seed(seed);
            for chunk in order.chunks_mut(40) {
                random.shuffle(chunk);
            }
            let mut receiver: Option<Receiver> = None;
            for n in order.into_iter().map(|n| start.wrapping_add(n)) {
                match &mut receiver {
                    Some(receiver) => prop_assert!(matches!(receiver.sequence(n), Order::Next | Order::Reordered)),
                    none => *none = Some(Receiver::new(1, n)),
                }
            }
            prop_assert_eq!(receiver.unwrap().lost(), lost.len() as u64);
        }
    }
}
