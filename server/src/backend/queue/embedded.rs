//! The embedded queue: messages handed from the relay to the workers of one process.
//!
//! It holds nothing that a restart must not lose: what waits in it stands in the outbox too, and the
//! relay publishes it again when the process starts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::message::{Message, RoutingKey};

/// Capacity of a queue in messages; then the publisher waits.
const LENGTH: usize = 256;

type Receiver = Arc<tokio::sync::Mutex<mpsc::Receiver<Message>>>;
type Ends = (mpsc::Sender<Message>, Receiver);

/// The queues of one process, by routing key.
#[derive(Debug, Clone)]
pub(crate) struct EmbeddedQueue {
    queues: Arc<Mutex<HashMap<RoutingKey, Ends>>>,
}

impl EmbeddedQueue {
    /// Empty queues.
    pub(crate) fn new() -> Self {
        Self { queues: Arc::default() }
    }

    /// Adds a message, waiting while its queue is full.
    pub(crate) async fn publish(&self, key: &RoutingKey, message: Message) {
        let (sender, _receiver) = self.ends(key);
        // The receiving end lives as long as the queue does, so the message can be sent.
        let _delivered = sender.send(message).await;
    }

    /// Consumes the queue behind a key.
    pub(crate) fn deliveries(&self, key: &RoutingKey) -> EmbeddedDeliveries {
        EmbeddedDeliveries { receiver: self.ends(key).1, _queues: self.clone() }
    }

    fn ends(&self, key: &RoutingKey) -> Ends {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = queues.entry(key.clone()).or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(LENGTH);
            (sender, Arc::new(tokio::sync::Mutex::new(receiver)))
        });
        ends.clone()
    }
}

/// A consumer of one queue.
#[derive(Debug)]
pub(crate) struct EmbeddedDeliveries {
    receiver: Receiver,
    /// Keeps the sending end.
    _queues: EmbeddedQueue,
}

impl EmbeddedDeliveries {
    /// The next message, waiting while there is none.
    pub(crate) async fn next(&mut self) -> Message {
        match self.receiver.lock().await.recv().await {
            Some(message) => message,
            None => std::future::pending().await,
        }
    }
}
