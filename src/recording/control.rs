//! What somebody asks of a running recording: pause, resume, stop. A pause lasts until it is taken back, or until its time is
//! over; beside it stands the pause of the sender (SDP), and audio is kept only while there is neither.

use std::time::Duration;

use crate::clock::Now;
use crate::model::recording::AskedPause;
use crate::model::{EndReason, LegNo, MaskKind, MonoTime, RecordingNo, StreamKey};

use super::call::Call;
use super::calls::{Action, Calls};

impl Calls {
    /// Keeps nothing from now on, for so long at most. A further request sets the limit anew. False: no such call.
    pub fn pause(&mut self, now: Now, no: RecordingNo, limit: Option<Duration>) -> bool {
        let Some(call) = self.calls.get_mut(&no) else { return false };
        let until = limit.map(|limit| now.mono.after(limit));
        call.recording.pause = Some(AskedPause { until: until.map(|until| call.time(until)) });
        call.resume_at = until;
        tracing::info!(recording = %call.recording.id, ?limit, "paused on request");
        self.mask(now, no);
        true
    }

    /// Keeps audio again, unless the sender pauses. False: no such call.
    pub fn resume(&mut self, now: Now, no: RecordingNo) -> bool {
        let Some(call) = self.calls.get_mut(&no) else { return false };
        call.resume_at = None;
        if call.recording.pause.take().is_some() {
            tracing::info!(recording = %call.recording.id, "resumed");
            self.mask(now, no);
        }
        true
    }

    /// Ends the recording: the box hangs up all its sessions. False: no such call.
    pub fn stop(&mut self, now: Now, no: RecordingNo) -> bool {
        let Some(call) = self.calls.get(&no) else { return false };
        tracing::info!(recording = %call.recording.id, "stopped on request");
        let sessions: Vec<_> = call.sessions.iter().map(|session| session.key).collect();
        for key in sessions {
            self.actions.push(Action::Bye(key));
            self.end(now, key, EndReason::Stopped);
        }
        true
    }

    /// The running recording of this id.
    pub fn by_id(&self, id: &str) -> Option<RecordingNo> {
        self.calls.values().find(|call| *call.recording.id.0 == *id && !call.sessions.is_empty()).map(|call| call.recording.no)
    }

    /// Whether nothing of a stream is kept at present.
    pub fn is_paused(&self, stream: StreamKey) -> bool {
        let call = self.calls.get(&stream.recording);
        call.is_some_and(|call| call.streams.iter().any(|s| s.leg == stream.leg && s.paused))
    }

    /// Pauses whose time is over.
    pub(super) fn end_pauses(&mut self, now: Now) {
        let over = |call: &Call| call.resume_at.is_some_and(|at| at <= now.mono);
        let over = self.calls.values().filter(|call| over(call)).map(|call| call.recording.no);
        let over: Vec<RecordingNo> = over.collect();
        for no in over {
            self.resume(now, no);
            self.actions.push(Action::PauseOver(no));
        }
    }

    /// Tells the media thread and writes down what a request changed.
    fn mask(&mut self, now: Now, no: RecordingNo) {
        let Some(call) = self.calls.get_mut(&no) else { return };
        let legs: Vec<LegNo> = call.streams.iter().map(|stream| stream.leg).collect();
        for leg in legs {
            if let Some(paused) = call.settle_pause(now.mono, leg) {
                self.actions.push(Action::Mask(StreamKey { recording: no, leg }, now.mono, paused));
            }
        }
        call.described_at = now.mono;
        self.actions.push(Action::Describe(Box::new(call.recording.clone())));
    }
}

impl Call {
    /// Whether a stream with such a line is to be paused.
    pub(super) fn pauses(&self, is_active: bool) -> bool {
        !is_active || self.recording.pause.is_some()
    }

    /// Brings a stream to what its sender and the requests say; none: it is there already, else whether it is paused now.
    pub(super) fn settle_pause(&mut self, now: MonoTime, leg: LegNo) -> Option<bool> {
        let is_asked = self.recording.pause.is_some();
        let stream = self.streams.iter_mut().find(|stream| stream.leg == leg)?;
        let paused = !stream.active || is_asked;
        if std::mem::replace(&mut stream.paused, paused) == paused {
            return None;
        }
        self.note_mask(now, leg, if paused { MaskKind::Paused } else { MaskKind::Resumed });
        Some(paused)
    }

    /// After a restart of the box: a pause with a limit ends when it would have.
    pub(super) fn restore_pause(&mut self) {
        let until = self.recording.pause.and_then(|pause| pause.until);
        self.resume_at = until.map(|until| {
            let us = until - self.recording.origin;
            MonoTime(self.origin.0.saturating_add_signed(us))
        });
    }
}
