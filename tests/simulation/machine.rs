//! The box: the real stations, joined as the daemon joins them, but in one thread and by a clock that is an argument. What
//! `src/daemon/`, and the threads in each station's `driver.rs`, do between the stations is done here once more, in the
//! same order; everything else is the code that runs on the box.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use nearend::clock::{JumpWatch, Now};
use nearend::files;
use nearend::finish::driver::finish;
use nearend::finish::jobs::{Job, Jobs};
use nearend::finish::{self, BoxFacts, FinishError};
use nearend::forward::pace::Lane;
use nearend::forward::queue::{Before, Outcome, Queue, Settings};
use nearend::forward::target::{Delivery, DeliveryError, dir};
use nearend::model::{
    Block, MediaTime, MonoTime, Recording, RecordingId, RecordingNo, SavedSession, Stage, StreamKey, StreamReport, TenantId,
};
use nearend::recording::{Action, Calls, Declined, Opening, Placement, SessionKey, Surroundings};
use nearend::rtp::blocks::Pool;
use nearend::rtp::stream::Stream;
use nearend::rtp::{Manner, PayloadMap, Remote, StreamSpec};
use nearend::session::Session;
use nearend::spool::disk::{Disk, Failure};
use nearend::spool::{self, Reader, Recovered, Writer};

use crate::filesystem::{FINISHED, Mounted};
use crate::judge::Judge;

/// Commands that wait for the spool, as in its driver.
const QUEUE_COMMANDS: usize = 64;

const GRACE_US: u64 = 100_000;
const SWEEP_US: u64 = 250_000;
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// A datagram that waits in a socket.
pub(crate) struct Datagram {
    pub(crate) arrived: MonoTime,
    pub(crate) bytes: Vec<u8>,
}

/// A stream and its socket.
struct Open {
    stream: Stream,
    port: u16,
    socket: Vec<Datagram>,
    closing: bool,
    next_report: MonoTime,
}

enum Command {
    Blocks(Vec<Block>),
    Describe(Box<Recording>),
}

/// What the box does at once and tells later, as its threads do.
enum Told {
    Finished(Result<Box<Recording>, (Box<Job>, FinishError)>),
    Tried { target: usize, no: RecordingNo, result: Result<(), DeliveryError> },
    Released(Box<Recording>),
}

/// What the box asks of its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Bye(SessionKey),
    Probe(SessionKey),
}

/// How long things take on this box at present.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// A commit takes up to so long.
    pub(crate) commit: Duration,
    /// Finishing, and delivering, take up to so long.
    pub(crate) file: Duration,
}

/// What a box is made with, the same in every life.
pub(crate) struct Parts {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) spool: spool::Config,
    pub(crate) mounted: Mounted,
    pub(crate) recording: nearend::recording::Config,
    pub(crate) pool_blocks: usize,
    pub(crate) retention: Duration,
    pub(crate) rng: Rng,
    pub(crate) first_port: u16,
}

/// One life of the box.
pub(crate) struct Machine {
    writer: Writer,
    pub(crate) reader: Reader,
    pub(crate) calls: Calls,
    pool: Pool,
    streams: BTreeMap<StreamKey, Open>,
    last_reports: Vec<StreamReport>,
    last_sweep: MonoTime,
    queue: VecDeque<Command>,
    outbox: BTreeMap<RecordingNo, Box<Recording>>,
    spool_busy_until: MonoTime,
    jobs: Jobs,
    finish_busy: bool,
    finish_config: finish::Config,
    deliveries: Queue,
    /// Their roots.
    targets: Vec<PathBuf>,
    mounted: Mounted,
    told: Vec<(MonoTime, Told)>,
    pub(crate) asked: Vec<Asked>,
    delivered: Vec<(MonoTime, RecordingNo)>,
    retention: Duration,
    clock: JumpWatch,
    rng: Rng,
    pub(crate) next_port: u16,
    pub(crate) accepting: bool,
    trouble: bool,
}

/// What [`Calls`] asks while it decides.
pub(crate) struct Outside<'a> {
    streams: &'a mut BTreeMap<StreamKey, Open>,
    reader: &'a Reader,
    next_port: &'a mut u16,
    now: Now,
}

