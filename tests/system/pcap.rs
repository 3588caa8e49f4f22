//! Captures for SIPp's `play_pcap_audio`: RTP of G.711 with the impairments a network makes, written packet by packet, so
//! that the test knows exactly what the box must have.

use std::fs;
use std::path::Path;

/// Samples of a packet of 20 ms.
pub(crate) const FRAME: usize = 160;

/// One RTP stream of a capture.
pub(crate) struct Stream<'a> {
    pub(crate) audio: &'a [u8],
    pub(crate) payload_type: u8,
    pub(crate) ssrc: u32,
    /// Which of the peer's ports it goes to: 0 the first m-line, 2 the second.
    pub(crate) port_offset: u16,
}

/// What the network does to a stream. The choice is by packet number, so that every run is the same.
#[derive(Clone, Copy, Default)]
pub(crate) struct Network {
    /// Every n-th packet comes behind its successor.
    pub(crate) reorder_every: Option<usize>,
    /// Every n-th packet comes twice.
    pub(crate) duplicate_every: Option<usize>,
    /// Every n-th packet is lost.
    pub(crate) lose_every: Option<usize>,
}

impl Network {
    pub(crate) fn loses(&self, n: usize) -> bool {
        self.lose_every.is_some_and(|every| n % every == every / 2)
    }

    /// Numbers of the packets in the order in which they arrive.
    fn order(&self, packets: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..packets).collect();
        if let Some(every) = self.reorder_every {
            (every / 2..packets.saturating_sub(1)).step_by(every).for_each(|n| order.swap(n, n + 1));
        }
        let twice = |n: usize| if self.duplicate_every.is_some_and(|every| n % every == 3) { 2 } else { 1 };
        order.into_iter().filter(|n| !self.loses(*n)).flat_map(|n| std::iter::repeat_n(n, twice(n))).collect()
    }
}

/// Writes a capture that plays all streams side by side in real time.
pub(crate) fn write(path: &Path, streams: &[Stream<'_>], network: Network) {
    let mut packets: Vec<(u64, Vec<u8>)> = Vec::new();
    for stream in streams {
        let order = network.order(stream.audio.len() / FRAME);
        let total = order.len() as u64;
        for (at, n) in order.into_iter().enumerate() {
            let time_us = 20_000 * (stream.audio.len() / FRAME) as u64 * at as u64 / total;
            packets.push((time_us, ethernet(stream.port_offset, &rtp(stream, n))));
        }
    }
    packets.sort_by_key(|(time_us, _)| *time_us);
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    for (time_us, packet) in packets {
        let len = packet.len() as u32;
        for word in [(time_us / 1_000_000) as u32, (time_us % 1_000_000) as u32, len, len] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    fs::write(path, file).unwrap();
}

fn rtp(stream: &Stream<'_>, n: usize) -> Vec<u8> {
    // Sequence number and timestamp begin shortly before they wrap.
    let sequence = 65_500_u16.wrapping_add(n as u16);
    let timestamp = 0xFFFF_F000_u32.wrapping_add((n * FRAME) as u32);
    let mut packet = vec![0x80, stream.payload_type | if n == 0 { 0x80 } else { 0 }];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(stream.ssrc.to_be_bytes());
    packet.extend(&stream.audio[n * FRAME..(n + 1) * FRAME]);
    packet
}

/// Ethernet, IPv4 and UDP around a payload; SIPp puts its own addresses in.
fn ethernet(port_offset: u16, payload: &[u8]) -> Vec<u8> {
    let udp_len = 8 + payload.len() as u16;
    let mut packet = vec![0; 12];
    packet.extend([0x08, 0x00, 0x45, 0]);
    packet.extend((20 + udp_len).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
    packet.extend((6_000 + port_offset).to_be_bytes());
    packet.extend((6_000 + port_offset).to_be_bytes());
    packet.extend(udp_len.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}
