//! Pause, resume and stop on request, beside the pauses of the sender and over a restart.

use super::*;

fn masks(recording: &Recording) -> Vec<(MaskKind, u8)> {
    recording.masks.iter().map(|mask| (mask.kind, mask.leg.unwrap().0)).collect()
}

fn told(world: &World) -> Vec<(u8, bool)> {
    world
        .actions
        .iter()
        .filter_map(|a| if let Action::Mask(key, _, paused) = a { Some((key.leg.0, *paused)) } else { None })
        .collect()
}

fn running() -> (World, RecordingNo) {
    let mut world = World::new();
    let no = world.admit(1, &session("r", "a", BOTH), &[line(4000, true), line(4002, true)]).unwrap().recording;
    (world, no)
}

#[test]
fn a_pause_covers_all_legs_until_it_is_taken_back() {
    let (mut world, no) = running();
    assert!(world.calls.pause(world.now, no, None));
    world.pass(Duration::from_secs(5));
    assert!(world.calls.pause(world.now, no, None), "once more changes nothing");
    assert!(world.calls.is_paused(StreamKey { recording: no, leg: LegNo(1) }));
    assert!(world.calls.resume(world.now, no) && world.calls.resume(world.now, no));
    world.settle();
    use MaskKind::{Paused, Resumed};
    assert_eq!(masks(world.the(1)), [(Paused, 0), (Paused, 1), (Resumed, 0), (Resumed, 1)]);
    assert_eq!(told(&world), [(0, true), (1, true), (0, false), (1, false)]);
    assert!(!world.calls.pause(world.now, RecordingNo(9), None));
}

#[test]
fn a_pause_with_a_limit_ends_by_itself() {
    let (mut world, no) = running();
    world.calls.pause(world.now, no, Some(Duration::from_secs(60)));
    world.pass(Duration::from_secs(40));
    world.calls.pause(world.now, no, Some(Duration::from_secs(60)));
    world.pass(Duration::from_secs(59));
    assert!(world.calls.is_paused(StreamKey { recording: no, leg: LegNo(0) }), "the time was set anew");
    world.pass(Duration::from_secs(1));
    assert_eq!(told(&world).len(), 4);
    assert!(world.actions.contains(&Action::PauseOver(no)));
    assert_eq!(world.the(1).pause, None);
}

#[test]
fn audio_is_kept_only_while_nobody_pauses() {
    let (mut world, no) = running();
    let now = |world: &World| world.now;
    world.calls.pause(now(&world), no, None);
    let both = |active| [line(4000, active), line(4002, active)];
    world.renegotiate(1, &session("r", "a", BOTH), &both(false)).unwrap();
    assert_eq!(masks(world.the(1)).len(), 2, "it was paused already");
    world.calls.resume(now(&world), no);
    world.settle();
    assert_eq!(masks(world.the(1)).len(), 2, "its sender still pauses");
    world.calls.pause(now(&world), no, None);
    world.renegotiate(1, &session("r", "a", BOTH), &both(true)).unwrap();
    assert_eq!(masks(world.the(1)).len(), 2, "it was asked for");
    world.calls.resume(now(&world), no);
    world.settle();
    assert_eq!(masks(world.the(1)).len(), 4);
    assert_eq!(told(&world), [(0, true), (1, true), (0, false), (1, false)]);
}

#[test]
fn a_session_that_joins_a_paused_call_begins_paused() {
    let mut world = World::new();
    let no = world.admit(1, &session("r", "a", ONE), &[line(4000, true)]).unwrap().recording;
    world.calls.pause(world.now, no, None);
    world.admit(2, &session("r", "b", TWO), &[line(4002, true)]).unwrap();
    assert!(world.calls.is_paused(StreamKey { recording: no, leg: LegNo(1) }));
    assert_eq!(masks(world.the(1)), [(MaskKind::Paused, 0), (MaskKind::Paused, 1)]);
}

#[test]
fn a_pause_outlasts_a_restart() {
    let (mut world, no) = running();
    world.calls.pause(world.now, no, Some(Duration::from_secs(60)));
    world.settle();
    let saved = world.the(1).clone();
    let mut again = World::new();
    again.now = Now { mono: MonoTime(900_000_000), wall: world.now.wall.plus_micros(10_000_000) };
    let kept = MediaTime::from_micros(700_000);
    let mut ports = Ports(&mut again.port, &mut again.open, &again.known, &mut again.ports_left);
    again.calls.restore(again.now, saved, kept, &mut ports);
    again.settle();
    assert!(again.calls.is_paused(StreamKey { recording: no, leg: LegNo(0) }));
    again.pass(Duration::from_secs(49));
    assert!(told(&again).is_empty());
    again.pass(Duration::from_secs(2));
    assert_eq!(told(&again), [(0, false), (1, false)]);
}

#[test]
fn stop_hangs_up_every_session() {
    let mut world = World::new();
    let no = world.admit(1, &session("r", "a", ONE), &[line(4000, true)]).unwrap().recording;
    world.admit(2, &session("r", "b", TWO), &[line(4002, true)]).unwrap();
    assert!(world.calls.stop(world.now, no));
    world.settle();
    world.pass(Duration::from_secs(20));
    let byes: Vec<u64> = world.actions.iter().filter_map(|a| if let Action::Bye(key) = a { Some(key.0) } else { None }).collect();
    assert_eq!(byes, [1, 2]);
    let recording = world.the(1);
    assert_eq!((recording.stage, recording.end_reason), (Stage::Ended, Some(EndReason::Stopped)));
    assert_eq!(world.calls.by_id("r"), None);
}
