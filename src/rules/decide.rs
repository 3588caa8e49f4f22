//! Which rule counts for a call, what it wants done, and the way there.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Action, Calendar, Condition, Rule};
use crate::model::{CallFacts, CallUuid, Direction, DnRange, DnType};

/// The rules in force, with the calendars that they name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    rules: Vec<Rule>,
    calendars: Vec<Calendar>,
}

/// What is to be done with a call, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The rule that matched; none: no rule did, and the call is recorded if somebody else has it recorded.
    pub rule: Option<String>,
    /// What is to be done.
    pub action: Action,
    /// The rules that were asked, in order; the last one is the one that matched, if any did.
    pub steps: Vec<Step>,
}

/// What one rule said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its name.
    pub rule: String,
    /// The first condition that does not hold; none: it matches.
    pub failed: Option<Mismatch>,
}

/// A condition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Its key in the configuration.
    pub condition: &'static str,
    /// What the rule asks for.
    pub wanted: String,
    /// What the call has; none: it is not known.
    pub found: Option<String>,
}

impl Rules {
    /// Rules in their order, and the calendars that they name.
    pub fn new(rules: Vec<Rule>, calendars: Vec<Calendar>) -> Rules {
        Rules { rules, calendars }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.rules.len()
    }

    /// What is to be done with the call.
    pub fn decide(&self, facts: &CallFacts) -> Decision {
        let mut steps = Vec::new();
        for rule in &self.rules {
            let failed = self.mismatch(rule, facts);
            let matches = failed.is_none();
            steps.push(Step { rule: rule.name.clone(), failed });
            if matches {
                return Decision { rule: Some(rule.name.clone()), action: rule.then.clone(), steps };
            }
        }
        Decision { rule: None, action: Action::default(), steps }
    }

    /// The first condition that does not hold; the share comes last, since it is of the calls for which all else holds.
    fn mismatch(&self, rule: &Rule, facts: &CallFacts) -> Option<Mismatch> {
        let when = &rule.when;
        let in_ranges = |dn: &str, ranges: &[DnRange]| ranges.iter().any(|range| range.contains(dn));
        let begins = |number: &str, prefixes: &[String]| prefixes.iter().any(|prefix| number.starts_with(prefix.as_str()));
        let (dn, other_dn) = (facts.dn.as_deref(), facts.other_dn.as_deref());
        check("tenant", &when.tenant, Some(&*facts.tenant.0), |id, ids| ids.iter().any(|known| *known.0 == *id))
            .or_else(|| {
                let switch = facts.switch.as_ref().map(|id| &*id.0);
                check("switch", &when.switch, switch, |id, ids| ids.iter().any(|known| *known.0 == *id))
            })
            .or_else(|| check("dn", &when.dn, dn, in_ranges))
            .or_else(|| {
                let named = |name: &str, types: &[DnType]| types.iter().any(|kind| kind.name() == name);
                check("dn_type", &when.dn_type, facts.dn_type.map(DnType::name), named)
            })
            .or_else(|| check("other_dn", &when.other_dn, other_dn, in_ranges))
            .or_else(|| check("agent", &when.agent, facts.agent.as_deref(), |agent, list| list.iter().any(|a| a == agent)))
            .or_else(|| check("ani", &when.ani, facts.ani.as_deref(), begins))
            .or_else(|| check("dnis", &when.dnis, facts.dnis.as_deref(), begins))
            .or_else(|| {
                let named = |name: &str, list: &[Direction]| list.iter().any(|direction| direction.name() == name);
                check("direction", &when.direction, facts.direction.map(Direction::name), named)
            })
            .or_else(|| attached(when, facts))
            .or_else(|| self.time(when, facts))
            .or_else(|| share(rule, facts.call_uuid.as_ref()))
    }

    fn time(&self, when: &Condition, facts: &CallFacts) -> Option<Mismatch> {
        let calendar = |name: &str| self.calendars.iter().find(|calendar| calendar.name == name);
        let fails = |name: &str, wanted: bool| match calendar(name) {
            Some(calendar) if calendar.holds(facts.at) == wanted => None,
            Some(calendar) => Some(calendar.shown(facts.at)),
            None => Some("no such calendar".into()),
        };
        let mismatch = |condition, name: &String, wanted| {
            fails(name, wanted).map(|found| Mismatch { condition, wanted: name.clone(), found: Some(found) })
        };
        let during = when.during.as_ref().and_then(|name| mismatch("during", name, true));
        during.or_else(|| when.outside.as_ref().and_then(|name| mismatch("outside", name, false)))
    }
}

/// Holds a fact against a list; an empty list holds for every call.
fn check<T: Shown>(
    condition: &'static str,
    wanted: &[T],
    fact: Option<&str>,
    holds: impl Fn(&str, &[T]) -> bool,
) -> Option<Mismatch> {
    if wanted.is_empty() || fact.is_some_and(|fact| holds(fact, wanted)) {
        return None;
    }
    let wanted = wanted.iter().map(Shown::shown).collect::<Vec<_>>().join(", ");
    Some(Mismatch { condition, wanted, found: fact.map(str::to_owned) })
}

fn attached(when: &Condition, facts: &CallFacts) -> Option<Mismatch> {
    let fails = |(key, values): (&String, &Vec<String>)| {
        let found = facts.attached.get(key);
        let holds = found.is_some_and(|value| values.contains(value));
        let wanted = || format!("{key} = {}", values.join(", "));
        (!holds).then(|| Mismatch {
            condition: "attached",
            wanted: wanted(),
            found: found.map(|value| format!("{key} = {value}")),
        })
    };
    when.attached.iter().find_map(fails)
}

/// A call without CallUUID is in every share: rather one recording too many than one too few.
fn share(rule: &Rule, call_uuid: Option<&CallUuid>) -> Option<Mismatch> {
    let (share, uuid) = (rule.when.share_percent?, call_uuid?);
    let place = place_in_hundred(&rule.name, uuid);
    let wanted = format!("places 0 to {} of 100", share - 1);
    (place >= share).then(|| Mismatch { condition: "share_percent", wanted, found: Some(format!("place {place}")) })
}

/// Where in a hundred a call stands for a rule: by SHA-256 of the rule's name, a zero byte and the CallUUID, so that every box
/// and every release says the same, and that two rules draw independently of each other.
fn place_in_hundred(rule: &str, uuid: &CallUuid) -> u8 {
    let hash = Sha256::new().chain_update(rule).chain_update([0]).chain_update(&*uuid.0).finalize();
    let number = hash.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    u8::try_from(number % 100).unwrap_or(0) // below 100 by the modulus
}

/// An entry of a condition's list, as it is written.
trait Shown {
    fn shown(&self) -> String;
}

macro_rules! shown {
    ($($name:ty: $shown:expr),*) => {$(
        impl Shown for $name {
            fn shown(&self) -> String {
                let shown: fn(&$name) -> String = $shown;
                shown(self)
            }
        }
    )*};
}
shown!(
    DnRange: ToString::to_string,
    String: |text| text.clone(),
    DnType: |kind| kind.name().into(),
    Direction: |direction| direction.name().into(),
    crate::model::TenantId: ToString::to_string,
    crate::model::SwitchId: ToString::to_string
);
