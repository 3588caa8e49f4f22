//! What a run shall be: where to, how many calls, of which kind, and how badly they shall go.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::model::block::Law;
use crate::model::dialog::Transport;
use crate::sip::{Host, HostPort, Scheme, Uri};

use super::audio::Audio;
use super::digits::Digits;
use super::impair::Impairments;

/// A run. [`Options::new`] is one call of ten seconds; change what shall be different.
#[derive(Clone, Debug)]
pub struct Options {
    /// The recorder.
    pub to: Target,
    /// How SIP gets there.
    pub transport: Transport,
    /// Whom it trusts, and what it shows, over TLS.
    pub tls: Tls,
    /// What kind of recording session.
    pub mode: Mode,
    /// Number of calls.
    pub calls: u32,
    /// Calls placed per second.
    pub rate: f64,
    /// How long each call speaks, from the first session's acceptance.
    pub duration: Duration,
    /// What the recorded party (channel 1) and the other say.
    pub audio: [Audio; 2],
    /// In which law.
    pub law: Law,
    /// Milliseconds of audio per packet: 10, 20 … 60.
    pub ptime_ms: u8,
    /// The bad network.
    pub impairments: Impairments,
    /// Decides which packets it strikes; names of calls are never repeated.
    pub seed: u64,
    /// Recording id to use instead of a new one (one call only): continues that recording.
    pub recording_id: Option<String>,
    /// Number of which the calls' CallUUIDs are made, so that somebody else can name them; none: they are random.
    pub call_uuids: Option<u64>,
    /// Name of the tenant whose calls they are; none: Genesys's own, `Environment`.
    pub tenant: Option<String>,
    /// Who speaks; none: made up.
    pub parties: Option<Parties>,
    /// When the second session of [`Mode::TwoSession`] comes.
    pub second_leg: SecondLeg,
    /// At the end of a call, fall silent without BYE.
    pub vanish: bool,
    /// INVITE without SDP; the offer comes in the 200, the answer goes in the ACK.
    pub delayed_offer: bool,
    /// Pause in each call.
    pub pause: Option<Pause>,
    /// Digits that the other party dials.
    pub digits: Digits,
    /// Look as if a resource manager stood in between: a second Via and a Record-Route.
    pub record_route: bool,
    /// Our address; none: the one the system would use.
    pub local: Option<IpAddr>,
    /// Stay awake between packets, so that each leaves at its time even where a sleep ends late: takes a core.
    pub awake: bool,
    /// Folder for what a perfect recorder would have on each channel.
    pub dump: Option<PathBuf>,
}

/// Who speaks in a call, and what the switch calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parties {
    /// CallUUID.
    pub call_uuid: String,
    /// ConnID.
    pub conn_id: String,
    /// DN of the recorded party.
    pub recorded_dn: String,
    /// DN or number of the other.
    pub other_dn: String,
    /// The agent at the recorded DN; may be empty.
    pub agent_id: String,
    /// Caller's number.
    pub ani: String,
    /// Dialled number.
    pub dnis: String,
}

/// Where the recorder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(HostPort);

/// Certificates of SIP over TLS, all in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The recorder's must be signed by one of these.
    pub ca_file: Option<PathBuf>,
    /// Certificate and key that the recorder is shown if it asks.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// The kind of recording session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// MSR with one session per party.
    #[default]
    TwoSession,
    /// MSR with both parties in one session.
    OneSession,
    /// RFC 7866.
    Siprec,
}

/// When the second session comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecondLeg {
    /// Together with the first.
    #[default]
    Together,
    /// So long after the first was accepted.
    After(Duration),
    /// Not at all.
    Never,
}

/// A pause: `a=inactive` and no packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// From the start of the call.
    pub at: Duration,
    /// How long.
    pub length: Duration,
}

/// What makes a run impossible.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OptionsError {
    /// No URI of a recorder.
    #[error("\"{0}\" is no recorder's address: expected sip:HOST or sip:HOST:PORT, for example sip:192.0.2.30:5060")]
    Target(String),
    /// A value outside of what makes sense.
    #[error("{option} is {value}: expected {expected}")]
    Value {
        /// As on the command line.
        option: &'static str,
        /// As given.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Two options that exclude each other.
    #[error("{0} does not go with {1}")]
    Conflict(&'static str, &'static str),
}

impl Options {
    /// How the transport is named in URIs of ours: not at all where it is the usual one.
    pub(super) fn uri_transport(&self) -> String {
        match self.transport {
            Transport::Udp => String::new(),
            other => format!(";transport={}", other.name()),
        }
    }

    /// One two-session call of ten seconds to `to`, over UDP, on a perfect network.
    pub fn new(to: Target) -> Options {
        Options {
            to,
            transport: Transport::Udp,
            tls: Tls::default(),
            mode: Mode::default(),
            calls: 1,
            rate: 10.0,
            duration: Duration::from_secs(10),
            audio: [Audio::agent(), Audio::customer()],
            law: Law::Pcmu,
            ptime_ms: 20,
            impairments: Impairments::default(),
            seed: 1,
            recording_id: None,
            call_uuids: None,
            tenant: None,
            parties: None,
            second_leg: SecondLeg::default(),
            vanish: false,
            delayed_offer: false,
            pause: None,
            digits: Digits::default(),
            record_route: false,
            local: None,
            awake: false,
            dump: None,
        }
    }

