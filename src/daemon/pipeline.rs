//! The way of a recording after the call: written -> finished -> delivered -> released, each step durable before the next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::TrySendError;

use crate::clock::Now;
use crate::model::recording::SetAside;
use crate::model::{MediaTime, Recording, RecordingId, RecordingNo, Stage};
use crate::spool::{Command, Event};
use crate::web::driver::recordings::{self, Refusal, Wish};
use crate::{finish, forward};

use super::Daemon;
use super::publish::RECENT;

/// Recordings with the finisher: one at work, one that is next.
const FINISHING: usize = 2;

/// What the finisher is given, and what waits for it: as numbers, because when many calls end at once their descriptions would
/// take more memory than their calls did. One that failed is the finisher's to try again.
#[derive(Default)]
pub(super) struct Finishing {
    given: usize,
    waiting: VecDeque<RecordingNo>,
}

impl Finishing {
    /// Whether a recording may be given to the finisher now. If not, it is [next](Finishing::next) some time.
    fn begin(&mut self, no: RecordingNo) -> bool {
        let has_room = self.given < FINISHING;
        if has_room {
            self.given += 1;
        } else {
            self.waiting.push_back(no);
        }
        has_room
    }

    /// One is done. A further try of one that had failed counts for nothing.
    fn end(&mut self) {
        self.given = self.given.saturating_sub(1);
    }

    /// The recording that is to be given to the finisher now.
    fn next(&mut self) -> Option<RecordingNo> {
        let next = self.waiting.pop_front_if(|_| self.given < FINISHING)?;
        self.given += 1;
        Some(next)
    }
}

impl Daemon {
    /// A description that is to be written.
    pub(super) fn describe(&mut self, recording: Box<Recording>) {
        self.outbox.insert(recording.no, recording);
    }

    /// Hands descriptions to the spool while its queue has room; it has again after its next commit, which is an event.
    pub(super) fn hand_over(&mut self) {
        let spool = self.spool.sender();
        while let Some((no, recording)) = self.outbox.pop_first() {
            if let Err(TrySendError::Full(Command::Describe(recording))) = spool.try_send(Command::Describe(recording)) {
                self.outbox.insert(no, recording);
                return;
            }
        }
    }

    /// What the ledger held at the start goes on from where it was.
    pub(super) fn take_up(&mut self, now: Now, recordings: Vec<Recording>, kept: &BTreeMap<RecordingNo, MediaTime>) {
        for recording in recordings {
            if recording.stage == Stage::Recording {
                let kept = kept.get(&recording.no).copied().unwrap_or_default();
                self.restore(now, recording, kept);
            } else {
                self.ledger.remember(&recording);
                self.next_station(recording);
            }
        }
        // What was delivered before is shown, too.
        self.reader.recordings().take(RECENT).flatten().for_each(|recording| self.ledger.remember(&recording));
    }

    pub(super) fn on_spool(&mut self, now: Now, event: Event) {
        match event {
            Event::Described { no, stage } if stage > Stage::Recording => match self.reader.recording(no) {
                Ok(Some(recording)) => {
                    self.ledger.remember(&recording);
                    self.amended.retain(|amended, newest| *amended != no || !is_written(newest, &recording));
                    if stage == Stage::Ended {
                        self.assure(now, &recording);
                    }
                    self.next_station(recording);
                }
                // The ledger is being mended; the recording goes on after the next start.
                Ok(None) => tracing::error!(no = no.0, "written, but the ledger does not know it"),
                Err(error) => tracing::error!(no = no.0, "written, but the ledger cannot be read: {error}"),
            },
            Event::Described { .. } => {}
            Event::Space { free_bytes, used_bytes, accepting } => self.ledger.space(free_bytes, used_bytes, accepting),
            Event::Trouble { what } => self.ledger.trouble(Some(what)),
            Event::Mended => self.ledger.trouble(None),
        }
    }

    /// Gives a recording whose description is durable to whom it is next.
    fn next_station(&mut self, recording: Recording) {
        match recording.stage {
            Stage::Ended if self.finishing.begin(recording.no) => self.finisher.submit(recording),
            Stage::Ended => {}
            Stage::Finished => self.forwarder.submit(&recording),
            Stage::Recording | Stage::Delivered | Stage::Released => {}
        }
    }

    /// The finisher has room for another.
    fn finish_next(&mut self) {
        self.finishing.end();
        while let Some(no) = self.finishing.next() {
            match self.reader.recording(no) {
                Ok(Some(recording)) if recording.stage == Stage::Ended => return self.finisher.submit(recording),
                // As above.
                read => tracing::error!(no = no.0, "not finished before the next start: the ledger gave {:?}", read.map(drop)),
            }
            self.finishing.end();
        }
    }

