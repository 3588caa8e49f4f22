//! The description of a recording: all that is known beside the audio. Written to segment and ledger whenever it changes,
//! so that a lost ledger costs nothing; what a box once wrote must be readable for ever (serde defaults for new fields).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::block::Law;
use super::json::Json;
use super::{
    AudioFormat, CallUuid, Channel, Conversation, LegNo, Line, MediaTime, RecordingId, RecordingNo, RtpTime, SwitchId, TenantId,
    ToneFindings, WallTime,
};

/// One recorded call and how far it is on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// The box's own number.
    pub no: RecordingNo,
    /// The id of the sender, or one the box made.
    pub id: RecordingId,
    /// CallUUID, where the sender gave one.
    pub call_uuid: Option<CallUuid>,
    /// Whose recording it is.
    pub tenant: TenantId,
    /// The switch of the recorded DN, where it is known.
    #[serde(default)]
    pub switch: Option<SwitchId>,
    /// The rule that wanted it recorded, and what else that wants; none: no rule matched.
    #[serde(default)]
    pub ruling: Option<Box<Ruling>>,
    /// Which kind of sender it came from.
    pub dialect: Dialect,
    /// Zero of the time line: the start, rounded down to the block grid.
    pub origin: WallTime,
    /// When the first session was accepted.
    pub started: WallTime,
    /// When the last session ended; none while it runs.
    #[serde(default)]
    pub ended: Option<WallTime>,
    /// Why it ended.
    #[serde(default)]
    pub end_reason: Option<EndReason>,
    /// How far it is.
    pub stage: Stage,
    /// The sessions that are up, with what is needed to go on with them after a restart; none once it is over.
    #[serde(default)]
    pub sessions: Vec<SavedSession>,
    /// When the box came back in the middle of the call.
    #[serde(default)]
    pub restarts: Vec<WallTime>,
    /// All legs in the order of arrival; several may share a channel (failover, continuation).
    pub legs: Vec<Leg>,
    /// Paused and resumed, in order.
    #[serde(default)]
    pub masks: Vec<Mask>,
    /// The pause that somebody asked for, while it lasts.
    #[serde(default)]
    pub pause: Option<AskedPause>,
    /// What a reader must know: one-sided, continued …
    #[serde(default)]
    pub flags: Vec<Flag>,
    /// Parameters of the request-URI, names in lower case (`ani`, `dnis`, `connid`, `agentid`, `recorddn` …).
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Every `X-` header and `User-to-User` as received, with the name as received; first session first.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// What was said in-dialog: INFO bodies, SIPREC metadata documents, in order.
    #[serde(default)]
    pub notes: Vec<Note>,
    /// What the switch's side knows of the call; none: it knows nothing.
    #[serde(default)]
    pub conversation: Option<Box<Conversation>>,
    /// What was found of the recording tone, once it is finished.
    #[serde(default)]
    pub tones: Option<Box<ToneFindings>>,
    /// The finished files, once there are any, relative to the finished folder.
    #[serde(default)]
    pub files: Vec<FileFact>,
    /// Names of the targets that have confirmed all files.
    #[serde(default)]
    pub arrived_at: Vec<String>,
    /// Targets that will not take it as it is, until somebody has them try again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<SetAside>,
    /// Somebody wants it delivered before all others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub immediate: bool,
}

/// A target that will not take a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    /// Its name.
    pub target: String,
    /// Since when.
    pub time: WallTime,
    /// What it says, and what to do.
    pub why: String,
}

/// What a rule wants done with a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// Name of the rule.
    pub rule: String,
    /// By which the data centre knows how long to keep it.
    #[serde(default)]
    pub retention_class: Option<String>,
    /// Partitions of the archive that it goes to.
    #[serde(default)]
    pub partitions: Vec<String>,
    /// Format of its audio; none: the tenant's.
    #[serde(default)]
    pub format: Option<AudioFormat>,
    /// Preset of the consent tone that it must hold.
    #[serde(default)]
    pub tone: Option<String>,
}

/// A SIP session as it is kept over a restart of the box.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedSession {
    /// Its Call-ID.
    pub call_id: String,
    /// For each m-line: its leg and what was negotiated; none: the line was refused.
    pub lines: Vec<Option<(LegNo, Line)>>,
    /// The dialog, in the form of the SIP side; null until it is accepted.
    pub dialog: Json,
}

/// The kind of sender, which decides how its messages are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Genesys Media Stream Replication.
    Msr,
    /// RFC 7866.
    Siprec,
    /// Network recording of Cisco CUBE.
    Cube,
    /// The built-in bridge of a telephone at Cisco Unified CM.
    Cucm,
    /// An INVITE with audio that is none of these; recorded all the same.
    Plain,
}

