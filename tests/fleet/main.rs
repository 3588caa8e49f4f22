//! Outages in simulated time, with the real queue, pace and alarms: one busy box through 72 hours, and the boxes of a fleet after a day without
//! their centre (docs/fleet.md; `scripts/fleet` runs a thousand of them).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod world;

use nearend::events::message::State;
use nearend::model::RecordingNo;

use world::{HOUR, Plan, SECOND, World};

/// 4 Mbit/s.
const RATE: u64 = 500_000;
/// A call of three minutes as Opus (docs/wan.md: 203 kB a minute).
const CALL_BYTES: u64 = 609_000;

/// 50 calls of three minutes at any time: 1,000 an hour.
#[test]
fn seventy_two_hours_of_outage_at_fifty_calls() {
    let outage = HOUR..73 * HOUR;
    let mut world = World::new(Plan {
        boxes: 1,
        seed: 1,
        rate: RATE,
        calls_per_hour: 1_000,
        bytes: CALL_BYTES,
        calls_until: 100 * HOUR,
        outage: outage.clone(),
        capacity: u64::MAX,
        restart: Some(40 * HOUR),
    });
    world.run();
    let sender = &world.boxes[0];
    println!(
        "recorded {}, most waiting {}, all delivered at {} h; told {:?}",
        sender.recorded,
        sender.most_waiting,
        world.now / HOUR,
        sender.told
    );
    // Nothing lost, nothing twice.
    let mut all = sender.arrived.clone();
    all.sort();
    assert_eq!(all, (1..=sender.recorded).map(RecordingNo).collect::<Vec<_>>());
    assert!(sender.recorded > 99_000 && sender.most_waiting > 71_000, "it was a busy box");
    // Oldest first: only what was tried when the centre came back may be out of its turn.
    let out_of_turn = sender.arrived.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!(out_of_turn <= 1, "{out_of_turn} were delivered before older ones");
    // Within the pace in every minute, and using it while there is something to send.
    let most = *sender.minutes.iter().max().unwrap();
    assert!(most <= RATE * 60 * 105 / 100, "{most} bytes in a minute");
    let back = usize::try_from(outage.end / (60 * SECOND)).unwrap() + 10;
    let steady = &sender.minutes[back..back + 24 * 60];
    assert!(steady.iter().all(|bytes| *bytes >= RATE * 60 * 95 / 100), "{:?}", steady.iter().min());
    // One alarm, which begins and ends with the outage.
    let [(raised, State::Raised), (cleared, State::Cleared)] = sender.told[..] else { panic!("{:?}", sender.told) };
    assert!((outage.start..outage.start + 60 * SECOND).contains(&raised), "raised at {raised}");
    assert!((outage.end..outage.end + 420 * SECOND).contains(&cleared), "cleared at {cleared}");
}

/// How a fleet of so many boxes comes out of 24 hours without its centre.
fn fleet(boxes: usize) {
    let outage = HOUR..25 * HOUR;
    let capacity = 125_000 * boxes as u64 / 2; // half of what all boxes together may send
    let mut world = World::new(Plan {
        boxes,
        seed: 2,
        rate: 125_000,
        calls_per_hour: 20,
        bytes: CALL_BYTES,
        calls_until: 26 * HOUR,
        outage: outage.clone(),
        capacity,
        restart: None,
    });
    world.run();
    let recorded: u64 = world.boxes.iter().map(|sender| sender.recorded).sum();
    let arrived: usize = world.boxes.iter().map(|sender| sender.arrived.len()).sum();
    let back = usize::try_from(outage.end / SECOND).unwrap();
    let attempts = &world.centre.attempts[back..];
    let before = &world.centre.attempts[back - 3_600..back];
    let first_minute: u32 = attempts[..60].iter().sum();
    let most_bytes = world.centre.seconds.iter().max().unwrap();
    let most_attempts = attempts.iter().max().unwrap();
    let most_in_ten: u64 = world.centre.seconds.windows(10).map(|ten| ten.iter().sum()).max().unwrap();
    println!("boxes                                        {boxes}");
    println!("recordings, all of them delivered            {recorded}");
    println!("most that waited on one box                  {}", world.boxes.iter().map(|b| b.most_waiting).max().unwrap());
    println!("connections tried in the outage, per s       {:.1}", f64::from(before.iter().sum::<u32>()) / 3_600.0);
    println!("deliveries begun in the first minute after   {first_minute}");
    println!("most deliveries begun in any second after    {most_attempts}");
    println!("answered with 503 by the full centre         {}", world.centre.refused);
    println!("most bytes in a second ÷ what the centre takes {:.2}", *most_bytes as f64 / capacity as f64);
    println!("most bytes in 10 s ÷ what the centre takes   {:.2}", most_in_ten as f64 / (10 * capacity) as f64);
    println!("hours until the backlog was gone             {:.1}", (world.now - outage.end) as f64 / HOUR as f64);
    assert_eq!(arrived as u64, recorded, "nothing lost, nothing twice");
    // Nobody comes back all at once: retries are spread over minutes.
    let herd = u32::try_from(boxes / 10).unwrap().max(5);
    assert!(before.iter().max().unwrap() <= &herd, "{:?} connections in a second of the outage", before.iter().max());
    // The centre is used, and not run over: pauses and halved rates keep what arrives near what it takes.
    assert!(most_in_ten <= 10 * capacity * 3 / 2, "{most_in_ten} bytes in 10 s");
    // Every box told once that the centre is away, and that it is back.
    for sender in &world.boxes {
        let began = sender.told.iter().filter(|(at, state)| outage.contains(at) && *state == State::Raised).count();
        assert!(began == 1 && sender.told.last().unwrap().1 == State::Cleared, "{:?}", sender.told);
    }
}

#[test]
fn a_fleet_comes_out_of_a_day_without_its_centre() {
    let boxes = std::env::var("NEAREND_FLEET").map_or(20, |number| number.parse().unwrap());
    fleet(boxes);
}
