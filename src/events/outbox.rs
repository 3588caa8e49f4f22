//! What waits for the broker, in order: where in the file it stands, what is under way, what had to be dropped. Pure.
//!
//! The content stays in the file; here are a few words per event. When more waits than there is room for, the oldest goes: a
//! consumer can still find the recordings themselves in the bucket, and the status says how many events were lost.

use std::collections::VecDeque;

/// What may wait, in bytes: some 60,000 events, a day of a busy box.
pub const MOST_BYTES: u64 = 32 << 20;
/// How many go before the first is acknowledged; brokers allow 20 and more (MQTT 5.0 §3.2.2.3.3, Receive Maximum).
const WINDOW: usize = 16;
/// The file is written anew when so much of it is of no use any more, and more than is of use.
const LEAST_WASTE_BYTES: u64 = 1 << 20;

/// An event in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number since the start.
    pub no: u64,
    /// Its first byte.
    pub offset: u64,
    /// How many, without the end of line.
    pub bytes: u32,
}

/// What waits.
#[derive(Debug)]
pub struct Outbox {
    waiting: VecDeque<Place>,
    /// So many of them, from the first on, are under way.
    under_way: usize,
    waiting_bytes: u64,
    most_bytes: u64,
    /// Length of the file.
    end: u64,
    next_no: u64,
    lost: u64,
}

impl Outbox {
    /// Nothing waits.
    pub fn new(most_bytes: u64) -> Outbox {
        Outbox { waiting: VecDeque::new(), under_way: 0, waiting_bytes: 0, most_bytes, end: 0, next_no: 0, lost: 0 }
    }

    /// An event was written at the end of the file.
    pub fn push(&mut self, bytes: u32) {
        self.waiting.push_back(Place { no: self.next_no, offset: self.end, bytes });
        self.next_no += 1;
        self.end += u64::from(bytes) + 1;
        self.waiting_bytes += u64::from(bytes);
        while self.waiting_bytes > self.most_bytes && self.remove(0) {
            self.lost += 1;
        }
    }

    /// The next that may go, which is under way from now on.
    pub fn take_next(&mut self) -> Option<Place> {
        let next = self.waiting.get(self.under_way).copied().filter(|_| self.under_way < WINDOW)?;
        self.under_way += 1;
        Some(next)
    }

    /// The broker has it; one that was dropped meanwhile is not known any more.
    pub fn acknowledged(&mut self, no: u64) {
        if let Some(at) = self.waiting.iter().take(self.under_way).position(|known| known.no == no) {
            self.remove(at);
        }
    }

    /// The connection is gone: nothing is under way.
    pub fn disconnected(&mut self) {
        self.under_way = 0;
    }

    /// Events that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many had to be dropped.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// One could not be written.
    pub fn lose(&mut self) {
        self.lost += 1;
    }

    /// Length of the file, as far as it is known to be good.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Everything that waits, when the file is to be written anew with only that.
    pub fn to_rewrite(&self) -> Option<Vec<Place>> {
        let waste = self.end.saturating_sub(self.waiting_bytes + self.waiting.len() as u64);
        let due = waste > 0 && self.is_empty() || waste > LEAST_WASTE_BYTES.max(self.waiting_bytes);
        due.then(|| self.waiting.iter().copied().collect())
    }

    /// The file was written anew.
    pub fn rewritten(&mut self) {
        self.end = 0;
        for place in &mut self.waiting {
            place.offset = self.end;
            self.end += u64::from(place.bytes) + 1;
        }
    }

    fn remove(&mut self, at: usize) -> bool {
        let Some(place) = self.waiting.remove(at) else { return false };
        self.waiting_bytes = self.waiting_bytes.saturating_sub(u64::from(place.bytes));
        if at < self.under_way {
            self.under_way -= 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_as_many_as_the_window_and_again_after_a_break() {
        let mut outbox = Outbox::new(MOST_BYTES);
        (0..20).for_each(|_| outbox.push(9));
        let first: Vec<u64> = std::iter::from_fn(|| outbox.take_next()).map(|place| place.offset).collect();
        assert_eq!(first, (0..16).map(|n| n * 10).collect::<Vec<_>>());
        outbox.acknowledged(0);
        assert_eq!(outbox.take_next().map(|place| place.offset), Some(160));
        outbox.disconnected();
        outbox.acknowledged(2); // too late to count
        assert_eq!((outbox.take_next().map(|place| place.no), outbox.len()), (Some(1), 19));
    }

    #[test]
    fn the_oldest_goes_when_there_is_no_room() {
        let mut outbox = Outbox::new(30);
        (0..4).for_each(|_| outbox.push(9));
        let gone = outbox.take_next().unwrap();
        assert_eq!((gone.offset, outbox.len(), outbox.lost()), (10, 3, 1));
        outbox.push(9);
        assert_eq!((outbox.len(), outbox.lost()), (3, 2));
        outbox.acknowledged(gone.no);
        assert_eq!(outbox.take_next().map(|place| place.offset), Some(20), "the window was moved along");
    }

    #[test]
    fn a_file_of_which_little_is_of_use_is_written_anew() {
        let mut outbox = Outbox::new(MOST_BYTES);
        (0..3_000).for_each(|_| outbox.push(1_000));
        assert_eq!(outbox.to_rewrite(), None);
        for _ in 0..2_000 {
            let place = outbox.take_next().unwrap();
            outbox.acknowledged(place.no);
        }
        let under_way = outbox.take_next().unwrap();
        let kept = outbox.to_rewrite().unwrap();
        assert_eq!((kept.len(), kept[0]), (1_000, under_way));
        outbox.rewritten();
        assert_eq!(outbox.end(), 1_001_000);
        outbox.acknowledged(under_way.no);
        assert_eq!((outbox.len(), outbox.to_rewrite()), (999, None));
    }

    #[test]
    fn an_empty_one_leaves_an_empty_file() {
        let mut outbox = Outbox::new(MOST_BYTES);
        assert_eq!(outbox.to_rewrite(), None);
        outbox.push(9);
        outbox.take_next();
        outbox.acknowledged(0);
        assert_eq!(outbox.to_rewrite(), Some(vec![]));
        outbox.rewritten();
        assert_eq!((outbox.end(), outbox.to_rewrite()), (0, None));
    }
}
