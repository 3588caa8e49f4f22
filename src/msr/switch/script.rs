//! A call scenario as people write it (docs/scenarios.md): one line per step, seconds first.
//!
//! ```text
//! call main type=Inbound ani=5550100 dnis=8005550199
//! dn 7001 type=Extension
//! 0.0 EventRinging main this=7001 other=5550100 data.Customer=42
//! 0.5 record main dn=7001 other=5550100 for=3.0
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use thiserror::Error;

use crate::cti::message::EventKind;

/// A scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The calls by the names that the file gives them.
    pub calls: BTreeMap<String, CallLine>,
    /// DNs that the switch would not let anybody monitor: their types.
    pub dn_types: BTreeMap<String, String>,
    /// How requests are answered, in order; then with EventACK.
    pub answers: Vec<Answer>,
    /// What happens, in order of time.
    pub steps: Vec<(Duration, Step)>,
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallLine {
    /// CallUUID.
    pub uuid: String,
    /// ConnID.
    pub conn: String,
    /// CallType.
    pub call_type: String,
    /// Caller's number.
    pub ani: Option<String>,
    /// Dialled number.
    pub dnis: Option<String>,
}

/// How the switch answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// EventACK.
    Ack,
    /// EventError.
    Error,
    /// Not at all.
    Nothing,
}

/// A step of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The switch sends an event.
    Event(EventLine),
    /// The media server records.
    Record(RecordLine),
    /// The box must have asked for this service before it goes on.
    Await(u64),
    /// The link is down for so long, if the player is told to cut it.
    Cut(Duration),
}

/// An event of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLine {
    /// T-Lib's name.
    pub name: String,
    /// Name of the call.
    pub call: String,
    /// Whose event.
    pub this: String,
    /// The other party.
    pub other: Option<String>,
    /// The agent at `this`.
    pub agent: Option<String>,
    /// Name of the call that this party comes from.
    pub previous: Option<String>,
    /// Name of the call that is consulted about.
    pub transfer: Option<String>,
    /// PrivateMsgID.
    pub private: Option<u64>,
    /// Attached data that is set (none: deleted).
    pub data: BTreeMap<String, Option<String>>,
    /// Extensions.
    pub extensions: BTreeMap<String, String>,
}

/// A recording session pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordLine {
    /// Name of the call.
    pub call: String,
    /// The recorded party.
    pub dn: String,
    /// The other one.
    pub other: String,
    /// How long.
    pub length: Duration,
    /// Recording id: of the media server's making; given; or that of the box's request.
    pub id: RecordingName,
    /// Paused by the media server: when, how long.
    pub pause: Option<(Duration, Duration)>,
}

/// Where a recording id comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordingName {
    /// The media server makes it up.
    MadeUp,
    /// From the latest request of the box.
    OfRequest,
    /// As given.
    Given(String),
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {what}")]
pub struct ScriptError {
    /// Which line.
    pub line: usize,
    /// What is wrong, and what was expected.
    pub what: String,
}

impl Script {
    /// Reads a scenario; `name` goes into the names of its calls, so that no two scenarios share one.
    ///
    /// # Errors
    /// The first line that makes no sense.
    pub fn parse(name: &str, text: &str) -> Result<Script, ScriptError> {
        let mut script = Script::default();
        for (n, line) in text.lines().enumerate() {
            let line = line.split_once('#').map_or(line, |(before, _)| before);
            let mut words = words(line);
            if words.is_empty() {
                continue;
            }
            let first = words.remove(0);
            script.take(name, &first, words).map_err(|what| ScriptError { line: n + 1, what })?;
        }
        script.steps.sort_by_key(|(at, _)| *at);
        Ok(script)
    }

    /// All DNs that have events: those that the box has to register.
    pub fn monitored(&self) -> Vec<&str> {
        let dns = self.steps.iter().filter_map(|(_, step)| if let Step::Event(event) = step { Some(&*event.this) } else { None });
        let mut dns: Vec<&str> = dns.chain(self.dn_types.keys().map(String::as_str)).collect();
        dns.sort_unstable();
        dns.dedup();
        dns
    }

