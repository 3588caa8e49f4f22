//! From the raw image to the configuration: defaults, and what keys say together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::control;
use super::diagnostic::{Diagnostic, Findings};
use super::events::events;
use super::file::{self, File, Key};
use super::targets::{forward, targets};
use super::tone;
use super::typed::{Config, Control, Loaded, Rtp, Sip, SipTls, Site, Spool, Tenant};
use super::value::{Listen, Network, PortRange, Source, Text, Value};
use super::web::web;
use crate::model::dialog::Transport;
use crate::model::{AudioFormat, SwitchId, TenantId};

const DATA_DIR: &str = "/var/lib/nearend";
const SIP_PORT: u16 = 5060; // RFC 3261 §19.1.2
pub(super) const WEB_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const MAX_RECORDINGS: u32 = 500;
/// Two parties, one stream each.
const STREAMS_PER_RECORDING: u32 = 2;
const SESSION_EXPIRES: Duration = Duration::from_secs(1_800); // RFC 4028 §4, the recommended default
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
const MIN_SE: Duration = Duration::from_secs(90); // RFC 4028 §5, the least that is allowed
const FLOOR_BYTES: u64 = 512 << 20;
/// Below this the ledger itself could no longer be written.
const LEAST_FLOOR_BYTES: u64 = 16 << 20;
const RETENTION: Duration = Duration::from_secs(7 * 86_400);
/// The networks that no router of the Internet forwards, and loopback: RFC 1918, 3927, 4193, 4291.
const TRUSTED: [&str; 8] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8", "fc00::/7", "fe80::/10", "::1/128"];

/// Reads a configuration without looking at the disk. `name` is the file's name in diagnostics.
///
/// # Errors
/// Everything that is wrong in the text (at most 100), in its order.
pub fn parse(name: &str, text: &str) -> Result<Loaded, Vec<Diagnostic>> {
    let mut findings = Findings::new(name, text);
    let (config, _) = resolve(text, &mut findings);
    conclude(config, findings)
}

/// The configuration, unless there are errors.
pub(super) fn conclude(config: Config, findings: Findings) -> Result<Loaded, Vec<Diagnostic>> {
    match findings.finish() {
        (errors, warnings) if errors.is_empty() => Ok(Loaded { config, warnings }),
        (errors, _) => Err(errors),
    }
}

/// A directory that must be there and writable.
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) key: &'static str,
    /// Where the file names it; none for a default, which the daemon makes itself if it can.
    pub(super) span: Option<Range<usize>>,
}

/// The configuration as far as it can be read, with a default for what cannot, and the directories to look at.
pub(super) fn resolve(text: &str, findings: &mut Findings) -> (Config, Vec<Directory>) {
    let file = file::read(text, findings);
    let mut directories = vec![directory(&file.site.data_dir, "[site] data_dir", Some(DATA_DIR))];
    directories.push(directory(&file.spool.path, "[spool] path", None));
    directories.extend(file.target.iter().map(|t| directory(&t.get_ref().path, "[[target]] path", None)));
    check_sockets(&file, findings);
    control::check_owners(&file, findings);
    control::check_parents(&file, findings);
    let rtp = rtp(&file.rtp, findings);
    let site = site(file.site);
    let tenants = tenants(file.tenant, findings);
    let tables = control::Tables {
        switches: file.switch,
        tservers: file.tserver,
        peers: file.peer,
        calendars: file.calendar,
        rules: file.rule,
    };
    let control = control::resolve(tables, &tenants, findings);
    let config = Config {
        sip: sip(file.sip, &rtp, findings),
        spool: spool(file.spool, &site, findings),
        tenants,
        switches: control.switches,
        tservers: control.tservers,
        peers: control.peers,
        calendars: control.calendars,
        rules: control.rules,
        targets: targets(file.target, &site, findings),
        tone: tone::tone(&file.tone),
        control: services(&file.control, findings),
        forward: forward(&file.forward, findings),
        events: events(&file.events, findings),
        web: web(&file.web, findings),
        site,
        rtp,
    };
    (config, directories.into_iter().flatten().collect())
}

fn directory(path: &Key<PathBuf>, key: &'static str, default: Option<&str>) -> Option<Directory> {
    match path {
        Some(path) => Some(Directory { path: path.get_ref().0.clone(), key, span: Some(path.span()) }),
        None => default.map(|path| Directory { path: path.into(), key, span: None }),
    }
}

// ---- one function per table

fn site(file: file::Site) -> Site {
    Site {
        name: given(&file.name).unwrap_or_else(|| "nearend".into()),
        geo_location: given(&file.geo_location),
        data_dir: given(&file.data_dir).unwrap_or_else(|| DATA_DIR.into()),
    }
}

