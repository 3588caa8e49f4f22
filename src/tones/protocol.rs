//! What is said on the socket of `nearend-tone`: a JSON object in a line for each request, one in a line for each answer. Pure.

use serde::{Deserialize, Serialize};

use super::plan::{Options, Perspective, Rhythm};
use super::synth::USUAL_LEVEL_DBM0;

/// Where the sidecar listens unless told otherwise.
pub const SOCKET: &str = "/run/nearend-tone/socket";

/// A longer request is none.
pub const MOST_LINE_BYTES: usize = 4_096;

/// A longer answer is none.
pub const MOST_ANSWER_BYTES: u64 = 64 << 10;

/// Tones whose times are kept for an answer.
pub const LAST_TONES: usize = 64;

/// What the sidecar is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Play a tone in a rhythm; what played before ends.
    Play(Play),
    /// Silence, as while a recording is paused.
    Pause {},
    /// The tone again.
    Resume {},
    /// End it and close the device.
    Stop {},
    /// Only the answer.
    Status {},
}

/// What to play.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Play {
    /// ALSA device by name; none: the one that the sidecar was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// 300 to 3,400.
    pub frequency_hz: u32,
    /// 20 to 10,000.
    pub on_ms: u32,
    /// 50 to 86,400,000.
    pub off_ms: u32,
    /// -60 to 3.
    #[serde(default = "usual_level")]
    pub level_dbm0: f64,
    /// How many tones; none: until it is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tones: Option<u32>,
    /// What is heard or recorded in a call with this tone; none: the tone alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hear: Option<Hear>,
}

/// From where a call is listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hear {
    /// Whose ear, or which channel.
    pub perspective: Perspective,
    /// The parties speak (the bundled call).
    #[serde(default)]
    pub speech: bool,
    /// Who hears the tone, and what is recorded.
    #[serde(default)]
    pub options: Options,
}

fn usual_level() -> f64 {
    USUAL_LEVEL_DBM0
}

impl Play {
    /// Tone and silence at a rate.
    pub fn rhythm(&self, rate_hz: u32) -> Rhythm {
        let samples = |ms: u32| u64::from(ms) * u64::from(rate_hz) / 1_000;
        Rhythm { on_samples: samples(self.on_ms), off_samples: samples(self.off_ms) }
    }
}

impl Request {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(line: &[u8]) -> Result<Request, String> {
        let request: Request =
            serde_json::from_slice(line).map_err(|e| format!("{e}; expected a request such as {{\"cmd\":\"status\"}}"))?;
        let Request::Play(play) = &request else { return Ok(request) };
        let within = |what: &str, value: f64, least: f64, most: f64| match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(format!("{what} is {value}; expected {least} to {most}")),
        };
        within("frequency_hz", play.frequency_hz.into(), 300.0, 3_400.0)?;
        within("on_ms", play.on_ms.into(), 20.0, 10_000.0)?;
        within("off_ms", play.off_ms.into(), 50.0, 86_400_000.0)?;
        within("level_dbm0", play.level_dbm0, -60.0, 3.0)?;
        within("the length of device", play.device.as_ref().map_or(1, String::len) as f64, 1.0, 200.0)?;
        Ok(request)
    }
}

/// What it is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing.
    #[default]
    Stopped,
    /// Tone and silence go to the device.
    Playing,
    /// Silence goes to the device.
    Paused,
    /// It should play, but the device cannot be opened or has gone; it is tried again every second.
    NoDevice,
    /// It should play, but another program has the device; it is tried again every second.
    DeviceBusy,
}

impl State {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            State::Stopped => "stopped",
            State::Playing => "playing",
            State::Paused => "paused",
            State::NoDevice => "no-device",
            State::DeviceBusy => "device-busy",
        }
    }
}

/// The answer to every request: what really happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Why the request was refused, or the device cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it is doing.
    pub state: State,
    /// What it plays, or should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub play: Option<Play>,
    /// The device.
    pub device: String,
    /// Frames per second that the device takes; 0 before it was opened.
    pub rate_hz: u32,
    /// Channels of it.
    pub channels: u32,
    /// Frames handed to it since play.
    pub frames_written: u64,
    /// How often it ran dry since play.
    pub underruns: u64,
    /// How often it went away or could not be opened since play.
    pub device_losses: u64,
    /// How many tones began since play.
    pub tones: u64,
    /// The last of them.
    pub last_tones: Vec<ToneTime>,
    /// Whether the thread has the priority of real time (SCHED_FIFO).
    pub is_real_time: bool,
    /// Whether its memory is locked (mlockall).
    pub is_locked: bool,
}

/// When a tone began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToneTime {
    /// First frame, counted since play.
    pub frame: u64,
    /// When it was handed to the device: microseconds since 1970.
    pub handed_over_us: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_and_what_is_wrong_is_told() {
        let play = br#"{"cmd":"play","frequency_hz":1400,"on_ms":500,"off_ms":15000,"tones":3}"#;
        let Ok(Request::Play(play)) = Request::read(play) else { panic!("it is a request") };
        assert_eq!((play.level_dbm0, play.tones, play.device.clone()), (-20.0, Some(3), None));
        assert_eq!(play.rhythm(48_000), Rhythm { on_samples: 24_000, off_samples: 720_000 });
        assert_eq!(Request::read(br#"{"cmd":"pause"}"#), Ok(Request::Pause {}));
        let fault = |line: &str| Request::read(line.as_bytes()).unwrap_err();
        let hear = br#"{"cmd":"play","frequency_hz":1400,"on_ms":500,"off_ms":100,"hear":{"perspective":"channel-1","options":{"chan1":"otherdnhears"}}}"#;
        let Ok(Request::Play(Play { hear: Some(hear), .. })) = Request::read(hear) else { panic!("it is a request") };
        assert_eq!((hear.perspective, hear.speech, hear.options.recorddn_hears), (Perspective::Channel1, false, true));
        assert!(fault("").contains("expected a request"));
        assert!(fault(r#"{"cmd":"dance"}"#).contains("play"));
        assert!(fault(r#"{"cmd":"stop","now":true}"#).contains("now"));
        assert!(fault(r#"{"cmd":"play","frequency_hz":9,"on_ms":500,"off_ms":100}"#).contains("expected 300 to 3400"));
        assert!(fault(r#"{"cmd":"play","frequency_hz":900,"on_ms":500,"off_ms":1}"#).contains("off_ms is 1"));
    }

    #[test]
    fn an_answer_is_one_line() {
        let status = Status { error: Some("a\nb".into()), ..Status::default() };
        let line = serde_json::to_string(&status).unwrap();
        assert!(!line.contains('\n') && line.contains(r#""state":"stopped""#), "{line}");
    }
}
