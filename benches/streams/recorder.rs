//! The box: `nearend run` with everything on. SIP, RTCP, spool with fsync, finisher, page and metrics; without a target, because
//! a target on the same disk would count as the box's own writing.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use nix::unistd::Pid;
use tempfile::TempDir;

use super::Result;
use super::contestant::{ADDRESS, Counted, FIRST_PORT, Running};
use super::process::{self, Core, Guarded, wait_for};

const READY_WITHIN: Duration = Duration::from_secs(10);
/// Every recording is two files, each made durable.
const FINISHED_WITHIN: Duration = Duration::from_secs(120);

/// The daemon's process and its folder.
pub(crate) struct Recorder {
    child: Guarded,
    _folder: TempDir,
}

impl Recorder {
    pub(crate) fn start(streams: u32) -> Result<Recorder> {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let config = folder.path().join("nearend.toml");
        fs::create_dir(folder.path().join("data"))?;
        fs::write(&config, configuration(&folder, streams))?;
        let child = process::command(env!("CARGO_BIN_EXE_nearend"), Core::Contestant)
            .args(["run", "--config"])
            .arg(&config)
            .env("MALLOC_ARENA_MAX", "1") // as systemd/nearend.service has it
            .stderr(Stdio::from(fs::File::create(folder.path().join("log"))?))
            .stdout(Stdio::null())
            .spawn()?;
        let recorder = Recorder { child: Guarded(child), _folder: folder };
        wait_for("the box to be ready", READY_WITHIN, || Ok(get("/health/ready").ok()))?;
        Ok(recorder)
    }
}

impl Running for Recorder {
    fn pid(&self) -> Pid {
        self.child.pid()
    }

    fn sip(&self) -> SocketAddr {
        SocketAddr::from((ADDRESS, 5_060))
    }

    fn settle(&mut self, calls: u64) -> Result<Counted> {
        let metrics = wait_for("all recordings to be finished", FINISHED_WITHIN, || {
            let metrics = get("/metrics")?;
            Ok((metric(&metrics, "nearend_recordings_finished_total")? >= calls).then_some(metrics))
        })?;
        Ok(Counted {
            packets: metric(&metrics, "nearend_rtp_packets_total")?,
            audio_bytes: Some(metric(&metrics, "nearend_rtp_payload_bytes_total")?),
            spool_bytes: Some(metric(&metrics, "nearend_spool_written_bytes_total")?),
            fsyncs: Some(metric(&metrics, "nearend_spool_fsyncs_total")?),
        })
    }
}

fn configuration(folder: &TempDir, streams: u32) -> String {
    let data = folder.path().join("data");
    format!(
        "[site]\nname = \"bench\"\ndata_dir = {data:?}\n\
         [sip]\nlisten = [\"udp:{ADDRESS}:5060\"]\nmax_recordings = {streams}\n\
         [rtp]\naddress = \"{ADDRESS}\"\nports = \"{FIRST_PORT}-{last}\"\n\
         [web]\nlisten = \"{ADDRESS}:8080\"\n",
        last = u32::from(FIRST_PORT) + 8 * streams - 1,
    )
}

/// GET from the page's server; the body of a 200.
fn get(path: &str) -> Result<String> {
    let mut stream = TcpStream::connect((ADDRESS, 8_080))?;
    stream.set_read_timeout(Some(READY_WITHIN))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.strip_prefix("HTTP/1.1 200 ").and_then(|rest| rest.split_once("\r\n\r\n"));
    Ok(body.ok_or_else(|| format!("GET {path}: {}", answer.lines().next().unwrap_or_default()))?.1.to_owned())
}

fn metric(metrics: &str, name: &str) -> Result<u64> {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.ok_or_else(|| format!("/metrics has no {name}"))?.parse()?)
}
