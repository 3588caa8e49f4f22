//! Many recordings through every fault of the way to a real S3 server, from a forwarder alone and from boxes that are killed meanwhile: each
//! arrives once, as it was. The tests send some; `scripts/wan-faults` sends a thousand, from several boxes at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use nearend::forward::{Target, TargetKind};

use super::proxy::{Fault, Proxy};
use super::s3::{ACCESS_KEY, S3Server, SECRET_KEY};
use super::{Sender, assert_same, bucket};
use crate::site::{Site, address};

/// Every kind; resets at every class of offset: before the request, in its line, its head, its body, behind it, in the answer.
const FAULTS: [Fault; 20] = [
    Fault::ResetAfter(0),
    Fault::ResetAfter(1),
    Fault::ResetAfter(40),
    Fault::ResetAfter(300),
    Fault::ResetAfter(700),
    Fault::ResetAfter(2_500),
    Fault::ResetAfter(9_000),
    Fault::ResetAfter(70_000),
    Fault::ResetInAnswer(0),
    Fault::ResetInAnswer(100),
    Fault::Latency(30),
    Fault::Slow(8_000, 10_000),
    Fault::TruncateAfter(3_000),
    Fault::TruncateAfter(66_000),
    Fault::WrongTls,
    Fault::Answer(500),
    Fault::Answer(503),
    Fault::Answer(429),
    Fault::LyingSuccess,
    Fault::HalfClosed,
];

/// Every other connection has a fault, all kinds after each other, with offsets that wander; the others do some work before they
/// are cut off.
pub(crate) fn faults(connection: u64) -> Fault {
    let (turn, no) = (connection / 40, connection / 2 % 20);
    match (connection % 2, FAULTS[usize::try_from(no).unwrap()]) {
        (1, _) => Fault::ResetAfter(16_000 + 77 * connection),
        (_, Fault::ResetAfter(bytes)) => Fault::ResetAfter(bytes + bytes * (turn % 7) / 3),
        (_, Fault::Latency(ms)) if turn > 0 => Fault::ResetInAnswer(200 + ms * turn),
        (_, fault) => fault,
    }
}

/// One box has so many at most: what it takes to be the rate of its link falls to a tenth among faults, for a thousand as for one.
const PER_BOX: usize = 140;

/// How many recordings, and how many of them each box has.
fn shares(usually: usize) -> Vec<usize> {
    let all: usize = std::env::var("NEAREND_WAN_RECORDINGS").map_or(usually, |number| number.parse().unwrap());
    let boxes = all.div_ceil(PER_BOX);
    (0..boxes).map(|no| all / boxes + usize::from(no < all % boxes)).collect()
}

/// Says over how many connections with which fault all of it went.
fn report(what: &str, begun: Instant, shares: &[usize], connections: &[(u64, u64)], kills: u64) {
    let recordings: usize = shares.iter().sum();
    let all: u64 = connections.iter().map(|(_, count)| count).sum();
    println!(
        "{what}: {recordings} recordings of {} boxes, once each, in {} s over {all} connections; {kills} kills",
        shares.len(),
        begun.elapsed().as_secs()
    );
    let names = FAULTS.iter().map(|fault| format!("{fault:?}")).enumerate();
    for (no, name) in names {
        let is_it = |connection: &u64| connection.is_multiple_of(2) && connection / 2 % 20 == no as u64;
        let count: usize = connections.iter().map(|(from, count)| (*from..from + count).filter(is_it).count()).sum();
        println!("  {count:>5} connections of the class {name}");
        assert!(count > 0 || recordings < 1_000, "every class has come");
    }
}

/// From this connection of the proxy on: every other one has a fault.
fn through_faults(from: u64) {
    let (ip, begun, shares, folder) = (address(), Instant::now(), shares(140), tempfile::tempdir().unwrap());
    let server = S3Server::start(&bucket(folder.path(), "calls"), ip);
    let boxes: Vec<(Sender, Proxy, u64)> = shares
        .iter()
        .zip(0..)
        .map(|(recordings, no)| {
            let (mut sender, mut random, from) = (Sender::new(8 + no), fastrand::Rng::with_seed(9 + no), from + 6 * no);
            (0..*recordings).for_each(|n| drop(sender.record(&format!("call-{no}-{n:04}"), random.usize(100..12_000))));
            (sender, Proxy::start(ip, server.address, Box::new(move |connection| faults(from + connection))), from)
        })
        .collect();
    thread::scope(|scope| {
        for (sender, proxy, _) in &boxes {
            scope.spawn(|| {
                let mut settings = sender.s3_settings(&format!("http://{}", proxy.address));
                settings.access.timeout = Duration::from_secs(1); // what a connection that swallows everything costs
                let mut running =
                    sender.forward(vec![Target { name: "s3".into(), kind: TargetKind::S3(settings), metadata: None }]);
                running.delivered(sender.expected().len() / 2);
                running.stop();
            });
        }
    });
    let mut expected: Vec<_> = boxes.iter().flat_map(|(sender, ..)| sender.expected()).collect();
    expected.sort();
    assert_same(&server.objects("calls"), &expected);
    let connections: Vec<(u64, u64)> = boxes.iter().map(|(_, proxy, from)| (*from, proxy.connections())).collect();
    assert!(connections.iter().map(|(_, count)| count).sum::<u64>() >= 16, "eight faults have come: {connections:?}");
    report("faults alone", begun, &shares, &connections, 0);
}

