//! Switches, T-Servers and calendars: defaults, and what they say together.

use std::ops::Range;

use jiff::tz::TimeZone;
use toml::Spanned;

use super::super::diagnostic::Findings;
use super::super::file::{File, Key, Tenant};
use super::super::resolve::{given, span_of};
use super::super::typed::{MonitoredDn, Peer, Switch, TServer};
use super::{entries, meant, raw};
use crate::model::{DnType, SwitchId};
use crate::rules::Calendar;

/// DNs that one T-Server may have to monitor; each is a registration of its own on the link.
const MOST_DNS: u64 = 20_000;

/// Every parent is a tenant, and nobody's own descendant.
pub(in crate::config) fn check_parents(file: &File, findings: &mut Findings) {
    let pair = |tenant: &Spanned<Tenant>| Some((given(&tenant.get_ref().id)?, given(&tenant.get_ref().parent)));
    let parents: Vec<(String, Option<String>)> = file.tenant.iter().filter_map(pair).collect();
    let parent = |id: &str| parents.iter().find(|(known, _)| known == id).and_then(|(_, parent)| parent.clone());
    for entry in &file.tenant {
        let (Some(id), Some(key)) = (given(&entry.get_ref().id), &entry.get_ref().parent) else { continue };
        let named = &key.get_ref().0;
        if !parents.iter().any(|(known, _)| known == named) {
            let meant = meant(named, parents.iter().map(|(known, _)| known.as_str()));
            let message = format!("{named:?} is no tenant of this file; expected the id of another [[tenant]] table{meant}");
            findings.error(key.span(), "[[tenant]] parent", message);
        }
        let above = std::iter::successors(Some(named.clone()), |above| parent(above)).take(parents.len());
        if above.into_iter().any(|above| above == id) {
            let message = format!("{id:?} would stand above itself; expected a tenant that is not below it");
            findings.error(key.span(), "[[tenant]] parent", message);
        }
    }
}

/// Every switch that a tenant names has a table, and no two tenants name the same.
pub(in crate::config) fn check_owners(file: &File, findings: &mut Findings) {
    let known: Vec<String> = file.switch.iter().filter_map(|switch| given(&switch.get_ref().id)).collect();
    let mut owned: Vec<&str> = Vec::new();
    let lists = file.tenant.iter().filter_map(|tenant| tenant.get_ref().switches.as_ref());
    for item in lists.flat_map(|list| list.get_ref()) {
        let id = item.get_ref().0.as_str();
        if !known.iter().any(|known| known == id) {
            let message = format!("{}{}", no_switch(id), meant(id, known.iter().map(String::as_str)));
            findings.error(item.span(), "[[tenant]] switches", message);
        } else if owned.contains(&id) {
            let message =
                format!("{id:?} is there twice; expected each switch with one tenant, or recordings would go to either");
            findings.error(item.span(), "[[tenant]] switches", message);
        }
        owned.push(id);
    }
}

fn no_switch(id: &str) -> String {
    format!("{id:?} is no switch of this file; expected the id of a [[switch]] table: write one")
}

pub(super) fn switches(file: Vec<Spanned<raw::Switch>>, findings: &mut Findings) -> Vec<Switch> {
    let mut switches: Vec<Switch> = Vec::new();
    for entry in file {
        let (span, entry) = (entry.span(), entry.into_inner());
        let Some(id) = given(&entry.id) else {
            findings.error(span, "[[switch]]", "has no id; expected id = \"…\", the id of the switch in the contact centre");
            continue;
        };
        if switches.iter().any(|switch| *switch.id.0 == id) {
            let message = format!("{id:?} is there twice; expected each switch once");
            findings.error(span_of(&entry.id).unwrap_or(span), "[[switch]] id", message);
            continue;
        }
        let name = given(&entry.name).unwrap_or_else(|| id.clone());
        switches.push(Switch { id: SwitchId(id.into()), name });
    }
    switches
}

pub(super) fn tservers(file: Vec<Spanned<raw::TServer>>, switches: &[Switch], findings: &mut Findings) -> Vec<TServer> {
    let mut tservers: Vec<TServer> = Vec::new();
    for entry in file {
        let (span, entry) = (entry.span(), entry.into_inner());
        let (Some(switch), Some(primary)) = (given(&entry.switch), given(&entry.primary)) else {
            let message = "has no switch or no primary; expected switch = \"…\" and primary = \"tcp:HOST:PORT\"";
            findings.error(span, "[[tserver]]", message);
            continue;
        };
        if !switches.iter().any(|known| *known.id.0 == switch) {
            let message = format!("{}{}", no_switch(&switch), meant(&switch, switches.iter().map(|known| &*known.id.0)));
            findings.error(span_of(&entry.switch).unwrap_or_default(), "[[tserver]] switch", message);
        }
        let name = given(&entry.name).unwrap_or_else(|| switch.clone());
        if tservers.iter().any(|tserver| tserver.name == name) {
            let message = format!("{name:?} is there twice; expected another name for each T-Server (default: its switch)");
            findings.error(span_of(&entry.name).unwrap_or_else(|| span.clone()), "[[tserver]] name", message);
        }
        let backup = backup(&entry.backup, &primary.to_string(), findings);
        check_tls(&entry, primary.tls || backup.as_ref().is_some_and(|backup| backup.tls), findings);
        let (ca_file, tls_name) = (given(&entry.ca_file), given(&entry.tls_name));
        let dns = dns(entry.dns, span, findings);
        tservers.push(TServer { name, switch: SwitchId(switch.into()), primary, backup, ca_file, tls_name, dns });
    }
    tservers
}

