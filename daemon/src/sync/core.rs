//! Shared by all parts of the engine: the store and the server, settings, and the signals between the loops.
//!
//! The store blocks, and the engine runs on tasks: so tasks reach it through [`Core::with_store`] only.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use miaofs::client::Client;
use miaofs::protocol::accounts::Account;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::first_pull::FirstPull;
use super::link::Link;
use super::metrics::Metrics;
use super::mutex::lock;
use crate::store::{Ino, Invalidation, Store, run_blocking};

/// For how long the server's answer about the account is taken as true at this moment.
pub(super) const ACCOUNT_FRESH: Duration = Duration::from_secs(5);

/// Settings of the engine.
#[derive(Debug, Clone)]
pub(crate) struct EngineSettings {
    /// Name of the account, for the status.
    pub account: String,
    /// Name of this device: stands in the names of conflict copies.
    pub device: String,
    /// Bytes of content sent a second at the most.
    pub bwlimit: Option<NonZeroU64>,
    /// Number of deletions beyond which, if they are also more than half of the drive, a person is asked first.
    pub deletions_limit: u64,
}

/// State and connections that the parts of the engine share.
pub(super) struct Core {
    store: Arc<Store>,
    pub(super) client: Client,
    pub(super) settings: EngineSettings,
    pub(super) link: Link,
    pub(super) metrics: Metrics,
    pub(super) first_pull: FirstPull,
    /// The account was asked for: what waits for its limits may be possible now.
    pub(super) account_refreshed: Notify,
    /// The drive changed on the server, and with it what is used of the quota.
    pub(super) drive_changed: Notify,
    /// A new session was taken over.
    pub(super) signed_in: Notify,
    /// True once all changes of the server were applied.
    pub(super) caught_up: watch::Sender<bool>,
    /// Held while the store takes the server's word on nodes: from begun push to answer, and while
    /// changes are applied.
    pub(super) reconcile: tokio::sync::Mutex<()>,
    invalidations: mpsc::UnboundedSender<Invalidation>,
    account: Mutex<Option<(Instant, Account)>>,
    runtime: Handle,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Core {
    /// Connects a store with a server, inside a tokio runtime. The receiver gets what changes under the kernel's feet.
    pub(super) fn new(
        store: Arc<Store>,
        client: Client,
        settings: EngineSettings,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Invalidation>) {
        let (invalidations, receiver) = mpsc::unbounded_channel();
        store.report_to(invalidations.clone());
        let first_pull = FirstPull::new(store.has_all_names());
        let core = Self {
            store,
            client,
            settings,
            link: Link::new(),
            metrics: Metrics::default(),
            first_pull,
            account_refreshed: Notify::new(),
            drive_changed: Notify::new(),
            signed_in: Notify::new(),
            caught_up: watch::Sender::new(false),
            reconcile: tokio::sync::Mutex::new(()),
            invalidations,
            account: Mutex::new(None),
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        (Arc::new(core), receiver)
    }

    /// Runs `work` on the store, on a thread that may block.
    pub(super) async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Store>) -> T + Send + 'static,
    ) -> T {
        let store = Arc::clone(&self.store);
        run_blocking(move || work(&store)).await
    }

    /// The store itself, for callers on threads that may block.
    pub(super) fn store_blocking(&self) -> &Store {
        &self.store
    }

    /// Changes whenever a node of the store became dirty.
    pub(super) fn dirtied(&self) -> watch::Receiver<u64> {
        self.store.subscribe()
    }

    /// The account as the server last told it.
    pub(super) fn account(&self) -> Option<Account> {
        lock(&self.account).as_ref().map(|(_, account)| account.clone())
    }

    /// Asks for the account unless it was asked for a moment ago.
    pub(super) async fn refresh_account(&self) {
        let asked = lock(&self.account).as_ref().map(|(asked, _)| *asked);
        if asked.is_some_and(|asked| asked.elapsed() < ACCOUNT_FRESH) {
            return;
        }
        match self.client.account().await {
            Ok(account) => *lock(&self.account) = Some((Instant::now(), account)),
            Err(error) => self.link.failed(&error),
        }
    }

    /// Has the kernel forget what it remembers of nodes and names.
    pub(super) fn invalidate(&self, invalidations: impl IntoIterator<Item = Invalidation>) {
        for invalidation in invalidations {
            // Nobody listens when nothing is mounted.
            let _not_mounted = self.invalidations.send(invalidation);
        }
    }

    /// Has the kernel ask for the attributes of a node again.
    pub(super) fn invalidate_attributes(&self, ino: Ino) {
        self.invalidate([Invalidation::Attributes(ino)]);
    }

    /// Runs a task until it ends or the engine stops. To be called from any thread.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        let task = async move {
            let _stopped = stop.run_until_cancelled(task).await;
        };
        self.tasks.spawn_on(task, &self.runtime);
    }

    /// Cancels all tasks and waits until they have ended.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
