//! Where each leg lies on the recording's common clock. Pure.
//!
//! Blocks are placed by the time their packets arrived, so two legs differ by what their first packets lost on the way. RTCP
//! sender reports (RFC 3550 §6.4.1) tie a place on the time line to the sender's own NTP clock: where two legs come from the
//! same host, that clock tells how far apart they really are. A leg is then moved as a whole, by whole samples: bits never
//! change. It is always moved later, because what would be moved before the start of the call would be cut off.
//!
//! This takes out a constant difference, not the drift of clocks that run at different speeds.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::recording::ClockPoint;
use crate::model::{BLOCK_BYTES, Leg, LegNo, Mask, MaskKind, MediaTime};

/// The most a leg is moved, in samples: half a second. What senders report beyond that is their mistake, not delay.
pub const MAX_SHIFT: i64 = BLOCK_BYTES as i64;

/// How many samples (0 ..= [`MAX_SHIFT`]) each leg is moved later. A leg that is missing here stays where its packets arrived:
/// without reports, without another leg of the same host, or with reports that cannot be true.
pub fn shifts(legs: &[Leg]) -> BTreeMap<LegNo, i64> {
    let mut hosts: BTreeMap<IpAddr, Vec<(LegNo, u64)>> = BTreeMap::new();
    for leg in legs {
        if let Some(origin) = ntp_of_origin(&leg.clock) {
            hosts.entry(leg.remote.ip()).or_default().push((leg.no, origin));
        }
    }
    hosts.values().flat_map(|host| shifts_of_host(host)).collect()
}

/// By how many samples a mask moves with what it masks. Where that is several legs, as far as is silent in all of them.
pub fn shift_of_mask(mask: &Mask, legs: &[Leg], shifts: &BTreeMap<LegNo, i64>) -> i64 {
    let concerned = legs.iter().map(|leg| leg.no).filter(|no| mask.leg.is_none_or(|leg| leg == *no));
    let moved = concerned.map(|no| shifts.get(&no).copied().unwrap_or(0));
    match mask.kind {
        MaskKind::Paused => moved.max(),
        MaskKind::Resumed => moved.min(),
    }
    .unwrap_or(0)
}

/// `origins`: what NTP time it was at place 0 of each leg. The greater, the earlier the leg stands, compared with the others.
fn shifts_of_host(origins: &[(LegNo, u64)]) -> Vec<(LegNo, i64)> {
    let [(_, reference), _, ..] = *origins else { return Vec::new() };
    let offsets: Vec<_> =
        origins.iter().map(|(leg, origin)| (*leg, samples(origin.wrapping_sub(reference).cast_signed()))).collect();
    let least = offsets.iter().map(|(_, offset)| *offset).min().unwrap_or(0);
    let shifts: Vec<_> = offsets.into_iter().map(|(leg, offset)| (leg, offset - least)).collect();
    if shifts.iter().any(|(_, shift)| *shift > MAX_SHIFT) { Vec::new() } else { shifts }
}

/// The NTP time (32.32 bits) of place 0, from the first and the latest report: their middle, so that a drift in between
/// counts half on each end.
fn ntp_of_origin(points: &[ClockPoint]) -> Option<u64> {
    let mut origins = points.iter().filter(|p| is_plausible(p)).map(|p| p.ntp.wrapping_sub(ntp_units(p.at)));
    let first = origins.next()?;
    let last = origins.next_back().unwrap_or(first);
    Some(first.wrapping_add((last.wrapping_sub(first).cast_signed() / 2).cast_unsigned()))
}

/// A report speaks of the moment it was sent; some senders fill in an RTP timestamp that has nothing to do with it.
fn is_plausible(point: &ClockPoint) -> bool {
    point.ntp != 0 && point.arrived.0.abs_diff(point.at.0) <= MAX_SHIFT.unsigned_abs()
}

/// Samples as 2⁻³² s, modulo 2⁶⁴ like NTP time itself.
fn ntp_units(at: MediaTime) -> u64 {
    ((i128::from(at.0) << 32) / i128::from(MediaTime::RATE)) as u64
}

