//! The front door of the engine: starts the loops, passes on what the layers above want, says how it stands.

use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use miaofs::client::Client;
use miaofs::protocol::accounts::Account;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::download::fetch::{self, FetchError, Flights};
use super::download::prefetch::Prefetch;
use super::download::sources::Places;
use super::flush::{FlushError, Scope};
use super::link::{Link, LinkState};
use super::pull::feed;
use super::push::pusher::{self, Order};
use super::status::{
    Cache, Metrics, NodeError, Server, ServerState, Status, SyncState, Uploading, lock, path_of,
};
use super::throttle::Throttle;
use super::upload::small::Lanes;
use crate::store::{self, Content, Ino, Invalidation, Store};

/// Time between questions for the account's quota.
const ACCOUNT_INTERVAL: Duration = Duration::from_secs(30);
/// For how long its answer is taken as true at this moment.
const ACCOUNT_FRESH: Duration = Duration::from_secs(5);

/// How the engine works.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Name of the account, for the status.
    pub account: String,
    /// Name of this device: stands in the names of conflict copies.
    pub device: String,
    /// Bytes of content sent a second at the most.
    pub bwlimit: Option<NonZeroU64>,
    /// More deletions at once than this, if they are also more than half of the drive, wait for a word.
    pub deletions_limit: u64,
}

/// The engine. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Engine {
    core: Arc<Core>,
}

/// What the executors share.
pub(super) struct Core {
    pub(super) store: Arc<Store>,
    pub(super) client: Client,
    pub(super) settings: Settings,
    pub(super) link: Link,
    pub(super) throttle: Throttle,
    pub(super) lanes: Lanes,
    pub(super) flights: Flights,
    pub(super) places: Places,
    pub(super) prefetch: Prefetch,
    pub(super) metrics: Metrics,
    pub(super) news: mpsc::UnboundedSender<Invalidation>,
    pub(super) orders: mpsc::UnboundedSender<Order>,
    /// The account was asked for: what waits for its limits may be possible now.
    pub(super) account_refreshed: Notify,
    /// The drive changed on the server, and with it what is used of the quota.
    pub(super) drive_changed: Notify,
    /// A new session was taken over.
    pub(super) signed_in: Notify,
    /// Whether all changes of the server were applied once.
    pub(super) caught_up: watch::Sender<bool>,
    /// Held while the store takes the server's word on nodes: from begun push to answer, and while
    /// changes are applied.
    pub(super) reconcile: tokio::sync::Mutex<()>,
    pub(super) tasks: TaskTracker,
    stop: CancellationToken,
    usage: Mutex<Option<(Instant, Account)>>,
}

impl Core {
    pub(super) fn usage(&self) -> Option<Account> {
        lock(&self.usage).as_ref().map(|(_, account)| account.clone())
    }

    /// Asks for the account unless it was asked for a moment ago.
    pub(super) async fn refresh_usage(&self) {
        let asked = lock(&self.usage).as_ref().map(|(asked, _)| *asked);
        if asked.is_some_and(|asked| asked.elapsed() < ACCOUNT_FRESH) {
            return;
        }
        match self.client.account().await {
            Ok(account) => *lock(&self.usage) = Some((Instant::now(), account)),
            Err(error) => self.link.failed(&error),
        }
    }

    /// Has the kernel ask for the attributes of a node again.
    pub(super) fn tell_attributes(&self, ino: Ino) {
        // Nobody listens when nothing is mounted.
        let _not_mounted = self.news.send(Invalidation::Attributes(ino));
    }

    /// Runs a task until it ends or the engine stops.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let _stopped = stop.run_until_cancelled(task).await;
        });
    }
}

impl Engine {
    /// Starts the engine inside a tokio runtime; the server may be away. The receiver tells what
    /// changed under the kernel's feet.
    pub(crate) fn start(
        store: Arc<Store>,
        client: Client,
        settings: Settings,
    ) -> (Self, mpsc::UnboundedReceiver<Invalidation>) {
        let (news, news_receiver) = mpsc::unbounded_channel();
        let (orders, order_receiver) = mpsc::unbounded_channel();
        let core = Arc::new(Core {
            store,
            client,
            link: Link::new(),
            throttle: Throttle::new(settings.bwlimit),
            settings,
            lanes: Lanes::new(),
            flights: Flights::new(),
            places: Places::new(),
            prefetch: Prefetch::new(),
            metrics: Metrics::default(),
            news,
            orders,
            account_refreshed: Notify::new(),
            drive_changed: Notify::new(),
            signed_in: Notify::new(),
            caught_up: watch::Sender::new(false),
            reconcile: tokio::sync::Mutex::new(()),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            usage: Mutex::new(None),
        });
        core.spawn(feed::run(Arc::clone(&core)));
        core.spawn(pusher::run(Arc::clone(&core), order_receiver));
        core.spawn(follow_account(Arc::clone(&core)));
        (Self { core }, news_receiver)
    }

    /// This node was synced: it is pushed without delay.
    pub(crate) fn urgent(&self, ino: Ino) {
        let _ending = self.core.orders.send(Order::Urgent(ino));
    }

    /// Returns when `range` of the content is here.
    ///
    /// # Errors
    /// [`FetchError`]; soon, when the server is away.
    pub(crate) async fn fetch(
        &self,
        content: &Content,
        range: Range<u64>,
    ) -> Result<(), FetchError> {
        fetch::fetch(&self.core, content.ino(), range).await
    }

