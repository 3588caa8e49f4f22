//! The simulated world: boxes with the real queue, pace and alarms, a centre that is away for a while and has so much room, and a clock.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::ops::Range;
use std::time::Duration;

use nearend::clock::Now;
use nearend::events::alarms::{Alarms, Reasons};
use nearend::events::message::{Alarm, State};
use nearend::forward::pace::{Grant, Lane, Pace, Schedule};
use nearend::forward::queue::{Before, Item, Queue, Settings};
use nearend::forward::target::Verdict;
use nearend::model::{MonoTime, RecordingNo, TenantId, WallTime};

pub(crate) const SECOND: u64 = 1_000_000;
pub(crate) const HOUR: u64 = 3_600 * SECOND;
/// The clocks of the boxes show this at time 0.
const T0: u64 = 1_000 * SECOND;
/// 2026-03-02, a Monday.
const MONDAY: i64 = 1_772_409_600_000_000;
/// How long a box tries to connect to a centre that is away.
const CONNECT: u64 = 10 * SECOND;
/// Heads of the requests that deliver the two files of a recording.
const HEADS: usize = 6 * 500;
/// How often a box looks whether an alarm begins or ends.
const LOOK: u64 = 5 * SECOND;

/// What the boxes are, and what they do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) boxes: usize,
    pub(crate) seed: u64,
    /// What a box may send, bytes per second.
    pub(crate) rate: u64,
    /// Recordings of a box in an hour, and what one weighs on average.
    pub(crate) calls_per_hour: u64,
    pub(crate) bytes: u64,
    /// Until when calls come.
    pub(crate) calls_until: u64,
    pub(crate) outage: Range<u64>,
    /// What the centre takes in a second; more is answered with 503.
    pub(crate) capacity: u64,
    /// When the boxes are restarted.
    pub(crate) restart: Option<u64>,
}

#[derive(Debug)]
enum Work {
    Idle,
    Connecting { no: RecordingNo, until: u64 },
    Sending { no: RecordingNo, left: usize },
}

/// A box, as far as it forwards.
pub(crate) struct Sender {
    queue: Queue,
    pace: Pace,
    random: fastrand::Rng,
    work: Work,
    next_call: u64,
    next_no: u64,
    /// What it has on its disk: number, and bytes.
    ledger: BTreeSet<(RecordingNo, u64)>,
    alarms: Alarms,
    trouble: bool,
    looked: u64,
    /// In the order of arrival.
    pub(crate) arrived: Vec<RecordingNo>,
    pub(crate) recorded: u64,
    pub(crate) most_waiting: usize,
    /// When an alarm began or ended.
    pub(crate) told: Vec<(u64, State)>,
    /// Bytes in each minute.
    pub(crate) minutes: Vec<u64>,
}

/// What the centre saw.
#[derive(Default)]
pub(crate) struct Centre {
    /// Deliveries begun, in each second, whatever became of them.
    pub(crate) attempts: Vec<u32>,
    /// Bytes taken, in each second.
    pub(crate) seconds: Vec<u64>,
    pub(crate) refused: u64,
}

pub(crate) struct World {
    plan: Plan,
    pub(crate) boxes: Vec<Sender>,
    pub(crate) centre: Centre,
    wakes: BinaryHeap<Reverse<(u64, usize)>>,
    pub(crate) now: u64,
}

fn clock(us: u64) -> Now {
    Now { mono: MonoTime(T0 + us), wall: WallTime(MONDAY + i64::try_from(us).unwrap()) }
}

fn add(counts: &mut Vec<u64>, at: u64, amount: u64) {
    let at = usize::try_from(at).unwrap();
    if counts.len() <= at {
        counts.resize(at + 1, 0);
    }
    counts[at] += amount;
}

impl World {
    pub(crate) fn new(plan: Plan) -> World {
        let mut random = fastrand::Rng::with_seed(plan.seed);
        let boxes: Vec<Sender> = (0..plan.boxes).map(|_| Sender::new(&plan, random.fork())).collect();
        let wakes = (0..plan.boxes).map(|n| Reverse((0, n))).collect();
        World { plan, boxes, centre: Centre::default(), wakes, now: 0 }
    }

    /// Runs until everything that was recorded has arrived.
    pub(crate) fn run(&mut self) {
        let mut restart = self.plan.restart;
        while let Some(Reverse((now, n))) = self.wakes.pop() {
            assert!(now >= self.now && now < self.plan.calls_until + 1_000 * HOUR, "it does not come to an end");
            self.now = now;
            if restart.is_some_and(|at| at <= now) {
                restart = None;
                self.boxes.iter_mut().for_each(|sender| sender.restart(&self.plan, now));
            }
            if let Some(wake) = self.boxes[n].step(&self.plan, &mut self.centre, now) {
                self.wakes.push(Reverse((wake.max(now + 1), n)));
            }
        }
    }
}

impl Sender {
    fn new(plan: &Plan, random: fastrand::Rng) -> Sender {
        let mut sender = Sender {
            queue: Queue::new(Settings { targets: 1, ..Settings::default() }),
            pace: Pace::new(schedule(plan), clock(0).mono),
            random,
            work: Work::Idle,
            next_call: 0,
            next_no: 1,
            ledger: BTreeSet::new(),
            alarms: Alarms::default(),
            trouble: false,
            looked: 0,
            arrived: Vec::new(),
            recorded: 0,
            most_waiting: 0,
            told: Vec::new(),
            minutes: Vec::new(),
        };
        sender.next_call = sender.pause(plan);
        sender
    }

