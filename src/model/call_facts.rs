//! What a rule may ask of a call, and the vocabulary for it: DNs, their types, agents, directions, switches.
//!
//! The facts come from a recording session (MSR parameters) or from a T-Server's events, whichever knows them. What is not
//! known is `None` or empty, and a rule that asks for it does not match.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{CallUuid, TenantId, WallTime};

/// A switch by its configured id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SwitchId(pub Arc<str>);

impl fmt::Display for SwitchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One call as rules see it, from the side of the DN that may be recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallFacts {
    /// CallUUID: the same for every part of a conversation, so that a share in percent takes all of it or nothing.
    #[serde(default)]
    pub call_uuid: Option<CallUuid>,
    /// The DN that may be recorded.
    #[serde(default)]
    pub dn: Option<String>,
    /// What sort of DN that is.
    #[serde(default)]
    pub dn_type: Option<DnType>,
    /// The DN or number at the other end.
    #[serde(default)]
    pub other_dn: Option<String>,
    /// The agent at the DN.
    #[serde(default)]
    pub agent: Option<String>,
    /// Number of the caller.
    #[serde(default)]
    pub ani: Option<String>,
    /// Number that was called.
    #[serde(default)]
    pub dnis: Option<String>,
    /// Where the call came from and went to.
    #[serde(default)]
    pub direction: Option<Direction>,
    /// Attached data, as it is now.
    #[serde(default)]
    pub attached: BTreeMap<String, String>,
    /// Whose call it is.
    pub tenant: TenantId,
    /// The switch of the DN.
    #[serde(default)]
    pub switch: Option<SwitchId>,
    /// When it is asked.
    pub at: WallTime,
}

impl CallFacts {
    /// A call of which nothing is known but whose it is.
    pub fn unknown(tenant: TenantId, at: WallTime) -> CallFacts {
        CallFacts {
            call_uuid: None,
            dn: None,
            dn_type: None,
            other_dn: None,
            agent: None,
            ani: None,
            dnis: None,
            direction: None,
            attached: BTreeMap::new(),
            tenant,
            switch: None,
            at,
        }
    }
}

impl CallFacts {
    /// Adds what another source knows of the same call. Whose it is stays, if that is certain.
    pub fn complete(&mut self, other: CallFacts, is_tenant_certain: bool) {
        let own = std::mem::replace(self, other);
        let told = self;
        told.call_uuid = own.call_uuid.or(told.call_uuid.take());
        told.dn = own.dn.or(told.dn.take());
        told.dn_type = own.dn_type.or(told.dn_type);
        told.other_dn = own.other_dn.or(told.other_dn.take());
        told.agent = own.agent.or(told.agent.take());
        told.ani = own.ani.or(told.ani.take());
        told.dnis = own.dnis.or(told.dnis.take());
        told.direction = own.direction.or(told.direction);
        told.attached.extend(own.attached);
        told.switch = own.switch.or(told.switch.take());
        told.at = own.at;
        if is_tenant_certain {
            told.tenant = own.tenant;
        }
    }
}

/// The types of DN that may be monitored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DnType {
    /// A telephone.
    Extension,
    /// A telephone that takes calls of a queue.
    AcdPosition,
    /// Where a voice application answers.
    VoiceTreatmentPort,
    /// Lines to the outside.
    TrunkGroup,
}

impl DnType {
    /// All of them.
    pub const ALL: [DnType; 4] = [DnType::Extension, DnType::AcdPosition, DnType::VoiceTreatmentPort, DnType::TrunkGroup];

    /// As it is written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            DnType::Extension => "extension",
            DnType::AcdPosition => "acd-position",
            DnType::VoiceTreatmentPort => "voice-treatment-port",
            DnType::TrunkGroup => "trunk-group",
        }
    }
}

/// Where a call came from and went to: the CallType of T-Lib.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From outside to an agent.
    Inbound,
    /// From an agent to the outside.
    Outbound,
    /// Between agents.
    Internal,
    /// Made by an agent on behalf of another call.
    Consult,
}