/// 2⁻³² s as samples, to the nearest.
fn samples(ntp: i64) -> i64 {
    let scaled = i128::from(ntp) * i128::from(MediaTime::RATE) + (1 << 31);
    (scaled >> 32) as i64 // |ntp| < 2⁶³, so this is below 8,000 × 2³¹
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finish::testing::leg;
    use crate::model::{Channel, WallTime};

    const NTP: u64 = 0xE9A1_0000_0000_0000;

    fn point(ntp_ms: i64, at: i64) -> ClockPoint {
        let ntp = NTP.wrapping_add_signed((ntp_ms << 32) / 1_000);
        ClockPoint { ssrc: 1, ntp, at: MediaTime(at), arrived: MediaTime(at + 40) }
    }

    fn with_clock(no: u8, points: &[ClockPoint]) -> Leg {
        Leg { clock: points.to_vec(), ..leg(no, Channel::Recorded) }
    }

    fn shifts_of(legs: &[Leg]) -> Vec<(u8, i64)> {
        shifts(legs).into_iter().map(|(no, shift)| (no.0, shift)).collect()
    }

    #[test]
    fn the_leg_that_came_with_less_delay_is_moved_later() {
        // The same instant of the sender stands at 8,000 in leg 0, at 8,240 in leg 1: leg 1 came 30 ms later.
        let legs = [with_clock(0, &[point(1_000, 8_000)]), with_clock(1, &[point(1_000, 8_240)])];
        assert_eq!(shifts_of(&legs), [(0, 240), (1, 0)]);
    }

    #[test]
    fn first_and_latest_report_count_half_each() {
        let legs = [
            with_clock(0, &[point(0, 0), point(10_000, 80_000)]),
            with_clock(1, &[point(0, 100), point(10_000, 80_300)]), // 12.5 ms at first, 37.5 ms at the end
        ];
        assert_eq!(shifts_of(&legs), [(0, 200), (1, 0)]);
    }

    #[test]
    fn one_leg_alone_or_another_host_says_nothing() {
        assert_eq!(shifts_of(&[with_clock(0, &[point(0, 0)]), leg(1, Channel::Other)]), []);
        let mut elsewhere = with_clock(1, &[point(0, 400)]);
        elsewhere.remote = "192.0.2.77:4000".parse().unwrap();
        assert_eq!(shifts_of(&[with_clock(0, &[point(0, 0)]), elsewhere]), []);
    }

    #[test]
    fn what_cannot_be_true_is_not_believed() {
        let half_a_second = [with_clock(0, &[point(0, 0)]), with_clock(1, &[point(0, 4_000)])];
        assert_eq!(shifts_of(&half_a_second), [(0, 4_000), (1, 0)]);
        let more = [with_clock(0, &[point(0, 0)]), with_clock(1, &[point(0, 4_001)])];
        assert_eq!(shifts_of(&more), []);
        let stale = ClockPoint { arrived: MediaTime(9_000), ..point(0, 100) };
        assert_eq!(shifts_of(&[with_clock(0, &[point(0, 0)]), with_clock(1, &[stale])]), []);
        let absurd = ClockPoint { ssrc: 0, ntp: u64::MAX, at: MediaTime(i64::MIN), arrived: MediaTime(i64::MIN) };
        assert_eq!(shifts_of(&[with_clock(0, &[point(0, 0)]), with_clock(1, &[absurd])]).len() % 2, 0);
    }

    #[test]
    fn the_ntp_era_may_end_in_mid_call() {
        let before = ClockPoint { ssrc: 1, ntp: u64::MAX - (1 << 31), at: MediaTime(0), arrived: MediaTime(0) };
        let after = ClockPoint { ssrc: 2, ntp: 1 << 31, at: MediaTime(8_080), arrived: MediaTime(8_080) };
        assert_eq!(shifts_of(&[with_clock(0, &[before]), with_clock(1, &[after])]), [(0, 80), (1, 0)]);
    }

    #[test]
    fn a_mask_lies_where_all_of_its_legs_are_silent() {
        let legs = [leg(0, Channel::Recorded), leg(1, Channel::Other)];
        let shifts = [(LegNo(0), 240)].into();
        let mask = |kind, leg| Mask { time: WallTime(0), kind, leg };
        let shift = |kind, leg| shift_of_mask(&mask(kind, leg), &legs, &shifts);
        assert_eq!([shift(MaskKind::Paused, None), shift(MaskKind::Resumed, None)], [240, 0]);
        assert_eq!([0, 1].map(|no| shift(MaskKind::Resumed, Some(LegNo(no)))), [240, 0]);
    }
}
