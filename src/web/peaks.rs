//! The picture of a recording: how loud each party was, in so many steps. Pure.

use serde::Serialize;

use crate::model::block::Law;
use crate::model::g711::{alaw_to_linear, ulaw_to_linear};

/// Samples of a step while it is read: a tenth of a second.
const FINE: usize = 800;

/// Steps at most.
pub const MOST: usize = 2_000;

/// What a browser draws.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Picture {
    /// Milliseconds of the whole.
    pub length_ms: u64,
    /// For each channel the highest level of each step, in percent of full scale.
    pub channels: [Vec<u8>; 2],
}

/// Takes frames, a byte of channel 1, a byte of channel 2, and so on.
#[derive(Debug)]
pub struct Peaks {
    law: Law,
    fine: [Vec<u8>; 2],
    frames: usize,
    highest: [u16; 2],
}

impl Peaks {
    /// Of a file of this law.
    pub fn new(law: Law) -> Peaks {
        Peaks { law, fine: [Vec::new(), Vec::new()], frames: 0, highest: [0; 2] }
    }

    /// The next frames.
    pub fn add(&mut self, frames: &[u8]) {
        for frame in frames.chunks_exact(2) {
            for (highest, byte) in self.highest.iter_mut().zip(frame) {
                let sample = match self.law {
                    Law::Pcmu => ulaw_to_linear(*byte),
                    Law::Pcma => alaw_to_linear(*byte),
                };
                // The smallest value of A-law is what silence is there.
                *highest = (*highest).max(if sample.unsigned_abs() <= 8 { 0 } else { sample.unsigned_abs() });
            }
            self.frames += 1;
            if self.frames.is_multiple_of(FINE) {
                self.step();
            }
        }
    }

    /// All of it in `count` steps, or in fewer when it is short.
    pub fn picture(mut self, count: usize) -> Picture {
        if !self.frames.is_multiple_of(FINE) {
            self.step();
        }
        let count = count.clamp(1, MOST);
        let channels = self.fine.map(|fine| {
            let count = count.min(fine.len());
            let step = |n: usize| n * fine.len() / count.max(1);
            (0..count).map(|n| fine[step(n)..step(n + 1)].iter().copied().max().unwrap_or_default()).collect()
        });
        Picture { length_ms: self.frames as u64 / 8, channels }
    }

    fn step(&mut self) {
        for (fine, highest) in self.fine.iter_mut().zip(&mut self.highest) {
            let percent = u32::from(std::mem::take(highest)) * 100 / 32_256;
            fine.push(percent.min(100) as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::g711::linear_to_ulaw;

    #[test]
    fn each_step_has_the_highest_of_its_channel() {
        let mut peaks = Peaks::new(Law::Pcmu);
        for n in 0..8_400_i32 {
            let loud = if (4_000..4_800).contains(&n) { 16_000 } else { 100 };
            peaks.add(&[linear_to_ulaw(loud), linear_to_ulaw(-3_300)]);
        }
        let picture = peaks.picture(11);
        assert_eq!(picture.length_ms, 1_050);
        assert_eq!(picture.channels[0], [0, 0, 0, 0, 0, 49, 0, 0, 0, 0, 0]);
        assert!(picture.channels[1].iter().all(|level| (9..=11).contains(level)), "{picture:?}");
    }

    #[test]
    fn fewer_steps_keep_what_is_loud_and_silence_is_none() {
        let mut peaks = Peaks::new(Law::Pcma);
        for n in 0..80_000 {
            peaks.add(&[if n == 40_001 { 0xAA } else { 0xD5 }, 0xD5]);
        }
        let picture = peaks.picture(3);
        assert_eq!((picture.channels[0].len(), picture.channels[0][1]), (3, 100), "{picture:?}");
        assert_eq!(picture.channels[1], [0, 0, 0]);
        assert_eq!(Peaks::new(Law::Pcma).picture(5).channels, [Vec::<u8>::new(), Vec::new()]);
    }
}
