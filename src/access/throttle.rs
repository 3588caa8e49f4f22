//! How often somebody may be wrong: a few times, then ever less often. By the address (an IPv6 network as one), so that nobody can lock out a
//! user of another place. Pure; takes no more memory than its table.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::model::MonoTime;

/// Mistakes that cost nothing.
const FREE: u32 = 5;
/// The wait behind the first that does; it doubles with each.
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(300);
/// After so long without a mistake all is forgiven.
const FORGIVEN: Duration = Duration::from_secs(900);
/// Addresses that are remembered; the one that was wrong longest ago goes first.
const MOST: usize = 1_000;

/// Who was wrong lately.
#[derive(Debug, Default)]
pub struct Throttle {
    wrong: Vec<Wrong>,
}

#[derive(Debug)]
struct Wrong {
    who: IpAddr,
    times: u32,
    last: MonoTime,
}

impl Throttle {
    /// How long this address must wait before it may try; none: it may.
    pub fn wait(&self, now: MonoTime, from: IpAddr) -> Option<Duration> {
        let wrong = self.wrong.iter().find(|wrong| wrong.who == network(from))?;
        let until = wrong.last.after(pause(wrong.times)?);
        (now < until).then(|| until.since(now))
    }

    /// It was wrong. True: from now on it must wait, and did not before.
    pub fn wrong(&mut self, now: MonoTime, from: IpAddr) -> bool {
        self.wrong.retain(|wrong| now.since(wrong.last) < FORGIVEN);
        let who = network(from);
        let times = match self.wrong.iter().position(|wrong| wrong.who == who) {
            Some(at) => self.wrong.remove(at).times.saturating_add(1),
            None => 1,
        };
        if self.wrong.len() >= MOST {
            self.wrong.remove(0);
        }
        self.wrong.push(Wrong { who, times, last: now });
        times == FREE + 1
    }

    /// It was right.
    pub fn right(&mut self, from: IpAddr) {
        self.wrong.retain(|wrong| wrong.who != network(from));
    }
}

fn pause(times: u32) -> Option<Duration> {
    let dear = times.checked_sub(FREE + 1)?;
    Some(FIRST.saturating_mul(1 << dear.min(16)).min(LONGEST))
}

/// A customer has a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        },
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> MonoTime {
        MonoTime(s * 1_000_000)
    }

    #[test]
    fn a_few_mistakes_are_free_then_each_costs_twice_the_last() {
        let (mut throttle, here) = (Throttle::default(), IpAddr::from([10, 0, 0, 1]));
        for _ in 0..FREE {
            assert!(!throttle.wrong(at(1), here));
            assert_eq!(throttle.wait(at(1), here), None);
        }
        assert!(throttle.wrong(at(1), here), "this is told once");
        assert_eq!(throttle.wait(at(2), here), Some(Duration::from_secs(1)));
        assert_eq!(throttle.wait(at(3), here), None);
        assert!(!throttle.wrong(at(3), here));
        assert_eq!(throttle.wait(at(3), here), Some(Duration::from_secs(4)));
        for _ in 0..100 {
            throttle.wrong(at(4), here);
        }
        assert_eq!(throttle.wait(at(4), here), Some(LONGEST));
        assert_eq!(throttle.wait(at(4), IpAddr::from([10, 0, 0, 2])), None, "others are not to blame");
        throttle.right(here);
        assert_eq!(throttle.wait(at(4), here), None);
    }

    #[test]
    fn what_is_long_ago_is_forgiven_and_the_table_has_an_end() {
        let (mut throttle, here) = (Throttle::default(), IpAddr::from([10, 0, 0, 1]));
        for _ in 0..=FREE {
            throttle.wrong(at(0), here);
        }
        assert!(!throttle.wrong(at(1_000), here) && throttle.wait(at(1_000), here).is_none());
        for n in 0..3_000_u32 {
            throttle.wrong(at(1_001), IpAddr::from(n.to_be_bytes()));
        }
        assert_eq!(throttle.wrong.len(), MOST);
    }

    #[test]
    fn a_network_of_ipv6_is_one_and_a_mapped_address_is_the_old_one() {
        let v6 = |text: &str| network(text.parse().unwrap());
        assert_eq!(v6("2001:db8::1"), v6("2001:db8::ffff:1:2"));
        assert_ne!(v6("2001:db8::1"), v6("2001:db8:0:1::1"));
        assert_eq!(v6("::ffff:10.0.0.1"), IpAddr::from([10, 0, 0, 1]));
    }
}
