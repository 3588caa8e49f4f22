//! Station `panel`: the box's lights and its button, for somebody who stands in front of it. Pure but for [`driver`]; the process
//! `nearend-panel` runs it, and a daemon that nobody shows goes on all the same.
//!
//! In: a [`Word`] of the daemon each second, the level of the button. Out: which lights are lit, what a press asks for.
//!
//! | file | responsible for |
//! |---|---|
//! | here | the panel: a word and a moment -> lights; what is asked for |
//! | [`light`] | colours and blink codes, and when such a light is lit |
//! | [`button`] | a bouncing contact -> short press, 3 s, 10 s with confirmation |
//! | [`board`] | how a board's lights and button are connected |
//! | [`driver`] | GPIO (rppal), LED class and input events, simulation; the socket between daemon and panel |
//!
//! What the lights mean to people: docs/panel.md.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::MonoTime;

pub mod board;
pub mod button;
pub mod driver;
pub mod light;

use button::{Button, Press};
use light::{Colour, Light, Pattern};

/// Where the panel listens to the daemon.
pub const SOCKET: &str = "/run/nearend-panel/socket";

/// A longer word is none.
pub const MOST_WORD_BYTES: usize = 1_024;

/// A daemon that has said nothing for so long does not run.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// How long what was asked for is shown.
const ANSWER_FOR: Duration = Duration::from_secs(2);

/// What the daemon says of itself, each second: a JSON object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// No new call is taken.
    pub refusing: bool,
    /// Recordings that run.
    pub running: u32,
    /// Recordings that are not yet at every target.
    pub waiting: u32,
    /// A target does not take recordings.
    pub target_trouble: bool,
    /// Nobody sets the clock.
    pub clock_wrong: bool,
    /// Alarms that call for a person now.
    pub critical: u32,
    /// Other alarms.
    pub warnings: u32,
}

/// The four lights, in the order in which they stand on a box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lights {
    /// Is the box at work?
    pub power: Light,
    /// Are calls recorded?
    pub recording: Light,
    /// Does it arrive in the data centre?
    pub wan: Light,
    /// Is a person needed?
    pub fault: Light,
}

/// What a press asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Say on the loudspeaker how the box is: so many short tones as the fault light blinks, or a long one when all is well.
    SayStatus(u8),
    /// Record a call of the box to itself.
    TestCall,
    /// Forget everything: configuration, identity, recordings.
    FactoryReset,
}

/// The panel between two moments.
#[derive(Default)]
pub struct Panel {
    word: Option<(MonoTime, Word)>,
    button: Button,
    answer: Option<(MonoTime, Press)>,
}

impl Panel {
    /// The daemon has said something.
    pub fn hear(&mut self, now: MonoTime, word: Word) {
        self.word = Some((now, word));
    }

    /// The button has this level; to be told often, also when it is the same.
    pub fn level(&mut self, now: MonoTime, is_down: bool) -> Option<Wish> {
        let press = self.button.level(now, is_down)?;
        self.answer = Some((now, press));
        match press {
            Press::Short => Some(Wish::SayStatus(self.faults(now))),
            Press::Long => Some(Wish::TestCall),
            Press::Confirmed => Some(Wish::FactoryReset),
            Press::Cancelled => None,
        }
    }

    /// What is to be shown.
    pub fn lights(&self, now: MonoTime) -> Lights {
        if self.button.asks_for_confirmation() {
            let all = Light::new(Colour::Red, Pattern::Fast);
            return Lights { power: all, recording: all, wan: all, fault: all };
        }
        let mut lights = self.of_word(now);
        if let Some((at, press)) = self.answer
            && now.since(at) < ANSWER_FOR
        {
            lights.power = Light::new(if press == Press::Confirmed { Colour::Red } else { Colour::Yellow }, Pattern::Fast);
        } else if self.button.is_for_test_call() {
            lights.power = Light::new(Colour::Yellow, Pattern::Steady);
        }
        lights
    }

    fn heard(&self, now: MonoTime) -> Option<&Word> {
        self.word.as_ref().filter(|(at, _)| now.since(*at) < SILENT_AFTER).map(|(_, word)| word)
    }

    /// How often the fault light blinks; the most urgent first.
    fn faults(&self, now: MonoTime) -> u8 {
        match self.heard(now) {
            None => 4,
            Some(word) if word.refusing => 1,
            Some(word) if word.critical > 0 => 2,
            Some(word) if word.clock_wrong => 3,
            Some(_) => 0,
        }
    }

    fn of_word(&self, now: MonoTime) -> Lights {
        let fault = match self.faults(now) {
            0 => Light::default(),
            times => Light::new(Colour::Red, Pattern::Code(times)),
        };
        let Some(word) = self.heard(now) else {
            // Power, because somebody must light this lamp; not steady, because no call is recorded.
            return Lights { power: Light::new(Colour::Yellow, Pattern::Slow), fault, ..Lights::default() };
        };
        let power = match (word.refusing, word.warnings) {
            (true, _) => Light::new(Colour::Red, Pattern::Steady),
            (false, 0) => Light::new(Colour::Green, Pattern::Steady),
            (false, _) => Light::new(Colour::Yellow, Pattern::Steady),
        };
        let recording = if word.running > 0 { Light::new(Colour::Green, Pattern::Steady) } else { Light::default() };
        let wan = match (word.target_trouble, word.waiting) {
            (true, _) => Light::new(Colour::Red, Pattern::Slow),
            (false, 0) => Light::new(Colour::Green, Pattern::Steady),
            (false, _) => Light::new(Colour::Yellow, Pattern::Slow),
        };
        Lights { power, recording, wan, fault }
    }
}

#[cfg(test)]
mod tests;
