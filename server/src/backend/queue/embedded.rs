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
    lanes: Arc<Mutex<HashMap<RoutingKey, Ends>>>,
}

impl EmbeddedQueue {
    /// Empty queues.
    pub(crate) fn new() -> Self {
        Self { lanes: Arc::default() }
    }

    /// Adds a message, waiting while its queue is full.
    pub(crate) async fn publish(&self, lane: &RoutingKey, message: Message) {
        let (sender, _receiver) = self.lane(lane);
        // The receiving end lives as long as the lanes do, so there is somebody to send to.
        let _delivered = sender.send(message).await;
    }

    /// Consumes the queue behind a key.
    pub(crate) fn deliveries(&self, lane: &RoutingKey) -> EmbeddedDeliveries {
        EmbeddedDeliveries { receiver: self.lane(lane).1, _lanes: self.clone() }
    }

    fn lane(&self, lane: &RoutingKey) -> Ends {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = lanes.entry(lane.clone()).or_insert_with(|| {
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
    _lanes: EmbeddedQueue,
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
