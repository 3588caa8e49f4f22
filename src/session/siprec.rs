//! SIPREC: reads the recording metadata of RFC 7865 as an offer of parties per m-line.
//!
//! What a party sends is tied to an m-line by ids: `participantstreamassoc/send` names a stream, the stream has a label, the
//! m-line the same `a=label` (RFC 7866 §8.1.1). Namespaces and prefixes differ between vendors, so only local names
//! count. A document that breaks off or is not well-formed gives all that can be read around its faults, and says so: Oracle writes
//! `<sip:7001@pbx>` into text without escaping it.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use crate::model::{CallUuid, Channel, RecordingId};

use super::Party;

/// What a metadata document says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// `session_id` (or `id`) of the communication session: the recording id.
    pub session_id: Option<RecordingId>,
    /// The Genesys CallUUID that some SBCs carry as extension data.
    pub call_uuid: Option<CallUuid>,
    /// Participants in the order of the document.
    pub participants: Vec<Participant>,
    /// Streams in the order of the document.
    pub streams: Vec<Stream>,
    /// The document is not well-formed: what stands at the fault is missing.
    pub incomplete: bool,
}

/// A party of the call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Participant {
    /// Its id.
    pub id: String,
    /// Its address of record.
    pub aor: Option<String>,
    /// Ids of the streams it sends.
    pub sends: Vec<String>,
}

/// A media stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// Its id.
    pub id: String,
    /// The label of its m-line.
    pub label: Option<String>,
}

/// Most elements of one kind that are kept.
const MAX_ELEMENTS: usize = super::MAX_PARTIES;

impl Metadata {
    /// One party per stream, in the order of the streams. The sender of the first one is the recorded party (channel 1), whatever
    /// else it sends; where nobody is named as a sender, the first stream is the recorded party's.
    pub fn parties(&self) -> Vec<Party> {
        let recorded = self.streams.first().and_then(|stream| self.sender(stream)).map(|sender| &sender.id);
        let party = |(n, stream): (usize, &Stream)| {
            let sender = self.sender(stream);
            let is_recorded = n == 0 || (sender.is_some() && sender.map(|s| &s.id) == recorded);
            Party {
                channel: Some(if is_recorded { Channel::Recorded } else { Channel::Other }),
                dn: sender.and_then(|p| p.aor.clone()),
                label: stream.label.clone(),
            }
        };
        self.streams.iter().enumerate().map(party).collect()
    }

    /// Whether it leaves open who sends a stream, though it names participants.
    pub fn leaves_open(&self) -> bool {
        !self.participants.is_empty() && self.streams.iter().any(|stream| self.sender(stream).is_none())
    }

    fn sender(&self, stream: &Stream) -> Option<&Participant> {
        self.participants.iter().find(|participant| participant.sends.contains(&stream.id))
    }
}

/// Reads a metadata document, around its faults if need be.
pub fn read(xml: &[u8]) -> Metadata {
    let text = String::from_utf8_lossy(xml);
    let mut state = State::default();
    let mut rest = &text[..];
    while let Some(fault) = read_until_fault(rest, &mut state) {
        state.metadata.incomplete = true;
        // Behind the angle bracket at the fault the next one may begin something that can be read.
        let Some(next) = rest.get(fault..).and_then(|tail| tail.char_indices().skip(1).find(|(_, c)| *c == '<')) else { break };
        rest = &rest[fault + next.0..];
    }
    state.metadata.incomplete |= !state.path.is_empty();
    state.metadata
}

/// Reads as far as it goes; gives the place of the fault, or none at the end.
fn read_until_fault(xml: &str, state: &mut State) -> Option<usize> {
    let mut reader = Reader::from_str(xml);
    let config = reader.config_mut();
    config.trim_text(true);
    config.check_end_names = false; // state.close does, and lives with it
    config.allow_unmatched_ends = true;
    loop {
        match reader.read_event() {
            Ok(Event::Start(element)) => state.open(&element),
            Ok(Event::Empty(element)) => {
                state.open(&element);
                state.close(&element.local_name().as_ref().to_ascii_lowercase());
            }
            Ok(Event::Text(text)) => state.text(&text),
            Ok(Event::End(element)) => state.close(&element.local_name().as_ref().to_ascii_lowercase()),
            Ok(Event::Eof) => return None,
            Ok(_) => {}
            Err(_) => {
                // A character boundary, or the slice behind would not be one.
                let at = usize::try_from(reader.error_position()).unwrap_or(usize::MAX).min(xml.len());
                return Some((0..=at).rev().find(|at| xml.is_char_boundary(*at)).unwrap_or(0));
            }
        }
    }
}

/// Where in the document the reader is.
#[derive(Default)]
struct State {
    path: Vec<String>,
    metadata: Metadata,
    /// The participant whose associations are being read.
    association: Option<String>,
}

impl State {
    fn open(&mut self, element: &BytesStart<'_>) {
        let name = element.local_name().as_ref().to_ascii_lowercase();
        if name.contains('@') {
            self.metadata.incomplete = true; // an address in angle brackets, not escaped
            return;
        }
        match name.as_str() {
            "session" => {
                let id = attribute(element, &["session_id", "id"]).map(|id| RecordingId(id.into()));
                self.metadata.session_id = self.metadata.session_id.take().or(id);
            }
            "participant" => self.participant(attribute(element, &["participant_id", "id"]).unwrap_or_default()),
            "nameid" => {
                if let Some(participant) = self.metadata.participants.last_mut() {
                    participant.aor = participant.aor.take().or(attribute(element, &["aor"]));
                }
            }
            "stream" if self.metadata.streams.len() < MAX_ELEMENTS => {
                let id = attribute(element, &["stream_id", "id"]).unwrap_or_default();
                self.metadata.streams.push(Stream { id, label: None });
            }
            "participantstreamassoc" => self.association = attribute(element, &["participant_id", "participant"]),
            _ => {}
        }
        self.path.push(name);
    }

