//! What a sealed recording keeps from those who have no key: everything that names or describes a person. Pure.
//!
//! A reader needs ids, times, lengths and checksums to take a recording in; these stay in the clear. Who called whom, what was typed, and
//! all that the sender attached is personal, and stands only in the sealed details (docs/decisions/0037).

use std::collections::BTreeMap;

use crate::model::{Leg, Recording};

/// Parameters that link a recording to its call and say nothing about anyone.
const IN_THE_CLEAR: [&str; 3] = ["calluuid", "connid", "datetime"];

/// The recording as everyone may see it.
///
/// Every field is named here: who adds one has to decide.
pub fn without_personal(recording: &Recording) -> Recording {
    let Recording {
        no,
        id,
        call_uuid,
        tenant,
        dialect,
        origin,
        started,
        ended,
        end_reason,
        stage,
        sessions: _, // none once it is over
        restarts,
        legs,
        masks,
        flags,
        parameters,
        headers: _,
        notes: _,
        files,
    } = recording.clone();
    let parameters: BTreeMap<_, _> = parameters.into_iter().filter(|(name, _)| IN_THE_CLEAR.contains(&name.as_str())).collect();
    Recording {
        no,
        id,
        call_uuid,
        tenant,
        dialect,
        origin,
        started,
        ended,
        end_reason,
        stage,
        sessions: Vec::new(),
        restarts,
        legs: legs.into_iter().map(leg_without_personal).collect(),
        masks,
        flags,
        parameters,
        headers: Vec::new(),
        notes: Vec::new(),
        files,
    }
}

/// Without number and name of the party, and without the digits that it typed.
fn leg_without_personal(leg: Leg) -> Leg {
    Leg { dn: None, digits: Vec::new(), ..leg }
}
