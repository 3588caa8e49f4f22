//! A folder of a WebDAV server as target (RFC 4918). An edge: it sends.
//!
//! A file goes to a temporary name (PUT), is read back there, because such a server tells no checksum, and gets its own name by a MOVE
//! that must not replace anything (`Overwrite: F`). The temporary name holds the beginning of the file's checksum, so that two boxes
//! that deliver the same call never write into each other's. Ranges are never sent: servers differ in what they make of them,
//! and some destroy the file. So a file that breaks off is sent again from its beginning.
//!
//! Logging in: Basic (RFC 7617) and Digest (RFC 7616), whatever the server asks for; nothing is told before it does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};
use http_auth::{PasswordClient, PasswordParams};
use sha2::{Digest as _, Sha256};

use super::http::{Access, Answer, Content, Http, LinkError, Throttle, secret};
use super::source::Source;
use super::{Delivery, DeliveryError};
use crate::files::{self, Digest, hex};
use crate::model::recording::FileFact;

/// How a folder is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `https://dav.example.com/calls`: a folder that exists, no `/` behind it.
    pub url: String,
    /// Who logs in, and the file of the password; none: nobody.
    pub login: Option<(String, PathBuf)>,
    /// Certificates and patience.
    pub access: Access,
}

/// A folder, opened.
#[derive(Debug)]
pub struct WebDav {
    http: Http,
    url: String,
    login: Option<Login>,
}

