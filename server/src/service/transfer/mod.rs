//! Transfer: staged blobs move to the stores, and stored ones to other stores, by way of the outbox and the queue.
//!
//! Each step may be the last one before a crash, and all may be repeated: taking in what was taken in
//! changes nothing, the place is set before anything staged is dropped, and the outbox row goes last.
//! The outbox row is the truth and a message only a hint: one that is lost is published again after a
//! while, one that comes twice finds its try over.

pub(crate) mod copying;
mod depth;
mod finish;
mod migration;
mod outbox;
mod relay;
mod relocate;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::migration::{Fed, Migration, Progress};
pub(crate) use self::outbox::{Outbox, Which};
pub(crate) use crate::backend::db::transfers::{ListedTransfer, TransferCount, TransferState};

use crate::backend::queue::{Message, RoutingKey};
use crate::service::context::ServiceContext;

/// Pause between two looks at the outbox when nothing rings.
const LOOK: Duration = Duration::from_secs(1);

/// Moves blobs. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Transfers {
    context: Arc<ServiceContext>,
    /// Rings when a blob has moved.
    moved: Arc<Notify>,
    /// Rings when a worker has answered for a message.
    answered: Arc<Notify>,
    /// Messages that workers of this process are at.
    at_work: Arc<Mutex<HashSet<Message>>>,
}

impl Transfers {
    /// Transfers of these contents' blobs.
    pub(crate) fn new(context: Arc<ServiceContext>) -> Self {
        let (moved, answered) = (Arc::default(), Arc::default());
        Self { context, moved, answered, at_work: Arc::default() }
    }

    /// Starts relay, worker and finisher of this process's host, and of what any process can do, which run
    /// until `stop`.
    pub(crate) fn start(&self, workers: &TaskTracker, stop: &CancellationToken) {
        // Its own bell: one that rings for the host's relay wakes no other.
        let shared = Self { answered: Arc::default(), ..self.clone() };
        workers.spawn(shared.clone().relay(RoutingKey::shared(), stop.clone()));
        workers.spawn(shared.clone().work(RoutingKey::shared(), stop.clone()));
        workers.spawn(shared.remove_left(stop.clone()));
        let lane = RoutingKey::of_host(self.context.host().as_str());
        workers.spawn(self.clone().relay(lane.clone(), stop.clone()));
        workers.spawn(self.clone().work(lane, stop.clone()));
        workers.spawn(self.clone().finish(stop.clone()));
        workers.spawn(self.clone().measure(stop.clone()));
    }
}
