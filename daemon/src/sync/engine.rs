//! Front door of the engine: starts the loops, passes on what the layers above want, and reports the status.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use miaofs::client::{self, Client, Trust};
use miaofs::protocol::accounts::Account;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use super::core::{ACCOUNT_FRESH, Core, EngineSettings};
use super::download::{Downloader, FetchError, Prefetcher};
use super::error::{SyncError, with_causes};
use super::first_pull::NamesError;
use super::link::LinkState;
use super::push::{FlushError, PushRequest, Scope};
use super::status::{Cache, NodeError, Server, ServerState, Status, SyncState, Uploading, path_of};
use super::upload::Uploader;
use super::verify::{self, Verification, verify_step};
use super::{pull, push};
use crate::store::{self, ChunkPosition, Content, Ino, Invalidation, Store};

/// Time between questions for the account's quota.
const ACCOUNT_INTERVAL: Duration = Duration::from_secs(30);
/// Nodes that cannot be sent which the status names.
const ERRORS_SHOWN: usize = 1000;

/// Handle on the running engine. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Engine {
    core: Arc<Core>,
    downloader: Arc<Downloader>,
    prefetcher: Arc<Prefetcher>,
    requests: UnboundedSender<PushRequest>,
}

impl Engine {
    /// Starts the engine inside a tokio runtime; the server may be away. The receiver tells what
    /// changed under the kernel's feet.
    pub(crate) fn start(
        store: Arc<Store>,
        client: Client,
        settings: EngineSettings,
    ) -> (Self, UnboundedReceiver<Invalidation>) {
        let (core, invalidations) = Core::new(store, client, settings);
        let (requests, receiver) = mpsc::unbounded_channel();
        let downloader = Downloader::new(Arc::clone(&core));
        let prefetcher = Prefetcher::new(Arc::clone(&core), Arc::clone(&downloader));
        let uploader = Uploader::new(Arc::clone(&core), Arc::clone(&downloader));
        core.spawn(pull::run(Arc::clone(&core)));
        core.spawn(push::run(Arc::clone(&core), uploader, requests.clone(), receiver));
        core.spawn(follow_account(Arc::clone(&core)));
        core.spawn(verify::scrub(Arc::clone(&core), verify::Pace::SLOW));
        (Self { core, downloader, prefetcher, requests }, invalidations)
    }

    /// Has a node that was synced pushed without delay.
    pub(crate) fn urgent(&self, ino: Ino) {
        let _ending = self.requests.send(PushRequest::Urgent(ino));
    }

    /// Returns when `range` of the content has come. It may be gone again when the caller looks.
    ///
    /// # Errors
    /// [`FetchError`]; soon, when the server is away.
    pub(crate) async fn fetch(
        &self,
        content: &Content,
        range: Range<u64>,
    ) -> Result<(), FetchError> {
        self.prefetcher.fetch((content.ino(), content.size_on_server()), range).await
    }

    /// Takes note that a program opens a file, or reads it from here on, so that it need not wait for what it will want next.
    pub(crate) fn came_to(&self, content: &Content, offset: u64) {
        self.prefetcher.came_to(content.ino(), offset);
    }

    /// True once all names of the drive have been here: from then on one that is not known is none.
    pub(crate) fn knows_names(&self) -> bool {
        self.core.first_pull.is_done()
    }

    /// Returns when it does.
    ///
    /// # Errors
    /// [`NamesError`]; soon, when the server is away.
    pub(crate) async fn learn_names(&self) -> Result<(), NamesError> {
        self.core.first_pull.done(&self.core.link).await
    }

    /// Returns when it is known which chunks of the content are holes.
    ///
    /// # Errors
    /// [`FetchError`]; soon, when the server is away.
    pub(crate) async fn learn_holes(&self, content: &Content) -> Result<(), FetchError> {
        self.downloader.learn_holes(content.ino()).await
    }

    /// Returns when all that is dirty now, and in the scope, is on the server. Waits for a server
    /// that is away: the caller bounds it.
    ///
    /// # Errors
    /// [`FlushError`] names what cannot be sent.
    pub(crate) async fn flush(&self, scope: Scope) -> Result<(), FlushError> {
        let (answer, answered) = oneshot::channel();
        let _ending = self.requests.send(PushRequest::Flush { scope, answer });
        answered.await.unwrap_or(Err(FlushError::Ended))
    }

    /// Confirms the deletions that wait.
    pub(crate) fn allow_deletions(&self) {
        let _ending = self.requests.send(PushRequest::AllowDeletions);
    }

    /// Goes on with the session of a person who signed in again.
    ///
    /// # Errors
    /// [`client::Error::NoCertificate`] and [`client::Error::Setup`] when nobody can be trusted so.
    pub(crate) async fn sign_in_again(
        &self,
        refresh_token: String,
        trust: Trust,
    ) -> Result<(), client::Error> {
        self.core.client.resume(refresh_token, trust).await?;
        self.core.signed_in.notify_one();
        self.core.link.doubt();
        Ok(())
    }

    /// The account and its quota, as the server last told them.
    pub(crate) fn account(&self) -> Option<Account> {
        self.core.account()
    }

