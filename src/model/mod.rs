//! The vocabulary that all stations share: names, time, audio blocks and the description of a recording.
//!
//! Pure data. A station may use every type here; no type here knows a station.

pub mod access;
pub mod block;
pub mod call_facts;
pub mod conversation;
pub mod dialog;
pub mod format;
pub mod g711;
pub mod history;
pub mod id;
pub mod json;
pub mod recording;
pub mod speech;
pub mod stream;
pub mod time;
pub mod tone;

pub use block::{BLOCK_BYTES, Block, BlockList, BlockSource, Damage, Run, Samples, StoredBlock};
pub use call_facts::{CallFacts, Direction, DnRange, DnType, Side, SwitchId};
pub use conversation::Conversation;
pub use dialog::{LocalDescription, SavedDialog};
pub use format::AudioFormat;
pub use history::History;
pub use id::{BlockNo, CallUuid, Channel, LegNo, RecordingId, RecordingNo, TenantId};
pub use json::Json;
pub use recording::{EndReason, Flag, Leg, LegCounters, Mask, MaskKind, Recording, SavedSession, Stage};
pub use stream::{Line, Payload, StreamKey, StreamReport};
pub use time::{MediaTime, MonoTime, RtpTime, WallTime};
pub use tone::{ToneDemand, ToneFindings, ToneVerdict};