    pub(super) fn on_finish(&mut self, now: Now, event: finish::Event) {
        self.finish_next();
        match event {
            finish::Event::Finished(recording) => {
                self.ledger.totals.finished += 1;
                self.assure_tone(now, &recording);
                self.describe(recording);
            }
            finish::Event::Failed { id, error, again_in, .. } => {
                self.ledger.totals.finish_failures += 1;
                match again_in {
                    Some(wait) => tracing::warn!(recording = %id, "not finished: {error}; tried again in {wait:?}"),
                    None => tracing::error!(recording = %id, "not finished: {error}"),
                }
            }
        }
    }

    pub(super) fn on_forward(&mut self, event: forward::Event) {
        match event {
            forward::Event::Arrived { no, id, target, delivered } => self.on_arrived(no, &id, target, delivered),
            forward::Event::SetAside { no, id, target, error } => {
                tracing::error!(recording = %id, target, "set aside: {error}");
                let aside = SetAside { target, time: Now::read().wall, why: error };
                self.amend(no, &id, |recording| {
                    recording.set_aside.retain(|known| known.target != aside.target);
                    recording.set_aside.push(aside);
                });
            }
            forward::Event::TargetDown { target, error, refused } => {
                tracing::warn!(target, refused, "target fails: {error}");
                let shown = self.ledger.target(&target);
                shown.trouble = Some(error);
                shown.refused = refused;
            }
            forward::Event::TargetUp { target } => {
                tracing::info!(target, "target works again");
                let shown = self.ledger.target(&target);
                shown.trouble = None;
                shown.refused = false;
            }
        }
    }

    /// A target has everything of a recording; which ones have is written down, so that they are not asked again after a restart.
    fn on_arrived(&mut self, no: RecordingNo, id: &RecordingId, target: String, delivered: bool) {
        let amended = self.amend(no, id, |recording| {
            recording.set_aside.retain(|aside| aside.target != target && !delivered);
            if !recording.arrived_at.contains(&target) {
                recording.arrived_at.push(target);
            }
            if delivered {
                recording.stage = recording.stage.max(Stage::Delivered);
            }
        });
        if let Some(recording) = amended.filter(|_| delivered) {
            self.ledger.totals.delivered += 1;
            self.teller.delivered(Now::read(), &recording);
        }
    }

    /// Changes the description of a recording that is with the forwarder; gives it as it is then.
    fn amend(&mut self, no: RecordingNo, id: &RecordingId, change: impl FnOnce(&mut Recording)) -> Option<Recording> {
        let newest = match self.amended.remove(&no) {
            Some(recording) => Ok(Some(*recording)),
            None => self.reader.recording(no),
        };
        match newest {
            Ok(Some(mut recording)) => {
                change(&mut recording);
                self.amended.insert(no, Box::new(recording.clone()));
                self.describe(Box::new(recording.clone()));
                return Some(recording);
            }
            Ok(None) => tracing::error!(recording = %id, "forwarded, but the ledger does not know it"),
            // It is delivered once more after the next start, which changes nothing at the target.
            Err(error) => tracing::warn!(recording = %id, "forwarded, but the ledger cannot be read: {error}"),
        }
        None
    }

    /// Somebody asks over HTTP for a recording that waits to be delivered: to go first, or to be tried again.
    pub(super) fn on_recording_asked(&mut self, ask: recordings::Ask) {
        let outcome = self.ask_forwarder(&ask);
        let _ = ask.answer.send(outcome); // who asked may have gone
    }

    fn ask_forwarder(&mut self, ask: &recordings::Ask) -> Result<(), Refusal> {
        let known = self.reader.find(&RecordingId(ask.id.as_str().into())).map_err(|error| Refusal::Later(error.to_string()))?;
        let recording = known.filter(|recording| ask.scope.sees(&recording.tenant.0)).ok_or(Refusal::Unknown)?;
        if recording.stage != Stage::Finished {
            return Err(Refusal::NotWaiting(recording.stage));
        }
        match ask.wish {
            Wish::First => {
                self.forwarder.mark(recording.no);
                self.amend(recording.no, &recording.id, |recording| recording.immediate = true);
            }
            Wish::Again => {
                self.forwarder.retry(recording.no);
                self.amend(recording.no, &recording.id, |recording| recording.set_aside.clear());
            }
        }
        tracing::info!(recording = %recording.id, wish = ?ask.wish, "asked over HTTP");
        Ok(())
    }
}

/// Whether what stands in the ledger is the newest, as far as the forwarder's side changes it.
fn is_written(newest: &Recording, written: &Recording) -> bool {
    let changed = |of: &Recording| (of.stage, of.arrived_at.clone(), of.set_aside.clone(), of.immediate);
    changed(newest) == changed(written)
}
