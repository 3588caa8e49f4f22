//! The raw image of the file: which tables and keys there are, each value read by itself, nothing yet compared or defaulted.
//!
//! Serde stops at the first error, but a person wants to see all of them. So [`read`] takes what is wrong out of the table
//! and reads again, until the rest is right.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use super::control;
use super::diagnostic::{Findings, nearest};
use super::tenant::Recipient;
use super::tone::Audiosrc;
use super::value::{Listen, Network, PortRange, Size, Source, Text};
use super::wan::{Addressing, BrokerUrl, Kind, Policy, Priority, Rate, Secret, Url, Window, Zone};
use super::web::PageTls;
use crate::model::{AudioFormat, ToneDemand};
use crate::tones::presets::Preset;

/// A value and its place, if the key is there.
pub(super) type Key<V> = Option<Spanned<Text<V>>>;
/// A list of values, each with its place.
pub(super) type List<V> = Option<Spanned<Vec<Spanned<Text<V>>>>>;

/// All tables. What a key means and what is used without it is written in docs/configuration.md.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) site: Site,
    pub(super) sip: Sip,
    pub(super) rtp: Rtp,
    pub(super) spool: Spool,
    pub(super) tenant: Vec<Spanned<Tenant>>,
    pub(super) switch: Vec<Spanned<control::raw::Switch>>,
    pub(super) tserver: Vec<Spanned<control::raw::TServer>>,
    pub(super) peer: Vec<Spanned<control::raw::Peer>>,
    pub(super) calendar: Vec<Spanned<control::raw::Calendar>>,
    pub(super) rule: Vec<Spanned<control::raw::Rule>>,
    pub(super) target: Vec<Spanned<Target>>,
    pub(super) tone: Tone,
    pub(super) control: Control,
    pub(super) forward: Forward,
    pub(super) events: Events,
    pub(super) web: Web,
}

/// `[site]`: where the box is.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Site {
    pub(super) name: Key<String>,
    pub(super) geo_location: Key<String>,
    pub(super) data_dir: Key<PathBuf>,
}

/// `[sip]`: who may have calls recorded, and how many.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Sip {
    pub(super) listen: List<Listen>,
    pub(super) advertise: Key<IpAddr>,
    pub(super) trusted: List<Network>,
    pub(super) max_recordings: Option<Spanned<u32>>,
    pub(super) session_expires: Key<Duration>,
    pub(super) min_se: Key<Duration>,
    pub(super) cert_file: Key<Secret>,
    pub(super) key_file: Key<Secret>,
    pub(super) client_ca_file: Key<Secret>,
}

/// `[rtp]`: where audio arrives.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Rtp {
    pub(super) address: Key<IpAddr>,
    pub(super) ports: Key<PortRange>,
    pub(super) source: Key<Source>,
    pub(super) silence_timeout: Key<Duration>,
}

/// `[spool]`: where calls are kept while they are not yet in the data centre.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Spool {
    pub(super) path: Key<PathBuf>,
    pub(super) floor_bytes: Key<Size>,
    pub(super) max_bytes: Key<Size>,
}

/// `[[tenant]]`: whose calls they are.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tenant {
    pub(super) id: Key<String>,
    pub(super) name: Key<String>,
    pub(super) parent: Key<String>,
    pub(super) format: Key<AudioFormat>,
    pub(super) switches: List<String>,
    pub(super) recipients: List<Recipient>,
    pub(super) retention: Key<Duration>,
    pub(super) priority: Key<Priority>,
    pub(super) share: Option<Spanned<u32>>,
}

/// `[[target]]`: where finished recordings go. Which keys belong to which kind is looked at when all are read.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Target {
    pub(super) name: Key<String>,
    pub(super) kind: Key<Kind>,
    pub(super) path: Key<PathBuf>,
    pub(super) endpoint: Key<Url>,
    pub(super) bucket: Key<String>,
    pub(super) region: Key<String>,
    pub(super) prefix: Key<String>,
    pub(super) addressing: Key<Addressing>,
    pub(super) access_key_file: Key<Secret>,
    pub(super) secret_key_file: Key<Secret>,
    pub(super) part_bytes: Key<Size>,
    pub(super) url: Key<Url>,
    pub(super) user: Key<String>,
    pub(super) password_file: Key<Secret>,
    pub(super) ca_file: Key<Secret>,
    pub(super) timeout: Key<Duration>,
    pub(super) metadata_url: Key<Url>,
    pub(super) metadata_user: Key<String>,
    pub(super) metadata_password_file: Key<Secret>,
}

