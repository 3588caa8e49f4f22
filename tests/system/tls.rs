//! SIP over TLS: nearend-msr and `openssl s_client` at a box with certificates of authorities made here.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::senders::{compare, msr};
use super::site::{Arrived, Site};

/// An issuer of certificates, and the file with its own.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(site: &Site, name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = site.path(&format!("{name}.pem"));
        fs::write(&file, issuer.pem()).unwrap();
        Authority { issuer, file }
    }

    /// Writes `NAME.crt` and `NAME.key` for `host`.
    fn issue(&self, site: &Site, name: &str, host: &str) -> [PathBuf; 2] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let files = ["crt", "key"].map(|ending| site.path(&format!("{name}.{ending}")));
        fs::write(&files[0], certificate.pem()).unwrap();
        fs::write(&files[1], key.serialize_pem()).unwrap();
        files
    }
}

/// A box whose certificate is the authority's, with more lines for `[sip]`.
fn site(more: impl FnOnce(&Site) -> String) -> (Site, Authority) {
    let mut site = Site::prepare("");
    let authority = Authority::new(&site, "authority");
    let [cert, key] = authority.issue(&site, "box", &site.ip.to_string());
    let more = more(&site);
    let (ip, cert, key) = (site.ip, cert.display(), key.display());
    site.rewrite(&format!(
        "[sip] listen = [\"udp:{ip}:5060\", \"tls:{ip}:5061\"]\n[sip] cert_file = \"{cert}\"\n[sip] key_file = \"{key}\"\n{more}"
    ));
    site.run();
    (site, authority)
}

fn over_tls(site: &Site) -> SocketAddr {
    SocketAddr::from((site.ip, 5061))
}

/// Whether nearend-msr, which trusts `ca`, can place a call.
fn can_call(site: &Site, ca: &Path, more: &[&str]) -> bool {
    let output = Command::new(env!("CARGO_BIN_EXE_nearend-msr"))
        .args(["--to", &format!("sip:{}", over_tls(site)), "--transport", "tls", "--duration", "500ms", "--tls-ca"])
        .arg(ca)
        .args(more)
        .output()
        .unwrap();
    output.status.success()
}

#[test]
fn a_call_over_tls_is_recorded_as_any_other() {
    let (site, authority) = site(|_| String::new());
    let dump = site.path("sent").display().to_string();
    let ca = authority.file.display().to_string();
    let to = format!("sip:{}", over_tls(&site));
    let arguments = ["--transport", "tls", "--tls-ca", &ca, "--mode", "siprec", "--dump", &dump, "--duration", "3s"];
    let said = msr(&site, &to, &arguments);
    let [recording] = <[Arrived; 1]>::try_from(site.wait_for_recordings(1)).unwrap_or_else(|_| unreachable!());
    compare(&recording, Path::new(&dump), said["list"][0]["recording_id"].as_str().unwrap());
}

#[test]
fn others_programs_speak_both_versions_with_it() {
    let (site, authority) = site(|_| String::new());
    for version in ["-tls1_2", "-tls1_3"] {
        let address = over_tls(&site);
        let mut client = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_return_error", version, "-connect", &address.to_string(), "-CAfile"])
            .arg(&authority.file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let options = format!(
            "OPTIONS sip:{address} SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.20;branch=z9hG4bK{version}\r\nMax-Forwards: 70\r\n\
             From: <sip:a@192.0.2.20>;tag=a\r\nTo: <sip:{address}>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        client.stdin.as_mut().unwrap().write_all(options.as_bytes()).unwrap();
        let mut answer = [0; 11];
        std::io::Read::read_exact(client.stdout.as_mut().unwrap(), &mut answer).unwrap();
        assert_eq!(&answer, b"SIP/2.0 200");
        client.kill().unwrap();
        client.wait().unwrap();
    }
}

#[test]
fn only_peers_with_a_certificate_are_served_where_one_is_asked_for() {
    let (site, authority) = site(|site| {
        let clients = Authority::new(site, "clients");
        clients.issue(site, "mcp", "mcp.example");
        Authority::new(site, "others").issue(site, "stranger", "stranger.example");
        format!("[sip] client_ca_file = \"{}\"\n", clients.file.display())
    });
    let shown = |name: &str| ["crt", "key"].map(|ending| site.path(&format!("{name}.{ending}")).display().to_string());
    let [cert, key] = shown("mcp");
    assert!(can_call(&site, &authority.file, &["--tls-cert", &cert, "--tls-key", &key]));
    // With TLS 1.2 a client learns while it agrees whether it may come.
    let agrees = |more: &[&str]| {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-tls1_2", "-connect", &over_tls(&site).to_string()]).args(more);
        client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    };
    assert!(agrees(&["-cert", &cert, "-key", &key]));
    let [cert, key] = shown("stranger");
    assert!(!agrees(&["-cert", &cert, "-key", &key]));
    assert!(!agrees(&[]));
    site.log_line(&["no TLS with this peer", "client_ca_file"]);
}

#[test]
fn a_new_certificate_is_in_force_after_sighup_and_a_wrong_one_is_not() {
    let (site, old) = site(|_| String::new());
    assert!(can_call(&site, &old.file, &[]));

    let new = Authority::new(&site, "new");
    new.issue(&site, "box", &site.ip.to_string());
    site.hang_up();
    site.log_line(&["the new rules are in force"]);
    assert!(can_call(&site, &new.file, &[]));
    assert!(!can_call(&site, &old.file, &[]));

    fs::write(site.path("box.key"), "no key").unwrap();
    site.hang_up();
    site.log_line(&["the old certificate stays in force", "box.key"]);
    assert!(can_call(&site, &new.file, &[]));
}
