//! Fetches a bundle, has RAUC install it, and looks whether calls are up. A power cut at any moment leaves the running system as it is: what
//! is here of a download is gone on with, and RAUC makes the other slot the next one only when all of it is written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Answer, Partial, back_off, other_slot};

/// Tries without a single new byte between them.
const MOST_FAILURES: u32 = 100;

/// A connection on which nothing comes for so long is given up.
const STALLS_AFTER: Duration = Duration::from_secs(60);

/// Fetches `url` into a file in `folder`; what an interrupted call has left of it there is gone on with.
///
/// # Errors
/// The server does not give it, or the disk does not take it.
pub async fn fetch(url: &str, folder: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let files = Files { bundle: folder.join("bundle.raucb"), about: folder.join("bundle.about") };
    let client = client()?;
    let mut failures = 0;
    loop {
        let partial = files.partial(url);
        match step(&client, url, &files, &partial).await {
            Ok(true) => return Ok(files.bundle),
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Err(error),
            Err(error) => eprintln!("nearend: {url}: {error}; it is tried again"),
        }
        failures = if files.partial(url).have > partial.have { 0 } else { failures + 1 };
        if failures >= MOST_FAILURES {
            return Err(io::Error::other(format!("{url}: gave up after {failures} tries")));
        }
        tokio::time::sleep(back_off(failures)).await;
    }
}

/// Asks once. Tells whether all of it is here.
async fn step(client: &reqwest::Client, url: &str, files: &Files, partial: &Partial) -> io::Result<bool> {
    let mut request = client.get(url);
    if let Some((range, etag)) = partial.range() {
        request = request.header("Range", range).header("If-Range", etag);
    }
    let mut answer = request.send().await.map_err(io::Error::other)?;
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let status = answer.status().as_u16();
    let mut file = match partial.judge(status, header("content-range").as_deref()) {
        Answer::Complete => return Ok(true),
        Answer::GiveUp => {
            let why = format!("{url}: the server answers {status}; expected a file");
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        Answer::TryAgain => {
            fs::remove_file(&files.about).or_else(none_is_well)?;
            return Ok(false);
        }
        Answer::Append => OpenOptions::new().append(true).open(&files.bundle)?,
        Answer::FromStart => {
            // First whose bytes they are, then the bytes.
            let file = File::create(&files.bundle)?;
            let etag = header("etag").filter(|etag| !etag.starts_with("W/")).unwrap_or_default();
            fs::write(&files.about, format!("{url}\n{etag}\n"))?;
            file
        }
    };
    loop {
        let piece = tokio::time::timeout(STALLS_AFTER, answer.chunk()).await;
        let piece = piece.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "nothing has come for a minute"));
        match piece.and_then(|piece| piece.map_err(io::Error::other)) {
            Ok(Some(bytes)) => file.write_all(&bytes)?,
            Ok(None) => {
                file.sync_all()?;
                return Ok(true);
            }
            Err(error) => {
                file.sync_all()?;
                return Err(error);
            }
        }
    }
}

fn none_is_well(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// The bundle, and whose bytes are in it: a line with the URL, a line with the ETag.
struct Files {
    bundle: PathBuf,
    about: PathBuf,
}

impl Files {
    fn partial(&self, url: &str) -> Partial {
        let about = fs::read_to_string(&self.about).unwrap_or_default(); // nothing is here
        let mut lines = about.lines();
        if lines.next() != Some(url) {
            return Partial::default();
        }
        let etag = lines.next().filter(|etag| !etag.is_empty()).map(str::to_owned);
        Partial { have: fs::metadata(&self.bundle).map_or(0, |facts| facts.len()), etag }
    }
}

fn client() -> io::Result<reqwest::Client> {
    // Fails only when there is one already, which is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(STALLS_AFTER)
        .user_agent(concat!("nearend/", env!("CARGO_PKG_VERSION")));
    builder.build().map_err(io::Error::other)
}

/// Has RAUC check the signature and write the slot that does not run; what is on trial stands in `state`. Gives the slot.
///
/// # Errors
/// The bundle is not for this board, not signed by somebody whom the box knows, or damaged; RAUC says which.
pub fn install(bundle: &Path, state: &Path) -> io::Result<char> {
    let slot = other_slot(&fs::read_to_string("/proc/cmdline")?)
        .ok_or_else(|| io::Error::other("this system was not started from a slot; updates are for boxes from scripts/image"))?;
    let trial = state.join("trial");
    // Before RAUC makes it the next one: a slot that comes up without being on trial would never be left.
    write_synced(&trial, &format!("{slot} installing\n"))?;
    let status = Command::new("rauc").arg("install").arg(bundle).status();
    let status = status.map_err(|e| io::Error::new(e.kind(), format!("rauc: {e}")))?;
    if !status.success() {
        fs::remove_file(&trial)?;
        return Err(io::Error::other(format!("rauc does not install {}: {status}; the running system stays", bundle.display())));
    }
    write_synced(&trial, &format!("{slot}\n"))?;
    Ok(slot)
}

fn write_synced(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// How many sockets are open for audio.
///
/// # Errors
/// The kernel's lists cannot be read.
pub fn sockets(ports: RangeInclusive<u16>) -> io::Result<usize> {
    let lists = ["/proc/net/udp", "/proc/net/udp6"].map(fs::read_to_string);
    lists.into_iter().try_fold(0, |sum, list| match list {
        Ok(list) => Ok(sum + super::sockets(&list, ports.clone())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(sum), // a kernel without IPv6
        Err(error) => Err(error),
    })
}

/// Starts the machine anew.
///
/// # Errors
/// It cannot be asked to.
pub fn start_anew() -> io::Result<()> {
    let status = Command::new("systemctl").args(["reboot", "--no-block"]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("systemctl reboot: {status}"))) }
}

#[cfg(test)]
mod tests;
