//! What is delivered next to which target, and when a failure is tried again. Pure.
//!
//! Each target has its own line, so that a slow or dead one never holds up another, and each line two lanes: marked recordings
//! have one to themselves. In a lane go, in this order: those that failed alone least often (once is nothing: the link may have gone
//! just then), the class of the tenant, the tenant who has sent least for its share, the oldest.
//!
//! After a failure the target rests, for pauses that double from a quarter of a second to five minutes, half of each at random, so that ten
//! thousand boxes do not come back at once. While a target fails, one recording after the other is tried, so that none which cannot be
//! delivered stands in the way; a recording that fails again and again between successes of others is set aside, unless it was the way or
//! a busy server that failed. One on which the way breaks again and again rests by itself, so that the target goes on with others, and is set
//! aside when that has gone on for hours. Nothing is ever dropped.

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
/// A recording that broke the way so often while the target took others, and for so long, is set aside as well. On a way on which four
/// of five deliveries break, one of 70,000 recordings would be.
const MOST_BREAKS: u32 = 50;
const BREAKS_FOR: Duration = Duration::from_hours(6);
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
    /// Somebody wants it before all others.
    pub immediate: bool,
}

/// What was known of a recording at a target before a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing: it wants it.
    Nothing,
    /// It has confirmed it.
    Confirmed,
    /// It will not take it.
    SetAside,
}

impl From<&Recording> for Item {
    fn from(recording: &Recording) -> Item {
        let bytes = recording.files.iter().map(|file| file.bytes).sum();
        Item { no: recording.no, tenant: recording.tenant.clone(), bytes, immediate: recording.immediate }
    }
}

/// What becomes of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target rests for so long, then goes on.
    Again(Duration),
    /// The recording rests for so long, the target goes on with others.
    Apart(Duration),
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
    /// Recordings on which the way broke.
    breaking: BTreeMap<RecordingNo, Breaking>,
    /// Recordings that it took since the start.
    taken: u64,
    bytes: u64,
    /// Failures in a row, and what was tried meanwhile.
    failures: u32,
    tried: BTreeSet<RecordingNo>,
    rests_until: MonoTime,
}

/// How the way broke on a recording.
#[derive(Clone, Copy, Debug)]
struct Breaking {
    since: MonoTime,
    /// Tries; those before each of which the target had taken another; what it had taken at the last of these.
    tries: u32,
    alone: u32,
    taken: u64,
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
    pub fn submit(&mut self, item: Item, before: impl Fn(TargetNo) -> Before) -> bool {
        if self.lines.is_empty() || self.open.contains_key(&item.no) {
            return false;
        }
        let wanting: Vec<TargetNo> = (0..self.lines.len()).filter(|target| before(*target) != Before::Confirmed).collect();
        if wanting.is_empty() || self.settings.policy == Policy::First && wanting.len() < self.lines.len() {
            return true;
        }
        let Precedence { class, .. } = self.settings.tenants.get(&item.tenant).copied().unwrap_or_default();
        let lane = if class.is_none() || item.immediate { Lane::Immediate } else { Lane::Normal };
        let open = Open { tenant: item.tenant, bytes: item.bytes, lane, class: class.unwrap_or(0), unconfirmed: wanting.len() };
        for target in wanting {
            match before(target) {
                Before::SetAside => drop(self.lines[target].aside.insert(item.no)),
                _ => self.lines[target].begin(&open, item.no),
            }
        }
        self.open.insert(item.no, open);
        false
    }

    /// Somebody wants it before all others, from now on. False: it is not known, or delivered.
    pub fn mark(&mut self, no: RecordingNo) -> bool {
        let Some(open) = self.open.get_mut(&no) else { return false };
        for line in &mut self.lines {
            if let Some(waiting) = line.remove(open, no) {
                line.add(&Open { lane: Lane::Immediate, tenant: open.tenant.clone(), ..*open }, waiting);
                line.bytes += open.bytes;
            }
        }
        open.lane = Lane::Immediate;
        true
    }

