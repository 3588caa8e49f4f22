//! Parties that a rule wants recorded, until they are: one whose recording does not begin in time is missed while the call is still
//! on, not only in the evening's report. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Now;
use crate::model::MonoTime;

use super::desk::Place;

/// How long a recording may take to begin: three tries at the switch and a media server that is slow.
pub const MISSING_AFTER: Duration = Duration::from_secs(20);

/// A party that leaves within this time is not missed: the media server had no chance.
const TOO_SHORT: Duration = Duration::from_secs(5);

/// A party that is not recorded although a rule wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Where.
    pub place: Place,
    /// The rule.
    pub rule: String,
    /// For how long it has been connected.
    pub since: Duration,
}

#[derive(Debug)]
struct Wish {
    rule: String,
    since: MonoTime,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Wanted {
    wishes: BTreeMap<Place, Wish>,
}

impl Wanted {
    /// A rule wants this party recorded.
    pub fn add(&mut self, now: Now, place: Place, rule: &str) {
        self.wishes.entry(place).or_insert(Wish { rule: rule.to_owned(), since: now.mono });
    }

    /// The party has left; what is missed by that.
    pub fn left(&mut self, now: Now, place: &Place, is_recorded: impl Fn(&Place) -> bool) -> Option<Missed> {
        let wish = self.wishes.remove(place)?;
        let since = now.mono.since(wish.since);
        (since >= TOO_SHORT && !is_recorded(place)).then(|| Missed { place: place.clone(), rule: wish.rule, since })
    }

    /// Forgets those that are recorded; gives those that should be by now, each once.
    pub fn overdue(&mut self, now: Now, is_recorded: impl Fn(&Place) -> bool) -> Vec<Missed> {
        self.wishes.retain(|place, _| !is_recorded(place));
        let late = self.wishes.extract_if(.., |_, wish| wish.since.after(MISSING_AFTER) <= now.mono);
        late.map(|(place, wish)| Missed { place, rule: wish.rule, since: now.mono.since(wish.since) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cti::board::LinkNo;
    use crate::model::WallTime;

    fn at(seconds: u64) -> Now {
        Now { mono: MonoTime(seconds * 1_000_000), wall: WallTime(0) }
    }

    fn place(conn_id: &str) -> Place {
        Place { link: LinkNo(0), conn_id: conn_id.into(), dn: "7001".into() }
    }

    fn wanted() -> Wanted {
        let mut wanted = Wanted::default();
        ["c1", "c2"].into_iter().for_each(|conn_id| wanted.add(at(0), place(conn_id), "all"));
        wanted
    }

    #[test]
    fn who_is_not_recorded_in_time_is_missed_once() {
        let mut wanted = wanted();
        let is_recorded = |at: &Place| *at == place("c2");
        assert_eq!(wanted.overdue(at(19), is_recorded), []);
        let missed = Missed { place: place("c1"), rule: "all".into(), since: Duration::from_secs(20) };
        assert_eq!(wanted.overdue(at(20), is_recorded), [missed]);
        assert_eq!(wanted.overdue(at(40), |_| false), [], "the other one was recorded, whatever comes later");
        assert_eq!(wanted.left(at(41), &place("c1"), |_| false), None);
    }

    #[test]
    fn who_leaves_before_is_missed_unless_it_was_too_short() {
        let mut wanted = wanted();
        assert_eq!(wanted.left(at(4), &place("c1"), |_| false), None);
        assert!(wanted.left(at(5), &place("c2"), |_| false).is_some());
        let mut wanted = self::wanted();
        assert_eq!(wanted.left(at(9), &place("c2"), |_| true), None);
    }
}