    /// Returns when it is known which chunks of the content are holes.
    ///
    /// # Errors
    /// [`FetchError`]; soon, when the server is away.
    pub(crate) async fn learn_holes(&self, content: &Content) -> Result<(), FetchError> {
        fetch::learn_holes(&self.core, content.ino()).await
    }

    /// Returns when all that is dirty now, and in the scope, is on the server. Waits for a server
    /// that is away: the caller bounds it.
    ///
    /// # Errors
    /// [`FlushError`] names what cannot be sent.
    pub(crate) async fn flush(&self, scope: Scope) -> Result<(), FlushError> {
        let (answer, answered) = oneshot::channel();
        let _ending = self.core.orders.send(Order::Flush { scope, answer });
        answered.await.unwrap_or(Err(FlushError::Ended))
    }

    /// The deletions that wait are meant.
    pub(crate) fn allow_deletions(&self) {
        let _ending = self.core.orders.send(Order::AllowDeletions);
    }

    /// A person signed in again: goes on with this session.
    pub(crate) async fn sign_in_again(&self, refresh_token: String) {
        self.core.client.resume(refresh_token).await;
        self.core.signed_in.notify_one();
    }

    /// The account and its quota as last heard.
    pub(crate) fn usage(&self) -> Option<Account> {
        self.core.usage()
    }

    /// How one node stands to the server.
    pub(crate) fn node_state(&self, ino: Ino) -> SyncState {
        match self.state_of(ino) {
            Ok(state) => state,
            Err(error) => SyncState::Error(error.to_string()),
        }
    }

    fn state_of(&self, ino: Ino) -> Result<SyncState, store::Error> {
        let core = &self.core;
        if core.store.dirty_node(ino)?.is_some() {
            let uploading = core.metrics.uploads().iter().any(|(other, ..)| *other == ino);
            return Ok(match core.metrics.trouble(ino) {
                Some(trouble) => SyncState::Error(trouble),
                None if uploading => SyncState::Uploading,
                None => SyncState::Pending,
            });
        }
        let Some(content) = core.store.content_of(ino)? else { return Ok(SyncState::Synced) };
        let missing = core.store.missing(ino, 0..content.size)?;
        Ok(if missing.is_empty() { SyncState::Synced } else { SyncState::Remote })
    }

    /// How everything stands. Reads the store: not for the event loop.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn status(&self) -> Result<Status, store::Error> {
        let core = &self.core;
        let (pending_nodes, dirty_bytes) = core.store.pending()?;
        let uploading = self.uploading()?;
        let done: u64 = uploading.iter().map(|upload| upload.done).sum();
        let pending_bytes = dirty_bytes.saturating_sub(done);
        let rate = core.metrics.rate();
        let (stays_local, errors) = self.errors()?;
        let cache = core.store.cache_usage();
        Ok(Status {
            server: self.server(),
            account: core.settings.account.clone(),
            device: core.settings.device.clone(),
            cursor: core.store.cursor(),
            pending_nodes,
            pending_bytes,
            uploading,
            rate_bytes_per_s: rate,
            eta_s: pending_bytes.checked_div(rate),
            errors,
            conflicts: core.metrics.conflicts(),
            stays_local,
            held_deletions: core.metrics.held_deletions.load(Ordering::Relaxed),
            counters: core.metrics.counters(core.client.traffic()),
            cache: Cache { bytes: cache.bytes, limit: cache.limit },
        })
    }

    /// Whether the server answers, from memory.
    pub(crate) fn server(&self) -> Server {
        let (state, error) = match self.core.link.state() {
            LinkState::Connecting => (ServerState::Connecting, None),
            LinkState::Online => (ServerState::Online, None),
            LinkState::Offline(reason) => (ServerState::Offline, Some(reason)),
            LinkState::SignedOut => {
                (ServerState::SignedOut, Some("signed out: run `miaofs login`".to_owned()))
            }
        };
        Server { url: self.core.client.url().to_owned(), state, error }
    }

    fn uploading(&self) -> Result<Vec<Uploading>, store::Error> {
        let uploads = self.core.metrics.uploads();
        self.core.store.view(|view| {
            let shown = uploads
                .into_iter()
                .map(|(ino, bytes, done)| Ok(Uploading { path: path_of(view, ino)?, bytes, done }));
            shown.collect()
        })
    }

    /// Paths of what stays local, and what else is wrong.
    fn errors(&self) -> Result<(Vec<String>, Vec<NodeError>), store::Error> {
        let troubles = self.core.metrics.troubles();
        self.core.store.view(|view| {
            let (mut stays_local, mut errors) = (Vec::new(), Vec::new());
            for (ino, message) in troubles {
                let path = path_of(view, ino)?;
                if message.starts_with("stays local") {
                    stays_local.push(path);
                } else {
                    errors.push(NodeError { path, message });
                }
            }
            Ok((stays_local, errors))
        })
    }

    /// Ends all loops. What is not on the server is in the store for the next start.
    pub(crate) async fn stop(self) {
        self.core.stop.cancel();
        self.core.tasks.close();
        self.core.tasks.wait().await;
    }
}

/// Asks for the quota now and then, soon after the drive changed, and whenever the server has come back.
async fn follow_account(core: Arc<Core>) {
    loop {
        core.link.until_online().await;
        core.refresh_usage().await;
        core.account_refreshed.notify_one();
        tokio::time::sleep(ACCOUNT_FRESH).await;
        let changed = core.drive_changed.notified();
        // Without a change it is the quota that may be another.
        let _either = tokio::time::timeout(ACCOUNT_INTERVAL, changed).await;
    }
}

#[cfg(test)]
mod tests;
