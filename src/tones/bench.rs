//! The bench: a simulated call as an engineer sets it, what is heard and recorded of it, and what the loudspeaker is asked for. Pure.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::picture::{Panel, draw};
use super::plan::{Chan1Source, Chan2Source, Consent, NoTone, Options, Parameters, Party, Perspective, Plan, Situation};
use super::protocol::{Hear, Play};
use super::synth::{self, Call};
use crate::model::g711::ulaw_to_linear;
use crate::model::speech::{AGENT, CUSTOMER};

/// A longer call is not rendered for a page: it takes a board some seconds.
pub const MOST_SECONDS: u32 = 120;

/// What can be set. The parameters have the names of docs/tones.md where there are such.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Setup {
    /// 300 to 3,400.
    pub frequency_hz: u32,
    /// 20 to 10,000.
    pub on_ms: u32,
    /// As a media server gets it: nothing, or milliseconds.
    pub tonesilenceduration: String,
    /// -60 to 3.
    pub level_dbm0: f64,
    /// Length of the call.
    pub seconds: u32,
    /// When the recording is paused …
    pub pause_at_s: u32,
    /// … and for how long; 0: it is not.
    pub pause_s: u32,
    /// Both parties speak (the bundled call); otherwise they are silent.
    pub speech: bool,
    /// `record_recorddnhearstone`
    pub recorddn_hears: bool,
    /// `record_otherdnhearstone`
    pub otherdn_hears: bool,
    /// `record_chan1source`
    pub chan1: Chan1Source,
    /// `record_chan2source`
    pub chan2: Chan2Source,
}

impl Default for Setup {
    fn default() -> Setup {
        let Options { recorddn_hears, otherdn_hears, chan1, chan2 } = Options::default();
        Setup {
            frequency_hz: 1_400,
            on_ms: 500,
            tonesilenceduration: "15000".into(),
            level_dbm0: synth::USUAL_LEVEL_DBM0,
            seconds: 40,
            pause_at_s: 0,
            pause_s: 0,
            speech: true,
            recorddn_hears,
            otherdn_hears,
            chan1,
            chan2,
        }
    }
}

impl Setup {
    /// Whether it can be rendered.
    ///
    /// # Errors
    /// What is out of range, in words.
    pub fn check(&self) -> Result<(), String> {
        let within = |what: &str, value: f64, least: f64, most: f64| match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(format!("{what} is {value}; expected {least} to {most}")),
        };
        within("frequency_hz", self.frequency_hz.into(), 300.0, 3_400.0)?;
        within("on_ms", self.on_ms.into(), 20.0, 10_000.0)?;
        within("level_dbm0", self.level_dbm0, -60.0, 3.0)?;
        within("seconds", self.seconds.into(), 1.0, MOST_SECONDS.into())?;
        within("pause_at_s", self.pause_at_s.into(), 0.0, MOST_SECONDS.into())?;
        within("pause_s", self.pause_s.into(), 0.0, MOST_SECONDS.into())
    }

    fn options(&self) -> Options {
        let Setup { recorddn_hears, otherdn_hears, chan1, chan2, .. } = *self;
        Options { recorddn_hears, otherdn_hears, chan1, chan2 }
    }

    fn plan(&self) -> Plan {
        let parameters = Parameters {
            audiosrc: Some("the bench's own tone".into()),
            tonesilenceduration: Some(self.tonesilenceduration.clone()).filter(|text| !text.is_empty()),
        };
        Plan { rhythm: parameters.rhythm(|_| Ok(u64::from(self.on_ms) * 8)), options: self.options() }
    }

    /// The call.
    pub fn scene(&self) -> Scene {
        let length = self.seconds as usize * 8_000;
        let pause = u64::from(self.pause_at_s) * 8_000..u64::from(self.pause_at_s + self.pause_s) * 8_000;
        let say = |party| if self.speech { said(party).cycle().take(length).collect() } else { Vec::new() };
        Scene {
            plan: self.plan(),
            tone: synth::tone(f64::from(self.frequency_hz), self.on_ms as usize * 8, self.level_dbm0),
            speech: [say(Party::RecordDn), say(Party::OtherDn)],
            length,
            pauses: if pause.is_empty() { Vec::new() } else { vec![pause] },
        }
    }

    /// What the loudspeaker is asked to play.
    ///
    /// # Errors
    /// Why no tone sounds in this call.
    pub fn play(&self, perspective: Perspective) -> Result<Play, NoTone> {
        let rhythm = self.plan().rhythm?;
        Ok(Play {
            device: None,
            frequency_hz: self.frequency_hz,
            on_ms: self.on_ms,
            off_ms: u32::try_from(rhythm.off_samples / 8).unwrap_or(u32::MAX),
            level_dbm0: self.level_dbm0,
            tones: None,
            hear: Some(Hear { perspective, speech: self.speech, options: self.options() }),
        })
    }
}