impl Surroundings for Outside<'_> {
    fn open(&mut self, opening: &Opening<'_>) -> Result<SocketAddr, String> {
        let port = opening.local.map_or(*self.next_port, |local| local.port());
        *self.next_port = (*self.next_port).max(port + 2);
        let line = opening.line;
        let spec = StreamSpec {
            key: opening.key,
            recording_id: opening.recording_id.clone(),
            origin: opening.origin,
            local: None,
            port: Some(port),
            remote: Remote { rtp: line.remote, rtcp: line.remote_rtcp, mux: line.rtcp_mux },
            payloads: PayloadMap::new(line.payloads.iter().copied()),
            paused: !line.active,
            anchor: opening.anchor,
            begins: opening.begins,
        };
        let next_report = self.now.mono.after(Duration::from_secs(1));
        let open = Open { stream: Stream::new(&spec, Manner::default()), port, socket: Vec::new(), closing: false, next_report };
        self.streams.insert(opening.key, open);
        Ok(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), port)))
    }

    fn close(&mut self, key: StreamKey) {
        if let Some(open) = self.streams.get_mut(&key) {
            open.closing = true;
        }
    }

    fn resume(&mut self, session: &SavedSession) -> Option<SessionKey> {
        session.dialog.read().ok().map(SessionKey)
    }

    /// Everybody is recorded, for one tenant.
    fn judge(&mut self, _session: &Session) -> Result<Placement, Declined> {
        Ok(Placement { tenant: TenantId::default_tenant(), switch: None, ruling: None })
    }

    fn is_known(&self, id: &RecordingId) -> bool {
        self.reader.find(id).is_ok_and(|known| known.is_some())
    }
}

impl Machine {
    /// Boots. What the spool held goes on from where it was.
    pub(crate) fn start(parts: Parts, now: Now, judge: &mut Judge) -> Result<Machine, Failure> {
        let Parts { disk, spool, mounted, recording, pool_blocks, retention, mut rng, first_port } = parts;
        let mut secrets = rng.fork();
        let entropy = Box::new(move |bytes: &mut [u8]| {
            secrets.fill(bytes);
            Ok(())
        });
        let (writer, reader, recovered) = Writer::open(&spool, disk, entropy)?;
        let targets: Vec<PathBuf> = mounted.targets.iter().map(|target| target.root.into()).collect();
        let facts = BoxFacts { site: "simulated".into(), geo_location: None, box_name: "box".into() };
        let mut machine = Machine {
            writer,
            calls: Calls::new(recording, recovered.next_no),
            reader,
            pool: Pool::new(pool_blocks),
            streams: BTreeMap::new(),
            last_reports: Vec::new(),
            last_sweep: now.mono,
            queue: VecDeque::new(),
            outbox: BTreeMap::new(),
            spool_busy_until: MonoTime::default(),
            jobs: Jobs::default(),
            finish_busy: false,
            finish_config: finish::Config { finished_dir: FINISHED.into(), facts, ..finish::Config::default() },
            deliveries: Queue::new(Settings { targets: targets.len(), ..Settings::default() }),
            targets,
            mounted,
            told: Vec::new(),
            asked: Vec::new(),
            delivered: Vec::new(),
            retention,
            clock: JumpWatch::new(now),
            rng,
            next_port: first_port,
            accepting: true,
            trouble: false,
        };
        judge.booted(&machine.reader, &recovered);
        machine.take_up(now, recovered);
        machine.settle(now, judge);
        Ok(machine)
    }

    /// The calls, and what they may ask.
    pub(crate) fn calls(&mut self, now: Now) -> (&mut Calls, Outside<'_>) {
        (&mut self.calls, Outside { streams: &mut self.streams, reader: &self.reader, next_port: &mut self.next_port, now })
    }

    /// The stream of a key is renegotiated.
    pub(crate) fn change(&mut self, key: StreamKey, at: MonoTime, change: nearend::rtp::StreamChange) {
        if let Some(open) = self.streams.get_mut(&key) {
            open.stream.change(at, change);
        }
    }