/// `[forward]`: how fast, when, and to how many targets.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Forward {
    pub(super) deliver: Key<Policy>,
    pub(super) rate: Key<Rate>,
    pub(super) windows: List<Window>,
    pub(super) time_zone: Key<Zone>,
}

/// `[tone]`: which recording tone recordings are to hold.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tone {
    pub(super) preset: Key<Preset>,
    pub(super) demand: Key<ToneDemand>,
    pub(super) audiosrc: Key<Audiosrc>,
    pub(super) sidecar: Key<PathBuf>,
}

/// `[events]`: who is told what happens.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Events {
    pub(super) broker: Key<BrokerUrl>,
    pub(super) topic: Key<String>,
    pub(super) user: Key<String>,
    pub(super) password_file: Key<Secret>,
    pub(super) ca_file: Key<Secret>,
    pub(super) cert_file: Key<Secret>,
    pub(super) key_file: Key<Secret>,
    pub(super) status_every: Key<Duration>,
}

/// `[control]`: pause, resume and stop, and what the switch is asked.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Control {
    pub(super) pause_limit: Key<Duration>,
    pub(super) missing_after: Key<Duration>,
    pub(super) mask_digits: Option<Spanned<bool>>,
    pub(super) start_service: Option<Spanned<u64>>,
    pub(super) stop_service: Option<Spanned<u64>>,
    pub(super) pause_service: Option<Spanned<u64>>,
    pub(super) resume_service: Option<Spanned<u64>>,
}

/// `[web]`: the status page.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Web {
    pub(super) listen: Key<SocketAddr>,
    pub(super) tls: Key<PageTls>,
    pub(super) cert_file: Key<Secret>,
    pub(super) key_file: Key<Secret>,
}

/// The tables of which there is one, and those that may come several times and so are written `[[table]]`.
const SINGLE: [&str; 9] = ["site", "sip", "rtp", "spool", "tone", "control", "forward", "events", "web"];
const REPEATED: [&str; 7] = ["tenant", "switch", "tserver", "peer", "calendar", "rule", "target"];

/// Reads the text as far as it can be read; everything that cannot is a finding.
pub(super) fn read(text: &str, findings: &mut Findings) -> File {
    let (table, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        for error in syntax {
            findings.error(error.span().unwrap_or_default(), "", format!("not TOML: {}", error.message()));
        }
        return File::default(); // what stands behind a syntax error is guesswork
    }
    let span = table.span();
    let mut table = take_out_misshapen(table.into_inner(), findings);
    loop {
        let whole = Spanned::new(span.clone(), table.clone());
        match File::deserialize(Deserializer::from(whole)) {
            Ok(file) => return file,
            Err(error) => {
                let path = Place::find(&table, &error.span().unwrap_or_default());
                report(&path, &error, findings);
                // Every path leads to a key, but a loop must end, and soon: what is hopeless is not read a thousand times.
                if findings.is_full() || !path.take_out(&mut table) {
                    return File::default();
                }
            }
        }
    }
}

/// Finds `[tenant]` for `[[tenant]]` and its like before serde does, which would tell of maps and sequences.
fn take_out_misshapen<'i>(table: DeTable<'i>, findings: &mut Findings) -> DeTable<'i> {
    let mut kept = DeTable::new();
    for (key, value) in table {
        match misshapen(key.get_ref(), value.get_ref()) {
            None => drop(kept.insert(key, value)),
            Some(message) => findings.error(key.span(), key.get_ref().escape_debug().to_string(), message),
        }
    }
    kept
}

fn misshapen(name: &str, value: &DeValue) -> Option<String> {
    let repeated = REPEATED.contains(&name);
    let (table, tables) = match value {
        DeValue::Table(_) => (true, false),
        DeValue::Array(items) => (false, repeated && items.is_empty() || is_tables(items)),
        _ => (false, false),
    };
    if !table && !tables {
        return Some("is outside of every table; expected it below a [table] line".into());
    }
    if SINGLE.contains(&name) && tables {
        return Some(format!("there is only one; expected a table in single brackets: [{name}]"));
    }
    (repeated && table).then(|| format!("there may be several; expected a table in double brackets: [[{name}]]"))
}

fn is_tables(items: &[Spanned<DeValue>]) -> bool {
    !items.is_empty() && items.iter().all(|item| item.get_ref().is_table())
}

