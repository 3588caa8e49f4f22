//! One call as a recording: its sessions and legs, masks, and when it is over.

use std::net::SocketAddr;
use std::time::Duration;

use crate::model::recording::{ClockPoint, Digit, Note};
use crate::model::{
    Channel, EndReason, Flag, Json, Leg, LegCounters, LegNo, Line, Mask, MaskKind, MonoTime, Recording, SavedSession,
    StreamReport, WallTime,
};
use crate::session::Session;

use super::calls::SessionKey;

/// A recording that runs, or may still be continued.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) recording: Recording,
    /// The grid origin on the monotonic clock.
    pub(super) origin: MonoTime,
    pub(super) sessions: Vec<SessionState>,
    /// Legs whose stream has not yet given its last report.
    pub(super) streams: Vec<StreamState>,
    pub(super) next_leg: u16,
    /// When it is over unless a session takes it up again.
    pub(super) over_at: Option<MonoTime>,
    /// When a pause on request ends by itself.
    pub(super) resume_at: Option<MonoTime>,
    /// When its description was last to be written.
    pub(super) described_at: MonoTime,
}

/// One SIP session of the call while it is up.
#[derive(Debug)]
pub(super) struct SessionState {
    pub(super) key: SessionKey,
    pub(super) call_id: String,
    /// The leg of each m-line of its SDP; none: the line was refused.
    pub(super) lines: Vec<Option<LegNo>>,
}

/// A stream of the media thread.
#[derive(Debug)]
pub(super) struct StreamState {
    pub(super) leg: LegNo,
    /// False while its sender pauses it.
    pub(super) active: bool,
    /// Nothing of it is kept: its sender pauses it, or somebody asked for a pause.
    pub(super) paused: bool,
    /// By the latest report; before the first packet, when it was opened.
    pub(super) last_packet: MonoTime,
    /// What the leg had heard before the box was restarted.
    pub(super) before: Heard,
}

/// What a leg had heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    counters: LegCounters,
    ssrcs: Vec<u32>,
    digits: Vec<Digit>,
    clock: Vec<ClockPoint>,
}

impl Call {
    /// Without any session yet.
    pub(super) fn new(recording: Recording, origin: MonoTime) -> Call {
        let next_leg = recording.legs.iter().map(|leg| u16::from(leg.no.0) + 1).max().unwrap_or(0);
        Call {
            recording,
            origin,
            sessions: Vec::new(),
            streams: Vec::new(),
            next_leg,
            over_at: None,
            resume_at: None,
            described_at: MonoTime::default(),
        }
    }

    /// An instant by the call's own clock. It was set by the wall clock when the call began and never jumps, so that
    /// legs, masks and audio stay together whatever is done to the wall clock meanwhile.
    pub(super) fn time(&self, at: MonoTime) -> WallTime {
        self.recording.origin.plus_micros(at.0.cast_signed().saturating_sub(self.origin.0.cast_signed()))
    }

    /// Adds the metadata of a further session; what the first one said stays.
    pub(super) fn learn(&mut self, session: &Session) {
        let recording = &mut self.recording;
        recording.call_uuid = recording.call_uuid.take().or_else(|| session.call_uuid.clone());
        for (name, value) in &session.parameters {
            recording.parameters.entry(name.clone()).or_insert_with(|| value.clone());
        }
        for header in &session.headers {
            if !recording.headers.contains(header) {
                recording.headers.push(header.clone());
            }
        }
        if session.metadata_incomplete {
            recording.flag(Flag::MetadataIncomplete);
        }
        if recording.legs.iter().any(|leg| leg.end_reason.is_some()) && !recording.flags.contains(&Flag::Continued) {
            recording.flag(Flag::Continued);
            tracing::info!(recording = %recording.id, "continued by a further session");
        }
        recording.end_reason = None;
        self.over_at = None;
    }

    /// A number for a new leg; none when all 256 are used. Never one twice, not even of a leg that never was: its stream may
    /// still be closing.
    pub(super) fn take_leg_no(&mut self) -> Option<LegNo> {
        let no = u8::try_from(self.next_leg).ok()?;
        self.next_leg += 1;
        Some(LegNo(no))
    }

    /// The channel for a leg whose dialect says none: the first without a live leg.
    pub(super) fn free_channel(&self) -> Channel {
        let taken = self.recording.legs.iter().any(|leg| leg.channel == Channel::Recorded && leg.end_reason.is_none());
        if taken { Channel::Other } else { Channel::Recorded }
    }

