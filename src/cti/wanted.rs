//! Parties that a rule, a routing strategy or a third party wants recorded, until they are: one whose recording does not begin in time
//! is missed while the call is still on, not only in the evening's report. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Now;
use crate::model::MonoTime;

use super::desk::Place;

/// A party that leaves within this time is not missed: the media server had no chance.
const TOO_SHORT: Duration = Duration::from_secs(5);

/// Who wants a party recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// A rule of the box, by its name.
    Rule(String),
    /// A routing strategy, by the extension of an event.
    Strategy,
    /// Somebody who asked the switch, such as an agent desktop.
    ThirdParty,
}

/// A party that is not recorded although somebody wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Where.
    pub place: Place,
    /// Who.
    pub by: By,
    /// For how long it has been connected.
    pub since: Duration,
}

#[derive(Debug)]
struct Wish {
    by: By,
    since: MonoTime,
}

/// More at once are not watched over: a T-Server that makes up calls must not fill the memory.
const MOST: usize = 20_000;

/// All of them.
#[derive(Debug)]
pub struct Wanted {
    /// How long a recording may take to begin.
    missing_after: Duration,
    wishes: BTreeMap<Place, Wish>,
}

impl Wanted {
    /// Nobody is wanted yet.
    pub fn new(missing_after: Duration) -> Wanted {
        Wanted { missing_after, wishes: BTreeMap::new() }
    }

    /// This party is wanted recorded.
    pub fn add(&mut self, now: Now, place: Place, by: By) {
        if self.wishes.len() < MOST {
            self.wishes.entry(place).or_insert(Wish { by, since: now.mono });
        }
    }

    /// Somebody has taken it back.
    pub fn forget(&mut self, place: &Place) {
        self.wishes.remove(place);
    }

    /// The party has left; what is missed by that.
    pub fn left(&mut self, now: Now, place: &Place, is_recorded: impl Fn(&Place, &By) -> bool) -> Option<Missed> {
        let wish = self.wishes.remove(place)?;
        let since = now.mono.since(wish.since);
        (since >= TOO_SHORT && !is_recorded(place, &wish.by)).then(|| Missed { place: place.clone(), by: wish.by, since })
    }

    /// Forgets those that are recorded; gives those that should be by now, each once.
    pub fn overdue(&mut self, now: Now, is_recorded: impl Fn(&Place, &By) -> bool) -> Vec<Missed> {
        self.wishes.retain(|place, wish| !is_recorded(place, &wish.by));
        let missing_after = self.missing_after;
        let late = self.wishes.extract_if(.., |_, wish| wish.since.after(missing_after) <= now.mono);
        late.map(|(place, wish)| Missed { place, by: wish.by, since: now.mono.since(wish.since) }).collect()
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
        let mut wanted = Wanted::new(Duration::from_secs(20));
        ["c1", "c2"].into_iter().for_each(|conn_id| wanted.add(at(0), place(conn_id), By::Rule("all".into())));
        wanted
    }

    #[test]
    fn who_is_not_recorded_in_time_is_missed_once() {
        let mut wanted = wanted();
        let is_recorded = |at: &Place, _: &By| *at == place("c2");
        assert_eq!(wanted.overdue(at(19), is_recorded), []);
        let missed = Missed { place: place("c1"), by: By::Rule("all".into()), since: Duration::from_secs(20) };
        assert_eq!(wanted.overdue(at(20), is_recorded), [missed]);
        assert_eq!(wanted.overdue(at(40), |_, _| false), [], "the other one was recorded, whatever comes later");
        assert_eq!(wanted.left(at(41), &place("c1"), |_, _| false), None);
    }

    #[test]
    fn what_was_taken_back_is_not_missed() {
        let mut wanted = wanted();
        wanted.forget(&place("c1"));
        assert_eq!(wanted.overdue(at(20), |_, _| false).len(), 1);
    }

    #[test]
    fn who_leaves_before_is_missed_unless_it_was_too_short() {
        let mut wanted = wanted();
        assert_eq!(wanted.left(at(4), &place("c1"), |_, _| false), None);
        assert!(wanted.left(at(5), &place("c2"), |_, _| false).is_some());
        let mut wanted = self::wanted();
        assert_eq!(wanted.left(at(9), &place("c2"), |_, _| true), None);
    }
}
