//! Resolves `[web]`: where page and API are, and how they are encrypted.

use serde::Serialize;

use super::diagnostic::Findings;
use super::file;
use super::resolve::{WEB_LISTEN, given, span_of};
use super::typed::Web;
use super::value::Value;

/// How the page is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PageTls {
    /// Not at all.
    None,
    /// By a certificate that the box makes.
    Generated,
    /// By one of the operator.
    Own,
}

impl Value for PageTls {
    fn read(text: &str) -> Result<PageTls, String> {
        match text {
            "none" => Ok(PageTls::None),
            "generated" => Ok(PageTls::Generated),
            "own" => Ok(PageTls::Own),
            _ => Err(format!("{text:?} is not known; expected \"generated\", \"own\" or \"none\"")),
        }
    }
}

pub(super) fn web(file: &file::Web, findings: &mut Findings) -> Web {
    let listen = given(&file.listen).unwrap_or(WEB_LISTEN);
    let has_files = file.cert_file.is_some() || file.key_file.is_some();
    let usual = match listen.ip().is_loopback() {
        _ if has_files => PageTls::Own,
        true => PageTls::None,
        false => PageTls::Generated,
    };
    let tls = given(&file.tls).unwrap_or(usual);
    let span =
        [span_of(&file.tls), span_of(&file.cert_file), span_of(&file.key_file)].into_iter().flatten().next().unwrap_or_default();
    if tls == PageTls::Own && (file.cert_file.is_none() || file.key_file.is_none()) {
        findings.error(span, "[web]", "has no certificate of its own; expected both cert_file and key_file");
    } else if tls != PageTls::Own && has_files {
        findings.error(span, "[web] tls", "does not go with cert_file and key_file; expected \"own\", or neither of them");
    } else if tls == PageTls::None && !listen.ip().is_loopback() {
        let message = "leaves passwords and calls readable on the way; expected \"generated\" or \"own\" beside an address that is not loopback";
        findings.warning(span, "[web] tls", message);
    }
    Web { listen, tls, cert_file: given(&file.cert_file), key_file: given(&file.key_file) }
}
