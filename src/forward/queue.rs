//! What is delivered next to which target, and when a failure is tried again. Pure.
//!
//! Each target has its own line, so that a slow or dead one never holds up another, and each line two lanes: marked recordings
//! have one to themselves. In a lane go, in this order: those that failed alone least often (once is nothing: the link may have gone
//! just then), the class of the tenant, the tenant who has sent least for its share, the oldest.
//!
//! After a failure the target rests, for pauses that double from a quarter of a second to five minutes, half of each at random, so that ten
//! thousand boxes do not come back at once. While a target fails, one recording after the other is tried, so that none which cannot be
//! delivered stands in the way; a recording that fails again and again between successes of others is set aside, unless it was the way or
//! a busy server that failed. Nothing is ever dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{MonoTime, Recording, RecordingNo, TenantId};

use super::pace::Lane;
use super::target::Verdict;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A recording that failed so often while the target took others is set aside.
const MOST_FAILURES_ALONE: u8 = 6;
/// What the way or a busy server has failed at counts up to this, which is enough to let others pass.
const MOST_BLAMELESS: u8 = 3;
/// Failures in a row after which the next target takes over, where the first that works is enough.
const DOWN_AFTER: u32 = 3;
/// A recording costs its tenant at least so much of its share: requests are not free.
const LEAST_COST_BYTES: u64 = 16 << 10;

/// Which target, by its place in the configuration.
pub type TargetNo = usize;

/// When a recording is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// When every target has it.
    #[default]
    All,
    /// When one target has it: the first in the configuration that works.
    First,
}

/// How a tenant's recordings are ordered among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precedence {
    /// None: the lane of marked recordings; else a lower one goes first.
    pub class: Option<u8>,
    /// What the tenant gets beside others of its class.
    pub share: u32,
}

impl Default for Precedence {
    fn default() -> Precedence {
        Precedence { class: Some(1), share: 1 }
    }
}

/// What the queue goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How many targets there are.
    pub targets: usize,
    /// When a recording is delivered.
    pub policy: Policy,
    /// Tenants that are not as all others.
    pub tenants: BTreeMap<TenantId, Precedence>,
}

/// A finished recording, as far as its turn depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Which one.
    pub no: RecordingNo,
    /// Whose.
    pub tenant: TenantId,
    /// What its files weigh together.
    pub bytes: u64,
}

impl From<&Recording> for Item {
    fn from(recording: &Recording) -> Item {
        let bytes = recording.files.iter().map(|file| file.bytes).sum();
        Item { no: recording.no, tenant: recording.tenant.clone(), bytes }
    }
}

/// What becomes of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target rests for so long, then goes on.
    Again(Duration),
    /// This target will not take the recording; a person has to look.
    SetAside,
}

/// How a target's line stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Recordings that it has not confirmed.
    pub waiting: usize,
    /// What they weigh.
    pub waiting_bytes: u64,
    /// The oldest of them.
    pub oldest: Option<RecordingNo>,
    /// Recordings that it will not take.
    pub set_aside: usize,
}

/// Everything that still has to be delivered. A recording costs some hundred bytes of memory.
#[derive(Debug)]
pub struct Queue {
    settings: Settings,
    lines: Vec<Line>,
    open: BTreeMap<RecordingNo, Open>,
}

/// A recording that is not delivered.
#[derive(Debug)]
struct Open {
    tenant: TenantId,
    bytes: u64,
    lane: Lane,
    class: u8,
    /// Targets that have not confirmed it.
    unconfirmed: usize,
}

/// What waits for one target.
#[derive(Debug, Default)]
struct Line {
    lanes: BTreeMap<(Lane, TenantId), BTreeSet<Waiting>>,
    /// What each tenant has sent for its share.
    used: BTreeMap<TenantId, u64>,
    at_work: BTreeMap<Lane, Waiting>,
    aside: BTreeSet<RecordingNo>,
    bytes: u64,
    /// Failures in a row, and what was tried meanwhile.
    failures: u32,
    tried: BTreeSet<RecordingNo>,
    rests_until: MonoTime,
}

/// The order within a lane and tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    /// Failures alone but for the first.
    strikes: u8,
    class: u8,
    no: RecordingNo,
    failures_alone: u8,
}

/// Strikes, class, what the tenant has sent for its share, age: the least is next.
type Turn = (u8, u8, u64, RecordingNo);

impl Queue {
    /// Nothing waits.
    pub fn new(settings: Settings) -> Queue {
        Queue { lines: (0..settings.targets).map(|_| Line::default()).collect(), open: BTreeMap::new(), settings }
    }

