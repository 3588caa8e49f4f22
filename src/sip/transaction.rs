//! Transactions: one request and its answers, with the retransmissions between them (RFC 3261 §17, RFC 6026).
//!
//! Each is a machine without a message in it: bytes to repeat, and deadlines. [`ServerTransaction`] answers requests,
//! [`ClientTransaction`] carries our own. Which message belongs to which is [`TransactionKey`].

mod client;
mod server;

use std::time::Duration;

use rsip::Method;

use super::message::{Request, Response};
use super::tokens::MAGIC_COOKIE;
use super::values::Via;

pub use client::{ClientTransaction, Heard};
pub use server::ServerTransaction;

/// The base values of all timers (RFC 3261 §17.1.1.1, Table 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Estimate of the round trip.
    pub t1: Duration,
    /// The longest interval between retransmissions.
    pub t2: Duration,
    /// The longest time a message stays in the network.
    pub t4: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

impl Timing {
    /// How long a transaction tries: timers B, F, H, J, L, M.
    pub fn patience(&self) -> Duration {
        self.t1 * 64
    }

    /// The interval that follows `interval`: doubled, up to T2.
    pub fn backed_off(&self, interval: Duration) -> Duration {
        (interval * 2).min(self.t2)
    }
}

/// What a due deadline asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Send these bytes (again).
    Send(Vec<u8>),
    /// No answer came in time; the transaction is over.
    TimedOut,
    /// The transaction is over.
    Done,
}

/// Names a transaction (RFC 3261 §17.1.3, §17.2.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransactionKey {
    id: String,
    method: String,
}

impl TransactionKey {
    /// The server transaction a request belongs to; an ACK belongs to that of its INVITE.
    pub fn of_request(request: &Request) -> TransactionKey {
        let method = if request.method == Method::Ack { Method::Invite } else { request.method };
        let id = modern_id(&request.via).unwrap_or_else(|| old_id(request));
        TransactionKey { id, method: method.to_string() }
    }

    /// The client transaction a response belongs to.
    pub fn of_response(response: &Response) -> Option<TransactionKey> {
        Some(TransactionKey { id: response.via.branch()?.to_owned(), method: response.cseq.method.to_string() })
    }

    /// A client transaction of ours.
    pub fn of_ours(branch: &str, method: Method) -> TransactionKey {
        TransactionKey { id: branch.to_owned(), method: method.to_string() }
    }

    /// The INVITE transaction that a CANCEL of this key means (RFC 3261 §9.2).
    pub fn of_cancelled(&self) -> TransactionKey {
        TransactionKey { id: self.id.clone(), method: Method::Invite.to_string() }
    }
}

/// Branch and sent-by.
fn modern_id(via: &Via) -> Option<String> {
    let branch = via.branch().filter(|branch| branch.len() > MAGIC_COOKIE.len() && branch.starts_with(MAGIC_COOKIE))?;
    Some(format!("{branch} {}", via.sent_by.to_string().to_ascii_lowercase()))
}

/// RFC 2543: whatever stays the same between an INVITE, its ACK and its CANCEL.
fn old_id(request: &Request) -> String {
    let via = request.headers.list("Via").first().map(|via| String::from_utf8_lossy(via).into_owned()).unwrap_or_default();
    let tag = request.from.tag().unwrap_or_default();
    format!("{} {tag} {} {} {via}", request.call_id, request.cseq.number, request.uri)
}

#[cfg(test)]
mod tests;
