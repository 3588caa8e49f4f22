//! Servers that nobody here wrote, each a process of its own, ended when the test is over.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// More than any of them needs to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts what `command` gives for a free port, and waits until it listens.
    pub(crate) fn start(ip: Ipv4Addr, command: impl Fn(SocketAddr) -> Command) -> Server {
        // The port may be taken by somebody else in between: then another is tried.
        for _ in 0..5 {
            let address = TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap();
            if let Some(server) = Server::start_at(address, &command) {
                return server;
            }
        }
        panic!("the server does not start");
    }

    /// None: it ended at once.
    pub(crate) fn start_at(address: SocketAddr, command: &impl Fn(SocketAddr) -> Command) -> Option<Server> {
        let mut command = command(address);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/deps test"));
        let mut server = Server { child, address };
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if TcpStream::connect(address).is_ok() {
                return Some(server);
            }
            if server.child.try_wait().unwrap().is_some() {
                return None;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("{command:?} does not listen");
    }
}

impl Drop for Server {
    /// In order, because some have children that only they end.
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM); // it may have ended
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE && !matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