    /// A finished recording, for every target that has not confirmed it before. One that is known already stays as it is.
    /// True: nobody has to confirm it any more, it is delivered.
    pub fn submit(&mut self, item: Item, has: impl Fn(TargetNo) -> bool) -> bool {
        if self.lines.is_empty() || self.open.contains_key(&item.no) {
            return false;
        }
        let wanting: Vec<TargetNo> = (0..self.lines.len()).filter(|target| !has(*target)).collect();
        if wanting.is_empty() || self.settings.policy == Policy::First && wanting.len() < self.lines.len() {
            return true;
        }
        let Precedence { class, .. } = self.settings.tenants.get(&item.tenant).copied().unwrap_or_default();
        let lane = if class.is_none() { Lane::Immediate } else { Lane::Normal };
        let open = Open { tenant: item.tenant, bytes: item.bytes, lane, class: class.unwrap_or(0), unconfirmed: wanting.len() };
        for target in wanting {
            self.lines[target].add(&open, Waiting { strikes: 0, class: open.class, no: item.no, failures_alone: 0 });
            self.lines[target].bytes += open.bytes;
        }
        self.open.insert(item.no, open);
        false
    }

    /// Takes the next delivery for a lane of `target`, which is busy from now on. None: it is busy, it rests, or nothing waits.
    pub fn next(&mut self, target: TargetNo, lane: Lane, now: MonoTime) -> Option<RecordingNo> {
        if self.lines.get(target).is_none_or(|line| line.rests_until > now || line.at_work.contains_key(&lane)) {
            return None;
        }
        let (tenant, waiting) = self.pick(target, lane)?;
        let share = u64::from(self.settings.tenants.get(&tenant).map_or(1, |precedence| precedence.share).max(1));
        let cost = self.open.get(&waiting.no).map_or(0, |open| open.bytes).max(LEAST_COST_BYTES) / share;
        let line = &mut self.lines[target];
        line.take(lane, &tenant, &waiting, cost);
        Some(waiting.no)
    }

    /// When [`Queue::next`] may have something that it does not have now, as long as nothing else happens.
    pub fn next_due(&self) -> Option<MonoTime> {
        let targets = 0..self.lines.len();
        let lanes = targets.flat_map(|target| [(target, Lane::Immediate), (target, Lane::Normal)]);
        let ready =
            lanes.filter(|(target, lane)| !self.lines[*target].at_work.contains_key(lane) && self.pick(*target, *lane).is_some());
        ready.map(|(target, _)| self.lines[target].rests_until).min()
    }

    /// `target` confirmed its delivery. True: the recording is delivered.
    pub fn confirmed(&mut self, target: TargetNo, no: RecordingNo) -> bool {
        let Some(line) = self.lines.get_mut(target) else { return false };
        if !line.release(no) {
            return false;
        }
        line.recovered();
        let Some(open) = self.open.get_mut(&no) else { return false };
        line.bytes = line.bytes.saturating_sub(open.bytes);
        open.unconfirmed = open.unconfirmed.saturating_sub(1);
        if open.unconfirmed > 0 && self.settings.policy == Policy::All {
            return false;
        }
        if let Some(open) = self.open.remove(&no) {
            self.lines.iter_mut().for_each(|line| line.remove(&open, no));
        }
        true
    }

    /// The delivery failed; `random` may be any number.
    pub fn failed(&mut self, target: TargetNo, no: RecordingNo, verdict: Verdict, now: MonoTime, random: u64) -> Outcome {
        let again = Outcome::Again(Duration::ZERO);
        let (Some(line), Some(open)) = (self.lines.get_mut(target), self.open.get(&no)) else { return again };
        let Some(mut waiting) = line.at_work_on(no) else { return again };
        line.release(no);
        let alone = line.failures == 0; // the target took another one last
        if alone {
            let most = if matches!(verdict, Verdict::Blameless(_)) { MOST_BLAMELESS } else { u8::MAX };
            waiting.failures_alone = waiting.failures_alone.saturating_add(1).min(most.max(waiting.failures_alone));
            waiting.strikes = waiting.failures_alone.saturating_sub(1);
        }
        if verdict == Verdict::Never || waiting.failures_alone >= MOST_FAILURES_ALONE {
            line.aside.insert(no);
            line.bytes = line.bytes.saturating_sub(open.bytes);
            if verdict == Verdict::Never {
                line.recovered(); // it answered
                return Outcome::SetAside;
            }
            line.rest(verdict, now, random);
            return Outcome::SetAside;
        }
        line.add(open, waiting);
        line.tried.insert(no);
        Outcome::Again(line.rest(verdict, now, random))
    }

    /// How a target's line stands.
    pub fn standing(&self, target: TargetNo) -> Standing {
        let Some(line) = self.lines.get(target) else { return Standing::default() };
        let all = line.lanes.values().flatten().chain(line.at_work.values());
        Standing {
            waiting: line.lanes.values().map(BTreeSet::len).sum::<usize>() + line.at_work.len(),
            waiting_bytes: line.bytes,
            oldest: all.map(|waiting| waiting.no).min(),
            set_aside: line.aside.len(),
        }
    }