/// How far a recording is on its way. Only forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Sessions are up, or may still be continued.
    Recording,
    /// Over; to be finished.
    Ended,
    /// The files stand on the box; to be forwarded. Its blocks are free.
    Finished,
    /// Every target has confirmed size and checksum.
    Delivered,
    /// The local copy is gone, too; only this description is left.
    Released,
}

/// Why a recording or a leg ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// BYE from the sender.
    Bye,
    /// CANCEL before the answer.
    Cancelled,
    /// The peer no longer answered: session timer (RFC 4028), or an in-dialog probe without answer.
    PeerVanished,
    /// No ACK came for the 200 OK (RFC 3261 §13.3.1.4).
    NoAck,
    /// The other session with the same recording id and channel took its place (failover).
    Replaced,
    /// The box was told to stop.
    Shutdown,
    /// Somebody asked the box to end the recording.
    Stopped,
    /// The box stopped without being told to, and the call did not come back.
    Interrupted,
}

/// One party's audio: one RTP stream at a time, on one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    /// Its number in the recording.
    pub no: LegNo,
    /// Which channel of the file it is.
    pub channel: Channel,
    /// The party's DN (MSR `dn`), or AOR (SIPREC), where known.
    pub dn: Option<String>,
    /// Call-ID of the session that carries it.
    pub call_id: String,
    /// RFC 4574 label of its m-line (SIPREC).
    #[serde(default)]
    pub label: Option<String>,
    /// Its law at first; blocks carry their own.
    pub law: Law,
    /// Where the box listens.
    pub local: SocketAddr,
    /// Where its packets come from, by SDP.
    pub remote: SocketAddr,
    /// When its session was accepted.
    pub started: WallTime,
    /// When it ended.
    #[serde(default)]
    pub ended: Option<WallTime>,
    /// Why it ended.
    #[serde(default)]
    pub end_reason: Option<EndReason>,
    /// What came over the wire.
    #[serde(default)]
    pub counters: LegCounters,
    /// Every SSRC heard, in order (at most 16 are kept).
    #[serde(default)]
    pub ssrcs: Vec<u32>,
    /// Telephone-event digits (RFC 4733) with their place.
    #[serde(default)]
    pub digits: Vec<Digit>,
    /// Where its RTP clock stands on the time line; what a restart of the box goes on from.
    #[serde(default)]
    pub anchor: Option<RtpAnchor>,
    /// RTCP sender reports that tie the leg's RTP clock to the sender's: the first and the latest.
    #[serde(default)]
    pub clock: Vec<ClockPoint>,
}

impl Leg {
    /// Whether it stands in an offer of the box that has not been answered yet.
    pub fn is_unanswered(&self) -> bool {
        self.remote.ip().is_unspecified() && self.remote.port() == 0
    }
}

/// Counts of one leg. `lost` is what never came, after reordering; the others are packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LegCounters {
    /// RTP packets placed on the time line.
    pub packets: u64,
    /// Bytes of RTP payload placed.
    pub bytes: u64,
    /// Packets that never came (RFC 3550 §6.4.1, cumulative).
    pub lost: u64,
    /// Came after the block they belong to was written; still placed.
    pub late: u64,
    /// Came after a packet with a higher sequence number.
    pub reordered: u64,
    /// Came twice; the second was dropped.
    pub duplicates: u64,
    /// Dropped: from another address than negotiated, or a single packet of another SSRC.
    pub wrong_source: u64,
    /// Dropped: a payload type that was not negotiated.
    pub wrong_payload_type: u64,
    /// Dropped: not RTP (version, length), or a timestamp that contradicts its sequence number and its arrival.
    pub malformed: u64,
    /// Dropped: arrived while paused or held; nothing of it is kept.
    pub masked: u64,
    /// Dropped: no free block was left, the spool could not keep up.
    pub overrun: u64,
    /// Dropped by the kernel: the socket's buffer was full (SO_RXQ_OVFL).
    pub kernel_drops: u64,
    /// Comfort-noise packets (RFC 3389): silence on the time line.
    pub comfort_noise: u64,
    /// How often the place had to be taken anew from the arrival time (new SSRC, timestamp jump).
    pub resyncs: u64,
    /// Samples of silence inserted because the sender's clock runs too slow.
    pub drift_inserted: u64,
    /// Samples left out because the sender's clock runs too fast.
    pub drift_left_out: u64,
    /// Interarrival jitter in µs (RFC 3550 §6.4.1), the last value.
    pub jitter_us: u64,
}

