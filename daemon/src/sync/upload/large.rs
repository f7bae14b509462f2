//! Brings one large content to the server: instantly, or the chunks that it misses, in parallel.
//!
//! The server remembers which chunks it has; so after a failure of any kind the upload is begun
//! again and only what is missing is sent. A chunk is read right before it is sent, so memory holds
//! one chunk a stream. When one was written to since the snapshot, what changed is hashed again and
//! the upload goes on, so that a file which slowly grows gets there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use miaofs::client;
use miaofs::content::{CHUNK_SIZE, Chunk, Digest, Manifest};
use miaofs::protocol::problem::Code;
use miaofs::protocol::proof::Prover;
use miaofs::protocol::uploads::{
    Challenge, InstantUpload, Proof, UploadAddress, UploadBegun, UploadInit,
};

use super::error::UploadError;
use super::limits::STREAMS;
use super::prepare::Uploader;
use crate::store::{ChunkRead, Ino, Snapshot, Store};
use crate::sync::core::Core;
use crate::sync::hash::{self, Hashed};
use crate::sync::metrics::ShownUpload;

/// Number of times that an upload is begun again without any new chunk having been sent.
const FRUITLESS_MAX: u32 = 5;
/// Number of times that changed chunks are hashed and sent again before the file is left for later.
const AGAIN_MAX: u32 = 16;

/// A content on its way.
struct Upload<'a> {
    uploader: &'a Uploader,
    snapshot: Snapshot,
    manifest: Arc<Manifest>,
    shown: ShownUpload<'a>,
}

/// Brings the content of a node to the server and tells the store.
///
/// # Errors
/// [`UploadError`]; what was sent stays with the server for the next time.
pub(super) async fn upload(uploader: &Uploader, ino: Ino) -> Result<(), UploadError> {
    let _permit = uploader.limits.large().await;
    let mut hashed = uploader.hashed(ino).await?;
    for _again in 0..AGAIN_MAX {
        match transfer(uploader, hashed.clone()).await {
            Err(UploadError::Changed) => {
                let again = move |store: &Arc<Store>| hash::hash_again(store, &hashed);
                hashed = uploader.core.with_store(again).await?;
            }
            result => return result,
        }
    }
    Err(UploadError::Changed)
}

/// Sends what was hashed, unless it changes on the way.
async fn transfer(uploader: &Uploader, hashed: Hashed) -> Result<(), UploadError> {
    let core = &uploader.core;
    let Hashed { snapshot, manifest } = hashed;
    let shown = core.metrics.show_upload(snapshot.ino, manifest.size());
    let upload = Upload { uploader, snapshot, manifest, shown };
    if upload.instantly().await? {
        core.metrics.instant_uploads.fetch_add(1, Ordering::Relaxed);
    } else {
        upload.in_chunks().await?;
    }
    let Upload { snapshot, manifest, .. } = upload;
    let ino = snapshot.ino;
    let has_holes = manifest.data_bytes() < manifest.size();
    core.with_store(move |store| store.mark_uploaded(&snapshot, manifest)).await?;
    if has_holes {
        core.invalidate_attributes(ino);
    }
    Ok(())
}

