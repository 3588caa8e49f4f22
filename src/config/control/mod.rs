//! The tables that say who is recorded, and where: `[[switch]]`, `[[tserver]]`, `[[peer]]`, `[[calendar]]`, `[[rule]]`.
//!
//! | file | responsible for |
//! |---|---|
//! | `raw` | the raw image of the tables |
//! | `value` | their single values: types of DN, links, hours, dates |
//! | `tables` | switches, T-Servers and calendars: defaults, and what they say together |
//! | `rules` | rules: what they refer to, and whether they can match at all |

pub(super) mod raw;
mod rules;
mod tables;
mod value;

#[cfg(test)]
mod tests;

pub(super) use tables::{check_owners, check_parents};
pub use value::Link;

use std::ops::Range;

use toml::Spanned;

use super::diagnostic::{Findings, nearest};
use super::file::List;
use super::typed::{Peer, Switch, TServer, Tenant};
use crate::rules::{Calendar, Rule};

/// The raw tables.
pub(super) struct Tables {
    pub(super) switches: Vec<Spanned<raw::Switch>>,
    pub(super) tservers: Vec<Spanned<raw::TServer>>,
    pub(super) peers: Vec<Spanned<raw::Peer>>,
    pub(super) calendars: Vec<Spanned<raw::Calendar>>,
    pub(super) rules: Vec<Spanned<raw::Rule>>,
}

/// What the tables say.
pub(super) struct Control {
    pub(super) switches: Vec<Switch>,
    pub(super) tservers: Vec<TServer>,
    pub(super) peers: Vec<Peer>,
    pub(super) calendars: Vec<Calendar>,
    pub(super) rules: Vec<Rule>,
}

/// The tables as far as they can be read.
pub(super) fn resolve(raw: Tables, tenants: &[Tenant], findings: &mut Findings) -> Control {
    let places: Vec<Range<usize>> = raw.switches.iter().map(Spanned::span).collect();
    let switches = tables::switches(raw.switches, findings);
    let tservers = tables::tservers(raw.tservers, &switches, findings);
    tables::warn_of_unmonitorable(&switches, &places, &tservers, findings);
    let peers = tables::peers(raw.peers, findings);
    let calendars = tables::calendars(raw.calendars, findings);
    let known = rules::Known { tenants, switches: &switches, calendars: &calendars };
    let rules = rules::rules(raw.rules, &known, findings);
    Control { switches, tservers, peers, calendars, rules }
}

/// `; did you mean "x"?`, or nothing.
fn meant<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    nearest(word, &known).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default()
}

/// Every entry of a list that is there; a list without any is an error, for nothing would match it.
fn entries<V: Clone>(list: &List<V>, key: &str, findings: &mut Findings) -> Vec<V> {
    let Some(list) = list else { return Vec::new() };
    if list.get_ref().is_empty() {
        findings.error(list.span(), key, "is empty; expected at least one entry, or leave the key out");
    }
    list.get_ref().iter().map(|item| item.get_ref().0.clone()).collect()
}
