//! One seed: a box, its senders, its disk, its targets and two clocks, and a schedule of faults. The true time goes on in steps of
//! 50 ms; whatever happens follows from the seed alone.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use nearend::clock::Now;
use nearend::model::{MonoTime, WallTime};
use nearend::spool;
use tempfile::TempDir;

use crate::calls::{Calls, Weather};
use crate::filesystem::{FINISHED, Mood, Mounted, Target};
use crate::folder::{Folder, LedgerSite, SPOOL};
use crate::judge::Judge;
use crate::machine::{Machine, Pace, Parts};
use crate::medium::{Lie, Medium};

const TICK_US: u64 = 50_000;
const SECOND_US: u64 = 1_000_000;

/// Of the monotonic clock at a boot, as in `clock.rs`.
const BOOT_MONO_US: u64 = 366 * 24 * 3_600 * SECOND_US;

/// 2026-03-02T14:05:59Z.
const FIRST_WALL_US: i64 = 1_772_460_359_000_000;

/// After the last fault everything must be over within this time: senders that vanished are noticed, targets that
/// failed rest five minutes.
const PATIENCE_US: u64 = 3_600 * SECOND_US;

/// A disk that is large enough.
const ROOMY_BYTES: u64 = 1 << 30;

/// What may be made wrong on purpose.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sabotage {
    pub(crate) lie: Lie,
    pub(crate) forging_target: bool,
}

/// A seed whose invariants do not hold.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) what: String,
    pub(crate) log: Vec<String>,
}

/// A seed that held.
pub(crate) struct Held {
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) log: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    PowerCut,
    Restart,
    IllDisk,
    FullDisk,
    SlowDisk,
    ClockSet,
    Target,
    Network,
}

struct World {
    rng: Rng,
    true_us: u64,
    mono_base: u64,
    wall_base: i64,
    wall_now: Arc<AtomicI64>,
    _dir: TempDir,
    medium: Medium,
    targets: Vec<Target>,
    site: LedgerSite,
    lives: u32,
    config: Config,
    calls: Calls,
    judge: Judge,
    machine: Option<Machine>,
    boots_at_us: u64,
    next_port: u16,
    failed_boots: u32,
    /// Faults to come, and the ends of those that last.
    schedule: BTreeMap<(u64, usize), Event>,
    /// What ends the running life, and when at the latest.
    doom: Option<(Fault, u64)>,
    pace: Pace,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Begin(Fault),
    End(Fault, usize),
}

#[derive(Clone, Debug)]
struct Config {
    segment_bytes: u64,
    backlog_blocks: usize,
    pool_blocks: usize,
    retention: Duration,
}

/// Runs a seed to its end.
pub(crate) fn run(seed: u64, sabotage: Sabotage) -> Result<Held, Failure> {
    let mut world = World::new(seed, sabotage).expect("a temporary directory");
    while world.judge.failure.is_none() && !world.is_over() {
        world.tick();
    }
    if world.judge.failure.is_none() {
        world.judge.conclude(&world.calls);
    }
    world.result(seed)
}

impl World {
    fn new(seed: u64, sabotage: Sabotage) -> io::Result<World> {
        let mut rng = Rng::with_seed(seed);
        let dir = scratch()?;
        let medium = Medium::new(rng.fork(), ROOMY_BYTES, &["/box", SPOOL, FINISHED]);
        medium.state().lie = sabotage.lie;
        let roots = &["/dc-a", "/dc-b"][..rng.usize(1..=2)];
        let targets: Vec<Target> = roots.iter().map(|root| Target::new(root, rng.fork())).collect();
        if sabotage.forging_target {
            targets[0].set_mood(Mood::Forges);
        }
        let site = LedgerSite::new(dir.path(), 0);
        let config = Config {
            segment_bytes: [40_000, 150_000, 1_000_000][rng.usize(..3)],
            backlog_blocks: [40, 400][rng.usize(..2)],
            pool_blocks: [60, 600][rng.usize(..2)],
            retention: Duration::from_secs([3, 30, 100_000][rng.usize(..3)]),
        };
        let span_us = rng.u64(30..90) * SECOND_US;
        let mut world = World {
            true_us: 0,
            mono_base: BOOT_MONO_US + rng.u64(..1_000_000),
            wall_base: FIRST_WALL_US + rng.i64(0..10_000_000),
            wall_now: Arc::new(AtomicI64::new(0)),
            _dir: dir,
            judge: Judge::new(medium.clone(), targets.clone()),
            calls: Calls::new(rng.fork(), span_us),
            medium,
            targets,
            site,
            lives: 0,
            config,
            machine: None,
            boots_at_us: 0,
            next_port: 20_000,
            failed_boots: 0,
            schedule: BTreeMap::new(),
            doom: None,
            pace: Pace { commit: Duration::ZERO, file: Duration::from_secs(1) },
            rng,
        };
        world.plan(span_us + 20 * SECOND_US, sabotage);
        world.freeze_ledger_when_off();
        Ok(world)
    }

