//! Resolves `[[target]]` and `[forward]`: which keys a kind of target needs, which it has not, and what they say together.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::diagnostic::Findings;
use super::file;
use super::resolve::{given, items, span_of};
use super::typed::{Access, Forward, Metadata, Place, S3, Site, Target, WebDav};
use super::wan::{Kind, Url};

const REGION: &str = "us-east-1";
const TIMEOUT: Duration = Duration::from_secs(60);
/// The least that AWS and most others take for a part that is not the last.
const PART_BYTES: u64 = 5 << 20;
/// A part is in memory while it is sent.
const PART_RANGE: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 20;

pub(super) fn forward(file: &file::Forward, findings: &mut Findings) -> Forward {
    if let (Some(zone), None) = (&file.time_zone, &file.windows) {
        findings.warning(zone.span(), "[forward] time_zone", "says nothing without windows");
    }
    Forward {
        deliver: given(&file.deliver).unwrap_or_default(),
        rate: given(&file.rate),
        windows: file.windows.as_ref().map_or_else(Vec::new, items),
        time_zone: given(&file.time_zone),
    }
}

pub(super) fn targets(file: Vec<Spanned<file::Target>>, site: &Site, findings: &mut Findings) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for entry in file {
        let span = entry.span();
        let entry = entry.into_inner();
        let (Some(name), Some(kind)) = (given(&entry.name), given(&entry.kind)) else {
            let missing = missing(&[("name", entry.name.is_none()), ("kind", entry.kind.is_none())]);
            let message = format!("has no {missing}; expected name = \"…\" and kind = \"dir\", \"s3\" or \"webdav\"");
            findings.error(span, "[[target]]", message);
            continue;
        };
        check_keys(&entry, kind, findings);
        if let Some(place) = place(&entry, kind, span, findings) {
            let target = Target { name, place, metadata: metadata(&entry, kind, findings) };
            check_target(&target, &targets, &entry, site, findings);
            targets.push(target);
        }
    }
    targets
}

fn missing(keys: &[(&str, bool)]) -> String {
    keys.iter().filter(|(_, missing)| *missing).map(|(key, _)| *key).collect::<Vec<_>>().join(", no ")
}

/// A key, where it stands, and the kinds that have it.
type OwnKey<'a> = (&'a str, Option<Range<usize>>, &'a [Kind]);

/// A key that its kind does not have was meant for something.
fn check_keys(file: &file::Target, kind: Kind, findings: &mut Findings) {
    let keys: [OwnKey; 14] = [
        ("path", span_of(&file.path), &[Kind::Dir]),
        ("endpoint", span_of(&file.endpoint), &[Kind::S3]),
        ("bucket", span_of(&file.bucket), &[Kind::S3]),
        ("region", span_of(&file.region), &[Kind::S3]),
        ("prefix", span_of(&file.prefix), &[Kind::S3]),
        ("addressing", span_of(&file.addressing), &[Kind::S3]),
        ("access_key_file", span_of(&file.access_key_file), &[Kind::S3]),
        ("secret_key_file", span_of(&file.secret_key_file), &[Kind::S3]),
        ("part_bytes", span_of(&file.part_bytes), &[Kind::S3]),
        ("url", span_of(&file.url), &[Kind::WebDav]),
        ("user", span_of(&file.user), &[Kind::WebDav]),
        ("password_file", span_of(&file.password_file), &[Kind::WebDav]),
        ("ca_file", span_of(&file.ca_file), &[Kind::S3, Kind::WebDav]),
        ("timeout", span_of(&file.timeout), &[Kind::S3, Kind::WebDav]),
    ];
    for (name, span, kinds) in &keys {
        if let Some(span) = span.clone().filter(|_| !kinds.contains(&kind)) {
            let known: Vec<&str> = keys.iter().filter(|(_, _, kinds)| kinds.contains(&kind)).map(|(name, ..)| *name).collect();
            let message = format!("is no key of this kind of target; expected name, kind, {}", known.join(", "));
            findings.error(span, format!("[[target]] {name}"), message);
        }
    }
}

