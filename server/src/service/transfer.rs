//! Transfer: staged blobs move to the store, by way of the outbox and the queue.
//!
//! Each step may be the last one before a crash, and all may be repeated: taking in what was taken in
//! changes nothing, the place is set before anything staged is dropped, and the outbox row goes last.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::StreamExt as _;
use md5::Digest as _;
use miaofs::content::{Digest, Md5};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::contents::Contents;
use super::{Error, reader};
use crate::backend::db::blobs::{self, Blob, Place};
use crate::backend::db::contents;
use crate::backend::db::transfers::{self, State, Transfer};
use crate::backend::queue::Queue;
use crate::backend::{self, BlobId, background_thread, unix_now};

/// How often the outbox is looked at when nothing rings.
const LOOK: Duration = Duration::from_secs(1);
/// Transfers that are published in one step.
const AT_ONCE: usize = 64;
/// Failures after which a transfer rests.
const ATTEMPTS_MAX: u32 = 12;
/// The longest pause between two tries in seconds.
const PAUSE_MAX: i64 = 300;
/// Buffers that wait for the thread that computes an MD5.
const MD5_AHEAD: usize = 4;

/// Moves blobs. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Transfers {
    contents: Arc<Contents>,
    moving: Queue<Transfer>,
    /// Rings when a blob has moved.
    moved: Arc<Notify>,
}

impl Transfers {
    /// Transfers of these contents' blobs.
    pub fn new(contents: Arc<Contents>) -> Self {
        Self { moving: contents.queue.clone(), contents, moved: Arc::new(Notify::new()) }
    }

    /// Publishes what the outbox has, as it comes, until `stop`.
    pub async fn relay(self, stop: CancellationToken) {
        let mut restarted = true;
        while !stop.is_cancelled() {
            let published = tokio::select! {
                () = stop.cancelled() => return,
                published = self.publish_due(restarted) => published,
            };
            match published {
                Ok(count) => {
                    restarted = false;
                    if count == AT_ONCE {
                        continue;
                    }
                }
                Err(error) => tracing::error!(%error, "the outbox cannot be read"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.contents.staged.notified() => (),
                () = tokio::time::sleep(LOOK) => (),
            }
        }
    }

    async fn publish_due(&self, restarted: bool) -> Result<usize, backend::Error> {
        let Contents { db, hosts, .. } = &*self.contents;
        let host = hosts.here().as_str();
        if !restarted && !transfers::any_due(&mut *db.read().await?, host, unix_now()).await? {
            return Ok(0);
        }
        let mut transaction = db.write().await?;
        if restarted {
            transfers::republish(&mut transaction, host).await?;
        }
        let due = transfers::take_due(&mut transaction, host, unix_now(), AT_ONCE).await?;
        transaction.commit().await?;
        for transfer in &due {
            self.moving.publish(*transfer).await;
        }
        Ok(due.len())
    }
}

impl Transfers {
    /// Moves what is published, one blob after the other, until `stop`.
    pub async fn work(self, stop: CancellationToken) {
        loop {
            let transfer = tokio::select! {
                () = stop.cancelled() => return,
                transfer = self.moving.consume() => transfer,
            };
            let Some(transfer) = transfer else { return };
            let result = match self.transfer(transfer.blob).await {
                Ok(()) => "done",
                Err(error) => {
                    tracing::warn!(blob = %transfer.blob, %error, "a transfer failed");
                    self.put_off(transfer, &error).await;
                    "failed"
                }
            };
            metrics::counter!("miaofs_transfers_total", "result" => result).increment(1);
        }
    }

    /// Moves one blob, from wherever a former try has left it.
    async fn transfer(&self, blob: BlobId) -> Result<(), Error> {
        let contents = &self.contents;
        let row = blobs::get(&mut *contents.db.read().await?, blob).await?;
        let Some(row) = row else { return self.forget(blob).await };
        if row.place == Place::Staging && !self.settle(blob, row).await? {
            return self.forget(blob).await;
        }
        contents.staging.remove(blob).await?;
        self.moved.notify_one();
        Ok(())
    }