    /// Draws the faults, each with its end.
    fn plan(&mut self, span_us: u64, sabotage: Sabotage) {
        use Fault::{ClockSet, FullDisk, IllDisk, Kill, Network, PowerCut, Restart, SlowDisk, Target};
        let all = [Kill, PowerCut, PowerCut, Restart, IllDisk, FullDisk, SlowDisk, ClockSet, Target, Target, Network];
        for nth in 0..self.rng.usize(3..14) {
            let fault = if nth == 0 { PowerCut } else { all[self.rng.usize(..all.len())] };
            if fault == Target && sabotage.forging_target {
                continue;
            }
            let at_us = self.rng.u64(SECOND_US..span_us);
            let nth = 2 * nth;
            self.schedule.insert((at_us, nth), Event::Begin(fault));
            if matches!(fault, IllDisk | FullDisk | SlowDisk | Target | Network) {
                let ends_us = at_us + self.rng.u64(SECOND_US..40 * SECOND_US);
                let target = self.rng.usize(..self.targets.len());
                self.schedule.insert((ends_us, nth + 1), Event::End(fault, target));
            }
        }
    }

    fn now(&self) -> Now {
        Now { mono: MonoTime(self.mono_base + self.true_us), wall: WallTime(self.wall_base + self.true_us.cast_signed()) }
    }

    fn is_over(&mut self) -> bool {
        let last_event = self.schedule.keys().next_back().is_some();
        let is_done = self.machine.as_ref().is_some_and(Machine::is_done) && self.judge.is_settled() && self.calls.are_over();
        if is_done && !last_event && self.doom.is_none() {
            return true;
        }
        if !last_event && self.true_us > PATIENCE_US {
            let done = self.machine.as_ref().map(Machine::is_done);
            self.judge.complain(format!("not over after an hour without a fault: nothing left to do {done:?}"));
        }
        false
    }

    fn tick(&mut self) {
        // When nobody speaks any more, only slow things are left.
        self.true_us += if self.calls.are_over() && self.schedule.is_empty() { 5 * TICK_US } else { TICK_US };
        self.judge.true_us = self.true_us;
        self.wall_now.store(self.now().wall.0, Ordering::Relaxed);
        while let Some(first) = self.schedule.first_entry().filter(|first| first.key().0 <= self.true_us) {
            let event = first.remove();
            self.happen(event);
        }
        if self.machine.is_none() && self.true_us >= self.boots_at_us {
            self.boot();
        }
        let now = self.now();
        self.calls.tick(self.true_us, now, self.machine.as_mut());
        if let Some(machine) = &mut self.machine {
            machine.tick(now, self.pace, &mut self.judge);
        }
        if self.doom.is_some_and(|(_, at_us)| self.true_us >= at_us) && self.machine.is_some() {
            self.medium.go_off();
        }
        if self.medium.is_off() {
            self.crash();
        }
    }

    fn happen(&mut self, event: Event) {
        self.judge.note(format!("{event:?}"));
        match event {
            Event::Begin(fault) => self.begin(fault),
            Event::End(Fault::IllDisk, _) => self.medium.state().failing_percent = 0,
            Event::End(Fault::FullDisk, _) => self.medium.state().capacity_bytes = ROOMY_BYTES,
            Event::End(Fault::SlowDisk, _) => self.pace.commit = Duration::ZERO,
            Event::End(Fault::Target, target) => self.targets[target].set_mood(Mood::Well),
            Event::End(Fault::Network, _) => self.calls.weather = Weather::FAIR,
            Event::End(..) => {}
        }
    }

    fn begin(&mut self, fault: Fault) {
        self.judge.count(name(fault), 1);
        match fault {
            Fault::Kill | Fault::PowerCut if self.doom.is_none() => {
                self.doom = Some((fault, self.true_us + 3 * SECOND_US));
                self.medium.go_off_in(self.rng.u64(1..80));
            }
            Fault::Kill | Fault::PowerCut => {}
            Fault::Restart => {
                if let Some(machine) = self.machine.take() {
                    self.next_port = machine.next_port;
                    machine.stop(self.now(), &mut self.judge);
                    self.judge.died();
                    self.boots_at_us = self.true_us + self.rng.u64(SECOND_US / 5..5 * SECOND_US);
                }
            }
            Fault::IllDisk => self.medium.state().failing_percent = self.rng.u32(5..60),
            Fault::FullDisk => {
                let room = self.rng.u64(..60_000);
                let mut state = self.medium.state();
                state.capacity_bytes = ROOMY_BYTES;
                state.capacity_bytes = ROOMY_BYTES - state.free_bytes() + room;
            }
            Fault::SlowDisk => self.pace.commit = Duration::from_millis(self.rng.u64(500..20_000)),
            Fault::ClockSet => {
                self.judge.clock_set_us.push(self.true_us);
                let day_us = 86_400_000_000;
                self.wall_base += [self.rng.i64(-day_us..day_us), self.rng.i64(-5_000_000..5_000_000)][self.rng.usize(..2)];
            }
            Fault::Target => {
                let moods = [Mood::Away, Mood::Fails, Mood::TimesOut, Mood::Truncates];
                let target = self.rng.usize(..self.targets.len());
                let mood = moods[self.rng.usize(..moods.len())];
                self.targets[target].set_mood(mood);
                // The end may name another target: then this one stays so until the last fault is over.
                let last_us = self.schedule.keys().next_back().map_or(0, |(at_us, _)| *at_us) + SECOND_US;
                self.schedule.insert((last_us, 1_000 + target), Event::End(Fault::Target, target));
            }
            Fault::Network => self.calls.weather = Weather::FOUL,
        }
    }

