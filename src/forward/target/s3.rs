//! A bucket of an S3 server as target. An edge: it sends.
//!
//! A small file goes in one request, a larger one in parts whose upload survives a restart. Nothing is overwritten: it is
//! looked first, and every request that makes a name says `If-None-Match: *`, which servers that know it obey. A file counts as arrived
//! when the server tells its length and its MD5 (the ETag of a plain bucket); where the ETag is something else, as with
//! encryption by a key of the server, the file is read back.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;
use object_store::{ClientOptions, GetOptions, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, RetryConfig};
use sha2::{Digest as _, Sha256};

use super::http::{Access, Answer, Http, LinkError, Throttle, secret};
use super::source::Source;
use super::uploads::{Upload, Uploads};
use super::{Delivery, DeliveryError};
use crate::files::hex;
use crate::model::recording::FileFact;

/// How a bucket is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `https://s3.example.com`, without bucket.
    pub endpoint: String,
    /// Name of the bucket.
    pub bucket: String,
    /// Its region; servers of one's own often do not care.
    pub region: String,
    /// Before every name; empty, or with a `/` at its end.
    pub prefix: String,
    /// `https://bucket.s3.example.com/…` instead of `https://s3.example.com/bucket/…`.
    pub virtual_host: bool,
    /// File of the access key id.
    pub access_key_file: PathBuf,
    /// File of the secret access key.
    pub secret_key_file: PathBuf,
    /// Larger files go in parts of this length.
    pub part_bytes: u64,
    /// Certificates and patience.
    pub access: Access,
    /// Where uploads that are under way are remembered.
    pub uploads_dir: PathBuf,
}

impl Settings {
    /// The address that requests go to: a bucket as virtual host is a part of it.
    fn address(&self) -> String {
        match self.endpoint.split_once("://") {
            Some((scheme, host)) if self.virtual_host => format!("{scheme}://{}.{host}", self.bucket),
            _ => self.endpoint.clone(),
        }
    }
}

/// A bucket, opened.
#[derive(Debug)]
pub struct S3 {
    store: AmazonS3,
    settings: Settings,
    uploads: Uploads,
    /// How the request at work failed.
    failure: Failure,
}