fn place(file: &file::Target, kind: Kind, span: Range<usize>, findings: &mut Findings) -> Option<Place> {
    match kind {
        Kind::Dir => {
            let path = given(&file.path);
            if path.is_none() {
                findings.error(span, "[[target]]", "has no path; expected path = \"/…\" for kind = \"dir\"");
            }
            path.map(|path| Place::Dir { path })
        }
        Kind::S3 => s3(file, span, findings).map(|s3| Place::S3(Box::new(s3))),
        Kind::WebDav => webdav(file, span, findings).map(Place::WebDav),
    }
}

fn metadata(file: &file::Target, kind: Kind, findings: &mut Findings) -> Option<Metadata> {
    let (user, password_file) = (given(&file.metadata_user), given(&file.metadata_password_file));
    let Some(url) = given(&file.metadata_url) else {
        if let Some(span) = span_of(&file.metadata_user).or_else(|| span_of(&file.metadata_password_file)) {
            findings.error(
                span,
                "[[target]]",
                "has no metadata_url, so that nobody logs in; expected metadata_url = \"https://…\" as well",
            );
        }
        return None;
    };
    warn_of_open(&url, span_of(&file.metadata_url), "[[target]] metadata_url", findings);
    if user.is_some() != password_file.is_some() {
        let span = span_of(&file.metadata_user).or_else(|| span_of(&file.metadata_password_file)).unwrap_or_default();
        findings.error(span, "[[target]]", "has only one of metadata_user and metadata_password_file; expected both, or none");
    }
    let access = match kind {
        Kind::Dir => Access { ca_file: None, timeout: TIMEOUT },
        Kind::S3 | Kind::WebDav => Access { ca_file: given(&file.ca_file), timeout: given(&file.timeout).unwrap_or(TIMEOUT) },
    };
    Some(Metadata { url, user, password_file, access })
}

fn webdav(file: &file::Target, span: Range<usize>, findings: &mut Findings) -> Option<WebDav> {
    let Some(url) = given(&file.url) else {
        findings.error(span, "[[target]]", "has no url; expected url = \"https://…\" for kind = \"webdav\"");
        return None;
    };
    warn_of_open(&url, span_of(&file.url), "[[target]] url", findings);
    let (user, password_file) = (given(&file.user), given(&file.password_file));
    if user.is_some() != password_file.is_some() {
        findings.error(span, "[[target]]", "has only one of user and password_file; expected both, or none");
    }
    if user.as_ref().is_some_and(|user| user.contains(':')) {
        let message = "holds a \":\", which HTTP cannot send (RFC 7617); expected a name without";
        findings.error(span_of(&file.user).unwrap_or_default(), "[[target]] user", message);
    }
    Some(WebDav { url, user, password_file, access: access(file, findings) })
}

fn s3(file: &file::Target, span: Range<usize>, findings: &mut Findings) -> Option<S3> {
    let (endpoint, bucket) = (given(&file.endpoint), given(&file.bucket));
    let (access_key, secret_key) = (given(&file.access_key_file), given(&file.secret_key_file));
    let (Some(endpoint), Some(bucket), Some(access_key_file), Some(secret_key_file)) =
        (&endpoint, &bucket, &access_key, &secret_key)
    else {
        let missing = missing(&[
            ("endpoint", endpoint.is_none()),
            ("bucket", bucket.is_none()),
            ("access_key_file", access_key.is_none()),
            ("secret_key_file", secret_key.is_none()),
        ]);
        let message = format!(
            "has no {missing}; expected for kind = \"s3\" endpoint = \"https://…\", bucket, access_key_file and secret_key_file"
        );
        findings.error(span, "[[target]]", message);
        return None;
    };
    check_s3(file, bucket, findings);
    warn_of_open(endpoint, span_of(&file.endpoint), "[[target]] endpoint", findings);
    Some(S3 {
        endpoint: endpoint.clone(),
        bucket: bucket.clone(),
        region: given(&file.region).unwrap_or_else(|| REGION.into()),
        prefix: given(&file.prefix).map(|prefix| prefix.trim_matches('/').to_owned()).filter(|prefix| !prefix.is_empty()),
        addressing: given(&file.addressing).unwrap_or_default(),
        access_key_file: access_key_file.clone(),
        secret_key_file: secret_key_file.clone(),
        part_bytes: file.part_bytes.as_ref().map_or(PART_BYTES, |size| size.get_ref().0.0),
        access: access(file, findings),
    })
}