fn sip(file: file::Sip, rtp: &Rtp, findings: &mut Findings) -> Sip {
    Sip {
        listen: file.listen.as_ref().map_or_else(default_listen, items),
        advertise: given(&file.advertise),
        trusted: trusted(&file, findings),
        max_recordings: max_recordings(&file, rtp, findings),
        session_expires: session_expires(&file, findings),
        min_se: min_se(&file, findings),
        tls: sip_tls(&file, findings),
    }
}

fn sip_tls(file: &file::Sip, findings: &mut Findings) -> Option<SipTls> {
    let mut listens = file.listen.iter().flat_map(|list| list.get_ref());
    let over_tls = listens.find(|item| item.get_ref().0.transport == Transport::Tls);
    let keys = [span_of(&file.cert_file), span_of(&file.key_file), span_of(&file.client_ca_file)];
    match (over_tls, given(&file.cert_file), given(&file.key_file)) {
        (Some(_), Some(cert_file), Some(key_file)) => {
            return Some(SipTls { cert_file, key_file, client_ca_file: given(&file.client_ca_file) });
        }
        (Some(listen), ..) => {
            let message = "TLS needs cert_file and key_file in [sip]: the box's certificate and its key, in PEM";
            findings.error(listen.span(), "[sip] listen", message);
        }
        (None, ..) => {
            if let Some(span) = keys.into_iter().flatten().next() {
                let message = "nothing listens for TLS; expected an entry such as \"tls:0.0.0.0:5061\" in listen, or no such key";
                findings.error(span, "[sip]", message);
            }
        }
    }
    None
}

/// The numbers of another kind of T-Server; no public document confirms them for the SIP Server.
const SERVICES: [u64; 4] = [3_013, 3_014, 3_015, 3_016];

/// Three tries at the switch and a media server that is slow.
const MISSING_AFTER: Duration = Duration::from_secs(20);
const LEAST_MISSING_AFTER: Duration = Duration::from_secs(5);

fn services(file: &file::Control, findings: &mut Findings) -> Control {
    let keys = [&file.start_service, &file.stop_service, &file.pause_service, &file.resume_service];
    let numbers = [0, 1, 2, 3].map(|n: usize| keys[n].as_ref().map_or(SERVICES[n], |given| *given.get_ref()));
    for (n, key) in keys.iter().enumerate().filter_map(|(n, key)| Some((n, key.as_ref()?))) {
        if numbers.iter().filter(|number| **number == numbers[n]).count() > 1 {
            findings.error(
                key.span(),
                "[control]",
                format!("service {} is given twice; expected four different numbers", numbers[n]),
            );
        }
    }
    let [start_service, stop_service, pause_service, resume_service] = numbers;
    let missing_after = given(&file.missing_after).unwrap_or(MISSING_AFTER);
    if let Some(key) = file.missing_after.as_ref().filter(|_| missing_after < LEAST_MISSING_AFTER) {
        let message = "expected at least 5 s: three tries at the switch and a media server that is slow take so long";
        findings.error(key.span(), "[control] missing_after", message);
    }
    let mask_digits = file.mask_digits.as_ref().is_some_and(|given| *given.get_ref());
    Control {
        pause_limit: given(&file.pause_limit),
        missing_after,
        mask_digits,
        start_service,
        stop_service,
        pause_service,
        resume_service,
    }
}

fn default_listen() -> Vec<Listen> {
    let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let on = |ip| [Transport::Udp, Transport::Tcp].map(|transport| Listen { transport, address: SocketAddr::new(ip, SIP_PORT) });
    any.into_iter().flat_map(on).collect()
}

fn trusted(file: &file::Sip, findings: &mut Findings) -> Vec<Network> {
    let Some(list) = &file.trusted else {
        return TRUSTED.iter().filter_map(|text| Network::read(text).ok()).collect();
    };
    if list.get_ref().is_empty() {
        let message = "is empty, so that nobody could have a call recorded; expected the networks of the media servers, \
                       such as [\"10.0.0.0/8\"], or leave the key out for all private networks";
        findings.error(list.span(), "[sip] trusted", message);
    }
    items(list)
}

fn silence_timeout(file: &file::Rtp, findings: &mut Findings) -> Duration {
    let Some(timeout) = &file.silence_timeout else { return SILENCE_TIMEOUT };
    let value = given(&file.silence_timeout).unwrap_or(SILENCE_TIMEOUT);
    if value < Duration::from_secs(1) {
        findings.error(
            timeout.span(),
            "[rtp] silence_timeout",
            "is too short, peers would be asked all the time; expected at least \"1s\"",
        );
    }
    value
}

