//! Passwords: what they must be, and what of them is kept (Argon2id, RFC 9106; the parameters are the second choice of its §4 with less memory,
//! as OWASP recommends them: 19 MiB, two passes). Pure.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

/// Bytes of salt.
pub const SALT: usize = 16;

const HASH: usize = 32;
const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;

/// Characters of a password, at least and at most.
const LEAST: usize = 12;
const MOST: usize = 256;

/// What is kept of a password. Its own parameters stand with it: they will rise one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hash {
    memory_kib: u32,
    passes: u32,
    salt: String,
    hash: String,
}

/// A password that may be one.
pub fn check(name: &str, password: &str) -> Result<(), String> {
    let length = password.chars().count();
    if !(LEAST..=MOST).contains(&length) {
        return Err(format!("the password has {length} characters; expected {LEAST} to {MOST}"));
    }
    let mut distinct: Vec<char> = password.chars().collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < 5 || password.to_lowercase().contains(&name.to_lowercase()) {
        return Err("the password repeats few characters, or holds the name; expected one that nobody guesses".into());
    }
    Ok(())
}

impl Hash {
    /// Takes some 20 ms and 19 MiB.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new(password: &str, salt: [u8; SALT]) -> Result<Hash, String> {
        let hash = compute(password, &salt, MEMORY_KIB, PASSES)?;
        Ok(Hash { memory_kib: MEMORY_KIB, passes: PASSES, salt: BASE64.encode(salt), hash: BASE64.encode(hash) })
    }

    /// As long as [`Hash::new`].
    pub fn is_of(&self, password: &str) -> bool {
        let memory = self.memory_kib.min(4 * MEMORY_KIB); // whatever a damaged file says
        let passes = self.passes.min(4 * PASSES);
        let Ok(salt) = BASE64.decode(&self.salt) else { return false };
        compute(password, &salt, memory, passes).is_ok_and(|hash| is_equal(BASE64.encode(hash).as_bytes(), self.hash.as_bytes()))
    }
}

fn compute(password: &str, salt: &[u8], memory_kib: u32, passes: u32) -> Result<[u8; HASH], String> {
    let params = Params::new(memory_kib, passes, 1, Some(HASH)).map_err(|e| e.to_string())?;
    let mut hash = [0; HASH];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), salt, &mut hash)
        .map_err(|e| e.to_string())?;
    Ok(hash)
}

/// Takes the same time wherever they differ.
pub(super) fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (x, y)| all | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_reference_implementation() {
        // echo -n 'correct horse battery' | argon2 saltsaltsaltsalt -id -t 2 -k 19456 -p 1 -l 32 -e
        let hash = Hash::new("correct horse battery", *b"saltsaltsaltsalt").unwrap();
        assert_eq!(
            (hash.salt.as_str(), hash.hash.as_str()),
            ("c2FsdHNhbHRzYWx0c2FsdA", "iPOQ5f2O21FsjnBvo1AiFcDuSXciCnKUrXFO+yfgNoM")
        );
    }

    #[test]
    fn a_password_is_known_again_and_no_other() {
        let hash = Hash::new("correct horse battery", [7; SALT]).unwrap();
        assert!(hash.is_of("correct horse battery"));
        assert!(!hash.is_of("correct horse batterz") && !hash.is_of(""));
        assert_ne!(hash, Hash::new("correct horse battery", [8; SALT]).unwrap());
        let damaged = Hash { memory_kib: u32::MAX, salt: "?".into(), ..hash };
        assert!(!damaged.is_of("correct horse battery"));
    }

    #[test]
    fn what_is_easily_guessed_is_none() {
        for bad in ["short", "aaaaaaaaaaaaaaa", "Anna-anna-1234", &"x1".repeat(200)] {
            assert!(check("anna", bad).is_err(), "{bad}");
        }
        check("anna", "correct horse battery").unwrap();
    }
}
