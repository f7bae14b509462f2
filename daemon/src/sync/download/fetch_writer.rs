//! Carries the bytes of one fetch into the store: from a store of objects or the server, a step at a time.

use std::sync::Arc;

use bytes::BytesMut;
use miaofs::client::{Download, Retry};
use miaofs::content::Digest;
use miaofs::protocol::files::ContentRef;
use tokio::sync::watch;

use super::error::AttemptError;
use super::in_flight::FetchState;
use super::sources::{DirectSources, SourceRange};
use crate::store::{self, BLOCK_SIZE, Filled, Ino, Store};
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
    /// The node has another content by now: nobody needs the rest.
    is_superseded: bool,
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
        Self { core, sources, ino, content, offset, step, state, is_superseded: false }
    }

    /// Fetches all up to `end`: from where it is, else from the server.
    ///
    /// # Errors
    /// [`AttemptError`]; what came before it is in the store.
    pub(super) async fn fetch_until(mut self, end: u64) -> Result<(), AttemptError> {
        let began = self.position();
        while self.position() < end && !self.is_superseded {
            let wanted = self.position()..end;
            let source = self.sources.locate(&self.core.client, self.content, wanted).await;
            match self.copy(&source).await {
                Err(AttemptError::Client(error)) if source.object.is_some() => {
                    self.sources.report_failure(self.digest(), &error);
                }
                copied => copied?,
            }
        }
        self.flush().await?;
        self.core.metrics.ranges.add(self.position() - began);
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
                    self.flush().await?;
                    if self.is_superseded {
                        return Ok(());
                    }
                    self.step.reserve(STEP);
                }
            }
        }
        Ok(())
    }

    /// Hands to the store what has come, and tells those who wait that it is here.
    async fn flush(&mut self) -> Result<(), store::Error> {
        if self.step.is_empty() {
            return Ok(());
        }
        let bytes = self.step.split();
        let (ino, digest, offset) = (self.ino, self.digest(), self.offset);
        self.offset += bytes.len() as u64;
        let fill = move |store: &Arc<Store>| store.fill(ino, digest, offset, &bytes);
        match self.core.with_store(fill).await {
            Ok(Filled::Stored) => drop(self.state.send_replace(FetchState::Running(self.offset))),
            // Who waits looks again when the fetch has ended, or brought more.
            Ok(Filled::Ignored) => {}
            Ok(Filled::Superseded) => self.is_superseded = true,
            Err(damaged) => {
                self.sources.disable();
                return Err(damaged);
            }
        }
        Ok(())
    }

    /// Offset up to which everything has come.
    fn position(&self) -> u64 {
        self.offset + self.step.len() as u64
    }

    fn digest(&self) -> Digest {
        self.content.digest
    }
}