    /// A datagram comes to a port; nobody may listen there.
    pub(crate) fn receive(&mut self, port: u16, datagram: Datagram) -> bool {
        let open = self.streams.values_mut().find(|open| open.port == port);
        open.map(|open| open.socket.push(datagram)).is_some()
    }

    /// Whether a new call is taken, as the daemon decides it.
    pub(crate) fn takes_calls(&self) -> bool {
        self.accepting && !self.trouble
    }

    /// Everything that is due.
    pub(crate) fn tick(&mut self, now: Now, pace: Pace, judge: &mut Judge) {
        if self.clock.jump_us(now).is_some() {
            self.calls.clock_set();
        }
        self.calls.handle_timeout(now);
        self.settle(now, judge);
        self.sweep(now, judge);
        self.settle(now, judge);
        self.write(now, pace, judge);
        self.finish(now, pace);
        self.forward(now, pace);
        self.release(now, pace);
        self.hear(now, judge);
        self.settle(now, judge);
    }

    /// Stops as the daemon does for an update.
    pub(crate) fn stop(mut self, now: Now, judge: &mut Judge) {
        self.calls.suspend(now);
        self.settle(now, judge);
        self.last_sweep = MonoTime(now.mono.0.saturating_sub(SWEEP_US));
        self.sweep_now(now);
        self.hand_over(judge);
        for report in std::mem::take(&mut self.last_reports) {
            self.calls.report(now, report);
        }
        self.settle(now, judge);
        for command in self.queue.drain(..).chain(std::mem::take(&mut self.outbox).into_values().map(Command::Describe)) {
            give(&mut self.writer, command, judge);
            judge.gave_up(&self.writer.take_spare());
        }
        let _ = self.writer.write_all();
        judge.wrote_blocks(&self.writer.take_spare());
        self.writer.poll().iter().for_each(|event| judge.told(event));
        let _ = self.writer.close();
    }

    /// Nothing runs or waits any more; recordings that are kept for a while are all that is left.
    pub(crate) fn is_done(&self) -> bool {
        self.calls.recordings().next().is_none()
            && self.queue.is_empty()
            && self.outbox.is_empty()
            && self.jobs.next_due().is_none()
            && self.told.is_empty()
            && self.deliveries.next_due().is_none()
    }

    // ---- as daemon/pipeline.rs

    fn take_up(&mut self, now: Now, recovered: Recovered) {
        for recording in recovered.recordings {
            match recording.stage {
                Stage::Recording => {
                    let kept = recovered.kept.get(&recording.no).copied().unwrap_or(MediaTime(0));
                    let mut outside =
                        Outside { streams: &mut self.streams, reader: &self.reader, next_port: &mut self.next_port, now };
                    self.calls.restore(now, recording, kept, &mut outside);
                }
                Stage::Delivered => self.delivered.push((now.mono, recording.no)),
                _ => self.next_station(now, recording),
            }
        }
    }

    fn next_station(&mut self, now: Now, recording: Recording) {
        match recording.stage {
            Stage::Ended => self.jobs.submit(now.mono, recording),
            Stage::Finished => {
                self.deliveries.submit((&recording).into(), |_| Before::Nothing);
            }
            Stage::Delivered => self.delivered.push((now.mono, recording.no)),
            Stage::Recording | Stage::Released => {}
        }
    }

    fn settle(&mut self, now: Now, judge: &mut Judge) {
        loop {
            let actions = self.calls.poll();
            if actions.is_empty() {
                break;
            }
            for action in actions {
                match action {
                    Action::Mask(..) | Action::PauseOver(_) => {} // nobody asks for a pause here
                    Action::Describe(recording) => self.describe(now, recording, judge),
                    Action::Close(key) => {
                        if let Some(open) = self.streams.get_mut(&key) {
                            open.closing = true;
                        }
                    }
                    Action::Bye(key) => self.asked.push(Asked::Bye(key)),
                    Action::Probe(key) => self.asked.push(Asked::Probe(key)),
                }
            }
        }
        while self.queue.len() < QUEUE_COMMANDS
            && let Some((_, recording)) = self.outbox.pop_first()
        {
            self.queue.push_back(Command::Describe(recording));
        }
    }

