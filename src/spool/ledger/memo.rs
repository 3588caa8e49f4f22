//! Small things that other stations want to have again after a restart, and can do without: they stand in no segment, so that a ledger
//! that is made anew has none of them.

use std::io;

use super::Ledger;

/// What is longer is not kept: sled holds in memory what it has read.
const MAX_BYTES: usize = 512 * 1_024;

/// Before every key, so that none is taken for the ledger's own.
const PREFIX: &str = "memo/";

impl Ledger {
    /// Keeps `value` under `key`; an empty one removes what is there.
    ///
    /// # Errors
    /// When it is too long, or cannot be written.
    pub fn memo(&self, key: &str, value: &[u8]) -> io::Result<()> {
        if value.len() > MAX_BYTES {
            return Err(io::Error::other(format!("{key} has {} bytes; at most {MAX_BYTES} are kept", value.len())));
        }
        let key = format!("{PREFIX}{key}");
        self.with(|t| {
            match value {
                [] => drop(t.meta.remove(key)?),
                value => drop(t.meta.insert(key, value)?),
            }
            t.db.flush().map(drop)
        })
    }

    /// What was kept under keys that begin like this: the rest of each key, and its value.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn memos(&self, begin: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
        let begin = format!("{PREFIX}{begin}");
        let pairs: Vec<_> = self.with(|t| t.meta.scan_prefix(&begin).collect())?;
        let named = |(key, value): &(_, _)| {
            let (key, value): (&[u8], &[u8]) = (AsRef::as_ref(key), AsRef::as_ref(value));
            Some((String::from_utf8(key.get(begin.len()..)?.to_vec()).ok()?, value.to_vec()))
        };
        Ok(pairs.iter().filter_map(named).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::seal::BoxKey;
    use super::*;

    #[test]
    fn what_was_kept_last_is_there_until_it_is_removed() {
        let ledger = Ledger::closed(None, BoxKey::new(&[1; 32]));
        ledger.reopen().unwrap();
        for (key, value) in [("centre/hq", "1"), ("centre/hq", "2"), ("centre/west", "3"), ("other", "4")] {
            ledger.memo(key, value.as_bytes()).unwrap();
        }
        let named = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        assert_eq!(ledger.memos("centre/").unwrap(), [named("hq", "2"), named("west", "3")]);
        ledger.memo("centre/hq", &[]).unwrap();
        assert_eq!(ledger.memos("centre/").unwrap(), [named("west", "3")]);
        assert!(ledger.memo("centre/hq", &vec![0; MAX_BYTES + 1]).is_err());
        assert!(ledger.spool().unwrap().is_none(), "its own keys are not touched");
    }
}
