//! The state of the box for page, metrics and peers: what is counted, what is wrong, whether calls are taken.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::assurance::Kind;
use crate::clock::Now;
use crate::cti::LinkState;
use crate::cti::link::Counters;
use crate::model::recording::SetAside;
use crate::model::{LegCounters, MonoTime, Recording, RecordingId, RecordingNo, Stage, StreamKey, StreamReport, TenantId};
use crate::panel::Word;
use crate::sip::Availability;
use crate::tones::driver::sidecar::Sidecar;
use crate::tones::source::State;
use crate::web::alarms::Severity;
use crate::web::status::{Aside, Assurance, Disk, Medium, SHOWN, TServer, Target, ToneSidecar, ToneSource, Totals};
use crate::web::view::RecordingView;
use crate::web::{self, Status};

use super::Daemon;
use super::signalling::RETRY_AFTER_S;

/// Recordings that are set aside that the page shows; `nearend recordings ls --set-aside` lists all.
const ASIDE: usize = 100;

/// Ended recordings that are remembered to be shown; of each tenant the page shows fewer.
pub(super) const RECENT: usize = 100;

/// The spool's thread turns at least every 5 s, the media thread four times a second. What does not for so long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(15);

/// Whether a thread still turns.
#[derive(Default)]
struct Pulse {
    /// Its turns, and since when there have been no more.
    last: Option<(u64, MonoTime)>,
    hangs: bool,
}

impl Pulse {
    /// Tells whether `hangs` has changed.
    fn beat(&mut self, now: MonoTime, turns: u64) -> bool {
        let (_, since) = self.last.filter(|(last, _)| *last == turns).unwrap_or((turns, now));
        self.last = Some((turns, since));
        let hangs = now.since(since) >= HANGS_AFTER;
        hangs != std::mem::replace(&mut self.hangs, hangs)
    }
}

/// What the daemon remembers to show.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) totals: Totals,
    pub(super) stopping: bool,
    disk: Disk,
    /// What the segments take.
    spool_bytes: Option<u64>,
    spool_pulse: Pulse,
    media_pulse: Pulse,
    /// The disk is below its floor.
    pub(super) full: bool,
    targets: BTreeMap<String, Target>,
    waiting: BTreeSet<RecordingNo>,
    /// Recordings that a target will not take, the newest of them.
    aside: BTreeMap<RecordingNo, (RecordingId, TenantId, Vec<SetAside>)>,
    recent: VecDeque<(RecordingNo, RecordingView)>,
    /// The latest counters of each open stream; those of closed ones are in the totals.
    open_streams: BTreeMap<StreamKey, LegCounters>,
}

impl Ledger {
    pub(super) fn new(targets: impl Iterator<Item = String>) -> Ledger {
        Ledger { targets: targets.map(|name| (name, Target::default())).collect(), ..Ledger::default() }
    }

    pub(super) fn target(&mut self, name: &str) -> &mut Target {
        self.targets.entry(name.to_owned()).or_default()
    }

    pub(super) fn count(&mut self, report: &StreamReport) {
        if report.closed {
            self.open_streams.remove(&report.key);
            self.totals.media = self.totals.media.plus(&report.counters);
        } else {
            self.open_streams.insert(report.key, report.counters);
        }
    }

    /// A description is durable.
    pub(super) fn remember(&mut self, recording: &Recording) {
        match recording.stage {
            Stage::Recording => return,
            Stage::Ended | Stage::Finished => drop(self.waiting.insert(recording.no)),
            Stage::Delivered | Stage::Released => drop(self.waiting.remove(&recording.no)),
        }
        self.aside.remove(&recording.no);
        if recording.stage == Stage::Finished && !recording.set_aside.is_empty() {
            self.aside.insert(recording.no, (recording.id.clone(), recording.tenant.clone(), recording.set_aside.clone()));
            while self.aside.len() > ASIDE {
                self.aside.pop_first();
            }
        }
        self.recent.retain(|(known, _)| *known != recording.no);
        let newer = self.recent.iter().take_while(|(known, _)| *known > recording.no).count();
        self.recent.insert(newer, (recording.no, RecordingView::from(recording)));
        self.recent.truncate(RECENT);
    }

    /// Bytes in the spool and bytes free, once they are known.
    pub(super) fn fill(&self) -> Option<(u64, u64)> {
        self.spool_bytes.map(|used| (used, self.disk.free_bytes))
    }

    pub(super) fn space(&mut self, free_bytes: u64, used_bytes: u64, accepting: bool) {
        self.disk.free_bytes = free_bytes;
        self.spool_bytes = Some(used_bytes);
        if self.full == accepting {
            self.full = !accepting;
            if self.full {
                tracing::error!(
                    free_bytes,
                    "the disk is below its floor: new calls get 503, running ones go on; free space or raise [spool] floor_bytes"
                );
            } else {
                tracing::info!(free_bytes, "there is room on the disk again: calls are taken");
            }
        }
    }