    /// Adds a leg whose stream has been opened at `local`.
    pub(super) fn add_leg(&mut self, now: MonoTime, leg: LegNo, party: PartyOnLine<'_>, local: SocketAddr) {
        let PartyOnLine { channel, dn, call_id, line } = party;
        self.recording.legs.reserve_exact(1); // mostly two in all, and they are large
        self.recording.legs.push(Leg {
            no: leg,
            channel,
            dn,
            call_id: call_id.to_owned(),
            label: line.label.clone(),
            law: line.law,
            local,
            remote: line.remote,
            started: self.time(now),
            ended: None,
            end_reason: None,
            counters: LegCounters::default(),
            ssrcs: Vec::new(),
            digits: Vec::new(),
            anchor: None,
            clock: Vec::new(),
        });
        let (active, paused) = (line.active, self.pauses(line.active));
        self.streams.reserve_exact(1);
        self.streams.push(StreamState { leg, active, paused, last_packet: now, before: Heard::default() });
        if paused {
            self.note_mask(now, leg, MaskKind::Paused);
        }
    }

    /// Goes on with a leg whose stream has been opened again after a restart of the box.
    pub(super) fn resume_leg(&mut self, now: MonoTime, no: LegNo, line: &Line) {
        let Some(leg) = self.recording.legs.iter_mut().find(|leg| leg.no == no) else { return };
        let before =
            Heard { counters: leg.counters, ssrcs: leg.ssrcs.clone(), digits: leg.digits.clone(), clock: leg.clock.clone() };
        let (active, paused) = (line.active, self.pauses(line.active));
        self.streams.push(StreamState { leg: no, active, paused, last_packet: now, before });
    }

    /// A leg that could not be gone on with after a restart.
    pub(super) fn lose_leg(&mut self, no: LegNo) {
        if let Some(leg) = self.recording.legs.iter_mut().find(|leg| leg.no == no) {
            leg.end_reason = Some(EndReason::Interrupted);
        }
    }

    /// Keeps what a session needs to go on after a restart.
    pub(super) fn save_session(&mut self, call_id: &str, lines: &[Option<Line>], legs: &[Option<LegNo>]) {
        let saved = lines.iter().zip(legs).map(|(line, leg)| leg.zip(line.clone())).collect();
        match self.recording.sessions.iter_mut().find(|session| session.call_id == call_id) {
            Some(session) => session.lines = saved,
            None => {
                let session = SavedSession { call_id: call_id.to_owned(), lines: saved, dialog: Json::default() };
                self.recording.sessions.push(session);
            }
        }
    }

    /// Takes a renegotiated line into its leg. True when something that matters changed.
    pub(super) fn change_leg(&mut self, now: MonoTime, no: LegNo, line: Option<&Line>) -> bool {
        let Some(leg) = self.recording.legs.iter_mut().find(|leg| leg.no == no) else { return false };
        let moved = line.is_some_and(|line| leg.remote != line.remote);
        if let Some(line) = line {
            leg.remote = line.remote;
            leg.label = line.label.clone().or_else(|| leg.label.take());
        }
        let Some(stream) = self.streams.iter_mut().find(|s| s.leg == no) else { return moved };
        stream.active = line.is_some_and(|line| line.active);
        self.settle_pause(now, no).is_some() || moved
    }

    /// A delayed offer has been answered: the leg's line is known only now, so nothing before counts as a pause.
    /// Gives its channel.
    pub(super) fn start_leg(&mut self, now: MonoTime, no: LegNo, line: &Line) -> Option<Channel> {
        self.recording.masks.retain(|mask| mask.leg != Some(no));
        let paused = self.pauses(line.active);
        if let Some(stream) = self.streams.iter_mut().find(|s| s.leg == no) {
            (stream.active, stream.paused) = (line.active, paused);
        }
        if paused {
            self.note_mask(now, no, MaskKind::Paused);
        }
        if let Some(leg) = self.recording.legs.iter_mut().find(|leg| leg.no == no) {
            leg.law = line.law;
        }
        self.change_leg(now, no, Some(line));
        self.recording.legs.iter().find(|leg| leg.no == no).map(|leg| leg.channel)
    }

    /// A leg whose line was refused never was.
    pub(super) fn forget_leg(&mut self, no: LegNo) {
        self.recording.legs.retain(|leg| leg.no != no);
        self.recording.masks.retain(|mask| mask.leg != Some(no));
        self.streams.retain(|stream| stream.leg != no);
    }

