//! What Cisco sends that is not SIPREC: network recording of CUBE, and the built-in bridge of a telephone at Unified CM.
//!
//! CUBE sends plain SDP with two lines and says in headers who speaks on which:
//! `X-Cisco-Recording-Participant: sip:7001@192.0.2.10;media-index="0"`. Unified CM opens two dialogs without an offer; the URI of
//! From says which end of which call each one is: `x-nearend` or `x-farend`, `x-refci`, `x-nearendaddr`, `x-farendaddr`.

use crate::model::{Channel, RecordingId};
use crate::sip::message::Request;
use crate::sip::values::NameAddr;

use super::Party;

/// The parties of CUBE's network recording by the index of their m-line; empty for any other sender.
pub fn cube_parties(request: &Request) -> Vec<Party> {
    let mut named: Vec<(usize, String)> = Vec::new();
    for value in request.headers.list("X-Cisco-Recording-Participant").into_iter().take(super::MAX_PARTIES) {
        let Ok(participant) = NameAddr::parse(value) else { continue };
        let index =
            participant.params.get("media-index").and_then(|index| index.trim_matches('"').split(' ').next()?.parse().ok());
        named.extend(index.filter(|index| *index < super::MAX_PARTIES).map(|index: usize| (index, participant.uri.to_string())));
    }
    let lines = named.iter().map(|(index, _)| index + 1).max().unwrap_or(0);
    let party = |index: usize| Party {
        channel: Some(if index == 0 { Channel::Recorded } else { Channel::Other }),
        dn: named.iter().find(|(of, _)| *of == index).map(|(_, dn)| dn.clone()),
        label: None,
    };
    (0..lines).map(party).collect()
}

/// One end of a call at a built-in bridge.
pub struct BridgeEnd {
    /// The same for both ends.
    pub recording_id: RecordingId,
    /// Who speaks: the near end, whose telephone it is, is the recorded party.
    pub party: Party,
}

/// Which end of which call a dialog of Unified CM is; none for any other sender.
pub fn bridge_end(request: &Request) -> Option<BridgeEnd> {
    let param = |name: &str| request.from.uri.param(name);
    let call = param("x-refci").filter(|call| !call.is_empty())?;
    let (channel, address) = match (param("x-nearend"), param("x-farend")) {
        (Some(_), None) => (Channel::Recorded, "x-nearendaddr"),
        (None, Some(_)) => (Channel::Other, "x-farendaddr"),
        _ => return None,
    };
    let cluster = param("x-nearendclusterid").unwrap_or_default();
    Some(BridgeEnd {
        recording_id: RecordingId(format!("cucm-{cluster}-{call}").into()),
        party: Party { channel: Some(channel), dn: param(address).map(|dn| dn.into_owned()), label: None },
    })
}