    fn boot(&mut self) {
        let parts = self.parts();
        match Machine::start(parts, self.now(), &mut self.judge) {
            Ok(machine) => {
                self.failed_boots = 0;
                self.machine = Some(machine);
            }
            Err(_) if self.medium.is_off() => {}
            Err(failure) => {
                self.judge.note(format!("the box does not start: {failure}"));
                self.judge.count("boots that failed", 1);
                self.boots_at_us = self.true_us + SECOND_US;
                self.failed_boots += u32::from(self.schedule.is_empty());
                if self.failed_boots > 5 {
                    self.judge.complain(format!("the box does not start on a sound disk: {failure}"));
                }
            }
        }
    }

    fn parts(&mut self) -> Parts {
        let folder = Folder { medium: self.medium.clone(), ledger: self.site.clone(), wall_us: self.wall_now.clone() };
        Parts {
            disk: Arc::new(folder),
            spool: spool::Config {
                dir: self.site.dir.clone(),
                segment_bytes: self.config.segment_bytes,
                floor_bytes: 200_000,
                backlog_blocks: self.config.backlog_blocks,
            },
            mounted: Mounted { medium: self.medium.clone(), targets: self.targets.clone() },
            recording: nearend::recording::Config {
                max_recordings: 50,
                linger: Duration::from_secs(3),
                linger_lost: Duration::from_secs(10),
                media_timeout: Duration::from_secs(12),
            },
            pool_blocks: self.config.pool_blocks,
            retention: self.config.retention,
            rng: self.rng.fork(),
            first_port: self.next_port,
        }
    }

    /// The machine is off: what is left of it is the next life's.
    fn crash(&mut self) {
        let fault = self.doom.take().map_or(Fault::PowerCut, |(fault, _)| fault);
        if let Some(machine) = self.machine.take() {
            self.next_port = machine.next_port;
        }
        self.judge.died();
        self.lives += 1;
        let next = LedgerSite::new(self._dir.path(), self.lives);
        let left = if fault == Fault::Kill {
            self.medium.on_after_kill();
            self.site.after_kill(&next).map(|()| "all that was written")
        } else {
            self.medium.on_after_power_cut();
            self.mono_base = BOOT_MONO_US.saturating_sub(self.true_us) + self.rng.u64(SECOND_US..10 * SECOND_US);
            self.site.after_power_cut(&next, &mut self.rng)
        };
        let left = left.expect("the temporary directory can be written");
        self.judge.count(left, 1);
        self.judge.note(format!("off by {fault:?}; {left}"));
        let _ = std::fs::remove_dir_all(&self.site.dir); // goes with the temporary directory at the latest
        self.site = next;
        self.freeze_ledger_when_off();
        self.boots_at_us = self.true_us + self.rng.u64(SECOND_US / 5..20 * SECOND_US);
    }

    fn freeze_ledger_when_off(&self) {
        let site = self.site.clone();
        self.medium.when_off(move || site.freeze());
    }

    fn result(mut self, seed: u64) -> Result<Held, Failure> {
        let log = std::mem::take(&mut self.judge.log);
        if let Some(what) = self.judge.failure.take() {
            return Err(Failure { seed, what, log });
        }
        let mut counts = std::mem::take(&mut self.judge.counts);
        counts.extend(std::mem::take(&mut self.calls.counts));
        counts.extend(std::mem::take(&mut self.medium.state().counts));
        counts.insert("misdeeds of targets", self.targets.iter().map(Target::misdeeds).sum());
        counts.insert("simulated seconds", self.true_us / SECOND_US);
        Ok(Held { counts, log })
    }
}

/// In memory where there is such a place: sled's files are synced for real.
fn scratch() -> io::Result<TempDir> {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new())
}

fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::Kill => "fault: kill",
        Fault::PowerCut => "fault: power cut",
        Fault::Restart => "fault: restart",
        Fault::IllDisk => "fault: failing disk",
        Fault::FullDisk => "fault: full disk",
        Fault::SlowDisk => "fault: slow disk",
        Fault::ClockSet => "fault: clock set",
        Fault::Target => "fault: target misbehaves",
        Fault::Network => "fault: bad network",
    }
}