    fn take(&mut self, name: &str, first: &str, mut words: Vec<String>) -> Result<(), String> {
        match first {
            "call" => {
                let call = take_word(&mut words, "a name")?;
                let line = call_line(name, &call, &mut Fields::new(words)?)?;
                self.calls.insert(call, line);
            }
            "dn" => {
                let dn = take_word(&mut words, "a DN")?;
                let mut fields = Fields::new(words)?;
                self.dn_types.insert(dn, fields.must("type")?);
                fields.done()?;
            }
            "answers" => self.answers = words.iter().map(|word| answer(word)).collect::<Result<_, _>>()?,
            seconds => {
                let at = duration(seconds)?;
                let verb = take_word(&mut words, "what happens")?;
                let step = self.step(&verb, words)?;
                self.steps.push((at, step));
            }
        }
        Ok(())
    }

    fn step(&self, verb: &str, mut words: Vec<String>) -> Result<Step, String> {
        let call = |words: &mut Vec<String>| {
            let call = take_word(words, "a call")?;
            if self.calls.contains_key(&call) {
                Ok(call)
            } else {
                Err(format!("no call {call:?}: a line \"call {call} …\" must come before"))
            }
        };
        match verb {
            "await" => {
                let service = take_word(&mut words, "the number of a service")?;
                service.parse().map(Step::Await).map_err(|_| format!("{service:?} is no number of a service, such as 3013"))
            }
            "cut" => duration(&take_word(&mut words, "for how long")?).map(Step::Cut),
            "record" => {
                let call = call(&mut words)?;
                record_line(call, &mut Fields::new(words)?).map(Step::Record)
            }
            event if EventKind::named(event).is_some() => {
                let call = call(&mut words)?;
                let line = event_line(event, call, &mut Fields::new(words)?)?;
                let unknown = [&line.previous, &line.transfer].into_iter().flatten().find(|call| !self.calls.contains_key(*call));
                unknown.map_or(Ok(Step::Event(line.clone())), |call| Err(format!("no call {call:?}")))
            }
            other => {
                Err(format!("{other:?} is nothing that happens: expected record, await, cut or an event such as EventRinging"))
            }
        }
    }
}

fn call_line(scenario: &str, call: &str, fields: &mut Fields) -> Result<CallLine, String> {
    let line = CallLine {
        uuid: fields.may("uuid").unwrap_or_else(|| made_up_uuid(&format!("{scenario}-{call}"))),
        conn: fields.may("conn").unwrap_or_else(|| made_up_conn(&format!("{scenario}-{call}"))),
        call_type: fields.may("type").unwrap_or_else(|| "Unknown".into()),
        ani: fields.may("ani"),
        dnis: fields.may("dnis"),
    };
    fields.done()?;
    Ok(line)
}

fn event_line(name: &str, call: String, fields: &mut Fields) -> Result<EventLine, String> {
    let private = fields.may("private").map(|text| text.parse().map_err(|_| format!("private={text}: expected a number")));
    let line = EventLine {
        name: name.to_owned(),
        call,
        this: fields.must("this")?,
        other: fields.may("other"),
        agent: fields.may("agent"),
        previous: fields.may("previous"),
        transfer: fields.may("transfer"),
        private: private.transpose()?,
        data: fields.below("data.").into_iter().map(|(key, value)| (key, Some(value).filter(|v| !v.is_empty()))).collect(),
        extensions: fields.below("ext."),
    };
    fields.done()?;
    Ok(line)
}

fn record_line(call: String, fields: &mut Fields) -> Result<RecordLine, String> {
    let pause = fields.may("pause").map(|text| {
        let (at, length) = text.split_once(':').ok_or_else(|| format!("pause={text}: expected WHEN:HOW-LONG"))?;
        Ok::<_, String>((duration(at)?, duration(length)?))
    });
    let line = RecordLine {
        call,
        dn: fields.must("dn")?,
        other: fields.must("other")?,
        length: duration(&fields.must("for")?)?,
        id: match fields.may("id") {
            None => RecordingName::MadeUp,
            Some(id) if id == "request" => RecordingName::OfRequest,
            Some(id) => RecordingName::Given(id),
        },
        pause: pause.transpose()?,
    };
    fields.done()?;
    Ok(line)
}