/// What a party of the bundled call says, from the start: 8 kHz.
pub fn said(party: Party) -> impl Iterator<Item = i16> + Clone {
    let codes = if party == Party::RecordDn { AGENT } else { CUSTOMER };
    codes.iter().map(|code| ulaw_to_linear(*code))
}

/// A call with everything that is needed to render it.
pub struct Scene {
    plan: Plan,
    tone: Vec<i16>,
    speech: [Vec<i16>; 2],
    length: usize,
    pauses: Vec<Range<u64>>,
}

impl Scene {
    /// To be rendered.
    pub fn call(&self) -> Call<'_> {
        let Scene { plan, tone, speech, length, pauses } = self;
        Call { plan, tone, speech: [&speech[0], &speech[1]], length: *length, pauses }
    }
}

/// What is to be said of a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Facts {
    /// Why there is no tone; none: there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_tone: Option<String>,
    /// Both parties hear it.
    pub all_party_consent: bool,
    /// One of them does, at least.
    pub one_party_consent: bool,
    /// When tones begin.
    pub tones_at_ms: Vec<u64>,
    /// What the perspectives hold.
    pub perspectives: Vec<Held>,
}

/// What one perspective holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Its name.
    pub name: &'static str,
    /// Whether tones are in it.
    pub tone: bool,
}

impl Facts {
    /// Of this call.
    pub fn of(call: &Call) -> Facts {
        let now = Situation::Recording;
        Facts {
            no_tone: call.plan.sounds(now).err().map(|why| why.to_string()),
            all_party_consent: call.plan.satisfies(Consent::AllParty, now),
            one_party_consent: call.plan.satisfies(Consent::OneParty, now),
            tones_at_ms: call.tones().iter().map(|tone| tone.start / 8).collect(),
            perspectives: Perspective::ALL.map(|at| Held { name: at.name(), tone: call.has_tone(at) }).into(),
        }
    }
}

/// All four perspectives as a picture.
pub fn picture(title: &str, call: &Call) -> String {
    let tones = call.tones();
    let signals = Perspective::ALL.map(|at| (at, call.render(at)));
    let expected = |at| if call.has_tone(at) { tones.as_slice() } else { &[] };
    let panels = signals.each_ref().map(|(at, samples)| Panel { name: at.name(), samples, expected: expected(*at) });
    draw(title, &panels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setup_is_rendered_as_it_says() {
        let setup = Setup { seconds: 20, pause_at_s: 5, pause_s: 6, chan1: Chan1Source::OtherDnHears, ..Setup::default() };
        assert_eq!(setup.check(), Ok(()));
        let scene = setup.scene();
        let facts = Facts::of(&scene.call());
        assert_eq!((facts.tones_at_ms.as_slice(), facts.all_party_consent), (&[0, 11_000][..], true));
        assert_eq!(facts.perspectives.iter().map(|held| held.tone).collect::<Vec<_>>(), [true, true, true, false]);
        let channel = scene.call().render(Perspective::Channel1);
        assert!(channel[40_000..88_000].iter().all(|sample| *sample == 0), "nothing is recorded while paused");
        let heard = scene.call().render(Perspective::OtherDnHears);
        let speech: Vec<i16> = said(Party::RecordDn).skip(40_000).take(48_000).collect();
        assert_eq!(heard[40_000..88_000], speech, "the parties go on talking");
        assert!(picture("a call", &scene.call()).contains("channel-2"));
    }

    #[test]
    fn what_cannot_be_is_said() {
        let fault = |setup: Setup| setup.check().unwrap_err();
        assert!(fault(Setup { seconds: 7_200, ..Setup::default() }).contains("expected 1 to 120"));
        assert!(fault(Setup { level_dbm0: f64::NAN, ..Setup::default() }).contains("level_dbm0"));
        let silent = Setup { tonesilenceduration: String::new(), ..Setup::default() };
        assert_eq!(silent.play(Perspective::Channel1), Err(NoTone::NoTonesilenceduration));
        assert!(Facts::of(&silent.scene().call()).no_tone.is_some_and(|why| why.contains("tonesilenceduration is not set")));
    }

    #[test]
    fn the_loudspeaker_gets_the_same_setup() {
        let play =
            Setup { tonesilenceduration: "1500".into(), speech: false, ..Setup::default() }.play(Perspective::OtherDnHears);
        let Ok(Play { off_ms, hear: Some(hear), .. }) = play else { panic!("{play:?}") };
        assert_eq!(
            (off_ms, hear.perspective, hear.speech, hear.options),
            (1_500, Perspective::OtherDnHears, false, Options::default())
        );
    }
}