    /// Every target that set it aside tries it again. False: none has.
    pub fn retry(&mut self, no: RecordingNo) -> bool {
        let Some(open) = self.open.get(&no) else { return false };
        let aside = self.lines.iter_mut().filter_map(|line| line.aside.remove(&no).then_some(line));
        aside.map(|line| line.begin(open, no)).count() > 0
    }

    /// Takes the next delivery for a lane of `target`, which is busy from now on. None: it is busy, it rests, or nothing waits.
    pub fn next(&mut self, target: TargetNo, lane: Lane, now: MonoTime) -> Option<RecordingNo> {
        if self.lines.get(target).is_none_or(|line| line.rests_until > now || line.at_work.contains_key(&lane)) {
            return None;
        }
        let (tenant, waiting) = self.pick(target, lane, now)?;
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
        let idle = lanes.filter(|(target, lane)| !self.lines[*target].at_work.contains_key(lane));
        idle.filter_map(|(target, lane)| Some(self.earliest(target, lane)?.max(self.lines[target].rests_until))).min()
    }

    /// When the first of a lane may go, if the target itself does not rest.
    fn earliest(&self, target: TargetNo, lane: Lane) -> Option<MonoTime> {
        if self.stands_by(target) {
            return None;
        }
        let line = &self.lines[target];
        let mut first = None;
        for waiting in line.lane(lane).flat_map(|(_, waiting)| waiting).filter(|waiting| self.may_try(target, waiting.no)) {
            // Those on which the way breaks stand last, so that this ends soon.
            let Some(breaking) = line.breaking.get(&waiting.no) else { return Some(MonoTime::default()) };
            first = Some(first.map_or(breaking.rests_until, |first: MonoTime| first.min(breaking.rests_until)));
        }
        first
    }

    /// `target` confirmed its delivery. True: the recording is delivered.
    pub fn confirmed(&mut self, target: TargetNo, no: RecordingNo) -> bool {
        let Some(line) = self.lines.get_mut(target) else { return false };
        if !line.release(no) {
            return false;
        }
        line.recovered();
        line.taken += 1;
        line.breaking.remove(&no);
        let Some(open) = self.open.get_mut(&no) else { return false };
        line.bytes = line.bytes.saturating_sub(open.bytes);
        open.unconfirmed = open.unconfirmed.saturating_sub(1);
        if open.unconfirmed > 0 && self.settings.policy == Policy::All {
            return false;
        }
        if let Some(open) = self.open.remove(&no) {
            self.lines.iter_mut().for_each(|line| line.forget(&open, no));
        }
        true
    }

