//! Which rules can never match: those that contradict themselves, and those whose calls are all taken by earlier ones.
//!
//! A rule is taken by an earlier one that asks for no more in every condition, or by several that do so together in one
//! condition: `7001-7049` after `7001-7020` and `7021-7049`. What is not found is only a rule that several earlier ones take
//! together in more than one condition.

use super::{Calendar, Condition, Rule};
use crate::model::{DnRange, SwitchId, TenantId};

/// A rule that can never match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// Its place in the list.
    pub rule: usize,
    /// Why.
    pub why: String,
}

/// The rules that can never match. `owner`: the tenant that a switch belongs to, where that is known.
pub fn unreachable(rules: &[Rule], calendars: &[Calendar], owner: impl Fn(&SwitchId) -> Option<TenantId>) -> Vec<Unreachable> {
    let why = |n: usize, rule: &Rule| contradiction(&rule.when, calendars, &owner).or_else(|| shadowed(&rules[..n], rule));
    rules.iter().enumerate().filter_map(|(n, rule)| Some(Unreachable { rule: n, why: why(n, rule)? })).collect()
}

fn contradiction(when: &Condition, calendars: &[Calendar], owner: &impl Fn(&SwitchId) -> Option<TenantId>) -> Option<String> {
    let calendar = |name: &Option<String>| name.as_ref().and_then(|name| calendars.iter().find(|c| c.name == *name));
    if when.during.is_some() && when.during == when.outside {
        return Some("no call is both during and outside one calendar".into());
    }
    if let Some(always) = calendar(&when.outside).filter(|calendar| calendar.is_always()) {
        return Some(format!("no call is outside calendar {:?}, which has all days and hours", always.name));
    }
    let of_other = |switch: &SwitchId| owner(switch).is_some_and(|tenant| !when.tenant.contains(&tenant));
    let foreign = !when.tenant.is_empty() && !when.switch.is_empty() && when.switch.iter().all(of_other);
    foreign.then(|| "none of its switches belongs to one of its tenants".into())
}

fn shadowed(earlier: &[Rule], rule: &Rule) -> Option<String> {
    let takes_all = |earlier: &&Rule| earlier.when.share_percent.is_none_or(|share| share >= 100);
    let missed =
        |earlier: &Rule| -> Vec<usize> { (0..ASPECTS.len()).filter(|n| !ASPECTS[*n](&[&earlier.when], &rule.when)).collect() };
    let earlier: Vec<(&Rule, Vec<usize>)> = earlier.iter().filter(takes_all).map(|e| (e, missed(e))).collect();
    if let Some((by, _)) = earlier.iter().find(|(_, missed)| missed.is_empty()) {
        return Some(format!("every call that it is for is taken by rule {:?} before", by.name));
    }
    let together = |aspect: usize| {
        let takers: Vec<&Rule> = earlier.iter().filter(|(_, missed)| *missed == [aspect]).map(|(rule, _)| *rule).collect();
        let conditions: Vec<&Condition> = takers.iter().map(|rule| &rule.when).collect();
        (takers.len() > 1 && ASPECTS[aspect](&conditions, &rule.when)).then_some(takers)
    };
    let takers = (0..ASPECTS.len()).find_map(together)?;
    let names: Vec<String> = takers.iter().map(|rule| format!("{:?}", rule.name)).collect();
    Some(format!("every call that it is for is taken by rules {} before", names.join(", ")))
}

/// In one aspect: whether the earlier conditions together hold wherever the later one does.
type Aspect = fn(&[&Condition], &Condition) -> bool;

const ASPECTS: [Aspect; 12] = [
    |earlier, later| ranges(earlier, later, |c| &c.dn),
    |earlier, later| ranges(earlier, later, |c| &c.other_dn),
    |earlier, later| list(earlier, later, |c| &c.dn_type, PartialEq::eq),
    |earlier, later| list(earlier, later, |c| &c.agent, PartialEq::eq),
    |earlier, later| list(earlier, later, |c| &c.ani, |short, long| long.starts_with(short.as_str())),
    |earlier, later| list(earlier, later, |c| &c.dnis, |short, long| long.starts_with(short.as_str())),
    |earlier, later| list(earlier, later, |c| &c.direction, PartialEq::eq),
    |earlier, later| list(earlier, later, |c| &c.tenant, PartialEq::eq),
    |earlier, later| list(earlier, later, |c| &c.switch, PartialEq::eq),
    |earlier, later| earlier.iter().any(|e| e.during.is_none() || e.during == later.during),
    |earlier, later| earlier.iter().any(|e| e.outside.is_none() || e.outside == later.outside),
    |earlier, later| earlier.iter().any(|e| attached(e, later)),
];

fn list<T>(
    earlier: &[&Condition],
    later: &Condition,
    of: impl Fn(&Condition) -> &Vec<T>,
    takes: impl Fn(&T, &T) -> bool,
) -> bool {
    if earlier.iter().any(|e| of(e).is_empty()) {
        return true;
    }
    let taken = |entry: &T| earlier.iter().flat_map(|e| of(e)).any(|e| takes(e, entry));
    !of(later).is_empty() && of(later).iter().all(taken)
}

fn ranges(earlier: &[&Condition], later: &Condition, of: impl Fn(&Condition) -> &Vec<DnRange>) -> bool {
    if earlier.iter().any(|e| of(e).is_empty()) {
        return true;
    }
    let takers: Vec<&DnRange> = earlier.iter().flat_map(|e| of(e)).collect();
    !of(later).is_empty() && of(later).iter().all(|range| range.is_covered_by(&takers))
}

fn attached(earlier: &Condition, later: &Condition) -> bool {
    earlier
        .attached
        .iter()
        .all(|(key, values)| later.attached.get(key).is_some_and(|wanted| wanted.iter().all(|value| values.contains(value))))
}