impl S3 {
    /// Reads the keys; connects with the first request.
    ///
    /// # Errors
    /// A key or a certificate cannot be read.
    pub fn open(settings: &Settings, throttle: Throttle) -> Result<S3, DeliveryError> {
        let failure = Failure::default();
        let http = Http::new(&settings.access, throttle)?;
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() }; // the queue tries again, and others meanwhile
        let builder = AmazonS3Builder::new()
            .with_endpoint(settings.address())
            .with_bucket_name(&settings.bucket)
            .with_region(&settings.region)
            .with_virtual_hosted_style_request(settings.virtual_host)
            .with_access_key_id(secret(&settings.access_key_file)?)
            .with_secret_access_key(secret(&settings.secret_key_file)?)
            .with_allow_http(true) // which scheme is right was decided by whoever wrote the endpoint
            .with_retry(retry)
            .with_http_connector(Connector(Service { http, failure: failure.clone() }));
        let link = |error| DeliveryError::Link { what: settings.endpoint.clone(), error: LinkError::broken(&error) };
        let store = builder.build().map_err(link)?;
        Ok(S3 { store, settings: settings.clone(), uploads: Uploads::new(settings.uploads_dir.clone()), failure })
    }

    /// Delivers all files.
    ///
    /// # Errors
    /// See [`DeliveryError`]; what has arrived stays, the next try goes on from there.
    pub async fn deliver(&self, finished_dir: &Path, delivery: &Delivery) -> Result<(), DeliveryError> {
        let finished = finished_dir.join(&delivery.path);
        for fact in &delivery.files {
            let name = format!("{}{}/{}", self.settings.prefix, delivery.to, fact.name);
            let key = Key::parse(&name).map_err(|_| DeliveryError::Conflict { path: name.into() })?;
            self.put(&finished, fact, &key).await?;
        }
        Ok(())
    }

    async fn put(&self, finished: &Path, fact: &FileFact, key: &Key) -> Result<(), DeliveryError> {
        let source = Source::open(finished, fact, self.settings.part_bytes)?;
        if self.is_there(key, fact, &source).await?.is_none() {
            let sent = match source.bytes <= self.settings.part_bytes {
                true => self.put_whole(key, &source).await,
                false => self.put_parts(key, fact, &source).await,
            };
            // An earlier request may have arrived although its answer did not: what is there decides.
            let taken = sent.as_ref().err().is_some_and(is_taken);
            if !taken {
                sent?;
            }
            let nothing = || DeliveryError::Lied { what: self.shown("PUT", key), found: "it is not there".into() };
            self.is_there(key, fact, &source).await?.ok_or_else(nothing)?;
        }
        self.uploads.forget(key.as_ref());
        Ok(())
    }

    /// Whether the very file is there; another one is a conflict.
    async fn is_there(&self, key: &Key, fact: &FileFact, source: &Source) -> Result<Option<()>, DeliveryError> {
        let meta = match self.store.head(key).await {
            Ok(meta) => meta,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed("HEAD", key, &error)),
        };
        let conflict = || DeliveryError::Conflict { path: self.shown("", key).into() };
        if meta.size != fact.bytes {
            return Err(conflict());
        }
        let etag = meta.e_tag.as_deref().unwrap_or("").trim_start_matches("W/").trim_matches('"');
        if etag == source.md5.whole || etag == source.md5.of_parts {
            return Ok(Some(()));
        }
        match self.read_back(key).await? == fact.sha256 {
            true => Ok(Some(())),
            false => Err(conflict()),
        }
    }

    /// SHA-256 of what is there.
    async fn read_back(&self, key: &Key) -> Result<String, DeliveryError> {
        let answer = self.store.get_opts(key, GetOptions::default()).await.map_err(|error| self.failed("GET", key, &error))?;
        let mut stream = answer.into_stream();
        let mut sha256 = Sha256::new();
        let patience = self.settings.access.timeout;
        let stalled = |_| DeliveryError::Link { what: self.shown("GET", key), error: LinkError::stalled(patience) };
        while let Some(piece) = tokio::time::timeout(patience, stream.next()).await.map_err(stalled)? {
            sha256.update(piece.map_err(|error| self.failed("GET", key, &error))?);
        }
        Ok(hex(&sha256.finalize()))
    }

    async fn put_whole(&self, key: &Key, source: &Source) -> Result<(), DeliveryError> {
        let bytes = source.read(0, source.bytes)?;
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.store.put_opts(key, bytes.into(), create).await.map_err(|error| self.failed("PUT", key, &error))?;
        Ok(())
    }

    /// Sends the parts that the server does not have, and has it join them.
    async fn put_parts(&self, key: &Key, fact: &FileFact, source: &Source) -> Result<(), DeliveryError> {
        let mut upload = self.begin(key, fact).await?;
        let keep = |upload: &Upload| {
            let error = |error| DeliveryError::Write { path: self.settings.uploads_dir.clone(), error };
            self.uploads.keep(upload).map_err(error)
        };
        keep(&upload)?;
        let count = usize::try_from(source.bytes.div_ceil(upload.part_bytes)).unwrap_or(usize::MAX);
        for no in upload.parts.len()..count {
            let bytes = source.read(no as u64 * upload.part_bytes, upload.part_bytes)?;
            let part = self.store.put_part(key, &upload.id, no, bytes.into()).await;
            upload.parts.push(part.map_err(|error| self.lost(key, "PUT part", &error))?.content_id);
            keep(&upload)?;
        }
        let parts = upload.parts.iter().map(|part| PartId { content_id: part.clone() }).collect();
        self.store.complete_multipart(key, &upload.id, parts).await.map_err(|error| self.lost(key, "POST", &error))?;
        Ok(())
    }

    /// The upload that was begun before a restart, or a new one.
    async fn begin(&self, key: &Key, fact: &FileFact) -> Result<Upload, DeliveryError> {
        let part_bytes = self.settings.part_bytes;
        if let Some(upload) = self.uploads.find(key.as_ref(), &fact.sha256, part_bytes) {
            tracing::debug!(key = key.as_ref(), parts = upload.parts.len(), "the upload goes on");
            return Ok(upload);
        }
        let id = self.store.create_multipart(key).await.map_err(|error| self.failed("POST", key, &error))?;
        Ok(Upload { key: key.to_string(), sha256: fact.sha256.clone(), id, part_bytes, parts: Vec::new() })
    }

    /// A failure within an upload: one that the server no longer knows, or whose parts it refuses, is begun anew by the next try.
    fn lost(&self, key: &Key, method: &str, error: &object_store::Error) -> DeliveryError {
        let failed = self.failed(method, key, error);
        if let DeliveryError::Answered { answer, .. } = &failed
            && matches!(answer.status, 400 | 404)
            && !answer.is_place
        {
            self.uploads.forget(key.as_ref());
        }
        failed
    }

    fn failed(&self, method: &str, key: &Key, error: &object_store::Error) -> DeliveryError {
        let what = self.shown(method, key);
        match self.failure.take() {
            Some(Why::Answer(answer)) => DeliveryError::Answered { what, answer },
            Some(Why::Link(error)) => DeliveryError::Link { what, error },
            None => DeliveryError::Link { what, error: LinkError::broken(error) },
        }
    }

    fn shown(&self, method: &str, key: &Key) -> String {
        format!("{method} {}/{}/{key}", self.settings.endpoint, self.settings.bucket).trim_start().to_owned()
    }
}

