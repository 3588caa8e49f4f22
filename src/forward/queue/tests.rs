//! The queue, stepped through by hand.

use proptest::prelude::*;

use super::*;

const T0: MonoTime = MonoTime(1_000_000_000);
const LATER: Verdict = Verdict::Later(Duration::ZERO);

fn tenant(name: &str) -> TenantId {
    TenantId(name.into())
}

fn add(queue: &mut Queue, no: u64, name: &str, bytes: u64) {
    assert!(!queue.submit(Item { no: RecordingNo(no), tenant: tenant(name), bytes, immediate: false }, |_| Before::Nothing));
}

/// With recordings 1 to `recordings` of one tenant.
fn queue(targets: usize, policy: Policy, recordings: u64) -> Queue {
    let mut queue = Queue::new(Settings { targets, policy, ..Settings::default() });
    (1..=recordings).rev().for_each(|no| add(&mut queue, no, "101", 1_000));
    queue
}

fn next(queue: &mut Queue, target: TargetNo, now: MonoTime) -> Option<u64> {
    queue.next(target, Lane::Normal, now).map(|no| no.0)
}

fn confirm(queue: &mut Queue, target: TargetNo, no: u64) -> bool {
    queue.confirmed(target, RecordingNo(no))
}

fn fail(queue: &mut Queue, target: TargetNo, no: u64, now: MonoTime) -> Outcome {
    queue.failed(target, RecordingNo(no), LATER, now, 0)
}

#[test]
fn oldest_first_and_delivered_when_the_last_target_confirms() {
    let mut queue = queue(2, Policy::All, 2);
    assert_eq!(next(&mut queue, 0, T0), Some(1));
    assert_eq!(next(&mut queue, 0, T0), None, "one at a time");
    assert!(!confirm(&mut queue, 0, 1));
    assert_eq!(next(&mut queue, 0, T0), Some(2));
    assert_eq!(next(&mut queue, 1, T0), Some(1));
    assert!(confirm(&mut queue, 1, 1));
    assert!(!confirm(&mut queue, 1, 1), "only once");
    add_again(&mut queue, 2);
    assert!(!confirm(&mut queue, 0, 2), "known already: submitted once");
    assert_eq!(next(&mut queue, 0, T0), None);
}

fn add_again(queue: &mut Queue, no: u64) {
    add(queue, no, "101", 1_000);
}

#[test]
fn what_a_target_has_confirmed_before_a_restart_is_not_asked_for_again() {
    let mut queue = queue(2, Policy::All, 0);
    let item = Item { no: RecordingNo(1), tenant: tenant("101"), bytes: 1, immediate: false };
    assert!(!queue.submit(item.clone(), |target| if target == 0 { Before::Confirmed } else { Before::Nothing }));
    assert_eq!((next(&mut queue, 0, T0), next(&mut queue, 1, T0)), (None, Some(1)));
    assert!(confirm(&mut queue, 1, 1));
    assert!(queue.submit(item, |_| Before::Confirmed), "all have it");
}

#[test]
fn a_dead_target_never_holds_up_another() {
    let mut queue = queue(2, Policy::All, 1);
    assert_eq!(next(&mut queue, 0, T0), Some(1));
    assert_eq!(queue.next_due(), Some(MonoTime(0)), "the other one");
    assert_eq!(next(&mut queue, 1, T0), Some(1));
    assert_eq!(queue.next_due(), None, "both are busy");
    assert_eq!(fail(&mut queue, 0, 1, T0), Outcome::Again(Duration::from_millis(125)));
    assert!(!confirm(&mut queue, 1, 1));
    assert_eq!(queue.next_due(), Some(T0.after(Duration::from_millis(125))));
}

#[test]
fn while_a_target_fails_one_after_the_other_is_tried_and_then_all_go_in_order() {
    let mut queue = queue(1, Policy::All, 4);
    let mut tried = Vec::new();
    for _ in 0..6 {
        let now = queue.next_due().unwrap().after(Duration::from_secs(1));
        let no = next(&mut queue, 0, now).unwrap();
        tried.push(no);
        fail(&mut queue, 0, no, now);
    }
    assert_eq!(tried, [1, 2, 1, 3, 1, 4], "the oldest, and every other time one that was not tried");
    let now = queue.next_due().unwrap();
    let mut order = Vec::new();
    while let Some(no) = next(&mut queue, 0, now) {
        order.push(no);
        confirm(&mut queue, 0, no);
    }
    assert_eq!(order, [1, 2, 3, 4]);
}

