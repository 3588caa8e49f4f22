//! Hostile input for a moment: real messages, documents, packets and files, mutated by a seeded generator, into every fuzz target. A longer
//! run, with coverage as its guide: `scripts/fuzz`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "../fuzz/lib.rs"]
#[expect(unreachable_pub, reason = "a crate of its own when libFuzzer drives it")]
mod targets;

/// Mutated inputs per target.
const INPUTS: usize = 3_000;

/// What a careless or hostile sender does to a message, a few times over.
fn mutated(seeds: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = seeds[random.usize(..seeds.len())].clone();
    for _ in 0..random.usize(1..12) {
        let at = random.usize(..=bytes.len());
        let end = (at + random.usize(..40)).min(bytes.len());
        match random.u8(..6) {
            0 if at < bytes.len() => bytes[at] = random.u8(..),
            1 => bytes.insert(at, *random.choice([0, b'\r', b'\n', b' ', b';', b'"', b'<', 0xFF, b'9'].iter()).unwrap()),
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece.iter().copied().cycle().take(piece.len() * random.usize(1..4)));
            }
            _ => {
                let other = &seeds[random.usize(..seeds.len())];
                let from = random.usize(..=other.len());
                bytes.splice(at..end, other[from..(from + 60).min(other.len())].iter().copied());
            }
        }
    }
    bytes
}

fn survives(name: &str, target: fn(&[u8]), input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        panic!("{name}: {}", input.escape_ascii());
    }
}

#[test]
fn every_target_survives_real_and_mutated_input() {
    for (name, target) in targets::TARGETS {
        let seeds = targets::seeds(name, Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(!seeds.is_empty(), "{name} has input to begin with");
        seeds.iter().for_each(|seed| survives(name, target, seed));
        let mut random = fastrand::Rng::with_seed(0x4E45);
        (0..INPUTS).for_each(|_| survives(name, target, &mutated(&seeds, &mut random)));
    }
}
