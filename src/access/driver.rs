//! The edge of `access`: keeps `accounts.json` and the audit log in a folder of the data directory, makes secrets, and hashes passwords on a
//! thread of its own, one at a time: each takes 19 MiB.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Semaphore;

use super::audit::{Deed, Entry};
use super::book::{Book, Grant, Refusal, Who};
use super::password::{self, Hash};
use super::session::{Sessions, digest};
use super::throttle::Throttle;
use crate::clock::Now;
use crate::files;
use crate::model::access::Scope;

mod journal;

pub use journal::{Verified, verify};

/// Users and tokens.
const ACCOUNTS: &str = "accounts.json";

/// Log-ins that wait for the thread that hashes; more are refused.
const MOST_WAITING: usize = 8;

/// How somebody says who they are.
#[derive(Clone, Debug)]
pub enum Credential {
    /// The cookie of a session.
    Session(String),
    /// A token.
    Token(String),
}

/// Why somebody is not let in, or nothing is done.
#[derive(Debug, PartialEq, Eq)]
pub enum Denied {
    /// Wrong name, password or code.
    Wrong,
    /// Wrong too often: not before that.
    Wait(Duration),
    /// Too many log in at the same time.
    Busy,
    /// There is an administrator: the code of the first use counts no more.
    InUse,
    /// What is asked for cannot be.
    Refused(Refusal),
    /// It could not be kept.
    Failed(String),
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Denied {
        Denied::Refused(refusal)
    }
}

/// Who may do what, for all that ask.
#[derive(Clone)]
pub struct Access(Arc<Shared>);

struct Shared {
    dir: PathBuf,
    state: Mutex<State>,
    /// Changes of the accounts, one after the other.
    changes: tokio::sync::Mutex<()>,
    journal: Arc<tokio::sync::Mutex<journal::Journal>>,
    hashing: Semaphore,
    waiting: Semaphore,
}

#[derive(Default)]
struct State {
    book: Book,
    sessions: Sessions,
    throttle: Throttle,
    /// What makes the first administrator; none: there is one.
    first_use: Option<String>,
    refused: BTreeMap<&'static str, u64>,
}

impl Access {
    /// Opens what is kept in `dir`, which is made when it is not there.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(dir: &Path) -> io::Result<Access> {
        match fs::create_dir(dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        let book = read_book(dir)?;
        let first_use = if book.is_new() { Some(code()?) } else { None };
        let state = State { book, first_use, ..State::default() };
        Ok(Access(Arc::new(Shared {
            dir: dir.to_path_buf(),
            state: Mutex::new(state),
            changes: tokio::sync::Mutex::default(),
            journal: Arc::new(tokio::sync::Mutex::new(journal::Journal::open(dir)?)),
            hashing: Semaphore::new(1),
            waiting: Semaphore::new(MOST_WAITING),
        })))
    }

    /// The code that makes the first administrator; none: there is one.
    pub fn first_use(&self) -> Option<String> {
        self.state().first_use.clone()
    }

    /// Who this is; none: nobody that is known, or no longer.
    pub fn who(&self, now: Now, credential: &Credential) -> Option<Who> {
        let mut state = self.state();
        match credential {
            Credential::Token(token) => state.book.token(&digest(token)),
            Credential::Session(secret) => {
                let user = state.sessions.user(now.mono, &digest(secret))?.to_owned();
                state.book.user(&user)
            }
        }
    }

    /// Makes the first administrator, and a session.
    ///
    /// # Errors
    /// See [`Denied`].
    pub async fn begin(&self, now: Now, from: IpAddr, code: &str, name: &str, password: &str) -> Result<String, Denied> {
        self.check_wait(now, from)?;
        let expected = self.first_use().ok_or(Denied::InUse)?;
        if !password::is_equal(plain(code).as_bytes(), plain(&expected).as_bytes()) {
            return Err(self.was_wrong(now, from).await);
        }
        self.state().book.may_add(&Scope::default(), name, &Grant::full(), password)?;
        let hash = self.hash(password).await?;
        let change = |book: &mut Book| match book.is_new() {
            true => book.add_user(&Scope::default(), name, Grant::full(), hash).map_err(Denied::from),
            false => Err(Denied::InUse), // another one was faster
        };
        self.change(change).await?;
        self.state().first_use = None;
        self.note(deed("first-use", name, from)).await?;
        self.open_session(now, name)
    }