    pub(super) fn trouble(&mut self, trouble: Option<String>) {
        match &trouble {
            Some(what) => tracing::error!("the spool cannot write: {what}; new calls get 503"),
            None => tracing::info!("the spool writes again"),
        }
        self.disk.trouble = trouble;
    }

    fn media(&self) -> LegCounters {
        self.open_streams.values().fold(self.totals.media, LegCounters::plus)
    }
}

impl Daemon {
    /// Why a new call is not taken; none: it is.
    pub(super) fn refusing(&self) -> Option<String> {
        let max = usize::try_from(self.config.sip.max_recordings).unwrap_or(usize::MAX);
        if self.ledger.stopping {
            Some("the box is stopping".into())
        } else if let Some(trouble) = &self.ledger.disk.trouble {
            Some(format!("the spool cannot write: {trouble}"))
        } else if self.ledger.spool_pulse.hangs {
            Some(format!("the disk has not answered for {HANGS_AFTER:?}"))
        } else if self.ledger.media_pulse.hangs {
            Some(format!("no audio has been read for {HANGS_AFTER:?}"))
        } else if self.ledger.full {
            Some("the disk is below [spool] floor_bytes".into())
        } else if self.calls.running() >= max {
            Some(format!("{max} recordings are running, which is all [sip] max_recordings allows"))
        } else {
            None
        }
    }

    /// What OPTIONS says from now on.
    pub(super) fn announce(&mut self) {
        let availability = match self.refusing() {
            None => Availability::Available,
            Some(reason) => Availability::Unavailable { reason, retry_after_s: RETRY_AFTER_S },
        };
        self.sip.endpoint().set_availability(availability);
    }

    /// Renews page and metrics.
    pub(super) fn publish(&mut self, now: Now) {
        self.feel_pulses(now.mono);
        for (name, standing) in self.forwarder.standings() {
            let target = self.ledger.target(&name);
            (target.waiting, target.waiting_bytes) = (standing.waiting, standing.waiting_bytes);
            target.set_aside = standing.set_aside;
        }
        let calls = some_of_each_tenant(self.calls.recordings().filter(|call| call.ended.is_none()));
        let host = self.host.borrow().clone();
        let tone_sidecar = tone_sidecar(&self.tone_sidecar.borrow());
        let mut status = Status {
            site: self.config.site.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            time: now.wall,
            uptime_s: now.mono.since(self.started.mono).as_secs(),
            refusing: self.refusing(),
            running: self.calls.running(),
            waiting: self.ledger.waiting.len(),
            alarms: Vec::new(),
            calls,
            recent: self.ledger.recent.iter().map(|(_, view)| view.clone()).collect(),
            host,
            history: Arc::clone(&self.history),
            tone_source: self.tone_source(),
            tone_sidecar,
            assurance: self.assurance(),
            aside: self.ledger.aside.values().rev().cloned().flat_map(aside).collect(),
            web_refused: self.access.refused(),
            totals: self.totals(),
            disk: self.disk(),
            targets: self.ledger.targets.clone(),
            unmonitorable: self.judge.unmonitorable(),
            tservers: self.cti.links().into_iter().map(|link| tserver(self.centre.age_s(now.wall, &link), link)).collect(),
        };
        if self.history.is_due(now.mono, &status) {
            Arc::make_mut(&mut self.history).add(now.mono, &status);
            status.history = Arc::clone(&self.history);
        }
        let disk = &mut status.disk;
        disk.lasts_hours = self.history.disk_lasts_hours(disk.free_bytes, disk.floor_bytes);
        status.alarms = web::alarms::of(&status);
        self.teller.look(now, &status);
        self.panel.say(&word(&status));
        self.status.send_replace(status);
    }