    fn describe(&mut self, now: Now, recording: Box<Recording>, judge: &mut Judge) {
        judge.described(now, &recording);
        self.outbox.insert(recording.no, recording);
    }

    // ---- as rtp/driver.rs

    fn sweep(&mut self, now: Now, judge: &mut Judge) {
        if last_grid(now.mono, SWEEP_US) <= last_grid(self.last_sweep, SWEEP_US) {
            return;
        }
        self.sweep_now(now);
        self.hand_over(judge);
        let reports: Vec<StreamReport> = self.due_reports(now.mono);
        for report in reports {
            self.calls.report(now, report);
        }
        while !self.last_reports.is_empty() && !self.pool.has_sealed() {
            let report = self.last_reports.remove(0);
            self.calls.report(now, report);
        }
    }

    fn sweep_now(&mut self, now: Now) {
        let boundary = MonoTime(last_grid(now.mono, SWEEP_US));
        for open in self.streams.values_mut().filter(|open| open.closing || open.stream.is_due(boundary)) {
            for datagram in open.socket.drain(..) {
                open.stream.rtp(datagram.arrived, crate::calls::peer(), &datagram.bytes, &mut self.pool);
            }
            open.stream.handle_timeout(now.mono, &mut self.pool);
            open.stream.seal_until(boundary, &mut self.pool);
        }
        for (_, mut open) in self.streams.extract_if(.., |_, open| open.closing) {
            open.stream.seal_all(&mut self.pool);
            self.last_reports.push(open.stream.report(true));
        }
        self.last_sweep = now.mono;
    }

    fn due_reports(&mut self, now: MonoTime) -> Vec<StreamReport> {
        let due = self.streams.values_mut().filter(|open| open.next_report <= now);
        due.map(|open| {
            open.next_report = now.after(REPORT_EVERY);
            open.stream.report(false)
        })
        .collect()
    }

    fn hand_over(&mut self, judge: &mut Judge) {
        if self.pool.has_sealed() && self.queue.len() < QUEUE_COMMANDS {
            let blocks = self.pool.take_sealed();
            judge.handed_over(&blocks);
            self.queue.push_back(Command::Blocks(blocks));
        }
    }

    // ---- as spool/driver.rs

    fn write(&mut self, now: Now, pace: Pace, judge: &mut Judge) {
        if now.mono < self.spool_busy_until {
            return;
        }
        while !self.writer.has_a_batch()
            && let Some(command) = self.queue.pop_front()
        {
            give(&mut self.writer, command, judge);
            self.pool_back(judge, true);
        }
        while self.writer.turn(now.mono) {
            self.pass_on(now, judge);
        }
        self.pass_on(now, judge);
        self.spool_busy_until = now.mono.after(some(&mut self.rng, pace.commit));
    }

    fn pool_back(&mut self, judge: &mut Judge, given_up: bool) {
        let spare = self.writer.take_spare();
        if given_up {
            judge.gave_up(&spare);
        } else {
            judge.wrote_blocks(&spare);
        }
        spare.into_iter().for_each(|samples| self.pool.give(samples));
    }

    fn pass_on(&mut self, now: Now, judge: &mut Judge) {
        self.pool_back(judge, false);
        for event in self.writer.poll() {
            judge.told(&event);
            match event {
                spool::Event::Described { no, stage } if stage > Stage::Recording => match self.reader.recording(no) {
                    Ok(Some(recording)) => self.next_station(now, recording),
                    missing => judge.complain(format!("recording {no} is written, and the ledger says {missing:?}")),
                },
                spool::Event::Described { .. } => {}
                spool::Event::Space { accepting, .. } => self.accepting = accepting,
                spool::Event::Trouble { .. } => self.trouble = true,
                spool::Event::Mended => self.trouble = false,
            }
        }
    }

    // ---- as finish/driver.rs and forward/driver.rs

