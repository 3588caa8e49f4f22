//! Releases the local copies of delivered recordings: after their tenant's retention, or earlier when room is needed.
//!
//! Looking through the ledger and deleting files may take a while, so it is done beside the main thread.

use std::io;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::Now;
use crate::config::Config;
use crate::files::{self, System};
use crate::model::{MonoTime, Recording, Stage};
use crate::spool::Reader;
use crate::spool::retention::{Fill, Kept, due};

use super::Daemon;

/// How often it is looked what may go.
const EVERY: Duration = Duration::from_secs(60);

/// The same while new calls are refused for lack of room.
const EVERY_WHEN_FULL: Duration = Duration::from_secs(5);

/// What the main thread keeps of it.
pub(super) struct Keeper {
    last: Option<MonoTime>,
    news: mpsc::Sender<Recording>,
    released: mpsc::Receiver<Recording>,
}

impl Keeper {
    pub(super) fn new() -> Keeper {
        let (news, released) = mpsc::channel(super::QUEUE);
        Keeper { last: None, news, released }
    }

    /// A recording whose local files are gone.
    pub(super) async fn released(&mut self) -> Option<Recording> {
        self.released.recv().await
    }
}

impl Daemon {
    /// Looks for what may go, when it is time.
    pub(super) fn keep_house(&mut self, now: Now) {
        let every = if self.ledger.full { EVERY_WHEN_FULL } else { EVERY };
        let is_due = self.keeper.last.is_none_or(|last| now.mono >= last.after(every));
        let Some((spool_bytes, free_bytes)) = self.ledger.fill().filter(|_| is_due) else { return };
        self.keeper.last = Some(now.mono);
        let (reader, config, news) = (self.reader.clone(), self.config.clone(), self.keeper.news.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = release(&reader, &config, now, (spool_bytes, free_bytes), &news) {
                tracing::warn!("it could not be looked which recordings may go: {error}; tried again in {every:?}");
            }
        });
    }

    pub(super) fn on_released(&mut self, recording: Recording) {
        tracing::info!(recording = %recording.id, "local copy released");
        self.describe(Box::new(Recording { stage: Stage::Released, ..recording }));
    }
}

fn release(
    reader: &Reader,
    config: &Config,
    now: Now,
    (spool_bytes, free_bytes): (u64, u64),
    news: &mpsc::Sender<Recording>,
) -> io::Result<()> {
    let mut kept = reader.kept()?;
    kept.retain(Kept::is_on_box);
    let file_bytes = kept.iter().map(|recording| recording.bytes).fold(0, u64::saturating_add);
    let fill = Fill {
        used_bytes: spool_bytes + file_bytes,
        max_bytes: config.spool.max_bytes,
        free_bytes,
        floor_bytes: config.spool.floor_bytes,
    };
    let tenants: Vec<_> = config.tenants.iter().map(|tenant| (reader.blinded_tenant(&tenant.id), tenant.retention)).collect();
    let retention = |id: &[u8; 16]| tenants.iter().find(|(tenant, _)| tenant == id).map(|(_, retention)| *retention);
    for no in due(&kept, retention, &fill, now.wall) {
        let Some(recording) = reader.recording(no)? else { continue };
        let folder = config.site.data_dir.join("finished").join(recording.path());
        match files::remove_folder(&System, &folder) {
            Ok(()) => drop(news.blocking_send(recording)), // fails only when the daemon stops
            Err(error) => tracing::warn!(recording = %recording.id, "{}: {error}; its files stay for now", folder.display()),
        }
    }
    Ok(())
}