    /// Takes a blob into the store and says so; `false` when nobody needs it any more.
    async fn settle(&self, blob: BlobId, row: Blob) -> Result<bool, Error> {
        let contents = &self.contents;
        let stored = contents.store.take_in(blob, contents.staging.path(blob)).await?;
        if stored != row.size {
            return Err(backend::Error::Damaged { what: "blob in the store" }.into());
        }
        let mut transaction = contents.db.write().await?;
        let needed = blobs::settle(&mut transaction, blob).await?;
        transfers::set_state(&mut transaction, blob, State::Moved).await?;
        transaction.commit().await?;
        if !needed {
            contents.store.remove(blob).await?;
        }
        Ok(needed)
    }

    async fn forget(&self, blob: BlobId) -> Result<(), Error> {
        let mut transaction = self.contents.db.write().await?;
        transfers::remove(&mut transaction, blob).await?;
        Ok(transaction.commit().await?)
    }

    async fn put_off(&self, failed: Transfer, error: &Error) {
        let again_at = pause_after(failed.attempts).map(|pause| unix_now() + pause);
        let written = async {
            let mut transaction = self.contents.db.write().await?;
            transfers::fail(&mut transaction, failed, &error.to_string(), again_at).await?;
            transaction.commit().await
        };
        if let Err(error) = written.await {
            tracing::error!(blob = %failed.blob, %error, "a failed transfer waits for the next start");
        }
    }

    /// Does what is left after a move, until `stop`: drops staged bytes that a crash has left, and
    /// fills the index of MD5s, on a thread that yields to all others.
    pub async fn finish(self, stop: CancellationToken) {
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
        let Contents { db, hosts, .. } = &*self.contents;
        let moved = transfers::any_moved(&mut *db.read().await?, hosts.here().as_str()).await?;
        let Some(blob) = moved else { return Ok(false) };
        self.contents.staging.remove(blob).await?;
        if self.contents.policy.md5_index
            && let Err(error) = self.index(blob).await
        {
            tracing::warn!(%blob, %error, "its contents are not in the index of MD5s");
        }
        self.forget(blob).await?;
        Ok(true)
    }

    async fn index(&self, blob: BlobId) -> Result<(), Error> {
        let db = &self.contents.db;
        let unknown = contents::without_md5(&mut *db.read().await?, blob).await?;
        for digest in unknown {
            if let Some(md5) = self.md5_of(digest).await? {
                let mut transaction = db.write().await?;
                contents::set_md5(&mut transaction, digest, md5).await?;
                transaction.commit().await?;
            }
        }
        Ok(())
    }

