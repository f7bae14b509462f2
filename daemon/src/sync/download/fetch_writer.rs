//! Carries the bytes of one fetch into the store: from a store of objects or the server, a step at a time.

use bytes::BytesMut;
use miaofs::client::{Download, Retry};
use miaofs::content::Digest;
use miaofs::protocol::files::ContentRef;
use tokio::sync::watch;

use super::error::AttemptError;
use super::in_flight::FetchState;
use super::sources::{DirectSources, SourceRange};
use crate::store::{self, BLOCK_SIZE, Ino};
use crate::sync::core::Core;

/// Bytes that a fetch hands to the store at once; a multiple of [`BLOCK_SIZE`].
const STEP: usize = 4 * BLOCK_SIZE as usize;

/// One fetch in progress. All it holds in memory is one step.
pub(super) struct FetchWriter<'a> {
    core: &'a Core,
    sources: &'a DirectSources,
    ino: Ino,
    content: ContentRef,
    /// Where the next step goes.
    offset: u64,
    step: BytesMut,
    state: &'a watch::Sender<FetchState>,
}

impl<'a> FetchWriter<'a> {
    /// A fetch of a node's content that begins at `offset`.
    pub(super) fn new(
        core: &'a Core,
        sources: &'a DirectSources,
        (ino, content): (Ino, ContentRef),
        offset: u64,
        state: &'a watch::Sender<FetchState>,
    ) -> Self {
        let step = BytesMut::with_capacity(STEP);
        Self { core, sources, ino, content, offset, step, state }
    }

    /// Fetches all up to `end`: from where it is, else from the server.
    ///
    /// # Errors
    /// [`AttemptError`]; what came before it is in the store.
    pub(super) async fn fetch_until(mut self, end: u64) -> Result<(), AttemptError> {
        let began = self.position();
        while self.position() < end {
            let wanted = self.position()..end;
            let source = self.sources.locate(&self.core.client, self.content, wanted).await;
            match self.copy(&source).await {
                Err(AttemptError::Client(error)) if source.object.is_some() => {
                    self.sources.report_failure(self.digest(), &error);
                }
                copied => copied?,
            }
        }
        self.flush().await.inspect_err(|_damaged| self.sources.disable())?;
        self.core.metrics.ranges.add(end - began);
        Ok(())
    }

    /// Copies a range of a source. When that fails, what came before is not lost.
    async fn copy(&mut self, source: &SourceRange) -> Result<(), AttemptError> {
        let began = self.position();
        let client = self.core.client.with_retry(Retry::NEVER);
        let download = match &source.object {
            Some(object) => client.download_url(&object.url, object.range.clone()).await?,
            None => client.download(self.digest(), source.range.clone()).await?,
        };
        let received = self.receive(download).await;
        if source.object.is_some() {
            self.core.metrics.from_stores.add(self.position() - began);
        }
        received
    }

    async fn receive(&mut self, mut download: Download) -> Result<(), AttemptError> {
        while let Some(bytes) = download.next().await? {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (taken, left) = rest.split_at(rest.len().min(STEP - self.step.len()));
                self.step.extend_from_slice(taken);
                rest = left;
                if self.step.len() == STEP {
                    self.flush().await.inspect_err(|_damaged| self.sources.disable())?;
                    self.state.send_replace(FetchState::Running);
                    self.step.reserve(STEP);
                }
            }
        }
        Ok(())
    }

    /// Hands to the store what has come.
    async fn flush(&mut self) -> Result<(), store::Error> {
        if self.step.is_empty() {
            return Ok(());
        }
        let bytes = self.step.split();
        let (ino, digest, offset) = (self.ino, self.digest(), self.offset);
        self.offset += bytes.len() as u64;
        self.core.with_store(move |store| store.fill(ino, digest, offset, &bytes)).await.map(drop)
    }

    /// Offset up to which everything has come.
    fn position(&self) -> u64 {
        self.offset + self.step.len() as u64
    }

    fn digest(&self) -> Digest {
        self.content.digest
    }
}
