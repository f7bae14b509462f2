//! Contents: how often they are named, and that they stand on blobs that have their bytes.

use std::collections::{BTreeMap, BTreeSet};

use miaofs::content::{Chunk, ChunkDigest, Digest, Manifest, hash_chunk, zero_chunk};

use super::{Depth, FindingKind, Fsck, Manifests, PAGE, PAUSE};
use crate::backend::db::audit::contents as audit;
use crate::backend::db::{self, Lock, blobs, blobs::Location, contents};
use crate::backend::layout::{Layout, Source};
use crate::backend::{BlobId, Error, run_blocking, unix_now};
use crate::service::downloads::reader;

impl Fsck<'_> {
    /// Checks each content.
    pub(super) async fn check_contents(&mut self) -> Result<(), Error> {
        let mut last = None;
        loop {
            let mut db = self.context.db.read().await?;
            let page = audit::contents_after(&mut db, last, PAGE).await?;
            let Some(until) = page.last().copied() else { break };
            let miscounted = audit::miscounted_contents(&mut db, (last, until)).await?;
            drop(db);
            for digest in miscounted {
                self.recount(digest).await?;
            }
            for digest in &page {
                self.check_content(*digest).await?;
                self.report.checked.contents += 1;
            }
            self.progress();
            last = Some(until);
        }
        self.check_gone().await
    }

    /// Looks for contents that are gone and still said to stand on blobs, which keeps these.
    async fn check_gone(&mut self) -> Result<(), Error> {
        let mut last = None;
        loop {
            let mut db = self.context.db.read().await?;
            let page = audit::missing_contents(&mut db, last, PAGE).await?;
            drop(db);
            let Some(until) = page.last().copied() else { return Ok(()) };
            for digest in page {
                self.report_gone(digest).await?;
            }
            last = Some(until);
        }
    }

    async fn report_gone(&mut self, digest: Digest) -> Result<(), Error> {
        let subject = format!("content {digest}");
        let words = "it is not there and said to stand on blobs".to_owned();
        let affected = self.namers(digest).await?;
        if !affected.is_empty() {
            // Its bytes may be all that is left of it.
            self.left(FindingKind::ContentBlobs, subject, words, affected);
            return Ok(());
        }
        if self.mends() {
            self.forget_gone(digest).await?;
        }
        self.mended(FindingKind::ContentBlobs, subject, words, "it stands on none");
        Ok(())
    }

    /// Lets a content that is not there stand on nothing. One that comes meanwhile is looked for when the
    /// rows are gone, and waited for: had some of them been its own, the change is undone.
    async fn forget_gone(&self, digest: Digest) -> Result<(), Error> {
        db::retry_transaction(|| async {
            let mut transaction = self.context.db.write().await?;
            audit::set_blobs_of(&mut transaction, digest, &BTreeSet::new()).await?;
            let there = contents::lock_rows(&mut transaction, &[digest], Lock::Exclusive).await?;
            if there.is_empty() { transaction.commit().await } else { Ok(()) }
        })
        .await
    }

    async fn recount(&mut self, digest: Digest) -> Result<(), Error> {
        if self.mends() {
            let recount = || async {
                let mut transaction = self.context.db.write().await?;
                contents::lock_rows(&mut transaction, &[digest], Lock::Exclusive).await?;
                audit::recount_content(&mut transaction, digest, unix_now()).await?;
                transaction.commit().await
            };
            db::retry_transaction(recount).await?;
        }
        let words = "it is not named as often as it says".to_owned();
        self.mended(
            FindingKind::ContentCount,
            format!("content {digest}"),
            words,
            "it is counted anew",
        );
        Ok(())
    }

    async fn check_content(&mut self, digest: Digest) -> Result<(), Error> {
        let mut db = self.context.db.read().await?;
        let layout = match contents::layout(&mut db, digest).await {
            Ok(Some(layout)) => layout,
            Ok(None) => return Ok(()),
            Err(Error::Damaged { .. }) => {
                drop(db);
                return self.damaged_manifest(digest, "it cannot be read").await;
            }
            Err(error) => return Err(error),
        };
        let said = audit::blobs_of(&mut db, digest).await?;
        let stands_on = layout.blobs();
        let mut sizes = BTreeMap::new();
        for blob in &stands_on {
            match blobs::get(&mut db, *blob).await {
                Ok(Some(row)) => drop(sizes.insert(*blob, row.size)),
                Ok(None) => (),
                // It is there, and its row a finding of its own.
                Err(Error::Damaged { .. }) => drop(sizes.insert(*blob, u64::MAX)),
                Err(error) => return Err(error),
            }
        }
        drop(db);
        if !is_of(digest, &layout) {
            return self.damaged_manifest(digest, "its chunks are another content's").await;
        }
        if said != stands_on {
            if self.mends() {
                let follow = || async {
                    let mut transaction = self.context.db.write().await?;
                    contents::lock_rows(&mut transaction, &[digest], Lock::Exclusive).await?;
                    if contents::layout(&mut transaction, digest).await?.as_ref() == Some(&layout) {
                        audit::set_blobs_of(&mut transaction, digest, &stands_on).await?;
                    }
                    transaction.commit().await
                };
                db::retry_transaction(follow).await?;
            }
            let words = "its manifest names other blobs than the table".to_owned();
            let remedy = "the table follows the manifest";
            self.mended(FindingKind::ContentBlobs, format!("content {digest}"), words, remedy);
        }
        if let Some(blob) = lacking(&layout, &sizes) {
            let words = format!("it stands on blob {blob}, which is not there or too short");
            let affected = self.namers(digest).await?;
            self.left(FindingKind::NoBlob, format!("content {digest}"), words, affected);
        } else if self.options.depth == Depth::Digests {
            self.check_bytes(digest, &layout).await?;
        }
        Ok(())
    }

    async fn damaged_manifest(&mut self, digest: Digest, why: &str) -> Result<(), Error> {
        self.manifests = Manifests::SomeDamaged;
        let affected = self.namers(digest).await?;
        let words = format!("its manifest is damaged: {why}");
        self.left(FindingKind::Manifest, format!("content {digest}"), words, affected);
        Ok(())
    }
}