    /// Whose turn it is in a lane.
    fn pick(&self, target: TargetNo, lane: Lane) -> Option<(TenantId, Waiting)> {
        if self.stands_by(target) {
            return None;
        }
        let line = &self.lines[target];
        let mut best: Option<(Turn, &TenantId, Waiting)> = None;
        let first = (lane, TenantId("".into()));
        for ((_, tenant), waiting) in line.lanes.range(first..).take_while(|((of, _), _)| *of == lane) {
            let Some(next) = self.first_of(target, waiting) else { continue };
            let used = line.used.get(tenant).copied().unwrap_or(0);
            let order = (next.strikes, next.class, used, next.no);
            if best.as_ref().is_none_or(|(known, ..)| order < *known) {
                best = Some((order, tenant, next));
            }
        }
        best.map(|(_, tenant, waiting)| (tenant.clone(), waiting))
    }

    /// The first of a tenant that `target` may try. While it fails, every other try is of one that was not tried yet.
    fn first_of(&self, target: TargetNo, waiting: &BTreeSet<Waiting>) -> Option<Waiting> {
        let line = &self.lines[target];
        let mut free = waiting.iter().filter(|waiting| self.may_try(target, waiting.no));
        let oldest = free.next().copied()?;
        let mut untried = || free.find(|waiting| !line.tried.contains(&waiting.no)).copied();
        match line.failures % 2 == 1 && line.tried.contains(&oldest.no) {
            true => Some(untried().unwrap_or(oldest)),
            false => Some(oldest),
        }
    }

    /// Where the first target that works is enough: a better one works and takes everything, so that nothing need be looked at.
    fn stands_by(&self, target: TargetNo) -> bool {
        let takes_all = |line: &Line| line.failures < DOWN_AFTER && line.aside.is_empty();
        self.settings.policy == Policy::First && self.lines[..target].iter().any(takes_all)
    }

    /// Where the first target that works is enough: only when all better ones are down or will not take it, and none is at it.
    fn may_try(&self, target: TargetNo, no: RecordingNo) -> bool {
        if self.settings.policy == Policy::All {
            return true;
        }
        let mut others = self.lines.iter().enumerate().filter(|(other, _)| *other != target);
        others.all(|(other, line)| {
            let better_takes_it = other < target && line.failures < DOWN_AFTER && !line.aside.contains(&no);
            line.at_work_on(no).is_none() && !better_takes_it
        })
    }
}

impl Line {
    fn add(&mut self, open: &Open, waiting: Waiting) {
        let lane = (open.lane, open.tenant.clone());
        if !self.lanes.keys().any(|(_, tenant)| *tenant == open.tenant) {
            // Who had nothing to send has not saved up anything.
            let least = self.lanes.keys().filter_map(|(_, tenant)| self.used.get(tenant)).min().copied().unwrap_or(0);
            let used = self.used.entry(open.tenant.clone()).or_default();
            *used = least.max(*used);
        }
        self.lanes.entry(lane).or_default().insert(waiting);
    }

    fn take(&mut self, lane: Lane, tenant: &TenantId, waiting: &Waiting, cost: u64) {
        let key = (lane, tenant.clone());
        if let Some(all) = self.lanes.get_mut(&key) {
            all.remove(waiting);
            if all.is_empty() {
                self.lanes.remove(&key);
            }
        }
        *self.used.entry(tenant.clone()).or_default() += cost;
        self.at_work.insert(lane, *waiting);
    }

    fn at_work_on(&self, no: RecordingNo) -> Option<Waiting> {
        self.at_work.values().find(|waiting| waiting.no == no).copied()
    }

    /// Whether it was at work on it; from now on it is not.
    fn release(&mut self, no: RecordingNo) -> bool {
        let before = self.at_work.len();
        self.at_work.retain(|_, waiting| waiting.no != no);
        self.at_work.len() < before
    }

    /// Another target has it.
    fn remove(&mut self, open: &Open, no: RecordingNo) {
        let key = (open.lane, open.tenant.clone());
        let Some(all) = self.lanes.get_mut(&key) else { return };
        let at = |strikes, failures_alone| Waiting { strikes, class: open.class, no, failures_alone };
        let found = (0..MOST_FAILURES_ALONE).find_map(|strikes| all.range(at(strikes, 0)..=at(strikes, u8::MAX)).next().copied());
        if found.is_some_and(|waiting| all.remove(&waiting)) {
            self.bytes = self.bytes.saturating_sub(open.bytes);
        }
        if all.is_empty() {
            self.lanes.remove(&key);
        }
    }

    fn recovered(&mut self) {
        self.failures = 0;
        self.tried.clear();
        self.rests_until = MonoTime::default();
    }

    fn rest(&mut self, verdict: Verdict, now: MonoTime, random: u64) -> Duration {
        let pause = match verdict {
            Verdict::Later(at_least) | Verdict::Blameless(at_least) => pause_after(self.failures, random).max(at_least),
            Verdict::Refused | Verdict::Never => pause_after(u32::MAX, random),
        };
        self.failures = self.failures.saturating_add(1);
        self.rests_until = self.rests_until.max(now.after(pause));
        pause
    }
}

/// The pause after a failure that `failures` others preceded in a row.
fn pause_after(failures: u32, random: u64) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
    let half = full / 2;
    half + Duration::from_micros(random % (half.as_micros() as u64 + 1))
}

#[cfg(test)]
mod tests;
