//! The thread `forward`, which decides, and one thread per target, which copies. A target that hangs (a dead NFS server keeps
//! its callers in the kernel) so hangs alone.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc as events;
use tracing::{debug, info, warn};

use super::queue::{Queue, TargetNo};
use super::target::{Delivery, DeliveryError, Target};
use crate::clock::Now;
use crate::files::System;
use crate::model::{MonoTime, Recording, RecordingId, RecordingNo};

/// Settings of the forwarder.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where finished recordings stand.
    pub finished_dir: PathBuf,
    /// Where they go, each to all of these. None: they stay on the box.
    pub targets: Vec<Target>,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Every target has confirmed every file of this recording.
    Delivered {
        /// Which one.
        no: RecordingNo,
        /// Its id.
        id: RecordingId,
    },
    /// A target can never take this recording as it is; it is tried again after a restart.
    SetAside {
        /// Which one.
        no: RecordingNo,
        /// Its id.
        id: RecordingId,
        /// Name of the target.
        target: String,
        /// Why, and what to do.
        error: DeliveryError,
    },
    /// Deliveries to a target began to fail, or fail in another way than before. They are tried again until they do not.
    TargetDown {
        /// Name of the target.
        target: String,
        /// Why, and what to do.
        error: String,
    },
    /// Deliveries to a target that failed succeed again.
    TargetUp {
        /// Name of the target.
        target: String,
    },
}

enum Message {
    Submit(Delivery),
    Tried { target: TargetNo, no: RecordingNo, id: RecordingId, result: Result<(), DeliveryError> },
    Stop,
}

/// The handle of the thread `forward`.
pub struct Forwarder {
    /// Unbounded, because the main thread must never wait here: a short description per finished recording on the disk, and at most
    /// one result per target.
    inbox: mpsc::Sender<Message>,
    thread: JoinHandle<()>,
}

impl Forwarder {
    /// Starts the threads. News go to `events`; when that is full, forwarding waits, when it is closed, the threads end.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(config: Config, events: events::Sender<Event>) -> io::Result<Forwarder> {
        let (inbox, incoming) = mpsc::channel();
        let mut lanes = Vec::new();
        for (no, target) in config.targets.into_iter().enumerate() {
            lanes.push(Lane::start(no, target, config.finished_dir.clone(), inbox.clone())?);
        }
        let coordinator = Coordinator { queue: Queue::new(lanes.len()), lanes, events };
        let thread = thread::Builder::new().name("forward".into()).spawn(move || coordinator.run(&incoming))?;
        Ok(Forwarder { inbox, thread })
    }

    /// Hands over a recording at stage `Finished`. It stays the caller's to remember until [`Event::Delivered`].
    pub fn submit(&self, recording: &Recording) {
        if self.inbox.send(Message::Submit(Delivery::new(recording))).is_err() {
            warn!(recording = %recording.id, "not forwarded: the forwarder has stopped; it is taken up at the next start");
        }
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

/// One target and its thread.
struct Lane {
    name: String,
    /// Holds the one delivery at work: the queue gives no second before the first is answered.
    deliveries: mpsc::SyncSender<Arc<Delivery>>,
    /// How it fails at present.
    trouble: Option<DeliveryError>,
}

impl Lane {
    fn start(no: TargetNo, target: Target, finished_dir: PathBuf, results: mpsc::Sender<Message>) -> io::Result<Lane> {
        let (deliveries, incoming) = mpsc::sync_channel::<Arc<Delivery>>(1);
        let name = target.name.clone();
        thread::Builder::new().name(format!("forward-{no}")).spawn(move || {
            for delivery in incoming {
                let result = target.deliver(&System, &finished_dir, &delivery);
                let tried = Message::Tried { target: no, no: delivery.no, id: delivery.id.clone(), result };
                if results.send(tried).is_err() {
                    return;
                }
            }
        })?;
        Ok(Lane { name, deliveries, trouble: None })
    }
}

struct Coordinator {
    queue: Queue,
    lanes: Vec<Lane>,
    events: events::Sender<Event>,
}

impl Coordinator {
    fn run(mut self, incoming: &mpsc::Receiver<Message>) {
        loop {
            let now = Now::read().mono;
            self.dispatch(now);
            let wait = self.queue.next_due().map_or(Duration::MAX, |due| due.since(now));
            let told = match incoming.recv_timeout(wait) {
                Ok(Message::Submit(delivery)) => {
                    self.queue.submit(delivery);
                    Ok(())
                }
                Ok(Message::Tried { target, no, id, result: Ok(()) }) => self.arrived(target, no, id),
                Ok(Message::Tried { target, no, id, result: Err(error) }) => self.failed(target, no, id, error),
                Err(mpsc::RecvTimeoutError::Timeout) => Ok(()),
                Ok(Message::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            if told.is_err() {
                return; // nobody listens any more
            }
        }
    }

    fn dispatch(&mut self, now: MonoTime) {
        for (no, lane) in self.lanes.iter().enumerate() {
            if let Some(delivery) = self.queue.next(no, now) {
                debug!(recording = %delivery.id, target = lane.name, "delivering");
                let _ = lane.deliveries.try_send(delivery); // has room: the queue knows that the lane is idle
            }
        }
    }

    fn arrived(&mut self, target: TargetNo, no: RecordingNo, id: RecordingId) -> Told {
        let lane = &mut self.lanes[target];
        debug!(recording = %id, target = lane.name, "arrived");
        if lane.trouble.take().is_some() {
            info!(target = lane.name, "the target takes recordings again");
            self.events.blocking_send(Event::TargetUp { target: lane.name.clone() })?;
        }
        if self.queue.confirmed(target) {
            info!(recording = %id, "delivered");
            self.events.blocking_send(Event::Delivered { no, id })?;
        }
        Ok(())
    }

    fn failed(&mut self, target: TargetNo, no: RecordingNo, id: RecordingId, error: DeliveryError) -> Told {
        let lane = &mut self.lanes[target];
        let name = lane.name.clone();
        if error.is_final() {
            warn!(recording = %id, target = name, %error, "set aside: not delivered");
            self.queue.set_aside(target);
            return self.events.blocking_send(Event::SetAside { no, id, target: name, error });
        }
        let again_in = self.queue.failed(target, Now::read().mono, fastrand::u64(..));
        debug!(recording = %id, target = name, %error, ?again_in, "not delivered");
        if lane.trouble.as_ref().is_some_and(|known| known.is_like(&error)) {
            return Ok(());
        }
        warn!(recording = %id, target = name, %error, "not delivered; trying again until it is");
        let event = Event::TargetDown { target: name, error: error.to_string() };
        lane.trouble = Some(error);
        self.events.blocking_send(event)
    }
}

type Told = Result<(), events::error::SendError<Event>>;

#[cfg(test)]
mod tests;
