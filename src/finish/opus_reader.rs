//! An Ogg Opus file as [`ogg_opus`](super::ogg_opus) writes it -> frames of G.711, cut to the sample as a player does (RFC 7845 §4). Pure.

use std::io::{self, ErrorKind, Read};

use opus::MSDecoder;

use super::ogg::{HEAD_BYTES, checksum};
use crate::model::MediaTime;
use crate::model::block::Law;
use crate::model::g711::{linear_to_alaw, linear_to_ulaw};

const CHANNELS: usize = 2;

/// Granule positions count at 48 kHz.
const GRANULES: u64 = 6;

/// The longest packet that there is: 120 ms.
const MOST_SAMPLES: usize = 960;

/// Reads all of it and hands out frames: a byte of channel 1, a byte of channel 2, and so on.
///
/// # Errors
/// Those of the file, and when it is no such file.
pub fn read(mut file: impl Read, law: Law, mut out: impl FnMut(&[u8])) -> io::Result<()> {
    let decoder = MSDecoder::new(MediaTime::RATE as u32, 2, 0, &[0, 1]);
    let mut stream = Stream { decoder: decoder.map_err(|e| bad(&e))?, packets: 0, skip: 0, decoded: 0, given: 0 };
    let mut frames = Vec::new();
    while let Some(page) = Page::read(&mut file)? {
        let mut at = 0;
        for length in page.packets() {
            let packet = page.body.get(at..at + length).ok_or_else(|| bad(&"a packet goes over the end of its page"))?;
            at += length;
            stream.packet(packet, law, &mut frames)?;
        }
        stream.cut(page.granule, &mut frames);
        out(&frames);
        frames.clear();
    }
    Ok(())
}

struct Page {
    granule: u64,
    lengths: Vec<u8>,
    body: Vec<u8>,
}

impl Page {
    /// The next one; none at the end of the file.
    fn read(file: &mut impl Read) -> io::Result<Option<Page>> {
        let mut head = [0; HEAD_BYTES];
        match file.read(&mut head[..1])? {
            0 => return Ok(None),
            _ => file.read_exact(&mut head[1..])?,
        }
        if !head.starts_with(b"OggS\0") {
            return Err(bad(&"no page begins here"));
        }
        let mut lengths = vec![0; usize::from(head[HEAD_BYTES - 1])];
        file.read_exact(&mut lengths)?;
        let mut body = vec![0; lengths.iter().map(|length| usize::from(*length)).sum()];
        file.read_exact(&mut body)?;
        let granule = head[6..14].try_into().map_or(0, u64::from_le_bytes);
        let sum = head[22..26].try_into().map_or(0, u32::from_le_bytes);
        head[22..26].fill(0);
        if checksum(&[&head, &lengths, &body]) != sum {
            return Err(bad(&"a page is damaged"));
        }
        Ok(Some(Page { granule, lengths, body }))
    }

    /// The lengths of its packets: a segment of less than 255 bytes ends one.
    fn packets(&self) -> impl Iterator<Item = usize> {
        self.lengths
            .split_inclusive(|length| *length < 255)
            .map(|segments| segments.iter().map(|length| usize::from(*length)).sum())
    }
}

struct Stream {
    decoder: MSDecoder,
    packets: u64,
    /// Samples at the start that are none.
    skip: u64,
    decoded: u64,
    given: u64,
}

impl Stream {
    fn packet(&mut self, packet: &[u8], law: Law, frames: &mut Vec<u8>) -> io::Result<()> {
        self.packets += 1;
        match self.packets {
            1 => {
                let skip = packet.get(10..12).filter(|_| packet.starts_with(b"OpusHead\x01\x02"));
                let skip = skip.ok_or_else(|| bad(&"it does not begin with the head of two channels"))?;
                self.skip = u64::from(u16::from_le_bytes([skip[0], skip[1]])) / GRANULES;
            }
            2 => {} // tags
            _ => {
                let coded = if law == Law::Pcmu { linear_to_ulaw } else { linear_to_alaw };
                let mut linear = [0_i16; CHANNELS * MOST_SAMPLES];
                let samples = self.decoder.decode(packet, &mut linear, false).map_err(|e| bad(&e))?;
                let skipped = usize::try_from(self.skip.saturating_sub(self.decoded)).unwrap_or(samples).min(samples);
                frames.extend(linear[CHANNELS * skipped..CHANNELS * samples].iter().map(|sample| coded(*sample)));
                self.decoded += samples as u64;
            }
        }
        Ok(())
    }

    /// A page says how far the stream has come with it: the last one cuts what only fills its last packet.
    fn cut(&mut self, granule: u64, frames: &mut Vec<u8>) {
        let end = (granule / GRANULES).saturating_sub(self.skip);
        let room = usize::try_from(end.saturating_sub(self.given)).unwrap_or(usize::MAX);
        frames.truncate(room.saturating_mul(CHANNELS));
        self.given += (frames.len() / CHANNELS) as u64;
    }
}

fn bad(what: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("no Ogg Opus of this box: {what}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::ogg_opus::Opus;
    use super::*;
    use crate::model::g711::ulaw_to_linear;

    fn file(frames: &[u8]) -> Vec<u8> {
        let mut opus = Opus::new(Vec::new(), 1, Law::Pcmu).unwrap();
        opus.write_all(frames).unwrap();
        opus.finish().unwrap()
    }

    fn frames_of(file: &[u8], law: Law) -> io::Result<Vec<u8>> {
        let mut frames = Vec::new();
        read(file, law, |part| frames.extend_from_slice(part)).map(|()| frames)
    }

    #[test]
    fn what_was_written_is_heard_at_its_place_and_in_its_channel() {
        let bang = |at: usize| if (12_000..12_040).contains(&at) { 0x80 } else { 0xFF };
        let frames: Vec<u8> = (0..20_123).flat_map(|at| [bang(at), 0xFF]).collect();
        let heard = frames_of(&file(&frames), Law::Pcmu).unwrap();
        assert_eq!(heard.len(), frames.len());
        let loudest = |channel: usize| {
            let samples = heard.iter().skip(channel).step_by(2).map(|code| ulaw_to_linear(*code).unsigned_abs());
            samples.enumerate().max_by_key(|(_, loud)| *loud).unwrap()
        };
        assert!(loudest(0).0.abs_diff(12_020) < 40 && loudest(0).1 > 5_000, "{:?}", loudest(0));
        assert!(loudest(1).1 < 100, "{:?}", loudest(1));
        assert!(frames_of(&file(&[]), Law::Pcma).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_such_file_is_an_error() {
        let good = file(&[0x90; 40_000]);
        for at in (0..good.len()).step_by(97) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(frames_of(&bad, Law::Pcmu).is_err(), "byte {at}");
            assert!(at == 0 || frames_of(&good[..at], Law::Pcmu).is_err() || good[at..].starts_with(b"OggS"), "cut at {at}");
        }
        assert!(frames_of(b"RIFF", Law::Pcmu).is_err());
    }
}
