//! Decisions and their explanations, rules that can never match, and what holds for any rules and calls.

use proptest::prelude::*;

use super::*;
use crate::model::{CallFacts, CallUuid, Direction, DnRange, DnType, SwitchId, TenantId, WallTime};

/// Monday, 9:00 in Chicago.
const MONDAY: WallTime = WallTime(1_772_463_600_000_000);

fn facts() -> CallFacts {
    CallFacts {
        call_uuid: Some(CallUuid("01ABCDEFGHIJKLMNOPQRSTUV00000001".into())),
        dn: Some("7010".into()),
        dn_type: Some(DnType::Extension),
        other_dn: Some("5550100".into()),
        agent: Some("anna".into()),
        ani: Some("+12145550100".into()),
        dnis: Some("18005550199".into()),
        direction: Some(Direction::Inbound),
        attached: [("skill".to_owned(), "cards".to_owned())].into(),
        switch: Some(SwitchId("hq".into())),
        ..CallFacts::unknown(TenantId("101".into()), MONDAY)
    }
}

fn office() -> Calendar {
    Calendar {
        name: "office".into(),
        time_zone: jiff::tz::TimeZone::get("America/Chicago").unwrap(),
        days: Calendar::DAYS[..5].iter().map(|(_, day)| *day).collect(),
        hours: vec![Hours::parse("08:00-18:00").unwrap()],
        dates: Vec::new(),
        except: Vec::new(),
    }
}

