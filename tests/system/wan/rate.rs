//! The rate of `[forward]` as it is seen on the way, by the clock: no test but a measurement, which `scripts/wan-rate` runs.

use std::thread;
use std::time::{Duration, Instant};

use nearend::forward::pace::Schedule;
use nearend::forward::queue::Settings;

use super::proxy::Proxy;
use super::s3::S3Server;
use super::{Sender, bucket};
use crate::site::address;

/// What the box may send, in bytes per second: 64 kbit/s, 512 kbit/s, 2 Mbit/s.
const RATES: [u64; 3] = [8_000, 64_000, 250_000];

/// How long it is measured after the first second.
const LENGTH: Duration = Duration::from_secs(180);

const MINUTE: Duration = Duration::from_secs(60);

/// The least and the most of any minute, as parts of the rate. A minute begins with each byte that came.
fn minutes(times: &[(Instant, usize)], from: Instant, to: Instant, rate: u64) -> (f64, f64) {
    let (mut least, mut most) = (f64::MAX, 0.0_f64);
    let (mut end, mut sum) = (0, 0);
    for (begin, (at, bytes)) in times.iter().enumerate() {
        if *at >= from && *at + MINUTE <= to {
            while end < times.len() && times[end].0 < *at + MINUTE {
                sum += times[end].1;
                end += 1;
            }
            let part = sum as f64 / (MINUTE.as_secs() * rate) as f64;
            (least, most) = (least.min(part), most.max(part));
            sum -= bytes;
        } else {
            end = begin + 1;
        }
    }
    (least, most)
}

/// Always something to send: recordings of 200 bytes, of which hardly more than the heads of requests go, to half a megabyte.
fn measured(rate: u64) -> (f64, f64) {
    let (mut sender, ip) = (Sender::new(rate), address());
    let server = S3Server::start(&bucket(&sender.path(""), "calls"), ip);
    let proxy = Proxy::watching(ip, server.address);
    let mut random = fastrand::Rng::with_seed(rate);
    let (mut bytes, mut no) = (0, 0);
    while bytes < rate * (LENGTH.as_secs() + 20) {
        let size = 1_usize << random.u32(8..19);
        sender.record(&format!("call-{no:05}"), size);
        (bytes, no) = (bytes + size as u64, no + 1);
    }
    let begun = Instant::now();
    let schedule = Schedule { rate: Some(rate), ..Schedule::default() };
    let running = sender.forward_by(vec![sender.s3(&format!("http://{}", proxy.address))], Settings::default(), schedule);
    let events = thread::spawn(move || {
        let mut running = running;
        while begun.elapsed() < LENGTH {
            running.next();
        }
        running
    });
    thread::sleep(LENGTH);
    let times = proxy.times();
    events.join().unwrap().stop();
    minutes(&times, begun + Duration::from_secs(1), begun + LENGTH, rate)
}

#[test]
#[ignore = "measures for three minutes by the clock: scripts/wan-rate"]
fn any_minute_on_the_way_keeps_its_rate() {
    thread::scope(|scope| {
        let measuring = RATES.map(|rate| (rate, scope.spawn(move || measured(rate))));
        for (rate, measuring) in measuring {
            let (least, most) = measuring.join().unwrap();
            println!("{rate:>7} B/s: any minute had {least:.3} to {most:.3} of it");
            assert!(least >= 0.95 && most <= 1.05, "{rate} B/s");
        }
    });
}