/// Says what serde found in the file's own words.
fn report(place: &Place, error: &toml::de::Error, findings: &mut Findings) {
    let message = match error.message().starts_with("unknown field") {
        true => unknown_key(place, &known_keys(error.message())),
        false => error.message().replace("a sequence", "a list in [brackets]"),
    };
    findings.error(error.span().unwrap_or_default(), place.shown(), message);
}

fn unknown_key(place: &Place, known: &[&str]) -> String {
    let is_table = place.keys().count() == 1;
    let shown = |key: &&str| if is_table { in_brackets(key) } else { (*key).to_owned() };
    let meant = place.keys().next_back().and_then(|key| nearest(key, known));
    format!(
        "this version knows no such {}; expected one of {}{}",
        if is_table { "table" } else { "key" },
        known.iter().map(shown).collect::<Vec<_>>().join(", "),
        meant.map(|key| format!("; did you mean {}?", shown(&key))).unwrap_or_default()
    )
}

fn in_brackets(table: &str) -> String {
    if REPEATED.contains(&table) { format!("[[{table}]]") } else { format!("[{table}]") }
}

/// The keys that serde lists behind "unknown field `x`, expected one of": every second piece between backquotes.
fn known_keys(message: &str) -> Vec<&str> {
    let list = message.rsplit_once(", expected ").map_or("", |(_, list)| list);
    list.split('`').skip(1).step_by(2).collect()
}

/// Where in the tree of tables a value stands.
#[derive(Default)]
struct Place(Vec<Step>);

/// A step from a table or a list to what is in it.
enum Step {
    Key(String),
    Item(usize),
}

impl Place {
    /// Of the key or value that is written at `span`: an error knows no other place, and every span is there once.
    fn find(table: &DeTable, span: &Range<usize>) -> Place {
        let mut place = Place::default();
        place.find_in(table, span);
        place
    }

    fn find_in(&mut self, table: &DeTable, span: &Range<usize>) -> bool {
        table.iter().any(|(key, value)| {
            let step = Step::Key(key.get_ref().to_string());
            self.find_behind(step, value, span, key.span() == *span)
        })
    }

    /// The innermost first, because a list of one and its item may have the same span.
    fn find_behind(&mut self, step: Step, value: &Spanned<DeValue>, span: &Range<usize>, is_here: bool) -> bool {
        self.0.push(step);
        let is_below = match value.get_ref() {
            DeValue::Table(table) => self.find_in(table, span),
            DeValue::Array(items) => {
                items.iter().enumerate().any(|(index, item)| self.find_behind(Step::Item(index), item, span, false))
            }
            _ => false,
        };
        let is_found = is_below || is_here || value.span() == *span;
        if !is_found {
            self.0.pop();
        }
        is_found
    }

    fn keys(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.iter().filter_map(|s| match s {
            Step::Key(key) => Some(key.as_str()),
            Step::Item(_) => None,
        })
    }

    /// `[rtp] ports`, `[[tenant]] id`, `[site]`.
    fn shown(&self) -> String {
        let mut keys = self.keys().map(|key| key.escape_debug().to_string());
        let table = in_brackets(&keys.next().unwrap_or_default());
        std::iter::once(table).chain(keys).collect::<Vec<_>>().join(" ")
    }

    /// Takes the value that stands here out of the table; false when there is none.
    fn take_out(&self, table: &mut DeTable) -> bool {
        let Some((Step::Key(first), rest)) = self.0.split_first() else { return false };
        if rest.is_empty() {
            return table.remove(first.as_str()).is_some();
        }
        table.get_mut(first.as_str()).is_some_and(|value| take_out_below(value, rest))
    }
}

fn take_out_below(value: &mut Spanned<DeValue>, path: &[Step]) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    match (value.get_mut(), first) {
        (DeValue::Table(table), Step::Key(key)) if rest.is_empty() => table.remove(key.as_str()).is_some(),
        (DeValue::Table(table), Step::Key(key)) => table.get_mut(key.as_str()).is_some_and(|value| take_out_below(value, rest)),
        (DeValue::Array(list), Step::Item(index)) if rest.is_empty() && *index < list.len() => {
            let items = std::mem::replace(list, DeArray::new());
            *list = items.into_iter().enumerate().filter(|(i, _)| i != index).map(|(_, item)| item).collect();
            true
        }
        (DeValue::Array(list), Step::Item(index)) => list.get_mut(*index).is_some_and(|value| take_out_below(value, rest)),
        _ => false,
    }
}