    /// Until the next recording is finished: they come independently of each other.
    fn pause(&mut self, plan: &Plan) -> u64 {
        let mean = (HOUR / plan.calls_per_hour) as f64;
        (-mean * (1.0 - self.random.f64()).ln()) as u64
    }

    /// As after a power cut: only what is on the disk is left.
    fn restart(&mut self, plan: &Plan, now: u64) {
        self.queue = Queue::new(Settings { targets: 1, ..Settings::default() });
        self.pace = Pace::new(schedule(plan), clock(now).mono);
        self.work = Work::Idle;
        for (no, bytes) in &self.ledger {
            self.queue.submit(item(*no, *bytes), |_| Before::Nothing);
        }
    }

    /// Does what is due; gives when something is again.
    fn step(&mut self, plan: &Plan, centre: &mut Centre, now: u64) -> Option<u64> {
        self.look(now);
        if self.next_call <= now && now < plan.calls_until {
            self.record(plan);
            self.next_call = now + self.pause(plan);
        }
        let work = self.work(plan, centre, now);
        let call = (self.next_call < plan.calls_until).then_some(self.next_call);
        let look = (self.trouble || self.alarms.raised().count() > 0).then_some(self.looked + LOOK);
        [work, call, look].into_iter().flatten().min()
    }

    fn record(&mut self, plan: &Plan) {
        let no = RecordingNo(self.next_no);
        self.next_no += 1;
        self.recorded += 1;
        let bytes = self.random.u64(plan.bytes / 10..plan.bytes * 19 / 10);
        self.ledger.insert((no, bytes));
        self.queue.submit(item(no, bytes), |_| Before::Nothing);
        self.most_waiting = self.most_waiting.max(self.ledger.len());
    }

    fn work(&mut self, plan: &Plan, centre: &mut Centre, now: u64) -> Option<u64> {
        let time = clock(now);
        match self.work {
            Work::Idle => {
                let Some(no) = self.queue.next(0, Lane::Normal, time.mono) else {
                    return self.queue.next_due().map(|due| due.0.saturating_sub(T0));
                };
                centre.attempt(now);
                if plan.outage.contains(&now) {
                    self.work = Work::Connecting { no, until: now + CONNECT };
                    return Some(now + CONNECT);
                }
                if centre.is_full(plan, now) {
                    centre.refused += 1;
                    self.pace.congested(time);
                    self.failed(no, now);
                    return self.queue.next_due().map(|due| due.0.saturating_sub(T0));
                }
                self.pace.charge(HEADS);
                let bytes = self.ledger.range((no, 0)..).next().map_or(0, |(_, bytes)| *bytes);
                self.work = Work::Sending { no, left: usize::try_from(bytes).unwrap() };
                Some(now)
            }
            Work::Connecting { no, until } if until <= now => {
                self.failed(no, now);
                Some(now)
            }
            Work::Connecting { until, .. } => Some(until),
            Work::Sending { no, .. } if plan.outage.contains(&now) => {
                self.failed(no, now);
                Some(now)
            }
            Work::Sending { no, left: 0 } => {
                self.confirmed(no);
                Some(now)
            }
            Work::Sending { no, left } => match self.pace.take(time, Lane::Normal, left) {
                Grant::Now(bytes) => {
                    self.work = Work::Sending { no, left: left - bytes };
                    add(&mut self.minutes, now / (60 * SECOND), bytes as u64);
                    add(&mut centre.seconds, now / SECOND, bytes as u64);
                    Some(now)
                }
                Grant::At(later) => Some(later.0 - T0),
            },
        }
    }

    fn failed(&mut self, no: RecordingNo, now: u64) {
        let random = self.random.u64(..);
        self.queue.failed(0, no, Verdict::Blameless(Duration::ZERO), clock(now).mono, random);
        (self.work, self.trouble) = (Work::Idle, true);
    }

    fn confirmed(&mut self, no: RecordingNo) {
        assert!(self.queue.confirmed(0, no), "one target is all");
        let key = *self.ledger.range((no, 0)..).next().unwrap();
        assert!(key.0 == no && self.ledger.remove(&key), "delivered twice: {no}");
        self.arrived.push(no);
        (self.work, self.trouble) = (Work::Idle, false);
    }

    /// Looks at its alarms, as often as it is time.
    fn look(&mut self, now: u64) {
        while self.looked + LOOK <= now {
            self.looked += LOOK;
            let alarm = Alarm { alarm: "target-down", subject: "dc".into() };
            let reasons: Reasons = self.trouble.then(|| (alarm, String::new())).into_iter().collect();
            let changes = self.alarms.update(clock(self.looked).mono, reasons);
            self.told.extend(changes.into_iter().map(|change| (self.looked, change.state)));
        }
    }
}

impl Centre {
    fn attempt(&mut self, now: u64) {
        let second = usize::try_from(now / SECOND).unwrap();
        if self.attempts.len() <= second {
            self.attempts.resize(second + 1, 0);
        }
        self.attempts[second] += 1;
    }

    /// Whether the last whole second was as much as it takes.
    fn is_full(&self, plan: &Plan, now: u64) -> bool {
        let last = usize::try_from(now / SECOND).unwrap().checked_sub(1);
        last.and_then(|second| self.seconds.get(second)).is_some_and(|bytes| *bytes >= plan.capacity)
    }
}

fn schedule(plan: &Plan) -> Schedule {
    Schedule { rate: Some(plan.rate), ..Schedule::default() }
}

fn item(no: RecordingNo, bytes: u64) -> Item {
    Item { no, tenant: TenantId("101".into()), bytes, immediate: false }
}
