//! The centre's configuration as the T-Servers told it last: it tells whose a call is and where a DN belongs for as long as nobody can
//! be asked, after a restart too. What the box's own file says comes first.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Now;
use crate::config::Config;
use crate::cti::LinkState;
use crate::cti::centre::Known;
use crate::cti::message::ConfigData;
use crate::model::{DnRange, SwitchId, TenantId, WallTime};
use crate::spool::{self, Reader};
use crate::tenants::{Directory, Dn, Switch, Tenant};

use super::Daemon;

/// Before each T-Server's name in the ledger.
const MEMO: &str = "centre/";

/// While a link is there, it is written down so often that what is known is still so.
const CONFIRM_EVERY: Duration = Duration::from_hours(1);

/// All that is known, by T-Server.
#[derive(Default)]
pub(super) struct Centre {
    known: BTreeMap<String, Known>,
    /// What stands in the ledger, by its time.
    stored: BTreeMap<String, WallTime>,
    /// T-Servers that are not configured any more, to be removed there.
    gone: Vec<String>,
}

impl Centre {
    /// What was known before the restart.
    pub(super) fn restore(reader: &Reader, config: &Config) -> Centre {
        let mut centre = Centre::default();
        let memos = reader.memos(MEMO).unwrap_or_else(|error| {
            tracing::warn!("the centre's configuration of before the restart cannot be read: {error}");
            Vec::new()
        });
        for (name, value) in memos {
            let known = serde_json::from_slice::<Known>(&value).ok(); // another version's is told again
            match known.filter(|_| config.tservers.iter().any(|tserver| tserver.name == name)) {
                Some(known) => {
                    centre.stored.insert(name.clone(), known.confirmed);
                    centre.known.insert(name, known);
                }
                None => centre.gone.push(name),
            }
        }
        centre
    }

    fn take(&mut self, now: WallTime, tserver: String, data: &ConfigData) {
        let known = self.known.entry(tserver.clone()).or_default();
        known.take(now, data);
        let (tenants, switches, dns) = (known.tenants.len(), known.switches.len(), known.dns.len());
        tracing::info!(tserver, tenants, switches, dns, "the centre's configuration has been told");
        self.stored.remove(&tserver);
    }

    /// How old what is known by a T-Server is; nothing while the link is there.
    pub(super) fn age_s(&self, now: WallTime, link: &LinkState) -> Option<u64> {
        let known = self.known.get(&link.name)?;
        let age_us = if link.is_up { 0 } else { now - known.confirmed };
        Some(u64::try_from(age_us).unwrap_or_default() / 1_000_000) // in the future: the clock was set
    }

    /// What is to be written to the ledger now.
    fn due(&mut self, now: WallTime, links: &[LinkState], is_last: bool) -> Vec<(String, Vec<u8>)> {
        let mut due: Vec<(String, Vec<u8>)> = self.gone.iter().map(|name| (name.clone(), Vec::new())).collect();
        for (name, known) in &mut self.known {
            let is_up = links.iter().any(|link| link.name == *name && link.is_up);
            if is_up {
                known.confirmed = now;
            }
            let is_due = self.stored.get(name).is_none_or(|stored| {
                let newer_us = u64::try_from(known.confirmed - *stored).unwrap_or_default();
                newer_us > 0 && (!is_up || is_last || Duration::from_micros(newer_us) >= CONFIRM_EVERY)
            });
            if is_due && let Ok(value) = serde_json::to_vec(known) {
                due.push((name.clone(), value));
            }
        }
        due
    }

    fn written(&mut self, name: &str) {
        self.gone.retain(|gone| gone != name);
        if let Some(known) = self.known.get(name) {
            self.stored.insert(name.to_owned(), known.confirmed);
        }
    }

    /// What the box's own file says, completed by what the centre says.
    pub(super) fn complete(&self, config: &Config, own: &Directory) -> Directory {
        let mut all = own.clone();
        for (name, known) in &self.known {
            let Some(tserver) = config.tservers.iter().find(|tserver| tserver.name == *name) else { continue };
            all.complete(directory(known, &tserver.switch));
        }
        all
    }
}

fn directory(known: &Known, switch: &SwitchId) -> Directory {
    let tenant = |id: &String| TenantId(id.as_str().into());
    let dn = |(dn, dn_type): (&str, _)| Some(Dn { range: DnRange::parse(dn).ok()?, dn_type, switch: switch.clone() });
    Directory {
        tenants: known
            .tenants
            .iter()
            .map(|row| Tenant { id: tenant(&row.id), name: row.name.clone(), parent: row.parent.as_ref().map(tenant) })
            .collect(),
        switches: known
            .switches
            .iter()
            .map(|row| Switch {
                id: SwitchId(row.id.as_str().into()),
                tenant: row.tenant.as_ref().map(tenant),
                is_monitored: known.has_sip_tserver(&row.id).unwrap_or(true),
            })
            .collect(),
        dns: known.monitorable().filter_map(dn).collect(),
    }
}

impl Daemon {
    /// A T-Server told of the centre's configuration.
    pub(super) fn on_configured(&mut self, now: Now, tserver: String, data: &ConfigData) {
        self.centre.take(now.wall, tserver, data);
        self.judge.learn(&self.config, &self.centre);
        self.keep_centre(now, false);
    }

    /// Writes down what is due; `is_last`: all that is newer than in the ledger.
    pub(super) fn keep_centre(&mut self, now: Now, is_last: bool) {
        let links = self.cti.links();
        for (name, value) in self.centre.due(now.wall, &links, is_last) {
            let memo = spool::Command::Memo { key: format!("{MEMO}{name}"), value };
            if self.spool.sender().try_send(memo).is_ok() {
                self.centre.written(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(is_up: bool) -> LinkState {
        LinkState { name: "hq".into(), is_up, trouble: None, counters: Default::default() }
    }

    fn hour(n: i64) -> WallTime {
        WallTime(n * 3_600_000_000)
    }

    #[test]
    fn it_is_written_when_it_changes_every_hour_and_when_the_link_goes() {
        let mut centre = Centre { gone: vec!["old".into()], ..Centre::default() };
        let mut due = |at, is_up, is_last| {
            let due = centre.due(at, &[link(is_up)], is_last);
            due.iter().for_each(|(name, _)| centre.written(name));
            due.into_iter().map(|(name, value)| format!("{name} {}", value.is_empty())).collect::<Vec<_>>()
        };
        assert_eq!(due(hour(0), true, false), ["old true"], "a T-Server that is gone is forgotten");
        assert_eq!(due(hour(0), true, false), [""; 0]);
        centre.take(hour(1), "hq".into(), &ConfigData::default());
        let mut due = |at, is_up, is_last| {
            let due = centre.due(at, &[link(is_up)], is_last);
            due.iter().for_each(|(name, _)| centre.written(name));
            due.len()
        };
        assert_eq!(due(hour(1), true, false), 1, "told");
        assert_eq!(due(WallTime(hour(2).0 - 1), true, false), 0);
        assert_eq!(due(hour(2), true, false), 1, "an hour later");
        assert_eq!(due(WallTime(hour(2).0 + 9), true, true), 1, "the box stops");
        assert_eq!(due(hour(3), true, false), 0);
        assert_eq!(due(hour(3), false, false), 1, "the link is lost");
        assert_eq!(due(hour(9), false, false), 0);
        assert_eq!((centre.age_s(hour(9), &link(false)), centre.age_s(hour(9), &link(true))), (Some(6 * 3_600), Some(0)));
        assert_eq!(centre.age_s(hour(2), &link(false)), Some(0), "the clock was set back");
    }
}
