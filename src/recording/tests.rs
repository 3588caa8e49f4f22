//! The recording machine, driven by hand through whole calls.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Now;
use crate::model::recording::{Dialect, Flag, MaskKind, Note, Stage};
use crate::model::{
    Channel, EndReason, LegCounters, LegNo, Line, MediaTime, MonoTime, Recording, RecordingId, RecordingNo, SavedSession,
    StreamKey, StreamReport, TenantId, WallTime,
};
use crate::session::{Party, Session};

use super::*;

/// A world with ports without end, a clock to wind, and a memory of what was asked.
struct World {
    calls: Calls,
    now: Now,
    port: u16,
    open: BTreeSet<StreamKey>,
    known: BTreeSet<RecordingId>,
    described: BTreeMap<RecordingNo, Recording>,
    actions: Vec<Action>,
    ports_left: usize,
}

struct Ports<'a>(&'a mut u16, &'a mut BTreeSet<StreamKey>, &'a BTreeSet<RecordingId>, &'a mut usize);

impl Surroundings for Ports<'_> {
    fn open(&mut self, opening: &Opening<'_>) -> Result<SocketAddr, String> {
        *self.3 = self.3.checked_sub(1).ok_or("no port is free")?;
        *self.0 += 2;
        assert!(self.1.insert(opening.key), "a stream is opened once");
        Ok(SocketAddr::from(([127, 0, 0, 1], *self.0)))
    }
    fn close(&mut self, key: StreamKey) {
        assert!(self.1.remove(&key));
    }
    /// A dialog is its number here; one that was never settled cannot be gone on with.
    fn resume(&mut self, session: &SavedSession) -> Option<SessionKey> {
        session.dialog.as_u64().map(SessionKey)
    }
    /// A session of the tenant `declined` is.
    fn judge(&mut self, session: &Session) -> Result<Placement, Declined> {
        if session.tenant_hints.iter().any(|hint| hint == "declined") {
            return Err(Declined { rule: "none".into() });
        }
        Ok(Placement { tenant: TenantId("101".into()), switch: None, ruling: None })
    }
    fn is_known(&self, id: &RecordingId) -> bool {
        self.2.contains(id)
    }
}

impl World {
    fn new() -> World {
        let config = Config {
            max_recordings: 3,
            linger: Duration::from_secs(3),
            linger_lost: Duration::from_secs(30),
            media_timeout: Duration::from_secs(60),
        };
        World {
            calls: Calls::new(config, RecordingNo(1)),
            now: Now { mono: MonoTime(10_700_000), wall: WallTime(1_772_460_359_000_000) },
            port: 20_000,
            open: BTreeSet::new(),
            known: BTreeSet::new(),
            described: BTreeMap::new(),
            actions: Vec::new(),
            ports_left: usize::MAX,
        }
    }

    fn admit(&mut self, key: u64, session: &Session, lines: &[Option<Line>]) -> Result<Admission, Refusal> {
        let mut ports = Ports(&mut self.port, &mut self.open, &self.known, &mut self.ports_left);
        let admission = self.calls.admit(self.now, SessionKey(key), session, lines, &mut ports);
        self.calls.settled(self.now, SessionKey(key), key.into());
        self.settle();
        admission
    }

    fn renegotiate(&mut self, key: u64, session: &Session, lines: &[Option<Line>]) -> Result<Admission, Refusal> {
        let mut ports = Ports(&mut self.port, &mut self.open, &self.known, &mut self.ports_left);
        let admission = self.calls.renegotiate(self.now, SessionKey(key), session, lines, &mut ports);
        self.calls.settled(self.now, SessionKey(key), key.into());
        self.settle();
        admission
    }

    fn end(&mut self, key: u64, reason: EndReason) {
        self.calls.end(self.now, SessionKey(key), reason);
        self.settle();
    }

    /// Lets time pass, stopping at every deadline.
    fn pass(&mut self, duration: Duration) {
        let until = self.now.mono.after(duration);
        while let Some(next) = self.calls.poll_timeout().filter(|next| *next <= until) {
            self.advance_to(next.max(self.now.mono));
            self.calls.handle_timeout(self.now);
            self.settle();
        }
        self.advance_to(until);
    }

