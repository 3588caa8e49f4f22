//! From power-on to twenty recordings in the data centre.

use std::time::{Duration, Instant};

use super::audio::pieces;
use super::machine::Machine;
use super::sender::Call;

/// The latest that the first call may be accepted on a machine that does nothing else.
const BAR_FIRST_CALL: Duration = Duration::from_secs(40);

/// The most that the whole system may take with twenty calls.
const BAR_MEMORY_KB: u64 = 160 * 1024;

fn kb(meminfo: &str, name: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_else(|| panic!("no {name} in {meminfo}"))
}

#[test]
#[ignore = "boots an emulator: scripts/emulate-tests"]
fn twenty_calls_arrive_from_a_box_that_was_just_switched_on() {
    let (mut machine, mut random) = (Machine::flash("calls"), fastrand::Rng::with_seed(1));
    for boot in ["first", "second"] {
        let begin = machine.power_on();
        machine.accepts_calls();
        let placed = Instant::now();
        let (said, is_well) = Call::place(&machine, &format!("{boot}-call"), Duration::from_secs(2), &mut random).finish();
        assert!(is_well, "{said}");
        let set_up = Duration::from_secs_f64(said["setup_ms"]["p50"].as_f64().unwrap_or_else(|| panic!("{said}")) / 1_000.0);
        let took = placed.duration_since(begin) + set_up;
        println!(
            "report: {boot} start: call accepted {:.1} s after power-on (bar {} s)",
            took.as_secs_f64(),
            BAR_FIRST_CALL.as_secs()
        );
        if boot == "first" {
            machine.power_off();
        }
    }
    twenty_calls(&mut machine, &mut random);
    looks_as_it_should(&mut machine);
}

fn twenty_calls(machine: &mut Machine, random: &mut fastrand::Rng) {
    let mut calls: Vec<Call> =
        (0..20).map(|no| Call::place(machine, &format!("call-{no}"), Duration::from_secs(60), random)).collect();
    machine.wait_for("twenty recordings", Duration::from_millis(500), |machine| {
        (machine.metric("nearend_recordings_running")? == 20).then_some(())
    });
    let meminfo = machine.ssh("cat /proc/meminfo; ps -eo rss,comm --sort=-rss | head -12 >&2");
    let used = kb(&meminfo, "MemTotal") - kb(&meminfo, "MemAvailable");
    println!(
        "report: memory of the whole system at 20 calls: {:.1} MB (bar 160 MB); and the kernel's own, of 512: {:.1} MB",
        used as f64 / 1024.0,
        (512 * 1024 - kb(&meminfo, "MemTotal")) as f64 / 1024.0
    );
    for call in &mut calls {
        let (said, is_well) = call.finish();
        assert!(is_well, "{}: {said}", call.id);
    }
    let arrived = machine.wait_for("twenty-two recordings in the data centre", Duration::from_secs(1), |machine| {
        let arrived = machine.arrived();
        (arrived.len() >= 22).then_some(arrived)
    });
    let (mut sent_samples, mut kept_samples) = (0, 0);
    for call in &calls {
        let finished = arrived.iter().find(|finished| finished.id == call.id).unwrap_or_else(|| panic!("{} is missing", call.id));
        assert!(!finished.is_damaged, "{}", call.id);
        let age_us = nearend::clock::Now::read().wall.0 - finished.start_us;
        assert!((0..900_000_000).contains(&age_us), "{}: the box's clock is another than ours: {age_us} us", call.id);
        for (sent, (kept, _)) in call.sent(machine).iter().zip(&finished.channels) {
            let found = pieces(sent, kept).unwrap_or_else(|why| panic!("{}: {why}", call.id));
            sent_samples += sent.len();
            kept_samples += found.iter().map(|piece| piece.length).sum::<usize>();
        }
    }
    println!("report: 20 calls of 60 s: 20 recordings in the S3 server, bit-exact, {kept_samples} of {sent_samples} samples");
    assert!(kept_samples * 100 >= sent_samples * 99, "{kept_samples} of {sent_samples} samples");
    assert!(used <= BAR_MEMORY_KB, "{used} kB");
}

/// What an installer relies on.
fn looks_as_it_should(machine: &mut Machine) {
    let failed = machine.ssh("systemctl --failed --no-legend --plain");
    assert_eq!(failed.trim(), "", "no unit has failed");
    let passwords = machine.ssh("cut -d: -f2 /etc/shadow | grep -v '^[!*]' || true");
    assert_eq!(passwords.trim(), "", "nobody has a password");
    let mounts = machine
        .ssh("findmnt -rno TARGET,OPTIONS / ; findmnt -rno TARGET,FSTYPE /var/lib/nearend; df -m --output=size /data | tail -1");
    assert!(mounts.contains("/ ro,") && mounts.contains("/var/lib/nearend ext4"), "{mounts}");
    println!(
        "report: no unit failed, no password; {}",
        mounts.split_whitespace().last().map_or(String::new(), |mb| format!("data partition grown to {mb} MB"))
    );
    println!("report: started: {}", machine.ssh("systemd-analyze").lines().next().unwrap_or_default());
}
