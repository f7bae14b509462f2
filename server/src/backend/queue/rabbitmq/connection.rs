//! The connection to RabbitMQ, made anew whenever it is lost.
//!
//! An [`AmqpConnection`] is one connection with everything declared on it. Whoever finds one broken
//! marks it so; the next is opened with growing pauses, for as long as somebody holds the [`Connector`].

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;

use super::topology::Topology;
use crate::backend::Error;
use crate::backend::queue::message::{QueueDepth, RoutingKey};

/// Timeout of connecting, declarations included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause after a first failure; it doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Seconds within which both sides show that they are there, unless the URL says otherwise.
const HEARTBEAT: u16 = 10;
/// Interval of the check that the connection is still open.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Keeps one connection open, and reconnects when it is lost. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    current: watch::Receiver<Option<AmqpConnection>>,
    /// Notified when somebody wants a connection: a process that needs none opens none.
    wanted: Arc<Notify>,
}

impl Connector {
    /// Connects from the first use on, until the last clone is dropped.
    ///
    /// # Errors
    /// [`Error::Queue`] when the URL is none of AMQP.
    pub(super) fn open(url: &SecretString, topology: Topology) -> Result<Self, Error> {
        let address = address(url)?;
        let (sender, current) = watch::channel(None);
        let wanted = Arc::new(Notify::new());
        let first = wanted.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = first.notified() => reconnect(address, topology, sender).await,
                () = sender.closed() => (),
            }
        });
        Ok(Self { current, wanted })
    }

    /// The connection, waiting while there is none.
    pub(super) async fn connection(&self) -> AmqpConnection {
        self.wanted.notify_one();
        let mut current = self.current.clone();
        let is_usable = |connection: &Option<AmqpConnection>| {
            connection.as_ref().is_some_and(AmqpConnection::is_usable)
        };
        let connection = match current.wait_for(is_usable).await {
            Ok(connection) => connection.clone(),
            Err(_runtime_is_ending) => None,
        };
        match connection {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }
}

/// Reads the URL of a broker.
///
/// # Errors
/// [`Error::Queue`] when it is none of AMQP.
pub(super) fn address(url: &SecretString) -> Result<AMQPUri, Error> {
    let mut address: AMQPUri = url
        .expose_secret()
        .parse()
        .map_err(|error: String| Error::Queue(format!("amqp_url: {error}").into()))?;
    address.query.heartbeat.get_or_insert(HEARTBEAT);
    Ok(address)
}

/// Connects again and again until nobody holds the connector.
async fn reconnect(
    address: AMQPUri,
    topology: Topology,
    sender: watch::Sender<Option<AmqpConnection>>,
) {
    let mut pause = PAUSE_FIRST;
    while !sender.is_closed() {
        match AmqpConnection::open(&address, topology.clone()).await {
            Ok(connection) => {
                tracing::info!("connected to RabbitMQ");
                pause = PAUSE_FIRST;
                sender.send_replace(Some(connection.clone()));
                tokio::select! {
                    () = connection.closed() => tracing::warn!("the connection to RabbitMQ is lost"),
                    () = sender.closed() => (),
                }
                sender.send_replace(None);
                connection.close().await;
            }
            Err(error) => tracing::warn!(%error, again_in = ?pause, "cannot connect to RabbitMQ"),
        }
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(pause) => (),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// One connection with everything declared. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(super) struct AmqpConnection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    connection: Connection,
    topology: Topology,
    /// Confirms what is published.
    publishing: Channel,
    /// Keys whose queue was declared on this connection.
    declared: Mutex<HashSet<RoutingKey>>,
    broken: CancellationToken,
}

impl AmqpConnection {
    async fn open(address: &AMQPUri, topology: Topology) -> Result<Self, Error> {
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, async {
            let name = format!("miaofs-server {}", std::process::id());
            let properties = ConnectionProperties::default().with_connection_name(name.into());
            let connection = Connection::connect_uri(address.clone(), properties).await?;
            let publishing = connection.create_channel().await?;
            publishing.confirm_select(ConfirmSelectOptions::default()).await?;
            topology.declare(&publishing).await?;
            Ok::<_, Error>((connection, publishing))
        });
        let (connection, publishing) = match opened.await {
            Ok(opened) => opened?,
            Err(_elapsed) => {
                return Err(Error::Queue(
                    format!("not connected within {CONNECT_TIMEOUT:?}").into(),
                ));
            }
        };
        let (declared, broken) = (Mutex::default(), CancellationToken::new());
        let shared = Shared { connection, topology, publishing, declared, broken };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Names of the exchanges and queues.
    pub(super) fn topology(&self) -> &Topology {
        &self.shared.topology
    }

    /// The channel on which messages are confirmed.
    pub(super) fn publishing(&self) -> &Channel {
        &self.shared.publishing
    }

    /// A new channel.
    ///
    /// # Errors
    /// [`Error::Queue`].
    pub(super) async fn channel(&self) -> Result<Channel, Error> {
        Ok(self.shared.connection.create_channel().await?)
    }

    /// Declares the queue behind a key, once a connection.
    ///
    /// # Errors
    /// [`Error::Queue`].
    pub(super) async fn declare(&self, key: &RoutingKey) -> Result<(), Error> {
        let mut declared = self.shared.declared.lock().await;
        if !declared.contains(key) {
            self.declare_now(key).await?;
            declared.insert(key.clone());
        }
        Ok(())
    }

    /// Declares the queue behind a key, and returns its depth.
    ///
    /// # Errors
    /// [`Error::Queue`].
    pub(super) async fn declare_now(&self, key: &RoutingKey) -> Result<QueueDepth, Error> {
        self.topology().declare_queue(self.publishing(), key).await
    }

    /// Declares the queue of dead letters, and returns its depth.
    ///
    /// # Errors
    /// [`Error::Queue`].
    pub(super) async fn declare_dead(&self) -> Result<QueueDepth, Error> {
        self.topology().declare_dead(self.publishing()).await
    }

    /// Marks this connection as broken, so that another is opened.
    pub(super) fn mark_broken(&self) {
        self.shared.broken.cancel();
    }

    fn is_usable(&self) -> bool {
        self.shared.connection.status().connected() && !self.shared.broken.is_cancelled()
    }

    /// Waits until the connection is closed or marked as broken.
    async fn closed(&self) {
        while self.is_usable() {
            tokio::select! {
                () = self.shared.broken.cancelled() => (),
                () = tokio::time::sleep(CHECK_INTERVAL) => (),
            }
        }
    }

    async fn close(&self) {
        let closing = self.shared.connection.close(200, "OK".into());
        // A connection that is broken already cannot be closed in good order.
        let _closed = tokio::time::timeout(PAUSE_FIRST, closing).await;
    }
}
