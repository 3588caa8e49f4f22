//! Every row of the published tables, the strategy and the dynamic cases, pools and profiles, and what holds for any call.

use proptest::prelude::*;

use super::*;
use crate::model::Side;

const INBOUND: &str = include_str!("../../tests/data/geo_inbound.csv");
const OUTBOUND: &str = include_str!("../../tests/data/geo_outbound.csv");

/// (line, call, expected) of each row. Only here is the last column read.
fn rows(table: &str, outbound: bool) -> Vec<(String, Call, Option<String>)> {
    let mut lines = table.lines().filter(|line| !line.starts_with('#'));
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells.len(), names.len(), "{line}");
        let cell = |name: &str| cells[names.iter().position(|n| *n == name).unwrap()];
        let location = |name: &str| Some(cell(name).to_owned()).filter(|text| !text.is_empty());
        let recorded = cell("recorded");
        let call = FullTime {
            outbound,
            trunk: location(if outbound { "customer_trunk" } else { "trunk" }),
            routing_point: location("routing_point"),
            extension: location("route_call_extension"),
            agent: location("agent"),
            recorded: Recorded {
                agent: recorded.contains("agent"),
                outside: recorded.contains("caller") || recorded.contains("customer"),
            },
        };
        (line.to_owned(), Call::FullTime(call), location("selected"))
    };
    lines.map(row).collect()
}

#[test]
fn all_rows_of_the_tables_come_out_as_listed() {
    let rows: Vec<_> = rows(INBOUND, false).into_iter().chain(rows(OUTBOUND, true)).collect();
    assert_eq!(rows.len(), 42);
    for (line, call, expected) in rows {
        assert_eq!(call.select().selected, expected, "{line}");
    }
}

#[test]
fn a_strategy_takes_the_trunk_or_the_agent() {
    let strategy = |side| Selective { side, trunk: Some("dallas".into()), agent: Some("austin".into()) };
    let selected = |call: Selective| Call::Strategy(call).select();
    let source = selected(strategy(Side::Source));
    assert_eq!((source.selected.as_deref(), source.from), (Some("dallas"), Some(Origin::Trunk)));
    let destination = selected(strategy(Side::Destination));
    assert_eq!((destination.selected.as_deref(), destination.from), (Some("austin"), Some(Origin::Agent)));
    let without = selected(Selective { trunk: None, ..strategy(Side::Source) });
    assert_eq!((without.selected, without.passed), (None, vec![Origin::Trunk]), "the agent's does not stand in");
}

#[test]
fn a_dynamic_request_takes_its_own_dn_or_the_other() {
    let dynamic = |side| Call::Dynamic(Dynamic { side, this_dn: Some("dallas".into()), other_dn: Some("austin".into()) });
    assert_eq!(dynamic(Side::Source).select().selected.as_deref(), Some("dallas"));
    assert_eq!(dynamic(Side::Destination).select().selected.as_deref(), Some("austin"));
}

fn pools(locations: &[&str]) -> Vec<Option<String>> {
    locations.iter().map(|l| Some((*l).to_owned()).filter(|l| !l.is_empty())).collect()
}

#[test]
fn pools_serve_their_location() {
    let served = |media: &[&str], recorders: &[&str], selected| {
        let served = serve(&pools(media), &pools(recorders), selected)?;
        let name = |pool: Option<String>| pool.unwrap_or_else(|| "centre".into());
        Ok::<_, String>((name(served.media), name(served.recorder), served.elsewhere))
    };
    let ok = |media: &str, recorder: &str, elsewhere| Ok((media.to_owned(), recorder.to_owned(), elsewhere));
    assert_eq!(served(&[""], &[""], Some("dallas")), ok("centre", "centre", true), "single pools");
    assert_eq!(served(&[""], &["austin", "dallas"], Some("dallas")), ok("centre", "dallas", false));
    assert_eq!(served(&["austin", "dallas"], &[""], Some("dallas")), ok("dallas", "centre", false));
    assert_eq!(served(&["austin", "dallas"], &["dallas", "austin"], Some("dallas")), ok("dallas", "dallas", false));
    assert_eq!(served(&["dallas", "austin"], &["austin"], Some("dallas")), ok("austin", "austin", true), "the same for both");
    assert_eq!(served(&["dallas", ""], &["austin", ""], Some("dallas")), ok("centre", "centre", true));
    assert_eq!(served(&["dallas"], &["dallas"], None), ok("dallas", "dallas", false), "a call without a location");
    assert!(served(&["dallas"], &["austin"], Some("dallas")).unwrap_err().contains("no location has both"));
    assert!(served(&[""], &[], None).unwrap_err().contains("no pool of recorders"));
}

