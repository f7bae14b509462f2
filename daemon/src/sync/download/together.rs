//! Small files that are fetched together, by one request: a reader of many files would wait for an answer for each.

use std::collections::HashMap;
use std::sync::Arc;

use miaofs::client::{ContentStream, Retry};
use miaofs::content::Digest;
use tokio::sync::watch;

use super::downloader::Downloader;
use super::error::AttemptError;
use super::in_flight::FetchState;
use crate::store::{self, Ino, Store};

/// Files that wait for a content; dropping a sender ends a fetch.
type Awaited = HashMap<Digest, Vec<(Ino, watch::Sender<FetchState>)>>;

impl Downloader {
    /// Fetches the contents of files of which nothing is here, as far as the server gives small contents together. Who reads one of
    /// them meanwhile waits for this.
    ///
    /// # Errors
    /// [`AttemptError`]; what came before it is in the store.
    pub(super) async fn fetch_together(
        self: &Arc<Self>,
        files: Vec<(Ino, u64)>,
    ) -> Result<(), AttemptError> {
        let downloader = Arc::clone(self);
        let begun = self.core.with_store(move |store| downloader.begin_together(store, files));
        let mut awaited = begun.await?;
        if awaited.is_empty() {
            return Ok(());
        }
        let _stream = self.in_flight.stream(&self.core.metrics).await;
        let client = self.core.client.with_retry(Retry::NEVER);
        let contents = client.small_contents(awaited.keys().copied().collect()).await?;
        let mut bytes = 0;
        let received = self.receive(contents, &mut awaited, &mut bytes).await;
        self.core.metrics.ranges.add(bytes);
        received
    }

    async fn receive(
        &self,
        mut contents: ContentStream,
        awaited: &mut Awaited,
        received: &mut u64,
    ) -> Result<(), AttemptError> {
        while let Some(come) = contents.next().await? {
            let mut wanted = Vec::new();
            for (digest, bytes) in come {
                *received += bytes.len() as u64;
                let files = awaited.remove(&digest).unwrap_or_default();
                wanted.extend(files.into_iter().map(|file| (file, digest, bytes.clone())));
            }
            let fill = move |store: &Arc<Store>| {
                wanted.into_iter().try_for_each(|((ino, _fetch), digest, bytes)| {
                    store.fill(ino, digest, 0, &bytes).map(drop)
                })
            };
            self.core.with_store(fill).await?;
        }
        Ok(())
    }

    /// Has those who read these files wait for a fetch, unless another one brings them already.
    fn begin_together(
        &self,
        store: &Store,
        files: Vec<(Ino, u64)>,
    ) -> Result<Awaited, store::Error> {
        let mut awaited = Awaited::new();
        for (ino, size) in files {
            let Some(content) = store.content_of(ino)?.filter(|content| content.size == size)
            else {
                continue;
            };
            let begin = |_whole| {
                let (sender, state) = watch::channel(FetchState::Running(0));
                awaited.entry(content.digest).or_default().push((ino, sender));
                state
            };
            self.in_flight.join_or_begin(store, (ino, content), &(0..size), begin)?;
        }
        Ok(awaited)
    }
}