    /// `None` for a content that stands on several blobs: reading all of a large file whenever a
    /// little of it has changed would cost more than the index is worth.
    async fn md5_of(&self, digest: Digest) -> Result<Option<Md5>, Error> {
        let layout = contents::layout(&mut *self.contents.db.read().await?, digest).await?;
        let Some(layout) = layout.filter(|layout| layout.blobs().len() <= 1) else {
            return Ok(None);
        };
        let (sender, mut receiver) = mpsc::channel::<bytes::Bytes>(MD5_AHEAD);
        let computed = background_thread("md5", move || {
            let mut md5 = md5::Md5::new();
            while let Some(bytes) = receiver.blocking_recv() {
                md5.update(&bytes);
            }
            Md5::from_bytes(md5.finalize().into())
        })?;
        let mut bytes =
            std::pin::pin!(reader::read(self.contents.clone(), &layout, 0..layout.size()));
        while let Some(bytes) = bytes.next().await {
            if sender.send(bytes?).await.is_err() {
                break;
            }
        }
        drop(sender);
        Ok(computed.await.ok())
    }
}

/// Seconds until the next try after so many failures before this one: twice as many each time;
/// `None` when it is to rest.
fn pause_after(attempts: u32) -> Option<i64> {
    (attempts + 1 < ATTEMPTS_MAX).then(|| 2i64.saturating_pow(attempts).min(PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::service::tests::Scene;

    const HOUR: Duration = Duration::from_secs(3600);
    const LIMIT: Duration = Duration::from_secs(30);

    /// Runs the workers until the outbox is empty.
    async fn run(scene: &Scene) {
        let stop = CancellationToken::new();
        let transfers = Transfers::new(scene.contents.clone());
        let workers = [
            tokio::spawn(transfers.clone().relay(stop.clone())),
            tokio::spawn(transfers.clone().work(stop.clone())),
            tokio::spawn(transfers.finish(stop.clone())),
        ];
        let began = Instant::now();
        while waiting(scene).await > 0 {
            assert!(began.elapsed() < LIMIT, "the outbox is not empty after {LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        for worker in workers {
            worker.await.unwrap();
        }
    }

    async fn waiting(scene: &Scene) -> u64 {
        transfers::count(&mut scene.contents.db.read().await.unwrap()).await.unwrap()
    }

    async fn is_moved(scene: &Scene, (digest, blob): (Digest, BlobId), bytes: &[u8]) {
        let contents = &scene.contents;
        let mut db = contents.db.read().await.unwrap();
        let row = blobs::get(&mut db, blob).await.unwrap().unwrap();
        assert_eq!(row.place, Place::Store);
        assert!(contents.staging.file(blob).unwrap().is_none(), "staged bytes are left");
        assert_eq!(scene.read(digest).await.as_deref(), Some(bytes));
        let found = contents::by_md5(&mut db, Md5::of(bytes), bytes.len() as u64, None).await;
        assert_eq!(found.unwrap(), Some(digest));
    }

    /// What a process had done of a transfer when it was killed.
    #[derive(Debug, Clone, Copy)]
    enum Killed {
        BeforeAll,
        WhenPublished,
        WhileCopying,
        WhenTakenIn,
        WhenSettled,
        WhenDropped,
    }

    async fn leave(scene: &Scene, blob: BlobId, killed: Killed) {
        let Contents { db, hosts, staging, store, .. } = &*scene.contents;
        let mut transaction = db.write().await.unwrap();
        if !matches!(killed, Killed::BeforeAll) {
            transfers::take_due(&mut transaction, hosts.here().as_str(), unix_now(), 1)
                .await
                .unwrap();
        }
        if matches!(killed, Killed::WhileCopying) {
            let part = scene.directory.path().join("part");
            std::fs::write(&part, b"the by").unwrap();
            store.take_in(blob, part).await.unwrap();
        }
        if matches!(killed, Killed::WhenTakenIn | Killed::WhenSettled | Killed::WhenDropped) {
            store.take_in(blob, staging.path(blob)).await.unwrap();
        }
        if matches!(killed, Killed::WhenSettled | Killed::WhenDropped) {
            blobs::settle(&mut transaction, blob).await.unwrap();
            transfers::set_state(&mut transaction, blob, State::Moved).await.unwrap();
        }
        if matches!(killed, Killed::WhenDropped) {
            staging.remove(blob).await.unwrap();
        }
        transaction.commit().await.unwrap();
    }

    #[tokio::test]
    async fn a_transfer_is_finished_from_wherever_a_killed_process_left_it() {
        for killed in [
            Killed::BeforeAll,
            Killed::WhenPublished,
            Killed::WhileCopying,
            Killed::WhenTakenIn,
            Killed::WhenSettled,
            Killed::WhenDropped,
        ] {
            let scene = Scene::new(HOUR).await;
            let brought = scene.bring(b"the bytes").await;
            leave(&scene, brought.1, killed).await;
            assert_eq!(
                scene.read(brought.0).await.as_deref(),
                Some(&b"the bytes"[..]),
                "{killed:?}"
            );
            let scene = scene.reopen().await;
            run(&scene).await;
            is_moved(&scene, brought, b"the bytes").await;
        }
    }

    #[tokio::test]
    async fn a_read_goes_on_while_its_blob_moves() {
        let scene = Scene::new(HOUR).await;
        let (digest, blob) = scene.bring(b"the bytes").await;
        let layout = scene.contents.owned(scene.caller.user, digest).await.unwrap().unwrap();
        let mut early = Box::pin(reader::read(scene.contents.clone(), &layout, 0..4));
        run(&scene).await;
        assert!(scene.contents.staging.file(blob).unwrap().is_none());
        assert_eq!(early.next().await.unwrap().unwrap(), &b"the "[..]);
        assert!(early.next().await.is_none());
    }

    #[test]
    fn pauses_grow_and_end() {
        let pauses: Vec<_> = (0..ATTEMPTS_MAX).map(pause_after).collect();
        assert_eq!(pauses[..3], [Some(1), Some(2), Some(4)]);
        assert!(pauses.iter().flatten().all(|pause| *pause <= PAUSE_MAX));
        assert_eq!(pauses.last(), Some(&None));
    }
}
