//! What the endpoint counts.

use std::collections::BTreeMap;

use rsip::Method;

/// Counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests received, by method; repeated ones are in it.
    pub requests: BTreeMap<String, u64>,
    /// Responses sent, by class: 1 to 6 for 1xx to 6xx.
    pub responses: BTreeMap<u16, u64>,
    /// Messages that could not even be answered, and responses nobody waits for.
    pub dropped: u64,
    /// Requests that came again.
    pub repeated: u64,
    /// Messages that the box sent again.
    pub retransmitted: u64,
}

impl Counters {
    pub(super) fn request(&mut self, method: Method) {
        *self.requests.entry(method.to_string()).or_default() += 1;
    }

    pub(super) fn response(&mut self, code: u16) {
        *self.responses.entry(code / 100).or_default() += 1;
    }
}
