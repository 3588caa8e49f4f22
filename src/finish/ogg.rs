//! Packets -> an Ogg stream (RFC 3533), written from the beginning to the end without ever going back. Pure.
//!
//! ```text
//! "OggS" │ version 0 │ flags: 2 first, 4 last │ granule position 8 │ serial 4 │ page number 4 │ CRC-32 4 │
//! segments 1 │ their lengths … │ packets …
//! ```
//!
//! A packet never goes over the end of a page here, so each page can be read by itself.

use std::io::{self, Write};

/// Packets of a page at most; with packets of 60 ms that is about a second, as RFC 7845 §7 advises.
const PAGE_PACKETS: usize = 16;

/// Bytes of a page before the lengths of its segments.
pub(super) const HEAD_BYTES: usize = 27;

const MAX_SEGMENTS: usize = 255;

const FIRST: u8 = 2;
const LAST: u8 = 4;

/// Writes one logical stream.
pub struct Pages<W> {
    out: W,
    serial: u32,
    number: u32,
    lengths: Vec<u8>,
    packets: usize,
    body: Vec<u8>,
    granule: u64,
}

impl<W: Write> Pages<W> {
    /// Nothing is written yet.
    pub fn new(out: W, serial: u32) -> Pages<W> {
        Pages { out, serial, number: 0, lengths: Vec::new(), packets: 0, body: Vec::new(), granule: 0 }
    }

    /// Adds a packet, at whose end the stream has come to `granule`.
    ///
    /// # Errors
    /// Those of the writer; a packet that is too long for a page (65,025 bytes).
    pub fn packet(&mut self, packet: &[u8], granule: u64) -> io::Result<()> {
        let segments = packet.len() / 255 + 1;
        if segments > MAX_SEGMENTS {
            return Err(io::Error::other("a packet does not fit into an Ogg page"));
        }
        if self.packets == PAGE_PACKETS || self.lengths.len() + segments > MAX_SEGMENTS {
            self.write_page(0)?;
        }
        self.lengths.resize(self.lengths.len() + segments - 1, 255);
        self.lengths.push((packet.len() % 255) as u8);
        self.body.extend_from_slice(packet);
        self.packets += 1;
        self.granule = granule;
        Ok(())
    }

    /// What was added so far fills a page of its own.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn end_page(&mut self) -> io::Result<()> {
        self.write_page(0)
    }

    /// Writes the last page, which says where the stream ends.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(mut self, granule: u64) -> io::Result<W> {
        self.granule = granule;
        self.write_page(LAST)?;
        Ok(self.out)
    }

    fn write_page(&mut self, flags: u8) -> io::Result<()> {
        let flags = if self.number == 0 { flags | FIRST } else { flags };
        let mut head = Vec::with_capacity(HEAD_BYTES + self.lengths.len());
        head.extend_from_slice(b"OggS\0");
        head.push(flags);
        head.extend_from_slice(&self.granule.to_le_bytes());
        head.extend_from_slice(&self.serial.to_le_bytes());
        head.extend_from_slice(&self.number.to_le_bytes());
        head.extend_from_slice(&[0; 4]);
        head.push(self.lengths.len() as u8); // at most MAX_SEGMENTS
        head.extend_from_slice(&self.lengths);
        let crc = checksum(&[&head, &self.body]);
        head[22..26].copy_from_slice(&crc.to_le_bytes());
        self.out.write_all(&head)?;
        self.out.write_all(&self.body)?;
        self.number = self.number.wrapping_add(1);
        self.packets = 0;
        self.lengths.clear();
        self.body.clear();
        Ok(())
    }
}

/// The checksum of a page in parts; its own four bytes count as zero.
pub(super) fn checksum(parts: &[&[u8]]) -> u32 {
    parts.iter().fold(0, |sum, part| crc(sum, part))
}

/// Polynomial 0x04C11DB7, nothing inverted or mirrored.
fn crc(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| (crc << 8) ^ CRC[usize::from((crc >> 24) as u8 ^ byte)])
}

const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 0x8000_0000 == 0 { value << 1 } else { (value << 1) ^ 0x04C1_1DB7 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_page() {
        let mut pages = Pages::new(Vec::new(), 7);
        pages.packet(b"one", 5).unwrap();
        pages.packet(&[9; 255], 6).unwrap();
        let out = pages.finish(0x0102).unwrap();
        let head = [b"OggS\0".as_slice(), &[FIRST | LAST, 2, 1, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(out[..22], head);
        assert_eq!(out[26..30], [3, 3, 255, 0]);
        assert_eq!(&out[30..33], b"one");
        assert_eq!(out.len(), 30 + 3 + 255);
    }

    #[test]
    fn the_crc_is_that_of_the_catalogue() {
        assert_eq!(crc(0, b"123456789"), 0x89A1_897F);
    }

    #[test]
    fn pages_are_cut_between_packets() {
        let mut pages = Pages::new(Vec::new(), 1);
        for n in 0..40_u64 {
            pages.packet(&[0; 300], n).unwrap();
        }
        let out = pages.finish(39).unwrap();
        let starts: Vec<usize> = (0..out.len()).filter(|at| out[*at..].starts_with(b"OggS")).collect();
        let granules: Vec<u8> = starts.iter().map(|at| out[at + 6]).collect();
        assert_eq!(granules, [15, 31, 39], "of each page's last packet");
        assert_eq!(starts.iter().map(|at| out[at + 5]).collect::<Vec<_>>(), [FIRST, 0, LAST]);
        assert!(Pages::new(Vec::new(), 1).packet(&[0; 65_025], 0).is_err());
    }
}
