//! Recordings as the API tells of them: which of them are wanted, and all that is said of one. Pure.

use serde::{Deserialize, Serialize};

use super::view::RecordingView;
use crate::model::access::Scope;
use crate::model::recording::{FileFact, SetAside};
use crate::model::{AudioFormat, Recording, RecordingNo, Stage, WallTime};

/// Recordings in one answer.
const USUAL: usize = 50;
const MOST: usize = 500;

/// What is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    limit: Option<usize>,
    before: Option<u64>,
    tenant: Option<String>,
    state: Option<State>,
    party: Option<String>,
    from: Option<jiff::Timestamp>,
    to: Option<jiff::Timestamp>,
}

/// Where a recording is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Recording,
    Ended,
    Finished,
    Delivered,
    Released,
    /// Nowhere but on this box.
    Here,
}

impl Query {
    /// How many may be in the answer.
    ///
    /// # Errors
    /// It is none, or too many.
    pub fn limit(&self) -> Result<usize, String> {
        let limit = self.limit.unwrap_or(USUAL);
        if (1..=MOST).contains(&limit) { Ok(limit) } else { Err(format!("limit is to be from 1 to {MOST}")) }
    }

    /// Behind which one the answer begins; none: the newest is the first.
    pub fn before(&self) -> Option<RecordingNo> {
        self.before.map(RecordingNo)
    }

    /// Whether this one is meant, of those that may be known.
    pub fn wants(&self, recording: &Recording, scope: &Scope) -> bool {
        let started = recording.started.timestamp();
        scope.sees(&recording.tenant.0)
            && self.tenant.as_ref().is_none_or(|tenant| **tenant == *recording.tenant.0)
            && self.state.is_none_or(|state| state.holds(recording))
            && self.from.is_none_or(|from| started >= from)
            && self.to.is_none_or(|to| started < to)
            && self.party.as_ref().is_none_or(|party| recording.legs.iter().any(|leg| leg.dn.as_ref() == Some(party)))
    }
}

impl State {
    fn holds(self, recording: &Recording) -> bool {
        match self {
            State::Recording => recording.stage == Stage::Recording,
            State::Ended => recording.stage == Stage::Ended,
            State::Finished => recording.stage == Stage::Finished,
            State::Delivered => recording.stage == Stage::Delivered,
            State::Released => recording.stage == Stage::Released,
            State::Here => is_only_here(recording),
        }
    }
}

/// Whether its loss on the box would be its loss.
fn is_only_here(recording: &Recording) -> bool {
    recording.stage < Stage::Delivered && recording.arrived_at.is_empty()
}

/// Some of them, newest first.
#[derive(Debug, Default, Serialize)]
pub struct List {
    /// They.
    pub recordings: Vec<RecordingView>,
    /// The `before` of the next answer; none: there are no more.
    pub next: Option<u64>,
}

/// All that is said of one.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Detail {
    /// What the list says.
    #[serde(flatten)]
    pub view: RecordingView,
    /// Where it is now.
    pub whereabouts: Whereabouts,
    /// What can be played here.
    pub audio: Playable,
    /// Its files, with their checksums.
    pub files: Vec<FileFact>,
}

/// Where a recording is now.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Whereabouts {
    /// Whether it is nowhere but on this box.
    pub only_here: bool,
    /// Whether its files are on this box.
    pub on_box: bool,
    /// Targets that have confirmed it.
    pub arrived_at: Vec<String>,
    /// Targets that have not.
    pub waiting_for: Vec<String>,
    /// Targets that will not take it.
    pub set_aside: Vec<Refused>,
}

/// A target that will not take it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// Its name.
    pub target: String,
    /// Since when.
    pub since: String,
    /// What it says, and what to do.
    pub why: String,
}

/// Whether it can be heard here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Playable {
    /// It can.
    Yes,
    /// It still runs, or is about to be finished.
    Early,
    /// It is sealed: only who has a key of its tenant can open it.
    Sealed,
    /// The local copy is gone.
    Gone,
}

impl Detail {
    /// `targets` are the names of those that are configured.
    pub fn new(recording: &Recording, targets: &[String]) -> Detail {
        let on_box = matches!(recording.stage, Stage::Finished | Stage::Delivered);
        let arrived_at = recording.arrived_at.clone();
        let waits = |target: &&String| recording.stage < Stage::Delivered && !arrived_at.contains(target);
        let refused = |aside: &SetAside| Refused { target: aside.target.clone(), since: iso(aside.time), why: aside.why.clone() };
        Detail {
            view: RecordingView::from(recording),
            whereabouts: Whereabouts {
                only_here: is_only_here(recording),
                on_box,
                waiting_for: targets.iter().filter(waits).cloned().collect(),
                arrived_at,
                set_aside: recording.set_aside.iter().map(refused).collect(),
            },
            audio: playable(recording),
            files: recording.files.clone(),
        }
    }
}

