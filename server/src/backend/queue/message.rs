//! Messages of the queue, the keys that route them, and how many wait.

use serde::{Deserialize, Serialize};

use crate::backend::TransferId;

/// Whose work it is: a queue of its own for each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RoutingKey(String);

impl RoutingKey {
    /// What only the process beside the staging disk of this host can do.
    pub(crate) fn of_host(host: &str) -> Self {
        Self(host.to_owned())
    }

    /// What any process that transfers can do. No host has this name.
    pub(crate) fn shared() -> Self {
        Self("_shared".to_owned())
    }

    /// Its name, as the outbox and the routing keys have it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is published: which transfer, and which try of it. A message about a former try is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Message {
    /// Which row of the outbox.
    pub transfer: TransferId,
    /// How often it had failed when this was published.
    pub attempts: u32,
}

/// How full the queue of a lane is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueueDepth {
    /// Its name.
    pub queue: String,
    /// Messages that no worker has yet.
    pub messages: u32,
    /// Workers that listen.
    pub consumers: u32,
}