/// A user, and how the server wants to see it, once it has said so.
struct Login {
    user: String,
    password: String,
    scheme: Option<PasswordClient>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Login {
    fn read((user, password): &(String, PathBuf)) -> Result<Login, DeliveryError> {
        Ok(Login { user: user.clone(), password: secret(password)?, scheme: None })
    }

    /// Reads the challenges of a 401. False: there is none that we can answer.
    fn learn(&mut self, headers: &http::HeaderMap) -> bool {
        let challenges = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let known = challenges.fold(PasswordClient::builder(), http_auth::PasswordClientBuilder::challenges);
        self.scheme = known.build().ok();
        self.scheme.is_some()
    }

    /// The header `Authorization`; none before the server has asked for it.
    fn header(&mut self, method: &str, path: &str) -> Option<HeaderValue> {
        let asked = PasswordParams { username: &self.user, password: &self.password, uri: path, method, body: None };
        let mut value = HeaderValue::try_from(self.scheme.as_mut()?.respond(&asked).ok()?).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Fields beside those that every request has.
type Fields = Vec<(&'static str, HeaderValue)>;

impl WebDav {
    /// Reads the password; connects with the first request.
    ///
    /// # Errors
    /// Password or certificates cannot be read.
    pub fn open(settings: &Settings, throttle: Throttle) -> Result<WebDav, DeliveryError> {
        let login = settings.login.as_ref().map(Login::read).transpose()?;
        Ok(WebDav { http: Http::new(&settings.access, throttle)?, url: settings.url.clone(), login })
    }

    /// Delivers all files.
    ///
    /// # Errors
    /// See [`DeliveryError`]; what has arrived stays, the next try goes on from there.
    pub async fn deliver(&mut self, finished_dir: &Path, delivery: &Delivery) -> Result<(), DeliveryError> {
        let finished = finished_dir.join(&delivery.path);
        let folder = self.make_folder(&delivery.to).await?;
        for fact in &delivery.files {
            self.put(&finished, fact, &folder).await?;
        }
        Ok(())
    }

    /// Makes a folder, and those above it that are missing, but for the one of the configuration. As a rule it is one request.
    async fn make_folder(&mut self, path: &str) -> Result<String, DeliveryError> {
        let folders: Vec<String> = path
            .split('/')
            .scan(self.url.clone(), |url, part| {
                *url = format!("{url}/{}", in_url(part));
                Some(url.clone())
            })
            .collect();
        let mut missing = 1; // so many of them, counted from the last
        let mut last_answer = None;
        for _ in 0..2 * folders.len() {
            let Some(folder) = folders.len().checked_sub(missing).and_then(|at| folders.get(at)) else { break };
            match self.request("MKCOL", &format!("{folder}/"), Vec::new(), Content::default()).await? {
                // 405: it is there already (RFC 4918 §9.3.1).
                Ok(_) | Err(Answer { status: 405, .. }) if missing == 1 => return Ok(folder.clone()),
                Ok(_) | Err(Answer { status: 405, .. }) => missing -= 1,
                // 409: the one above it is missing; some servers say 404.
                Err(answer @ Answer { status: 404 | 409, .. }) => {
                    missing += 1;
                    last_answer = Some(answer);
                }
                Err(answer) => return Err(answered("MKCOL", folder, answer)),
            }
        }
        let answer = Answer { status: 404, is_place: true, ..last_answer.unwrap_or_default() };
        Err(answered("MKCOL", &self.url, answer))
    }

    async fn put(&mut self, finished: &Path, fact: &FileFact, folder: &str) -> Result<(), DeliveryError> {
        let url = format!("{folder}/{}", in_url(&fact.name));
        if self.is_there(&url, fact).await? {
            return Ok(());
        }
        let mark: String = fact.sha256.chars().take(8).collect();
        let temporary = format!("{folder}/{}", in_url(&files::temporary_name(&format!("{}.{mark}", fact.name))));
        let source = Arc::new(Source::open(finished, fact, u64::MAX)?);
        if let Err(answer) = self.request("PUT", &temporary, Vec::new(), source.into()).await? {
            return Err(answered("PUT", &temporary, answer));
        }
        let lied = |method: &str, found: &str| DeliveryError::Lied { what: format!("{method} {temporary}"), found: found.into() };
        match self.read_back(&temporary).await? {
            Some(found) if is_same(&found, fact) => {}
            Some(_) => return Err(lied("PUT", "it reads back differently")),
            None => return Err(lied("PUT", "it is not there")),
        }
        let destination = HeaderValue::from_str(&url).map_err(|error| link("MOVE", &url, LinkError::broken(&error)))?;
        let fields = vec![("destination", destination), ("overwrite", HeaderValue::from_static("F"))];
        match self.request("MOVE", &temporary, fields, Content::default()).await? {
            Ok(_) if self.has_length(&url, fact).await? => Ok(()),
            Ok(_) => Err(lied("MOVE", "the file is not there under its name")),
            // The name is taken, perhaps by a MOVE whose answer was lost, perhaps by the other box's.
            Err(Answer { status: 412, .. }) if self.is_there(&url, fact).await? => self.remove(&temporary).await,
            Err(answer) => Err(answered("MOVE", &temporary, answer)),
        }
    }

    async fn remove(&mut self, url: &str) -> Result<(), DeliveryError> {
        match self.request("DELETE", url, Vec::new(), Content::default()).await? {
            Ok(_) | Err(Answer { status: 404, .. }) => Ok(()),
            Err(answer) => Err(answered("DELETE", url, answer)),
        }
    }

    /// Whether the very file is there; another one is a conflict.
    async fn is_there(&mut self, url: &str, fact: &FileFact) -> Result<bool, DeliveryError> {
        match self.read_back(url).await? {
            None => Ok(false),
            Some(found) if is_same(&found, fact) => Ok(true),
            Some(_) => Err(DeliveryError::Conflict { path: url.into() }),
        }
    }

    /// Whether what was read back under another name is there. Servers that tell no length (some do not for an empty file) are
    /// asked for the content.
    async fn has_length(&mut self, url: &str, fact: &FileFact) -> Result<bool, DeliveryError> {
        match self.request("HEAD", url, Vec::new(), Content::default()).await? {
            Ok(answer) => match answer.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()) {
                Some(length) => Ok(length == fact.bytes.to_string()),
                None => self.is_there(url, fact).await,
            },
            Err(Answer { status: 404, .. }) => Ok(false),
            Err(answer) => Err(answered("HEAD", url, answer)),
        }
    }

    /// Length and checksum of what is there.
    async fn read_back(&mut self, url: &str) -> Result<Option<Digest>, DeliveryError> {
        let answer = match self.request("GET", url, Vec::new(), Content::default()).await? {
            Ok(answer) => answer,
            Err(Answer { status: 404, .. }) => return Ok(None),
            Err(answer) => return Err(answered("GET", url, answer)),
        };
        let (mut bytes, mut sha256) = (0, Sha256::new());
        let count = |piece: &[u8]| {
            bytes += piece.len() as u64;
            sha256.update(piece);
        };
        self.http.receive(answer, count).await.map_err(|error| link("GET", url, error))?;
        Ok(Some(Digest { bytes, sha256: hex(&sha256.finalize()) }))
    }

    /// Sends a request, a second time when the server wants to see a login, or one for a nonce that is not stale. A file
    /// is never sent first, so as a rule it goes once.
    async fn request(
        &mut self,
        method: &str,
        url: &str,
        fields: Fields,
        content: Content,
    ) -> Result<Result<reqwest::Response, Answer>, DeliveryError> {
        let mut answer = self.send(method, url, &fields, content.clone()).await?;
        let asks = answer.status() == StatusCode::UNAUTHORIZED;
        if asks && self.login.as_mut().is_some_and(|login| login.learn(answer.headers())) {
            self.http.receive(answer, |_| {}).await.map_err(|error| link(method, url, error))?;
            answer = self.send(method, url, &fields, content).await?;
        }
        if answer.status().is_success() {
            return Ok(Ok(answer));
        }
        let (status, headers) = (answer.status(), answer.headers().clone());
        self.http.receive(answer, |_| {}).await.map_err(|error| link(method, url, error))?;
        Ok(Err(Answer::read(status, &headers, b"")))
    }

    async fn send(
        &mut self,
        method: &str,
        url: &str,
        fields: &Fields,
        content: Content,
    ) -> Result<reqwest::Response, DeliveryError> {
        let broken = |error: &dyn std::error::Error| link(method, url, LinkError::broken(error));
        let mut request = http::Request::new(content);
        *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(|error| broken(&error))?;
        *request.uri_mut() = url.parse().map_err(|error: http::uri::InvalidUri| broken(&error))?;
        for (name, value) in fields {
            request.headers_mut().insert(*name, value.clone());
        }
        let path = request.uri().path().to_owned();
        if let Some(value) = self.login.as_mut().and_then(|login| login.header(method, &path)) {
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        self.http.send(request).await.map_err(|error| link(method, url, error))
    }
}

fn is_same(found: &Digest, fact: &FileFact) -> bool {
    found.bytes == fact.bytes && found.sha256 == fact.sha256
}

fn answered(method: &str, url: &str, answer: Answer) -> DeliveryError {
    DeliveryError::Answered { what: format!("{method} {url}"), answer }
}

fn link(method: &str, url: &str, error: LinkError) -> DeliveryError {
    DeliveryError::Link { what: format!("{method} {url}"), error }
}

/// A name as it stands in an address (RFC 3986 §2.3): names are made of unreserved signs and `%` already.
fn in_url(name: &str) -> String {
    name.replace('%', "%25")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(challenges: &[&'static str]) -> (bool, Login) {
        let mut login = Login { user: "Aladdin".into(), password: "open sesame".into(), scheme: None };
        assert_eq!(login.header("GET", "/"), None, "nothing is told before it is asked for");
        let headers = challenges.iter().map(|text| (header::WWW_AUTHENTICATE, HeaderValue::from_static(text))).collect();
        (login.learn(&headers), login)
    }

    #[test]
    fn the_safer_of_the_schemes_is_used() {
        let (known, mut basic) = login(&["Negotiate", "Basic realm=\"WallyWorld\""]);
        assert!(known);
        assert_eq!(basic.header("GET", "/").unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="); // RFC 7617 §2
        let (known, mut digest) = login(&["Basic realm=\"x\"", "Digest realm=\"x\", qop=\"auth\", nonce=\"1\""]);
        assert!(known);
        let first = digest.header("PUT", "/a%2520b").unwrap();
        let first = first.to_str().unwrap();
        assert!(first.starts_with("Digest ") && first.contains("uri=\"/a%2520b\"") && first.contains("nc=00000001"), "{first}");
        assert!(digest.header("PUT", "/").unwrap().to_str().unwrap().contains("nc=00000002"));
    }

    #[test]
    fn what_cannot_be_answered_is_no_login() {
        for challenges in [&[][..], &["Negotiate"], &["Digest realm=\""], &["Digest nonce=\"x\", algorithm=unheard-of"]] {
            assert!(!login(challenges).0, "{challenges:?}");
        }
    }
}