    fn advance_to(&mut self, mono: MonoTime) {
        self.now.wall = self.now.wall.plus_micros(i64::try_from(mono.since(self.now.mono).as_micros()).unwrap());
        self.now.mono = mono;
    }

    /// Carries out what is asked as the daemon would: a closed stream gives its last report at once.
    fn settle(&mut self) {
        loop {
            let actions = self.calls.poll();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match &action {
                    Action::Describe(recording) => {
                        self.described.insert(recording.no, (**recording).clone());
                    }
                    Action::Close(key) => {
                        assert!(self.open.remove(key), "only an open stream is closed");
                        self.calls.report(self.now, report(*key, None, true));
                    }
                    Action::Bye(_) | Action::Probe(_) => {}
                }
                self.actions.push(action);
            }
        }
    }

    fn the(&self, no: u64) -> &Recording {
        &self.described[&RecordingNo(no)]
    }
}

fn report(key: StreamKey, last_packet: Option<MonoTime>, closed: bool) -> StreamReport {
    StreamReport {
        key,
        counters: LegCounters::default(),
        ssrcs: Vec::new(),
        digits: Vec::new(),
        clock: Vec::new(),
        anchor: None,
        last_packet,
        closed,
    }
}

fn line(port: u16, active: bool) -> Option<Line> {
    Some(Line { remote: SocketAddr::from(([192, 0, 2, 1], port)), active, ..Line::offered() })
}

fn session(id: &str, call_id: &str, channels: &[Option<Channel>]) -> Session {
    Session {
        dialect: Dialect::Msr,
        call_id: call_id.into(),
        recording_id: Some(RecordingId(id.into())),
        call_uuid: None,
        tenant_hints: vec!["nobody".into(), "acme".into()],
        parties: channels.iter().map(|channel| Party { channel: *channel, ..Party::default() }).collect(),
        parameters: BTreeMap::new(),
        headers: Vec::new(),
        metadata_incomplete: false,
    }
}

const ONE: &[Option<Channel>] = &[Some(Channel::Recorded)];
const TWO: &[Option<Channel>] = &[Some(Channel::Other)];
const BOTH: &[Option<Channel>] = &[Some(Channel::Recorded), Some(Channel::Other)];

#[test]
fn two_sessions_make_one_recording_in_either_order() {
    for (first, second) in [(ONE, TWO), (TWO, ONE)] {
        let mut world = World::new();
        let a = world.admit(1, &session("r", "a", first), &[line(4000, true)]).unwrap();
        world.pass(Duration::from_millis(700));
        let b = world.admit(2, &session("r", "b", second), &[line(4002, true)]).unwrap();
        assert_eq!((a.recording, b.recording), (RecordingNo(1), RecordingNo(1)));
        world.pass(Duration::from_secs(20));
        world.end(1, EndReason::Bye);
        assert_eq!(world.the(1).stage, Stage::Recording);
        world.pass(Duration::from_secs(1));
        world.end(2, EndReason::Bye);
        world.pass(Duration::from_secs(3));
        let recording = world.the(1);
        assert_eq!(recording.stage, Stage::Ended);
        assert_eq!(recording.tenant, TenantId("101".into()));
        assert_eq!(recording.end_reason, Some(EndReason::Bye));
        assert_eq!(recording.ended.unwrap() - recording.started, 21_700_000);
        assert_eq!(recording.flags, []);
        assert!(world.calls.recordings().next().is_none() && world.open.is_empty());
    }
}

#[test]
fn the_grid_lies_on_the_monotonic_half_second() {
    let mut world = World::new();
    world.admit(1, &session("r", "a", BOTH), &[line(4000, true), line(4002, true)]).unwrap();
    let recording = world.the(1);
    assert_eq!(recording.started - recording.origin, 200_000, "10.7 s is 0.2 s behind the grid");
}

#[test]
fn a_second_leg_that_never_comes_is_flagged() {
    let mut world = World::new();
    world.admit(1, &session("r", "a", ONE), &[line(4000, true)]).unwrap();
    world.end(1, EndReason::Bye);
    world.pass(Duration::from_secs(3));
    assert_eq!(world.the(1).flags, [Flag::OneSided]);
    assert_eq!(world.the(1).stage, Stage::Ended);
}