    /// Makes a session of a user.
    ///
    /// # Errors
    /// See [`Denied`].
    pub async fn login(&self, now: Now, from: IpAddr, name: &str, password: &str) -> Result<String, Denied> {
        self.check_wait(now, from)?;
        let hash = self.state().book.password(name);
        // Whether there is such a user takes as long as whether the password is right.
        let right = match hash {
            Some(hash) => self.is_of(hash, password).await?,
            None => self.hash(password).await.map(|_| false)?,
        };
        if !right {
            return Err(self.was_wrong(now, from).await);
        }
        self.state().throttle.right(from);
        self.note(deed("login", name, from)).await?;
        self.open_session(now, name)
    }

    /// Ends a session.
    pub fn logout(&self, secret: &str) {
        self.state().sessions.close(&digest(secret));
    }

    /// A user gives themselves another password, which ends their sessions.
    ///
    /// # Errors
    /// See [`Denied`].
    pub async fn set_password(&self, now: Now, from: IpAddr, name: &str, old: &str, new: &str) -> Result<(), Denied> {
        self.check_wait(now, from)?;
        password::check(name, new).map_err(Refusal::Bad)?;
        let hash = self.state().book.password(name).ok_or(Refusal::Unknown)?;
        if !self.is_of(hash, old).await? {
            return Err(self.was_wrong(now, from).await);
        }
        let hash = self.hash(new).await?;
        self.note(deed("set-password", name, from)).await?;
        self.change(|book| Ok(book.set_password(name, hash)?)).await?;
        self.state().sessions.close_all(name);
        Ok(())
    }

    /// Adds a user.
    ///
    /// # Errors
    /// See [`Denied`].
    pub async fn add_user(&self, by: &Scope, name: &str, grant: Grant, password: &str) -> Result<(), Denied> {
        self.state().book.may_add(by, name, &grant, password)?;
        let hash = self.hash(password).await?;
        self.change(|book| Ok(book.add_user(by, name, grant, hash)?)).await
    }

    /// Removes a user, whose sessions end.
    ///
    /// # Errors
    /// See [`Denied`].
    pub async fn remove_user(&self, by: &Scope, name: &str) -> Result<(), Denied> {
        self.change(|book| Ok(book.remove_user(by, name)?)).await?;
        self.state().sessions.close_all(name);
        Ok(())
    }

    /// Makes a token, which is shown now and never again.
    ///
    /// # Errors
    /// See [`Denied`].
    pub async fn add_token(&self, by: &Scope, name: &str, grant: Grant) -> Result<String, Denied> {
        let token = format!("ne_{}", secret().map_err(failed)?);
        self.change(|book| Ok(book.add_token(by, name, grant, digest(&token))?)).await?;
        Ok(token)
    }

    /// Removes a token.
    ///
    /// # Errors
    /// See [`Denied`].
    pub async fn remove_token(&self, by: &Scope, name: &str) -> Result<(), Denied> {
        self.change(|book| Ok(book.remove_token(by, name)?)).await
    }

    /// The users that `scope` may know of.
    pub fn users(&self, scope: &Scope) -> BTreeMap<String, Grant> {
        self.state().book.users(scope)
    }

    /// The tokens that `scope` may know of.
    pub fn tokens(&self, scope: &Scope) -> BTreeMap<String, Grant> {
        self.state().book.tokens(scope)
    }

    /// Writes into the audit log what is about to be done. It is on the disk when this returns.
    ///
    /// # Errors
    /// It could not be written: it must not be done.
    pub async fn note(&self, deed: Deed) -> Result<(), Denied> {
        let mut journal = Arc::clone(&self.0.journal).lock_owned().await;
        let written = tokio::task::spawn_blocking(move || journal.write(Now::read().wall, &deed)).await;
        written.map_err(failed)?.map_err(|e| {
            tracing::error!("the audit log cannot be written: {e}; what needs an entry is not done");
            failed(e)
        })
    }

