//! Updates: a good one runs from the other slot, a broken one is left by itself, a corrupt and a foreign one are not taken, one that is cut off
//! leaves the old system running. The bundles come over HTTP from this machine, over a connection that breaks.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::machine::{HOST, Machine};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn script(arguments: &[&str]) {
    let status = Command::new(Path::new(ROOT).join(arguments[0])).args(&arguments[1..]).status().unwrap();
    assert!(status.success(), "{arguments:?}");
}

/// A bundle of the image's root, changed by `change` with debugfs before it is packed.
fn bundle(machine: &Machine, name: &str, keys: Option<&str>, change: &str) -> PathBuf {
    let (root, out) = (machine.path("root.ext4"), machine.path(&format!("{name}.raucb")));
    let status =
        Command::new("cp").arg("--sparse=always").arg(format!("{ROOT}/target/image/virt/root.ext4")).arg(&root).status().unwrap();
    assert!(status.success());
    let commands = machine.path("change");
    fs::write(&commands, change).unwrap();
    let changed = Command::new("debugfs").args(["-w", "-f"]).arg(&commands).arg(&root).output().unwrap();
    assert!(changed.status.success(), "{changed:?}");
    let (root, out_name) = (root.display().to_string(), out.display().to_string());
    let mut arguments = vec!["scripts/bundle", "virt", "--root", &root, "--out", &out_name];
    if let Some(keys) = keys {
        arguments.extend(["--keys", keys]);
    }
    script(&arguments);
    out
}

/// Serves a file, byte ranges included; the first connections are cut after a third each.
fn serve(file: PathBuf) -> String {
    let listener = TcpListener::bind((HOST, 0)).unwrap();
    let url = format!("http://{}/update.raucb", listener.local_addr().unwrap());
    thread::spawn(move || {
        for (no, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read_exact(&mut byte).is_err() {
                    break;
                }
                request.push(byte[0]);
            }
            let request = String::from_utf8_lossy(&request).to_lowercase();
            let from =
                request.split("range: bytes=").nth(1).and_then(|rest| rest.split('-').next()?.parse().ok()).unwrap_or(0_u64);
            let mut file = fs::File::open(&file).unwrap();
            let length = file.metadata().unwrap().len();
            let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{length}\r\nETag: \"one\"\r\nConnection: close\r\n\r\n",
                length - from,
                length - 1
            );
            file.seek(SeekFrom::Start(from)).unwrap();
            let most = if no < 2 { length / 3 } else { length };
            let _ = stream.write_all(head.as_bytes()).and_then(|()| std::io::copy(&mut file.take(most), &mut stream).map(drop));
        }
    });
    url
}

fn slot(machine: &mut Machine) -> String {
    machine.ssh("sed 's/.*rauc.slot=\\(.\\).*/\\1/' /proc/cmdline").trim().to_owned()
}

/// Waits until the box has started anew and its health service has had its say.
fn settled(machine: &mut Machine, boot_before: &str) -> String {
    machine.wait_for("a new start, judged", Duration::from_secs(3), |machine| {
        let state =
            machine.ssh("cat /proc/sys/kernel/random/boot_id; systemctl show -P ActiveState nearend-health; ls /data/rauc");
        let is_new = !state.starts_with(boot_before.trim());
        (is_new && (state.contains("\nactive\n") || state.contains("\nfailed\n"))).then_some(state)
    })
}

fn boot_id(machine: &mut Machine) -> String {
    machine.ssh("cat /proc/sys/kernel/random/boot_id").trim().to_owned()
}

#[test]
#[ignore = "boots an emulator: scripts/emulate-tests"]
fn updates_are_taken_and_left_as_they_should() {
    let mut machine = Machine::flash("update");
    machine.power_on();
    machine.accepts_calls();
    assert_eq!(slot(&mut machine), "A");
    refused(&mut machine);
    good(&mut machine);
    cut_off(&mut machine);
    broken(&mut machine);
}

