//! Tenants found by id, name and path; DNs and their switches.

use super::*;
use crate::model::{DnRange, DnType, SwitchId, TenantId};

fn tenant(id: &str, name: &str, parent: &str) -> Tenant {
    let parent = Some(TenantId(parent.into())).filter(|parent| !parent.0.is_empty());
    Tenant { id: TenantId(id.into()), name: name.into(), parent }
}

/// Two enterprises, each with a department `sales`, one of them with two levels.
fn directory() -> Directory {
    let switch = |id: &str, tenant: &str, is_monitored| Switch {
        id: SwitchId(id.into()),
        tenant: Some(TenantId(tenant.into())).filter(|tenant| !tenant.0.is_empty()),
        is_monitored,
    };
    let dn = |range: &str, switch: &str| Dn {
        range: DnRange::parse(range).unwrap(),
        dn_type: DnType::Extension,
        switch: SwitchId(switch.into()),
    };
    Directory {
        tenants: vec![
            tenant("101", "acme", ""),
            tenant("111", "sales", "101"),
            tenant("102", "globex", ""),
            tenant("112", "sales", "102"),
            tenant("113", "inside", "112"),
            tenant("default", "everybody else", ""),
        ],
        switches: vec![
            switch("hq", "101", true),
            switch("east", "102", true),
            switch("old", "", false),
            switch("west", "101", true),
        ],
        dns: vec![dn("7001-7049", "hq"), dn("7001-7010", "east"), dn("7040", "west"), dn("9000", "old")],
    }
}

fn found(hints: &[&str]) -> Option<String> {
    let hints: Vec<String> = hints.iter().map(|hint| (*hint).to_owned()).collect();
    directory().tenant(&hints).map(|tenant| tenant.id.to_string())
}

#[test]
fn an_id_a_name_or_a_path_finds_a_tenant() {
    assert_eq!(found(&["101"]).as_deref(), Some("101"));
    assert_eq!(found(&["acme"]).as_deref(), Some("101"));
    assert_eq!(found(&["Environment/acme"]).as_deref(), Some("101"), "levels above that nobody configured");
    assert_eq!(found(&["nobody", "[x]", "/acme/"]).as_deref(), Some("101"), "the first hint that fits");
    assert_eq!(found(&["Environment"]), None);
    assert_eq!(found(&["", "/", "//"]), None);
}

#[test]
fn departments_of_the_same_name_are_told_apart_or_nobodys() {
    assert_eq!(found(&["Environment/acme/sales"]).as_deref(), Some("111"));
    assert_eq!(found(&["Environment/globex/sales"]).as_deref(), Some("112"));
    assert_eq!(found(&["sales"]), None, "either may be meant");
    assert_eq!(found(&["Environment/initech/sales"]), None, "the sales of somebody else");
    assert_eq!(found(&["globex/sales/inside"]).as_deref(), Some("113"));
    assert_eq!(found(&["acme/sales/inside"]), None);
}

#[test]
fn parents_in_a_circle_end() {
    let mut directory = directory();
    directory.tenants[0].parent = Some(TenantId("111".into()));
    let path = "sales/acme/".repeat(1_000);
    assert_eq!(directory.tenant(&[path]).map(|tenant| tenant.id.to_string()).as_deref(), Some("101"));
}

#[test]
fn a_dn_is_looked_for_on_the_tenants_own_switches() {
    let directory = directory();
    let switch = |dn: &str, tenant: &str| directory.dn(dn, &TenantId(tenant.into())).map(|dn| dn.switch.to_string());
    assert_eq!(switch("7005", "101").as_deref(), Some("hq"));
    assert_eq!(switch("7005", "102").as_deref(), Some("east"), "the same number of another tenant");
    assert_eq!(switch("7020", "102"), None);
    assert_eq!(switch("7040", "101"), None, "on two of its switches");
    assert_eq!(switch("9000", "default").as_deref(), Some("old"), "a switch without tenant is the default tenant's");
    assert_eq!(directory.unmonitorable().map(ToString::to_string).collect::<Vec<_>>(), ["old"]);
}

#[test]
fn what_is_known_is_not_changed_by_what_another_says() {
    let mut own = directory();
    let mut other = directory();
    other.tenants = vec![tenant("101", "globex", ""), tenant("120", "initech", "102")];
    other.switches[0].tenant = Some(TenantId("102".into()));
    other.switches.push(Switch { id: SwitchId("south".into()), tenant: Some(TenantId("120".into())), is_monitored: false });
    other.dns = vec![
        Dn { range: DnRange::parse("7001").unwrap(), dn_type: DnType::TrunkGroup, switch: SwitchId("hq".into()) },
        Dn { range: DnRange::parse("7500").unwrap(), dn_type: DnType::Extension, switch: SwitchId("hq".into()) },
    ];
    own.complete(other);
    let found = |hint: &str| own.tenant(&[hint.to_owned()]).map(|tenant| tenant.id.to_string());
    assert_eq!(
        (found("101"), found("globex"), found("globex/initech")),
        (Some("101".into()), Some("102".into()), Some("120".into()))
    );
    assert_eq!(own.owner(&SwitchId("hq".into())), Some(&TenantId("101".into())));
    assert_eq!(own.unmonitorable().map(ToString::to_string).collect::<Vec<_>>(), ["old", "south"]);
    let kind = |dn: &str| own.dn(dn, &TenantId("101".into())).map(|dn| dn.dn_type);
    assert_eq!((kind("7001"), kind("7500")), (Some(DnType::Extension), Some(DnType::Extension)));
}