    /// The delivery failed; `random` may be any number.
    pub fn failed(&mut self, target: TargetNo, no: RecordingNo, verdict: Verdict, now: MonoTime, random: u64) -> Outcome {
        let again = Outcome::Again(Duration::ZERO);
        let (Some(line), Some(open)) = (self.lines.get_mut(target), self.open.get(&no)) else { return again };
        let Some(mut waiting) = line.at_work_on(no) else { return again };
        line.release(no);
        if verdict == Verdict::Broken && waiting.failures_alone >= MOST_BLAMELESS {
            return line.broke(open, waiting, now, random);
        }
        let alone = line.failures == 0; // the target took another one last
        if alone {
            let most = if matches!(verdict, Verdict::Blameless(_) | Verdict::Broken) { MOST_BLAMELESS } else { u8::MAX };
            waiting.failures_alone = waiting.failures_alone.saturating_add(1).min(most.max(waiting.failures_alone));
            waiting.strikes = waiting.failures_alone.saturating_sub(1);
        }
        if verdict == Verdict::Never || waiting.failures_alone >= MOST_FAILURES_ALONE {
            line.set_aside(open, no);
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
    fn pick(&self, target: TargetNo, lane: Lane, now: MonoTime) -> Option<(TenantId, Waiting)> {
        if self.stands_by(target) {
            return None;
        }
        let line = &self.lines[target];
        let mut best: Option<(Turn, &TenantId, Waiting)> = None;
        for (tenant, waiting) in line.lane(lane) {
            let Some(next) = self.first_of(target, waiting, now) else { continue };
            let used = line.used.get(tenant).copied().unwrap_or(0);
            let order = (next.strikes, next.class, used, next.no);
            if best.as_ref().is_none_or(|(known, ..)| order < *known) {
                best = Some((order, tenant, next));
            }
        }
        best.map(|(_, tenant, waiting)| (tenant.clone(), waiting))
    }

    /// The first of a tenant that `target` may try. While it fails, every other try is of one that was not tried yet.
    fn first_of(&self, target: TargetNo, waiting: &BTreeSet<Waiting>, now: MonoTime) -> Option<Waiting> {
        let line = &self.lines[target];
        let rests = |no| line.breaking.get(&no).is_some_and(|breaking| breaking.rests_until > now);
        let mut free = waiting.iter().filter(|waiting| self.may_try(target, waiting.no) && !rests(waiting.no));
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
    /// What waits in a lane, by tenant.
    fn lane(&self, lane: Lane) -> impl Iterator<Item = (&TenantId, &BTreeSet<Waiting>)> {
        let first = (lane, TenantId("".into()));
        let of_lane = self.lanes.range(first..).take_while(move |((of, _), _)| *of == lane);
        of_lane.map(|((_, tenant), waiting)| (tenant, waiting))
    }

    /// A recording that was not tried yet.
    fn begin(&mut self, open: &Open, no: RecordingNo) {
        self.add(open, Waiting { strikes: 0, class: open.class, no, failures_alone: 0 });
        self.bytes += open.bytes;
    }

    fn set_aside(&mut self, open: &Open, no: RecordingNo) {
        self.aside.insert(no);
        self.breaking.remove(&no);
        self.bytes = self.bytes.saturating_sub(open.bytes);
    }

    /// The way broke on a recording that is known for it: it rests, and the target does not.
    fn broke(&mut self, open: &Open, waiting: Waiting, now: MonoTime, random: u64) -> Outcome {
        let no = waiting.no;
        let known = Breaking { since: now, tries: 0, alone: 0, taken: u64::MAX, rests_until: now };
        let breaking = self.breaking.entry(no).or_insert(known);
        if breaking.taken != self.taken {
            (breaking.taken, breaking.alone) = (self.taken, breaking.alone + 1);
        }
        if breaking.alone >= MOST_BREAKS && now.since(breaking.since) >= BREAKS_FOR {
            self.set_aside(open, no);
            return Outcome::SetAside;
        }
        let pause = pause_after(breaking.tries, random);
        breaking.tries = breaking.tries.saturating_add(1);
        breaking.rests_until = now.after(pause);
        self.add(open, waiting);
        Outcome::Apart(pause)
    }

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

    /// Takes out what waits; none: it does not wait here.
    fn remove(&mut self, open: &Open, no: RecordingNo) -> Option<Waiting> {
        let key = (open.lane, open.tenant.clone());
        let all = self.lanes.get_mut(&key)?;
        let at = |strikes, failures_alone| Waiting { strikes, class: open.class, no, failures_alone };
        let found = (0..MOST_FAILURES_ALONE).find_map(|strikes| all.range(at(strikes, 0)..=at(strikes, u8::MAX)).next().copied());
        let found = found.filter(|waiting| all.remove(waiting));
        if all.is_empty() {
            self.lanes.remove(&key);
        }
        if found.is_some() {
            self.bytes = self.bytes.saturating_sub(open.bytes);
        }
        found
    }

    /// Another target has it, which is enough.
    fn forget(&mut self, open: &Open, no: RecordingNo) {
        let _ = self.remove(open, no); // it may have been the last that it waited for
        self.aside.remove(&no);
        self.breaking.remove(&no);
    }

    fn recovered(&mut self) {
        self.failures = 0;
        self.tried.clear();
        self.rests_until = MonoTime::default();
    }

    fn rest(&mut self, verdict: Verdict, now: MonoTime, random: u64) -> Duration {
        let pause = match verdict {
            Verdict::Later(at_least) | Verdict::Blameless(at_least) => pause_after(self.failures, random).max(at_least),
            Verdict::Broken => pause_after(self.failures, random),
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
