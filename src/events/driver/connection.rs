//! One connection to the broker, by rumqttc. It is a task of its own, so that whatever a broker sends ends at most this connection.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, Packet, PubAckReason, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{Outgoing, TlsConfiguration, Transport};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Where the broker is, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Certificates that are trusted beside the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// The files of the box's certificate, with what leads to a CA, and of its key, PEM; none: it shows none.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Who logs in, and the file of the password.
    pub login: Option<(String, PathBuf)>,
    /// What the broker knows the box by.
    pub client_id: String,
}

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// The event of this number.
    Event(u64),
    /// The status.
    Status,
}

/// What the connection says.
#[derive(Debug)]
pub(super) enum News {
    Connected,
    Acknowledged(Tag),
    Ended(String),
}

/// Messages that may be handed over before they are written to the socket: the window of the outbox, and the status.
const QUEUE: usize = 32;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// What a broker has to say to who subscribes nothing is short.
const MOST_PACKET_BYTES: u32 = 16 << 10;

/// The connection; when it is dropped, so is the socket, and the broker tells the last will.
pub(super) struct Connection {
    client: AsyncClient,
    tags: mpsc::UnboundedSender<Tag>,
    task: AbortHandle,
}

impl Connection {
    /// Connects, and tells `news` how it goes. `will` is topic and payload of what the broker tells when the box is gone.
    pub(super) fn open(broker: &Broker, will: (String, Vec<u8>), news: mpsc::Sender<News>) -> Result<Connection, String> {
        let mut options = MqttOptions::new(&broker.client_id, &broker.host, broker.port);
        options.set_keep_alive(KEEP_ALIVE).set_clean_start(true).set_max_packet_size(Some(MOST_PACKET_BYTES));
        options.set_last_will(LastWill::new(will.0, will.1, QoS::AtLeastOnce, true, None));
        if let Some((user, path)) = &broker.login {
            let password = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
            options.set_credentials(user, password.trim());
        }
        if broker.tls {
            options.set_transport(Transport::Tls(TlsConfiguration::Rustls(Arc::new(tls(broker)?))));
        }
        let (client, events) = AsyncClient::new(options, QUEUE);
        let (tags, sent) = mpsc::unbounded_channel(); // as many as the client's queue takes
        let work = tokio::spawn(run(events, sent, news.clone()));
        let task = work.abort_handle();
        tokio::spawn(async move {
            let why = match work.await {
                Ok(why) => why,
                Err(error) if error.is_panic() => "the broker sent what the MQTT library does not bear".into(),
                Err(_) => return, // dropped
            };
            let _ = news.send(News::Ended(why)).await; // fails only when nobody listens any more
        });
        Ok(Connection { client, tags, task })
    }

    /// Hands a message over; false: there is no room, or no connection.
    pub(super) fn publish(&self, topic: String, retain: bool, payload: Vec<u8>, tag: Tag) -> bool {
        let properties = PublishProperties {
            payload_format_indicator: Some(1), // UTF-8: MQTT 5.0 §3.3.2.3.2
            content_type: Some("application/json".into()),
            ..PublishProperties::default()
        };
        let taken = self.client.try_publish_with_properties(topic, QoS::AtLeastOnce, retain, payload, properties).is_ok();
        taken && self.tags.send(tag).is_ok()
    }

    /// Says goodbye, so that the broker does not tell the last will.
    pub(super) fn disconnect(&self) {
        let _ = self.client.try_disconnect(); // without it the broker tells the last will, which says the same
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves the connection until it ends; gives why.
async fn run(mut events: EventLoop, mut sent: mpsc::UnboundedReceiver<Tag>, news: mpsc::Sender<News>) -> String {
    let mut under_way = HashMap::new();
    let mut order = VecDeque::new();
    loop {
        let event = match events.poll().await {
            Ok(event) => event,
            Err(error) => return error.to_string(),
        };
        let told = match event {
            Event::Incoming(Packet::ConnAck(_)) => News::Connected,
            // The library sends in the order in which it was given, and says under which number.
            Event::Outgoing(Outgoing::Publish(id)) => {
                while let Ok(tag) = sent.try_recv() {
                    order.push_back(tag);
                }
                if let Some(tag) = order.pop_front() {
                    under_way.insert(id, tag);
                }
                continue;
            }
            Event::Incoming(Packet::PubAck(ack)) => match (under_way.remove(&ack.pkid), ack.reason) {
                (Some(tag), PubAckReason::Success | PubAckReason::NoMatchingSubscribers) => News::Acknowledged(tag),
                (_, reason) => return format!("the broker refused a message: {reason:?}; check what its user may publish"),
            },
            Event::Incoming(Packet::Disconnect(goodbye)) => return format!("the broker hung up: {:?}", goodbye.reason_code),
            _ => continue,
        };
        if news.send(told).await.is_err() {
            return String::new(); // nobody listens any more
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    read.map_err(|error| unreadable(path, &error))
}

fn tls(broker: &Broker) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    // What the system trusts may be nothing at all, where a CA of one's own is all that is needed.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &broker.ca_file
        && roots.add_parsable_certificates(certificates(path)?).0 == 0
    {
        return Err(format!("{}: holds no certificate; expected a CA as PEM", path.display()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| format!("TLS: {error}"))?.with_root_certificates(roots);
    let Some((certificate, key)) = &broker.identity else { return Ok(config.with_no_client_auth()) };
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
    let unfit = |error| format!("{} and {} are no certificate and its key: {error}", certificate.display(), key.display());
    config.with_client_auth_cert(certificates(certificate)?, private).map_err(unfit)
}

fn unreadable(path: &Path, error: &dyn std::error::Error) -> String {
    format!(
        "cannot read {} ({error}); the broker's password or CA, or the box's certificate or key, belongs there",
        path.display()
    )
}
