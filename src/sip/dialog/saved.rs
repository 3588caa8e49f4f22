//! A dialog over a restart: what is kept of it, and how it goes on (RFC 3261 §12.2).

use super::super::flow::{Flow, ReplyPath};
use super::super::session_timer::SessionTimer;
use super::super::uri::{Uri, UriError};
use super::{Dialog, DialogKey};
use crate::model::dialog::{SavedBody, SavedDialog, WireBytes};

/// Requests of ours that may have been sent after the dialog was saved: their CSeq numbers must not be used again.
const CSEQ_AHEAD: u32 = 1_000;

impl Dialog {
    /// What is to be kept; none before the 2xx to its INVITE, and once the application has ended it.
    pub(in super::super) fn save(&self) -> Option<SavedDialog> {
        let interval = self.timer.as_ref().filter(|_| self.hangup.is_none())?.interval;
        let Flow { transport, local, remote, .. } = self.path.lasting();
        let body = |(content_type, bytes)| SavedBody { content_type, bytes: WireBytes(bytes) };
        Some(SavedDialog {
            call_id: self.key.call_id.clone(),
            local_tag: self.key.local_tag.clone(),
            remote_tag: self.key.remote_tag.clone(),
            local: WireBytes(self.local.clone()),
            remote: WireBytes(self.remote.clone()),
            routes: self.routes.iter().cloned().map(WireBytes).collect(),
            target: WireBytes(self.target.as_bytes().to_vec()),
            local_cseq: self.local_cseq,
            remote_cseq: self.remote_cseq,
            transport,
            local_address: local,
            remote_address: remote,
            peer_allows_update: self.peer_allows_update,
            siprec: self.siprec,
            interval,
            local_body: self.local_description.clone().map(body),
        })
    }

    /// The dialog as it goes on: over a new connection, with nothing pending. An ACK that has not come is not awaited.
    pub(in super::super) fn restore(saved: SavedDialog, timer: SessionTimer) -> Result<Dialog, UriError> {
        let SavedDialog { transport, local_address: local, remote_address: remote, .. } = saved;
        Ok(Dialog {
            key: DialogKey { call_id: saved.call_id, local_tag: saved.local_tag, remote_tag: saved.remote_tag },
            local: saved.local.0,
            remote: saved.remote.0,
            routes: saved.routes.into_iter().map(|route| route.0).collect(),
            target: Uri::parse(&saved.target.0)?,
            local_cseq: saved.local_cseq.wrapping_add(CSEQ_AHEAD),
            remote_cseq: saved.remote_cseq,
            path: ReplyPath::resumed(Flow { transport, local, remote, connection: None }),
            peer_allows_update: saved.peer_allows_update,
            siprec: saved.siprec,
            pending: None,
            unacknowledged: None,
            refreshing: None,
            timer: Some(timer),
            local_description: saved.local_body.map(|body| (body.content_type, body.bytes.0)),
            hangup: None,
        })
    }
}
