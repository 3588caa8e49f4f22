//! Tags, branches and small random numbers, drawn from one seed that the owner provides.
//!
//! RFC 3261 §19.3 wants tags to be cryptographically random: who can guess them can end other people's calls. So each is
//! SHA-256 over the seed and a counter, which tells nothing of its neighbours.

use sha2::{Digest, Sha256};

/// What every branch of RFC 3261 begins with (§8.1.1.7).
pub const MAGIC_COOKIE: &str = "z9hG4bK";

/// The source of all that must not be guessed.
#[derive(Debug)]
pub struct Tokens {
    seed: [u8; 32],
    drawn: u64,
}

impl Tokens {
    /// `seed` comes from the system's randomness, or is fixed in tests.
    pub fn new(seed: [u8; 32]) -> Tokens {
        Tokens { seed, drawn: 0 }
    }

    /// A tag for To or From: 64 bits in hex.
    pub fn tag(&mut self) -> String {
        format!("{:016x}", self.draw())
    }

    /// A branch for Via.
    pub fn branch(&mut self) -> String {
        format!("{MAGIC_COOKIE}{:016x}", self.draw())
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound.max(1)
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        let digest = Sha256::new().chain_update(self.seed).chain_update(self.drawn.to_le_bytes()).finalize();
        digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_follow_from_the_seed() {
        let draw = |seed| {
            let mut tokens = Tokens::new([seed; 32]);
            (tokens.tag(), tokens.tag(), tokens.branch())
        };
        let (first, second, branch) = draw(1);
        assert_ne!(first, second);
        assert!(branch.starts_with("z9hG4bK") && branch.len() == 23);
        assert_eq!(draw(1), (first, second, branch));
        assert_ne!(draw(1), draw(2));
        assert!(Tokens::new([0; 32]).below(10) < 10);
    }
}