    /// Lines of the audit log behind the one of this number, as they are.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn audit(&self, after: u64, limit: usize) -> io::Result<Vec<(Entry, String)>> {
        let dir = self.0.dir.clone();
        tokio::task::spawn_blocking(move || journal::read(&dir, after, limit)).await.map_err(io::Error::other)?
    }

    /// Something was refused.
    pub fn count(&self, why: &'static str) {
        *self.state().refused.entry(why).or_default() += 1;
    }

    /// How often what was refused since the start.
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        self.state().refused.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner) // nothing in it is ever half done
    }

    fn check_wait(&self, now: Now, from: IpAddr) -> Result<(), Denied> {
        let wait = self.state().throttle.wait(now.mono, from);
        wait.map_or(Ok(()), |wait| {
            self.count("throttled");
            Err(Denied::Wait(wait))
        })
    }

    /// Only the first of many mistakes is worth a line in the log: nobody shall fill the disk with them.
    async fn was_wrong(&self, now: Now, from: IpAddr) -> Denied {
        self.count("wrong-password");
        if self.state().throttle.wrong(now.mono, from) {
            tracing::warn!(%from, "somebody there gave wrong passwords or codes several times, and must wait from now on");
            let deed = Deed {
                who: "nobody".into(),
                from: from.to_string(),
                did: "login-throttled",
                of: String::new(),
                detail: String::new(),
            };
            drop(self.note(deed).await); // it has been told
        }
        Denied::Wrong
    }

    async fn hash(&self, password: &str) -> Result<Hash, Denied> {
        let mut salt = [0; password::SALT];
        random(&mut salt).map_err(failed)?;
        let password = password.to_owned();
        self.apart(move || Hash::new(&password, salt)).await?.map_err(failed)
    }

    async fn is_of(&self, hash: Hash, password: &str) -> Result<bool, Denied> {
        let password = password.to_owned();
        self.apart(move || hash.is_of(&password)).await
    }

    /// Not on the thread that SIP runs on, and one at a time.
    async fn apart<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Denied> {
        let Ok(_place) = self.0.waiting.try_acquire() else {
            self.count("busy");
            return Err(Denied::Busy);
        };
        let _turn = self.0.hashing.acquire().await.map_err(failed)?;
        tokio::task::spawn_blocking(work).await.map_err(failed)
    }

    async fn change<T>(&self, change: impl FnOnce(&mut Book) -> Result<T, Denied>) -> Result<T, Denied> {
        let _alone = self.0.changes.lock().await;
        let mut book = self.state().book.clone();
        let done = change(&mut book)?;
        let text = serde_json::to_vec_pretty(&book).map_err(failed)?;
        let dir = self.0.dir.clone();
        let kept = tokio::task::spawn_blocking(move || files::replace(&dir, ACCOUNTS, &text, 0o600)).await;
        kept.map_err(failed)?.map_err(|e| failed(format!("{ACCOUNTS}: {e}")))?;
        self.state().book = book;
        Ok(done)
    }

    fn open_session(&self, now: Now, user: &str) -> Result<String, Denied> {
        let secret = secret().map_err(failed)?;
        self.state().sessions.open(now.mono, digest(&secret), user.to_owned());
        Ok(secret)
    }
}

fn failed(why: impl ToString) -> Denied {
    Denied::Failed(why.to_string())
}

fn deed(did: &'static str, user: &str, from: IpAddr) -> Deed {
    Deed { who: format!("user {user}"), from: from.to_string(), did, of: user.to_owned(), detail: String::new() }
}

/// One that is damaged is set aside, and the box waits for its first administrator again: who may read its log may do that anyway.
fn read_book(dir: &Path) -> io::Result<Book> {
    let path = dir.join(ACCOUNTS);
    match fs::read(&path) {
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(book) => Ok(book),
            Err(error) => {
                let aside = format!("{ACCOUNTS}.set-aside-{}", Now::read().wall.date());
                fs::rename(&path, dir.join(&aside))?;
                tracing::error!(
                    "{} is damaged ({error}) and was set aside as {aside}: users and tokens are to be made anew",
                    path.display()
                );
                Ok(Book::default())
            }
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Book::default()),
        Err(e) => Err(e),
    }
}

fn random(bytes: &mut [u8]) -> io::Result<()> {
    SystemRandom::new().fill(bytes).map_err(|_| io::Error::other("the system gives no random numbers"))
}

fn secret() -> io::Result<String> {
    let mut bytes = [0; 32];
    random(&mut bytes)?;
    Ok(BASE64.encode(bytes))
}

/// What a person can type from a screen: three times four signs that are not mistaken for each other, 60 bits.
fn code() -> io::Result<String> {
    const SIGNS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut bytes = [0; 12];
    random(&mut bytes)?;
    let signs: String = bytes.iter().map(|byte| char::from(SIGNS[usize::from(byte % 32)])).collect();
    Ok(format!("{}-{}-{}", &signs[..4], &signs[4..8], &signs[8..]))
}

/// As it was meant, however it was typed.
fn plain(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

#[cfg(test)]
mod tests;
