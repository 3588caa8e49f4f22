//! Station `session`: reads what a sender says in its own dialect.
//!
//! In: an INVITE, UPDATE or INFO and the parts of its body. Out: a [`Session`]: which recording, which parties on which
//! m-line, all metadata. Pure.
//!
//! | file | reads |
//! |---|---|
//! | [`msr`] | Genesys Media Stream Replication: parameters of the request-URI, `X-` headers |
//! | [`siprec`] | RFC 7865 recording metadata |
//! | [`multipart`] | bodies of several parts (RFC 2046) |

pub mod msr;
pub mod multipart;
pub mod siprec;

use std::collections::BTreeMap;

use crate::model::recording::Dialect;
use crate::model::{CallUuid, Channel, RecordingId};

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
    /// Ids and names under which the tenant may be configured, the most exact first.
    pub tenant_hints: Vec<String>,
    /// One per audio line of the SDP that the box may take, in the order of the SDP; may be shorter.
    pub parties: Vec<Party>,
    /// Parameters of the request-URI, names in lower case.
    pub parameters: BTreeMap<String, String>,
    /// `X-` headers and `User-to-User` as received.
    pub headers: Vec<(String, String)>,
    /// The metadata document could not be read in full.
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
    /// The party on the `nth` audio line that the box takes, which carries `label`. Labels decide where both sides have them.
    pub fn party(&self, nth: usize, label: Option<&str>) -> Party {
        let labelled = label.and_then(|l| self.parties.iter().find(|p| p.label.as_deref() == Some(l)));
        labelled.or_else(|| self.parties.get(nth).filter(|p| p.label.is_none() || label.is_none())).cloned().unwrap_or_default()
    }
}