#[test]
fn a_recording_that_alone_fails_again_and_again_is_set_aside() {
    let mut queue = queue(1, Policy::All, 1);
    let mut now = T0;
    for no in 2.. {
        now = now.after(Duration::from_secs(600));
        assert_eq!(next(&mut queue, 0, now), Some(1));
        if fail(&mut queue, 0, 1, now) == Outcome::SetAside {
            assert_eq!(no, 1 + u64::from(MOST_FAILURES_ALONE));
            break;
        }
        add(&mut queue, no, "101", 1_000);
        now = now.after(Duration::from_secs(600));
        assert_eq!(next(&mut queue, 0, now), Some(no), "the other one passes");
        confirm(&mut queue, 0, no);
    }
    let standing = queue.standing(0);
    assert_eq!((standing.waiting, standing.waiting_bytes, standing.set_aside), (0, 0, 1));
}

#[test]
fn a_bad_way_sets_nothing_aside_and_the_one_that_was_on_it_keeps_its_turn() {
    let mut queue = queue(1, Policy::All, 100);
    let mut now = T0;
    let mut delivered = Vec::new();
    // Every other try fails, whatever it is of.
    while delivered.len() < 100 {
        now = queue.next_due().unwrap().max(now);
        let no = next(&mut queue, 0, now).unwrap();
        assert_ne!(queue.failed(0, RecordingNo(no), Verdict::Blameless(Duration::ZERO), now, 0), Outcome::SetAside);
        now = queue.next_due().unwrap();
        let no = next(&mut queue, 0, now).unwrap();
        confirm(&mut queue, 0, no);
        delivered.push(no);
    }
    assert_eq!(queue.standing(0), Standing::default());
}

#[test]
fn what_will_never_work_is_set_aside_and_the_next_goes_at_once() {
    let mut queue = queue(1, Policy::All, 2);
    next(&mut queue, 0, T0);
    assert_eq!(queue.failed(0, RecordingNo(1), Verdict::Never, T0, 0), Outcome::SetAside);
    assert_eq!(next(&mut queue, 0, T0), Some(2));
    assert!(confirm(&mut queue, 0, 2));
}

#[test]
fn a_target_that_refuses_is_left_alone_for_minutes_and_one_that_asks_for_time_gets_it() {
    let mut queue = queue(1, Policy::All, 2);
    next(&mut queue, 0, T0);
    assert_eq!(queue.failed(0, RecordingNo(1), Verdict::Refused, T0, 0), Outcome::Again(LONGEST_PAUSE / 2));
    let now = T0.after(LONGEST_PAUSE);
    let no = next(&mut queue, 0, now).unwrap();
    let hour = Duration::from_secs(3_600);
    assert_eq!(queue.failed(0, RecordingNo(no), Verdict::Later(hour), now, 0), Outcome::Again(hour));
}

#[test]
fn the_first_target_that_works_is_enough() {
    let mut queue = queue(2, Policy::First, 3);
    assert_eq!(next(&mut queue, 0, T0), Some(1));
    assert_eq!(next(&mut queue, 1, T0), None, "the better one works");
    assert!(confirm(&mut queue, 0, 1));
    let mut now = T0;
    for _ in 0..DOWN_AFTER {
        assert_eq!(next(&mut queue, 1, now), None);
        let no = next(&mut queue, 0, now).unwrap();
        fail(&mut queue, 0, no, now);
        now = now.after(LONGEST_PAUSE);
    }
    let tried = next(&mut queue, 0, now).unwrap();
    let other = next(&mut queue, 1, now).unwrap();
    assert_ne!(tried, other, "never both at once");
    assert!(confirm(&mut queue, 1, other), "delivered by the second");
    assert!(confirm(&mut queue, 0, tried), "the first is back");
    assert_eq!((next(&mut queue, 0, now), next(&mut queue, 1, now)), (None, None));
    assert_eq!((queue.standing(0), queue.standing(1)), (Standing::default(), Standing::default()));
}

#[test]
fn what_the_better_target_will_not_take_goes_to_the_next() {
    let mut queue = queue(2, Policy::First, 2);
    assert_eq!(next(&mut queue, 0, T0), Some(1));
    assert_eq!(queue.failed(0, RecordingNo(1), Verdict::Never, T0, 0), Outcome::SetAside);
    assert_eq!(next(&mut queue, 1, T0), Some(1));
    assert!(confirm(&mut queue, 1, 1));
    assert_eq!((next(&mut queue, 1, T0), next(&mut queue, 0, T0)), (None, Some(2)));
}

