//! Station `wear`: how much is written to the box's medium, and how long it will last. A side door: if it hangs on a sick
//! medium, no recording notices.
//!
//! In: what the kernel counts (`/sys/block/*/stat`), the life registers of an eMMC (JEDEC JESD84-B51, EXT_CSD 267-269), SMART where
//! smartctl is installed. Out: a [`Wear`] once an hour. What the medium does not tell is unknown and shown as unknown.
//!
//! | file | responsible for |
//! |---|---|
//! | [`medium`] | reading what kernel, eMMC and smartctl say |
//! | [`history`] | what is known over months, and the projection from it |
//! | [`driver`] | the thread, the files, the hour |

pub mod driver;
pub mod history;
pub mod medium;

pub use driver::start;
pub use history::Wear;