impl LegCounters {
    /// Whether its samples lie as far apart as they were sent: no clock had to be set right.
    pub fn is_undrifted(&self) -> bool {
        self.drift_inserted == 0 && self.drift_left_out == 0
    }

    /// Both together; of the jitters the greater.
    #[must_use]
    pub fn plus(self, other: &LegCounters) -> LegCounters {
        LegCounters {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
            lost: self.lost + other.lost,
            late: self.late + other.late,
            reordered: self.reordered + other.reordered,
            duplicates: self.duplicates + other.duplicates,
            wrong_source: self.wrong_source + other.wrong_source,
            wrong_payload_type: self.wrong_payload_type + other.wrong_payload_type,
            malformed: self.malformed + other.malformed,
            masked: self.masked + other.masked,
            overrun: self.overrun + other.overrun,
            kernel_drops: self.kernel_drops + other.kernel_drops,
            comfort_noise: self.comfort_noise + other.comfort_noise,
            resyncs: self.resyncs + other.resyncs,
            drift_inserted: self.drift_inserted + other.drift_inserted,
            drift_left_out: self.drift_left_out + other.drift_left_out,
            jitter_us: self.jitter_us.max(other.jitter_us),
        }
    }
}

/// A telephone-event digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digit {
    /// Where it began.
    pub at: MediaTime,
    /// `0`-`9`, `*`, `#`, `A`-`D`, or `F` for flash.
    pub digit: char,
    /// How long it lasted.
    pub duration_ms: u32,
}

/// A moment of a sender's RTP clock and its place: all other places follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtpAnchor {
    /// Whose clock.
    pub ssrc: u32,
    /// A timestamp of it.
    pub time: RtpTime,
    /// Where that lies.
    pub at: MediaTime,
}

/// One sender report: RTP timestamp and NTP time of the same instant, and where that is on the time line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockPoint {
    /// The sender's SSRC.
    pub ssrc: u32,
    /// NTP time of the report (RFC 3550 §6.4.1), 32.32 bits since 1900.
    pub ntp: u64,
    /// The report's RTP timestamp, as place on the time line by the leg's present mapping.
    pub at: MediaTime,
    /// When the report arrived, on the time line.
    pub arrived: MediaTime,
}

/// A pause on request, beside any of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedPause {
    /// When it ends by itself; none: when it is taken back, or the call ends.
    #[serde(default)]
    pub until: Option<WallTime>,
}

/// A change between kept and masked audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mask {
    /// When.
    pub time: WallTime,
    /// What began then.
    pub kind: MaskKind,
    /// The leg it applies to; none: all.
    pub leg: Option<LegNo>,
}

/// What begins at a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaskKind {
    /// From here on nothing is kept.
    Paused,
    /// From here on audio is kept again.
    Resumed,
}

/// What a reader of the recording must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// Only one side ever had a session.
    OneSided,
    /// A further session with the same recording id took it up again.
    Continued,
    /// Neither dn, recorddn nor labels said which party is which: channels are in order of arrival.
    ChannelsByOrder,
    /// A recording of this id had already been finished; this one carries on as a part of its own.
    LaterPart,
    /// The SIPREC metadata could not be read in full, or leaves open who speaks on which stream; the raw bytes are kept.
    MetadataIncomplete,
    /// The box was down for a part of the call.
    Interrupted,
    /// Blocks were damaged on the disk; they are silence.
    Damaged,
    /// The box's clock was set during the call: all times here are by the clock as it was when the call began.
    ClockSet,
}

/// Something that a session said beside the audio.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When it arrived.
    pub time: WallTime,
    /// What carried it: `INFO`, `INVITE`, `UPDATE`.
    pub method: String,
    /// Its Content-Type.
    pub content_type: String,
    /// The body; bytes that are no UTF-8 become U+FFFD.
    pub body: String,
}

/// A finished file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFact {
    /// Name within the recording's folder: `audio.wav`, `recording.json`.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 in lower-case hex.
    pub sha256: String,
}

impl Recording {
    /// `{tenant}/{yyyy-mm-dd}/{recording-id}`: where it stands in the finished folder and in every target.
    pub fn path(&self) -> String {
        use super::id::path_component;
        format!("{}/{}/{}", path_component(&self.tenant.0), self.started.date(), path_component(&self.id.0))
    }

    /// Adds a flag unless it is there.
    pub fn flag(&mut self, flag: Flag) {
        if !self.flags.contains(&flag) {
            self.flags.push(flag);
        }
    }
}
