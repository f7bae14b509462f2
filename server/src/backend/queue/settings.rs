//! Settings of the queue.

use secrecy::SecretString;

use crate::backend::key_prefix::KeyPrefix;

/// Where the queue is.
#[derive(Debug, Clone, Default)]
pub(crate) struct QueueSettings {
    /// URL of RabbitMQ, with its password; `None` for the queue of this process alone.
    pub amqp_url: Option<SecretString>,
    /// Prefix of the names of our exchanges and queues.
    pub amqp_prefix: KeyPrefix,
}