/// The format and the fact of the audio that can be played; or why it cannot.
///
/// # Errors
/// Why not.
pub fn audio(recording: &Recording) -> Result<(AudioFormat, &FileFact), Playable> {
    match recording.stage {
        Stage::Recording | Stage::Ended => return Err(Playable::Early),
        Stage::Released => return Err(Playable::Gone),
        Stage::Finished | Stage::Delivered => {}
    }
    let of = |format: AudioFormat| recording.files.iter().find(|file| file.name == format.file_name()).map(|file| (format, file));
    AudioFormat::ALL.into_iter().find_map(of).ok_or(Playable::Sealed)
}

fn playable(recording: &Recording) -> Playable {
    audio(recording).map_or_else(|why| why, |_| Playable::Yes)
}

fn iso(time: WallTime) -> String {
    time.to_string()
}

/// A part that lies behind the end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchPart;

/// The part of a file that is asked for (RFC 9110 §14.2); none: all of it.
///
/// # Errors
/// It has no such part.
pub fn range(header: Option<&str>, length: u64) -> Result<Option<std::ops::Range<u64>>, NoSuchPart> {
    // Several parts at once nobody needs: then all is given, as the RFC allows, like for what is no range at all.
    let Some((first, last)) = header.and_then(|header| header.strip_prefix("bytes=")?.trim().split_once('-')) else {
        return Ok(None);
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let part = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Some(first), None) if last.is_empty() => first..length,
        (None, Some(last)) if first.is_empty() => length.saturating_sub(last)..length,
        _ => return Ok(None),
    };
    if part.is_empty() { Err(NoSuchPart) } else { Ok(Some(part)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finish::testing::recording;
    use crate::model::TenantId;

    fn call(stage: Stage) -> Recording {
        Recording { stage, tenant: TenantId("101".into()), ..recording(1, "a", 61_000) }
    }

    fn query(text: &str) -> Query {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_query_takes_what_it_names_and_nothing_of_other_tenants() {
        let (all, finished) = (Scope::default(), call(Stage::Finished));
        let other = Scope(Some([TenantId("102".into())].into()));
        let dn = finished.legs[0].dn.clone().unwrap_or_default();
        for (text, wanted) in [
            ("{}".to_owned(), true),
            (r#"{"tenant": "101", "state": "finished"}"#.into(), true),
            (r#"{"state": "here"}"#.into(), true),
            (r#"{"state": "delivered"}"#.into(), false),
            (r#"{"tenant": "1"}"#.into(), false),
            (format!(r#"{{"party": "{dn}"}}"#), finished.legs[0].dn.is_some()),
            (r#"{"party": "0"}"#.into(), false),
            (r#"{"from": "2026-03-02T14:05:59Z", "to": "2026-03-02T14:06:00Z"}"#.into(), true),
            (r#"{"to": "2026-03-02T14:05:59Z"}"#.into(), false),
        ] {
            assert_eq!(query(&text).wants(&finished, &all), wanted, "{text}");
            assert!(!query(&text).wants(&finished, &other), "{text}");
        }
        assert!(
            !query(r#"{"state": "here"}"#).wants(&Recording { arrived_at: vec!["dc".into()], ..call(Stage::Finished) }, &all)
        );
        assert!(query(r#"{"limit": 0}"#).limit().is_err() && query(r#"{"limit": 501}"#).limit().is_err());
    }

    #[test]
    fn what_cannot_be_played_says_why() {
        let file = |name: &str| FileFact { name: name.into(), bytes: 1, sha256: String::new() };
        let with = |stage, name| Recording { files: vec![file(name)], ..call(stage) };
        assert_eq!(playable(&call(Stage::Ended)), Playable::Early);
        assert_eq!(playable(&with(Stage::Delivered, "audio.opus")), Playable::Yes);
        assert_eq!(playable(&with(Stage::Finished, "audio.wav.age")), Playable::Sealed);
        assert_eq!(playable(&with(Stage::Released, "audio.wav")), Playable::Gone);
        let detail = Detail::new(&with(Stage::Finished, "audio.wav"), &["dc".into()]);
        assert!(detail.whereabouts.only_here && detail.whereabouts.waiting_for == ["dc"]);
    }

    #[test]
    fn a_part_of_a_file() {
        for (header, part) in [
            (None, Ok(None)),
            (Some("bytes=0-"), Ok(Some(0..100))),
            (Some("bytes=10-19"), Ok(Some(10..20))),
            (Some("bytes=90-1000"), Ok(Some(90..100))),
            (Some("bytes=-5"), Ok(Some(95..100))),
            (Some("bytes=-500"), Ok(Some(0..100))),
            (Some("bytes=100-"), Err(NoSuchPart)),
            (Some("bytes=-0"), Err(NoSuchPart)),
            (Some("bytes=5-2"), Ok(None)),
            (Some("bytes=0-1,5-6"), Ok(None)),
            (Some("lines=0-1"), Ok(None)),
            (Some("bytes=99999999999999999999-"), Ok(None)),
        ] {
            assert_eq!(range(header, 100), part, "{header:?}");
        }
        assert_eq!(range(Some("bytes=0-"), 0), Err(NoSuchPart));
    }
}
