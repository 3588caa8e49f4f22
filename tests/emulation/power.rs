//! The power goes, again and again, while calls run and files are uploaded.
//!
//! Calls of two kinds: long ones, which are up over several cuts and go on after each, and short ones, which are over before the next cut and
//! are being finished and uploaded when it comes. What is counted:
//!
//! - a recording that the box had called finished (`nearend_recordings_finished`, summed over the starts) must arrive, whole;
//! - of a running one, at a cut, nothing but the last second before it and the time until it is heard again may be missing. The sender sends in
//!   real time, so what it had sent when the power went is known: from when it was placed. It takes a moment until its first packet, which counts
//!   as lost here.

use std::time::{Duration, Instant};

use super::audio::{Finished, PER_MS, Piece, pieces};
use super::machine::Machine;
use super::sender::Call;

/// How much of a channel may be lost by a cut.
const BAR_LOST_MS: i64 = 1_000;

/// From the start of the sender's process to its first packet.
const UNSURE_MS: i64 = 300;

fn number(name: &str, usually: u32) -> u32 {
    std::env::var(name).map_or(usually, |number| number.parse().unwrap())
}

#[derive(Default)]
struct Report {
    cuts: u32,
    away_ms: Vec<i64>,
    lost_ms: Vec<i64>,
    mended: u32,
    finished: u64,
}

#[test]
#[ignore = "boots an emulator: scripts/emulate-tests"]
fn twenty_power_cuts_cost_no_more_than_the_last_second() {
    let cuts = number("NEAREND_CUTS", 20);
    let (mut machine, mut random, mut report) = (Machine::flash("power"), fastrand::Rng::new(), Report::default());
    println!("report: seed {}", random.get_seed());
    machine.power_on();
    machine.accepts_calls();
    while report.cuts < cuts {
        let until = cuts.min(report.cuts + 4);
        round(&mut machine, &mut random, &mut report, until);
    }
    report.lost_ms.sort_unstable();
    report.away_ms.sort_unstable();
    println!(
        "report: {} power cuts with 4 long and 3 short calls each time; the box came up {} times by itself",
        report.cuts,
        report.away_ms.len()
    );
    println!(
        "report: away {} s median, {} s at most",
        report.away_ms[report.away_ms.len() / 2] / 1_000,
        report.away_ms.last().unwrap() / 1_000
    );
    println!("report: {} recordings, all in the S3 server, whole", report.finished);
    println!(
        "report: lost before a cut, of a channel: {} ms median, {} ms at most (bar {BAR_LOST_MS} ms)",
        report.lost_ms[report.lost_ms.len() / 2],
        report.lost_ms.last().unwrap()
    );
    println!(
        "report: file system of the data partition after the cuts: {} times its journal was all it took, {} times mended by e2fsck",
        report.cuts - report.mended,
        report.mended
    );
    assert!(report.lost_ms.last().unwrap() <= &(BAR_LOST_MS + UNSURE_MS), "{:?}", report.lost_ms);
    assert_eq!(report.mended, 0, "file systems are clean");
}

/// Long calls over some cuts, short ones before each, until all have arrived.
fn round(machine: &mut Machine, random: &mut fastrand::Rng, report: &mut Report, until: u32) {
    let first = report.cuts;
    let mut long: Vec<Call> = Vec::new();
    let mut short: Vec<Call> = Vec::new();
    // How long a start takes here is known from the one before.
    let usual_ms = report.away_ms.last().copied().unwrap_or(60_000);
    let length = Duration::from_millis(u64::try_from(i64::from(until - first) * (usual_ms * 5 / 4 + 15_000) + 20_000).unwrap());
    for no in 0..4 {
        long.push(Call::place(machine, &format!("long-{first}-{no}"), length, random));
    }
    let mut cuts = Vec::new();
    while report.cuts < until {
        for no in 0..3 {
            short.push(Call::place(machine, &format!("short-{}-{no}", report.cuts), Duration::from_secs(4), random));
        }
        machine.wait_for("all calls to be up", Duration::from_millis(200), |machine| {
            (machine.metric("nearend_recordings_running")? >= 4).then_some(())
        });
        // The short ones are over after 4 s, then finished and uploaded.
        std::thread::sleep(Duration::from_millis(4_000 + random.u64(0..6_000)));
        cuts.push(cut(machine, report));
    }
    for call in long.iter_mut().chain(&mut short) {
        call.finish(); // those of before a cut may have got no answer to their BYE
    }
    let wanted: Vec<String> = long.iter().chain(&short).map(|call| call.id.clone()).collect();
    let arrived = machine.wait_for("all recordings to arrive", Duration::from_secs(1), |machine| {
        let arrived = machine.arrived();
        wanted.iter().all(|id| arrived.iter().any(|finished| &finished.id == id)).then_some(arrived)
    });
    for call in long.iter().chain(&short) {
        let finished = arrived.iter().find(|finished| finished.id == call.id).unwrap();
        report.finished += 1;
        judge(call, machine, finished, &cuts, report);
    }
}

/// Gives the moment.
fn cut(machine: &mut Machine, report: &mut Report) -> Instant {
    let at = machine.cut();
    machine.power_on();
    let away = i64::try_from((machine.accepts_calls() - at).as_millis()).unwrap();
    report.cuts += 1;
    report.away_ms.push(away);
    // 0: clean once the journal was read; 1: e2fsck had something to mend; the box does not mount with 4 and above.
    let fsck = machine.ssh("cat /run/nearend/fsck.status; findmnt -no OPTIONS /data");
    assert!(fsck.contains("rw,"), "the data partition is in use: {fsck}");
    report.mended += u32::from(fsck.trim_start().starts_with('1'));
    println!("report: cut {}: calls taken again after {:.1} s", report.cuts, away as f64 / 1_000.0);
    at
}

/// What of both channels is missing, and by which cut.
fn judge(call: &Call, machine: &Machine, finished: &Finished, cuts: &[Instant], report: &mut Report) {
    assert!(!finished.is_damaged, "{}", finished.id);
    for (sent, (kept, _)) in call.sent(machine).iter().zip(&finished.channels) {
        let found = pieces(sent, kept).unwrap_or_else(|why| panic!("{}: {why}", finished.id));
        // A packet that the emulated cable lost is a hole of 20 ms; a cut's is as long as a start.
        let is_cut = |pair: &&[Piece]| pair[1].sent as i64 - (pair[0].sent + pair[0].length) as i64 > 3_000 * PER_MS;
        let ends: Vec<i64> =
            found.windows(2).filter(is_cut).map(|pair| (pair[0].sent + pair[0].length) as i64 / PER_MS).collect();
        if finished.id.starts_with("long") {
            assert_eq!(ends.len(), cuts.len(), "{}: one hole for each cut: {ends:?}", finished.id);
            let sent_ms = |cut: &Instant| i64::try_from((*cut - call.placed).as_millis()).unwrap();
            report.lost_ms.extend(cuts.iter().zip(&ends).map(|(cut, end)| (sent_ms(cut) - end).max(0)));
        }
    }
}
