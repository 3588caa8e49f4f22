//! Links over TLS to a real server whose certificate is made here.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::cti::hub::{Address, Tls};
use crate::cti::{Cti, LinkState, Services, Settings, TServer};
use crate::model::{DnType, SwitchId, TenantId};

/// A CA, and the file that it is in.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

fn authority(folder: &TempDir, name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let file = folder.path().join(format!("{name}.pem"));
    fs::write(&file, issuer.pem()).unwrap();
    Authority { issuer, file }
}

/// A T-Server whose certificate is for `name`; it answers the first request on each connection.
async fn tserver(authority: &Authority, name: &str) -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority.issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = key.serialize_der().try_into().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            assert!(line.contains("RegisterAddress"), "{line}");
            stream.write_all(b"{\"msg\":\"EventRegistered\",\"ref\":1,\"dn\":\"7001\"}\n").await.unwrap();
            while stream.read_line(&mut line).await.is_ok_and(|length| length > 0) {}
        }
    });
    address
}

/// The state of a link to `address`, as soon as it is as wanted.
async fn state(address: SocketAddr, tls: Option<Tls>, is_it: fn(&LinkState) -> bool) -> LinkState {
    let tserver = TServer {
        name: "hq".into(),
        switch: SwitchId("hq".into()),
        tenant: TenantId::default_tenant(),
        addresses: vec![Address { host: address.ip().to_string(), port: address.port(), tls }],
        dns: vec![("7001".into(), DnType::Extension)],
    };
    let services = Services { start: 1, stop: 2, pause: 3, resume: 4 };
    let (cti, _events) = Cti::start(vec![tserver], Settings { services, missing_after: Duration::from_secs(20) });
    for _ in 0..2_000 {
        if let Some(state) = cti.links().into_iter().find(is_it) {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", cti.links());
}

#[tokio::test]
async fn a_link_speaks_tls_with_whom_it_trusts_and_with_nobody_else() {
    let folder = TempDir::new().unwrap();
    let (ours, other) = (authority(&folder, "ours"), authority(&folder, "other"));
    let (by_address, by_name) = (tserver(&ours, "127.0.0.1").await, tserver(&ours, "tserver.example").await);
    let tls = |ca: &Authority, name: Option<&str>| Some(Tls { ca_file: ca.file.clone(), name: name.map(str::to_owned) });
    let is_up = |link: &LinkState| link.is_up && link.counters.messages > 0;
    assert_eq!(state(by_address, tls(&ours, None), is_up).await.trouble, None);
    assert_eq!(state(by_name, tls(&ours, Some("tserver.example")), is_up).await.trouble, None);

    let trouble = async |address, tls| state(address, tls, |link| link.trouble.is_some()).await.trouble.unwrap();
    let wrong_ca = trouble(by_address, tls(&other, None)).await;
    let expected = format!("tls:{by_address}: TLS: its certificate is not signed by any in {}", other.file.display());
    assert!(wrong_ca.starts_with(&expected), "{wrong_ca}");
    let wrong_name = trouble(by_name, tls(&ours, None)).await;
    assert!(wrong_name.contains("TLS: its certificate is not for \"127.0.0.1\"; set tls_name"), "{wrong_name}");
    let no_file = trouble(by_name, Some(Tls { ca_file: folder.path().join("none.pem"), name: None })).await;
    assert!(no_file.contains("none.pem: ") && no_file.contains("expected certificates in PEM"), "{no_file}");
    // Nothing of what it says in the clear is taken for an answer.
    let plain = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = plain.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            stream.write_all(b"{\"msg\":\"EventACK\"}\n").await.unwrap();
        }
    });
    let no_tls = trouble(address, tls(&ours, None)).await;
    assert!(no_tls.contains(": TLS: "), "{no_tls}");
}
