//! The whole box in one thread, by a simulated clock, on a simulated disk and network, through random schedules of
//! faults: docs/simulation.md. A seed decides everything, so a seed that fails fails again:
//! `scripts/simulate --seed 4711 --seeds 1`.
//!
//! | file | what it is |
//! |---|---|
//! | `world` | one seed: clocks, schedule of faults, lives of the box |
//! | `machine` | the box: the real stations, joined |
//! | `calls` | senders and network |
//! | `medium` | the disk, with what is lost of it |
//! | `folder` | the spool's folder on it, and the ledger's |
//! | `filesystem` | what finisher and forwarder see, targets included |
//! | `judge` | what must hold

#![expect(clippy::panic, reason = "a test that cannot go on panics")]

mod calls;
mod filesystem;
mod folder;
mod judge;
mod machine;
mod medium;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use medium::Lie;
use world::{Failure, Held, Sabotage, run};

/// Seeds that every run of the tests takes.
const USUAL_SEEDS: u64 = 24;

/// `NEAREND_SIMULATE=FIRST+COUNT`, as scripts/simulate sets it.
fn seeds() -> (u64, u64) {
    let wanted = std::env::var("NEAREND_SIMULATE").ok();
    let parsed = wanted.as_deref().and_then(|text| text.split_once('+')).map(|(first, count)| (first.parse(), count.parse()));
    match parsed {
        Some((Ok(first), Ok(count))) => (first, count),
        Some(_) => panic!("NEAREND_SIMULATE is {wanted:?}; expected FIRST+COUNT"),
        None => (1, USUAL_SEEDS),
    }
}

/// A panic of the box is a failure like any other.
fn run_guarded(seed: u64) -> Result<Held, Failure> {
    catch_unwind(AssertUnwindSafe(|| run(seed, Sabotage::default())))
        .unwrap_or_else(|_| Err(Failure { seed, what: "panicked, see above".into(), log: Vec::new() }))
}

#[test]
fn all_invariants_hold_for_every_seed() {
    let (first, count) = seeds();
    let (next, totals, failures) = (AtomicU64::new(first), Mutex::new(BTreeMap::new()), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, |threads| threads.get().min(4));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first.saturating_add(count) {
                        return;
                    }
                    match run_guarded(seed) {
                        Ok(held) => add(&mut totals.lock().unwrap(), held.counts),
                        Err(failure) => failures.lock().unwrap().push(failure),
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort_by_key(|failure| failure.seed);
    report(count, &totals.into_inner().unwrap());
    let told: Vec<String> = failures.iter().map(tell).collect();
    assert!(told.is_empty(), "{} of {count} seeds failed:\n{}", told.len(), told.join("\n"));
}

fn add(totals: &mut BTreeMap<&'static str, u64>, counts: BTreeMap<&'static str, u64>) {
    for (what, count) in counts {
        *totals.entry(what).or_default() += count;
    }
}

fn report(seeds: u64, totals: &BTreeMap<&'static str, u64>) {
    println!("{seeds:>12}  seeds");
    totals.iter().for_each(|(what, count)| println!("{count:>12}  {what}"));
}

fn tell(failure: &Failure) -> String {
    let Failure { seed, what, log } = failure;
    let tail = log[log.len().saturating_sub(40)..].join("\n    ");
    format!("seed {seed}: {what}\n    {tail}\n  again: scripts/simulate --seed {seed} --seeds 1")
}

#[test]
fn a_seed_goes_the_same_way_twice() {
    for seed in [3, 4] {
        let (one, two) = (run(seed, Sabotage::default()).unwrap(), run(seed, Sabotage::default()).unwrap());
        assert_eq!(one.log, two.log);
        assert!(one.log.len() > 10);
    }
}

/// The judge is worth nothing if it lets these pass.
#[test]
fn a_disk_or_a_target_that_lies_is_found_out() {
    let lie = |lie| Sabotage { lie, ..Sabotage::default() };
    let forging = Sabotage { forging_target: true, ..Sabotage::default() };
    for sabotage in [lie(Lie::SyncsNothing), lie(Lie::SyncsNoNames), lie(Lie::SwapsBlocks), forging] {
        let found = (1..=10).find_map(|seed| run(seed, sabotage).err());
        let found = found.unwrap_or_else(|| panic!("nobody noticed {sabotage:?}"));
        println!("{sabotage:?}: seed {}: {}", found.seed, found.what);
    }
}
