//! The trials of `scripts/trials` in short, with the same code: see benches/trials/.

#[path = "../../benches/trials/audio.rs"]
mod audio;
#[path = "../../benches/trials/cti.rs"]
mod cti;
#[path = "../../benches/trials/flips.rs"]
mod flips;
#[path = "../../benches/trials/kills.rs"]
mod kills;
#[path = "../../benches/trials/ledger.rs"]
mod ledger;
#[path = "../../benches/trials/load.rs"]
mod load;
#[path = "../../benches/trials/machine.rs"]
mod machine;
#[path = "../../benches/trials/sender.rs"]
mod sender;
#[path = "../../benches/trials/spooled.rs"]
mod spooled;

use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[test]
fn five_kills_cost_no_more_than_the_last_second() {
    let plan = kills::Plan { kills: 5, calls: 5, length: 22, recordings: 200, seed: fastrand::u64(..) };
    let report = kills::run(&plan).unwrap();
    // How much was on its way at a kill depends on what else the machine does: scripts/trials judges that.
    let broken: Vec<String> = report.broken().into_iter().filter(|what| !what.contains("more than a second")).collect();
    assert!(broken.is_empty(), "{report}");
}

#[test]
fn sixteen_flipped_bytes_cost_no_more_than_they_touch() {
    let report = flips::run(&flips::Plan { flips: 16, seed: fastrand::u64(..) }).unwrap();
    assert!(report.broken().is_empty(), "{report}");
}

#[test]
fn a_writer_that_stands_still_for_five_seconds_costs_nothing() {
    let load = load::Load { streams: 40, length: Duration::from_secs(4), stall: Some(Duration::from_secs(5)), seed: 1 };
    let report = load::run(load).unwrap();
    assert!(report.broken().is_empty(), "{report}");
}

#[test]
fn a_busy_switch_costs_no_event() {
    let plan = cti::Plan { calls: 50, rate: 1_000, length: 3, recorded: 5, window: 1, growth: 24 };
    let report = cti::run(&plan).unwrap();
    assert!(report.broken().is_empty(), "{report}");
}
