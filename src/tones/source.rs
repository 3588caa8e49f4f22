//! Custom tones: where an `audiosrc` leads, what it may take, and what is to be said when it gives no tone. Pure; fetching is
//! [`driver`](super::driver)'s.

use serde::Serialize;
use thiserror::Error;

use super::audio::{self, AudioError};

/// A tone is at most this large …
pub const MOST_BYTES: u64 = 8 << 20;

/// … and this long …
pub const MOST_SECONDS: u32 = 60;

/// … and is there after this long.
pub const MOST_WAIT_S: u64 = 10;

/// So often it may be said to be somewhere else.
pub const MOST_REDIRECTS: usize = 5;

/// Where a URI leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// To a web server; the URI.
    Web(String),
    /// To a file of this machine; its absolute path.
    File(String),
}

impl Place {
    /// Reads `http://…`, `https://…` and `file:///…` (RFC 3986, RFC 8089).
    ///
    /// # Errors
    /// It is another kind of URI, or none.
    pub fn read(uri: &str) -> Result<Place, SourceError> {
        let bad = |expected: &'static str| SourceError::BadUri(expected);
        let uri = uri.trim();
        if uri.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(bad("no blanks in it"));
        }
        let (scheme, rest) = uri.split_once("://").ok_or_else(|| bad("http://…, https://… or file:///…"))?;
        match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" if rest.split('/').next().is_some_and(|host| host.contains('@')) => {
                Err(bad("no user and password in it"))
            }
            "http" | "https" if rest.starts_with(|c: char| c.is_alphanumeric() || c == '[') => Ok(Place::Web(uri.to_owned())),
            "http" | "https" => Err(bad("the name of a host behind ://")),
            "file" => {
                let path = rest.strip_prefix("localhost").unwrap_or(rest);
                let path = decoded(path).filter(|path| path.starts_with('/') && !path.contains('\0'));
                Ok(Place::File(path.ok_or_else(|| bad("an absolute path: file:///path"))?))
            }
            _ => Err(bad("http://…, https://… or file:///…")),
        }
    }
}

/// `%41` is `A`; none: a `%` without two digits, or no UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok().filter(|d| d.bytes().all(|d| d.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Why a URI gives no tone.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SourceError {
    /// It cannot be read.
    #[error("it is no URI of a tone; expected {0}")]
    BadUri(&'static str),
    /// The server, or the file system, knows nothing there.
    #[error("nothing is there ({0}); correct the address, or put the tone there")]
    NotFound(String),
    /// The server answers with another status than 200.
    #[error("the server answers {0}; expected 200 with the tone")]
    Status(u16),
    /// It is too large.
    #[error("it is larger than {} MiB; expected a tone of a few seconds", MOST_BYTES >> 20)]
    TooLarge,
    /// It is no audio, or more than a tone.
    #[error("it is no tone: {0}")]
    NotAudio(AudioError),
    /// One address leads to the next.
    #[error(
        "it leads from address to address, more than {MOST_REDIRECTS} times; name the last one, or end the loop at the server"
    )]
    Redirects,
    /// It takes too long.
    #[error("it was not there within {MOST_WAIT_S} s; a media server does not wait either: look at the server and the way to it")]
    Slow,
    /// The server cannot be reached, or breaks off.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(String),
}

/// What is shown of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It gives a tone.
    Usable,
    /// [`SourceError::BadUri`]
    BadUri,
    /// [`SourceError::NotFound`]
    NotFound,
    /// [`SourceError::Status`]
    Refused,
    /// [`SourceError::TooLarge`]
    TooLarge,
    /// [`SourceError::NotAudio`]
    NotAudio,
    /// [`SourceError::Redirects`]
    RedirectLoop,
    /// [`SourceError::Slow`]
    Slow,
    /// [`SourceError::Unreachable`]
    Unreachable,
    /// [`SourceError::Unreadable`]
    Unreadable,
}

impl State {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            State::Usable => "usable",
            State::BadUri => "bad-uri",
            State::NotFound => "not-found",
            State::Refused => "refused",
            State::TooLarge => "too-large",
            State::NotAudio => "not-audio",
            State::RedirectLoop => "redirect-loop",
            State::Slow => "slow",
            State::Unreachable => "unreachable",
            State::Unreadable => "unreadable",
        }
    }
}

impl SourceError {
    /// What is shown of it.
    pub fn state(&self) -> State {
        match self {
            SourceError::BadUri(_) => State::BadUri,
            SourceError::NotFound(_) => State::NotFound,
            SourceError::Status(_) => State::Refused,
            SourceError::TooLarge => State::TooLarge,
            SourceError::NotAudio(_) => State::NotAudio,
            SourceError::Redirects => State::RedirectLoop,
            SourceError::Slow => State::Slow,
            SourceError::Unreachable(_) => State::Unreachable,
            SourceError::Unreadable(_) => State::Unreadable,
        }
    }
}

/// The tone in the bytes of a file: one channel of 8 kHz at the scale of 16 bits.
///
/// # Errors
/// It is no audio, empty, or too long.
pub fn tone_of(file: &[u8]) -> Result<Vec<f32>, SourceError> {
    audio::load(file, MOST_SECONDS).map_err(SourceError::NotAudio)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_leads_to_a_server_a_file_or_nowhere() {
        let web = |uri: &str| Ok(Place::Web(uri.into()));
        assert_eq!(Place::read(" https://tones.example/us.wav "), web("https://tones.example/us.wav"));
        assert_eq!(Place::read("http://[::1]:80/a"), web("http://[::1]:80/a"));
        assert_eq!(Place::read("file:///opt/a%20tone.wav"), Ok(Place::File("/opt/a tone.wav".into())));
        assert_eq!(Place::read("file://localhost/a.wav"), Ok(Place::File("/a.wav".into())));
        for uri in [
            "",
            "us.wav",
            "ftp://host/a",
            "http://",
            "file://other/a",
            "file:///%",
            "file:///%+1",
            "file:///%00",
            "http://a b/",
            "http://me:secret@host/",
        ] {
            assert_eq!(Place::read(uri).unwrap_err().state(), State::BadUri, "{uri}");
        }
    }

    #[test]
    fn what_is_no_tone_says_why() {
        assert_eq!(tone_of(b"<html>").unwrap_err().state(), State::NotAudio);
        let wav = audio::wav_bytes(&vec![0; 8_000 * 61]);
        assert!(tone_of(&wav).unwrap_err().to_string().contains("longer than 60 s"));
        assert_eq!(tone_of(&audio::wav_bytes(&[1; 80])).unwrap().len(), 80);
        assert_eq!(serde_json::to_value(State::RedirectLoop).unwrap(), State::RedirectLoop.name());
    }
}
