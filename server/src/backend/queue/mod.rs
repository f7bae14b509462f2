//! The queue: the way by which the workers of a host learn what the outbox has for them.
//!
//! It is a notification and not the truth: transfers stand in the outbox table, and a message that is lost is
//! published again when its row has waited for too long. So nothing is lost with a queue, and a
//! message may come twice. In one process the queue is in its memory; several processes share RabbitMQ.

mod embedded;
mod message;
mod rabbitmq;
mod settings;
#[cfg(test)]
pub(crate) mod test_broker;
#[cfg(test)]
mod tests;

pub(crate) use message::{Message, QueueDepth, RoutingKey};
pub(crate) use settings::QueueSettings;

use self::rabbitmq::RabbitReceipt;
use super::{Error, Trial};

/// A queue of messages, each delivered to one worker. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) enum Queue {
    /// Within this process.
    Embedded(embedded::EmbeddedQueue),
    /// RabbitMQ.
    RabbitMq(rabbitmq::RabbitQueue),
}

impl Queue {
    /// Opens the queue. RabbitMQ may be away: it is connected to as soon and as often as it is there.
    ///
    /// # Errors
    /// [`Error::Queue`] when the URL is none of AMQP.
    pub(crate) fn open(settings: &QueueSettings) -> Result<Self, Error> {
        Ok(match &settings.amqp_url {
            None => Self::Embedded(embedded::EmbeddedQueue::new()),
            Some(url) => {
                Self::RabbitMq(rabbitmq::RabbitQueue::open(url, &settings.amqp_prefix.to_string())?)
            }
        })
    }

    /// Tries the queue out: one of its own is made, takes a message, gives it back, and goes. Nothing else of the broker is
    /// declared.
    ///
    /// # Errors
    /// [`Error::Queue`], [`Error::Trial`].
    pub(crate) async fn try_out(settings: &QueueSettings) -> Result<Trial, Error> {
        match &settings.amqp_url {
            None => Ok(Trial::default()),
            Some(url) => rabbitmq::try_out(url, &settings.amqp_prefix.to_string()).await,
        }
    }

    /// True if messages survive the process that published them.
    pub(crate) const fn is_durable(&self) -> bool {
        matches!(self, Self::RabbitMq(_))
    }

    /// Waits until messages can be published.
    pub(crate) async fn ready(&self) {
        match self {
            Self::Embedded(_) => (),
            Self::RabbitMq(queue) => queue.ready().await,
        }
    }

    /// Publishes a message. When it answers, the queue has taken it over.
    ///
    /// # Errors
    /// [`Error::Queue`]: the message may be in the queue or not.
    pub(crate) async fn publish(&self, key: &RoutingKey, message: Message) -> Result<(), Error> {
        match self {
            Self::Embedded(queue) => {
                queue.publish(key, message).await;
                Ok(())
            }
            Self::RabbitMq(queue) => queue.publish(key, message).await,
        }
    }

    /// Consumes the queue behind a key, with at most `at_once` messages unacknowledged.
    pub(crate) fn deliveries(&self, key: &RoutingKey, at_once: u16) -> Deliveries {
        match self {
            Self::Embedded(queue) => Deliveries::Embedded(queue.deliveries(key)),
            Self::RabbitMq(queue) => Deliveries::RabbitMq(Box::new(queue.deliveries(key, at_once))),
        }
    }

    /// Depths of the queues behind these keys, that of dead letters last; empty for a queue whose
    /// messages only its own process sees.
    ///
    /// # Errors
    /// [`Error::Queue`].
    pub(crate) async fn depths(&self, keys: &[RoutingKey]) -> Result<Vec<QueueDepth>, Error> {
        match self {
            Self::Embedded(_) => Ok(Vec::new()),
            Self::RabbitMq(queue) => queue.depths(keys).await,
        }
    }

    /// Takes up to `limit` dead letters; those that are dropped without an answer go back.
    ///
    /// # Errors
    /// [`Error::Queue`].
    pub(crate) async fn dead_letters(&self, limit: usize) -> Result<Vec<Delivery>, Error> {
        match self {
            Self::Embedded(_) => Ok(Vec::new()),
            Self::RabbitMq(queue) => {
                let letters = queue.dead_letters(limit).await?;
                Ok(letters.into_iter().map(Delivery::from).collect())
            }
        }
    }
}

/// A consumer of one queue.
#[derive(Debug)]
pub(crate) enum Deliveries {
    /// Within this process.
    Embedded(embedded::EmbeddedDeliveries),
    /// From RabbitMQ.
    RabbitMq(Box<rabbitmq::RabbitDeliveries>),
}

impl Deliveries {
    /// The next message, waiting while there is none or the queue is away.
    pub(crate) async fn next(&mut self) -> Delivery {
        match self {
            Self::Embedded(deliveries) => {
                Delivery { message: deliveries.next().await, receipt: Receipt::None }
            }
            Self::RabbitMq(deliveries) => deliveries.next().await.into(),
        }
    }
}

/// A delivered message. Dropped without an answer it is delivered again, to any consumer.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The message.
    pub message: Message,
    receipt: Receipt,
}

#[derive(Debug)]
enum Receipt {
    /// The embedded queue forgets what it has handed out.
    None,
    RabbitMq(RabbitReceipt),
}

impl From<(Message, RabbitReceipt)> for Delivery {
    fn from((message, receipt): (Message, RabbitReceipt)) -> Self {
        Self { message, receipt: Receipt::RabbitMq(receipt) }
    }
}

impl Delivery {
    /// Acknowledges the message. If the queue is away, the message is delivered again.
    pub(crate) async fn ack(self) {
        if let Receipt::RabbitMq(receipt) = self.receipt {
            receipt.ack().await;
        }
    }

    /// Rejects the message, so that it goes to the dead letters.
    pub(crate) async fn reject(self) {
        if let Receipt::RabbitMq(receipt) = self.receipt {
            receipt.reject().await;
        }
    }
}
