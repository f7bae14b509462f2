//! The embedded queue: messages handed from the relay to the workers of one process.
//!
//! It holds nothing that a restart must not lose: what waits in it stands in the outbox too, and the
//! relay publishes it again when the process starts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::message::{Message, RoutingKey};

/// Messages that wait in a lane at the most; then the publisher waits.
const LENGTH: usize = 256;

type Receiver = Arc<tokio::sync::Mutex<mpsc::Receiver<Message>>>;
type Ends = (mpsc::Sender<Message>, Receiver);

/// The lanes of one process.
#[derive(Debug, Clone)]
pub(crate) struct EmbeddedQueue {
    lanes: Arc<Mutex<HashMap<RoutingKey, Ends>>>,
}

impl EmbeddedQueue {
    /// Empty lanes.
    pub(crate) fn new() -> Self {
        Self { lanes: Arc::default() }
    }

    /// Adds a message, waiting while the lane is full.
    pub(crate) async fn publish(&self, lane: &RoutingKey, message: Message) {
        let (sender, _receiver) = self.lane(lane);
        // The receiving end lives as long as the lanes do, so there is somebody to send to.
        let _delivered = sender.send(message).await;
    }

    /// Listens to a lane.
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

/// Listens to a lane.
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
