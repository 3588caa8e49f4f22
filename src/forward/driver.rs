//! The thread `forward`, which decides, and two threads per target, which send. A target that hangs (a dead NFS server keeps
//! its callers in the kernel) so hangs alone.

mod lane;

use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{mpsc as events, watch};
use tracing::{debug, info, warn};

use self::lane::Courier;
use super::pace::{Lane, Pace, Schedule};
use super::queue::{Before, Item, Outcome, Queue, Settings, Standing, TargetNo};
use super::target::{Delivery, DeliveryError, Target, Verdict};
use crate::clock::Now;
use crate::model::{MonoTime, Recording, RecordingId, RecordingNo};

/// Finds the description of a recording in the ledger; none: it is not there any more.
pub type Lookup = Box<dyn Fn(RecordingNo) -> io::Result<Option<Recording>> + Send>;

/// Settings of the forwarder.
pub struct Config {
    /// Where finished recordings stand.
    pub finished_dir: PathBuf,
    /// Where they go. None: they stay on the box.
    pub targets: Vec<Target>,
    /// In which order, to how many of the targets; how many there are is counted here.
    pub queue: Settings,
    /// How fast.
    pub schedule: Schedule,
    /// What this box is called where two have recorded the same call.
    pub box_name: String,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A target has confirmed every file of this recording.
    Arrived {
        /// Which one.
        no: RecordingNo,
        /// Its id.
        id: RecordingId,
        /// Name of the target.
        target: String,
        /// It was the last that had to: the recording is delivered.
        delivered: bool,
    },
    /// A target can never take this recording as it is; it is tried again when somebody asks for it ([`Forwarder::retry`]).
    SetAside {
        /// Which one.
        no: RecordingNo,
        /// Its id.
        id: RecordingId,
        /// Name of the target.
        target: String,
        /// Why, and what to do.
        error: String,
    },
    /// Deliveries to a target began to fail, or fail in another way than before. They are tried again until they do not.
    TargetDown {
        /// Name of the target.
        target: String,
        /// Why, and what to do.
        error: String,
        /// It will not work before somebody has done something.
        refused: bool,
    },
    /// Deliveries to a target that failed succeed again.
    TargetUp {
        /// Name of the target.
        target: String,
    },
}

enum Message {
    Submit { item: Item, arrived_at: Vec<String>, aside: Vec<String> },
    Mark(RecordingNo),
    Retry(RecordingNo),
    Tried { target: TargetNo, no: RecordingNo, id: RecordingId, result: Result<(), DeliveryError> },
    Stop,
}

/// The handle of the thread `forward`.
pub struct Forwarder {
    /// Unbounded, because the main thread must never wait here: a few words per finished recording on the disk, and at most
    /// two results per target.
    inbox: mpsc::Sender<Message>,
    standings: watch::Receiver<Standings>,
    thread: JoinHandle<()>,
}

/// How the targets' lines stand, by name.
pub type Standings = Vec<(String, Standing)>;

