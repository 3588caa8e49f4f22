//! Who is logged in. A session is known by the hash of its cookie, lives in memory alone, and ends after an hour without use, after twelve hours
//! in any case, and with a restart of the box. Pure.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::model::MonoTime;

/// Without use.
const IDLE: Duration = Duration::from_secs(3_600);
/// In any case.
pub const LONGEST: Duration = Duration::from_secs(12 * 3_600);
/// Sessions at a time; the one that was used longest ago goes first.
const MOST: usize = 256;

/// SHA-256 of a secret: what of a session or a token is kept.
pub type Secret = [u8; 32];

/// What is kept of a secret.
pub fn digest(secret: &str) -> Secret {
    Sha256::digest(secret.as_bytes()).into()
}

/// All of them, in the order of their last use.
#[derive(Debug, Default)]
pub struct Sessions {
    open: Vec<Session>,
}

#[derive(Debug)]
struct Session {
    secret: Secret,
    user: String,
    began: MonoTime,
    used: MonoTime,
}

impl Sessions {
    /// `user` has logged in.
    pub fn open(&mut self, now: MonoTime, secret: Secret, user: String) {
        self.open.retain(|session| session.lasts(now));
        if self.open.len() >= MOST {
            self.open.remove(0);
        }
        self.open.push(Session { secret, user, began: now, used: now });
    }

    /// Whose session this is, which is used by that.
    pub fn user(&mut self, now: MonoTime, secret: &Secret) -> Option<&str> {
        let at = self.open.iter().position(|session| session.secret == *secret && session.lasts(now))?;
        let mut session = self.open.remove(at);
        session.used = now;
        self.open.push(session);
        self.open.last().map(|session| session.user.as_str())
    }

    /// Somebody logs out.
    pub fn close(&mut self, secret: &Secret) {
        self.open.retain(|session| session.secret != *secret);
    }

    /// A user is gone, or has a new password.
    pub fn close_all(&mut self, user: &str) {
        self.open.retain(|session| session.user != user);
    }
}

impl Session {
    fn lasts(&self, now: MonoTime) -> bool {
        now.since(self.used) < IDLE && now.since(self.began) < LONGEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> MonoTime {
        MonoTime(s * 1_000_000)
    }

    #[test]
    fn a_session_ends_without_use_and_in_any_case() {
        let mut sessions = Sessions::default();
        let (a, b) = (digest("a"), digest("b"));
        sessions.open(at(0), a, "anna".into());
        sessions.open(at(0), b, "ben".into());
        for minutes in (0..12 * 60).step_by(59) {
            assert_eq!(sessions.user(at(minutes * 60), &a), Some("anna"), "{minutes}");
        }
        assert_eq!(sessions.user(at(3_600), &b), None, "it was not used for an hour");
        assert_eq!(sessions.user(at(12 * 3_600), &a), None, "it was used all the time");
        assert_eq!(sessions.user(at(1), &digest("c")), None);
    }

    #[test]
    fn a_session_is_closed_alone_or_with_all_of_its_user() {
        let mut sessions = Sessions::default();
        for secret in ["1", "2", "3"] {
            sessions.open(at(0), digest(secret), "anna".into());
        }
        sessions.close(&digest("1"));
        assert!(sessions.user(at(1), &digest("1")).is_none() && sessions.user(at(1), &digest("2")).is_some());
        sessions.close_all("anna");
        assert!(sessions.user(at(1), &digest("3")).is_none());
        (0..1_000).for_each(|n| sessions.open(at(1), digest(&n.to_string()), "anna".into()));
        assert_eq!(sessions.open.len(), MOST);
    }
}