fn max_recordings(file: &file::Sip, rtp: &Rtp, findings: &mut Findings) -> u32 {
    let fit = rtp.ports.pairs() / STREAMS_PER_RECORDING;
    let Some(wanted) = &file.max_recordings else { return MAX_RECORDINGS.min(fit) };
    let key = "[sip] max_recordings";
    if *wanted.get_ref() == 0 {
        findings.error(wanted.span(), key, "0 lets no call be recorded; expected at least 1");
    } else if *wanted.get_ref() > fit {
        let message = format!(
            "{} do not fit into [rtp] ports \"{}\"; expected at most {fit}, for each recording takes 4 ports \
             (RTP and RTCP of both parties); lower it or widen the ports",
            wanted.get_ref(),
            rtp.ports
        );
        findings.error(wanted.span(), key, message);
    }
    *wanted.get_ref()
}

fn session_expires(file: &file::Sip, findings: &mut Findings) -> Duration {
    let Some(interval) = &file.session_expires else { return SESSION_EXPIRES.max(given(&file.min_se).unwrap_or_default()) };
    let least = given(&file.min_se).unwrap_or(MIN_SE);
    if interval.get_ref().0 < least {
        let message = format!("is shorter than [sip] min_se ({} s); expected at least that", least.as_secs());
        findings.error(interval.span(), "[sip] session_expires", message);
    }
    whole_seconds(interval, "[sip] session_expires", findings)
}

fn min_se(file: &file::Sip, findings: &mut Findings) -> Duration {
    let Some(least) = &file.min_se else { return MIN_SE };
    if least.get_ref().0 < MIN_SE {
        findings.error(least.span(), "[sip] min_se", "is too short; expected at least \"90s\" (RFC 4028 section 5)");
    }
    whole_seconds(least, "[sip] min_se", findings)
}

/// SIP counts these in seconds, in 32 bits (RFC 4028 §4).
fn whole_seconds(interval: &Spanned<Text<Duration>>, key: &str, findings: &mut Findings) -> Duration {
    let duration = interval.get_ref().0;
    if duration.subsec_millis() != 0 || duration.as_secs() > u64::from(u32::MAX) {
        findings.error(interval.span(), key, "is no interval of SIP; expected whole seconds, at most 4294967295s");
    }
    duration
}

fn rtp(file: &file::Rtp, findings: &mut Findings) -> Rtp {
    Rtp {
        address: given(&file.address),
        ports: given(&file.ports).unwrap_or(PortRange(20_000..=29_999)),
        source: given(&file.source).unwrap_or(Source::Negotiated),
        silence_timeout: silence_timeout(file, findings),
    }
}

fn spool(file: file::Spool, site: &Site, findings: &mut Findings) -> Spool {
    let floor_bytes = file.floor_bytes.as_ref().map_or(FLOOR_BYTES, |size| size.get_ref().0.0);
    if let Some(floor) = file.floor_bytes.filter(|_| floor_bytes < LEAST_FLOOR_BYTES) {
        let message = "leaves too little for the ledger to close in order; expected at least \"16MiB\"";
        findings.error(floor.span(), "[spool] floor_bytes", message);
    }
    let max_bytes = file.max_bytes.as_ref().map(|size| size.get_ref().0.0);
    if let Some(max) = file.max_bytes.filter(|_| max_bytes == Some(0)) {
        findings.error(
            max.span(),
            "[spool] max_bytes",
            "is nothing at all; expected a size such as \"64GiB\", or leave the key out",
        );
    }
    Spool { path: given(&file.path).unwrap_or_else(|| site.data_dir.join("spool")), floor_bytes, max_bytes }
}

fn tenants(file: Vec<Spanned<file::Tenant>>, findings: &mut Findings) -> Vec<Tenant> {
    let mut tenants: Vec<Tenant> = Vec::new();
    for entry in file {
        let span = entry.span();
        let entry = entry.into_inner();
        let Some(id) = given(&entry.id) else {
            findings.error(span, "[[tenant]]", "has no id; expected id = \"…\", the tenant id as the media server names it");
            continue;
        };
        if tenants.iter().any(|t| *t.id.0 == id) {
            let message = format!("{id:?} is there twice; expected each tenant once");
            findings.error(span_of(&entry.id).unwrap_or(span), "[[tenant]] id", message);
            continue;
        }
        tenants.push(tenant(id, &entry, findings));
    }
    if !tenants.iter().any(|t| t.id == TenantId::default_tenant()) {
        tenants.push(tenant("default".into(), &file::Tenant::default(), findings));
    }
    tenants
}

