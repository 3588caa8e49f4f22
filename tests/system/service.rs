//! The daemon as a service of systemd: what it tells its manager, and how little it may do.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use super::site::Site;

fn unit(name: &str) -> String {
    format!("{}/systemd/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_manager_hears_of_its_start_its_life_and_its_end() {
    let mut site = Site::prepare("");
    let path = site.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let heard = || {
        let mut bytes = [0; 256];
        let len = manager.recv(&mut bytes).expect("the daemon says something");
        String::from_utf8_lossy(&bytes[..len]).trim().to_owned()
    };
    site.run();
    let beginning: Vec<String> = (0..3).map(|_| heard()).collect();
    assert!(beginning.contains(&"READY=1".into()), "{beginning:?}");
    assert!(
        beginning.iter().filter(|said| *said == "WATCHDOG=1").count() >= 1,
        "fed while audio is read and written: {beginning:?}"
    );
    assert_eq!(site.stop(), Some(0));
    let end = std::iter::repeat_with(heard).find(|said| said != "WATCHDOG=1");
    assert_eq!(end.as_deref(), Some("STOPPING=1"));
}

/// What `systemd-analyze security` says of a unit: 0 is nothing at all, 10 is everything.
fn exposure(name: &str) -> f64 {
    let output = Command::new("systemd-analyze").args(["security", "--offline=true", &unit(name)]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let figure =
        said.split("exposure level for").nth(1).and_then(|line| line.split(": ").nth(1)?.split(' ').next()?.parse().ok());
    figure.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn the_daemon_may_do_next_to_nothing() {
    let exposure = exposure("nearend.service");
    assert!(exposure <= 1.2, "{exposure}");
}

#[test]
fn the_panel_may_drive_pins_and_sees_no_network() {
    let exposure = exposure("nearend-panel.service");
    assert!(exposure <= 1.5, "{exposure}");
    let text = std::fs::read_to_string(unit("nearend-panel.service")).unwrap();
    assert!(text.lines().any(|line| line == "PrivateNetwork=yes") && text.lines().any(|line| line == "User=nearend-panel"));
}

#[test]
fn the_yocto_recipe_fetches_what_cargo_lock_says() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/yocto-crates");
    let output = Command::new(script).arg("--check").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_sidecar_may_open_sound_devices_and_no_network() {
    let exposure = exposure("nearend-tone.service");
    assert!(exposure <= 1.5, "{exposure}");
    let text = std::fs::read_to_string(unit("nearend-tone.service")).unwrap();
    let says = |line: &str| text.lines().any(|l| l == line);
    assert!(says("PrivateNetwork=yes") && says("SupplementaryGroups=audio") && says("User=nearend-tone"));
}
