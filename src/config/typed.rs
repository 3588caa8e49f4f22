//! The resolved configuration: plain values, every default filled in.
//!
//! Each part can be handed to its station without the station knowing this module. [`Config`] serialises to TOML that reads
//! back as the same [`Config`]: that is what `nearend check` prints.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::control::Link;
use super::diagnostic::Diagnostic;
use super::tenant::Recipient;
use super::tone::Tone;
use super::value::{Listen, Network, PortRange, Source, show_duration, show_duration_or_none, show_size, show_size_or_none};
use super::wan::{Addressing, BrokerUrl, Policy, Priority, Rate, Secret, Url, Window, Zone};
use super::web::PageTls;
use crate::model::{AudioFormat, DnRange, DnType, SwitchId, TenantId};
use crate::rules::{Calendar, Rule};

/// What the daemon runs by.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// Where the box is.
    pub site: Site,
    /// Where SIP is spoken, with whom.
    pub sip: Sip,
    /// Where audio arrives.
    pub rtp: Rtp,
    /// Where calls are kept on the box.
    pub spool: Spool,
    /// Whose calls they are; the tenant `default` is always among them.
    #[serde(rename = "tenant")]
    pub tenants: Vec<Tenant>,
    /// The switches whose DNs are known.
    #[serde(rename = "switch", skip_serializing_if = "Vec::is_empty")]
    pub switches: Vec<Switch>,
    /// The T-Servers whose events are followed.
    #[serde(rename = "tserver", skip_serializing_if = "Vec::is_empty")]
    pub tservers: Vec<TServer>,
    /// Other boxes that take calls which this one does not.
    #[serde(rename = "peer", skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<Peer>,
    /// Days and hours that rules name.
    #[serde(rename = "calendar", skip_serializing_if = "Vec::is_empty")]
    pub calendars: Vec<Calendar>,
    /// Who is recorded; the first that matches counts.
    #[serde(rename = "rule", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// Where finished recordings go; none: they stay on the box.
    #[serde(rename = "target")]
    pub targets: Vec<Target>,
    /// Which recording tone recordings are to hold.
    pub tone: Tone,
    /// Pause, resume and stop, and what the switch is asked.
    pub control: Control,
    /// How fast, when, and to how many targets.
    pub forward: Forward,
    /// Who is told what happens.
    pub events: Events,
    /// The status page.
    pub web: Web,
}

/// Where the box is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Site {
    /// Name of the site, as it stands in every recording.
    pub name: String,
    /// Its geo-location in the contact centre's sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geo_location: Option<String>,
    /// Everything that the box keeps is below this directory, unless another key says otherwise.
    pub data_dir: PathBuf,
}

/// Where SIP is spoken, with whom.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sip {
    /// Sockets to listen on; IPv6 ones do not take IPv4 along (IPV6_V6ONLY).
    pub listen: Vec<Listen>,
    /// Address that Contact names instead of the one a request came in on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<IpAddr>,
    /// Who may have calls recorded.
    pub trusted: Vec<Network>,
    /// Recordings at one time; more are refused with 503.
    pub max_recordings: u32,
    /// Session interval that the box asks for (RFC 4028 §4).
    #[serde(serialize_with = "show_duration")]
    pub session_expires: Duration,
    /// Shortest session interval that it accepts (RFC 4028 §5).
    #[serde(serialize_with = "show_duration")]
    pub min_se: Duration,
    /// How it shows itself over TLS; there when it listens for that.
    #[serde(flatten)]
    pub tls: Option<SipTls>,
}

/// Certificates of SIP over TLS, all in PEM.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SipTls {
    /// The box's certificate, and those between it and its issuer.
    pub cert_file: Secret,
    /// The key to it.
    pub key_file: Secret,
    /// A peer must show a certificate of one of these issuers; none: it need not show any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<Secret>,
}

impl Sip {
    /// Whether requests from this address are served.
    pub fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(ip))
    }
}

/// Where audio arrives.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rtp {
    /// Address to listen on and to name in SDP; none: the one that the SIP request came in on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Even ports for RTP, the odd ones above them for RTCP.
    pub ports: PortRange,
    /// Whose packets count.
    pub source: Source,
    /// After this long without any packet of a session, its peer is asked whether it is still there.
    #[serde(serialize_with = "show_duration")]
    pub silence_timeout: Duration,
}

/// Where calls are kept on the box.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spool {
    /// Directory of segments and ledger.
    pub path: PathBuf,
    /// With less free space than this no new call is taken.
    #[serde(serialize_with = "show_size")]
    pub floor_bytes: u64,
    /// Delivered recordings are released early when the box holds more than this; none: only the floor counts.
    #[serde(serialize_with = "show_size_or_none", skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

/// Whose calls they are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tenant {
    /// Id as the sender names it, and first folder of a recording's path.
    pub id: TenantId,
    /// Name for people.
    pub name: String,
    /// The tenant above it, where tenants are in a hierarchy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<TenantId>,
    /// The switches that are its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub switches: Vec<SwitchId>,
    /// How its audio is written.
    pub format: AudioFormat,
    /// Who may open its files; nobody in particular: they stay plain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<Recipient>,
    /// How long a recording stays on the box from its end; never before every target has it.
    #[serde(serialize_with = "show_duration")]
    pub retention: Duration,
    /// Before or behind whose recordings its own are sent.
    pub priority: Priority,
    /// What it gets of the link beside others of the same priority.
    pub share: u32,
}