    /// Looks whether audio is still read and written, and feeds systemd's watchdog only then.
    fn feel_pulses(&mut self, now: MonoTime) {
        let (spool, media) = (&mut self.ledger.spool_pulse, &mut self.ledger.media_pulse);
        match (spool.beat(now, self.spool.counters().turns.load(Relaxed)), spool.hangs) {
            (true, true) => tracing::error!("the disk has not answered for {HANGS_AFTER:?}: new calls get 503; check its health"),
            (true, false) => tracing::info!("the disk answers again"),
            (false, _) => {}
        }
        match (media.beat(now, self.media.sweeps().load(Relaxed)), media.hangs) {
            (true, true) => {
                tracing::error!("no audio has been read for {HANGS_AFTER:?}: new calls get 503; systemd restarts the daemon")
            }
            (true, false) => tracing::info!("audio is read again"),
            (false, _) => {}
        }
        if self.watched && !spool.hangs && !media.hangs {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]); // without systemd there is nobody to tell
        }
    }

    fn assurance(&self) -> Assurance {
        let day = &self.assurer.day;
        let findings = Kind::ALL.into_iter().map(|kind| (kind.name(), day.findings.get(&kind).copied().unwrap_or_default()));
        Assurance { checked: day.checked, findings: findings.collect(), summary: day.in_words() }
    }

    fn tone_source(&self) -> Option<ToneSource> {
        let outcome = self.tone_source.as_ref()?.borrow().clone()?;
        let uri = self.config.tone.audiosrc.as_ref()?.0.clone();
        Some(ToneSource { uri, state: outcome.state.name(), usable: outcome.state == State::Usable, detail: outcome.detail })
    }

    fn disk(&self) -> Disk {
        let wear = self.wear.wear.borrow().clone();
        let medium = Medium {
            device: wear.device,
            bytes_per_hour: wear.bytes_per_hour,
            written_bytes: wear.written_bytes,
            used_percent: wear.used_percent,
            left_hours: wear.left_hours,
            warning: wear.warning,
        };
        let spool_bytes = self.ledger.spool_bytes.unwrap_or_default();
        Disk { floor_bytes: self.config.spool.floor_bytes, spool_bytes, medium, ..self.ledger.disk.clone() }
    }

    fn totals(&mut self) -> Totals {
        let sip = self.sip.endpoint().counters();
        let spool = self.spool.counters();
        Totals {
            sip_requests: sip.requests.clone(),
            sip_dropped: sip.dropped,
            media: self.ledger.media(),
            blocks: spool.blocks.load(Relaxed),
            blocks_dropped: spool.dropped_blocks.load(Relaxed),
            spool_bytes: spool.bytes_written.load(Relaxed),
            fsyncs: spool.fsyncs.load(Relaxed),
            ..self.ledger.totals.clone()
        }
    }
}

/// What the panel shows of it.
fn word(status: &Status) -> Word {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let critical = status.alarms.iter().filter(|alarm| alarm.severity == Severity::Critical).count();
    Word {
        refusing: status.refusing.is_some(),
        running: count(status.running),
        waiting: count(status.waiting),
        target_trouble: status.targets.values().any(|target| target.trouble.is_some()),
        clock_wrong: status.host.clock_synchronised == Some(false),
        critical: count(critical),
        warnings: count(status.alarms.len() - critical),
    }
}

/// So many that each of their tenants has its page full.
fn some_of_each_tenant<'a>(calls: impl Iterator<Item = &'a Recording>) -> Vec<RecordingView> {
    let mut taken: BTreeMap<&TenantId, usize> = BTreeMap::new();
    let mut is_shown = |call: &'a Recording| {
        let taken = taken.entry(&call.tenant).or_default();
        *taken += 1;
        *taken <= SHOWN
    };
    calls.filter(|call| is_shown(call)).map(RecordingView::from).collect()
}

fn aside((recording, tenant, targets): (RecordingId, TenantId, Vec<SetAside>)) -> impl Iterator<Item = Aside> {
    let aside = move |SetAside { target, time, why }| Aside {
        recording: recording.to_string(),
        tenant: tenant.0.to_string(),
        target,
        since: time,
        why,
    };
    targets.into_iter().map(aside)
}

fn tone_sidecar(sidecar: &Sidecar) -> Option<ToneSidecar> {
    let (state, trouble) = (sidecar.name(), sidecar.trouble());
    match sidecar {
        Sidecar::Absent => None,
        Sidecar::Silent(_) => Some(ToneSidecar { state, trouble, ..ToneSidecar::default() }),
        Sidecar::Answers(status) => {
            let (underruns, device_losses) = (status.underruns, status.device_losses);
            Some(ToneSidecar { state, trouble, device: status.device.clone(), underruns, device_losses })
        }
    }
}

fn tserver(configuration_age_s: Option<u64>, link: LinkState) -> (String, TServer) {
    let LinkState { name, is_up: up, trouble, counters } = link;
    let Counters { messages, bad_lines, duplicates, lost, connections, .. } = counters;
    (name, TServer { up, trouble, configuration_age_s, messages, bad_lines, lost, duplicates, connections })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_hangs_is_noticed_and_a_slow_one_is_not() {
        let second = |s: u64| MonoTime(s * 1_000_000);
        let mut pulse = Pulse::default();
        let mut beat = |s, turns| {
            pulse.beat(second(s), turns);
            pulse.hangs
        };
        assert!(!beat(99, 0), "it has just begun");
        assert!(!beat(100, 1));
        assert!(!beat(110, 1), "a sync of five seconds, twice");
        assert!(!beat(114, 2));
        assert!(beat(129, 2));
        assert!(!beat(130, 3));
    }
}
