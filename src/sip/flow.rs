//! Where messages come from and go to: flows, and the routing of responses and requests (RFC 3261 §18.2.2, §8.1.2, §12.2.1.1).
//!
//! Nothing is resolved: an address is used when a URI holds one; behind a host name the flow is used that the peer itself came by.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::uri::{Scheme, Uri};
use super::values::Via;

pub use crate::model::dialog::Transport;

impl Transport {
    /// Whether the transport itself repeats what was lost.
    pub fn is_reliable(self) -> bool {
        self != Transport::Udp
    }

    /// The name in Via: `UDP`.
    pub fn via_name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }

    /// The port where none is named (RFC 3261 §19.1.2).
    pub fn default_port(self) -> u16 {
        if self == Transport::Tls { 5061 } else { 5060 }
    }
}

/// A socket that the box listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// UDP, TCP or TLS.
    pub transport: Transport,
    /// Its address and port.
    pub address: SocketAddr,
}

/// As in the configuration: `udp:0.0.0.0:5060`.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.name(), self.address)
    }
}

/// An open connection, numbered by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// One way between the box and a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// UDP, TCP or TLS.
    pub transport: Transport,
    /// Our address on it, with the port we listen on.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The connection; none: one to `remote` is to be opened, or over TLS, which the box opens none by, another one of this peer's
    /// is to be taken.
    pub connection: Option<ConnectionId>,
}

/// Bytes to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The way they go.
    pub flow: Flow,
    /// One message.
    pub bytes: Vec<u8>,
}

/// The way an answer goes back, and where else when its connection has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyPath {
    /// Where it goes.
    pub flow: Flow,
    fallback: SocketAddr,
}

impl ReplyPath {
    /// For a request with this topmost Via that came by `flow` (RFC 3261 §18.2.2, RFC 3581 §4). `maddr` is not honoured: it would
    /// make the box send where others want it to.
    pub fn new(via: &Via, flow: Flow) -> ReplyPath {
        let port = via.sent_by.port.unwrap_or(flow.transport.default_port());
        let fallback = SocketAddr::new(flow.remote.ip(), port);
        let remote = if flow.transport.is_reliable() || via.wants_rport() { flow.remote } else { fallback };
        ReplyPath { flow: Flow { remote, ..flow }, fallback }
    }

    /// The way to a peer that was heard before a restart.
    pub fn resumed(flow: Flow) -> ReplyPath {
        ReplyPath { flow, fallback: flow.remote }
    }

    /// The connection has closed: a new one to the sender's own port is to be opened.
    pub fn closed(&mut self, connection: ConnectionId) {
        if self.flow.connection == Some(connection) {
            self.flow = self.lasting();
        }
    }

    /// The way as it is when no connection is left.
    pub fn lasting(&self) -> Flow {
        match self.flow.transport {
            Transport::Udp => self.flow,
            Transport::Tcp | Transport::Tls => Flow { remote: self.fallback, connection: None, ..self.flow },
        }
    }
}

/// The way a request to `next_hop` goes, in a dialog whose peer was last heard on `known`.
pub fn request_flow(next_hop: &Uri, known: Flow, listeners: &[Listener]) -> Flow {
    let named = |name: &str| Transport::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(name));
    let transport = match (next_hop.scheme(), next_hop.param("transport").map(|name| named(&name))) {
        (Scheme::Sip, None) => Transport::Udp,
        (Scheme::Sip, Some(Some(transport))) => transport,
        (Scheme::Sips, None | Some(Some(Transport::Tcp | Transport::Tls))) => Transport::Tls,
        _ => return known,
    };
    let Some(at) = next_hop.host_port().and_then(|at| Some((at.ip()?, at.port))) else { return known };
    let (ip, remote) = (at.0, SocketAddr::new(at.0, at.1.unwrap_or(transport.default_port())));
    if (transport, remote) == (known.transport, known.remote) {
        return known;
    }
    match local_address(transport, ip, known, listeners) {
        Some(local) => Flow { transport, local, remote, connection: None },
        None => known,
    }
}