impl Direction {
    /// All of them.
    pub const ALL: [Direction; 4] = [Direction::Inbound, Direction::Outbound, Direction::Internal, Direction::Consult];

    /// As it is written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
            Direction::Internal => "internal",
            Direction::Consult => "consult",
        }
    }
}

/// Whose side of a call is recorded: the extension `record` of a recording request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The party that the request names.
    #[default]
    Source,
    /// The party at the other end.
    Destination,
}

impl Side {
    /// Both of them.
    pub const ALL: [Side; 2] = [Side::Source, Side::Destination];

    /// As it is written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Side::Source => "source",
            Side::Destination => "destination",
        }
    }
}

/// One DN, or a range of extensions of the same number of digits: `7001`, `7001-7049`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnRange {
    low: Arc<str>,
    /// None: a single DN.
    high: Option<Arc<str>>,
}

impl DnRange {
    /// Reads `7001` or `7001-7049`. A text with a hyphen whose halves are no digits is a single DN.
    ///
    /// # Errors
    /// What is wrong, what was expected and, where it can be known, what was meant.
    pub fn parse(text: &str) -> Result<DnRange, String> {
        const EXPECTED: &str = "expected a DN such as \"7001\", or a range such as \"7001-7049\"";
        let is_number = |half: &str| !half.is_empty() && half.bytes().all(|c| c.is_ascii_digit());
        if text.is_empty() || text.len() > 100 || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(format!("{text:?} is no DN; {EXPECTED}"));
        }
        match text.split_once('-').filter(|(low, high)| is_number(low) && is_number(high)) {
            None => Ok(DnRange { low: text.into(), high: None }),
            Some((low, high)) if low.len() != high.len() => {
                Err(format!("{text:?} has ends of {} and {} digits; {EXPECTED}, both ends as long", low.len(), high.len()))
            }
            Some((low, high)) if low > high => {
                Err(format!("{text:?} is empty, for it runs backwards; {EXPECTED}; did you mean \"{high}-{low}\"?"))
            }
            Some((low, high)) => Ok(DnRange { low: low.into(), high: Some(high.into()) }),
        }
    }

    /// Whether the DN is in it.
    pub fn contains(&self, dn: &str) -> bool {
        match &self.high {
            None => *self.low == *dn,
            // As long and all digits: then the order of texts is the order of numbers.
            Some(high) => dn.len() == high.len() && dn.bytes().all(|c| c.is_ascii_digit()) && *self.low <= *dn && *dn <= **high,
        }
    }

    /// Whether every DN of `other` is in it.
    pub fn covers(&self, other: &DnRange) -> bool {
        self.contains(&other.low) && other.high.as_ref().is_none_or(|high| self.contains(high))
    }

    /// Whether every DN of it is in one of `others`.
    pub fn is_covered_by(&self, others: &[&DnRange]) -> bool {
        let Some(((mut next, last), width)) = self.numbers().map(|ends| (ends, self.low.len())) else {
            return others.iter().any(|other| other.covers(self));
        };
        loop {
            let dn = format!("{next:0width$}");
            let reach = others.iter().filter(|other| other.contains(&dn)).map(|other| other.numbers().map_or(next, |(_, to)| to));
            match reach.max() {
                None => return false,
                Some(to) if to >= last => return true,
                Some(to) => next = to + 1, // each time past the end of one of them
            }
        }
    }

    /// Both ends as numbers, of a range whose numbers can be counted.
    fn numbers(&self) -> Option<(u64, u64)> {
        self.high.as_ref().and_then(|high| self.low.parse().ok().zip(high.parse().ok()))
    }

    /// Whether some DN is in both.
    pub fn meets(&self, other: &DnRange) -> bool {
        self.contains(&other.low) || other.contains(&self.low)
    }

    /// How many DNs are in it; `u64::MAX` for more than can be counted.
    pub fn count(&self) -> u64 {
        match self.numbers() {
            Some((low, high)) => high.saturating_sub(low).saturating_add(1),
            None if self.high.is_none() => 1,
            None => u64::MAX,
        }
    }

    /// Every DN of it, in order; none of a range whose numbers do not fit into 64 bits.
    pub fn dns(&self) -> impl Iterator<Item = String> + use<> {
        let width = self.low.len();
        let single = self.high.is_none().then(|| self.low.to_string());
        let numbers = self.numbers().into_iter().flat_map(|(low, high)| low..=high).map(move |n| format!("{n:0width$}"));
        single.into_iter().chain(numbers)
    }
}

