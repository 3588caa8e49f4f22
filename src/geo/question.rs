//! A call described by pairs of name and value, as on the command line or in the query of a URL, and the whole answer to it.

use serde_json::{Value, json};

use super::{Call, Dynamic, FullTime, Profile, Recorded, Selection, Selective, choose, serve};
use crate::model::Side;

/// What a recording begins by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trigger {
    /// Recording is enabled on a DN.
    #[default]
    FullTime,
    /// A routing strategy asks for it.
    Strategy,
    /// Somebody asks for it during the call.
    Dynamic,
}

/// Values of `trigger`.
pub const TRIGGERS: [&str; 3] = ["full-time", "strategy", "dynamic"];
/// Values of `direction`.
pub const DIRECTIONS: [&str; 2] = ["inbound", "outbound"];
/// Values of `recorded`.
pub const RECORDED: [&str; 5] = ["caller", "agent", "caller+agent", "customer", "customer+agent"];
/// Values of `record`.
pub const SIDES: [&str; 2] = ["source", "destination"];

/// A described call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    trigger: Trigger,
    outbound: Option<bool>,
    trunk: Option<String>,
    routing_point: Option<String>,
    extension: Option<String>,
    agent: Option<String>,
    recorded: Option<Recorded>,
    record: Side,
    this_dn: Option<String>,
    other_dn: Option<String>,
    media_servers: Vec<Option<String>>,
    recorders: Vec<Option<String>>,
    profiles: Vec<Profile>,
    default_profile: Option<String>,
}

/// What there is to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The location, and the way to it.
    pub selection: Selection,
    /// All of it, with pools and profile where they were asked for.
    pub json: Value,
}

impl Question {
    /// Reads a description.
    ///
    /// # Errors
    /// Which name or value is wrong or missing, and what was expected.
    pub fn read(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Question, String> {
        let mut question = Question::default();
        pairs.into_iter().try_for_each(|(name, value)| question.set(&name, value))?;
        question.check()?;
        if let Some(name) = &question.default_profile {
            question.profiles.iter_mut().for_each(|profile| profile.is_default = profile.name == *name);
        }
        Ok(question)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "trigger" => {
                self.trigger = [Trigger::FullTime, Trigger::Strategy, Trigger::Dynamic][place(name, &value, &TRIGGERS)?];
            }
            "direction" => self.outbound = Some(place(name, &value, &DIRECTIONS)? == 1),
            "trunk" => self.trunk = Some(value),
            "routing-point" => self.routing_point = Some(value),
            "extension" => self.extension = Some(value),
            "agent" => self.agent = Some(value),
            "recorded" => {
                let (agent, outside) =
                    [(false, true), (true, false), (true, true), (false, true), (true, true)][place(name, &value, &RECORDED)?];
                self.recorded = Some(Recorded { agent, outside });
            }
            "record" => self.record = [Side::Source, Side::Destination][place(name, &value, &SIDES)?],
            "this-dn" => self.this_dn = Some(value),
            "other-dn" => self.other_dn = Some(value),
            "media-servers" => self.media_servers.extend(pools(&value)),
            "recorders" => self.recorders.extend(pools(&value)),
            "profile" => self.profiles.push(profile(&value)),
            "default-profile" => self.default_profile = Some(value),
            _ => return Err(format!("{name} is nothing that can be said of a call here")),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let is_default = |profile: &Profile| Some(&profile.name) == self.default_profile.as_ref();
        if self.trigger == Trigger::FullTime && self.outbound.is_none() {
            return Err(missing("direction", &DIRECTIONS));
        }
        if self.trigger == Trigger::FullTime && self.recorded.is_none() {
            return Err(missing("recorded", &RECORDED));
        }
        if self.media_servers.is_empty() != self.recorders.is_empty() {
            return Err("media-servers and recorders belong together: expected both or neither".into());
        }
        match &self.default_profile {
            Some(name) if !self.profiles.iter().any(is_default) => {
                Err(format!("default-profile {name}: there is no profile of that name"))
            }
            _ => Ok(()),
        }
    }

    fn call(&self) -> Call {
        let (side, trunk, agent) = (self.record, self.trunk.clone(), self.agent.clone());
        match self.trigger {
            Trigger::Strategy => Call::Strategy(Selective { side, trunk, agent }),
            Trigger::Dynamic => Call::Dynamic(Dynamic { side, this_dn: self.this_dn.clone(), other_dn: self.other_dn.clone() }),
            Trigger::FullTime => Call::FullTime(FullTime {
                outbound: self.outbound == Some(true),
                trunk,
                routing_point: self.routing_point.clone(),
                extension: self.extension.clone(),
                agent,
                recorded: self.recorded.unwrap_or_default(),
            }),
        }
    }

    /// Which location counts and why, the pools that serve it, the profile that is used.
    ///
    /// # Errors
    /// No pool can serve the call.
    pub fn answer(&self) -> Result<Answer, String> {
        let selection = self.call().select();
        let selected = selection.selected.as_deref();
        let mut json = json!({ "selected": selected, "from": selection.from, "passed": selection.passed });
        if !self.media_servers.is_empty() {
            json["pools"] = json!(serve(&self.media_servers, &self.recorders, selected)?);
        }
        if !self.profiles.is_empty() {
            let chosen = choose(&self.profiles, selected);
            json["profile"] = json!(chosen.map(|(profile, why)| json!({ "name": profile.name, "by": why })));
        }
        Ok(Answer { selection, json })
    }
}

fn place(name: &str, value: &str, known: &[&str]) -> Result<usize, String> {
    known.iter().position(|one| *one == value).ok_or_else(|| format!("{name} {value:?}: expected {}", known.join(", ")))
}

fn missing(name: &str, known: &[&str]) -> String {
    format!("{name} is missing: expected {}", known.join(", "))
}

/// `-` is the single pool at the data centre.
fn pools(locations: &str) -> impl Iterator<Item = Option<String>> {
    locations.split(',').map(|location| Some(location.to_owned()).filter(|location| location != "-"))
}

fn profile(text: &str) -> Profile {
    let (name, location) = text.split_once('=').map_or((text, None), |(name, location)| (name, Some(location)));
    Profile { name: name.into(), geo_location: location.map(str::to_owned), is_default: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Question, String> {
        Question::read(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn what_is_wrong_or_missing_is_named() {
        let is_wrong = |pairs: &[(&str, &str)], words: &str| {
            let error = read(pairs).unwrap_err();
            assert!(error.contains(words), "{error}");
        };
        is_wrong(&[], "direction is missing: expected inbound, outbound");
        is_wrong(&[("direction", "inbound")], "recorded is missing");
        is_wrong(&[("direction", "up")], "direction \"up\": expected inbound, outbound");
        is_wrong(&[("colour", "red")], "colour is nothing");
        is_wrong(&[("trigger", "dynamic"), ("recorders", "a")], "belong together");
        is_wrong(&[("trigger", "dynamic"), ("profile", "a"), ("default-profile", "b")], "no profile of that name");
    }

    #[test]
    fn the_answer_has_what_was_asked_for() {
        let question = read(&[
            ("trigger", "dynamic"),
            ("this-dn", "dallas"),
            ("media-servers", "dallas,austin"),
            ("recorders", "-"),
            ("profile", "tx=dallas"),
            ("profile", "std"),
            ("default-profile", "std"),
        ]);
        let answer = question.unwrap().answer().unwrap();
        assert_eq!(answer.selection.selected.as_deref(), Some("dallas"));
        assert_eq!(answer.json["profile"]["name"], "tx");
        assert!(answer.json.get("pools").is_some());
    }
}
