//! The button: a contact that bounces -> what somebody meant.
//!
//! ```text
//! down ──► released before 3 s ──► Short
//!     3 s ──► released ──────────► Long
//!    10 s ──► released ──► pressed and released again within 10 s ──► Confirmed
//!                      └─► not ──────────────────────────────────────► Cancelled
//! ```
//!
//! A button that is down when the panel begins, or for longer than a minute, is stuck: nothing is done until it was up.

use std::time::Duration;

use crate::model::MonoTime;

/// A contact that changes within this time bounces.
pub const BOUNCES_FOR: Duration = Duration::from_millis(30);
/// A press for a test call.
pub const LONG: Duration = Duration::from_secs(3);
/// A press that begins a factory reset.
pub const VERY_LONG: Duration = Duration::from_secs(10);
/// The second press must come within this time.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(10);
/// Nobody presses for so long.
pub const STUCK_AFTER: Duration = Duration::from_secs(60);

/// What somebody meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Press {
    /// Shorter than [`LONG`].
    Short,
    /// Between [`LONG`] and [`VERY_LONG`].
    Long,
    /// Longer, and confirmed.
    Confirmed,
    /// Longer, and not confirmed.
    Cancelled,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Not seen up yet, or stuck.
    #[default]
    Ignored,
    Up,
    Down(MonoTime),
    /// Released after a very long press.
    Asking(MonoTime),
    /// The press that confirms.
    Confirming,
}

/// A button.
#[derive(Default)]
pub struct Button {
    state: State,
    /// The last level, and since when it is so.
    contact: Option<(bool, MonoTime)>,
    now: MonoTime,
}

impl Button {
    /// The contact has this level now.
    pub fn level(&mut self, now: MonoTime, is_down: bool) -> Option<Press> {
        self.now = now;
        let since = match self.contact {
            Some((level, since)) if level == is_down => since,
            _ => now,
        };
        self.contact = Some((is_down, since));
        let is_settled = now.since(since) >= BOUNCES_FOR;
        match (self.state, is_down && is_settled, !is_down && is_settled) {
            (State::Ignored, _, true) => self.turn(State::Up, None),
            (State::Up, true, _) => self.turn(State::Down(since), None),
            (State::Down(from), _, true) => match since.since(from) {
                held if held >= VERY_LONG => self.turn(State::Asking(now), None),
                held if held >= LONG => self.turn(State::Up, Some(Press::Long)),
                _ => self.turn(State::Up, Some(Press::Short)),
            },
            (State::Down(from), true, _) if now.since(from) >= STUCK_AFTER => self.turn(State::Ignored, None),
            (State::Asking(_), true, _) => self.turn(State::Confirming, None),
            (State::Asking(from), _, true) if now.since(from) >= CONFIRM_WITHIN => self.turn(State::Up, Some(Press::Cancelled)),
            (State::Confirming, _, true) => self.turn(State::Up, Some(Press::Confirmed)),
            (State::Confirming, true, _) if now.since(since) >= LONG => self.turn(State::Ignored, Some(Press::Cancelled)),
            _ => None,
        }
    }

    /// It is held so long that a release means a test call.
    pub fn is_for_test_call(&self) -> bool {
        matches!(self.state, State::Down(from) if (LONG..VERY_LONG).contains(&self.now.since(from)))
    }

    /// It was, or is, held so long that everything is to be forgotten, which somebody must confirm.
    pub fn asks_for_confirmation(&self) -> bool {
        match self.state {
            State::Down(from) => self.now.since(from) >= VERY_LONG,
            State::Asking(_) | State::Confirming => true,
            State::Ignored | State::Up => false,
        }
    }

    fn turn(&mut self, state: State, press: Option<Press>) -> Option<Press> {
        self.state = state;
        press
    }
}
