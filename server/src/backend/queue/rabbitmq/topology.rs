//! The names and kinds of our exchanges and queues in RabbitMQ, all of them durable.
//!
//! The queues are classic ones, which are usable as soon as a broker that was killed is back. A quorum
//! queue would keep messages on several brokers, but what a broker loses the outbox publishes again.

use std::sync::Arc;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};

use crate::backend::Error;
use crate::backend::queue::message::{QueueDepth, RoutingKey};

/// Dead letters that are kept at the most; the oldest go first. The outbox has them all.
const DEAD_MAX: i32 = 100_000;

/// The names under one prefix. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(super) struct Topology {
    prefix: Arc<str>,
}

impl Topology {
    /// The names under this prefix.
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    /// Name of the exchange to which all messages are published.
    pub(super) fn exchange(&self) -> ShortString {
        format!("{}.transfer", self.prefix).into()
    }

    /// Name of the queue behind a key.
    pub(super) fn queue(&self, key: &RoutingKey) -> ShortString {
        format!("{}.transfer.{}", self.prefix, key.as_str()).into()
    }

    fn dead_exchange(&self) -> ShortString {
        format!("{}.transfer-dead", self.prefix).into()
    }

    /// Name of the queue of dead letters.
    pub(super) fn dead_queue(&self) -> ShortString {
        format!("{}.transfer-dead", self.prefix).into()
    }

    /// Name of a queue of one trial.
    pub(super) fn trial_queue(&self, id: &str) -> ShortString {
        format!("{}.doctor.{id}", self.prefix).into()
    }

    /// Declares the exchanges and the queue of dead letters.
    ///
    /// # Errors
    /// [`Error::Queue`], also when something of the same name is of another kind.
    pub(super) async fn declare(&self, channel: &Channel) -> Result<(), Error> {
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let exchanges =
            [(self.exchange(), ExchangeKind::Direct), (self.dead_exchange(), ExchangeKind::Fanout)];
        for (name, kind) in exchanges {
            channel.exchange_declare(name, kind, durable, FieldTable::default()).await?;
        }
        self.declare_dead(channel).await?;
        Ok(())
    }

    /// Declares the queue of dead letters, and returns its depth.
    ///
    /// # Errors
    /// [`Error::Queue`].
    pub(super) async fn declare_dead(&self, channel: &Channel) -> Result<QueueDepth, Error> {
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(DEAD_MAX));
        let binding = (self.dead_exchange(), ShortString::from(""));
        declare_bound(channel, self.dead_queue(), arguments, binding).await
    }

    /// Declares the queue behind a key, and returns its depth.
    ///
    /// # Errors
    /// [`Error::Queue`].
    pub(super) async fn declare_queue(
        &self,
        channel: &Channel,
        key: &RoutingKey,
    ) -> Result<QueueDepth, Error> {
        let mut arguments = FieldTable::default();
        let dead = AMQPValue::LongString(self.dead_exchange().as_str().into());
        arguments.insert("x-dead-letter-exchange".into(), dead);
        let binding = (self.exchange(), key.as_str().into());
        declare_bound(channel, self.queue(key), arguments, binding).await
    }
}

async fn declare_bound(
    channel: &Channel,
    name: ShortString,
    arguments: FieldTable,
    (exchange, key): (ShortString, ShortString),
) -> Result<QueueDepth, Error> {
    let durable = QueueDeclareOptions::durable();
    let queue = channel.queue_declare(name.clone(), durable, arguments).await?;
    let bound = QueueBindOptions::default();
    channel.queue_bind(name.clone(), exchange, key, bound, FieldTable::default()).await?;
    Ok(QueueDepth {
        queue: name.to_string(),
        messages: queue.message_count(),
        consumers: queue.consumer_count(),
    })
}