    fn finish(&mut self, now: Now, pace: Pace) {
        if self.finish_busy {
            return;
        }
        let Some(job) = self.jobs.take_due(now.mono) else { return };
        let done = finish(&self.finish_config, &self.mounted, &self.reader, &job.recording);
        let done = done.map(Box::new).map_err(|error| (Box::new(job), error));
        self.finish_busy = true;
        self.tell(now, pace, Told::Finished(done));
    }

    fn forward(&mut self, now: Now, pace: Pace) {
        for target in 0..self.targets.len() {
            let Some(no) = self.deliveries.next(target, Lane::Normal, now.mono) else { continue };
            let result = match self.reader.recording(no) {
                Ok(Some(recording)) => {
                    let delivery = Delivery::new(&recording);
                    dir::deliver(&self.mounted, &self.targets[target], Path::new(FINISHED), &delivery)
                }
                Ok(None) => Err(DeliveryError::Read { path: "the ledger".into(), error: std::io::ErrorKind::NotFound.into() }),
                Err(error) => Err(DeliveryError::Read { path: "the ledger".into(), error }),
            };
            self.tell(now, pace, Told::Tried { target, no, result });
        }
    }

    /// As daemon/keeping.rs, but for the search of the ledger.
    fn release(&mut self, now: Now, pace: Pace) {
        let retention = self.retention;
        let (due, kept) = std::mem::take(&mut self.delivered).into_iter().partition(|(at, _)| now.mono.since(*at) >= retention);
        self.delivered = kept;
        for (at, no) in due {
            let Ok(Some(recording)) = self.reader.recording(no) else { continue };
            let folder = PathBuf::from(FINISHED).join(recording.path());
            match files::remove_folder(&self.mounted, &folder) {
                Ok(()) => self.tell(now, pace, Told::Released(Box::new(recording))),
                Err(_) => self.delivered.push((at, no)),
            }
        }
    }

    fn tell(&mut self, now: Now, pace: Pace, what: Told) {
        let at = now.mono.after(some(&mut self.rng, pace.file));
        self.told.push((at, what));
    }

    fn hear(&mut self, now: Now, judge: &mut Judge) {
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.told).into_iter().partition(|(at, _)| *at <= now.mono);
        self.told = later;
        for (_, what) in due {
            match what {
                Told::Finished(done) => {
                    self.finish_busy = false;
                    match done {
                        Ok(recording) => self.describe(now, recording, judge),
                        Err((_, error @ FinishError::Conflict { .. })) => judge.complain(format!("not finished: {error}")),
                        Err((job, _)) => drop(self.jobs.failed(now.mono, *job)),
                    }
                }
                Told::Tried { target, no, result } => self.tried(now, target, no, result, judge),
                Told::Released(recording) => {
                    self.describe(now, Box::new(Recording { stage: Stage::Released, ..*recording }), judge);
                }
            }
        }
    }

    fn tried(&mut self, now: Now, target: usize, no: RecordingNo, result: Result<(), DeliveryError>, judge: &mut Judge) {
        judge.look_at_targets();
        match result {
            Ok(()) => {
                judge.arrived(target, no);
                if self.deliveries.confirmed(target, no)
                    && let Ok(Some(recording)) = self.reader.recording(no)
                {
                    self.describe(now, Box::new(Recording { stage: Stage::Delivered, ..recording }), judge);
                }
            }
            Err(error) => match self.deliveries.failed(target, no, error.verdict(), now.mono, self.rng.u64(..)) {
                Outcome::SetAside => judge.complain(format!("recording {no} is set aside: {error}")),
                Outcome::Again(_) | Outcome::Apart(_) => {}
            },
        }
    }
}

fn give(writer: &mut Writer, command: Command, judge: &mut Judge) {
    match command {
        Command::Blocks(blocks) => writer.take_blocks(blocks),
        Command::Describe(recording) => {
            judge.passed_on(&recording);
            writer.take_description(*recording);
        }
    }
}

fn last_grid(now: MonoTime, step_us: u64) -> u64 {
    let us = now.0.saturating_sub(GRACE_US);
    us - us % step_us
}

fn some(rng: &mut Rng, most: Duration) -> Duration {
    Duration::from_millis(rng.u64(..=u64::try_from(most.as_millis()).unwrap_or(0)))
}