impl fmt::Display for DnRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.high {
            None => f.write_str(&self.low),
            Some(high) => write!(f, "{}-{high}", self.low),
        }
    }
}

impl Serialize for DnRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DnRange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<DnRange, D::Error> {
        let text = String::deserialize(deserializer)?;
        DnRange::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(text: &str) -> DnRange {
        DnRange::parse(text).unwrap()
    }

    #[test]
    fn a_range_holds_numbers_of_its_length_only() {
        let range = range("7001-7049");
        assert!(range.contains("7001") && range.contains("7049") && range.contains("7020"));
        for dn in ["7000", "7050", "07020", "70200", "702", "70a0", "", "agent"] {
            assert!(!range.contains(dn), "{dn}");
        }
        assert_eq!((range.count(), range.dns().count()), (49, 49));
        assert_eq!(range.dns().next().as_deref(), Some("7001"));
    }

    #[test]
    fn leading_zeros_are_digits_of_the_dn() {
        assert_eq!(range("0008-0011").dns().collect::<Vec<_>>(), ["0008", "0009", "0010", "0011"]);
        assert!(!range("0008-0011").contains("9"));
    }

    #[test]
    fn names_with_a_hyphen_are_single_dns() {
        assert!(range("agent-anna").contains("agent-anna"));
        assert_eq!(range("agent-anna").dns().collect::<Vec<_>>(), ["agent-anna"]);
        assert_eq!(range("+49-30").count(), 1);
    }

    #[test]
    fn empty_and_uneven_ranges_are_refused() {
        assert!(DnRange::parse("7049-7001").unwrap_err().ends_with("did you mean \"7001-7049\"?"));
        assert!(DnRange::parse("99-7001").unwrap_err().contains("ends of 2 and 4 digits"));
        for text in ["", " ", "70 01", "7\n"] {
            assert!(DnRange::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(range(&format!("{}-{}", "1".repeat(40), "2".repeat(40))).dns().count(), 0, "more than anyone can register");
    }

    proptest! {
        #[test]
        fn several_cover_together(ends in prop::collection::vec((0_u32..40, 0_u32..40), 1..6)) {
            let ranges: Vec<DnRange> =
                ends.iter().map(|(a, b)| range(&format!("{:02}-{:02}", a.min(b), a.max(b)))).collect();
            let (one, others) = ranges.split_first().unwrap();
            let others: Vec<&DnRange> = others.iter().collect();
            let all = one.dns().all(|dn| others.iter().any(|other| other.contains(&dn)));
            prop_assert_eq!(one.is_covered_by(&others), all);
        }

        #[test]
        fn covering_and_meeting_are_what_they_say(ends in prop::array::uniform4(0_u32..100)) {
            let [a, b, c, d] = ends;
            let one = range(&format!("{:02}-{:02}", a.min(b), a.max(b)));
            let two = range(&format!("{:02}-{:02}", c.min(d), c.max(d)));
            let both = one.dns().filter(|dn| two.contains(dn)).count() as u64;
            prop_assert_eq!(one.meets(&two), both > 0);
            prop_assert_eq!(one.covers(&two), both == two.count());
            prop_assert_eq!(two.is_covered_by(&[&one]), both == two.count());
        }
    }
}
