//! Station `session`: reads what a sender says in its own dialect.
//!
//! In: an INVITE, UPDATE or INFO and the parts of its body. Out: a [`Session`]: which recording, which parties on which
//! m-line, all metadata. Pure.
//!
//! | file | reads |
//! |---|---|
//! | [`msr`] | Genesys Media Stream Replication: parameters of the request-URI, `X-` headers |
//! | [`siprec`] | RFC 7865 recording metadata |
//! | [`cisco`] | CUBE network recording, the built-in bridge of Unified CM |
//! | [`lines`] | the audio lines of its SDP |
//! | [`multipart`] | bodies of several parts (RFC 2046) |

pub mod cisco;
mod facts;
pub mod lines;
pub mod msr;
pub mod multipart;
pub mod siprec;

use std::collections::BTreeMap;

use crate::model::recording::Dialect;
use crate::model::{CallUuid, Channel, RecordingId};
use crate::sip::message::Request;

/// Parties of a session at most.
const MAX_PARTIES: usize = 64;

/// What one session says about its recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The kind of sender.
    pub dialect: Dialect,
    /// Call-ID of the session.
    pub call_id: String,
    /// The recording it belongs to; none: a recording of its own.
    pub recording_id: Option<RecordingId>,
    /// CallUUID, where given.
    pub call_uuid: Option<CallUuid>,
    /// Ids, names and paths of names (`Environment/acme`) of the tenant, the most exact first.
    pub tenant_hints: Vec<String>,
    /// One per audio line of the SDP that the box may take, in the order of the SDP; may be shorter.
    pub parties: Vec<Party>,
    /// Parameters of the request-URI, names in lower case.
    pub parameters: BTreeMap<String, String>,
    /// `X-` headers and `User-to-User` as received.
    pub headers: Vec<(String, String)>,
    /// The metadata document could not be read in full, or leaves open who speaks.
    pub metadata_incomplete: bool,
}

/// Who speaks on an m-line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// Channel of the file, where the dialect says it.
    pub channel: Option<Channel>,
    /// DN or address of record.
    pub dn: Option<String>,
    /// RFC 4574 label of the m-line; none: the lines are in order.
    pub label: Option<String>,
}

impl Session {
    /// Reads a request that opens or changes a session. `metadata`: its RFC 7865 document; `audio_lines`: how many audio
    /// lines of its SDP the box may take.
    pub fn read(request: &Request, metadata: Option<&siprec::Metadata>, audio_lines: usize) -> Session {
        let parameters = msr::parameters(request);
        let msr_id = msr::recording_id(request);
        let bridge_end = cisco::bridge_end(request);
        let cube_parties = cisco::cube_parties(request);
        let dialect = match (metadata, &msr_id) {
            (Some(_), _) => Dialect::Siprec,
            (None, Some(_)) => Dialect::Msr,
            (None, None) if request.headers.lists("Require", "siprec") => Dialect::Siprec,
            (None, None) if bridge_end.is_some() => Dialect::Cucm,
            (None, None) if !cube_parties.is_empty() => Dialect::Cube,
            (None, None) => Dialect::Plain,
        };
        let bridge_end = bridge_end.filter(|_| dialect == Dialect::Cucm);
        let parties = match (dialect, metadata, &bridge_end) {
            (_, Some(metadata), _) => metadata.parties(),
            (Dialect::Cucm, _, Some(end)) => vec![end.party.clone()],
            (Dialect::Cube, ..) => cube_parties,
            _ => msr::parties(&parameters, audio_lines),
        };
        let call_uuid = metadata.and_then(|m| m.call_uuid.clone()).or_else(|| msr::call_uuid(request, &parameters));
        Session {
            dialect,
            call_id: request.call_id.clone(),
            recording_id: msr_id
                .or_else(|| metadata.and_then(|m| m.session_id.clone()))
                .or_else(|| bridge_end.map(|end| end.recording_id)),
            call_uuid,
            tenant_hints: msr::tenant_hints(request, &parameters),
            parties,
            headers: msr::kept_headers(request),
            parameters,
            metadata_incomplete: metadata.is_some_and(|m| m.incomplete || m.leaves_open()),
        }
    }

    /// How many lines to offer where the INVITE has none: the far party's session of two carries one, each end of a bridge, too; any other may
    /// turn out to carry both, and an answer refuses what it does not need (RFC 3264 §6).
    pub fn lines_to_offer(&self) -> usize {
        let is_far_party = self.parties.first().is_some_and(|party| party.channel == Some(Channel::Other));
        if is_far_party || self.dialect == Dialect::Cucm { 1 } else { 2 }
    }

    /// The party on the `nth` audio line that the box takes, which carries `label`. Labels decide where both sides have them.
    pub fn party(&self, nth: usize, label: Option<&str>) -> Party {
        let labelled = label.and_then(|l| self.parties.iter().find(|p| p.label.as_deref() == Some(l)));
        labelled.or_else(|| self.parties.get(nth).filter(|p| p.label.is_none() || label.is_none())).cloned().unwrap_or_default()
    }
}