fn check_s3(file: &file::Target, bucket: &str, findings: &mut Findings) {
    if !bucket.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) || bucket.len() > 63 {
        let message = format!("{bucket:?} is no name of a bucket; expected letters, digits, \"-\" and \".\", at most 63");
        findings.error(span_of(&file.bucket).unwrap_or_default(), "[[target]] bucket", message);
    }
    let prefix = given(&file.prefix).unwrap_or_default();
    if prefix.split('/').any(|part| [".", ".."].contains(&part)) || prefix.contains("//") {
        let message = format!("{prefix:?} is no prefix; expected one such as \"calls/\" without \".\", \"..\" and \"//\"");
        findings.error(span_of(&file.prefix).unwrap_or_default(), "[[target]] prefix", message);
    }
    if let Some(size) = file.part_bytes.as_ref().filter(|size| !PART_RANGE.contains(&size.get_ref().0.0)) {
        let message = "is no length of a part; expected \"64KiB\" to \"64MiB\"; most servers take no less than \"5MiB\"";
        findings.error(size.span(), "[[target]] part_bytes", message);
    }
}

fn access(file: &file::Target, findings: &mut Findings) -> Access {
    if let Some(timeout) = file.timeout.as_ref().filter(|timeout| timeout.get_ref().0 < Duration::from_secs(1)) {
        findings.error(timeout.span(), "[[target]] timeout", "is too short; expected at least \"1s\"");
    }
    Access { ca_file: given(&file.ca_file), timeout: given(&file.timeout).unwrap_or(TIMEOUT) }
}

pub(super) fn warn_of_open(url: &Url, span: Option<Range<usize>>, key: &str, findings: &mut Findings) {
    if url.is_open() {
        let message = "is not encrypted: everybody on the way can read what is sent; expected \"https://…\"";
        findings.warning(span.unwrap_or_default(), key, message);
    }
}

fn check_target(target: &Target, earlier: &[Target], file: &file::Target, site: &Site, findings: &mut Findings) {
    if earlier.iter().any(|t| t.name == target.name) {
        let message = format!("{:?} is there twice; expected another name for each target", target.name);
        findings.error(span_of(&file.name).unwrap_or_default(), "[[target]] name", message);
    }
    if let Some(other) = earlier.iter().find(|other| is_same(&other.place, &target.place)) {
        let (span, what) = match &target.place {
            Place::Dir { path } => (span_of(&file.path), path.display().to_string()),
            Place::S3(s3) => (span_of(&file.bucket), format!("{}/{}", s3.endpoint, s3.bucket)),
            Place::WebDav(webdav) => (span_of(&file.url), webdav.url.to_string()),
        };
        let message = format!("{what} is target {:?} already; expected another place", other.name);
        findings.error(span.unwrap_or_default(), "[[target]]", message);
    }
    if matches!(&target.place, Place::Dir { path } if path.starts_with(&site.data_dir)) {
        let message =
            format!("is within [site] data_dir {}: the disk that loses one copy loses the other", site.data_dir.display());
        findings.warning(span_of(&file.path).unwrap_or_default(), "[[target]] path", message);
    }
}

/// Two of the same would contend for the same names.
fn is_same(a: &Place, b: &Place) -> bool {
    match (a, b) {
        (Place::S3(a), Place::S3(b)) => (&a.endpoint, &a.bucket, &a.prefix) == (&b.endpoint, &b.bucket, &b.prefix),
        (Place::WebDav(a), Place::WebDav(b)) => a.url == b.url,
        _ => a == b,
    }
}
