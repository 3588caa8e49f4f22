//! The day's report: how many calls should have been recorded, and what is wrong with which.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::check::{Finding, Kind};
use crate::model::WallTime;

/// Entries that a report lists; what is beyond is only counted.
const MOST_ENTRIES: usize = 1_000;

/// A day in UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Day {
    /// `2026-03-02`
    pub date: String,
    /// Calls that were checked.
    pub checked: u64,
    /// Calls with nothing wrong.
    pub good: u64,
    /// How often each thing was wrong.
    pub findings: BTreeMap<Kind, u64>,
    /// The calls with something wrong.
    pub calls: Vec<Entry>,
    /// Those that are not listed.
    pub left_out: u64,
}

/// A call with something wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// When it was checked.
    pub time: String,
    /// The recording's id; none: there is none.
    pub recording: Option<String>,
    /// The rule that wanted it.
    pub rule: Option<String>,
    /// The tenant whose call it is.
    pub tenant: String,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Day {
    /// Nothing checked yet.
    pub fn begin(now: WallTime) -> Day {
        Day { date: now.date(), ..Day::default() }
    }

    /// A call was checked. `entry` says whose it is; it is listed when something is wrong.
    pub fn add(&mut self, entry: Entry) {
        self.checked += 1;
        if entry.findings.is_empty() {
            self.good += 1;
            return;
        }
        for finding in &entry.findings {
            *self.findings.entry(finding.kind).or_default() += 1;
        }
        if self.calls.len() < MOST_ENTRIES {
            self.calls.push(entry);
        } else {
            self.left_out += 1;
        }
    }

    /// More is wrong with a call than was known when it was checked.
    pub fn amend(&mut self, entry: Entry) {
        for finding in &entry.findings {
            *self.findings.entry(finding.kind).or_default() += 1;
        }
        if let Some(known) = self.calls.iter_mut().find(|known| known.recording == entry.recording) {
            known.findings.extend(entry.findings);
            return;
        }
        self.good = self.good.saturating_sub(1);
        if self.calls.len() < MOST_ENTRIES {
            self.calls.push(entry);
        } else {
            self.left_out += 1;
        }
    }

    /// For the page: `412 calls checked, 410 good; missing 1, one-sided 1`.
    pub fn in_words(&self) -> String {
        let wrong: Vec<String> = self.findings.iter().map(|(kind, count)| format!("{} {count}", kind.name())).collect();
        let wrong = if wrong.is_empty() { String::new() } else { format!("; {}", wrong.join(", ")) };
        format!("{} calls checked, {} good{wrong}", self.checked, self.good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kinds: &[Kind]) -> Entry {
        let finding = |kind: &Kind| Finding { kind: *kind, detail: String::new() };
        Entry {
            time: String::new(),
            recording: None,
            rule: None,
            tenant: "default".into(),
            findings: kinds.iter().map(finding).collect(),
        }
    }

    #[test]
    fn a_day_counts_and_lists() {
        let mut day = Day::begin(WallTime(1_772_460_359_000_000));
        day.add(entry(&[]));
        day.add(entry(&[Kind::LateStart, Kind::OneSided]));
        day.add(entry(&[Kind::OneSided]));
        assert_eq!(day.in_words(), "3 calls checked, 1 good; late-start 1, one-sided 2");
        assert_eq!((day.date.as_str(), day.calls.len()), ("2026-03-02", 2));
        let text = serde_json::to_string(&day).unwrap();
        assert_eq!(serde_json::from_str::<Day>(&text).unwrap(), day, "a restart goes on with it");
    }

    #[test]
    fn what_is_found_later_is_added_to_its_call() {
        let mut day = Day::begin(WallTime(0));
        let of = |id: &str, kinds: &[Kind]| Entry { recording: Some(id.into()), ..entry(kinds) };
        day.add(of("a", &[]));
        day.add(of("b", &[Kind::OneSided]));
        day.amend(of("a", &[Kind::Tone]));
        day.amend(of("b", &[Kind::Tone]));
        assert_eq!(day.in_words(), "2 calls checked, 0 good; one-sided 1, tone 2");
        assert_eq!(day.calls.iter().map(|call| call.findings.len()).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn a_bad_day_takes_no_more_memory_than_it_may() {
        let mut day = Day::begin(WallTime(0));
        (0..1_500).for_each(|_| day.add(entry(&[Kind::Missing])));
        assert_eq!((day.calls.len(), day.left_out, day.findings[&Kind::Missing]), (1_000, 500, 1_500));
    }
}