impl Fsck<'_> {
    /// Reads and hashes what is staged of a content; what seems wrong is read again after a pause. Copies
    /// in stores are read later, each by itself.
    async fn check_bytes(&mut self, digest: Digest, layout: &Layout) -> Result<(), Error> {
        let mut wrong = self.wrong_chunks(layout).await?;
        if !wrong.is_empty() {
            tokio::time::sleep(PAUSE).await;
            let mut db = self.context.db.read().await?;
            let Some(layout) = contents::layout(&mut db, digest).await? else { return Ok(()) };
            drop(db);
            wrong = self.wrong_chunks(&layout).await?;
        }
        if contents::layout(&mut *self.context.db.read().await?, digest).await?.is_none() {
            return Ok(()); // It was collected meanwhile.
        }
        let Some((first, why)) = wrong.iter().next() else { return Ok(()) };
        let words =
            format!("{} of its chunks are wrong, chunk {first} the first: {why}", wrong.len());
        let affected = self.namers(digest).await?;
        self.left(FindingKind::WrongBytes, format!("content {digest}"), words, affected);
        Ok(())
    }

    /// The chunks of a content whose bytes are not those of their digests, with what is wrong.
    async fn wrong_chunks(&mut self, layout: &Layout) -> Result<BTreeMap<u64, String>, Error> {
        /// More of them say nothing new.
        const WRONG_MAX: usize = 1000;
        let mut wrong = BTreeMap::new();
        let staged = self.staged_of(layout).await?;
        let chunks = (0u64..).zip(layout.chunks().to_vec()).zip(layout.sources());
        for ((index, digest), source) in chunks {
            let Some(chunk) = Chunk::new(index, layout.size()) else { break };
            let right = match source {
                Source::Hole => run_blocking(move || Ok(zero_chunk(chunk) == digest)).await,
                Source::Blob { blob, .. } if !staged.contains(&blob) => continue,
                Source::Blob { .. } => self.hash(layout, chunk).await.map(|hash| hash == digest),
            };
            match right {
                Ok(true) => (),
                Ok(false) => drop(wrong.insert(index, "the bytes are others".to_owned())),
                Err(error) => drop(wrong.insert(index, error.to_string())),
            }
            if wrong.len() >= WRONG_MAX {
                break;
            }
        }
        Ok(wrong)
    }

    /// The blobs of a content that are in no store yet.
    async fn staged_of(&self, layout: &Layout) -> Result<BTreeSet<BlobId>, Error> {
        let mut staged = BTreeSet::new();
        for blob in layout.blobs() {
            match blobs::get(&mut *self.context.db.read().await?, blob).await {
                Ok(Some(row)) if row.location == Location::Staging => drop(staged.insert(blob)),
                Ok(_) | Err(Error::Damaged { .. }) => (),
                Err(error) => return Err(error),
            }
        }
        Ok(staged)
    }

    async fn hash(&mut self, layout: &Layout, chunk: Chunk) -> Result<ChunkDigest, Error> {
        use futures::stream::TryStreamExt as _;
        let read = reader::read(self.context.clone(), layout, chunk.range());
        let bytes: Vec<bytes::Bytes> = read.try_collect().await?;
        self.report.checked.bytes += chunk.length();
        self.progress();
        run_blocking(move || Ok(hash_chunk(chunk, &bytes.concat()))).await
    }
}

/// True if these are the chunks of the content.
fn is_of(digest: Digest, layout: &Layout) -> bool {
    let holes = layout.sources().map(|source| source == Source::Hole);
    let chunks: Vec<(ChunkDigest, bool)> = layout.chunks().iter().copied().zip(holes).collect();
    Manifest::restored(digest, layout.size(), &chunks).is_ok()
}

/// A blob that a content stands on and that does not have all of its bytes, by the sizes of the blobs.
fn lacking(layout: &Layout, sizes: &BTreeMap<BlobId, u64>) -> Option<BlobId> {
    layout.plan(0..layout.size()).into_iter().find_map(|piece| match piece.source {
        Source::Hole => None,
        Source::Blob { blob, offset } => {
            let there = sizes.get(&blob).is_some_and(|size| offset + piece.length <= *size);
            (!there).then_some(blob)
        }
    })
}
