//! Brings bytes that are not here: requests in flight are shared by all who wait for their bytes.
//!
//! A read that misses asks for a window ([`readahead`](super::readahead)), cut into pieces. Each
//! piece is a *fetch*: a task of its own with one request, so a reader who goes away cancels
//! nothing that others wait for. A fetch hands its bytes to the store as they come, a step at a
//! time; that is all it holds in memory. Who waits, waits for the fetch that has the first byte
//! still missing to bring the last one, as far as it does, and looks again then.

use std::ops::Range;
use std::sync::Arc;

use miaofs::protocol::files::ContentRef;
use tokio::sync::watch;

use super::error::{AttemptError, FetchError};
use super::fetch_writer::FetchWriter;
use super::in_flight::{Fetch, FetchState, InFlightFetches};
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

/// Result of a look at a range that somebody wants.
enum Look {
    /// All of it is here.
    Here,
    /// There is no content that could have it.
    Gone,
    /// The manifest of the content must come first.
    NoManifest(ContentRef),
    /// The first byte that is not here comes with a fetch.
    OnItsWay { first: u64, content: ContentRef, fetch: Fetch },
}

/// Part of a range that has come after a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Brought {
    /// Nothing had to.
    Nothing,
    /// Something, or nothing after a failure; there may be more to come.
    Part,
    /// All that was missing.
    Rest,
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
        while self.bring(ino, &range, &mut retries).await? != Brought::Nothing {}
        Ok(())
    }

    /// As [`Self::ensure_present`], for somebody who looks at the bytes next: they have come, but may be gone again.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        ino: Ino,
        range: Range<u64>,
    ) -> Result<(), FetchError> {
        let mut retries = RetryPolicy::new();
        while self.bring(ino, &range, &mut retries).await? == Brought::Part {}
        Ok(())
    }

    /// Looks for what is missing in `range` and waits until a part of it has come.
    async fn bring(
        self: &Arc<Self>,
        ino: Ino,
        range: &Range<u64>,
        retries: &mut RetryPolicy,
    ) -> Result<Brought, FetchError> {
        let (downloader, wanted) = (Arc::clone(self), range.clone());
        let look = move |store: &Arc<Store>| downloader.look(store, ino, &wanted);
        let (content, result) = match self.core.with_store(look).await? {
            Look::Here => return Ok(Brought::Nothing),
            Look::Gone => return Err(FetchError::Gone),
            Look::NoManifest(content) => {
                let learned = self.ensure_manifest((ino, content)).await;
                (content, learned.map(|()| Brought::Part).map_err(Arc::new))
            }
            Look::OnItsWay { first, content, fetch } => {
                retries.note_missing(first)?;
                let (end, is_last) = (fetch.end().min(range.end), fetch.end() >= range.end);
                let brought = fetch.has_brought(end).await;
                let is_all =
                    |brought| if brought && is_last { Brought::Rest } else { Brought::Part };
                (content, brought.map(is_all))
            }
        };
        match result {
            Ok(brought) => Ok(brought),
            Err(error) => {
                retries.handle(&self.core, (ino, content), &error).await?;
                Ok(Brought::Part)
            }
        }
    }

    /// Begins to fetch what a sequential reader, who has come to `offset` and found the bytes there, will want next.
    pub(super) fn came_to(self: &Arc<Self>, ino: Ino, offset: u64) {
        if !self.in_flight.is_due(ino, offset) {
            return;
        }
        let downloader = Arc::clone(self);
        self.core.spawn(async move {
            let going_on = Arc::clone(&downloader);
            let begin = move |store: &Arc<Store>| going_on.go_on(store, ino, offset);
            if let Err(error) = downloader.core.with_store(begin).await {
                tracing::debug!(%error, %ino, "cannot fetch ahead");
            }
        });
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

    /// Looks for what is missing in `wanted`, and has it fetched.
    fn look(
        self: &Arc<Self>,
        store: &Store,
        ino: Ino,
        wanted: &Range<u64>,
    ) -> Result<Look, store::Error> {
        if store.missing(ino, wanted.clone())?.is_empty() {
            return Ok(Look::Here);
        }
        let Some(content) = store.content_of(ino)? else { return Ok(Look::Gone) };
        if store.manifest(ino)?.is_none() {
            return Ok(Look::NoManifest(content));
        }
        let begin = |range| self.begin((ino, content), range);
        let joined = self.in_flight.join_or_begin(store, (ino, content), wanted, begin)?;
        Ok(joined.map_or(Look::Here, |(first, fetch)| Look::OnItsWay { first, content, fetch }))
    }

    fn go_on(self: &Arc<Self>, store: &Store, ino: Ino, offset: u64) -> Result<(), store::Error> {
        let Some(content) = store.content_of(ino)? else { return Ok(()) };
        let begin = |range| self.begin((ino, content), range);
        self.in_flight.go_on(store, (ino, content), offset, begin)
    }

    fn begin(
        self: &Arc<Self>,
        node: (Ino, ContentRef),
        range: Range<u64>,
    ) -> watch::Receiver<FetchState> {
        let (sender, state) = watch::channel(FetchState::Running(range.start));
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
