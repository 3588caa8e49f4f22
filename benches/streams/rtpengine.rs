//! rtpengine, as its Debian package has it: in user space (no kernel module), every session forwarded to a socket that nobody
//! reads, and recorded as pcap. Driven through its `ng` control port.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::Result;
use super::bencode::Value;
use super::contestant::{ADDRESS, Counted, FIRST_PORT, Running};
use super::front::{Front, Ports, description};
use super::process::{self, Core, Guarded};

/// Where its control port listens.
const CONTROL: u16 = 2_223;

const READY_WITHIN: Duration = Duration::from_secs(5);

/// How often it is asked the same, a second apart.
const TRIES: u32 = 3;

/// Its process, with the SIP that it has not.
pub(crate) struct Rtpengine {
    child: Guarded,
    front: Front,
    packets: Arc<AtomicU64>,
    _recordings: TempDir,
}

impl Rtpengine {
    pub(crate) fn start() -> Result<Rtpengine> {
        let recordings = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let child = process::command("rtpengine", Core::Contestant)
            .args(["--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=3", "--num-threads=1"])
            .arg(format!("--interface={ADDRESS}"))
            .arg(format!("--listen-ng={ADDRESS}:{CONTROL}"))
            .args([format!("--port-min={FIRST_PORT}"), "--port-max=59999".to_owned()])
            .arg(format!("--recording-dir={}", recordings.path().display()))
            .args(["--recording-method=pcap", "--recording-format=raw"])
            .stderr(Stdio::null())
            .spawn()?;
        let child = Guarded(child);
        let mut control = Control::connect()?;
        let ping = || Ok(control.ask(&Value::texts(&[("command", "ping")])).ok());
        process::wait_for("rtpengine to answer (is the package rtpengine-daemon installed?)", READY_WITHIN, ping)?;
        let packets = Arc::new(AtomicU64::new(0));
        let sessions = Sessions { control, nowhere: blackhole()?, packets: Arc::clone(&packets) };
        Ok(Rtpengine { child, front: Front::start(Box::new(sessions))?, packets, _recordings: recordings })
    }
}

impl Running for Rtpengine {
    fn pid(&self) -> Pid {
        self.child.pid()
    }

    fn sip(&self) -> SocketAddr {
        self.front.address()
    }

    fn settle(&mut self, _calls: u64) -> Result<Counted> {
        Ok(Counted { packets: self.packets.load(Ordering::Relaxed), ..Counted::default() })
    }
}

/// A socket that takes what is forwarded: its buffer is full at once, and the kernel drops the rest.
fn blackhole() -> Result<UdpSocket> {
    let socket = UdpSocket::bind((ADDRESS, 0))?;
    setsockopt(&socket, sockopt::RcvBuf, &1)?;
    Ok(socket)
}

/// One rtpengine call per session.
struct Sessions {
    control: Control,
    nowhere: UdpSocket,
    packets: Arc<AtomicU64>,
}

impl Ports for Sessions {
    fn open(&mut self, call_id: &str, offer: &str) -> Result<String> {
        let call = [("call-id", call_id), ("from-tag", "sender"), ("record call", "on")];
        let mut asked = vec![("command", "offer"), ("sdp", offer)];
        asked.extend(call);
        self.control.ask(&Value::texts(&asked))?;
        let answer = description(ADDRESS, self.nowhere.local_addr()?.port());
        let mut asked = vec![("command", "answer"), ("sdp", &answer), ("to-tag", "nowhere")];
        asked.extend(call);
        let said = self.control.ask(&Value::texts(&asked))?;
        Ok(said.entry("sdp").and_then(Value::text).ok_or("rtpengine gives no SDP")?.to_owned())
    }

    fn close(&mut self, call_id: &str) -> Result<()> {
        let said = self.control.ask(&Value::texts(&[("command", "delete"), ("call-id", call_id), ("from-tag", "sender")]))?;
        self.packets.fetch_add(rtp_packets(&said), Ordering::Relaxed);
        Ok(())
    }
}

/// The RTP packets that came in, by all streams of a call.
fn rtp_packets(call: &Value) -> u64 {
    let inner = |values: Vec<Value>, key: &str| -> Vec<Value> {
        values.iter().filter_map(|value| value.entry(key)).flat_map(|list| list.values().into_iter().cloned()).collect()
    };
    let streams = inner(inner(inner(vec![call.clone()], "tags"), "medias"), "streams");
    let is_rtp =
        |stream: &&Value| stream.entry("flags").is_some_and(|flags| flags.values().iter().any(|flag| flag.text() == Some("RTP")));
    let packets = |stream: &Value| u64::try_from(stream.entry("stats")?.entry("packets")?.number()?).ok();
    streams.iter().filter(is_rtp).filter_map(packets).sum()
}

/// A client of the control port: one request, one answer.
struct Control {
    socket: UdpSocket,
    cookie: u64,
}

impl Control {
    fn connect() -> Result<Control> {
        let socket = UdpSocket::bind((ADDRESS, 0))?;
        socket.connect((ADDRESS, CONTROL))?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        Ok(Control { socket, cookie: 0 })
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        self.cookie += 1;
        let cookie = format!("{} ", self.cookie);
        let request = cookie.clone() + &request.encode();
        let mut last_error = None;
        for _try in 0..TRIES {
            self.socket.send(request.as_bytes())?; // under the same cookie it is done once only
            match self.answer(cookie.as_bytes()) {
                Ok(answer) => return answer,
                Err(error) => last_error = Some(error),
            }
        }
        Err(last_error.map_or("rtpengine was not asked".into(), Into::into))
    }

    fn answer(&self, cookie: &[u8]) -> io::Result<Result<Value>> {
        let mut answer = [0; 65_536];
        loop {
            let length = self.socket.recv(&mut answer)?;
            let Some(mut rest) = answer.get(..length).and_then(|bytes| bytes.strip_prefix(cookie)) else { continue };
            let Some(said) = Value::decode(&mut rest) else { return Ok(Err("rtpengine answers what is no bencode".into())) };
            let reason = said.entry("error-reason").map(|reason| reason.text().unwrap_or("an error"));
            return Ok(reason.map_or(Ok(said.clone()), |reason| Err(format!("rtpengine: {reason}").into())));
        }
    }
}