#[test]
fn a_lost_session_may_be_continued_longer_than_one_that_said_bye() {
    let mut world = World::new();
    world.admit(1, &session("r", "a", BOTH), &[line(4000, true), line(4002, true)]).unwrap();
    world.end(1, EndReason::PeerVanished);
    world.pass(Duration::from_secs(29));
    let again = world.admit(2, &session("r", "b", BOTH), &[line(5000, true), line(5002, true)]).unwrap();
    assert_eq!(again.recording, RecordingNo(1));
    world.end(2, EndReason::Bye);
    world.pass(Duration::from_millis(2_999));
    assert_eq!(world.the(1).stage, Stage::Recording);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.the(1).stage, Stage::Ended);
    assert_eq!(world.the(1).flags, [Flag::Continued]);
    assert_eq!(world.the(1).legs.iter().map(|leg| leg.no.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn another_media_server_takes_over_a_channel_that_is_still_up() {
    let mut world = World::new();
    world.admit(1, &session("r", "a", ONE), &[line(4000, true)]).unwrap();
    world.admit(2, &session("r", "b", TWO), &[line(4002, true)]).unwrap();
    world.admit(3, &session("r", "c", ONE), &[line(5000, true)]).unwrap();
    assert!(world.actions.contains(&Action::Bye(SessionKey(1))));
    let legs: Vec<_> = world.the(1).legs.iter().map(|leg| (leg.channel, leg.end_reason)).collect();
    assert_eq!(legs, [(Channel::Recorded, Some(EndReason::Replaced)), (Channel::Other, None), (Channel::Recorded, None)]);
}

#[test]
fn a_recording_that_is_over_is_never_touched_again() {
    let mut world = World::new();
    world.known.extend([RecordingId("r".into()), RecordingId("r~2".into())]);
    world.admit(1, &session("r", "a", ONE), &[line(4000, true)]).unwrap();
    assert_eq!(world.the(1).id, RecordingId("r~3".into()));
    assert_eq!(world.the(1).flags, [Flag::LaterPart]);
    let second = world.admit(2, &session("r", "b", TWO), &[line(4002, true)]).unwrap();
    assert_eq!(second.recording, RecordingNo(1), "its second session joins the part that runs");
}

#[test]
fn an_id_is_not_used_again_though_the_ledger_does_not_know_it_yet() {
    let mut world = World::new();
    for (key, id) in [(1, "r"), (2, "r~2"), (3, "r~3")] {
        world.admit(key, &session("r", &format!("c{key}"), ONE), &[line(4000, true)]).unwrap();
        world.end(key, EndReason::Bye);
        world.pass(Duration::from_secs(3));
        assert_eq!((&*world.the(key).id.0, world.the(key).stage), (id, Stage::Ended));
    }
}

#[test]
fn a_full_box_still_takes_the_second_leg() {
    let mut world = World::new();
    for n in 1..=3 {
        world.admit(n, &session(&format!("r{n}"), &format!("c{n}"), ONE), &[line(4000, true)]).unwrap();
    }
    assert_eq!(world.admit(4, &session("r4", "c4", ONE), &[line(4000, true)]), Err(Refusal::Full(3)));
    world.admit(5, &session("r1", "c5", TWO), &[line(4000, true)]).unwrap();
}

#[test]
fn without_a_port_nothing_stays_behind() {
    let mut world = World::new();
    world.ports_left = 1;
    let refused = world.admit(1, &session("r", "a", BOTH), &[line(4000, true), line(4002, true)]);
    assert_eq!(refused, Err(Refusal::NoStream("no port is free".into())));
    assert!(world.calls.recordings().next().is_none() && world.open.is_empty() && world.described.is_empty());
}

#[test]
fn pause_and_move_are_masks_and_addresses() {
    let mut world = World::new();
    let offer = session("r", "a", BOTH);
    world.admit(1, &offer, &[line(4000, true), line(4002, true)]).unwrap();
    world.pass(Duration::from_secs(5));
    world.renegotiate(1, &offer, &[line(4000, false), line(4002, false)]).unwrap();
    world.pass(Duration::from_secs(5));
    world.renegotiate(1, &offer, &[line(4000, false), line(4002, false)]).unwrap();
    world.renegotiate(1, &offer, &[line(6000, true), None]).unwrap();
    let recording = world.the(1);
    let masks: Vec<_> = recording.masks.iter().map(|m| (m.time - recording.started, m.kind, m.leg.unwrap().0)).collect();
    assert_eq!(
        masks,
        [(5_000_000, MaskKind::Paused, 0), (5_000_000, MaskKind::Paused, 1), (10_000_000, MaskKind::Resumed, 0)],
        "asking twice makes no second mask, a line without a usable stream stays paused"
    );
    assert_eq!(recording.legs[0].remote.port(), 6000);
}

#[test]
fn a_line_that_joins_later_is_a_leg_of_its_own() {
    let mut world = World::new();
    let offer = session("r", "a", BOTH);
    world.admit(1, &offer, &[line(4000, true)]).unwrap();
    let admission = world.renegotiate(1, &offer, &[line(4000, true), line(4002, true)]).unwrap();
    assert_eq!(admission.lines.len(), 2);
    assert_eq!(world.the(1).legs.len(), 2);
}

#[test]
fn the_answer_to_a_delayed_offer_decides_which_lines_there_were() {
    let mut world = World::new();
    let unknown = Some(Line::offered());
    world.admit(1, &session("r", "a", ONE), &[unknown.clone(), unknown]).unwrap();
    let kept = world.calls.answered(world.now, SessionKey(1), &[line(4000, true)]);
    world.calls.settled(world.now, SessionKey(1), 1.into());
    world.settle();
    assert_eq!(kept, [Some(StreamKey { recording: RecordingNo(1), leg: LegNo(0) }), None]);
    assert_eq!(world.the(1).legs.len(), 1);
    assert_eq!(world.open.len(), 1);
}

#[test]
fn two_delayed_offers_do_not_take_each_others_channels() {
    for (first, second) in [(BOTH, TWO), (TWO, BOTH)] {
        let mut world = World::new();
        let offered = |channels: &[Option<Channel>]| vec![Some(Line::offered()); channels.len()];
        world.admit(1, &session("r", "a", first), &offered(first)).unwrap();
        world.admit(2, &session("r", "b", second), &offered(second)).unwrap();
        for key in [1, 2] {
            world.calls.answered(world.now, SessionKey(key), &[line(4000, true)]);
            world.settle();
        }
        assert!(!world.actions.iter().any(|action| matches!(action, Action::Bye(_))), "{:?}", world.actions);
        let mut legs: Vec<_> =
            world.calls.recordings().next().unwrap().legs.iter().map(|leg| (leg.channel, leg.end_reason)).collect();
        legs.sort();
        assert_eq!(legs, [(Channel::Recorded, None), (Channel::Other, None)]);
    }
}

#[test]
fn a_silent_peer_is_asked_and_a_talking_one_is_not() {
    let mut world = World::new();
    let stream = world.admit(1, &session("r", "a", ONE), &[line(4000, true)]).unwrap().lines[0].unwrap().0;
    world.pass(Duration::from_secs(50));
    let heard = Some(world.now.mono);
    world.pass(Duration::from_secs(59));
    world.calls.report(world.now, report(stream, heard, false));
    world.settle();
    assert!(!world.actions.contains(&Action::Probe(SessionKey(1))));
    world.pass(Duration::from_secs(1));
    world.calls.report(world.now, report(stream, heard, false));
    world.settle();
    assert!(world.actions.contains(&Action::Probe(SessionKey(1))));
}

#[test]
fn a_vanished_peers_last_packet_is_its_end() {
    let mut world = World::new();
    let stream = world.admit(1, &session("r", "a", ONE), &[line(4000, true)]).unwrap().lines[0].unwrap().0;
    let last_packet = Some(world.now.mono.after(Duration::from_secs(7)));
    world.pass(Duration::from_secs(40));
    world.calls.end(world.now, SessionKey(1), EndReason::PeerVanished);
    assert!(world.calls.poll().contains(&Action::Close(stream)));
    world.calls.report(world.now, report(stream, last_packet, true));
    world.pass(Duration::from_secs(30));
    let recording = world.the(1);
    assert_eq!(recording.ended.unwrap() - recording.started, 7_000_000);
}

/// A box that comes back with what the ledger has of recording 1.
fn after_a_restart(recording: &Recording) -> World {
    let mut world = World::new();
    world.now.mono = MonoTime(123_456_789);
    world.now.wall = world.now.wall.plus_micros(10_000_000);
    let mut ports = Ports(&mut world.port, &mut world.open, &world.known, &mut world.ports_left);
    world.calls.restore(world.now, recording.clone(), MediaTime(0), &mut ports);
    world.settle();
    world
}

#[test]
fn a_recording_without_sessions_ends_by_itself_after_a_restart_or_is_continued() {
    let mut world = World::new();
    world.admit(1, &session("r", "a", ONE), &[line(4000, true)]).unwrap();
    world.end(1, EndReason::PeerVanished);
    let interrupted = world.the(1).clone();
    for continued in [false, true] {
        let mut world = after_a_restart(&interrupted);
        if continued {
            world.admit(1, &session("r", "b", ONE), &[line(4000, true)]).unwrap();
            world.end(1, EndReason::Bye);
        }
        world.pass(Duration::from_secs(30));
        let recording = world.the(1);
        assert_eq!(recording.stage, Stage::Ended);
        assert!(recording.flags.contains(&Flag::Interrupted));
        assert_eq!(recording.flags.contains(&Flag::Continued), continued);
    }
}

const DAY_US: i64 = 86_400_000_000;

#[test]
fn a_clock_that_is_set_in_mid_call_moves_nothing() {
    for jump_us in [-DAY_US, DAY_US] {
        let mut world = World::new();
        let line = |active| [line(4000, active)];
        world.admit(1, &session("r", "a", ONE), &line(true)).unwrap();
        world.pass(Duration::from_secs(10));
        world.now.wall = world.now.wall.plus_micros(jump_us);
        world.calls.clock_set();
        world.pass(Duration::from_secs(1));
        world.renegotiate(1, &session("r", "a", ONE), &line(false)).unwrap();
        world.pass(Duration::from_secs(1));
        world.renegotiate(1, &session("r", "a", ONE), &line(true)).unwrap();
        world.calls.note(world.now, SessionKey(1), note(world.now.wall));
        world.pass(Duration::from_secs(1));
        world.end(1, EndReason::Bye);
        world.pass(Duration::from_secs(3));
        let recording = world.the(1);
        let seconds = |time: WallTime| (time - recording.started) / 1_000_000;
        assert_eq!(seconds(recording.ended.unwrap()), 13);
        assert_eq!(recording.masks.iter().map(|mask| seconds(mask.time)).collect::<Vec<_>>(), [11, 12]);
        assert_eq!(seconds(recording.notes[0].time), 12);
        assert_eq!(recording.flags, [Flag::ClockSet, Flag::OneSided]);
    }
}

fn note(time: WallTime) -> Note {
    Note { time, method: "INFO".into(), content_type: "text/plain".into(), body: String::new() }
}

/// Takes up a call of which 100 s of audio were kept, `down_us` later by the wall clock and shortly after a boot, and lets a session
/// continue it; gives where on the time line, in seconds, that session begins.
fn continues_at(down_us: i64) -> (i64, Vec<Flag>) {
    let mut world = World::new();
    world.admit(1, &session("r", "a", ONE), &[line(4000, true)]).unwrap();
    let interrupted = world.the(1).clone();
    let origin = interrupted.origin;
    let mut world = World::new();
    world.now = Now { mono: MonoTime(1_000_000_000_000), wall: origin.plus_micros(100_000_000 + down_us) };
    let mut ports = Ports(&mut world.port, &mut world.open, &world.known, &mut world.ports_left);
    world.calls.restore(world.now, interrupted, MediaTime(100 * MediaTime::RATE), &mut ports);
    world.settle();
    world.admit(1, &session("r", "b", ONE), &[line(4000, true)]).unwrap();
    let recording = world.the(1);
    ((recording.legs[1].started - origin) / 1_000_000, recording.flags.clone())
}

#[test]
fn a_continuation_never_lies_over_what_was_kept() {
    let interrupted = [Flag::Interrupted, Flag::Continued];
    let set = [Flag::Interrupted, Flag::ClockSet, Flag::Continued];
    assert_eq!(continues_at(20_000_000), (120, interrupted.to_vec()));
    assert_eq!(continues_at(-400_000), (99, interrupted.to_vec()), "within the last block");
    assert_eq!(continues_at(-DAY_US), (100, set.to_vec()));
    assert_eq!(continues_at(DAY_US), (100, set.to_vec()));
}

#[test]
fn a_restart_does_not_end_a_call() {
    let mut world = World::new();
    let offer = session("r", "a", BOTH);
    let stream = world.admit(7, &offer, &[line(4000, true), line(4002, false)]).unwrap().lines[0].unwrap().0;
    let counters = LegCounters { packets: 100, ..LegCounters::default() };
    world.pass(Duration::from_secs(31));
    world.calls.report(world.now, StreamReport { counters, ..report(stream, None, false) });
    world.settle();

    let mut world = after_a_restart(world.the(1));
    assert_eq!(world.calls.running(), 1);
    assert_eq!(world.open.len(), 2, "both streams are open again");
    world.calls.report(world.now, StreamReport { counters, ..report(stream, None, false) });
    let heard = world.calls.recordings().next().unwrap().legs[0].counters.packets;
    assert_eq!(heard, 200, "what was counted before counts");
    world.renegotiate(7, &offer, &[line(4000, true), line(4002, true)]).unwrap();
    world.pass(Duration::from_secs(60));
    world.end(7, EndReason::Bye);
    world.pass(Duration::from_secs(3));
    let recording = world.the(1);
    assert_eq!(recording.stage, Stage::Ended);
    assert_eq!(recording.end_reason, Some(EndReason::Bye));
    assert_eq!(recording.legs.len(), 2, "the same legs");
    assert_eq!(recording.flags, [Flag::Interrupted]);
    assert_eq!(recording.restarts.len(), 1);
    assert!(recording.sessions.is_empty(), "nothing of the dialogs is kept when it is over");
}

#[test]
fn a_session_whose_ports_are_gone_is_hung_up_after_a_restart() {
    let mut world = World::new();
    world.admit(7, &session("r", "a", ONE), &[line(4000, true)]).unwrap();
    let recording = world.the(1).clone();
    let mut world = World::new();
    world.ports_left = 0;
    let mut ports = Ports(&mut world.port, &mut world.open, &world.known, &mut world.ports_left);
    world.calls.restore(world.now, recording, MediaTime(0), &mut ports);
    world.settle();
    assert!(world.actions.contains(&Action::Bye(SessionKey(7))));
    world.pass(Duration::from_secs(30));
    assert_eq!(world.the(1).end_reason, Some(EndReason::Interrupted));
}

#[test]
fn a_box_that_stops_closes_streams_and_keeps_sessions() {
    let mut world = World::new();
    world.admit(1, &session("r", "a", ONE), &[line(4000, true)]).unwrap();
    world.calls.suspend(world.now);
    world.settle();
    assert!(world.calls.is_quiet() && world.open.is_empty());
    assert_eq!((world.the(1).stage, world.the(1).sessions.len()), (Stage::Recording, 1));
    assert!(!world.actions.contains(&Action::Bye(SessionKey(1))));
}

#[test]
fn a_session_without_id_gets_one_of_its_own() {
    let mut world = World::new();
    let mut plain = session("", "a", &[]);
    plain.recording_id = None;
    let a = world.admit(1, &plain, &[line(4000, true)]).unwrap();
    let b = world.admit(2, &plain, &[line(4000, true)]).unwrap();
    assert_ne!(a.id, b.id);
    assert_eq!(a.id, RecordingId("call_2026-03-02-14-05-59.000_1".into()));
    assert_eq!(world.the(1).flags, [Flag::ChannelsByOrder]);
}