fn ranges(texts: &[&str]) -> Vec<DnRange> {
    texts.iter().map(|text| DnRange::parse(text).unwrap()).collect()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn rule(name: &str, when: Condition) -> Rule {
    Rule { name: name.into(), when, then: Action { retention_class: Some(name.into()), ..Action::default() } }
}

fn decide(rules: Vec<Rule>, facts: &CallFacts) -> Decision {
    Rules::new(rules, vec![office()]).decide(facts)
}

fn failed(when: Condition) -> Option<(&'static str, String, Option<String>)> {
    let decision = decide(vec![rule("r", when)], &facts());
    decision.steps[0].failed.clone().map(|m| (m.condition, m.wanted, m.found))
}

#[test]
fn the_first_rule_that_matches_counts() {
    let rules = vec![
        rule("other extensions", Condition { dn: ranges(&["7100-7199"]), ..Condition::default() }),
        rule("inbound", Condition { direction: vec![Direction::Inbound], ..Condition::default() }),
        rule("all", Condition::default()),
    ];
    let decision = decide(rules, &facts());
    assert_eq!(decision.rule.as_deref(), Some("inbound"));
    assert_eq!(decision.action.retention_class.as_deref(), Some("inbound"));
    assert_eq!(decision.steps.len(), 2, "those behind it are not asked");
    let failed = decision.steps[0].failed.as_ref().unwrap();
    assert_eq!((failed.condition, failed.wanted.as_str(), failed.found.as_deref()), ("dn", "7100-7199", Some("7010")));
    assert_eq!(decision.steps[1].failed, None);
}

#[test]
fn without_a_match_a_call_is_recorded_as_it_comes() {
    let decision = decide(vec![rule("x", Condition { agent: texts(&["bert"]), ..Condition::default() })], &facts());
    assert_eq!((decision.rule, decision.action), (None, Action::default()));
    assert!(Action::default().record.audio());
}

#[test]
fn every_condition_is_asked() {
    let mismatch =
        |condition: &'static str, wanted: &str, found: &str| Some((condition, wanted.to_owned(), Some(found.to_owned())));
    let any = Condition::default;
    assert_eq!(failed(any()), None);
    assert_eq!(failed(Condition { tenant: vec![TenantId("102".into())], ..any() }), mismatch("tenant", "102", "101"));
    assert_eq!(failed(Condition { switch: vec![SwitchId("b".into())], ..any() }), mismatch("switch", "b", "hq"));
    assert_eq!(failed(Condition { dn: ranges(&["7001", "7100-7199"]), ..any() }), mismatch("dn", "7001, 7100-7199", "7010"));
    assert_eq!(failed(Condition { dn_type: vec![DnType::TrunkGroup], ..any() }), mismatch("dn_type", "trunk-group", "extension"));
    assert_eq!(failed(Condition { other_dn: ranges(&["8000"]), ..any() }), mismatch("other_dn", "8000", "5550100"));
    assert_eq!(failed(Condition { agent: texts(&["bert", "cleo"]), ..any() }), mismatch("agent", "bert, cleo", "anna"));
    assert_eq!(failed(Condition { ani: texts(&["+49"]), ..any() }), mismatch("ani", "+49", "+12145550100"));
    assert_eq!(failed(Condition { ani: texts(&["+1214"]), ..any() }), None);
    assert_eq!(failed(Condition { dnis: texts(&["1900"]), ..any() }), mismatch("dnis", "1900", "18005550199"));
    assert_eq!(failed(Condition { direction: vec![Direction::Consult], ..any() }), mismatch("direction", "consult", "inbound"));
    let skill = |values: &[&str]| [("skill".to_owned(), texts(values))].into();
    assert_eq!(failed(Condition { attached: skill(&["loans", "cards"]), ..any() }), None);
    assert_eq!(
        failed(Condition { attached: skill(&["loans"]), ..any() }),
        mismatch("attached", "skill = loans", "skill = cards")
    );
    let tier = [("tier".to_owned(), texts(&["gold"]))].into();
    assert_eq!(failed(Condition { attached: tier, ..any() }), Some(("attached", "tier = gold".into(), None)));
    assert_eq!(failed(Condition { during: Some("office".into()), ..any() }), None);
    assert_eq!(
        failed(Condition { outside: Some("office".into()), ..any() }),
        mismatch("outside", "office", "Mon 2026-03-02 09:00 America/Chicago")
    );
    assert!(failed(Condition { during: Some("lost".into()), ..any() }).is_some());
}

#[test]
fn what_is_not_known_does_not_match() {
    let unknown = CallFacts::unknown(TenantId::default_tenant(), MONDAY);
    let decision = decide(vec![rule("r", Condition { dn: ranges(&["7001"]), ..Condition::default() })], &unknown);
    assert_eq!(decision.steps[0].failed.as_ref().unwrap().found, None);
}

// ---- shares

fn in_share(name: &str, percent: u8, uuid: u32) -> bool {
    let uuid = Some(CallUuid(format!("{uuid:032}").into()));
    let when = Condition { share_percent: Some(percent), ..Condition::default() };
    decide(vec![rule(name, when)], &CallFacts { call_uuid: uuid, ..facts() }).rule.is_some()
}

#[test]
fn a_share_takes_that_many_and_always_the_same() {
    let of_ten_thousand = (0..10_000).filter(|uuid| in_share("sample", 25, *uuid)).count();
    assert!((2_350..2_650).contains(&of_ten_thousand), "{of_ten_thousand}");
    let first: Vec<u32> = (0..100).filter(|uuid| in_share("sample", 5, *uuid)).collect();
    assert_eq!(first, [36, 55, 57, 62, 65, 73], "must never change: parts of one conversation meet several boxes");
    assert!((0..100).all(|uuid| in_share("sample", 100, uuid)));
}

#[test]
fn two_rules_draw_independently() {
    let both = (0..10_000).filter(|uuid| in_share("a", 50, *uuid) && in_share("b", 50, *uuid)).count();
    assert!((2_300..2_700).contains(&both), "{both}");
}

#[test]
fn a_call_without_uuid_is_in_every_share() {
    let when = Condition { share_percent: Some(1), ..Condition::default() };
    assert!(decide(vec![rule("r", when)], &CallFacts { call_uuid: None, ..facts() }).rule.is_some());
}

// ---- rules that can never match

fn never(rules: &[Rule]) -> Vec<(usize, String)> {
    let owner = |switch: &SwitchId| (*switch.0 == *"hq").then(|| TenantId("101".into()));
    unreachable(rules, &[office()], owner).into_iter().map(|u| (u.rule, u.why)).collect()
}

fn dn(name: &str, dns: &[&str]) -> Rule {
    rule(name, Condition { dn: ranges(dns), ..Condition::default() })
}

#[test]
fn a_rule_behind_a_wider_one_is_found() {
    let found = never(&[dn("wide", &["7000-7999"]), dn("narrow", &["7001-7049", "7100"]), dn("other", &["8000"])]);
    assert_eq!(found, [(1, "every call that it is for is taken by rule \"wide\" before".to_owned())]);
    let all = never(&[rule("all", Condition::default()), dn("x", &["1"]), dn("y", &["2"])]);
    assert_eq!(all.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn several_may_take_together() {
    let found = never(&[dn("low", &["7001-7020"]), dn("high", &["7021-7049"]), dn("both", &["7010-7030"])]);
    assert_eq!(found, [(2, "every call that it is for is taken by rules \"low\", \"high\" before".to_owned())]);
    assert_eq!(never(&[dn("low", &["7001-7020"]), dn("high", &["7022-7049"]), dn("both", &["7010-7030"])]), []);
}

#[test]
fn a_share_takes_not_all() {
    let mut sample = dn("sample", &["7001-7049"]);
    sample.when.share_percent = Some(99);
    assert_eq!(never(&[sample, dn("rest", &["7001"])]), []);
}

#[test]
fn contradictions_are_found() {
    let both = Condition { during: Some("office".into()), outside: Some("office".into()), ..Condition::default() };
    assert_eq!(never(&[rule("r", both)])[0].1, "no call is both during and outside one calendar");
    let tenant =
        |id: &str| Condition { tenant: vec![TenantId(id.into())], switch: vec![SwitchId("hq".into())], ..Condition::default() };
    assert_eq!(never(&[rule("r", tenant("102"))])[0].1, "none of its switches belongs to one of its tenants");
    assert_eq!(never(&[rule("r", tenant("101"))]), []);
}

prop_compose! {
    fn any_rule()(
        dn in prop::collection::vec((0_u32..30, 0_u32..30), 0..3), direction in prop::option::of(0_usize..4),
        agent in prop::option::of("[ab]"), ani in prop::option::of("[12]{1,2}"), during: bool, share in prop::option::of(50_u8..=100),
        attached in prop::option::of("[xy]"),
    ) -> Condition {
        let dn: Vec<DnRange> =
            dn.iter().map(|(a, b)| DnRange::parse(&format!("{:02}-{:02}", a.min(b), a.max(b))).unwrap()).collect();
        Condition {
            dn,
            direction: direction.map(|n| Direction::ALL[n]).into_iter().collect(),
            agent: agent.into_iter().collect(),
            ani: ani.into_iter().collect(),
            during: during.then(|| "office".to_owned()),
            share_percent: share,
            attached: attached.map(|value| ("k".to_owned(), vec![value])).into_iter().collect(),
            ..Condition::default()
        }
    }
}

prop_compose! {
    fn any_call()(
        dn in prop::option::of(0_u32..30), direction in prop::option::of(0_usize..4), agent in prop::option::of("[ab]"),
        ani in prop::option::of("[12]{1,3}"), hours in 0_i64..48, uuid: u16, attached in prop::option::of("[xy]"),
    ) -> CallFacts {
        CallFacts {
            call_uuid: Some(CallUuid(uuid.to_string().into())),
            dn: dn.map(|dn| format!("{dn:02}")),
            direction: direction.map(|n| Direction::ALL[n]),
            agent,
            ani,
            attached: attached.map(|value| ("k".to_owned(), value)).into_iter().collect(),
            ..CallFacts::unknown(TenantId::default_tenant(), MONDAY.plus_micros(hours * 3_600_000_000))
        }
    }
}

proptest! {
    #[test]
    fn a_rule_that_is_called_unreachable_never_counts(
        conditions in prop::collection::vec(any_rule(), 1..6), calls in prop::collection::vec(any_call(), 40),
    ) {
        let rules: Vec<Rule> = conditions.into_iter().enumerate().map(|(n, when)| rule(&n.to_string(), when)).collect();
        let unreachable: Vec<String> = never(&rules).into_iter().map(|(n, _)| n.to_string()).collect();
        for call in calls {
            let counted = decide(rules.clone(), &call).rule;
            prop_assert!(counted.is_none_or(|name| !unreachable.contains(&name)));
        }
    }

    #[test]
    fn the_steps_lead_to_the_decision(conditions in prop::collection::vec(any_rule(), 0..6), call in any_call()) {
        let rules: Vec<Rule> = conditions.into_iter().enumerate().map(|(n, when)| rule(&n.to_string(), when)).collect();
        let decision = decide(rules.clone(), &call);
        let matched = decision.steps.iter().position(|step| step.failed.is_none());
        prop_assert_eq!(matched.map(|n| rules[n].name.clone()), decision.rule.clone());
        prop_assert_eq!(decision.steps.len(), matched.map_or(rules.len(), |n| n + 1));
    }
}
