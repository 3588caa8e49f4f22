//! From where a stream may be sent: only from the negotiated address, or, with latching for peers behind NAT, from the
//! address that was heard first (RFC 7362 calls it latching). Either way the source port is pinned once a packet was heard.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::model::MonoTime;

/// A pinned source that has been silent for this long gives way to another one.
const SILENT: Duration = Duration::from_secs(2);

/// Decides which datagrams belong to a stream by where they come from.
#[derive(Debug)]
pub struct Source {
    /// The negotiated address; none until it is known.
    remote: Option<IpAddr>,
    latch: bool,
    /// Whom the stream was last heard from, and when.
    pinned: Option<(SocketAddr, MonoTime)>,
}

impl Source {
    /// Takes packets from the address of `remote`, or with `latch` from whoever is heard first. While `remote` is the
    /// unspecified address nothing is known, and without `latch` nothing is taken.
    pub fn new(remote: SocketAddr, latch: bool) -> Source {
        Source { remote: known(remote), latch, pinned: None }
    }

    /// The session was renegotiated. The unspecified address (hold in the manner of RFC 2543) changes nothing: false.
    pub fn renegotiate(&mut self, remote: SocketAddr) -> bool {
        let Some(ip) = known(remote) else { return false };
        self.remote = Some(ip);
        self.pinned = None;
        true
    }

    /// Whether the address of the peer is known at all.
    pub fn is_known(&self) -> bool {
        self.remote.is_some()
    }

    /// Whether RTP from `from` belongs to the stream.
    pub fn admits(&self, from: SocketAddr, arrived: MonoTime) -> bool {
        match self.pinned {
            Some((pinned, _)) if pinned == from => true,
            Some((_, heard)) if arrived.since(heard) < SILENT => false,
            _ => self.latch || self.remote == Some(from.ip().to_canonical()),
        }
    }

    /// Whether RTCP from `from` belongs to the stream: its port is not the one of the RTP.
    pub fn admits_rtcp(&self, from: SocketAddr) -> bool {
        let ip = from.ip().to_canonical();
        self.remote == Some(ip) || self.latch && self.pinned.is_some_and(|(pinned, _)| pinned.ip().to_canonical() == ip)
    }

    /// A good packet came from `from`.
    pub fn heard(&mut self, from: SocketAddr, arrived: MonoTime) {
        self.pinned = Some((from, arrived));
    }
}

fn known(remote: SocketAddr) -> Option<IpAddr> {
    let ip = remote.ip().to_canonical();
    (!ip.is_unspecified()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: MonoTime = MonoTime(10_000_000);

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn only_the_negotiated_address_and_then_only_one_port() {
        let mut source = Source::new(at("10.0.0.1:4000"), false);
        assert!(!source.admits(at("10.0.0.2:4000"), T));
        assert!(source.admits(at("10.0.0.1:5000"), T), "symmetric RTP (RFC 4961) is not required of the peer");
        source.heard(at("10.0.0.1:5000"), T);
        assert!(!source.admits(at("10.0.0.1:5002"), T.after(Duration::from_millis(1_999))));
        assert!(source.admits(at("10.0.0.1:5002"), T.after(SILENT)));
        assert!(source.admits_rtcp(at("10.0.0.1:5003")) && !source.admits_rtcp(at("10.0.0.2:5003")));
    }

    #[test]
    fn a_renegotiation_unpins() {
        let mut source = Source::new(at("10.0.0.1:4000"), false);
        source.heard(at("10.0.0.1:4000"), T);
        assert!(source.renegotiate(at("10.0.0.9:4000")));
        assert!(source.admits(at("10.0.0.9:7000"), T) && !source.admits(at("10.0.0.1:4000"), T));
        assert!(!source.renegotiate(at("0.0.0.0:4000")));
        assert!(source.admits(at("10.0.0.9:7000"), T));
    }

    #[test]
    fn nothing_is_taken_before_the_peer_is_known() {
        let mut source = Source::new(at("0.0.0.0:0"), false);
        assert!(!source.is_known() && !source.admits(at("10.0.0.1:4000"), T));
        assert!(source.renegotiate(at("10.0.0.1:4000")));
        assert!(source.is_known() && source.admits(at("10.0.0.1:4000"), T));
    }

    #[test]
    fn latching_takes_the_first_and_keeps_it_while_it_speaks() {
        let mut source = Source::new(at("192.168.0.1:4000"), true);
        assert!(source.admits(at("203.0.113.5:61000"), T));
        source.heard(at("203.0.113.5:61000"), T);
        assert!(!source.admits(at("192.168.0.1:4000"), T));
        assert!(source.admits(at("192.168.0.1:4000"), T.after(SILENT)));
        assert!(source.admits_rtcp(at("203.0.113.5:61001")));
    }

    #[test]
    fn an_ipv4_address_mapped_into_ipv6_is_itself() {
        let source = Source::new(at("10.0.0.1:4000"), false);
        assert!(source.admits(at("[::ffff:10.0.0.1]:4000"), T));
    }
}