/// Which of our addresses a request to `ip` goes out from; none when the box has no listener of that kind.
fn local_address(transport: Transport, ip: IpAddr, known: Flow, listeners: &[Listener]) -> Option<SocketAddr> {
    let same_family = |address: SocketAddr| address.is_ipv4() == ip.is_ipv4();
    if transport == known.transport && same_family(known.local) {
        return Some(known.local);
    }
    let listener = listeners.iter().find(|l| l.transport == transport && same_family(l.address))?;
    // A listener on all addresses has none of its own: the peer reached us at that of the known flow.
    match listener.address.ip().is_unspecified() {
        true if same_family(known.local) => Some(SocketAddr::new(known.local.ip(), listener.address.port())),
        true => None,
        false => Some(listener.address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: Transport = Transport::Udp;
    const TCP: Transport = Transport::Tcp;

    fn flow(transport: Transport, remote: &str) -> Flow {
        let connection = transport.is_reliable().then_some(ConnectionId(1));
        Flow { transport, local: "192.0.2.30:5060".parse().unwrap(), remote: remote.parse().unwrap(), connection }
    }

    fn reply(via: &str, flow: Flow) -> ReplyPath {
        ReplyPath::new(&Via::parse(via.as_bytes()).unwrap(), flow)
    }

    #[test]
    fn answers_over_udp_go_to_the_source_address() {
        let from = flow(UDP, "192.0.2.20:40000");
        assert_eq!(reply("SIP/2.0/UDP 10.0.0.1:5070", from).flow.remote, "192.0.2.20:5070".parse().unwrap());
        assert_eq!(reply("SIP/2.0/UDP 10.0.0.1", from).flow.remote, "192.0.2.20:5060".parse().unwrap());
        assert_eq!(reply("SIP/2.0/UDP 10.0.0.1:5070;rport", from).flow.remote, from.remote);
        assert_eq!(reply("SIP/2.0/UDP 10.0.0.1:5070;maddr=203.0.113.1", from).flow.remote.ip(), from.remote.ip());
    }

    #[test]
    fn answers_over_tcp_outlive_their_connection() {
        let mut path = reply("SIP/2.0/TCP 192.0.2.20:5070", flow(TCP, "192.0.2.20:40000"));
        path.closed(ConnectionId(2));
        assert_eq!(path.flow, flow(TCP, "192.0.2.20:40000"));
        path.closed(ConnectionId(1));
        assert_eq!((path.flow.remote, path.flow.connection), ("192.0.2.20:5070".parse().unwrap(), None));
    }

    #[test]
    fn requests_go_to_addresses_and_else_back_where_the_peer_came_from() {
        let listeners = [
            Listener { transport: UDP, address: "0.0.0.0:5062".parse().unwrap() },
            Listener { transport: TCP, address: "[2001:db8::1]:5064".parse().unwrap() },
        ];
        let known = flow(TCP, "192.0.2.20:40000");
        let to = |uri: &str| request_flow(&Uri::parse(uri.as_bytes()).unwrap(), known, &listeners);
        let route = to("sip:0x1@192.0.2.20:15060;lr;confinstid=2026-03-02:14-05-RM:15060");
        assert_eq!((route.transport, route.remote), (UDP, "192.0.2.20:15060".parse().unwrap()));
        assert_eq!((route.local, route.connection), ("192.0.2.30:5062".parse().unwrap(), None));
        let contact = to("sip:Genesys@192.0.2.21;transport=TCP");
        assert_eq!((contact.transport, contact.remote, contact.local), (TCP, "192.0.2.21:5060".parse().unwrap(), known.local));
        assert_eq!(to("sip:[2001:db8::9];transport=tcp").local, "[2001:db8::1]:5064".parse().unwrap());
        for same in [
            "sip:mcp.example",
            "tel:+1",
            "sips:192.0.2.20",
            "sip:192.0.2.20;transport=ws",
            "sip:[::9]",
            "sip:192.0.2.20:40000;transport=tcp",
        ] {
            assert_eq!(to(same), known, "{same}");
        }
    }
}
