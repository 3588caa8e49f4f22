//! Station `recording`: one call as a recording.
//!
//! In: sessions that begin, change and end; reports of their streams; time. Out: [`model::Recording`](crate::model::Recording)
//! descriptions for the spool, and [`Action`]s for the SIP and RTP stations. Pure: there is no driver, the daemon carries the
//! actions out.
//!
//! | file | responsible for |
//! |---|---|
//! | [`calls`] | all recordings that run: admission, correlation by recording id, ends |
//! | [`call`] | one of them: its legs, masks, continuation |
//! | `restart` | going on after a restart of the box |

pub mod call;
pub mod calls;
mod restart;

pub use calls::{Action, Admission, Calls, Config, Declined, Opening, Placement, Refusal, SessionKey, Surroundings};

#[cfg(test)]
mod tests;
