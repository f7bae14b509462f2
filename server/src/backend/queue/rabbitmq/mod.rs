//! The queue in RabbitMQ: durable queues, one for each routing key, and one of dead letters.
//!
//! ```text
//!  exchange {prefix}.transfer (direct) ──{key}──▶ queue {prefix}.transfer.{key}
//!                                                        │ rejected by a worker
//!  exchange {prefix}.transfer.dead (fanout) ◀────────────┘ ──▶ queue {prefix}.transfer.dead
//! ```
//!
//! Messages are persistent and mandatory, and count as published when the broker has confirmed them:
//! one that comes back because no queue took it is a failure. Workers acknowledge by hand, after the
//! outbox has what they did.

mod connection;
mod topology;
mod trial;

pub(super) use trial::try_out;

use std::time::Duration;

use futures::stream::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions,
    BasicQosOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Consumer};
use secrecy::SecretString;

use self::connection::{AmqpConnection, Connector};
use self::topology::Topology;
use super::message::{Message, QueueDepth, RoutingKey};
use crate::backend::Error;

/// Timeout of every request to the broker, confirmations included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The delivery mode of messages that survive a restart of the broker; see basic-properties of AMQP 0-9-1.
const PERSISTENT: u8 = 2;

impl From<lapin::Error> for Error {
    fn from(error: lapin::Error) -> Self {
        Self::Queue(Box::new(error))
    }
}

/// Our exchanges and queues in a RabbitMQ. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct RabbitQueue {
    connector: Connector,
    topology: Topology,
}

impl RabbitQueue {
    /// Connects when it is first used, and again whenever the connection is lost.
    ///
    /// # Errors
    /// [`Error::Queue`] when the URL is none of AMQP.
    pub(crate) fn open(url: &SecretString, prefix: &str) -> Result<Self, Error> {
        let topology = Topology::new(prefix);
        Ok(Self { connector: Connector::open(url, topology.clone())?, topology })
    }

    /// Waits until there is a connection.
    pub(crate) async fn ready(&self) {
        self.connector.connection().await;
    }

    /// Publishes a message and waits until the broker has it on its disk.
    ///
    /// # Errors
    /// [`Error::Queue`].
    pub(crate) async fn publish(&self, key: &RoutingKey, message: Message) -> Result<(), Error> {
        let connection = with_timeout(async { Ok(self.connector.connection().await) }).await?;
        let published = with_timeout(self.publish_in(&connection, key, message)).await;
        if published.is_err() {
            // Whatever was amiss, a fresh connection declares everything anew.
            connection.mark_broken();
        }
        published
    }

    async fn publish_in(
        &self,
        connection: &AmqpConnection,
        key: &RoutingKey,
        message: Message,
    ) -> Result<(), Error> {
        connection.declare(key).await?;
        let body = serde_json::to_vec(&message).map_err(|error| Error::Queue(Box::new(error)))?;
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_message_id(format!("{}.{}", message.transfer, message.attempts).into());
        let exchange = self.topology.exchange();
        let key = key.as_str().into();
        let publishing = connection.publishing();
        let sent = publishing.basic_publish(exchange, key, options, &body, properties).await?;
        let confirmation = sent.await?;
        match (confirmation.is_ack(), confirmation.take_message()) {
            (true, None) => Ok(()),
            (_, Some(returned)) => {
                Err(Error::Queue(format!("message returned: {}", returned.reply_text).into()))
            }
            (false, None) => Err(Error::Queue("message refused".into())),
        }
    }

    /// Consumes the queue behind a key, with at most `prefetch` messages unacknowledged.
    pub(crate) fn deliveries(&self, key: &RoutingKey, prefetch: u16) -> RabbitDeliveries {
        RabbitDeliveries {
            connector: self.connector.clone(),
            key: key.clone(),
            prefetch,
            open: None,
        }
    }

    /// Depths of the queues behind these keys, and last that of dead letters.
    ///
    /// # Errors
    /// [`Error::Queue`].
    pub(crate) async fn depths(&self, keys: &[RoutingKey]) -> Result<Vec<QueueDepth>, Error> {
        let connection = with_timeout(async { Ok(self.connector.connection().await) }).await?;
        with_timeout(async {
            let mut depths = Vec::new();
            for key in keys {
                depths.push(connection.declare_now(key).await?);
            }
            depths.push(connection.declare_dead().await?);
            Ok(depths)
        })
        .await
    }