#[test]
fn every_recording_arrives_once_through_resets_at_every_offset() {
    through_faults(0);
}

#[test]
fn every_recording_arrives_once_through_errors_lies_and_cut_uploads() {
    through_faults(24);
}

/// A box whose way to the server is closed, and then has faults from this connection on.
struct Killed {
    site: Site,
    proxy: Proxy,
    is_open: Arc<AtomicBool>,
    from: Arc<AtomicU64>,
}

impl Killed {
    fn start(server: &S3Server, from: u64) -> Killed {
        let mut site = Site::prepare("");
        let (is_open, base) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (open, first) = (Arc::clone(&is_open), Arc::clone(&base));
        let plan = move |connection: u64| match open.load(Relaxed) {
            false => Fault::ResetAfter(0),
            true => faults(from + connection - first.load(Relaxed)),
        };
        let proxy = Proxy::start(site.ip, server.address, Box::new(plan));
        fs::write(site.path("access-key"), ACCESS_KEY).unwrap();
        fs::write(site.path("secret-key"), SECRET_KEY).unwrap();
        site.add_config(&format!(
            "[[target]]\nname = \"s3\"\nkind = \"s3\"\nendpoint = \"http://{}\"\nbucket = \"calls\"\ntimeout = \"1s\"\n\
             access_key_file = \"{}\"\nsecret_key_file = \"{}\"\n",
            proxy.address,
            site.path("access-key").display(),
            site.path("secret-key").display()
        ));
        site.run();
        Killed { site, proxy, is_open, from: base }
    }

    /// Records real calls. The way is closed, so that all of them wait.
    fn record(&self, count: usize) {
        let (to, local, calls) = (format!("sip:{}", self.site.sip()), self.site.peer().to_string(), count.to_string());
        let mut msr = Command::new(env!("CARGO_BIN_EXE_nearend-msr"));
        msr.args(["--to", &to, "--local", &local, "--calls", &calls, "--rate", "10", "--duration", "300ms", "--json"]);
        let output = msr.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let finished = |site: &Site| site.metric("nearend_recordings_finished_total") == Some(count as u64);
        self.site.wait_for("all calls to be finished", finished);
    }

    /// Opens the way and kills the box every few seconds until the server has everything; how often.
    fn deliver(&mut self, count: usize, random: &mut fastrand::Rng) -> u64 {
        self.from.store(self.proxy.connections(), Relaxed);
        self.is_open.store(true, Relaxed);
        let mut kills = 0;
        loop {
            self.site.kill();
            self.site.run();
            kills += 1;
            let until = Instant::now() + Duration::from_millis(random.u64(1_000..4_000));
            while Instant::now() < until {
                if self.site.metric("nearend_recordings_waiting") == Some(0) && self.site.delivered().len() == count {
                    return kills;
                }
                thread::sleep(Duration::from_millis(100));
            }
        }
    }

    /// What it has to have sent.
    fn finished(&self) -> Vec<(String, Vec<u8>)> {
        let root = self.site.path("data/finished");
        let mut files = Vec::new();
        below(&root, &mut |path| {
            files.push((path.strip_prefix(&root).unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()));
        });
        files
    }
}

fn below(folder: &Path, visit: &mut impl FnMut(&Path)) {
    let paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in paths {
        if path.is_dir() { below(&path, visit) } else { visit(&path) }
    }
}

#[test]
fn every_recording_arrives_once_although_the_box_is_killed() {
    let (ip, begun, shares, folder) = (address(), Instant::now(), shares(12), tempfile::tempdir().unwrap());
    let server = S3Server::start(&bucket(folder.path(), "calls"), ip);
    let mut boxes: Vec<(Killed, u64)> = (0..shares.len() as u64).map(|no| (Killed::start(&server, 6 * no), 6 * no)).collect();
    let kills: u64 = thread::scope(|scope| {
        let work = boxes.iter_mut().zip(&shares).map(|((killed, from), count)| {
            scope.spawn(|| {
                killed.record(*count);
                killed.deliver(*count, &mut fastrand::Rng::with_seed(*from))
            })
        });
        let work: Vec<_> = work.collect();
        work.into_iter().map(|work| work.join().unwrap()).sum()
    });
    let mut expected: Vec<_> = boxes.iter().flat_map(|(killed, _)| killed.finished()).collect();
    expected.sort();
    assert_eq!(expected.len(), 2 * shares.iter().sum::<usize>());
    assert_same(&server.objects("calls"), &expected);
    let faulty = |(killed, from): &(Killed, u64)| (*from, killed.proxy.connections() - killed.from.load(Relaxed));
    report("faults and kill -9", begun, &shares, &boxes.iter().map(faulty).collect::<Vec<_>>(), kills);
}
