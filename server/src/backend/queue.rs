//! The embedded queue: work handed from the relay to the worker of one process.
//!
//! It holds nothing that a restart must not lose: what waits in it stands in the outbox too, and the
//! relay publishes it again when the process starts.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

/// Messages that wait at the most; then the publisher waits.
const LENGTH: usize = 256;

/// A queue of messages, each delivered to one consumer.
#[derive(Debug)]
pub struct Queue<T> {
    sender: mpsc::Sender<T>,
    receiver: Arc<Mutex<mpsc::Receiver<T>>>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), receiver: self.receiver.clone() }
    }
}

impl<T> Queue<T> {
    /// An empty queue.
    pub fn new() -> Self {
        let (sender, receiver) = mpsc::channel(LENGTH);
        Self { sender, receiver: Arc::new(Mutex::new(receiver)) }
    }

    /// Adds a message, waiting while the queue is full.
    pub async fn publish(&self, message: T) {
        // The receiving end lives as long as this queue does, so there is somebody to send to.
        let _delivered = self.sender.send(message).await;
    }

    /// The next message, waiting while there is none.
    pub async fn consume(&self) -> Option<T> {
        self.receiver.lock().await.recv().await
    }
}