#[test]
fn classes_go_before_each_other_and_marked_ones_have_a_lane() {
    let precedence = |class| Precedence { class, share: 1 };
    let tenants = [("low", Some(2)), ("high", Some(0)), ("now", None)].map(|(name, class)| (tenant(name), precedence(class)));
    let mut queue = Queue::new(Settings { targets: 1, tenants: tenants.into(), ..Settings::default() });
    for (no, name) in [(1, "low"), (2, "other"), (3, "high"), (4, "now")] {
        add(&mut queue, no, name, 1_000);
    }
    assert_eq!(queue.next(0, Lane::Immediate, T0), Some(RecordingNo(4)));
    for no in [3, 2, 1] {
        assert_eq!(next(&mut queue, 0, T0), Some(no), "beside the one of the other lane");
        confirm(&mut queue, 0, no);
    }
    assert!(confirm(&mut queue, 0, 4));
}

#[test]
fn tenants_share_the_link_by_their_shares() {
    let tenants = [(tenant("three"), Precedence { class: Some(1), share: 3 })];
    let mut queue = Queue::new(Settings { targets: 1, tenants: tenants.into(), ..Settings::default() });
    (1..=400).for_each(|no| add(&mut queue, no, "one", 100_000));
    (401..=800).for_each(|no| add(&mut queue, no, "three", 100_000));
    let mut sent = [0, 0];
    for _ in 0..400 {
        let no = next(&mut queue, 0, T0).unwrap();
        sent[usize::from(no > 400)] += 1;
        confirm(&mut queue, 0, no);
    }
    assert!((295..=305).contains(&sent[1]), "{sent:?}");
    add(&mut queue, 801, "new", 100_000);
    let turn = (0..10).position(|_| {
        let no = next(&mut queue, 0, T0).unwrap();
        confirm(&mut queue, 0, no);
        no == 801
    });
    assert!(turn.is_some(), "who is new waits for one turn, not for all");
}

#[test]
fn pauses_double_up_to_five_minutes_and_end_with_a_success() {
    let mut queue = queue(1, Policy::All, 2);
    let mut now = T0;
    let mut pauses = Vec::new();
    for _ in 0..14 {
        now = queue.next_due().unwrap().max(now);
        let no = next(&mut queue, 0, now).unwrap();
        let Outcome::Again(pause) = queue.failed(0, RecordingNo(no), LATER, now, u64::MAX) else { panic!("set aside") };
        pauses.push(pause);
    }
    assert!(pauses.windows(2).all(|p| p[0] <= p[1] + p[1] / 2), "{pauses:?}");
    assert!(pauses[13] >= LONGEST_PAUSE / 2 && pauses[13] <= LONGEST_PAUSE);
    now = queue.next_due().unwrap();
    let no = next(&mut queue, 0, now).unwrap();
    confirm(&mut queue, 0, no);
    assert!(next(&mut queue, 0, now).is_some(), "no rest after a success");
}

proptest! {
    #[test]
    fn nothing_is_lost_whatever_fails(
        fates in prop::collection::vec((0..5_u8, any::<u64>()), 0..300), first in any::<bool>(),
    ) {
        let policy = if first { Policy::First } else { Policy::All };
        let mut queue = queue(3, policy, 20);
        let mut delivered = BTreeSet::new();
        let mut fates = fates.into_iter();
        let mut now = T0;
        let mut aside = false;
        while let Some(due) = queue.next_due() {
            now = now.max(due);
            for target in 0..3 {
                let Some(no) = next(&mut queue, target, now) else { continue };
                prop_assert!(!delivered.contains(&no), "delivered twice");
                match fates.next() {
                    Some((0, random)) => {
                        aside |= queue.failed(target, RecordingNo(no), LATER, now, random) == Outcome::SetAside;
                    }
                    Some((1, random)) => {
                        aside |= queue.failed(target, RecordingNo(no), Verdict::Never, now, random) == Outcome::SetAside;
                    }
                    _ => if confirm(&mut queue, target, no) { delivered.insert(no); }
                }
            }
        }
        let asides = (0..3).map(|target| queue.standing(target).set_aside).max().unwrap_or(0);
        prop_assert!(delivered.len() == 20 || aside && asides > 0 && delivered.len() + asides * 3 >= 20);
        prop_assert!((0..3).all(|target| queue.standing(target).waiting == 0));
    }
}