fn answer(word: &str) -> Result<Answer, String> {
    match word {
        "ack" => Ok(Answer::Ack),
        "error" => Ok(Answer::Error),
        "nothing" => Ok(Answer::Nothing),
        other => Err(format!("{other:?}: expected ack, error or nothing")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| format!("{text:?} is no time: expected seconds such as 1.5"))
}

/// 32 characters of `[0-9A-V]` that tell where they come from.
fn made_up_uuid(name: &str) -> String {
    let known = name.chars().filter(char::is_ascii_alphanumeric).map(|c| match c.to_ascii_uppercase() {
        c @ 'W'..='Z' => char::from(b'0' + (u32::from(c) as u8 - b'W')),
        c => c,
    });
    known.chain(std::iter::repeat('0')).take(32).collect()
}

fn made_up_conn(name: &str) -> String {
    format!("{:016x}", u64::from(crc32c::crc32c(name.as_bytes())) << 16 | 0x7c)
}

/// Words of a line; quotes hold blanks together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut is_quoted = false;
    for c in line.chars().chain([' ']) {
        match c {
            '"' => is_quoted = !is_quoted,
            c if c.is_whitespace() && !is_quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    words
}

fn take_word(words: &mut Vec<String>, what: &str) -> Result<String, String> {
    if words.is_empty() { Err(format!("the line ends where {what} was expected")) } else { Ok(words.remove(0)) }
}

/// `name=value` words.
struct Fields(BTreeMap<String, String>);

impl Fields {
    fn new(words: Vec<String>) -> Result<Fields, String> {
        let field = |word: String| {
            let (name, value) = word.split_once('=').ok_or_else(|| format!("{word:?}: expected name=value"))?;
            Ok((name.to_owned(), value.to_owned()))
        };
        words.into_iter().map(field).collect::<Result<_, String>>().map(Fields)
    }

    fn may(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    fn must(&mut self, name: &str) -> Result<String, String> {
        self.may(name).ok_or_else(|| format!("{name}=… is missing"))
    }

    fn below(&mut self, prefix: &str) -> BTreeMap<String, String> {
        let names: Vec<String> = self.0.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        names.into_iter().filter_map(|name| Some((name.strip_prefix(prefix)?.to_owned(), self.0.remove(&name)?))).collect()
    }

    fn done(&self) -> Result<(), String> {
        self.0.keys().next().map_or(Ok(()), |name| Err(format!("{name:?} is unknown here")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_read() {
        let text = "# two lines\ncall main type=Inbound ani=5550100\nanswers error ack\n\
                    1.5 record main dn=7001 other=5550100 for=3 pause=1:0.5 id=request\n\
                    0 EventRinging main this=7001 other=5550100 data.Name=\"Anna Lee\" data.Old= # rings\n";
        let script = Script::parse("x-y", text).unwrap();
        let call = &script.calls["main"];
        assert_eq!((call.uuid.as_str(), call.conn.len()), ("12MAIN00000000000000000000000000", 16));
        assert_eq!(script.answers, [Answer::Error, Answer::Ack]);
        let [(_, Step::Event(event)), (at, Step::Record(record))] = &script.steps[..] else { panic!("{:?}", script.steps) };
        assert_eq!(event.data["Name"].as_deref(), Some("Anna Lee"));
        assert_eq!(event.data["Old"], None);
        assert_eq!((at.as_millis(), record.id.clone()), (1_500, RecordingName::OfRequest));
        assert_eq!(script.monitored(), ["7001"]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, expected) in [
            ("\n0 EventRinging main this=1", "line 2: no call \"main\""),
            ("call a\n0 EventFoo a this=1", "line 2: \"EventFoo\" is nothing"),
            ("call a\n0 EventRinging a", "line 2: this=… is missing"),
            ("call a\n0 record a dn=1 other=2 for=x", "line 2: \"x\" is no time"),
            ("call a colour=red", "line 1: \"colour\" is unknown"),
            ("answers maybe", "line 1: \"maybe\""),
            ("x y", "line 1: \"x\" is no time"),
        ] {
            let error = Script::parse("s", text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }
}
