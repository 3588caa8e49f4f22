//! When who is due: one deadline per key, the earliest first.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::MonoTime;

/// Deadlines of many keyed things.
#[derive(Debug)]
pub struct Deadlines<K> {
    by_key: BTreeMap<K, MonoTime>,
    in_order: BTreeSet<(MonoTime, K)>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Deadlines<K> {
        Deadlines { by_key: BTreeMap::new(), in_order: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Deadlines<K> {
    /// Sets, moves or (with none) removes the deadline of `key`.
    pub fn set(&mut self, key: K, at: Option<MonoTime>) {
        let before = match at {
            Some(at) => self.by_key.insert(key.clone(), at),
            None => self.by_key.remove(&key),
        };
        if let Some(before) = before {
            self.in_order.remove(&(before, key.clone()));
        }
        self.in_order.extend(at.map(|at| (at, key)));
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<MonoTime> {
        self.in_order.first().map(|(at, _)| *at)
    }

    /// Takes one key out that is due at `now`.
    pub fn pop_due(&mut self, now: MonoTime) -> Option<K> {
        self.in_order.first().filter(|(at, _)| *at <= now)?;
        let (_, key) = self.in_order.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earliest_first_and_one_per_key() {
        let mut deadlines = Deadlines::default();
        deadlines.set('a', Some(MonoTime(30)));
        deadlines.set('b', Some(MonoTime(20)));
        deadlines.set('c', Some(MonoTime(20)));
        deadlines.set('a', Some(MonoTime(10)));
        deadlines.set('b', None);
        assert_eq!(deadlines.next(), Some(MonoTime(10)));
        assert_eq!(deadlines.pop_due(MonoTime(9)), None);
        assert_eq!(deadlines.pop_due(MonoTime(25)), Some('a'));
        assert_eq!(deadlines.pop_due(MonoTime(25)), Some('c'));
        assert_eq!((deadlines.pop_due(MonoTime(99)), deadlines.next()), (None, None));
    }
}