/// A switch of the contact centre.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Switch {
    /// Its id, as every recording of its DNs names it.
    pub id: SwitchId,
    /// Name for people.
    pub name: String,
}

/// Another box.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Peer {
    /// Its SIP URI.
    pub uri: String,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geo_location: Option<String>,
}

/// A SIP T-Server: what it tells of the DNs of a switch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TServer {
    /// Name in logs, metrics and on the page.
    pub name: String,
    /// Whose DNs it knows.
    pub switch: SwitchId,
    /// Where its link is.
    pub primary: Link,
    /// Where it is when the primary does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<Link>,
    /// Certificates that those of its TLS addresses must be signed by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<Secret>,
    /// Name that they must carry; none: the host of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_name: Option<String>,
    /// The DNs to monitor.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<MonitoredDn>,
}

/// DNs to monitor, all of one type.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MonitoredDn {
    /// One DN, or a range of them.
    pub dn: DnRange,
    /// What they are.
    #[serde(rename = "type")]
    pub dn_type: DnType,
    /// Their geo-location.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geo_location: Option<String>,
}

/// Where finished recordings go.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    /// Name in logs, metrics and the ledger.
    pub name: String,
    /// What sort of place it is.
    #[serde(flatten)]
    pub place: Place,
    /// Who is told of what has arrived; none: nobody.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

/// An archive that is told of recordings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metadata {
    /// Where `recording.json` is posted to.
    #[serde(rename = "metadata_url")]
    pub url: Url,
    /// Who logs in; none: nobody.
    #[serde(rename = "metadata_user", skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where the password stands; there is one when there is a user.
    #[serde(rename = "metadata_password_file", skip_serializing_if = "Option::is_none")]
    pub password_file: Option<Secret>,
    /// Certificates and patience: those of the target.
    #[serde(skip)]
    pub access: Access,
}

/// The sorts of places.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Place {
    /// A directory, as a rule the mount point of a file system in the data centre.
    Dir {
        /// Where.
        path: PathBuf,
    },
    /// A bucket of an S3 server.
    S3(Box<S3>),
    /// A folder of a WebDAV server.
    WebDav(WebDav),
}

/// A folder of a WebDAV server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WebDav {
    /// Its address.
    pub url: Url,
    /// Who logs in; none: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where the password stands; there is one when there is a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<Secret>,
    /// Certificates and patience.
    #[serde(flatten)]
    pub access: Access,
}

/// A bucket of an S3 server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct S3 {
    /// Address of the server, without bucket.
    pub endpoint: Url,
    /// Name of the bucket.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// Before every name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Where the bucket's name stands in an address.
    pub addressing: Addressing,
    /// Access key id.
    pub access_key_file: Secret,
    /// Secret access key.
    pub secret_key_file: Secret,
    /// Larger files go in parts of this length.
    #[serde(serialize_with = "show_size")]
    pub part_bytes: u64,
    /// Certificates and patience.
    #[serde(flatten)]
    pub access: Access,
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Access {
    /// Certificates that are trusted beside the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<Secret>,
    /// When nothing has moved for so long, a request is given up.
    #[serde(serialize_with = "show_duration")]
    pub timeout: Duration,
}

/// How fast, when, and to how many targets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forward {
    /// To all targets, or to the first that works.
    pub deliver: Policy,
    /// What all uploads together may take; none: as much as goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Times of the week with a rate of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// The zone of these times; none: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<Zone>,
}

/// Who is told what happens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Events {
    /// The MQTT broker; none: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker: Option<BrokerUrl>,
    /// Where its topics begin.
    pub topic: String,
    /// Who logs in; none: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where the password stands; there is one when there is a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<Secret>,
    /// Certificates that are trusted beside the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<Secret>,
    /// The box's certificate, which the broker knows it by; none: it shows none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<Secret>,
    /// The key to it; there is one when there is a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<Secret>,
    /// How often the status is told when nothing changes.
    #[serde(serialize_with = "show_duration")]
    pub status_every: Duration,
}

/// Pause, resume and stop, and what the switch is asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Control {
    /// A pause on request ends by itself after so long; none: when it is taken back.
    #[serde(serialize_with = "show_duration_or_none", skip_serializing_if = "Option::is_none")]
    pub pause_limit: Option<Duration>,
    /// A party that is to be recorded and is not after so long is missing.
    #[serde(serialize_with = "show_duration")]
    pub missing_after: Duration,
    /// Which keys a party presses is not kept, nor audio at that moment.
    pub mask_digits: bool,
    /// The switch's number for starting a recording (GSIP_RECORD_START).
    pub start_service: u64,
    /// For stopping one.
    pub stop_service: u64,
    /// For pausing one.
    pub pause_service: u64,
    /// For going on.
    pub resume_service: u64,
}

/// The status page.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Web {
    /// Address and port of the page, the API and the metrics.
    pub listen: SocketAddr,
    /// How that is encrypted.
    pub tls: PageTls,
    /// The certificate and those that it is signed by, as PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<Secret>,
    /// Its key, as PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<Secret>,
}

/// A file that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What somebody should know about it.
    pub warnings: Vec<Diagnostic>,
}
