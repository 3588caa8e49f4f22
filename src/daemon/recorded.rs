//! What is asked of recordings is looked up beside the main thread: it may take a while.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use crate::finish::{self, opus_reader};
use crate::model::access::Scope;
use crate::model::{AudioFormat, Recording, RecordingId};
use crate::spool::Reader;
use crate::web::driver::recorded::{Ask, Found};
use crate::web::peaks::{Peaks, Picture};
use crate::web::recorded::{Detail, List, Query, audio};
use crate::web::view::RecordingView;

use super::Daemon;

/// Descriptions that are looked at for one answer; whoever wants more asks on from there.
const MOST_LOOKED_AT: usize = 2_000;

const READ_BYTES: u64 = 64 << 10;

/// What looks them up.
struct Desk {
    reader: Reader,
    finished: PathBuf,
    targets: Vec<String>,
}

impl Daemon {
    pub(super) fn on_recorded_asked(&self, ask: Ask) {
        let desk = Desk {
            reader: self.reader.clone(),
            finished: self.config.site.data_dir.join("finished"),
            targets: self.config.targets.iter().map(|target| target.name.clone()).collect(),
        };
        // Who asked may have gone.
        tokio::task::spawn_blocking(move || match ask {
            Ask::List { scope, query, answer } => drop(answer.send(desk.list(&scope, &query))),
            Ask::Find { scope, id, answer } => drop(answer.send(desk.find(&scope, &id))),
            Ask::Picture { scope, id, count, answer } => drop(answer.send(desk.picture(&scope, &id, count))),
        });
    }
}

impl Desk {
    fn list(&self, scope: &Scope, query: &Query) -> io::Result<List> {
        let limit = query.limit().unwrap_or_default();
        let mut list = List::default();
        let mut last = None;
        for (looked_at, recording) in self.reader.recordings_before(query.before()).enumerate() {
            if list.recordings.len() == limit || looked_at == MOST_LOOKED_AT {
                list.next = last;
                break;
            }
            let recording = recording?;
            last = Some(recording.no.0);
            if query.wants(&recording, scope) {
                list.recordings.push(RecordingView::from(&recording));
            }
        }
        Ok(list)
    }

    fn recording(&self, scope: &Scope, id: &str) -> io::Result<Option<Recording>> {
        Ok(self.reader.find(&RecordingId(id.into()))?.filter(|recording| scope.sees(&recording.tenant.0)))
    }

    fn find(&self, scope: &Scope, id: &str) -> io::Result<Option<Found>> {
        let found = |recording: Recording| Found {
            detail: Detail::new(&recording, &self.targets),
            folder: self.finished.join(recording.path()),
            audio: audio(&recording).map(|(format, file)| (format, file.bytes, file.sha256.clone())),
        };
        Ok(self.recording(scope, id)?.map(found))
    }

    fn picture(&self, scope: &Scope, id: &str, count: usize) -> io::Result<Option<Picture>> {
        let Some(recording) = self.recording(scope, id)? else { return Ok(None) };
        let Ok((format, _)) = audio(&recording) else { return Ok(None) };
        match draw(&self.finished.join(recording.path()), format, &recording) {
            Ok(peaks) => Ok(Some(peaks.picture(count))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

fn draw(folder: &Path, format: AudioFormat, recording: &Recording) -> io::Result<Peaks> {
    let law = finish::encode::law(recording);
    let mut peaks = Peaks::new(law);
    let mut file = BufReader::new(File::open(folder.join(format.file_name()))?);
    match format {
        AudioFormat::Opus => opus_reader::read(file, law, |frames| peaks.add(frames))?,
        AudioFormat::Wav => {
            file.read_exact(&mut [0; finish::wav::HEADER_BYTES])?;
            let mut frames = Vec::new();
            while file.by_ref().take(READ_BYTES).read_to_end(&mut frames)? > 0 {
                peaks.add(&frames);
                frames.clear();
            }
        }
    }
    Ok(peaks)
}
