//! A folder of a WebDAV server as target (RFC 4918). An edge: it sends.
//!
//! A file goes to a temporary name (PUT), is read back there, because such a server tells no checksum, and gets its own name by a MOVE
//! that must not replace anything (`Overwrite: F`). The temporary name holds the beginning of the file's checksum, so that two boxes
//! that deliver the same call never write into each other's. Ranges are never sent: servers differ in what they make of them,
//! and some destroy the file. So a file that breaks off is sent again from its beginning.

use std::path::Path;
use std::sync::Arc;

use http::{HeaderValue, header};
use sha2::{Digest as _, Sha256};

use super::http::{Answer, Content, LinkError, Throttle};
use super::login::{Session, Settings, answered, link};
use super::source::Source;
use super::{Delivery, DeliveryError};
use crate::files::{self, Digest, hex};
use crate::model::recording::FileFact;

/// A folder, opened.
#[derive(Debug)]
pub struct WebDav {
    session: Session,
    url: String,
}

impl WebDav {
    /// Reads the password; connects with the first request.
    ///
    /// # Errors
    /// Password or certificates cannot be read.
    pub fn open(settings: &Settings, throttle: Throttle) -> Result<WebDav, DeliveryError> {
        let session = Session::open(settings, throttle)?;
        Ok(WebDav { session, url: settings.url.clone() })
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
            match self.session.request("MKCOL", &format!("{folder}/"), Vec::new(), Content::default()).await? {
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
        if let Err(answer) = self.session.request("PUT", &temporary, Vec::new(), source.into()).await? {
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
        match self.session.request("MOVE", &temporary, fields, Content::default()).await? {
            Ok(_) if self.has_length(&url, fact).await? => Ok(()),
            Ok(_) => Err(lied("MOVE", "the file is not there under its name")),
            // The name is taken, perhaps by a MOVE whose answer was lost, perhaps by the other box's.
            Err(Answer { status: 412, .. }) if self.is_there(&url, fact).await? => self.remove(&temporary).await,
            Err(answer) => Err(answered("MOVE", &temporary, answer)),
        }
    }

    async fn remove(&mut self, url: &str) -> Result<(), DeliveryError> {
        match self.session.request("DELETE", url, Vec::new(), Content::default()).await? {
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
        match self.session.request("HEAD", url, Vec::new(), Content::default()).await? {
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
        let answer = match self.session.request("GET", url, Vec::new(), Content::default()).await? {
            Ok(answer) => answer,
            Err(Answer { status: 404, .. }) => return Ok(None),
            Err(answer) => return Err(answered("GET", url, answer)),
        };
        let (mut bytes, mut sha256) = (0, Sha256::new());
        let count = |piece: &[u8]| {
            bytes += piece.len() as u64;
            sha256.update(piece);
        };
        self.session.receive(answer, count).await.map_err(|error| link("GET", url, error))?;
        Ok(Some(Digest { bytes, sha256: hex(&sha256.finalize()) }))
    }
}

fn is_same(found: &Digest, fact: &FileFact) -> bool {
    found.bytes == fact.bytes && found.sha256 == fact.sha256
}

/// A name as it stands in an address (RFC 3986 §2.3): names are made of unreserved signs and `%` already.
fn in_url(name: &str) -> String {
    name.replace('%', "%25")
}