fn refused(machine: &mut Machine) {
    let good = bundle(machine, "corrupt", None, "");
    let mut bytes = fs::read(&good).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&good, bytes).unwrap();
    let keys = machine.path("foreign-keys");
    script(&["scripts/update-keys", &keys.display().to_string(), "Somebody else"]);
    let foreign = bundle(machine, "foreign", Some(&keys.display().to_string()), "");
    for (what, file) in [("corrupt", good), ("foreign-signed", foreign)] {
        let url = serve(file);
        let said = machine.ssh(&format!("nearend update {url} 2>&1; echo status $?"));
        assert!(said.contains("status 1") && said.contains("the running system stays"), "{what}: {said}");
        let why = said.lines().find(|line| line.starts_with("LastError")).unwrap_or_default();
        println!("report: {what} bundle: refused ({})", why.trim());
    }
    assert_eq!(slot(machine), "A");
}

fn good(machine: &mut Machine) {
    let before = boot_id(machine);
    let url = serve(bundle(machine, "good", None, "rm /etc/motd\n"));
    let said = machine.ssh(&format!("nearend update {url} 2>&1"));
    assert!(said.contains("starting slot B"), "{said}");
    let tries = said.matches("it is tried again").count();
    let state = settled(machine, &before);
    assert_eq!(slot(machine), "B");
    assert!(state.contains("active") && !state.contains("trial"), "{state}");
    println!("report: good bundle: runs from slot B; its download was cut {tries} times and went on");
}

/// The power goes while RAUC writes the other slot.
fn cut_off(machine: &mut Machine) {
    let url = serve(bundle(machine, "cut", None, ""));
    machine.ssh(&format!("systemd-run --unit=cut nearend update {url}"));
    machine.wait_for("the slot to be written", Duration::from_millis(100), |machine| {
        machine.ssh("cat /data/rauc/trial 2>/dev/null").contains("installing").then_some(())
    });
    thread::sleep(Duration::from_secs(3));
    machine.cut();
    machine.power_on();
    machine.accepts_calls();
    assert_eq!(slot(machine), "B");
    println!("report: power cut while the other slot was written: the old system runs");
}

/// A system whose recorder ends at once, one whose recorder never says that it is ready, one without network.
fn broken(machine: &mut Machine) {
    let unit = "/usr/lib/systemd/system/nearend.service";
    let exits = format!("rm {unit}\nwrite {} {unit}\n", service(machine, "exits", "/bin/false"));
    let hangs = format!("rm {unit}\nwrite {} {unit}\n", service(machine, "hangs", "/bin/sleep infinity"));
    let no_network = "rm /usr/lib/systemd/systemd-networkd\n".to_owned();
    for (what, change) in [("whose daemon exits", exits), ("whose daemon hangs", hangs), ("without network", no_network)] {
        let before = boot_id(machine);
        let url = serve(bundle(machine, "broken", None, &change));
        let said = machine.ssh(&format!("nearend update {url} 2>&1"));
        assert!(said.contains("starting slot A"), "{what}: {said}");
        let state = machine.wait_for("the way back", Duration::from_secs(3), |machine| {
            let state = settled(machine, &before);
            state.contains("rolled-back").then_some(state)
        });
        assert_eq!(slot(machine), "B", "{what}: {state}");
        machine.ssh("rm /data/rauc/rolled-back");
        println!("report: bundle {what}: left by itself, the old system runs");
    }
}

fn service(machine: &Machine, name: &str, program: &str) -> String {
    let path = machine.path(name);
    let text = fs::read_to_string(Path::new(ROOT).join("systemd/nearend.service")).unwrap();
    let text = text.replace("/usr/bin/nearend run --config /etc/nearend/nearend.toml", program);
    assert!(text.contains(program));
    fs::write(&path, text).unwrap();
    path.display().to_string()
}
