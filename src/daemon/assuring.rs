//! Checks every recording that is over, counts what is wrong, and writes the day's report.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::assurance::report::Entry;
use crate::assurance::{Call, Day, Finding, Heard, Kind, Tolerance, check};
use crate::clock::Now;
use crate::cti::By;
use crate::model::tone::ChannelTones;
use crate::model::{MonoTime, Recording, TenantId, ToneDemand, WallTime};

use super::Daemon;

/// A report that changes is written this often: each writing wears the medium.
const WRITE_EVERY: Duration = Duration::from_secs(60);

/// Reports that are kept.
const DAYS_KEPT: usize = 90;

/// The day so far.
pub(super) struct Assurer {
    folder: PathBuf,
    pub(super) day: Day,
    is_dirty: bool,
    written: MonoTime,
}

impl Assurer {
    /// Goes on with today's report, if there is one.
    pub(super) fn open(folder: PathBuf, now: Now) -> Assurer {
        let today = Day::begin(now.wall);
        let path = folder.join(format!("{}.json", today.date));
        let day = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                tracing::warn!("{}: {error}; the day's report is begun anew", path.display());
                today
            }),
            Err(_) => today, // there is none yet
        };
        Assurer { folder, day, is_dirty: false, written: now.mono }
    }

    /// Checks a recording that is over.
    fn check(&mut self, now: WallTime, recording: &Recording) {
        let heard = Heard::of(recording);
        let findings = check(&expected(recording), &[&heard], Tolerance::default());
        for finding in &findings {
            tracing::warn!(recording = %recording.id, finding = finding.kind.name(), "not recorded as it should be: {}", finding.detail);
        }
        self.day.add(entry(now, recording, findings));
        self.is_dirty = true;
    }

    /// Looks at the recording tone of one that is finished.
    fn check_tone(&mut self, now: WallTime, recording: &Recording) -> bool {
        let Some(detail) = Heard::of(recording).tone_fault else { return false };
        tracing::warn!(recording = %recording.id, finding = Kind::Tone.name(), "not recorded as it should be: {detail}");
        self.day.amend(entry(now, recording, vec![Finding { kind: Kind::Tone, detail }]));
        self.is_dirty = true;
        true
    }

    /// A call that is to be recorded is not.
    fn miss(&mut self, now: WallTime, by: By, tenant: &TenantId, detail: String) {
        let (rule, detail) = match by {
            By::Rule(rule) => (Some(rule), detail),
            By::Strategy => (None, format!("{detail}, wanted by a routing strategy")),
            By::ThirdParty => (None, format!("{detail}, asked for by a third party")),
        };
        tracing::error!(%tenant, rule, "not recorded: {detail}; look at the log of the switch and of the media server");
        let findings = vec![Finding { kind: Kind::Missing, detail }];
        self.day.add(Entry { time: now.to_string(), recording: None, rule, tenant: tenant.to_string(), findings });
        self.is_dirty = true;
    }

    /// Writes the report when it is time, and begins a new one with each day.
    fn tick(&mut self, now: Now) {
        let is_over = self.day.date != now.wall.date();
        if self.is_dirty && (is_over || now.mono.since(self.written) >= WRITE_EVERY) {
            let (folder, day) = (self.folder.clone(), self.day.clone());
            tokio::task::spawn_blocking(move || write(&folder, &day));
            (self.is_dirty, self.written) = (false, now.mono);
        }
        if is_over {
            tracing::info!(date = self.day.date, "the day's report: {}", self.day.in_words());
            self.day = Day::begin(now.wall);
        }
    }

    /// Writes what is not yet written.
    pub(super) fn close(&self) {
        if self.is_dirty {
            write(&self.folder, &self.day);
        }
    }
}

fn entry(now: WallTime, recording: &Recording, findings: Vec<Finding>) -> Entry {
    Entry {
        time: now.to_string(),
        recording: Some(recording.id.to_string()),
        rule: recording.ruling.as_ref().map(|ruling| ruling.rule.clone()),
        tenant: recording.tenant.to_string(),
        findings,
    }
}

/// The call as the switch told of it; without a word from there, as long as its recording.
fn expected(recording: &Recording) -> Call {
    let couples = recording.conversation.as_ref().map(|conversation| &*conversation.couples).unwrap_or_default();
    let ended = recording.ended.unwrap_or(recording.started);
    let last = couples.iter().map(|couple| couple.ended).try_fold(recording.started, |last, end| end.map(|end| last.max(end)));
    Call {
        call_uuid: recording.call_uuid.clone(),
        dn: None,
        started: couples.iter().map(|couple| couple.started).min().unwrap_or(recording.started),
        ended: last.filter(|_| !couples.is_empty()).unwrap_or(ended),
    }
}

fn write(folder: &Path, day: &Day) {
    if let Err(error) = try_write(folder, day) {
        tracing::warn!("the day's report cannot be written to {}: {error}", folder.display());
    }
}

fn try_write(folder: &Path, day: &Day) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(format!("{}.json", day.date));
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, serde_json::to_vec_pretty(day)?)?;
    std::fs::rename(&temporary, &path)?;
    let mut reports: Vec<PathBuf> = std::fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    reports.retain(|report| report.extension().is_some_and(|extension| extension == "json"));
    reports.sort(); // names are dates
    let old = reports.len().saturating_sub(DAYS_KEPT);
    reports.drain(..old).try_for_each(std::fs::remove_file)
}

impl Daemon {
    /// A recording is over, and its description is durable.
    pub(super) fn assure(&mut self, now: Now, recording: &Recording) {
        self.assurer.check(now.wall, recording);
    }

    /// Its files stand: now it is known which tones are in it.
    pub(super) fn assure_tone(&mut self, now: Now, recording: &Recording) {
        let Some(tones) = &recording.tones else { return };
        let sum = |count: fn(&ChannelTones) -> u64| tones.channels.iter().map(count).sum::<u64>();
        let (found, missing) = (sum(|channel| channel.found), sum(|channel| channel.missing));
        let is_wrong = self.assurer.check_tone(now.wall, recording);
        let totals = &mut self.ledger.totals.tones;
        totals.found += found;
        totals.missing += missing;
        totals.demanded += u64::from(tones.demand != ToneDemand::None);
        totals.failed += u64::from(is_wrong);
    }

    /// The switch's side misses a recording that somebody wants.
    pub(super) fn miss(&mut self, now: Now, by: By, tenant: &TenantId, detail: String) {
        self.assurer.miss(now.wall, by, tenant, detail);
    }

    pub(super) fn keep_report(&mut self, now: Now) {
        self.assurer.tick(now);
    }
}
