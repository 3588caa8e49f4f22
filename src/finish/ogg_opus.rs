//! Two channels of G.711 -> Ogg Opus (RFC 6716, RFC 7845). Pure: bytes in, bytes out.
//!
//! Each party is a mono stream of its own (mapping family 1, two streams, none coupled), so that nothing of one channel is ever heard on
//! the other. The last granule position cuts the file to the sample, and the pre-skip makes up for what the encoder
//! delays: what a player shows stands where it stands in the WAV.

use std::io::{self, Write};

use opus::{Application, Bitrate, MSEncoder, Signal};

use super::ogg::Pages;
use crate::model::MediaTime;
use crate::model::block::Law;
use crate::model::g711::{alaw_to_linear, ulaw_to_linear};

/// Bits per second of each channel: speech of a telephone's band loses nothing that is heard.
pub const CHANNEL_BITS_PER_S: i32 = 16_000;

/// Of 0 to 10: low, because it is to be cheap (docs/decisions/0036).
pub const COMPLEXITY: i32 = 1;

const CHANNELS: usize = 2;
const RATE: u32 = MediaTime::RATE as u32;

/// Samples of a packet per channel: 60 ms, the longest that the speech codec makes in one piece, for the least overhead.
const PACKET: usize = 480;

/// Granule positions count at 48 kHz, whatever the input was.
const GRANULES: u64 = 6;

/// Longer than any packet of two streams at this rate.
const MAX_PACKET_BYTES: usize = 4_000;

/// Encodes the frames that are written to it: bytes of channel 1 and 2 in turn, in `law`.
pub struct Opus<W: Write> {
    encoder: MSEncoder,
    pages: Pages<W>,
    law: Law,
    pre_skip: u64,
    /// Linear samples that do not make a packet yet.
    waiting: Vec<i16>,
    /// Samples of each channel that are encoded.
    encoded: u64,
    packet: Vec<u8>,
}

impl<W: Write> Opus<W> {
    /// Writes the two head pages. `serial` tells streams apart that are put into one file.
    ///
    /// # Errors
    /// Those of the writer, and when libopus has no memory.
    pub fn new(out: W, serial: u32, law: Law) -> io::Result<Opus<W>> {
        let encoder = encoder().map_err(failed)?;
        let (encoder, pre_skip) = encoder;
        let mut pages = Pages::new(out, serial);
        pages.packet(&head(pre_skip), 0)?;
        pages.end_page()?;
        pages.packet(&tags(), 0)?;
        pages.end_page()?;
        let waiting = Vec::with_capacity(CHANNELS * PACKET);
        Ok(Opus { encoder, pages, law, pre_skip: pre_skip.into(), waiting, encoded: 0, packet: vec![0; MAX_PACKET_BYTES] })
    }

    /// Encodes what waits and writes the end.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(mut self) -> io::Result<W> {
        let samples = self.encoded + (self.waiting.len() / CHANNELS) as u64;
        let end = self.pre_skip + samples * GRANULES;
        while self.encoded * GRANULES < end {
            self.waiting.resize(CHANNELS * PACKET, 0);
            self.encode()?;
        }
        self.pages.finish(end)
    }

    fn encode(&mut self) -> io::Result<()> {
        let length = self.encoder.encode(&self.waiting, &mut self.packet).map_err(failed)?;
        self.waiting.clear();
        self.encoded += PACKET as u64;
        self.pages.packet(&self.packet[..length], self.encoded * GRANULES)
    }
}

impl<W: Write> Write for Opus<W> {
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        let linear = match self.law {
            Law::Pcmu => ulaw_to_linear,
            Law::Pcma => alaw_to_linear,
        };
        let room = (CHANNELS * PACKET - self.waiting.len()).min(frames.len());
        self.waiting.extend(frames[..room].iter().map(|byte| linear(*byte)));
        if self.waiting.len() == CHANNELS * PACKET {
            self.encode()?;
        }
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // only `finish` knows where the file ends
    }
}

/// The encoder, and how many samples at 48 kHz it delays.
fn encoder() -> opus::Result<(MSEncoder, u16)> {
    let mut encoder = MSEncoder::new(RATE, 2, 0, &[0, 1], Application::Voip)?;
    encoder.set_bitrate(Bitrate::Bits(CHANNELS as i32 * CHANNEL_BITS_PER_S))?;
    encoder.set_complexity(COMPLEXITY)?;
    encoder.set_signal(Signal::Voice)?;
    let lookahead = u64::try_from(encoder.get_lookahead()?).unwrap_or(0);
    Ok((encoder, u16::try_from(lookahead * GRANULES).unwrap_or(0)))
}

/// RFC 7845 §5.1.
fn head(pre_skip: u16) -> Vec<u8> {
    let mut head = b"OpusHead\x01\x02".to_vec(); // version, channels
    head.extend_from_slice(&pre_skip.to_le_bytes());
    head.extend_from_slice(&RATE.to_le_bytes());
    head.extend_from_slice(&[0, 0]); // gain
    head.extend_from_slice(&[1, 2, 0, 0, 1]); // mapping family 1: two streams, none coupled; left is the first
    head
}

