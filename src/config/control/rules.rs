//! Rules: what they refer to, and whether they can match at all.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;

use super::super::diagnostic::Findings;
use super::super::file::{Key, List};
use super::super::resolve::{given, span_of};
use super::super::typed::{Switch, Tenant};
use super::{entries, meant, raw};
use crate::model::{SwitchId, TenantId};
use crate::rules::{Action, Calendar, Condition, Record, Rule, unreachable};
use crate::tones::presets::Preset;

/// Each rule is compared with all before it.
const MOST_RULES: usize = 1_000;

/// What a rule may refer to.
pub(super) struct Known<'a> {
    pub(super) tenants: &'a [Tenant],
    pub(super) switches: &'a [Switch],
    pub(super) calendars: &'a [Calendar],
}

pub(super) fn rules(file: Vec<Spanned<raw::Rule>>, known: &Known<'_>, findings: &mut Findings) -> Vec<Rule> {
    if let Some(beyond) = file.get(MOST_RULES) {
        let message = format!("{} rules are too many to keep in mind; expected at most {MOST_RULES}", file.len());
        findings.error(beyond.span(), "[[rule]]", message);
    }
    let mut places = Vec::new();
    let mut rules: Vec<Rule> = Vec::new();
    for entry in file.into_iter().take(MOST_RULES) {
        let (span, entry) = (entry.span(), entry.into_inner());
        let Some(name) = given(&entry.name) else {
            findings.error(span, "[[rule]]", "has no name; expected name = \"…\", by which explanations and recordings name it");
            continue;
        };
        if rules.iter().any(|rule| rule.name == name) {
            let message = format!("{name:?} is there twice; expected another name for each rule");
            findings.error(span_of(&entry.name).unwrap_or_else(|| span.clone()), "[[rule]] name", message);
            continue;
        }
        let when = condition(&entry, known, findings);
        rules.push(Rule { name, when, then: action(&entry, findings) });
        places.push(span);
    }
    warn_of_unreachable(&rules, &places, known, findings);
    rules
}

fn warn_of_unreachable(rules: &[Rule], places: &[Range<usize>], known: &Known<'_>, findings: &mut Findings) {
    let owner = |switch: &SwitchId| {
        let owner = known.tenants.iter().find(|tenant| tenant.switches.contains(switch));
        owner.map(|tenant| tenant.id.clone())
    };
    for found in unreachable(rules, known.calendars, owner) {
        let (Some(rule), Some(place)) = (rules.get(found.rule), places.get(found.rule)) else { continue };
        let message =
            format!("rule {:?} can never match: {}; move it up, narrow what is before it, or delete it", rule.name, found.why);
        findings.warning(place.clone(), "[[rule]]", message);
    }
}

fn condition(file: &raw::Rule, known: &Known<'_>, findings: &mut Findings) -> Condition {
    warn_of_unknown(&file.tenant, "[[rule]] tenant", known.tenants.iter().map(|t| &*t.id.0), findings);
    warn_of_unknown(&file.switch, "[[rule]] switch", known.switches.iter().map(|s| &*s.id.0), findings);
    Condition {
        dn: entries(&file.dn, "[[rule]] dn", findings),
        dn_type: entries(&file.dn_type, "[[rule]] dn_type", findings),
        other_dn: entries(&file.other_dn, "[[rule]] other_dn", findings),
        agent: entries(&file.agent, "[[rule]] agent", findings),
        ani: entries(&file.ani, "[[rule]] ani", findings),
        dnis: entries(&file.dnis, "[[rule]] dnis", findings),
        direction: entries(&file.direction, "[[rule]] direction", findings),
        tenant: entries(&file.tenant, "[[rule]] tenant", findings).into_iter().map(|id| TenantId(id.into())).collect(),
        switch: entries(&file.switch, "[[rule]] switch", findings).into_iter().map(|id| SwitchId(id.into())).collect(),
        during: calendar(&file.during, "[[rule]] during", known, findings),
        outside: calendar(&file.outside, "[[rule]] outside", known, findings),
        share_percent: share(&file.share_percent, findings),
        attached: attached(file, findings),
    }
}

/// A tenant or switch that the file does not know may come from the centre's configuration, so this is no error.
fn warn_of_unknown<'a>(list: &List<String>, key: &str, known: impl Iterator<Item = &'a str> + Clone, findings: &mut Findings) {
    for item in list.iter().flat_map(|list| list.get_ref()) {
        let id = item.get_ref().0.as_str();
        if !known.clone().any(|known| known == id) {
            let message = format!(
                "{id:?} has no table in this file; the rule matches only once the centre's configuration names it{}",
                meant(id, known.clone())
            );
            findings.warning(item.span(), key, message);
        }
    }
}

fn calendar(name: &Key<String>, key: &str, known: &Known<'_>, findings: &mut Findings) -> Option<String> {
    let wanted = given(name)?;
    if !known.calendars.iter().any(|calendar| calendar.name == wanted) {
        let meant = meant(&wanted, known.calendars.iter().map(|calendar| calendar.name.as_str()));
        let message = format!("{wanted:?} is no calendar; expected the name of a [[calendar]] table: write one{meant}");
        findings.error(span_of(name).unwrap_or_default(), key, message);
    }
    Some(wanted)
}

fn share(file: &Option<Spanned<i64>>, findings: &mut Findings) -> Option<u8> {
    let wanted = file.as_ref()?;
    match u8::try_from(*wanted.get_ref()) {
        Ok(share @ 1..=100) => Some(share),
        _ => {
            let message = format!("{} is no share; expected 1 to 100, so many calls in a hundred", wanted.get_ref());
            findings.error(wanted.span(), "[[rule]] share_percent", message);
            None
        }
    }
}

fn attached(file: &raw::Rule, findings: &mut Findings) -> BTreeMap<String, Vec<String>> {
    let Some(map) = &file.attached else { return BTreeMap::new() };
    if map.get_ref().is_empty() {
        findings.error(map.span(), "[[rule]] attached", "is empty; expected KEY = [\"VALUE\"], or leave the table out");
    }
    let values = |(key, list): (&String, &List<String>)| (key.clone(), entries(list, "[[rule]] attached", &mut *findings));
    map.get_ref().iter().map(values).collect()
}

/// A preset that nobody knows would never be found in a recording.
fn tone(key: &Key<String>, findings: &mut Findings) -> Option<String> {
    let name = given(key)?;
    if Preset::of(&name).is_none() {
        let known: Vec<String> = Preset::all().map(|preset| preset.country.to_string()).collect();
        let meant = meant(&name, known.iter().map(String::as_str));
        let message = format!("{name:?} is no preset; expected one of {}{meant}", known.join(", "));
        findings.error(span_of(key).unwrap_or_default(), "[[rule]] tone", message);
    }
    Some(name)
}

fn action(file: &raw::Rule, findings: &mut Findings) -> Action {
    let record = given(&file.record).unwrap_or_default();
    let action = Action {
        record,
        side: given(&file.side),
        format: given(&file.format),
        tone: tone(&file.tone, findings),
        retention_class: given(&file.retention_class),
        partitions: entries(&file.partitions, "[[rule]] partitions", findings),
    };
    if record == Record::None && action != (Action { record, ..Action::default() }) {
        let message = "records nothing, so that side, format, tone, retention_class and partitions say nothing; leave them out";
        findings.warning(span_of(&file.record).unwrap_or_default(), "[[rule]] record", message);
    }
    action
}