fn backup(backup: &Key<super::Link>, primary: &str, findings: &mut Findings) -> Option<super::Link> {
    let link = given(backup)?;
    if link.to_string() == primary {
        let message = format!("{primary:?} is the primary itself; expected another address, or leave the key out");
        findings.error(span_of(backup).unwrap_or_default(), "[[tserver]] backup", message);
    }
    Some(link)
}

/// TLS needs somebody to trust, and what is said of it counts for nothing without it.
fn check_tls(entry: &raw::TServer, is_tls: bool, findings: &mut Findings) {
    match (is_tls, span_of(&entry.ca_file)) {
        (true, None) => {
            let place = span_of(&entry.primary).unwrap_or_default();
            let message = "a link over TLS needs somebody to trust; expected ca_file = \"PATH\", the certificate that the \
                           T-Server's own is signed by (PEM)";
            findings.error(place, "[[tserver]] ca_file", message);
        }
        (false, Some(place)) => {
            findings.error(place, "[[tserver]] ca_file", "does nothing without TLS; expected primary = \"tls:HOST:PORT\"");
        }
        _ => {}
    }
    if let Some(place) = span_of(&entry.tls_name).filter(|_| !is_tls) {
        findings.error(place, "[[tserver]] tls_name", "does nothing without TLS; expected primary = \"tls:HOST:PORT\"");
    }
}

fn dns(file: Vec<Spanned<raw::MonitoredDn>>, tserver: Range<usize>, findings: &mut Findings) -> Vec<MonitoredDn> {
    let mut dns: Vec<MonitoredDn> = Vec::new();
    for entry in file {
        let (span, entry) = (entry.span(), entry.into_inner());
        let Some(dn) = given(&entry.dn) else {
            findings.error(span, "[[tserver]] dns", "has no dn; expected dn = \"7001\" or dn = \"7001-7049\"");
            continue;
        };
        if let Some(other) = dns.iter().find(|other| other.dn.meets(&dn)) {
            let message = format!("\"{dn}\" meets \"{}\"; expected each DN once", other.dn);
            findings.error(span_of(&entry.dn).unwrap_or(span), "[[tserver]] dns dn", message);
        }
        let dn_type = given(&entry.dn_type).unwrap_or(DnType::Extension);
        dns.push(MonitoredDn { dn, dn_type, geo_location: given(&entry.geo_location) });
    }
    let count = dns.iter().fold(0_u64, |sum, dns| sum.saturating_add(dns.dn.count()));
    if count > MOST_DNS {
        let message = format!("{count} DNs are more than one link takes; expected at most {MOST_DNS}: narrow the ranges");
        findings.error(tserver, "[[tserver]] dns", message);
    }
    dns
}

/// Nobody tells of the calls of a switch without a SIP T-Server: rules cannot have them recorded.
pub(super) fn warn_of_unmonitorable(switches: &[Switch], places: &[Range<usize>], tservers: &[TServer], findings: &mut Findings) {
    let without = |switch: &Switch| !tservers.iter().any(|tserver| tserver.switch == switch.id);
    for (switch, place) in switches.iter().zip(places).filter(|(switch, _)| without(switch)) {
        let message = format!(
            "switch {:?} cannot be monitored, for it has no SIP T-Server: its calls are recorded only when the media server \
             asks by itself; write a [[tserver]] with switch = {:?}",
            switch.id.0, switch.id.0
        );
        findings.warning(place.clone(), "[[switch]]", message);
    }
}

pub(super) fn peers(file: Vec<Spanned<raw::Peer>>, findings: &mut Findings) -> Vec<Peer> {
    let mut peers: Vec<Peer> = Vec::new();
    for entry in file {
        let (span, entry) = (entry.span(), entry.into_inner());
        let Some(uri) = given(&entry.uri).map(|uri| uri.0) else {
            findings.error(span, "[[peer]]", "has no uri; expected uri = \"sip:HOST:PORT\"");
            continue;
        };
        if peers.iter().any(|peer| peer.uri == uri) {
            let message = format!("{uri:?} is there twice; expected each peer once");
            findings.error(span_of(&entry.uri).unwrap_or(span), "[[peer]] uri", message);
            continue;
        }
        peers.push(Peer { uri, geo_location: given(&entry.geo_location) });
    }
    peers
}

pub(super) fn calendars(file: Vec<Spanned<raw::Calendar>>, findings: &mut Findings) -> Vec<Calendar> {
    let mut calendars: Vec<Calendar> = Vec::new();
    for entry in file {
        let (span, entry) = (entry.span(), entry.into_inner());
        let Some(name) = given(&entry.name) else {
            findings.error(span, "[[calendar]]", "has no name; expected name = \"…\", by which rules name it");
            continue;
        };
        if calendars.iter().any(|calendar| calendar.name == name) {
            let message = format!("{name:?} is there twice; expected another name for each calendar");
            findings.error(span_of(&entry.name).unwrap_or_else(|| span.clone()), "[[calendar]] name", message);
        }
        entries(&entry.days, "[[calendar]] days", findings);
        let calendar = Calendar {
            name,
            time_zone: given(&entry.time_zone).unwrap_or(TimeZone::UTC),
            days: entry.week_days(),
            hours: entries(&entry.hours, "[[calendar]] hours", findings),
            dates: entries(&entry.dates, "[[calendar]] dates", findings),
            except: entries(&entry.except, "[[calendar]] except", findings),
        };
        if calendar.is_empty() {
            let message = "is empty: each of its dates is excepted, or on none of its days; expected at least one day";
            findings.error(span, "[[calendar]]", message);
        }
        calendars.push(calendar);
    }
    calendars
}