    /// State of one node to the server. Blocks.
    pub(crate) fn node_state(&self, ino: Ino) -> SyncState {
        match self.state_of(ino) {
            Ok(state) => state,
            Err(error) => SyncState::Error(error.to_string()),
        }
    }

    fn state_of(&self, ino: Ino) -> Result<SyncState, store::Error> {
        let (store, metrics) = (self.core.store_blocking(), &self.core.metrics);
        if store.dirty_node(ino)?.is_some() {
            let uploading = metrics.uploads().iter().any(|(other, ..)| *other == ino);
            return Ok(match metrics.error(ino) {
                Some(error) => SyncState::Error(with_causes(&error)),
                None if uploading => SyncState::Uploading,
                None => SyncState::Pending,
            });
        }
        let Some(content) = store.content_of(ino)? else { return Ok(SyncState::Synced) };
        let missing = store.missing(ino, 0..content.size)?;
        Ok(if missing.is_empty() { SyncState::Synced } else { SyncState::Remote })
    }

    /// Status of everything.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn status(&self) -> Result<Status, store::Error> {
        let engine = self.clone();
        self.core.with_store(move |store| engine.status_of(store)).await
    }

    fn status_of(&self, store: &Store) -> Result<Status, store::Error> {
        let (settings, metrics) = (&self.core.settings, &self.core.metrics);
        let (pending_nodes, dirty_bytes) = store.pending()?;
        let uploading = self.uploading(store)?;
        let done: u64 = uploading.iter().map(|upload| upload.done).sum();
        let pending_bytes = dirty_bytes.saturating_sub(done);
        let rate = metrics.rate();
        let (stays_local, errors) = self.errors(store)?;
        let cache = store.cache_usage();
        Ok(Status {
            server: self.server(),
            account: settings.account.clone(),
            device: settings.device.clone(),
            cursor: store.cursor().seq,
            comparing: store.comparison().is_some(),
            first_pull: self.core.first_pull.so_far(),
            damage: store.damage().into_iter().map(Into::into).collect(),
            pending_nodes,
            pending_bytes,
            uploading,
            rate_bytes_per_s: rate,
            eta_s: pending_bytes.checked_div(rate),
            errors,
            conflicts: metrics.conflicts(),
            stays_local,
            held_deletions: metrics.held_deletions.load(Ordering::Relaxed),
            counters: metrics.counters(self.core.client.traffic()),
            cache: Cache { bytes: cache.bytes, limit: cache.limit },
            lock_waits: store.lock_waits().into(),
        })
    }

    /// Reachability of the server, from memory.
    pub(crate) fn server(&self) -> Server {
        let (state, error) = match self.core.link.state() {
            LinkState::Connecting => (ServerState::Connecting, None),
            LinkState::Online => (ServerState::Online, None),
            LinkState::Offline(reason) => (ServerState::Offline, Some(reason)),
            LinkState::SignedOut(why) => (ServerState::SignedOut, Some(why)),
        };
        Server { url: self.core.client.url().to_owned(), state, error }
    }

    fn uploading(&self, store: &Store) -> Result<Vec<Uploading>, store::Error> {
        let uploads = self.core.metrics.uploads();
        store.view(|view| {
            let shown = uploads
                .into_iter()
                .map(|(ino, bytes, done)| Ok(Uploading { path: path_of(view, ino)?, bytes, done }));
            shown.collect()
        })
    }

    /// Paths of what stays local, and what else is wrong: of very much, the first.
    fn errors(&self, store: &Store) -> Result<(Vec<String>, Vec<NodeError>), store::Error> {
        let failed = self.core.metrics.errors();
        store.view(|view| {
            let (mut stays_local, mut errors) = (Vec::new(), Vec::new());
            for (ino, error) in failed.into_iter().take(ERRORS_SHOWN) {
                let path = path_of(view, ino)?;
                match *error {
                    SyncError::TooLarge { .. } => stays_local.push(path),
                    _ => errors.push(NodeError { path, message: with_causes(&error) }),
                }
            }
            Ok((stays_local, errors))
        })
    }

    /// Compares the next cached chunk with its digest, and adds what it finds. Blocks.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn verify_step(
        &self,
        from: ChunkPosition,
        found: &mut Verification,
    ) -> Result<Option<ChunkPosition>, store::Error> {
        verify_step(self.core.store_blocking(), from, found)
    }

    /// Ends all loops. What is not on the server is in the store for the next start.
    pub(crate) async fn stop(self) {
        self.core.stop().await;
    }
}

/// Asks for the quota now and then, soon after the drive changed, and whenever the server has come back.
async fn follow_account(core: Arc<Core>) {
    loop {
        core.link.until_online().await;
        core.refresh_account().await;
        core.account_refreshed.notify_one();
        tokio::time::sleep(ACCOUNT_FRESH).await;
        let changed = core.drive_changed.notified();
        // Without a change it is the quota that may be another.
        let _either = tokio::time::timeout(ACCOUNT_INTERVAL, changed).await;
    }
}

#[cfg(test)]
mod tests;
