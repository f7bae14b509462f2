//! The finisher: does what is left after a blob has moved, at nobody's expense.

use futures::stream::StreamExt as _;
use md5::Digest as _;
use miaofs::content::{Digest, Md5};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{LOOK, Transfers};
use crate::backend::db::{self, contents, transfers};
use crate::backend::{BlobId, Priority, background_thread, run_blocking};
use crate::service::Error;
use crate::service::context::ServiceContext;
use crate::service::downloads::reader;

/// Buffers that wait for the thread that computes an MD5.
const MD5_AHEAD: usize = 4;

impl Transfers {
    /// Does what is left after a move, until `stop`: fills the index of MD5s, on a
    /// thread that yields to all others, and drops the staged bytes.
    pub(super) async fn finish(self, stop: CancellationToken) {
        loop {
            let finished = tokio::select! {
                () = stop.cancelled() => return,
                finished = self.finish_next() => finished,
            };
            match finished {
                Ok(true) => continue,
                Ok(false) => (),
                Err(error) => tracing::error!(%error, "a transfer cannot be finished"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.moved.notified() => (),
                () = tokio::time::sleep(LOOK) => (),
            }
        }
    }

    /// Answers whether there was anything to finish.
    async fn finish_next(&self) -> Result<bool, Error> {
        let ServiceContext { db, hosts, .. } = &*self.context;
        let moved = transfers::any_moved(&mut *db.read().await?, hosts.here().as_str()).await?;
        let Some(moved) = moved else { return Ok(false) };
        let blob = moved.blob;
        if self.context.policy.md5_index
            && let Err(error) = self.index(blob).await
        {
            tracing::warn!(%blob, %error, "its contents are not in the index of MD5s");
        }
        self.context.staging.remove(blob).await?;
        self.forget(moved.id).await?;
        Ok(true)
    }

    async fn index(&self, blob: BlobId) -> Result<(), Error> {
        let db = &self.context.db;
        let unknown = contents::without_md5(&mut *db.read().await?, blob).await?;
        for digest in unknown {
            if let Some(md5) = self.md5_of(digest, blob).await? {
                db::retry_transaction(|| async {
                    let mut transaction = db.write().await?;
                    contents::set_md5(&mut transaction, digest, md5).await?;
                    transaction.commit().await
                })
                .await?;
            }
        }
        Ok(())
    }

    /// `None` for a content that stands on several blobs: reading all of a large file whenever a
    /// little of it has changed would cost more than the index is worth.
    /// The bytes are read from the staging disk, so that no store has to send them: unless a process
    /// was killed that had dropped them already.
    async fn md5_of(&self, digest: Digest, blob: BlobId) -> Result<Option<Md5>, Error> {
        let layout = contents::layout(&mut *self.context.db.read().await?, digest).await?;
        let Some(layout) = layout.filter(|layout| layout.blobs().len() <= 1) else {
            return Ok(None);
        };
        let staging = self.context.staging.clone();
        let file = run_blocking(move || staging.file(blob)).await?;
        let (sender, mut receiver) = mpsc::channel::<bytes::Bytes>(MD5_AHEAD);
        let computed = background_thread("md5", Priority::Lowest, move || {
            let mut md5 = md5::Md5::new();
            while let Some(bytes) = receiver.blocking_recv() {
                md5.update(&bytes);
            }
            Md5::from_bytes(md5.finalize().into())
        })?;
        let context = self.context.clone();
        let mut bytes = match file {
            Some(file) => reader::read_from(context, &layout, (blob, file)).boxed(),
            None => reader::read(context, &layout, 0..layout.size()).boxed(),
        };
        while let Some(bytes) = bytes.next().await {
            if sender.send(bytes?).await.is_err() {
                break;
            }
        }
        drop(sender);
        Ok(computed.await.ok())
    }
}
