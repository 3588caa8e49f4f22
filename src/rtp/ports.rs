//! Which RTP port pair is next: an even port for RTP and the odd one above it for RTCP (RFC 3550 §11).

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::model::MonoTime;

/// A port that a stream has given back rests: the last packets of the old call must not be heard in the next.
const REST: Duration = Duration::from_secs(10);

/// A port that another program holds is not tried again for this long.
const BUSY: Duration = Duration::from_secs(60);

/// The pairs of a range, taken in turn.
#[derive(Debug)]
pub struct Ports {
    first: u16,
    pairs: Vec<Pair>,
    next: usize,
}

#[derive(Clone, Copy, Debug)]
enum Pair {
    /// Free from then on.
    Free(MonoTime),
    Used,
}

impl Ports {
    /// All whole pairs within `range`.
    pub fn new(range: &RangeInclusive<u16>) -> Ports {
        let first = u32::from(*range.start()).next_multiple_of(2).max(2); // port 0 is no port
        let pairs = (u32::from(*range.end()) + 1).saturating_sub(first) / 2;
        Ports { first: first as u16, pairs: vec![Pair::Free(MonoTime(0)); pairs as usize], next: 0 }
    }

    /// How many pairs there are.
    pub fn pairs(&self) -> usize {
        self.pairs.len()
    }

    /// Takes the next free pair; gives its even port. None: all are in use or resting.
    pub fn take(&mut self, now: MonoTime) -> Option<u16> {
        let len = self.pairs.len();
        let mut in_turn = (0..len).map(|i| (self.next + i) % len);
        let i = in_turn.find(|&i| matches!(self.pairs.get(i), Some(Pair::Free(from)) if *from <= now))?;
        self.set(i, Pair::Used);
        self.next = i + 1;
        Some(self.first + 2 * i as u16)
    }

    /// Takes the pair with this RTP port, though it may rest or lie outside of the range: a restart may have changed that.
    /// False when a stream has it, or when no pair begins at it.
    pub fn take_this(&mut self, port: u16) -> bool {
        let i = self.index(port);
        let is_pair = port != 0 && port.is_multiple_of(2);
        let takes = is_pair && !matches!(self.pairs.get(i), Some(Pair::Used));
        if takes {
            self.set(i, Pair::Used);
        }
        takes
    }

    /// A stream has given its pair back.
    pub fn release(&mut self, port: u16, now: MonoTime) {
        self.set(self.index(port), Pair::Free(now.after(REST)));
    }

    /// Another program holds the pair.
    pub fn busy(&mut self, port: u16, now: MonoTime) {
        self.set(self.index(port), Pair::Free(now.after(BUSY)));
    }

    fn index(&self, port: u16) -> usize {
        usize::from(port.wrapping_sub(self.first) / 2)
    }

    fn set(&mut self, i: usize, state: Pair) {
        if let Some(pair) = self.pairs.get_mut(i) {
            *pair = state;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: MonoTime = MonoTime(1_000_000);

    #[test]
    fn pairs_come_in_turn_and_rest_after_use() {
        let mut ports = Ports::new(&(20_001..=20_007));
        assert_eq!(ports.pairs(), 3);
        assert_eq!(ports.take(T), Some(20_002));
        ports.release(20_002, T);
        assert_eq!(ports.take(T), Some(20_004));
        ports.busy(20_004, T);
        assert_eq!(ports.take(T), Some(20_006));
        assert_eq!(ports.take(T), None);
        assert_eq!(ports.take(T.after(REST)), Some(20_002));
        assert_eq!(ports.take(T.after(REST)), None);
        assert_eq!(ports.take(T.after(BUSY)), Some(20_004));
    }

    #[test]
    fn a_certain_pair_is_taken_once_also_when_it_rests_or_lies_elsewhere() {
        let mut ports = Ports::new(&(20_000..=20_003));
        assert!(ports.take_this(20_000) && !ports.take_this(20_000));
        assert_eq!((ports.take(T), ports.take(T)), (Some(20_002), None));
        assert!(!ports.take_this(20_002));
        ports.release(20_002, T);
        assert!(ports.take_this(20_002));
        assert_eq!([0, 20_001, u16::MAX].map(|port| ports.take_this(port)), [false; 3]);
        for elsewhere in [19_998, 20_004] {
            assert!(ports.take_this(elsewhere));
            ports.release(elsewhere, T);
        }
        assert_eq!(ports.take(T.after(BUSY)), None, "a port from elsewhere does not get into the range");
    }

    #[test]
    fn the_whole_range_and_none() {
        assert_eq!(Ports::new(&(0..=u16::MAX)).pairs(), 32_767);
        let mut top = Ports::new(&(65_533..=u16::MAX));
        assert_eq!((top.take(T), top.take(T)), (Some(65_534), None));
        assert_eq!(Ports::new(&(20_001..=20_002)).take(T), None);
        assert_eq!(Ports::new(&RangeInclusive::new(9, 3)).take(T), None);
    }
}
