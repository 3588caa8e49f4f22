//! What a restart of the box does to recordings that were running: their sessions, streams and time lines go on.

use crate::clock::Now;
use crate::model::{
    EndReason, Flag, LegNo, Line, MediaTime, MonoTime, Recording, RecordingNo, SavedSession, StreamKey, WallTime,
};

use super::call::{Call, SessionState};
use super::calls::{Action, BLOCK_US, Calls, GRID_US, Opening, Surroundings};

impl Calls {
    /// Takes up a recording that was running when the box stopped, and whose audio reaches to `kept`: its sessions and streams
    /// go on where they can. Without any it is over soon, unless a new session continues it.
    pub fn restore(&mut self, now: Now, mut recording: Recording, kept: MediaTime, outside: &mut dyn Surroundings) {
        recording.flag(Flag::Interrupted);
        let played_us = played_us(&mut recording, now.wall, kept);
        recording.restarts.push(recording.origin.plus_micros(played_us.cast_signed()));
        let origin = on_grid_if_near(MonoTime(now.mono.0.saturating_sub(played_us)));
        self.next_no = self.next_no.max(RecordingNo(recording.no.0 + 1));
        let begins = kept.min(MediaTime::from_micros(played_us.cast_signed()));
        let mut call = Call::new(recording, origin);
        call.restore_pause();
        for saved in std::mem::take(&mut call.recording.sessions) {
            self.actions.extend(resume_session(now.mono, &mut call, &saved, begins, outside));
        }
        let carried: Vec<_> = call.sessions.iter().flat_map(|session| session.lines.iter().flatten().copied()).collect();
        for leg in call.recording.legs.iter_mut().filter(|leg| leg.end_reason.is_none() && !carried.contains(&leg.no)) {
            leg.end_reason = Some(EndReason::Interrupted);
        }
        if call.sessions.is_empty() {
            call.recording.end_reason = Some(EndReason::Interrupted);
            call.over_at = Some(now.mono.after(self.config.linger_lost));
        }
        tracing::warn!(recording = %call.recording.id, sessions = call.sessions.len(), "interrupted by a restart of the box");
        self.actions.push(Action::Describe(Box::new(call.recording.clone())));
        self.calls.insert(call.recording.no, Box::new(call));
    }
}

/// Opens the streams of a saved session at their old ports and takes up its dialog. Gives what is left to do when it could not be.
fn resume_session(
    now: MonoTime,
    call: &mut Call,
    saved: &SavedSession,
    begins: MediaTime,
    outside: &mut dyn Surroundings,
) -> Option<Action> {
    let key = outside.resume(saved)?;
    let no = call.recording.no;
    let mut lines = Vec::with_capacity(saved.lines.len());
    for line in &saved.lines {
        let key = |leg: &LegNo| StreamKey { recording: no, leg: *leg };
        lines.push(line.as_ref().and_then(|(leg, line)| resume_line(now, call, key(leg), (line, begins), outside)));
    }
    if lines.iter().all(Option::is_none) {
        return Some(Action::Bye(key));
    }
    call.recording.sessions.push(saved.clone());
    call.sessions.push(SessionState { key, call_id: saved.call_id.clone(), lines });
    None
}

fn resume_line(
    now: MonoTime,
    call: &mut Call,
    key: StreamKey,
    (line, begins): (&Line, MediaTime),
    outside: &mut dyn Surroundings,
) -> Option<LegNo> {
    let leg = call.recording.legs.iter().find(|leg| leg.no == key.leg)?;
    let (local, anchor) = (Some(leg.local), leg.anchor);
    let paused = call.pauses(line.active);
    let opening = Opening { key, recording_id: &call.recording.id, origin: call.origin, line, paused, local, anchor, begins };
    match outside.open(&opening) {
        Ok(_) => {
            call.resume_leg(now, key.leg, line);
            Some(key.leg)
        }
        Err(why) => {
            tracing::error!(recording = %call.recording.id, leg = key.leg.0, "the leg cannot go on after the restart: {why}");
            call.lose_leg(key.leg);
            None
        }
    }
}

/// No sender keeps a session up for longer while the box does not answer.
const LONGEST_DOWN_US: i64 = 3_600 * 1_000_000;

/// By so much may `kept` be ahead of the clock: it ends with a block, and the last one may be there in part.
const AHEAD_US: i64 = (BLOCK_US + NEAR_GRID_US).cast_signed();

/// How far the time line of an interrupted recording has come by the wall clock. When that contradicts the audio that was
/// kept, the clock was set: then it goes on right behind the audio, and never over it.
fn played_us(recording: &mut Recording, now: WallTime, kept: MediaTime) -> u64 {
    let kept_us = kept.0.saturating_mul(1_000_000 / MediaTime::RATE);
    let played_us = now - recording.origin;
    let down_us = played_us.saturating_sub(kept_us);
    let played_us = if (-AHEAD_US..=LONGEST_DOWN_US).contains(&down_us) {
        played_us
    } else {
        recording.flag(Flag::ClockSet);
        tracing::warn!(recording = %recording.id, down_us, "the clock was set while the box was down, or it was down for long; what comes now goes right behind what was kept");
        kept_us
    };
    u64::try_from(played_us).unwrap_or(0) // set back by less than a block, before the first was kept
}

/// How far wall clock and monotonic clock may drift apart in a call (100 ppm in two minutes, or an NTP slew).
const NEAR_GRID_US: u64 = 10_000;

/// The origin again after a restart, from the wall clock. As long as the machine ran on, that is on the grid but for what the
/// clocks differ; after a reboot it is anywhere, and the blocks of that call are sealed a little later than the others'.
fn on_grid_if_near(t: MonoTime) -> MonoTime {
    let after = t.0.saturating_add(GRID_US / 2);
    let nearest = MonoTime(after - after % GRID_US);
    if nearest.0.abs_diff(t.0) <= NEAR_GRID_US { nearest } else { t }
}