/// RFC 7845 §5.2. No comment: what is known about the call stands in `recording.json`.
fn tags() -> Vec<u8> {
    let vendor = opus::version();
    let mut tags = b"OpusTags".to_vec();
    tags.extend_from_slice(&(vendor.len() as u32).to_le_bytes());
    tags.extend_from_slice(vendor.as_bytes());
    tags.extend_from_slice(&0_u32.to_le_bytes());
    tags
}

fn failed(error: opus::Error) -> io::Error {
    io::Error::other(format!("libopus: {error}"))
}

#[cfg(test)]
mod tests {
    use opus::MSDecoder;

    use super::*;
    use crate::model::g711::linear_to_ulaw;

    /// A tone on channel 1 and another on channel 2, `samples` long, with a bang at sample 12,000 of channel 1.
    fn frames(samples: usize) -> Vec<u8> {
        let tone = |at: usize, hz: f64| ((at as f64 * hz * std::f64::consts::TAU / 8_000.0).sin() * 6_000.0) as i16;
        let frame = |at: usize| {
            let first = if (12_000..12_040).contains(&at) { 30_000 } else { tone(at, 400.0) };
            [linear_to_ulaw(first), linear_to_ulaw(tone(at, 700.0))]
        };
        (0..samples).flat_map(frame).collect()
    }

    /// Payload packets of an Ogg stream of ours, and the granule of its last page.
    fn packets(ogg: &[u8]) -> (Vec<Vec<u8>>, u64) {
        let (mut at, mut packets, mut granule) = (0, Vec::new(), 0);
        while at < ogg.len() {
            assert_eq!(&ogg[at..at + 4], b"OggS");
            granule = u64::from_le_bytes(ogg[at + 6..at + 14].try_into().unwrap());
            let segments = usize::from(ogg[at + 26]);
            let lengths = ogg[at + 27..at + 27 + segments].to_vec();
            at += 27 + segments;
            let mut packet = Vec::new();
            for length in lengths {
                packet.extend_from_slice(&ogg[at..at + usize::from(length)]);
                at += usize::from(length);
                if length < 255 {
                    packets.push(std::mem::take(&mut packet));
                }
            }
        }
        (packets, granule)
    }

    fn encoded(frames: &[u8]) -> Vec<u8> {
        let mut opus = Opus::new(Vec::new(), 1, Law::Pcmu).unwrap();
        frames.chunks(777).for_each(|piece| opus.write_all(piece).unwrap());
        opus.finish().unwrap()
    }

    /// Both channels at 8 kHz, with pre-skip and end cut as a player does.
    fn decoded(ogg: &[u8]) -> [Vec<i16>; 2] {
        let (packets, end) = packets(ogg);
        assert_eq!(&packets[0][..10], b"OpusHead\x01\x02");
        let pre_skip = usize::from(u16::from_le_bytes([packets[0][10], packets[0][11]]));
        assert_eq!(&packets[1][..8], b"OpusTags");
        let mut decoder = MSDecoder::new(8_000, 2, 0, &[0, 1]).unwrap();
        let mut out = vec![0; CHANNELS * PACKET];
        let mut all = Vec::new();
        for packet in &packets[2..] {
            let samples = decoder.decode(packet, &mut out, false).unwrap();
            all.extend_from_slice(&out[..CHANNELS * samples]);
        }
        let shown = &all[CHANNELS * pre_skip / 6..CHANNELS * end as usize / 6];
        [0, 1].map(|channel| shown.iter().skip(channel).step_by(CHANNELS).copied().collect())
    }

    fn strength(samples: &[i16], hz: f64) -> f64 {
        let angle = |at: usize| at as f64 * hz * std::f64::consts::TAU / 8_000.0;
        let (mut re, mut im) = (0.0, 0.0);
        for (at, sample) in samples.iter().enumerate() {
            re += f64::from(*sample) * angle(at).cos();
            im += f64::from(*sample) * angle(at).sin();
        }
        re.hypot(im) / samples.len() as f64
    }

    #[test]
    fn channels_stay_apart_and_everything_stays_in_its_place() {
        let [first, second] = decoded(&encoded(&frames(20_011)));
        assert_eq!((first.len(), second.len()), (20_011, 20_011), "to the sample");
        let bang = first.iter().position(|sample| sample.unsigned_abs() > 15_000).unwrap();
        assert!(bang.abs_diff(12_000) <= 16, "within 2 ms: {bang}");
        let (first, second) = (&first[1_000..9_000], &second[1_000..9_000]);
        assert!(strength(first, 400.0) > 100.0 * strength(first, 700.0), "nothing of the other channel");
        assert!(strength(second, 700.0) > 100.0 * strength(second, 400.0));
    }

    #[test]
    fn a_call_without_a_sample_is_a_file_all_the_same() {
        assert_eq!(decoded(&encoded(&[])), [Vec::<i16>::new(), Vec::new()]);
        assert_eq!(decoded(&encoded(&frames(1)))[0].len(), 1);
    }

    #[test]
    fn it_takes_no_more_than_its_bits() {
        let mut random = fastrand::Rng::with_seed(1);
        let noise: Vec<u8> = (0..2 * 80_000).map(|_| random.u8(..)).collect();
        let bytes_per_minute = encoded(&noise).len() * 6;
        assert!(bytes_per_minute < 255_000, "{bytes_per_minute}: noise at full scale is the worst that there is");
    }
}