impl Forwarder {
    /// Starts the threads. News go to `events`; when that is full, forwarding waits, when it is closed, the threads end.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(config: Config, lookup: Lookup, events: events::Sender<Event>) -> io::Result<Forwarder> {
        let (inbox, incoming) = mpsc::channel();
        let pace = Arc::new(Mutex::new(Pace::new(config.schedule, Now::read().mono)));
        let mut posts = Vec::new();
        for (no, target) in config.targets.into_iter().enumerate() {
            let name = target.name.clone();
            let lane = |lane| {
                let courier =
                    Courier::new(target.clone(), config.finished_dir.clone(), config.box_name.clone(), lane, pace.clone());
                start_lane(no, courier, inbox.clone())
            };
            let lanes = [(Lane::Immediate, lane(Lane::Immediate)?), (Lane::Normal, lane(Lane::Normal)?)];
            posts.push(Post { name, lanes, trouble: None });
        }
        let queue = Queue::new(Settings { targets: posts.len(), ..config.queue });
        let (shown, standings) = watch::channel(Vec::new());
        let coordinator = Coordinator { queue, posts, lookup, events, shown, shown_at: None };
        let thread = thread::Builder::new().name("forward".into()).spawn(move || coordinator.run(&incoming))?;
        Ok(Forwarder { inbox, standings, thread })
    }

    /// Hands over a recording at stage `Finished`. It stays the caller's to remember until it is delivered.
    pub fn submit(&self, recording: &Recording) {
        let aside = recording.set_aside.iter().map(|aside| aside.target.clone()).collect();
        let submit = Message::Submit { item: recording.into(), arrived_at: recording.arrived_at.clone(), aside };
        if self.inbox.send(submit).is_err() {
            warn!(recording = %recording.id, "not forwarded: the forwarder has stopped; it is taken up at the next start");
        }
    }

    /// Delivers a recording before all others, from now on.
    pub fn mark(&self, no: RecordingNo) {
        let _ = self.inbox.send(Message::Mark(no)); // fails only when the thread has ended; the description says so at the next start
    }

    /// Has every target that set a recording aside try it again.
    pub fn retry(&self, no: RecordingNo) {
        let _ = self.inbox.send(Message::Retry(no)); // as above
    }

    /// How the targets' lines stood a moment ago.
    pub fn standings(&self) -> Standings {
        self.standings.borrow().clone()
    }

    /// Stops. A delivery at work is not waited for, because its target may hang; it may be cut off anywhere.
    /// The receiver of the events must be read or closed meanwhile.
    pub fn stop(self) {
        let _ = self.inbox.send(Message::Stop); // fails only when the thread has ended already
        if self.thread.join().is_err() {
            warn!("the thread forward had panicked");
        }
    }
}

/// A target and its two threads, each with room for the one delivery at work: the queue gives no second before the first is answered.
struct Post {
    name: String,
    lanes: [(Lane, mpsc::SyncSender<Delivery>); 2],
    /// How it fails at present.
    trouble: Option<DeliveryError>,
}

fn start_lane(no: TargetNo, mut courier: Courier, results: mpsc::Sender<Message>) -> io::Result<mpsc::SyncSender<Delivery>> {
    let (deliveries, incoming) = mpsc::sync_channel::<Delivery>(1);
    thread::Builder::new().name(format!("forward-{no}")).spawn(move || {
        for delivery in incoming {
            let result = courier.deliver(&delivery);
            if results.send(Message::Tried { target: no, no: delivery.no, id: delivery.id, result }).is_err() {
                return;
            }
        }
    })?;
    Ok(deliveries)
}

struct Coordinator {
    queue: Queue,
    posts: Vec<Post>,
    lookup: Lookup,
    events: events::Sender<Event>,
    shown: watch::Sender<Standings>,
    shown_at: Option<MonoTime>,
}

/// How often it is shown how the lines stand; to look through tens of thousands takes a moment.
const SHOW_EVERY: Duration = Duration::from_secs(1);

