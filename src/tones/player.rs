//! What a loudspeaker gets: tone and silence in their rhythm, frame by frame, and what a pause does to them. Pure, and allocates nothing
//! while it plays.

use super::plan::Rhythm;

/// A tone under way.
#[derive(Clone, Debug)]
pub struct Player {
    tone: Box<[i16]>,
    /// What somebody says meanwhile, over and over; it may be empty.
    speech: Box<[i16]>,
    said: usize,
    /// Whether the speech goes on in a pause.
    speaks_on: bool,
    period: u64,
    /// How many tones are left; none: until somebody stops it.
    left: Option<u32>,
    /// Within the period.
    position: u64,
    is_paused: bool,
}

/// What a call of [`Player::fill`] made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Samples that are to be played; fewer than asked for: then it is over.
    pub samples: usize,
    /// Where among them a tone begins.
    pub tone_at: Option<usize>,
}

impl Player {
    /// Plays `tone` in this rhythm (both at the rate of the device), so many times.
    pub fn new(tone: Box<[i16]>, rhythm: Rhythm, tones: Option<u32>) -> Player {
        let period = rhythm.period().max(tone.len() as u64);
        let speech = Box::default();
        Player { period, tone, speech, said: 0, speaks_on: false, left: tones, position: 0, is_paused: false }
    }

    /// With this speech under the tones; in a pause it goes on, or not.
    pub fn over(self, speech: Box<[i16]>, speaks_on: bool) -> Player {
        Player { speech, speaks_on, ..self }
    }

    /// No tone from now on.
    pub fn pause(&mut self) {
        self.is_paused = true;
    }

    /// A tone, and the rhythm anew.
    pub fn resume(&mut self) {
        if std::mem::take(&mut self.is_paused) {
            self.position = 0;
        }
    }

    /// Whether it is silent on request.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// The next samples. At most one tone begins in them: no period is shorter than what is asked for at a time.
    pub fn fill(&mut self, out: &mut [i16]) -> Filled {
        let mut filled = Filled::default();
        if self.is_paused {
            let speaks_on = self.speaks_on;
            out.fill_with(|| self.speech().filter(|_| speaks_on).unwrap_or(0));
            return Filled { samples: out.len(), tone_at: None };
        }
        for sample in out {
            if self.position == 0 {
                match &mut self.left {
                    Some(0) => break,
                    Some(left) => *left -= 1,
                    None => {}
                }
                if !self.tone.is_empty() {
                    filled.tone_at.get_or_insert(filled.samples);
                }
            }
            let place = usize::try_from(self.position).ok();
            let tone = place.and_then(|at| self.tone.get(at)).copied().unwrap_or(0);
            *sample = self.speech().unwrap_or(0).saturating_add(tone);
            filled.samples += 1;
            self.position += 1;
            // The last tone has no silence behind it.
            let is_over = self.left == Some(0) && self.position >= self.tone.len() as u64;
            if is_over || self.position >= self.period {
                self.position = 0;
            }
        }
        filled
    }

    /// The next sample of the speech, if there is one.
    fn speech(&mut self) -> Option<i16> {
        let sample = self.speech.get(self.said).copied();
        self.said = if self.said + 1 < self.speech.len() { self.said + 1 } else { 0 };
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn player(tones: Option<u32>) -> Player {
        Player::new(Box::new([1, 2, 3]), Rhythm { on_samples: 3, off_samples: 4 }, tones)
    }

    fn play(player: &mut Player, samples: usize, piece: usize) -> Vec<i16> {
        let mut out = Vec::new();
        let mut part = vec![9; piece];
        while out.len() < samples {
            let filled = player.fill(&mut part);
            out.extend_from_slice(&part[..filled.samples]);
            if filled.samples < piece {
                break;
            }
        }
        out
    }

    #[test]
    fn exactly_the_planned_samples_in_pieces_of_any_length() {
        let expected = [1, 2, 3, 0, 0, 0, 0, 1, 2, 3];
        for piece in 1..12 {
            assert_eq!(play(&mut player(Some(2)), 100, piece), expected, "{piece}");
        }
        assert_eq!(play(&mut player(None), 14, 7), [1, 2, 3, 0, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0]);
        assert!(play(&mut player(Some(0)), 10, 5).is_empty());
    }

    #[test]
    fn the_start_of_a_tone_is_told() {
        let mut player = player(None);
        let mut out = [0; 5];
        assert_eq!(player.fill(&mut out), Filled { samples: 5, tone_at: Some(0) });
        assert_eq!(player.fill(&mut out), Filled { samples: 5, tone_at: Some(2) });
        assert_eq!(player.fill(&mut out[..4]), Filled { samples: 4, tone_at: None });
    }

    #[test]
    fn speech_lies_under_the_tone_and_goes_on_in_a_pause_if_it_is_not_recorded() {
        let spoken = |speaks_on| player(None).over(Box::new([100, 200]), speaks_on);
        let mut heard = spoken(true);
        assert_eq!(play(&mut heard, 8, 4), [101, 202, 103, 200, 100, 200, 100, 201]);
        heard.pause();
        assert_eq!(play(&mut heard, 3, 3), [100, 200, 100]);
        let mut recorded = spoken(false);
        recorded.pause();
        assert_eq!(play(&mut recorded, 3, 3), [0; 3]);
        let mut no_tone = Player::new(Box::default(), Rhythm { on_samples: 3, off_samples: 4 }, None).over(Box::new([7]), true);
        let mut out = [0; 9];
        assert_eq!((no_tone.fill(&mut out), out), (Filled { samples: 9, tone_at: None }, [7; 9]));
    }

    #[test]
    fn a_pause_is_silent_and_the_rhythm_begins_anew() {
        let mut player = player(Some(2));
        assert_eq!(play(&mut player, 2, 2), [1, 2]);
        player.pause();
        assert_eq!(play(&mut player, 6, 6), [0; 6]);
        player.resume();
        player.resume();
        assert_eq!(play(&mut player, 100, 4), [1, 2, 3]);
    }
}