fn tenant(id: String, file: &file::Tenant, findings: &mut Findings) -> Tenant {
    Tenant {
        name: given(&file.name).unwrap_or_else(|| id.clone()),
        id: TenantId(id.into()),
        parent: given(&file.parent).map(|id| TenantId(id.into())),
        format: given(&file.format).unwrap_or(AudioFormat::Wav),
        recipients: file.recipients.as_ref().map(items).unwrap_or_default(),
        switches: file.switches.iter().flat_map(items).map(|id| SwitchId(id.into())).collect(),
        retention: given(&file.retention).unwrap_or(RETENTION),
        priority: given(&file.priority).unwrap_or_default(),
        share: share(file, findings),
    }
}

fn share(file: &file::Tenant, findings: &mut Findings) -> u32 {
    let Some(share) = &file.share else { return 1 };
    if !(1..=1_000).contains(share.get_ref()) {
        let message = "is no share; expected a number from 1 to 1000: with 3, a tenant gets three times of what one with 1 gets";
        findings.error(share.span(), "[[tenant]] share", message);
    }
    *share.get_ref()
}

// ---- sockets: no two may want the same address

/// A socket that the box will open; its place, unless it is a default.
struct Wanted {
    span: Option<Range<usize>>,
    key: &'static str,
    listen: Listen,
}

fn check_sockets(file: &File, findings: &mut Findings) {
    let wanted = wanted_sockets(file);
    for (i, socket) in wanted.iter().enumerate() {
        if let Some(other) = wanted[..i].iter().find(|other| overlap(&other.listen, &socket.listen)) {
            let message =
                format!("{} overlaps {} of {}; expected another address or port", socket.listen, other.listen, other.key);
            findings.error(socket.span.clone().unwrap_or_default(), socket.key, message);
        }
    }
    check_ports(file, &wanted, findings);
    if let Some(list) = file.sip.listen.as_ref().filter(|list| list.get_ref().is_empty()) {
        let message = "is empty, so that no call could arrive; expected an entry such as \"udp:0.0.0.0:5060\"";
        findings.error(list.span(), "[sip] listen", message);
    }
}

/// The defaults come first, so that an overlap is blamed on a line of the file.
fn wanted_sockets(file: &File) -> Vec<Wanted> {
    let sip = |span, listen| Wanted { span, key: "[sip] listen", listen };
    let mut wanted: Vec<Wanted> = match &file.sip.listen {
        Some(list) => list.get_ref().iter().map(|item| sip(Some(item.span()), item.get_ref().0)).collect(),
        None => default_listen().into_iter().map(|listen| sip(None, listen)).collect(),
    };
    let address = given(&file.web.listen).unwrap_or(WEB_LISTEN);
    let page = Listen { transport: Transport::Tcp, address };
    wanted.push(Wanted { span: span_of(&file.web.listen), key: "[web] listen", listen: page });
    wanted.sort_by_key(|socket| socket.span.is_some());
    wanted
}

fn overlap(a: &Listen, b: &Listen) -> bool {
    let (x, y) = (a.address, b.address);
    let same_ip = x.ip() == y.ip() || (x.is_ipv4() == y.is_ipv4() && (x.ip().is_unspecified() || y.ip().is_unspecified()));
    let is_datagram = |listen: &Listen| listen.transport == Transport::Udp;
    is_datagram(a) == is_datagram(b) && x.port() == y.port() && x.port() != 0 && same_ip
}

fn check_ports(file: &File, wanted: &[Wanted], findings: &mut Findings) {
    let Some(ports) = &file.rtp.ports else { return };
    let range = &ports.get_ref().0;
    if ports.get_ref().0.pairs() < STREAMS_PER_RECORDING {
        let message =
            format!("\"{range}\" is too small for one recording; expected 4 ports for each (RTP and RTCP of both parties)");
        findings.error(ports.span(), "[rtp] ports", message);
    }
    let sip = wanted.iter().find(|w| w.listen.transport == Transport::Udp && range.0.contains(&w.listen.address.port()));
    if let Some(sip) = sip {
        let message =
            format!("\"{range}\" includes port {} of {}; expected ranges that do not meet", sip.listen.address.port(), sip.key);
        findings.error(ports.span(), "[rtp] ports", message);
    }
}

// ---- reading raw values

pub(super) fn given<V: Clone>(key: &Key<V>) -> Option<V> {
    key.as_ref().map(|value| value.get_ref().0.clone())
}

pub(super) fn span_of<V>(key: &Key<V>) -> Option<Range<usize>> {
    key.as_ref().map(Spanned::span)
}

pub(super) fn items<V: Clone>(list: &Spanned<Vec<Spanned<Text<V>>>>) -> Vec<V> {
    list.get_ref().iter().map(|item| item.get_ref().0.clone()).collect()
}