    /// Frames of a call: its duration in whole packets.
    pub fn frames(&self) -> u64 {
        u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX) / u64::from(self.ptime_ms)
    }

    /// Refuses what cannot be done.
    ///
    /// # Errors
    /// The first option that makes no sense, by itself or together with another.
    pub fn check(&self) -> Result<(), OptionsError> {
        let value =
            |option, value: &dyn fmt::Display, expected| Err(OptionsError::Value { option, value: value.to_string(), expected });
        if !(1..=6).contains(&(self.ptime_ms / 10)) || !self.ptime_ms.is_multiple_of(10) {
            return value("--ptime", &self.ptime_ms, "10, 20, 30, 40, 50 or 60");
        }
        if self.calls == 0 {
            return value("--calls", &0, "at least 1");
        }
        if !(0.001..=10_000.0).contains(&self.rate) {
            return value("--rate", &self.rate, "0.001 to 10000 calls per second");
        }
        if self.frames() == 0 || self.duration > Duration::from_secs(86_400) {
            return value("--duration", &format!("{:?}", self.duration), "one packet at least, a day at most");
        }
        if self.pause.is_some_and(|pause| pause.at + pause.length >= self.duration) {
            return value("--pause", &format!("{:?}", self.pause), "a pause that is over before the call is");
        }
        if matches!(self.second_leg, SecondLeg::After(delay) if delay >= self.duration) {
            return value("--second-leg", &format!("{:?}", self.second_leg), "less than --duration, or never");
        }
        for (option, share) in [
            ("--loss", self.impairments.loss),
            ("--reorder", self.impairments.reorder),
            ("--duplicate", self.impairments.duplicate),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return value(option, &(share * 100.0), "a percentage from 0 to 100");
            }
        }
        self.check_together()
    }

    fn check_together(&self) -> Result<(), OptionsError> {
        if self.recording_id.is_some() && self.calls > 1 {
            return Err(OptionsError::Conflict("--recording-id", "more than one call"));
        }
        if self.recording_id.is_some() && self.mode == Mode::Siprec {
            return Err(OptionsError::Conflict("--recording-id", "--mode siprec, which has none"));
        }
        if let Some(id) = self.recording_id.as_deref().filter(|id| !is_user_part(id)) {
            let expected = "letters, digits and -_.!~*'()&=+$,/ only, as in a SIP URI";
            return Err(OptionsError::Value { option: "--recording-id", value: id.to_owned(), expected });
        }
        if self.delayed_offer && self.mode == Mode::Siprec {
            return Err(OptionsError::Conflict("--delayed-offer", "--mode siprec"));
        }
        if self.second_leg != SecondLeg::Together && self.mode != Mode::TwoSession {
            return Err(OptionsError::Conflict("--second-leg", "a mode other than two-session"));
        }
        Ok(())
    }
}

/// RFC 3261 §25.1, `user` without escapes and without `;` and `?`, which many a parser stumbles over.
fn is_user_part(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,/".contains(&b))
}

impl Target {
    /// Host, address or name, as it stands in a URI.
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.0.port.unwrap_or(5060)
    }
}

impl FromStr for Target {
    type Err = OptionsError;

    fn from_str(text: &str) -> Result<Target, OptionsError> {
        let uri = Uri::parse(text.as_bytes()).ok().filter(|uri| *uri.scheme() == Scheme::Sip);
        let bare = uri.filter(|uri| uri.user().is_none() && uri.params().iter().next().is_none());
        bare.and_then(|uri| uri.host_port().cloned()).map(Target).ok_or_else(|| OptionsError::Target(text.to_owned()))
    }
}

/// `host:port`, as it stands in a URI.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host(), self.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options::new("sip:192.0.2.30".parse().unwrap())
    }

    #[test]
    fn recorders_by_address_and_name() {
        let shown = |text: &str| text.parse::<Target>().map(|target| target.to_string());
        assert_eq!(shown("sip:box.example").unwrap(), "box.example:5060");
        assert_eq!(shown("sip:[::1]:5070").unwrap(), "[::1]:5070");
        for bad in ["192.0.2.30", "sips:a", "tel:1", "sip:a@b", "sip:a;transport=tcp", "sip:", "sip:a:0x1"] {
            assert_eq!(shown(bad), Err(OptionsError::Target(bad.into())));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let why = |change: fn(&mut Options)| {
            let mut options = options();
            change(&mut options);
            options.check().map_err(|error| error.to_string()).expect_err("refused")
        };
        assert_eq!(options().check(), Ok(()));
        assert!(why(|o| o.ptime_ms = 25).starts_with("--ptime is 25"));
        assert!(why(|o| o.calls = 0).starts_with("--calls"));
        assert!(why(|o| o.rate = f64::NAN).starts_with("--rate"));
        assert!(why(|o| o.duration = Duration::from_millis(19)).starts_with("--duration"));
        assert!(
            why(|o| o.pause = Some(Pause { at: Duration::from_secs(9), length: Duration::from_secs(1) })).starts_with("--pause")
        );
        assert!(why(|o| o.second_leg = SecondLeg::After(Duration::from_secs(10))).starts_with("--second-leg"));
        assert!(why(|o| o.impairments.loss = 1.01).starts_with("--loss is 101"));
        assert!(why(|o| (o.recording_id, o.calls) = (Some("a".into()), 2)).starts_with("--recording-id"));
        assert!(why(|o| o.recording_id = Some("a b".into())).starts_with("--recording-id"));
        assert!(why(|o| (o.delayed_offer, o.mode) = (true, Mode::Siprec)).starts_with("--delayed-offer"));
        assert!(why(|o| (o.second_leg, o.mode) = (SecondLeg::Never, Mode::OneSession)).starts_with("--second-leg"));
    }
}