    /// Ends the legs of a session. When it was the last session, the call is over unless continued within `linger`.
    pub(super) fn end_session(&mut self, now: MonoTime, key: SessionKey, reason: EndReason) -> Vec<LegNo> {
        let Some(at) = self.sessions.iter().position(|s| s.key == key) else { return Vec::new() };
        let session = self.sessions.remove(at);
        self.recording.sessions.retain(|saved| saved.call_id != session.call_id);
        let ended: Vec<LegNo> = session.lines.into_iter().flatten().collect();
        let time = self.time(now);
        for leg in self.recording.legs.iter_mut().filter(|leg| ended.contains(&leg.no)) {
            leg.ended = Some(time);
            leg.end_reason = Some(reason);
        }
        ended
    }

    /// Takes over what the media thread reports; true when it was the leg's last word.
    pub(super) fn report(&mut self, facts: StreamReport) -> bool {
        let no = facts.key.leg;
        let last_packet = facts.last_packet.map(|at| self.time(at));
        let Some(leg) = self.recording.legs.iter_mut().find(|leg| leg.no == no) else { return false };
        let before = self.streams.iter().find(|stream| stream.leg == no).map(|stream| &stream.before);
        let Some(before) = before else { return false };
        leg.counters = before.counters.plus(&facts.counters);
        leg.ssrcs = before.ssrcs.iter().chain(&facts.ssrcs).copied().collect();
        leg.ssrcs.dedup();
        leg.anchor = facts.anchor.or(leg.anchor);
        leg.digits = before.digits.iter().chain(&facts.digits).copied().collect();
        // The first and the latest: what tells clocks apart is the distance between them.
        let points: Vec<ClockPoint> = before.clock.iter().chain(&facts.clock).copied().collect();
        leg.clock = points.first().into_iter().chain(points.get(1..).and_then(<[_]>::last)).copied().collect();
        if facts.closed {
            self.streams.retain(|s| s.leg != no);
            // Nobody said when a vanished peer left: its last packet did.
            if leg.end_reason == Some(EndReason::PeerVanished)
                && let Some(last) = last_packet
            {
                leg.ended = Some(last);
            }
        } else if let Some(stream) = self.streams.iter_mut().find(|s| s.leg == no) {
            stream.last_packet = facts.last_packet.unwrap_or(stream.last_packet);
        }
        facts.closed
    }

    /// The session of a leg, if none of its streams has heard anything for `timeout`.
    pub(super) fn silent_session(&self, now: MonoTime, leg: LegNo, timeout: Duration) -> Option<SessionKey> {
        let session = self.sessions.iter().find(|session| session.lines.contains(&Some(leg)))?;
        let mut streams = self.streams.iter().filter(|stream| session.lines.contains(&Some(stream.leg)));
        streams.all(|stream| now.since(stream.last_packet) >= timeout).then_some(session.key)
    }

    /// Closes the description: nothing more will come.
    pub(super) fn conclude(&mut self) {
        let recording = &mut self.recording;
        recording.sessions.clear();
        recording.ended = recording.legs.iter().filter_map(|leg| leg.ended).max().or(recording.ended);
        let last = recording.legs.iter().max_by_key(|leg| leg.ended);
        recording.end_reason = last.and_then(|leg| leg.end_reason).or(recording.end_reason);
        let has = |channel| recording.legs.iter().any(|leg| leg.channel == channel);
        if !(has(Channel::Recorded) && has(Channel::Other)) {
            recording.flag(Flag::OneSided);
        }
    }

    /// Keeps what a session said beside the audio (at most 1,000 notes and 1 MiB: a chatty peer must not fill the box).
    pub(super) fn note(&mut self, note: Note) {
        let kept: usize = self.recording.notes.iter().map(|n| n.body.len()).sum();
        if self.recording.notes.len() < 1_000 && kept + note.body.len() <= 1 << 20 {
            self.recording.notes.push(note);
        }
    }

    pub(super) fn note_mask(&mut self, now: MonoTime, leg: LegNo, kind: MaskKind) {
        let time = self.time(now);
        self.recording.masks.push(Mask { time, kind, leg: Some(leg) });
    }
}

/// All that is known of a new leg but its number and port.
pub(super) struct PartyOnLine<'a> {
    pub(super) channel: Channel,
    pub(super) dn: Option<String>,
    pub(super) call_id: &'a str,
    pub(super) line: &'a Line,
}
