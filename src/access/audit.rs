//! The audit log: one line of JSON for what somebody did, each with the SHA-256 of itself and of the line before. Whoever changes, removes or
//! adds a line breaks the chain, unless all lines after it are made anew; against that helps a hash that was noted elsewhere (the journal has
//! each). Pure.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::files::hex;
use crate::model::WallTime;

/// What stands before the first line.
const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What somebody did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// Who: `user anna`, `token desktop`, `box`.
    pub who: String,
    /// From which address.
    pub from: String,
    /// What: `login`, `pause`, `play` …
    pub did: &'static str,
    /// With what: a recording id, the name of a user.
    pub of: String,
    /// What else there is to say.
    pub detail: String,
}

/// A line of the log, without its own hash. The order of the fields is part of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Counted from 1.
    pub no: u64,
    /// When.
    pub time: String,
    /// Who.
    pub who: String,
    /// From which address.
    pub from: String,
    /// What.
    pub did: String,
    /// With what.
    pub of: String,
    /// What else there is to say.
    pub detail: String,
    /// The hash of the line before.
    pub prev: String,
}

/// Where the chain ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of the last line; 0: there is none.
    pub no: u64,
    /// Its hash.
    pub hash: String,
}

impl Default for Head {
    fn default() -> Head {
        Head { no: 0, hash: BEGINNING.into() }
    }
}

impl Head {
    /// The next line, without its end, and where the chain ends then.
    pub fn line(&self, time: WallTime, deed: &Deed) -> (String, Head) {
        let short = |text: &str| text.chars().take(500).collect::<String>();
        let entry = Entry {
            no: self.no + 1,
            time: time.to_string(),
            who: short(&deed.who),
            from: short(&deed.from),
            did: deed.did.into(),
            of: short(&deed.of),
            detail: short(&deed.detail),
            prev: self.hash.clone(),
        };
        let body = serde_json::to_string(&entry).unwrap_or_default(); // strings and a number: cannot fail
        let hash = hash(&body);
        (format!("{},\"hash\":\"{hash}\"}}", body.trim_end_matches('}')), Head { no: entry.no, hash })
    }

    /// Holds the next line against the chain; gives what it says, and where the chain ends then.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, line: &str) -> Result<(Entry, Head), String> {
        let split =
            line.rsplit_once(",\"hash\":\"").and_then(|(body, rest)| Some((format!("{body}}}"), rest.strip_suffix("\"}")?)));
        let (body, said) = split.ok_or("it is no line of the log")?;
        if hash(&body) != said {
            return Err("its text is not the one that was hashed: it was changed".into());
        }
        let entry: Entry = serde_json::from_str(&body).map_err(|e| format!("it is no line of the log: {e}"))?;
        if entry.no != self.no + 1 {
            return Err(format!("it has the number {}; expected {}: lines were removed or added", entry.no, self.no + 1));
        }
        if entry.prev != self.hash {
            return Err("it does not follow the line before: lines were changed, removed or added".into());
        }
        let head = Head { no: entry.no, hash: said.to_owned() };
        Ok((entry, head))
    }
}

fn hash(body: &str) -> String {
    hex(&Sha256::digest(body.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(n: u64) -> Vec<String> {
        let mut head = Head::default();
        let lines = (0..n).map(|n| {
            let of = format!("0{n}\"}},\"hash\":\"");
            let deed = Deed { who: "user anna".into(), from: "10.0.0.1".into(), did: "play", of, detail: String::new() };
            let (line, next) = head.line(WallTime(0), &deed);
            head = next;
            line
        });
        lines.collect()
    }

    /// The number of the first line that is wrong.
    fn fault(lines: &[String]) -> Option<usize> {
        let mut head = Head::default();
        lines.iter().position(|line| match head.check(line) {
            Ok((_, next)) => {
                head = next;
                false
            }
            Err(_) => true,
        })
    }

    #[test]
    fn what_is_written_is_read_back() {
        let lines = log(3);
        assert_eq!(fault(&lines), None, "{lines:#?}");
        let (entry, head) = Head::default().check(&lines[0]).unwrap();
        assert_eq!((entry.who.as_str(), entry.did.as_str(), head.no), ("user anna", "play", 1));
        assert!(serde_json::from_str::<serde_json::Value>(&lines[2]).unwrap()["hash"].is_string(), "each line is JSON");
    }

    #[test]
    fn every_change_of_a_byte_and_every_removed_added_or_swapped_line_is_noticed() {
        let lines = log(3);
        for at in 0..lines[1].len() {
            let mut changed = lines.clone();
            let mut bytes = changed[1].clone().into_bytes();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            changed[1] = String::from_utf8_lossy(&bytes).into_owned();
            assert_eq!(fault(&changed), Some(1), "byte {at}");
        }
        assert_eq!(fault(&[lines[0].clone(), lines[2].clone()]), Some(1));
        assert_eq!(fault(&lines[1..]), Some(0));
        assert_eq!(fault(&[lines[0].clone(), lines[0].clone()]), Some(1));
        assert_eq!(fault(&[lines[1].clone(), lines[0].clone()]), Some(0));
    }
}