    fn text(&mut self, text: &str) {
        let text = text.trim();
        match self.path.last().map(String::as_str) {
            Some("label") => {
                if let Some(stream) = self.metadata.streams.last_mut() {
                    stream.label = Some(text.to_owned());
                }
            }
            Some("send") => {
                let participants = &mut self.metadata.participants;
                let sender = match &self.association {
                    Some(id) => participants.iter_mut().find(|p| p.id == *id),
                    None => participants.last_mut(), // `<send>` inside the participant itself
                };
                if let Some(sender) = sender.filter(|p| p.sends.len() < MAX_ELEMENTS) {
                    sender.sends.push(text.to_owned());
                }
            }
            Some("genesysuuid") => self.metadata.call_uuid = Some(CallUuid(text.into())),
            _ => {}
        }
    }

    /// An element ends, and with it what was left open within it. One that was never opened ends nothing.
    fn close(&mut self, name: &str) {
        self.metadata.incomplete |= self.path.last().is_none_or(|open| open != name);
        if let Some(at) = self.path.iter().rposition(|open| open == name) {
            self.path.truncate(at);
        }
        if name == "participantstreamassoc" {
            self.association = None;
        }
    }

    fn participant(&mut self, id: String) {
        if self.metadata.participants.len() < MAX_ELEMENTS {
            self.metadata.participants.push(Participant { id, ..Participant::default() });
        }
    }
}

fn attribute(element: &BytesStart<'_>, names: &[&str]) -> Option<String> {
    let mut attributes = element.attributes();
    let found: Vec<_> = attributes.with_checks(false).flatten().collect();
    names.iter().find_map(|name| {
        let attribute = found.iter().find(|a| a.key.local_name().as_ref().eq_ignore_ascii_case(name))?;
        let value = attribute.normalized_value(XmlVersion::default());
        let value = value.map_or_else(|_| attribute.value.clone().into_owned(), |v| v.into_owned());
        Some(value).filter(|v| !v.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RFC: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<recording xmlns="urn:ietf:params:xml:ns:recording:1">
  <datamode>complete</datamode>
  <group group_id="g1"><associate-time>2026-03-02T14:05:59Z</associate-time></group>
  <session session_id="hVpd7YQgRW2nD22h7q60JQ=="><sipSessionID>ab30317f</sipSessionID></session>
  <participant participant_id="p1"><nameID aor="sip:7001@pbx.example"><name>Anna</name></nameID></participant>
  <participant participant_id="p2"><nameID aor="sip:5550100@pstn.example"/></participant>
  <stream stream_id="s1" session_id="hVpd7YQgRW2nD22h7q60JQ=="><label>96</label></stream>
  <stream stream_id="s2" session_id="hVpd7YQgRW2nD22h7q60JQ=="><label>97</label></stream>
  <participantstreamassoc participant_id="p1"><send>s1</send><recv>s2</recv></participantstreamassoc>
  <participantstreamassoc participant_id="p2"><send>s2</send><recv>s1</recv></participantstreamassoc>
</recording>"#;

    #[test]
    fn parties_follow_labels_over_streams_over_associations() {
        let metadata = read(RFC.as_bytes());
        assert_eq!(metadata.session_id, Some(RecordingId("hVpd7YQgRW2nD22h7q60JQ==".into())));
        assert!(!metadata.incomplete);
        let recorded =
            Party { channel: Some(Channel::Recorded), dn: Some("sip:7001@pbx.example".into()), label: Some("96".into()) };
        let other =
            Party { channel: Some(Channel::Other), dn: Some("sip:5550100@pstn.example".into()), label: Some("97".into()) };
        assert_eq!(metadata.parties(), [recorded, other]);
    }

    #[test]
    fn prefixes_and_sends_within_the_participant_are_read() {
        let xml = r#"<tns:recording xmlns:tns="x"><tns:session id="q"/>
            <tns:participant id="p" session="q"><tns:nameID aor="tel:+15550100"/><send>s</send></tns:participant>
            <tns:stream id="s"><tns:label>1234567890</tns:label></tns:stream>
            <ac:GenesysUUID xmlns:ac="urn:ietf:params:xml:ns:Genesys">01ABCDEFGHIJKLMNOPQRSTUV00000001</ac:GenesysUUID></tns:recording>"#;
        let metadata = read(xml.as_bytes());
        assert_eq!(metadata.call_uuid, Some(CallUuid("01ABCDEFGHIJKLMNOPQRSTUV00000001".into())));
        let [party] = &metadata.parties()[..] else { panic!("one stream") };
        assert_eq!((party.dn.as_deref(), party.label.as_deref()), (Some("tel:+15550100"), Some("1234567890")));
    }

    #[test]
    fn what_stands_before_a_fault_is_kept() {
        let broken = RFC.replace("<recv>s2</recv>", "<sip:7001@x>");
        let metadata = read(broken.as_bytes());
        assert!(metadata.incomplete);
        assert_eq!(metadata.streams.len(), 2);
        assert!(read(&RFC.as_bytes()[..RFC.len() / 2]).incomplete);
    }

    proptest! {
        #[test]
        fn no_mutation_panics(at in 0..RFC.len(), byte: u8) {
            let mut xml = RFC.as_bytes().to_vec();
            xml[at] = byte;
            prop_assert!(read(&xml).streams.len() <= 2);
        }
    }
}
