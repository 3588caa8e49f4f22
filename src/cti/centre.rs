//! What a T-Server has said of the centre's configuration: tenants, switches, T-Servers, DNs, as it was last. It is kept over a restart
//! for as long as nobody can be asked. Who is logged in where is no part of it: that changes by the minute, and an agent who
//! has gone home must not come into a recording. Pure.

use serde::{Deserialize, Serialize};

use super::message::{ConfigData, DnRow, SwitchRow, TServerRow, TenantRow, dn_type};
use crate::model::{DnType, WallTime};

/// Rows of each kind that are kept. A snapshot is one line, which holds no more; many updates might.
const MOST_ROWS: usize = 10_000;

/// Rows with longer names are not kept.
const MAX_NAME_BYTES: usize = 256;

/// What is known by one T-Server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Known {
    /// When it was so, as far as the box knows: the last moment at which the link was there.
    pub confirmed: WallTime,
    /// Tenants.
    pub tenants: Vec<TenantRow>,
    /// Switches.
    pub switches: Vec<SwitchRow>,
    /// T-Servers.
    pub tservers: Vec<TServerRow>,
    /// DNs of the T-Server's own switch.
    pub dns: Vec<DnRow>,
}

impl Known {
    /// Takes in a snapshot, or an update of some rows.
    pub fn take(&mut self, now: WallTime, data: &ConfigData) {
        self.confirmed = now;
        if !data.is_update {
            *self = Known { confirmed: now, ..Known::default() };
        }
        merge(&mut self.tenants, &data.tenants, |row| &row.id);
        merge(&mut self.switches, &data.switches, |row| &row.id);
        merge(&mut self.tservers, &data.tservers, |row| &row.name);
        merge(&mut self.dns, &data.dns, |row| &row.dn);
    }

    /// DNs of types that have audio of their own.
    pub fn monitorable(&self) -> impl Iterator<Item = (&str, DnType)> {
        self.dns.iter().filter_map(|row| Some((row.dn.as_str(), dn_type(&row.dn_type).ok()?)))
    }

    /// Whether the calls of a switch are told by a SIP T-Server; none: nothing was said of its T-Servers.
    pub fn has_sip_tserver(&self, switch: &str) -> Option<bool> {
        let is_sip = |row: &TServerRow| row.kind.is_empty() || row.kind.eq_ignore_ascii_case("sip");
        (!self.tservers.is_empty()).then(|| self.tservers.iter().any(|row| row.switch == switch && is_sip(row)))
    }
}

/// A row takes the place of the one with its name.
fn merge<T: Clone>(rows: &mut Vec<T>, new: &[T], name: fn(&T) -> &String) {
    for row in new.iter().filter(|row| !name(row).is_empty() && name(row).len() <= MAX_NAME_BYTES) {
        match rows.binary_search_by(|known| name(known).cmp(name(row))) {
            Ok(at) => rows[at] = row.clone(),
            Err(at) if rows.len() < MOST_ROWS => rows.insert(at, row.clone()),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cti::message::{Body, parse};

    fn data(line: &str) -> ConfigData {
        match parse(line.as_bytes()).unwrap().body {
            Body::Config(data) => *data,
            other => panic!("{other:?}"),
        }
    }

    const SNAPSHOT: &str = r#"{"msg":"ConfigSnapshot","tenants":[{"id":"101","name":"acme"}],"switches":[{"id":"hq","tenant":"101"},
        {"id":"old","tenant":"101"}],"tservers":[{"name":"hq-sip","switch":"hq","type":"SIP"},{"name":"old-g3","switch":"old","type":"Avaya"}],
        "dns":[{"dn":"7001","dnType":"Extension"},{"dn":"8000","dnType":"Routing Point"}]}"#;

    #[test]
    fn an_update_changes_what_it_names_and_a_snapshot_everything() {
        let mut known = Known::default();
        known.take(WallTime(1), &data(SNAPSHOT));
        let update = r#"{"msg":"ConfigUpdate","tenants":[{"id":"101","name":"acme & sons"},{"id":"102","parent":"101"}]}"#;
        known.take(WallTime(2), &data(update));
        let tenants: Vec<(&str, &str)> = known.tenants.iter().map(|row| (row.id.as_str(), row.name.as_str())).collect();
        assert_eq!((tenants, known.switches.len()), (vec![("101", "acme & sons"), ("102", "")], 2));
        assert_eq!(known.confirmed, WallTime(2));
        known.take(WallTime(3), &data(r#"{"msg":"ConfigSnapshot"}"#));
        assert_eq!(known, Known { confirmed: WallTime(3), ..Known::default() });
    }

    #[test]
    fn only_sip_tservers_and_dns_with_audio_count() {
        let mut known = Known::default();
        assert_eq!(known.has_sip_tserver("hq"), None);
        known.take(WallTime(1), &data(SNAPSHOT));
        assert_eq!((known.has_sip_tserver("hq"), known.has_sip_tserver("old")), (Some(true), Some(false)));
        assert_eq!(known.monitorable().collect::<Vec<_>>(), [("7001", DnType::Extension)]);
    }

    #[test]
    fn whatever_a_tserver_says_it_takes_no_more_than_so_much() {
        let mut known = Known::default();
        let dn = |n: usize| DnRow { dn: n.to_string(), dn_type: String::new() };
        for n in 0..20 {
            let dns = (n * 1_000..(n + 1) * 1_000).map(dn).chain([dn(0)]).collect();
            known.take(WallTime(1), &ConfigData { is_update: true, dns, ..ConfigData::default() });
        }
        let long = vec![DnRow { dn: "7".repeat(300), ..DnRow::default() }, DnRow::default()];
        known.take(WallTime(1), &ConfigData { is_update: true, dns: long, ..ConfigData::default() });
        assert_eq!(known.dns.len(), MOST_ROWS);
        assert!(known.dns.iter().all(|row| row.dn.len() <= 5 && !row.dn.is_empty()));
    }
}