#[test]
fn the_profile_is_chosen_in_its_order() {
    let profile = |name: &str, location: &str, is_default| Profile {
        name: name.into(),
        geo_location: Some(location.to_owned()).filter(|l| !l.is_empty()),
        is_default,
    };
    let chosen = |profiles: &[Profile], at| choose(profiles, at).map(|(p, why)| (p.name.clone(), why));
    let all = [profile("std", "", true), profile("record", "", false), profile("tx", "dallas", false)];
    assert_eq!(chosen(&all, Some("dallas")), Some(("tx".into(), Choice::Location)));
    assert_eq!(chosen(&all, Some("austin")), Some(("record".into(), Choice::NamedRecord)));
    assert_eq!(chosen(&all, None), Some(("record".into(), Choice::NamedRecord)));
    assert_eq!(chosen(&all[2..], Some("austin")), Some(("tx".into(), Choice::Only)));
    assert_eq!(chosen(&[all[0].clone(), all[2].clone()], None), Some(("std".into(), Choice::Default)));
    assert_eq!(chosen(&[], Some("dallas")), None);
}

// ---- for any call

fn location() -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop::sample::select(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]))
}

prop_compose! {
    fn full_time()(
        outbound: bool, trunk in location(), routing_point in location(), extension in location(), agent in location(),
        recorded_agent: bool, recorded_outside: bool,
    ) -> FullTime {
        let recorded = Recorded { agent: recorded_agent, outside: recorded_outside };
        FullTime { outbound, trunk, routing_point, extension, agent, recorded }
    }
}

proptest! {
    #[test]
    fn what_stands_higher_decides_whatever_is_below(call in full_time(), other in full_time()) {
        if call.extension.is_some() {
            let changed = FullTime { extension: call.extension.clone(), ..other.clone() };
            prop_assert_eq!(Call::FullTime(changed).select().selected, call.extension.clone());
        }
        if call.extension.is_none() && call.routing_point.is_some() {
            let changed = FullTime { extension: None, routing_point: call.routing_point.clone(), ..other };
            prop_assert_eq!(Call::FullTime(changed).select().from, Some(Origin::RoutingPoint));
        }
    }

    #[test]
    fn the_way_there_is_told_in_full(call in full_time()) {
        let selection = Call::FullTime(call.clone()).select();
        prop_assert_eq!(selection.selected.is_some(), selection.from.is_some());
        let on = |origin| match origin {
            Origin::Extension => &call.extension,
            Origin::RoutingPoint => &call.routing_point,
            Origin::Trunk => &call.trunk,
            _ => &call.agent,
        };
        prop_assert!(selection.passed.iter().all(|passed| on(*passed).is_none()));
        if let Some(from) = selection.from {
            prop_assert_eq!(on(from), &selection.selected);
        }
    }

    #[test]
    fn a_dn_that_has_no_say_changes_nothing(call in full_time(), location in location()) {
        let before = Call::FullTime(call.clone()).select();
        let without_say = match call.outbound {
            true if !call.recorded.outside => FullTime { trunk: location, ..call },
            false if !call.recorded.agent => FullTime { agent: location, ..call },
            _ => call,
        };
        prop_assert_eq!(Call::FullTime(without_say).select(), before);
    }

    #[test]
    fn pools_of_a_location_serve_together(media in prop::collection::vec(location(), 1..4), recorders in prop::collection::vec(location(), 1..4), selected in location()) {
        if let Ok(served) = serve(&media, &recorders, selected.as_deref()) {
            prop_assert!(media.contains(&served.media) && recorders.contains(&served.recorder));
            let both_have = media.iter().any(Option::is_some) && recorders.iter().any(Option::is_some);
            prop_assert!(!both_have || served.media == served.recorder);
        }
    }
}
