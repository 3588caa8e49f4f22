//! Colours and blink codes: what a light shows, and whether it is lit at a moment.

use std::time::Duration;

/// What a light with a green and a red half can show; one with a single half is lit in every colour, and its pattern still tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// Dark.
    #[default]
    Off,
    /// Well.
    Green,
    /// Both halves: look when there is time.
    Yellow,
    /// Look now.
    Red,
}

/// How a light is lit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pattern {
    /// All the time.
    #[default]
    Steady,
    /// Half a second each.
    Slow,
    /// An eighth of a second each.
    Fast,
    /// So many flashes, then a pause.
    Code(u8),
}

/// A light.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Light {
    colour: Colour,
    pattern: Pattern,
}

const SLOW_MS: u64 = 500;
const FAST_MS: u64 = 125;
const FLASH_MS: u64 = 200;
const BETWEEN_MS: u64 = 300;
const PAUSE_MS: u64 = 1_500;

impl Light {
    /// A light of a colour, in a pattern.
    pub fn new(colour: Colour, pattern: Pattern) -> Light {
        Light { colour, pattern }
    }

    /// What it looks like so long after the panel has begun: all lights blink together.
    pub fn at(self, elapsed: Duration) -> Colour {
        // A Duration of u64 milliseconds ends after half a billion years.
        let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let is_lit = match self.pattern {
            Pattern::Steady => true,
            Pattern::Slow => (ms / SLOW_MS).is_multiple_of(2),
            Pattern::Fast => (ms / FAST_MS).is_multiple_of(2),
            Pattern::Code(times) => {
                let (flashes, each) = (u64::from(times), FLASH_MS + BETWEEN_MS);
                let within = ms % (flashes * each + PAUSE_MS);
                within < flashes * each && within % each < FLASH_MS
            }
        };
        if is_lit { self.colour } else { Colour::Off }
    }

    /// Whether the halves of the colour are lit: green, red.
    pub fn halves(colour: Colour) -> [bool; 2] {
        match colour {
            Colour::Off => [false, false],
            Colour::Green => [true, false],
            Colour::Yellow => [true, true],
            Colour::Red => [false, true],
        }
    }
}
