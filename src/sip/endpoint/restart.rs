//! Calls outlast the process: dialogs are given out to be kept, and taken in again (RFC 3261 §12.2).

use std::time::Duration;

use thiserror::Error;
use tracing::debug;

use super::super::dialog::{Dialog, DialogId};
use super::super::session_timer::SessionTimer;
use super::super::uri::UriError;
use super::Endpoint;
use crate::model::{MonoTime, SavedDialog};

/// A saved dialog that cannot go on: its call is lost, its peer gets 481.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// One with the same Call-ID and tags is there.
    #[error("the dialog of Call-ID {0} is there already; it is restored only once, at the start")]
    Exists(String),
    /// What was saved has been damaged.
    #[error(
        "the dialog of Call-ID {call_id} cannot go on, its remote target is unreadable: {source}; the call is to be given up"
    )]
    Target {
        /// Whose.
        call_id: String,
        /// What is wrong.
        source: UriError,
    },
}

impl Endpoint {
    /// What is to be kept of a dialog for it to go on after a restart: to be asked for whenever the application has accepted
    /// something, and now and then, because refreshes change it, too. None while its INVITE is not accepted, and once it ends.
    pub fn save(&self, id: DialogId) -> Option<SavedDialog> {
        self.dialogs.get(&id)?.save()
    }

    /// Takes in a dialog that was saved before a restart; it gets a number of its own. Its session timer starts anew, and
    /// where the box refreshes, it does so soon, because the peer has been counting on.
    ///
    /// # Errors
    /// See [`RestoreError`].
    pub fn restore(&mut self, now: MonoTime, saved: SavedDialog) -> Result<DialogId, RestoreError> {
        let (call_id, interval) = (saved.call_id.clone(), saved.interval);
        let wait = Duration::from_millis(self.tokens.below(interval.resumed_within_ms()));
        let dialog = match Dialog::restore(saved, SessionTimer::resume(now, interval, wait)) {
            Ok(dialog) if self.dialog_ids.contains_key(&dialog.key) => return Err(RestoreError::Exists(call_id)),
            Ok(dialog) => dialog,
            Err(source) => return Err(RestoreError::Target { call_id, source }),
        };
        let id = self.adopt(dialog);
        debug!(call_id, dialog = id.0, "dialog restored");
        self.watch_dialog(id);
        Ok(id)
    }
}