impl Upload<'_> {
    fn core(&self) -> &Core {
        &self.uploader.core
    }

    /// True if the server has the content already and lets this user have it.
    async fn instantly(&self) -> Result<bool, UploadError> {
        let request = InstantUpload {
            filehash: Some(self.manifest.digest()),
            md5: None,
            size: self.manifest.size(),
        };
        let answer = match self.core().client.instant_upload(&request).await {
            // Challenges about one content are few; the chunks may always come.
            Err(error) if error.code() == Some(Code::TooManyRequests) => return Ok(false),
            answer => answer?,
        };
        let challenge = match answer.challenge {
            Some(challenge) if answer.found => challenge,
            _ => return Ok(answer.found),
        };
        let (snapshot, id) = (self.snapshot.clone(), challenge.id);
        let prove = move |store: &Arc<Store>| prove(store, &snapshot, &challenge);
        let proof = self.core().with_store(prove).await?;
        let Some(proof) = proof else { return Ok(false) };
        match self.core().client.prove_instant_upload(&Proof { id, proof }).await {
            Ok(_content) => Ok(true),
            Err(error) if error.is_offline() => Err(error.into()),
            Err(error) => {
                tracing::debug!(%error, "no instant upload");
                Ok(false)
            }
        }
    }

    /// Sends chunks until the server has all of them; waits when it is away.
    async fn in_chunks(&self) -> Result<(), UploadError> {
        let mut fruitless = 0;
        loop {
            let before = self.core().metrics.counters(self.core().client.traffic()).chunks_sent;
            let error = match self.try_once().await {
                Ok(()) => return Ok(()),
                Err(UploadError::Client(error)) => error,
                Err(error) => return Err(error),
            };
            self.core().link.failed(&error);
            let goes_on = error.is_retryable()
                || matches!(
                    error.code(),
                    Some(Code::NotFound | Code::ChunksMissing | Code::WrongHost)
                );
            let after = self.core().metrics.counters(self.core().client.traffic()).chunks_sent;
            fruitless = if after > before || error.is_offline() { 0 } else { fruitless + 1 };
            if !goes_on || fruitless > FRUITLESS_MAX {
                return Err(error.into());
            }
            self.core().link.until_online().await;
        }
    }

    async fn try_once(&self) -> Result<(), UploadError> {
        let begun = self.begin().await?;
        let address = begun.address();
        match self.fill(&address, begun.missing).await {
            Err(error @ UploadError::Client(_)) => Err(error),
            Err(error) => {
                self.cancel(&address).await;
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    async fn fill(&self, address: &UploadAddress, missing: Vec<u64>) -> Result<(), UploadError> {
        let bytes: u64 = missing.iter().map(|index| self.length(*index)).sum();
        self.shown.done(self.manifest.size() - bytes.min(self.manifest.size()));
        let mut sending =
            stream::iter(missing).map(|index| self.send(address, index)).buffer_unordered(STREAMS);
        while let Some(sent) = sending.next().await {
            sent?;
        }
        self.core().client.complete_upload(address).await?;
        Ok(())
    }

    /// Ends an upload of a content that is no more: the next one is of another digest and does not use it.
    /// The server takes only so many at once. One that it cannot be told of is swept in time.
    async fn cancel(&self, address: &UploadAddress) {
        if let Err(error) = self.core().client.cancel_upload(address).await {
            tracing::debug!(%error, ino = %self.snapshot.ino, "cannot cancel an upload");
        }
    }

    /// Begins the upload, based on the content that it grew from if the server still has that.
    async fn begin(&self) -> Result<UploadBegun, client::Error> {
        let base = self.snapshot.base_manifest.as_ref().map(|base| base.digest());
        let init = UploadInit {
            digest: self.manifest.digest(),
            size: self.manifest.size(),
            chunks: self.manifest.to_wire(),
            base,
        };
        match self.core().client.begin_upload(&init).await {
            Err(error) if base.is_some() && error.code() == Some(Code::NotFound) => {
                self.core().client.begin_upload(&UploadInit { base: None, ..init }).await
            }
            answer => answer,
        }
    }

    async fn send(&self, upload: &UploadAddress, index: u64) -> Result<(), UploadError> {
        let _permit = self.uploader.limits.stream().await;
        let length = self.length(index);
        self.uploader.throttle.let_through(length).await;
        let bytes = match self.read(index).await? {
            Some(bytes) => bytes,
            None => {
                let start = index * CHUNK_SIZE;
                self.uploader.fetch_absent(self.snapshot.ino, start..start + length).await;
                self.read(index).await?.ok_or(UploadError::Lost)?
            }
        };
        self.core().client.put_chunk(upload, index, bytes).await?;
        self.core().metrics.chunks.add(length);
        self.shown.sent(length);
        Ok(())
    }

    async fn read(&self, index: u64) -> Result<Option<Bytes>, UploadError> {
        let snapshot = self.snapshot.clone();
        self.core().with_store(move |store| read(store, &snapshot, index)).await
    }

    fn length(&self, index: u64) -> u64 {
        Chunk::new(index, self.manifest.size()).map_or(0, Chunk::length)
    }
}

/// A chunk of a snapshot; `None` when it is not here.
fn read(store: &Store, snapshot: &Snapshot, index: u64) -> Result<Option<Bytes>, UploadError> {
    let mut buffer = Vec::new();
    match store.read_chunk(snapshot, index, &mut buffer)? {
        ChunkRead::Unchanged => Ok(Some(buffer.into())),
        ChunkRead::Absent => Ok(None),
        ChunkRead::ChangedSince => Err(UploadError::Changed),
    }
}

/// The answer to a challenge; `None` when it takes bytes that are not here.
fn prove(
    store: &Store,
    snapshot: &Snapshot,
    challenge: &Challenge,
) -> Result<Option<Digest>, UploadError> {
    let (mut prover, mut buffer) = (Prover::new(challenge), Vec::new());
    for range in challenge.asked() {
        let end = range.offset.saturating_add(range.length).min(snapshot.size);
        let mut at = range.offset;
        while at < end {
            let until = end.min((at / CHUNK_SIZE + 1) * CHUNK_SIZE);
            match store.read_range(snapshot, at..until, &mut buffer)? {
                ChunkRead::Unchanged => prover.update(&buffer),
                ChunkRead::Absent => return Ok(None),
                ChunkRead::ChangedSince => return Err(UploadError::Changed),
            }
            at = until;
        }
    }
    Ok(Some(prover.finalize()))
}
