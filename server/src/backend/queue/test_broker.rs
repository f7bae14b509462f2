//! A real RabbitMQ for the tests, with names of their own, and a wire to it that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;

use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions, QueuePurgeOptions};
use lapin::{Channel, Connection, ConnectionProperties};
use secrecy::SecretString;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use url::Url;

use super::QueueSettings;
use crate::backend::KeyPrefix;

/// Where the RabbitMQ of the tests is; see `scripts/services`.
const VARIABLE: &str = "MIAOFS_TEST_AMQP_URL";

/// A RabbitMQ with names that no other test has.
pub(crate) struct Broker {
    url: Url,
    prefix: KeyPrefix,
}

impl Broker {
    /// The one that the environment names; without one it says that the test is left out.
    pub(crate) fn of_environment() -> Option<Self> {
        let Ok(url) = std::env::var(VARIABLE) else {
            eprintln!("left out: {VARIABLE} is not set; see scripts/services");
            return None;
        };
        let prefix = format!("test-{:016x}", rand::random::<u64>());
        Some(Self { url: url.parse().unwrap(), prefix: prefix.parse().unwrap() })
    }

    /// Settings that connect to it directly.
    pub(crate) fn settings(&self) -> QueueSettings {
        let url = SecretString::from(self.url.as_str());
        QueueSettings { amqp_url: Some(url), amqp_prefix: self.prefix.clone() }
    }

    /// Settings that connect to it through a wire.
    pub(crate) fn settings_by(&self, wire: &Wire) -> QueueSettings {
        let mut url = self.url.clone();
        url.set_host(Some(&wire.address.ip().to_string())).unwrap();
        url.set_port(Some(wire.address.port())).unwrap();
        QueueSettings { amqp_url: Some(SecretString::from(url.as_str())), ..self.settings() }
    }

    /// A wire to it.
    pub(crate) async fn wire(&self) -> Wire {
        let host = self.url.host_str().unwrap();
        Wire::to(format!("{host}:{}", self.url.port().unwrap_or(5672))).await
    }

    /// Empties the queue of a lane behind the server's back.
    pub(crate) async fn purge(&self, lane: &str) {
        let queue = format!("{}.transfer.{lane}", self.prefix);
        self.channel().await.queue_purge(queue.into(), QueuePurgeOptions::default()).await.unwrap();
    }

    /// Removes everything of this test's.
    pub(crate) async fn remove(self, lanes: &[&str]) {
        let channel = self.channel().await;
        let lanes = lanes.iter().map(|lane| format!("transfer.{lane}"));
        for queue in lanes.chain(["transfer-dead".to_owned()]) {
            let queue = format!("{}.{queue}", self.prefix);
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
        }
        for exchange in ["transfer", "transfer-dead"] {
            let exchange = format!("{}.{exchange}", self.prefix);
            channel
                .exchange_delete(exchange.into(), ExchangeDeleteOptions::default())
                .await
                .unwrap();
        }
    }

    async fn channel(&self) -> Channel {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(self.url.as_str(), properties).await.unwrap();
        connection.create_channel().await.unwrap()
    }
}

/// Carries connections, until it is cut.
pub(crate) struct Wire {
    address: SocketAddr,
    target: String,
    cut: Arc<Notify>,
}

impl Wire {
    async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, cut) = (listener.local_addr().unwrap(), Arc::default());
        let wire = Self { address, target, cut };
        wire.carry(listener);
        wire
    }

    /// Ends all connections and takes no more.
    pub(crate) fn cut(&self) {
        self.cut.notify_waiters();
    }

    /// Carries again.
    pub(crate) async fn mend(&self) {
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_cut_is_under_way) => tokio::task::yield_now().await,
            }
        };
        self.carry(listener);
    }

    fn carry(&self, listener: TcpListener) {
        let (target, cut) = (self.target.clone(), self.cut.clone());
        tokio::spawn(async move {
            let carrying = async {
                let mut connections = tokio::task::JoinSet::new();
                loop {
                    let (mut near, _address) = listener.accept().await.unwrap();
                    let target = target.clone();
                    connections.spawn(async move {
                        let mut far = TcpStream::connect(target).await.unwrap();
                        let _it_was_cut = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    });
                }
            };
            tokio::select! {
                () = carrying => (),
                () = cut.notified() => (),
            }
        });
    }
}