    /// Takes dead letters, at most so many as there are now.
    ///
    /// # Errors
    /// [`Error::Queue`].
    pub(crate) async fn dead_letters(
        &self,
        limit: usize,
    ) -> Result<Vec<(Message, RabbitReceipt)>, Error> {
        let connection = with_timeout(async { Ok(self.connector.connection().await) }).await?;
        with_timeout(async {
            let channel = connection.channel().await?;
            let mut letters = Vec::new();
            while letters.len() < limit {
                let queue = self.topology.dead_queue();
                let Some(letter) = channel.basic_get(queue, BasicGetOptions::default()).await?
                else {
                    break;
                };
                letters.extend(read(letter.delivery, &channel).await);
            }
            Ok(letters)
        })
        .await
    }
}

/// Waits for the broker, but not for ever.
async fn with_timeout<T>(asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(Error::Queue(format!("no answer within {ANSWER_TIMEOUT:?}").into())),
    }
}

/// A consumer of one queue that outlives lost connections.
#[derive(Debug)]
pub(crate) struct RabbitDeliveries {
    connector: Connector,
    key: RoutingKey,
    prefetch: u16,
    open: Option<(Channel, Consumer)>,
}

impl RabbitDeliveries {
    /// The next message that can be read, waiting while there is none or the broker is away.
    pub(crate) async fn next(&mut self) -> (Message, RabbitReceipt) {
        loop {
            let Some((channel, consumer)) = &mut self.open else {
                self.reopen().await;
                continue;
            };
            match consumer.next().await {
                Some(Ok(delivery)) => {
                    if let Some(delivery) = read(delivery, channel).await {
                        return delivery;
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(lane = self.key.as_str(), %error, "deliveries ended");
                    self.open = None;
                }
                None => self.open = None,
            }
        }
    }

    async fn reopen(&mut self) {
        let connection = self.connector.connection().await;
        match with_timeout(self.consume(&connection)).await {
            Ok(open) => self.open = Some(open),
            Err(error) => {
                tracing::warn!(lane = self.key.as_str(), %error, "cannot listen to the queue");
                connection.mark_broken();
            }
        }
    }

    async fn consume(&self, connection: &AmqpConnection) -> Result<(Channel, Consumer), Error> {
        connection.declare(&self.key).await?;
        let channel = connection.channel().await?;
        channel.basic_qos(self.prefetch, BasicQosOptions::default()).await?;
        let queue = connection.topology().queue(&self.key);
        let options = BasicConsumeOptions::default();
        let consumer =
            channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
        Ok((channel, consumer))
    }
}

/// Reads a message; one that is none of ours goes to the dead letters at once, so that it is seen.
async fn read(
    delivery: lapin::message::Delivery,
    channel: &Channel,
) -> Option<(Message, RabbitReceipt)> {
    let receipt = RabbitReceipt { delivery: delivery.acker, _channel: channel.clone() };
    match serde_json::from_slice(&delivery.data) {
        Ok(message) => Some((message, receipt)),
        Err(error) => {
            tracing::warn!(%error, "a message in the queue cannot be read");
            receipt.reject().await;
            None
        }
    }
}

/// The right to answer for a message.
#[derive(Debug)]
pub(crate) struct RabbitReceipt {
    delivery: lapin::Acker,
    /// Messages without an answer go back to the queue when their channel closes.
    _channel: Channel,
}

impl RabbitReceipt {
    /// Acknowledges.
    pub(super) async fn ack(self) {
        if let Err(error) = self.delivery.ack(BasicAckOptions::default()).await {
            tracing::debug!(%error, "an acknowledgement did not arrive; the message comes again");
        }
    }

    /// Rejects without requeueing: the broker moves the message to the dead letters.
    pub(super) async fn reject(self) {
        let options = BasicNackOptions { requeue: false, ..BasicNackOptions::default() };
        if let Err(error) = self.delivery.nack(options).await {
            tracing::debug!(%error, "a refusal did not arrive; the message comes again");
        }
    }
}
