//! Values of `[[tenant]]`: how its files are made, and who may open them.

use std::fmt;

use serde::{Serialize, Serializer};

use super::value::{Value, one_of};
use crate::model::AudioFormat;

impl Value for AudioFormat {
    fn read(text: &str) -> Result<AudioFormat, String> {
        let known = AudioFormat::ALL.map(AudioFormat::name);
        AudioFormat::ALL.into_iter().find(|format| format.name() == text).ok_or_else(|| one_of(text, &known))
    }
}

/// The public key of someone who may open a tenant's files: an X25519 recipient of age.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient(pub age::x25519::Recipient);

impl Value for Recipient {
    fn read(text: &str) -> Result<Recipient, String> {
        const EXPECTED: &str = "expected \"age1\" and 58 characters behind it, as age-keygen prints them after \"Public key:\"";
        if text.starts_with("AGE-SECRET-KEY-") {
            return Err(format!("this is a secret key, which must never be on the box; {EXPECTED}"));
        }
        if text.strip_prefix("age1").is_some_and(|rest| rest.contains('1')) {
            return Err(format!("{text:?} is a key of an age plug-in, which the box does not have; {EXPECTED}"));
        }
        match text.parse() {
            Ok(key) => Ok(Recipient(key)),
            Err(why) => Err(format!("{text:?} is no age recipient ({why}); {EXPECTED}")),
        }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Recipient {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "age1upt8y8480s4rkcr70t2wdgtzzcc2agezlk9nlkkkglx8y2hcduqqszuyed";

    fn error(text: &str) -> String {
        Recipient::read(text).unwrap_err()
    }

    #[test]
    fn recipients_are_age_keys_and_secret_ones_are_not_repeated() {
        assert_eq!(Recipient::read(KEY).unwrap().to_string(), KEY);
        let mistyped = KEY.replace("age1u", "age1q");
        for text in ["age1…", "", "ssh-ed25519 AAAA", &mistyped] {
            assert!(error(text).contains("is no age recipient") && error(text).contains("age-keygen"), "{}", error(text));
        }
        assert!(error(&format!("age1yubikey1{}", "q".repeat(59))).contains("plug-in"));
        let secret = error("AGE-SECRET-KEY-1QQQQ");
        assert!(secret.contains("secret key") && !secret.contains("QQQQ"));
    }

    #[test]
    fn formats_are_known_by_their_names() {
        assert_eq!(AudioFormat::read("opus"), Ok(AudioFormat::Opus));
        assert!(AudioFormat::read("ops").unwrap_err().ends_with("did you mean \"opus\"?"));
    }
}
