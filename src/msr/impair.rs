//! The bad network: which packets are lost, late or doubled. One seed always gives the same fates.

use fastrand::Rng;

/// How often each mishap strikes a packet: probabilities from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairments {
    /// Never sent; its sequence number is spent.
    pub loss: f64,
    /// Sent after the packet that follows it.
    pub reorder: f64,
    /// Sent twice in a row.
    pub duplicate: f64,
}

/// What becomes of one packet. A lost packet is neither late nor doubled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// It is not sent.
    pub lost: bool,
    /// It changes places with the next.
    pub late: bool,
    /// It is sent twice.
    pub doubled: bool,
}

/// The fates of one stream's packets, in order.
#[derive(Clone, Debug)]
pub struct Fates {
    impairments: Impairments,
    rng: Rng,
}

impl Fates {
    /// Fates that `seed` decides.
    pub fn new(impairments: Impairments, seed: u64) -> Fates {
        Fates { impairments, rng: Rng::with_seed(seed) }
    }

    /// The next packet's fate.
    pub fn draw(&mut self) -> Fate {
        // Always three draws, so that changing one probability leaves the other mishaps where they are.
        let [loss, reorder, duplicate] = std::array::from_fn(|_| self.rng.f64());
        let lost = loss < self.impairments.loss;
        Fate { lost, late: !lost && reorder < self.impairments.reorder, doubled: !lost && duplicate < self.impairments.duplicate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: Impairments = Impairments { loss: 0.02, reorder: 0.05, duplicate: 0.01 };

    fn fates(impairments: Impairments, seed: u64, n: usize) -> Vec<Fate> {
        let mut fates = Fates::new(impairments, seed);
        std::iter::repeat_with(|| fates.draw()).take(n).collect()
    }

    #[test]
    fn a_seed_decides_everything() {
        assert_eq!(fates(BAD, 7, 5_000), fates(BAD, 7, 5_000));
        assert_ne!(fates(BAD, 7, 5_000), fates(BAD, 8, 5_000));
    }

    #[test]
    fn rates_are_met() {
        let n = 200_000;
        let all = fates(BAD, 1, n);
        // Five standard deviations of a binomial count.
        let met = |count: usize, p: f64| (count as f64 - n as f64 * p).abs() < 5.0 * (n as f64 * p * (1.0 - p)).sqrt();
        assert!(met(all.iter().filter(|f| f.lost).count(), 0.02));
        assert!(met(all.iter().filter(|f| f.late).count(), 0.05 * 0.98));
        assert!(met(all.iter().filter(|f| f.doubled).count(), 0.01 * 0.98));
        assert!(all.iter().all(|f| !(f.lost && (f.late || f.doubled))));
    }

    #[test]
    fn extremes_are_certain_and_mishaps_are_independent() {
        assert!(fates(Impairments::default(), 3, 10_000).iter().all(|f| *f == Fate::default()));
        assert!(fates(Impairments { loss: 1.0, ..BAD }, 3, 10_000).iter().all(|f| f.lost));
        let without_reorder = fates(Impairments { reorder: 0.0, ..BAD }, 3, 10_000);
        for (with, without) in fates(BAD, 3, 10_000).iter().zip(without_reorder) {
            assert_eq!((with.lost, with.doubled), (without.lost, without.doubled));
        }
    }
}
