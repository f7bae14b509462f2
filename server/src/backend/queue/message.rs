//! Messages of the queue, the keys that route them, and how many wait.

use serde::{Deserialize, Serialize};

use crate::backend::TransferId;

/// The key by which a message reaches its queue; each key has a queue of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RoutingKey(String);

impl RoutingKey {
    /// The key of work that only a process beside the staging disk of this host can do.
    pub(crate) fn of_host(host: &str) -> Self {
        Self(host.to_owned())
    }

    /// The key of work that any transfer process can do. No host has this name.
    pub(crate) fn shared() -> Self {
        Self("_shared".to_owned())
    }

    /// The key as the outbox and AMQP have it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A published message: one try of one transfer. A message about a former try is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Message {
    /// Id of the row of the outbox.
    pub transfer: TransferId,
    /// Failures of the transfer before this was published.
    pub attempts: u32,
}

/// Depth of one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueueDepth {
    /// Name of the queue.
    pub queue: String,
    /// Messages that no worker has yet.
    pub messages: u32,
    /// Workers that listen.
    pub consumers: u32,
}