impl Coordinator {
    fn run(mut self, incoming: &mpsc::Receiver<Message>) {
        loop {
            let now = Now::read().mono;
            let wait = match self.dispatch(now) {
                Ok(()) => self.queue.next_due().map_or(Duration::MAX, |due| due.since(now)),
                Err(_) => return, // nobody listens any more
            };
            let told = match incoming.recv_timeout(wait.min(self.show(now))) {
                Ok(Message::Submit { item, arrived_at, aside }) => self.submit(item, &arrived_at, &aside),
                Ok(Message::Mark(no)) => {
                    self.queue.mark(no);
                    Ok(())
                }
                Ok(Message::Retry(no)) => {
                    self.queue.retry(no);
                    Ok(())
                }
                Ok(Message::Tried { target, no, id, result: Ok(()) }) => self.arrived(target, no, id),
                Ok(Message::Tried { target, no, id, result: Err(error) }) => self.failed(target, no, id, error),
                Err(mpsc::RecvTimeoutError::Timeout) => Ok(()),
                Ok(Message::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            if told.is_err() {
                return;
            }
        }
    }

    /// Shows how the lines stand, when it is time; gives how long until it is again.
    fn show(&mut self, now: MonoTime) -> Duration {
        let rested = self.shown_at.map_or(SHOW_EVERY, |at| now.since(at));
        if rested < SHOW_EVERY {
            return SHOW_EVERY - rested;
        }
        self.shown_at = Some(now);
        let standing = |(no, post): (TargetNo, &Post)| (post.name.clone(), self.queue.standing(no));
        let standings: Standings = self.posts.iter().enumerate().map(standing).collect();
        let changed = self.shown.send_if_modified(|shown| {
            let changed = *shown != standings;
            *shown = standings;
            changed
        });
        if changed { SHOW_EVERY } else { Duration::MAX }
    }

    fn submit(&mut self, item: Item, arrived_at: &[String], aside: &[String]) -> Told {
        let no = item.no;
        let posts = &self.posts;
        let before = |target: TargetNo| match posts.get(target).map(|post| &post.name) {
            Some(name) if arrived_at.contains(name) => Before::Confirmed,
            Some(name) if aside.contains(name) => Before::SetAside,
            _ => Before::Nothing,
        };
        if !self.queue.submit(item, before) {
            return Ok(());
        }
        // What it waited for was taken out of the configuration, or the last word was not written down.
        match (self.lookup)(no) {
            Ok(Some(recording)) => {
                let target = arrived_at.first().cloned().unwrap_or_default();
                self.events.blocking_send(Event::Arrived { no, id: recording.id, target, delivered: true })
            }
            _ => Ok(()), // it is submitted again after the next start
        }
    }

    fn dispatch(&mut self, now: MonoTime) -> Told {
        for target in 0..self.posts.len() {
            for at in 0..self.posts[target].lanes.len() {
                let lane = self.posts[target].lanes[at].0;
                while let Some(no) = self.queue.next(target, lane, now) {
                    let delivery = match (self.lookup)(no) {
                        Ok(Some(recording)) => Delivery::new(&recording),
                        Ok(None) => {
                            self.queue.failed(target, no, Verdict::Never, now, 0);
                            continue;
                        }
                        Err(error) => {
                            let id = RecordingId(format!("{no}").into());
                            self.failed(target, no, id, DeliveryError::Read { path: "the ledger".into(), error })?;
                            break;
                        }
                    };
                    let post = &self.posts[target];
                    debug!(recording = %delivery.id, target = post.name, "delivering");
                    let _ = post.lanes[at].1.try_send(delivery); // has room: the queue knows that the lane is idle
                }
            }
        }
        Ok(())
    }

    fn arrived(&mut self, target: TargetNo, no: RecordingNo, id: RecordingId) -> Told {
        let post = &mut self.posts[target];
        let name = post.name.clone();
        debug!(recording = %id, target = name, "arrived");
        if post.trouble.take().is_some() {
            info!(target = name, "the target takes recordings again");
            self.events.blocking_send(Event::TargetUp { target: name.clone() })?;
        }
        let delivered = self.queue.confirmed(target, no);
        if delivered {
            info!(recording = %id, "delivered");
        }
        self.events.blocking_send(Event::Arrived { no, id, target: name, delivered })
    }

    fn failed(&mut self, target: TargetNo, no: RecordingNo, id: RecordingId, error: DeliveryError) -> Told {
        let post = &mut self.posts[target];
        let name = post.name.clone();
        let verdict = error.verdict();
        match self.queue.failed(target, no, verdict, Now::read().mono, fastrand::u64(..)) {
            Outcome::SetAside => {
                warn!(recording = %id, target = name, %error, "set aside: not delivered");
                return self.events.blocking_send(Event::SetAside { no, id, target: name, error: error.to_string() });
            }
            Outcome::Apart(again_in) => {
                debug!(recording = %id, target = name, %error, ?again_in, "the way breaks on this recording again and again; others go on");
                return Ok(());
            }
            Outcome::Again(again_in) => debug!(recording = %id, target = name, %error, ?again_in, "not delivered"),
        }
        if post.trouble.as_ref().is_some_and(|known| known.is_like(&error)) {
            return Ok(());
        }
        let refused = verdict == Verdict::Refused;
        warn!(recording = %id, target = name, %error, refused, "not delivered; trying again until it is");
        let event = Event::TargetDown { target: name, error: error.to_string(), refused };
        post.trouble = Some(error);
        self.events.blocking_send(event)
    }
}

type Told = Result<(), events::error::SendError<Event>>;

#[cfg(test)]
mod tests;
