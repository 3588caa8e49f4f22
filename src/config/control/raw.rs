//! The raw image of the tables. What a key means and what is used without it is written in docs/configuration.md.

use std::collections::BTreeMap;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use serde::Deserialize;
use toml::Spanned;

use super::super::file::{Key, List};
use super::super::wan::Secret;
use super::value::{Days, Link, SipUri};
use crate::model::{AudioFormat, Direction, DnRange, DnType, Side};
use crate::rules::{DateRange, Hours, Record};

/// `[[switch]]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Switch {
    pub(super) id: Key<String>,
    pub(super) name: Key<String>,
}

/// `[[tserver]]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct TServer {
    pub(super) name: Key<String>,
    pub(super) switch: Key<String>,
    pub(super) primary: Key<Link>,
    pub(super) backup: Key<Link>,
    pub(super) ca_file: Key<Secret>,
    pub(super) tls_name: Key<String>,
    pub(super) dns: Vec<Spanned<MonitoredDn>>,
}

/// `[[tserver.dns]]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MonitoredDn {
    pub(super) dn: Key<DnRange>,
    #[serde(rename = "type")]
    pub(super) dn_type: Key<DnType>,
    pub(super) geo_location: Key<String>,
}

/// `[[peer]]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Peer {
    pub(super) uri: Key<SipUri>,
    pub(super) geo_location: Key<String>,
}

/// `[[calendar]]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Calendar {
    pub(super) name: Key<String>,
    pub(super) time_zone: Key<TimeZone>,
    pub(super) days: List<Days>,
    pub(super) hours: List<Hours>,
    pub(super) dates: List<DateRange>,
    pub(super) except: List<DateRange>,
}

impl Calendar {
    /// The days of the week in their order, each once.
    pub(super) fn week_days(&self) -> Vec<Weekday> {
        let items = self.days.iter().flat_map(|list| list.get_ref());
        let mut days: Vec<Weekday> = items.flat_map(|item| item.get_ref().0.0.clone()).collect();
        days.sort_by_key(|day| day.to_monday_zero_offset());
        days.dedup();
        days
    }
}

/// `[[rule]]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Rule {
    pub(super) name: Key<String>,
    pub(super) dn: List<DnRange>,
    pub(super) dn_type: List<DnType>,
    pub(super) other_dn: List<DnRange>,
    pub(super) agent: List<String>,
    pub(super) ani: List<String>,
    pub(super) dnis: List<String>,
    pub(super) direction: List<Direction>,
    pub(super) tenant: List<String>,
    pub(super) switch: List<String>,
    pub(super) during: Key<String>,
    pub(super) outside: Key<String>,
    pub(super) share_percent: Option<Spanned<i64>>,
    pub(super) attached: Option<Spanned<BTreeMap<String, List<String>>>>,
    pub(super) record: Key<Record>,
    pub(super) side: Key<Side>,
    pub(super) format: Key<AudioFormat>,
    pub(super) tone: Key<String>,
    pub(super) retention_class: Key<String>,
    pub(super) partitions: List<String>,
}
