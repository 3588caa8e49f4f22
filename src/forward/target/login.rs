//! Requests to a server that may want to see a login: Basic (RFC 7617) or Digest (RFC 7616), whatever it asks for; nothing is told before
//! it does. An edge: it sends.

use std::path::PathBuf;

use http::{HeaderValue, Method, StatusCode, header};
use http_auth::{PasswordClient, PasswordParams};

use super::DeliveryError;
use super::http::{Access, Answer, Content, Http, LinkError, Throttle, secret};

/// An address over HTTP, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The whole address, no `/` behind it.
    pub url: String,
    /// Who logs in, and the file of the password; none: nobody.
    pub login: Option<(String, PathBuf)>,
    /// Certificates and patience.
    pub access: Access,
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
pub(super) type Fields = Vec<(&'static str, HeaderValue)>;

/// A server, and who logs in there.
#[derive(Debug)]
pub(super) struct Session {
    http: Http,
    login: Option<Login>,
}

impl Session {
    /// Reads the password; connects with the first request.
    pub(super) fn open(settings: &Settings, throttle: Throttle) -> Result<Session, DeliveryError> {
        let login = settings.login.as_ref().map(Login::read).transpose()?;
        Ok(Session { http: Http::new(&settings.access, throttle)?, login })
    }

    /// Reads the body of an answer piece by piece.
    pub(super) async fn receive(&self, answer: reqwest::Response, piece: impl FnMut(&[u8])) -> Result<(), LinkError> {
        self.http.receive(answer, piece).await
    }

    /// Sends a request, a second time when the server wants to see a login, or one for a nonce that is not stale. A file
    /// is never sent first, so as a rule it goes once.
    pub(super) async fn request(
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

pub(super) fn answered(method: &str, url: &str, answer: Answer) -> DeliveryError {
    DeliveryError::Answered { what: format!("{method} {url}"), answer }
}

pub(super) fn link(method: &str, url: &str, error: LinkError) -> DeliveryError {
    DeliveryError::Link { what: format!("{method} {url}"), error }
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
