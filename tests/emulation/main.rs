//! The image in an emulator, from power-on to the recordings in an S3 server: `scripts/emulate-tests` runs these, one after the other, in a
//! network of their own, and prints what it measured. They take minutes each, so `cargo test` leaves them out.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics")]
#![expect(clippy::disallowed_methods, reason = "the tests stand outside of the box and its clock")]

#[path = "../../benches/trials/audio.rs"]
mod audio;
mod calls;
mod machine;
mod power;
#[path = "../system/wan/s3.rs"]
mod s3;
mod sender;
mod update;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
