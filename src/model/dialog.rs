//! What has to outlast the process for a SIP call to go on after a restart: the dialog (RFC 3261 §12), its session timer
//! (RFC 4028) and the session description the box has given (RFC 3264 §8).
//!
//! Kept in the ledger as JSON. What a box once wrote must be readable for ever: new fields have serde defaults, unknown ones
//! are ignored.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// How SIP messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// One message a datagram.
    Udp,
    /// Messages in a stream.
    Tcp,
    /// Messages in an encrypted stream (RFC 5246, RFC 8446).
    Tls,
}

impl Transport {
    /// All of them.
    pub const ALL: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

    /// As it is written in the configuration and in URIs.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }
}

/// Who refreshes a session (RFC 4028).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Refresher {
    /// The box.
    Us,
    /// The peer.
    Peer,
}

/// What offer and answer of a session timer agreed on (RFC 4028).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInterval {
    /// The interval, in seconds.
    pub seconds: u32,
    /// Who refreshes.
    pub refresher: Refresher,
}

/// Bytes as a peer sent them: text as a rule, but nothing holds it to UTF-8. In JSON a string, else a list of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct WireBytes(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<Written> for WireBytes {
    fn from(written: Written) -> WireBytes {
        match written {
            Written::Text(text) => WireBytes(text.into_bytes()),
            Written::Bytes(bytes) => WireBytes(bytes),
        }
    }
}

impl From<WireBytes> for Written {
    fn from(WireBytes(bytes): WireBytes) -> Written {
        String::from_utf8(bytes).map_or_else(|error| Written::Bytes(error.into_bytes()), Written::Text)
    }
}

/// An established dialog, as far as it outlasts the process. What was on its way when that ended (transactions, a 2xx without
/// ACK, a refresh) is not in it; nor is the connection the peer was heard on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedDialog {
    /// Its Call-ID.
    pub call_id: String,
    /// The tag of the box.
    pub local_tag: String,
    /// The tag of the peer; empty for one of RFC 2543, which has none.
    pub remote_tag: String,
    /// From of the box's requests, with its tag.
    pub local: WireBytes,
    /// To of the box's requests, with the peer's tag.
    pub remote: WireBytes,
    /// The route set: every Record-Route value as received, in order.
    pub routes: Vec<WireBytes>,
    /// The remote target: the URI of the peer's Contact.
    pub target: WireBytes,
    /// CSeq number of the box's last request.
    pub local_cseq: u32,
    /// The highest CSeq number of the peer's requests.
    pub remote_cseq: u32,
    /// How the peer was last heard.
    pub transport: Transport,
    /// The box's address on that way, with the port it listens on.
    pub local_address: SocketAddr,
    /// Where the peer can be reached: over TCP the port it listens on, not that of a connection.
    pub remote_address: SocketAddr,
    /// Whether the peer takes UPDATE (RFC 3311).
    pub peer_allows_update: bool,
    /// Whether the peer is a session recording client (RFC 7866).
    pub siprec: bool,
    /// Its session timer.
    pub interval: SessionInterval,
    /// What the box last said of itself, for a re-INVITE that changes nothing.
    pub local_body: Option<SavedBody>,
}

/// The body of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedBody {
    /// Its Content-Type.
    pub content_type: String,
    /// The body.
    pub bytes: WireBytes,
}

/// What the box has said of itself in the offers and answers of one dialog (RFC 3264); its methods stand in `sip::sdp`. Its
/// version counts up when, and only when, the description changes (§8), across restarts, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalDescription {
    /// Of the `o=` line.
    pub(crate) session_id: u64,
    /// Of the `o=` line.
    pub(crate) version: u64,
    /// The last one as sent.
    pub(crate) last: Option<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the first release has written it; must be readable for ever.
    const FIRST: &str = r#"{
        "call_id": "c@192.0.2.20", "local_tag": "box", "remote_tag": "mcp",
        "local": "<sip:box@192.0.2.30>;tag=box", "remote": "<sip:mcp@192.0.2.20>;tag=mcp",
        "routes": ["<sip:192.0.2.22:15060;lr;id=é>", [60, 115, 105, 112, 58, 255, 62]], "target": "sip:mcp@192.0.2.21:7090",
        "local_cseq": 3, "remote_cseq": 7,
        "transport": "tcp", "local_address": "192.0.2.30:5060", "remote_address": "[2001:db8::20]:5060",
        "peer_allows_update": true, "siprec": false, "interval": {"seconds": 1800, "refresher": "us"},
        "local_body": {"content_type": "application/sdp", "bytes": "v=0\r\n"}, "of a later release": 1
    }"#;

    #[test]
    fn what_the_first_release_wrote_is_read() {
        let dialog: SavedDialog = serde_json::from_str(FIRST).unwrap();
        let routes: Vec<&[u8]> = dialog.routes.iter().map(|route| &route.0[..]).collect();
        assert_eq!(routes, ["<sip:192.0.2.22:15060;lr;id=é>".as_bytes(), b"<sip:\xff>"]);
        assert_eq!((dialog.transport, dialog.local_cseq, dialog.remote_cseq), (Transport::Tcp, 3, 7));
        assert_eq!(dialog.interval, SessionInterval { seconds: 1_800, refresher: Refresher::Us });
        assert_eq!(dialog.local_body.as_ref().unwrap().bytes.0, b"v=0\r\n");
        let mut expected: serde_json::Value = serde_json::from_str(FIRST).unwrap();
        expected.as_object_mut().unwrap().remove("of a later release");
        assert_eq!(serde_json::to_value(dialog).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn bytes_are_kept_exactly(bytes: Vec<u8>, text: String) {
            for bytes in [bytes, text.into_bytes()] {
                let bytes = WireBytes(bytes);
                let json = serde_json::to_string(&bytes).unwrap();
                prop_assert_eq!(serde_json::from_str::<WireBytes>(&json).unwrap(), bytes);
            }
        }
    }
}