#[test]
fn a_marked_recording_changes_its_lane_at_once() {
    let mut queue = queue(2, Policy::All, 3);
    assert_eq!(next(&mut queue, 0, T0), Some(1));
    assert!(queue.mark(RecordingNo(3)) && queue.mark(RecordingNo(1)) && !queue.mark(RecordingNo(9)));
    assert_eq!(queue.next(0, Lane::Immediate, T0), Some(RecordingNo(3)), "beside the one at work");
    assert_eq!(queue.next(1, Lane::Immediate, T0), Some(RecordingNo(1)));
    assert_eq!(next(&mut queue, 1, T0), Some(2));
    assert_eq!((queue.standing(0).waiting, queue.standing(0).waiting_bytes), (3, 3_000));
    assert_eq!(fail(&mut queue, 0, 1, T0), Outcome::Again(Duration::from_millis(125)));
    assert!(!confirm(&mut queue, 0, 3));
    assert_eq!(queue.next(0, Lane::Immediate, T0.after(Duration::from_secs(1))), Some(RecordingNo(1)), "where it belongs now");
    let marked = Item { no: RecordingNo(4), tenant: tenant("101"), bytes: 1, immediate: true };
    assert!(!queue.submit(marked, |_| Before::Nothing));
    assert!(!confirm(&mut queue, 0, 1));
    assert_eq!(queue.next(0, Lane::Immediate, T0), Some(RecordingNo(4)), "also after a restart");
}

#[test]
fn what_was_set_aside_stays_so_over_a_restart_until_somebody_has_it_tried_again() {
    let mut queue = queue(2, Policy::All, 0);
    let item = Item { no: RecordingNo(1), tenant: tenant("101"), bytes: 7, immediate: false };
    assert!(!queue.submit(item, |target| if target == 0 { Before::SetAside } else { Before::Confirmed }));
    assert_eq!((next(&mut queue, 0, T0), queue.standing(0).set_aside, queue.standing(0).waiting_bytes), (None, 1, 0));
    assert!(queue.retry(RecordingNo(1)) && !queue.retry(RecordingNo(1)));
    assert_eq!((queue.standing(0).set_aside, queue.standing(0).waiting_bytes), (0, 7));
    assert_eq!(next(&mut queue, 0, T0), Some(1));
    assert!(confirm(&mut queue, 0, 1));
    assert_eq!(queue.standing(0), Standing::default());
}

/// A firewall breaks every connection that carries recording 1; another one comes every so often. When it is set aside, and the longest that
/// another had to wait once it was known.
fn breaks_every_connection(every: Duration) -> (Option<Duration>, Duration) {
    let mut queue = queue(1, Policy::All, 1);
    let (mut now, mut came, mut waited) = (T0, (2, T0), Duration::ZERO);
    add(&mut queue, 2, "101", 1_000);
    while now.since(T0) < Duration::from_hours(48) {
        match next(&mut queue, 0, now) {
            Some(1) => match queue.failed(0, RecordingNo(1), Verdict::Broken, now, 0) {
                Outcome::SetAside => return (Some(now.since(T0)), waited),
                Outcome::Again(_) | Outcome::Apart(_) => {}
            },
            Some(no) => {
                let is_known = now.since(T0) > Duration::from_secs(600);
                waited = waited.max(now.since(came.1)).min(if is_known { Duration::MAX } else { Duration::ZERO });
                confirm(&mut queue, 0, no);
            }
            None => {
                let coming = came.1.after(every);
                let due = queue.next_due().unwrap_or(coming).max(now.after(Duration::from_millis(1)));
                now = due.min(coming.max(now));
                if now >= coming {
                    came = (came.0 + 1, now);
                    add(&mut queue, came.0, "101", 1_000);
                }
            }
        }
    }
    (None, waited)
}

#[test]
fn what_breaks_every_connection_holds_up_nobody_and_is_set_aside_at_last() {
    let (aside, waited) = breaks_every_connection(Duration::from_secs(60));
    let aside = aside.unwrap();
    assert!(aside >= BREAKS_FOR && aside < Duration::from_hours(12), "{aside:?}");
    assert!(waited < Duration::from_secs(1), "others wait for {waited:?}");
    let (aside, _) = breaks_every_connection(Duration::from_hours(24));
    assert_eq!(aside, None, "with nothing between its tries nobody can say that it is the recording");
}
