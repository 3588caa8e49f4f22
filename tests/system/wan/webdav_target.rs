//! Delivery to WebDAV servers that nobody here wrote: rclone, and Apache with mod_dav, with Basic and with Digest.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nearend::forward::driver::Event;
use nearend::forward::target::http::Access;
use nearend::forward::target::login::Settings;
use nearend::forward::{Target, TargetKind};

use super::proxy::{Fault, Proxy};
use super::{Sender, assert_same};
use crate::server::Server;
use crate::site::address;

const USER: &str = "branch-17";
const PASSWORD: &str = "a pass:word";

fn rclone(ip: Ipv4Addr, root: &Path) -> Server {
    Server::start(ip, |address| {
        let mut command = Command::new("rclone");
        command.args(["serve", "webdav", "--config", "/dev/null", "--addr", &address.to_string()]);
        command.args(["--user", USER, "--pass", PASSWORD]).arg(root);
        command
    })
}

/// Apache with mod_dav, `auth` being `Basic` or `Digest`; it takes at most 4 MB at once.
fn apache(sender: &Sender, ip: Ipv4Addr, root: &Path, auth: &str) -> Server {
    let dir = sender.path("");
    let user = match auth {
        "Basic" => format!("{USER}:{{SHA}}{}", shell(&format!("printf '%s' '{PASSWORD}' | openssl sha1 -binary | base64"))),
        _ => format!("{USER}:calls:{}", shell(&format!("printf '%s' '{USER}:calls:{PASSWORD}' | md5sum | cut -d' ' -f1"))),
    };
    fs::write(dir.join("users"), user).unwrap();
    fs::create_dir_all(dir.join("run")).unwrap();
    for folder in [&dir, root, &dir.join("run")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    shell(&format!("[ $(id -u) != 0 ] || chown -R www-data {} {}", root.display(), dir.join("run").display()));
    Server::start(ip, |address| {
        let conf = dir.join("apache.conf");
        fs::write(&conf, configuration(&address.to_string(), &dir, root, auth)).unwrap();
        let mut command = Command::new("apache2");
        command.args(["-DFOREGROUND", "-f"]).arg(conf);
        command
    })
}

fn shell(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{script}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn configuration(address: &str, dir: &Path, root: &Path, auth: &str) -> String {
    let modules: String =
        ["mpm_event", "authn_core", "authn_file", "authz_core", "authz_user", "auth_basic", "auth_digest", "dav", "dav_fs"]
            .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
            .concat();
    let provider = if auth == "Basic" { "AuthBasicProvider file" } else { "AuthDigestProvider file\nAuthDigestDomain /" };
    let (dir, root) = (dir.display(), root.display());
    format!(
        "{modules}ServerRoot {dir}\nServerName localhost\nListen {address}\nPidFile {dir}/run/pid\nErrorLog {dir}/run/error.log\n\
         DefaultRuntimeDir {dir}/run\nMutex fcntl:{dir}/run\nServerLimit 1\nStartServers 1\nThreadsPerChild 8\nMaxRequestWorkers 8\n\
         User www-data\nGroup www-data\nDavLockDB {dir}/run/locks\nDocumentRoot {root}\nLimitRequestBody 4000000\n\
         <Directory {root}>\nDav On\nAuthType {auth}\nAuthName calls\n{provider}\nAuthUserFile {dir}/users\nRequire valid-user\n\
         </Directory>\n"
    )
}

fn target(sender: &Sender, server: impl std::fmt::Display) -> Target {
    fs::write(sender.path("password"), format!("{PASSWORD}\n")).unwrap();
    let access = Access { ca_file: None, timeout: Duration::from_secs(5) };
    let login = Some((USER.into(), sender.path("password")));
    Target {
        name: "dav".into(),
        kind: TargetKind::WebDav(Settings { url: format!("http://{server}"), login, access }),
        metadata: None,
    }
}

/// Every file below `root`, but for the server's own.
fn files_below(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if !path.components().any(|part| part.as_os_str() == ".DAV") {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Every other connection is broken off after a while, the others have each a fault.
fn faults(connection: u64) -> Fault {
    match (connection % 2, connection / 2 % 9) {
        (1, _) => Fault::ResetAfter(20_000),
        (_, 0) => Fault::ResetAfter(500),
        (_, 1) => Fault::LyingSuccess,
        (_, 2) => Fault::TruncateAfter(3_000),
        (_, 3) => Fault::Answer(503),
        (_, 4) => Fault::ResetInAnswer(20),
        (_, 5) => Fault::Answer(500),
        (_, 6) => Fault::ResetInAnswer(3_000),
        (_, 7) => Fault::WrongTls,
        _ => Fault::ResetAfter(5_000),
    }
}

/// Ten recordings, one of them large, directly and once more; then thirty over a bad link.
fn arrives(seed: u64, start: impl Fn(&Sender, Ipv4Addr, &Path) -> Server) {
    let (mut sender, ip) = (Sender::new(seed), address());
    let root = sender.path("server");
    fs::create_dir(&root).unwrap();
    let server = start(&sender, ip, &root);
    for n in 0..10 {
        sender.record(&format!("call % {n} ü"), if n == 7 { 3_000_000 } else { 2_000 * n });
    }
    for _ in 0..2 {
        let mut running = sender.forward(vec![target(&sender, server.address)]);
        running.delivered(10);
        running.stop();
        assert_same(&files_below(&root), &sender.expected());
        sender.forget_deliveries();
    }
    (10..40).for_each(|n| drop(sender.record(&format!("call-{n}"), 200 * (n - 10))));
    let proxy = Proxy::start(ip, server.address, Box::new(faults));
    let mut running = sender.forward(vec![target(&sender, proxy.address)]);
    running.delivered(40);
    running.stop();
    assert!(proxy.connections() >= 9, "hardly a fault: {}", proxy.connections());
    let files = files_below(&root);
    let (parts, files): (Vec<_>, Vec<_>) = files.into_iter().partition(|(name, _)| name.ends_with(".part"));
    assert_same(&files, &sender.expected());
    assert!(parts.is_empty(), "temporary names are left: {:?}", parts.iter().map(|(name, _)| name).collect::<Vec<_>>());
}

#[test]
fn rclone_takes_them() {
    arrives(21, |_, ip, root| rclone(ip, root));
}

#[test]
fn apache_takes_them_with_basic() {
    arrives(22, |sender, ip, root| apache(sender, ip, root, "Basic"));
}

#[test]
fn apache_takes_them_with_digest() {
    arrives(23, |sender, ip, root| apache(sender, ip, root, "Digest"));
}

#[test]
fn what_will_never_work_is_said_and_nothing_overwritten() {
    let (mut sender, ip) = (Sender::new(24), address());
    let root = sender.path("server");
    let recording = sender.record("01ABC", 1_000);
    let taken = root.join(recording.path());
    fs::create_dir_all(&taken).unwrap();
    fs::write(taken.join("audio.wav"), "of another box").unwrap();
    let server = rclone(ip, &root);
    for (url, password, said) in [("", "wrong", "401"), ("", "", "cannot read"), ("/nowhere/at/all", PASSWORD, "not there")] {
        let dav = target(&sender, format!("{}{url}", server.address));
        match password {
            "" => fs::remove_file(sender.path("password")).unwrap(),
            password => fs::write(sender.path("password"), password).unwrap(),
        }
        let mut running = sender.forward(vec![dav]);
        let Event::TargetDown { error, refused: true, .. } = running.next() else { panic!("{said} works") };
        assert!(error.contains(said), "{error}");
        running.stop();
    }
    let mut running = sender.forward(vec![target(&sender, server.address)]);
    running.delivered(1);
    running.stop();
    assert_eq!(fs::read_to_string(taken.join("audio.wav")).unwrap(), "of another box");
    assert!(root.join(format!("{}~branch-17.box/recording.json", recording.path())).exists());
}

#[test]
fn what_is_too_large_for_the_server_is_set_aside_and_holds_nothing_up() {
    let (mut sender, ip) = (Sender::new(25), address());
    let root = sender.path("server");
    fs::create_dir(&root).unwrap();
    let server = apache(&sender, ip, &root, "Digest");
    let large = sender.record("too large", 5_000_000);
    let small = sender.record("small", 1_000);
    let mut running = sender.forward(vec![target(&sender, server.address)]);
    let events = [running.next(), running.next()];
    running.stop();
    let aside = |event: &Event| matches!(event, Event::SetAside { no, error, .. } if *no == large.no && error.contains("413"));
    assert!(events.iter().any(aside), "{events:?}");
    assert!(events.iter().any(|event| matches!(event, Event::Arrived { no, .. } if *no == small.no)), "{events:?}");
}
