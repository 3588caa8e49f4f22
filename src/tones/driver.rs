//! Fetches custom tones: from web servers, of which the last copy is kept with its ETag (RFC 9110 §8.8.3), and from files. Whatever is
//! there, it takes at most [`MOST_BYTES`] of memory and [`MOST_WAIT_S`] of time, and nothing waits for it.

pub mod sidecar;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::source::{MOST_BYTES, MOST_REDIRECTS, MOST_WAIT_S, Place, SourceError, State, tone_of};

/// A tone that is there is looked at again after so long …
const AGAIN: Duration = Duration::from_secs(600);

/// … and one that is not, after this.
const AGAIN_SOON: Duration = Duration::from_secs(30);

/// What became of the URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// In a word.
    pub state: State,
    /// In words: its length, or why there is none.
    pub detail: String,
}

/// Looks at the URI now and again for as long as somebody reads the outcome; copies are kept in `cache`.
pub fn watch_over(uri: String, cache: PathBuf) -> watch::Receiver<Option<Outcome>> {
    let (news, outcome) = watch::channel(None);
    tokio::spawn(async move {
        loop {
            let fetched = fetch(&uri, Some(&cache)).await;
            let outcome = match &fetched {
                Ok(tone) => Outcome { state: State::Usable, detail: format!("{:.2} s", tone.len() as f64 / 8_000.0) },
                Err(error) => Outcome { state: error.state(), detail: error.to_string() },
            };
            let is_new = news.borrow().as_ref() != Some(&outcome);
            match &fetched {
                Ok(_) if is_new => tracing::info!(audiosrc = uri, "the tone is there: {}", outcome.detail),
                Err(error) if is_new => {
                    tracing::warn!(audiosrc = uri, state = error.state().name(), "no tone sounds: {error}");
                }
                _ => {}
            }
            news.send_replace(Some(outcome));
            let wait = if fetched.is_ok() { AGAIN } else { AGAIN_SOON };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = news.closed() => return,
            }
        }
    });
    outcome
}

/// The tone behind a URI: one channel of 8 kHz. With `cache`, a server is asked only whether its copy there is still the same.
///
/// # Errors
/// It gives no tone.
pub async fn fetch(uri: &str, cache: Option<&Path>) -> Result<Vec<f32>, SourceError> {
    let all = async {
        match Place::read(uri)? {
            Place::Web(url) => from_web(&url, cache).await,
            Place::File(path) => in_background(move || from_file(Path::new(&path))).await,
        }
    };
    let limited = tokio::time::timeout(Duration::from_secs(MOST_WAIT_S), all);
    let bytes = limited.await.map_err(|_| SourceError::Slow)??;
    in_background(move || tone_of(&bytes)).await
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(SourceError::Unreadable(error.to_string())))
}

/// A regular file only: what a pipe or a device gives has no end.
fn from_file(path: &Path) -> Result<Vec<u8>, SourceError> {
    let fault = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => SourceError::NotFound(error.to_string()),
        _ => SourceError::Unreadable(error.to_string()),
    };
    let facts = fs::metadata(path).map_err(fault)?;
    if !facts.is_file() {
        return Err(SourceError::Unreadable("it is no regular file".into()));
    }
    if facts.len() > MOST_BYTES {
        return Err(SourceError::TooLarge);
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(fault)?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > MOST_BYTES { Err(SourceError::TooLarge) } else { Ok(bytes) }
}

async fn from_web(url: &str, cache: Option<&Path>) -> Result<Vec<u8>, SourceError> {
    let copy = cache.map(|folder| Copy::of(folder, url));
    let known = copy.as_ref().and_then(Copy::read);
    let mut request = client()?.get(url);
    if let Some((etag, _)) = &known {
        request = request.header(reqwest::header::IF_NONE_MATCH, etag.as_str());
    }
    let mut answer = request.send().await.map_err(link_error)?;
    match (answer.status().as_u16(), known) {
        (304, Some((_, bytes))) => return Ok(bytes),
        (200, _) => {}
        (status @ (404 | 410), _) => return Err(SourceError::NotFound(format!("the server answers {status}"))),
        (status, _) => return Err(SourceError::Status(status)),
    }
    if answer.content_length().is_some_and(|length| length > MOST_BYTES) {
        return Err(SourceError::TooLarge);
    }
    let etag = answer.headers().get(reqwest::header::ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(link_error)? {
        if (bytes.len() + piece.len()) as u64 > MOST_BYTES {
            return Err(SourceError::TooLarge);
        }
        bytes.extend_from_slice(&piece);
    }
    if let Some((copy, etag)) = copy.zip(etag)
        && let Err(error) = copy.write(&etag, &bytes)
    {
        tracing::warn!("{}: {error}; the tone is fetched anew each time", copy.0.display());
    }
    Ok(bytes)
}

fn client() -> Result<reqwest::Client, SourceError> {
    // Fails only when there is one already, which is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::limited(MOST_REDIRECTS))
        .no_proxy()
        .user_agent(concat!("nearend/", env!("CARGO_PKG_VERSION")));
    builder.build().map_err(link_error)
}

fn link_error(error: reqwest::Error) -> SourceError {
    if error.is_redirect() {
        return SourceError::Redirects;
    }
    if error.is_timeout() {
        return SourceError::Slow;
    }
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper; // the innermost says what happened
    }
    SourceError::Unreachable(cause.to_string())
}

/// The last copy of what a server gave: a line with its ETag, then the file. One for each URI.
struct Copy(PathBuf);

impl Copy {
    fn of(folder: &Path, url: &str) -> Copy {
        let name: String = Sha256::digest(url).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Copy(folder.join(name))
    }

    fn read(&self) -> Option<(String, Vec<u8>)> {
        let mut bytes = Vec::new();
        fs::File::open(&self.0).ok()?.take(MOST_BYTES + 1_024).read_to_end(&mut bytes).ok()?;
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let file = bytes.split_off(end + 1);
        bytes.pop();
        let etag = String::from_utf8(bytes).ok()?;
        etag.chars().all(|c| !c.is_control()).then_some((etag, file))
    }

    fn write(&self, etag: &str, bytes: &[u8]) -> io::Result<()> {
        if let Some(folder) = self.0.parent() {
            fs::create_dir_all(folder)?;
        }
        let temporary = self.0.with_extension("tmp");
        fs::write(&temporary, [etag.as_bytes(), b"\n", bytes].concat())?;
        fs::rename(&temporary, &self.0)
    }
}

#[cfg(test)]
mod tests;
