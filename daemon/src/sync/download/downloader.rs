//! Brings bytes that are not here: requests in flight are shared by all who wait for their bytes.
//!
//! A read that misses asks for a window ([`readahead`](super::readahead)), cut into pieces. Each
//! piece is a *fetch*: a task of its own with one request, so a reader who goes away cancels
//! nothing that others wait for. A fetch hands its bytes to the store as they come, a step at a
//! time; that is all it holds in memory. Who waits, waits for the fetch that has the first byte
//! still missing, and looks again whenever that moves.

use std::ops::Range;
use std::sync::Arc;

use miaofs::protocol::files::ContentRef;
use tokio::sync::watch;

use super::error::{AttemptError, FetchError};
use super::fetch_writer::FetchWriter;
use super::in_flight::{FetchState, InFlightFetches};
use super::manifests::Manifests;
use super::retry::RetryPolicy;
use super::sources::DirectSources;
use crate::store::{self, Ino, Store};
use crate::sync::core::Core;

/// Fetches contents into the store, for readers and for uploads.
pub(crate) struct Downloader {
    pub(super) core: Arc<Core>,
    pub(super) in_flight: InFlightFetches,
    sources: DirectSources,
    manifests: Manifests,
}

impl Downloader {
    pub(crate) fn new(core: Arc<Core>) -> Arc<Self> {
        Arc::new(Self {
            core,
            in_flight: InFlightFetches::new(),
            sources: DirectSources::new(),
            manifests: Manifests::default(),
        })
    }

    /// Returns when `range` of a node's content is here.
    ///
    /// # Errors
    /// [`FetchError`]; soon, when the server is away.
    pub(crate) async fn ensure_present(
        self: &Arc<Self>,
        ino: Ino,
        range: Range<u64>,
    ) -> Result<(), FetchError> {
        let mut retries = RetryPolicy::new();
        while let Some((first, content)) = self.first_missing(ino, range.clone()).await? {
            retries.note_missing(first)?;
            let Some(content) = content else { return Err(FetchError::Gone) };
            let node = (ino, content);
            let result = match self.ensure_manifest(node).await {
                Ok(()) => self.wait_for(node, first..range.end).await,
                Err(error) => Err(Arc::new(error)),
            };
            if let Err(error) = result {
                retries.handle(&self.core, node, &error).await?;
            }
        }
        Ok(())
    }

    /// Returns when the manifest of a node's content is here, which tells where it has holes.
    ///
    /// # Errors
    /// [`FetchError`]; soon, when the server is away.
    pub(crate) async fn learn_holes(&self, ino: Ino) -> Result<(), FetchError> {
        let mut retries = RetryPolicy::new();
        while let Some(content) = self.content_of(ino).await? {
            match self.ensure_manifest((ino, content)).await {
                Ok(()) => break,
                Err(error) => retries.handle(&self.core, (ino, content), &error).await?,
            }
        }
        Ok(())
    }

    /// Makes sure that the store knows the manifest of the content that a node is based on.
    ///
    /// # Errors
    /// [`AttemptError`] of the only try.
    pub(crate) async fn ensure_manifest_of(&self, ino: Ino) -> Result<(), AttemptError> {
        match self.content_of(ino).await? {
            Some(content) => self.ensure_manifest((ino, content)).await,
            None => Ok(()),
        }
    }

    async fn ensure_manifest(&self, node: (Ino, ContentRef)) -> Result<(), AttemptError> {
        self.manifests.ensure(&self.core, &self.sources, node).await
    }

    async fn content_of(&self, ino: Ino) -> Result<Option<ContentRef>, store::Error> {
        self.core.with_store(move |store| store.content_of(ino)).await
    }

    /// The first byte of `range` that is not here, and the content that has it.
    async fn first_missing(
        &self,
        ino: Ino,
        range: Range<u64>,
    ) -> Result<Option<(u64, Option<ContentRef>)>, store::Error> {
        self.core
            .with_store(move |store| {
                let Some(missing) = store.missing(ino, range)?.into_iter().next() else {
                    return Ok(None);
                };
                Ok(Some((missing.start, store.content_of(ino)?)))
            })
            .await
    }

    /// Waits until the fetch that brings the first byte of `wanted` has moved.
    async fn wait_for(
        self: &Arc<Self>,
        node: (Ino, ContentRef),
        wanted: Range<u64>,
    ) -> Result<(), Arc<AttemptError>> {
        let joining = Arc::clone(self);
        let joined = self.core.with_store(move |store| joining.join(store, node, &wanted)).await;
        let Some(mut state) = joined.map_err(AttemptError::from)? else { return Ok(()) };
        // An error means that the fetch has ended and its sender is gone.
        let _ended = state.changed().await;
        match &*state.borrow() {
            FetchState::Failed(error) => Err(Arc::clone(error)),
            FetchState::Running => Ok(()),
        }
    }

    /// The fetch that brings the first byte of `wanted`; `None` when that has come meanwhile.
    fn join(
        self: &Arc<Self>,
        store: &Store,
        node: (Ino, ContentRef),
        wanted: &Range<u64>,
    ) -> Result<Option<watch::Receiver<FetchState>>, store::Error> {
        let begin = |range| self.begin(node, range);
        let mut state = self.in_flight.join_or_begin(store, node, wanted, begin)?;
        // From here on no step is overlooked: it comes before the look or changes the state.
        state.mark_unchanged();
        let first = wanted.start..wanted.start + 1;
        Ok(if store.missing(node.0, first)?.is_empty() { None } else { Some(state) })
    }

    fn begin(
        self: &Arc<Self>,
        node: (Ino, ContentRef),
        range: Range<u64>,
    ) -> watch::Receiver<FetchState> {
        let (sender, state) = watch::channel(FetchState::Running);
        let downloader = Arc::clone(self);
        self.core.spawn(async move {
            let core = &downloader.core;
            let _stream = downloader.in_flight.stream(&core.metrics).await;
            let writer = FetchWriter::new(core, &downloader.sources, node, range.start, &sender);
            if let Err(error) = writer.fetch_until(range.end).await {
                sender.send_replace(FetchState::Failed(Arc::new(error)));
            }
        });
        state
    }
}