/// 409 and 412: somebody has that name, perhaps we.
fn is_taken(error: &DeliveryError) -> bool {
    matches!(error, DeliveryError::Answered { answer, .. } if matches!(answer.status, 409 | 412))
}

/// Why a request failed: object_store's own errors tell it only as text.
#[derive(Debug)]
enum Why {
    Answer(Answer),
    Link(LinkError),
}

#[derive(Clone, Debug, Default)]
struct Failure(Arc<Mutex<Option<Why>>>);

impl Failure {
    fn set(&self, why: Option<Why>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why; // a whole value: never half-changed
    }

    fn take(&self) -> Option<Why> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Hands object_store's requests to our [`Http`].
#[derive(Clone, Debug)]
struct Service {
    http: Http,
    failure: Failure,
}

#[derive(Debug)]
struct Connector(Service);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

/// What is read of an answer that is no success.
const MOST_ANSWER_BYTES: usize = 64 << 10;

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.failure.set(None);
        let request = prepared(request).await?;
        let answer = self.http.send(request).await.map_err(|error| self.broken(error))?;
        let status = answer.status();
        if status.is_success() {
            let (head, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
            let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error));
            return Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)));
        }
        let mut head = http::Response::new(());
        (*head.status_mut(), *head.headers_mut()) = (status, answer.headers().clone());
        let mut body = BytesMut::new();
        let keep = |piece: &[u8]| body.extend_from_slice(&piece[..piece.len().min(MOST_ANSWER_BYTES.saturating_sub(body.len()))]);
        self.http.receive(answer, keep).await.map_err(|error| self.broken(error))?;
        self.failure.set(Some(Why::Answer(Answer::read(status, head.headers(), &body))));
        Ok(head.map(|()| HttpResponseBody::from(body.freeze())))
    }
}

impl Service {
    fn broken(&self, error: LinkError) -> HttpError {
        let told = HttpError::new_boxed(HttpErrorKind::Unknown, error.to_string().into());
        self.failure.set(Some(Why::Link(error)));
        told
    }
}

/// The request with its body in one piece. The one that joins an upload's parts must not replace a file either; object_store has no
/// way to ask for that, and the header need not be signed (AWS Signature Version 4: `host` and `x-amz-*` must).
async fn prepared(request: HttpRequest) -> Result<http::Request<Bytes>, HttpError> {
    let (mut head, body): (_, HttpRequestBody) = request.into_parts();
    let joins = head.method == http::Method::POST && head.uri.query().is_some_and(|query| query.contains("uploadId="));
    if joins {
        head.headers.insert(http::header::IF_NONE_MATCH, http::HeaderValue::from_static("*"));
    }
    Ok(http::Request::from_parts(head, body.collect().await?.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_request_that_joins_parts_gets_a_condition() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let condition = |method: &str, uri: &str| {
            let request = http::Request::builder().method(method).uri(uri).body(HttpRequestBody::empty()).unwrap();
            runtime.block_on(prepared(request)).unwrap().headers().contains_key("if-none-match")
        };
        assert!(condition("POST", "http://h/b/k?uploadId=1"));
        assert!(!condition("POST", "http://h/b/k?uploads="));
        assert!(!condition("PUT", "http://h/b/k?partNumber=1&uploadId=1"));
    }
}
