//! Tells an archive of a recording that has arrived: its `recording.json` by POST, as the recording processor of the data centre takes it
//! (`…/api/contact-centers/{ccid}/recordings`). An edge: it sends.

use std::path::Path;
use std::sync::Arc;

use http::{HeaderValue, header};

use super::http::{Answer, Throttle};
use super::login::{Session, Settings, answered};
use super::source::Source;
use super::{COMPLETE, Delivery, DeliveryError};

/// The archive's address, opened.
#[derive(Debug)]
pub struct Metadata {
    session: Session,
    url: String,
}

impl Metadata {
    /// Reads the password; connects with the first request.
    ///
    /// # Errors
    /// Password or certificates cannot be read.
    pub fn open(settings: &Settings, throttle: Throttle) -> Result<Metadata, DeliveryError> {
        let session = Session::open(settings, throttle)?;
        Ok(Metadata { session, url: settings.url.clone() })
    }

    /// Tells of a recording all of whose files are there. It may be told twice: when the box is killed between answer and ledger.
    ///
    /// # Errors
    /// See [`DeliveryError`].
    pub async fn tell(&mut self, finished_dir: &Path, delivery: &Delivery) -> Result<(), DeliveryError> {
        let Some(fact) = delivery.files.iter().find(|file| file.name == COMPLETE) else { return Ok(()) };
        let source = Arc::new(Source::open(&finished_dir.join(&delivery.path), fact, u64::MAX)?);
        let fields = vec![(header::CONTENT_TYPE.as_str(), HeaderValue::from_static("application/json"))];
        match self.session.request("POST", &self.url, fields, source.into()).await? {
            // 409: it has been told before.
            Ok(_) | Err(Answer { status: 409, .. }) => Ok(()),
            // Nobody takes recordings at this address.
            Err(answer @ Answer { status: 404 | 410, .. }) => {
                Err(answered("POST", &self.url, Answer { status: 404, is_place: true, ..answer }))
            }
            Err(answer) => Err(answered("POST", &self.url, answer)),
        }
    }
}
