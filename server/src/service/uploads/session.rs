//! Chunked uploads in flight, as this host knows them: their metadata, and where a chunk belongs.
//!
//! The metadata never changes and stands in the sidecar beside the staged bytes; this keeps that of the
//! busy uploads in memory. Which chunks were received stands in the tracker. When the tracker has
//! forgotten, be it one upload or all, the sidecars tell it again; and then, as when the machine has
//! started anew, the staged bytes are hashed again and only what they prove counts as received.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use miaofs::content::{CHUNK_SIZE, Chunk, ChunkDigest, Digest, Manifest, hash_chunk};
use miaofs::protocol::ids::UploadId;

use crate::backend::db::blobs;
use crate::backend::layout::{Layout, Source};
use crate::backend::staging::Sidecar;
use crate::backend::tracker::{Epoch, TrackedUpload, UploadPhase};
use crate::backend::{self, BlobId, UserId, run_blocking};
use crate::service::context::ServiceContext;
use crate::service::{Caller, Error};

/// Chunk digests that are kept in memory for uploads that nobody is touching: 16 MiB of them.
const IDLE_CHUNKS: usize = 512 * 1024;
/// Tries to register an upload with a tracker that loses it again meanwhile.
const REGISTER_TRIES: usize = 3;

/// One upload that is receiving.
#[derive(Debug)]
pub(super) struct UploadSession {
    /// Id that the client knows it by.
    pub id: UploadId,
    /// Digests of all its chunks, and those of them that are to be sent.
    pub metadata: Sidecar,
    /// Held by whoever completes, cancels or sweeps it.
    pub ending: tokio::sync::Mutex<()>,
    /// Held by whoever hashes the staged bytes again.
    checking: tokio::sync::Mutex<()>,
}

impl UploadSession {
    /// A session for what the sidecar says.
    pub(super) fn new(id: UploadId, metadata: Sidecar) -> Self {
        Self {
            id,
            metadata,
            ending: tokio::sync::Mutex::default(),
            checking: tokio::sync::Mutex::default(),
        }
    }

    /// The blob that it fills.
    pub(super) fn blob(&self) -> BlobId {
        BlobId::from_bytes(self.id.to_bytes())
    }

    /// A chunk that is to be sent; `None` for any other.
    pub(super) fn missing_chunk(&self, index: u64) -> Option<MissingChunk> {
        let rank = self.metadata.missing.binary_search(&index).ok()?;
        let digest = self.metadata.chunks.get(usize::try_from(index).ok()?)?;
        let chunk = Chunk::new(index, self.metadata.size)?;
        Some(MissingChunk { chunk, digest: *digest, offset: rank as u64 * CHUNK_SIZE })
    }

    /// All chunks that are to be sent.
    pub(super) fn missing_chunks(&self) -> impl Iterator<Item = MissingChunk> {
        self.metadata.missing.iter().filter_map(|index| self.missing_chunk(*index))
    }

    /// Bytes of the blob. Only the last chunk of a content is short, and it is the last one here too.
    pub(super) fn blob_size(&self) -> u64 {
        self.missing_chunks().map(|missing| missing.chunk.length()).sum()
    }

    /// The layout of the content, once all is received; `None` when the base does not have what it
    /// had when the upload began.
    pub(super) fn layout(&self, base: Option<&Layout>) -> Option<Layout> {
        let metadata = &self.metadata;
        let mut base = base.map(|base| base.chunks().iter().zip(base.sources()));
        let mut chunks = Vec::with_capacity(metadata.chunks.len());
        for (index, digest) in (0..).zip(&metadata.chunks) {
            let in_base = base.as_mut().and_then(Iterator::next);
            let source = if let Some(missing) = self.missing_chunk(index) {
                Source::Blob { blob: self.blob(), offset: missing.offset }
            } else if metadata.holes.binary_search(&index).is_ok() {
                Source::Hole
            } else {
                in_base.filter(|(of_base, _)| *of_base == digest)?.1
            };
            chunks.push((*digest, source));
        }
        Some(Layout::new(metadata.size, chunks))
    }
}

/// A chunk that is to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct MissingChunk {
    /// Position in the content.
    pub chunk: Chunk,
    /// Digest that its bytes must have.
    pub digest: ChunkDigest,
    /// Where they stand in the blob.
    pub offset: u64,
}

/// Metadata of a new upload: chunks that are no holes and not in the base are to be sent.
pub(super) fn metadata_of(
    caller: Caller,
    manifest: &Manifest,
    base: Option<(&Layout, Digest)>,
) -> Sidecar {
    let of_base: &[ChunkDigest] = base.map_or(&[], |(layout, _)| layout.chunks());
    let in_base = |index, digest| {
        usize::try_from(index).ok().and_then(|at: usize| of_base.get(at)) == Some(digest)
    };
    let (mut holes, mut missing) = (Vec::new(), Vec::new());
    for (index, digest) in (0..).zip(manifest.chunks()) {
        if manifest.is_hole(index) {
            holes.push(index);
        } else if !in_base(index, digest) {
            missing.push(index);
        }
    }
    Sidecar {
        user: caller.user.0,
        digest: manifest.digest(),
        size: manifest.size(),
        chunks: manifest.chunks().to_vec(),
        holes,
        missing,
        base: base.map(|(_, digest)| digest),
    }
}

/// An upload that a caller asked for.
#[derive(Debug)]
pub(super) enum Found {
    /// Waiting for chunks, or for its completion.
    Receiving(Arc<UploadSession>, TrackedUpload),
    /// Completed before.
    Finished(TrackedUpload),
}

/// The sessions of this host.
#[derive(Debug)]
pub(super) struct UploadSessions {
    context: Arc<ServiceContext>,
    live: Mutex<HashMap<UploadId, Arc<UploadSession>>>,
    /// The memory of the tracker that knows of all uploads whose sidecars are here.
    registered_epoch: tokio::sync::Mutex<Option<Epoch>>,
}

impl UploadSessions {
    /// None in memory yet.
    pub(super) fn new(context: Arc<ServiceContext>) -> Self {
        Self { context, live: Mutex::default(), registered_epoch: tokio::sync::Mutex::default() }
    }

    /// An upload of the user.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, or it is another user's; [`Error::WrongHost`] when its
    /// chunks are on another host.
    pub(super) async fn find(&self, user: UserId, id: UploadId) -> Result<Found, Error> {
        let tracked = match self.context.tracker.upload(id).await? {
            Some(tracked) => Some(tracked),
            None => self.reregister(id).await?,
        };
        let tracked =
            tracked.filter(|upload| upload.user == user).ok_or(Error::NotFound("upload"))?;
        match tracked.phase {
            UploadPhase::Finished => Ok(Found::Finished(tracked)),
            UploadPhase::Receiving if tracked.host != *self.context.host() => {
                Err(Error::WrongHost(tracked.host))
            }
            UploadPhase::Receiving => {
                let session = self.open(&tracked).await?.ok_or(Error::NotFound("upload"))?;
                Ok(Found::Receiving(session, tracked))
            }
        }
    }

    /// The session of a tracked upload, with what the tracker says about chunks made true; `None` when
    /// its sidecar is gone.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(super) async fn open(
        &self,
        tracked: &TrackedUpload,
    ) -> Result<Option<Arc<UploadSession>>, Error> {
        let known = self.live().get(&tracked.id).cloned();
        let session = match known {
            Some(session) => session,
            None => {
                let Some(metadata) = self.context.staging.sidecar(tracked.id).await? else {
                    return Ok(None);
                };
                self.insert(UploadSession::new(tracked.id, metadata))
            }
        };
        if tracked.boot != self.context.staging.boot() {
            self.check(&session).await?;
        }
        Ok(Some(session))
    }

    /// Keeps a session in memory, unless the same one is there: then that one is answered.
    pub(super) fn insert(&self, session: UploadSession) -> Arc<UploadSession> {
        let mut live = self.live();
        let mut kept: usize = live.values().map(|session| session.metadata.chunks.len()).sum();
        live.retain(|_, session| {
            let idle = Arc::strong_count(session) == 1;
            let evict = idle && kept > IDLE_CHUNKS;
            kept -= if evict { session.metadata.chunks.len() } else { 0 };
            !evict
        });
        live.entry(session.id).or_insert_with(|| Arc::new(session)).clone()
    }

    /// Forgets a session that has ended.
    pub(super) fn remove(&self, id: UploadId) {
        self.live().remove(&id);
    }

    fn live(&self) -> std::sync::MutexGuard<'_, HashMap<UploadId, Arc<UploadSession>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that what the tracker calls received is what is on the disk.
    async fn check(&self, session: &Arc<UploadSession>) -> Result<(), Error> {
        let ServiceContext { tracker, staging, .. } = &*self.context;
        let _alone = session.checking.lock().await;
        let tracked = tracker.upload(session.id).await?;
        if tracked.is_none_or(|tracked| tracked.boot == staging.boot()) {
            return Ok(());
        }
        let (disk, known) = (staging.clone(), session.clone());
        let received = run_blocking(move || {
            let Some(file) = disk.file(known.blob())? else { return Ok(Vec::new()) };
            Ok(known.missing_chunks().filter(|chunk| is_staged(&file, chunk)).collect())
        });
        let received: Vec<MissingChunk> = received.await?;
        let marks: Vec<_> =
            received.iter().map(|missing| (missing.chunk.index(), missing.digest)).collect();
        tracing::info!(upload = %session.id, chunks = marks.len(), "found again what was received");
        tracker.replace_chunks(session.id, staging.boot(), &marks).await?;
        Ok(())
    }

    /// Chunks of a session that were received, rising.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it has ended; [`Error::Unavailable`] when the tracker forgets faster
    /// than it can be told.
    pub(super) async fn received(&self, session: &UploadSession) -> Result<Vec<u64>, Error> {
        let ServiceContext { tracker, staging, .. } = &*self.context;
        for _again in 0..REGISTER_TRIES {
            if let Some(received) = tracker.received_chunks(session.id, staging.boot()).await? {
                return Ok(received);
            }
            match self.find(UserId(session.metadata.user), session.id).await? {
                Found::Receiving(..) => (),
                Found::Finished(_) => return Err(Error::NotFound("upload")),
            }
        }
        Err(Error::Unavailable)
    }

    /// Tells a tracker that has lost its memory of the uploads whose sidecars are here.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(super) async fn ensure_registered(&self) -> Result<(), Error> {
        let mut registered_epoch = self.registered_epoch.lock().await;
        let epoch = self.context.tracker.epoch().await?;
        if registered_epoch.as_ref() != Some(&epoch) {
            self.reregister_all().await?;
            *registered_epoch = Some(epoch);
        }
        Ok(())
    }

    /// Tells the tracker of all uploads that it does not know.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(super) async fn reregister_all(&self) -> Result<(), Error> {
        let ServiceContext { tracker, staging, .. } = &*self.context;
        for id in staging.inventory().await?.uploads {
            if tracker.upload(id).await?.is_none() {
                self.reregister(id).await?;
            }
        }
        Ok(())
    }

    /// Tells the tracker again of an upload that it has forgotten. Answers what it knows then; `None`
    /// when there is no such upload here.
    async fn reregister(&self, id: UploadId) -> Result<Option<TrackedUpload>, Error> {
        let ServiceContext { db, tracker, staging, hosts, policy, .. } = &*self.context;
        let metadata = match staging.sidecar(id).await {
            Ok(Some(metadata)) => metadata,
            Ok(None) => return Ok(None),
            Err(error @ backend::Error::Damaged { .. }) => {
                tracing::warn!(upload = %id, "left alone: {error}");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        // A blob that is in the database is one whose upload was completed.
        let blob = blobs::get(&mut *db.read().await?, BlobId::from_bytes(id.to_bytes())).await?;
        let phase = match blob {
            Some(_) => UploadPhase::Finished,
            None => UploadPhase::Receiving,
        };
        let upload = TrackedUpload {
            id,
            user: UserId(metadata.user),
            digest: metadata.digest,
            size: metadata.size,
            host: hosts.here().clone(),
            boot: Vec::new(),
            phase,
            expires_in: policy.upload_ttl.as_secs(),
        };
        tracker.put_upload(&upload).await?;
        if phase == UploadPhase::Finished {
            staging.remove_sidecar(id).await?;
        }
        Ok(Some(upload))
    }

    /// Lets the tracker know again of uploads that it has forgotten, and drops staged blobs of requests
    /// that were interrupted. Called once, before any request.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(super) async fn recover(&self) -> Result<(), Error> {
        self.ensure_registered().await?;
        let inventory = self.context.staging.inventory().await?;
        for blob in inventory.blobs {
            if !inventory.uploads.contains(&UploadId::from_bytes(*blob.as_bytes())) {
                self.context.release(blob).await?;
            }
        }
        Ok(())
    }
}

/// True if the bytes of a chunk are in the blob; false if they cannot be read.
fn is_staged(file: &std::fs::File, missing: &MissingChunk) -> bool {
    use std::os::unix::fs::FileExt as _;
    let length = usize::try_from(missing.chunk.length()).expect("a chunk has 4 MiB at most");
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, missing.offset).is_ok()
        && hash_chunk(missing.chunk, &bytes) == missing.digest
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use bytes::Bytes;
    use futures::stream;
    use miaofs::content::{ChunkHasher, Digest, chunk_count};
    use miaofs::protocol::uploads::UploadInit;

    use super::*;
    use crate::service::tests::Scene;
    use crate::service::uploads::{ChunkBody, Uploads};

    const HOUR: Duration = Duration::from_secs(3600);

    /// Bytes of three chunks, the last one short, no two alike.
    fn content() -> Vec<u8> {
        let mut bytes = vec![0; 2 * CHUNK_SIZE as usize + 1000];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn piece(bytes: &[u8], index: u64) -> &[u8] {
        let range = Chunk::new(index, bytes.len() as u64).unwrap().range();
        &bytes[range.start as usize..range.end as usize]
    }

    fn init(bytes: &[u8]) -> UploadInit {
        let size = bytes.len() as u64;
        let digest = |index| {
            let mut hasher = ChunkHasher::new(Chunk::new(index, size).unwrap());
            hasher.update(piece(bytes, index));
            Some(hasher.finalize())
        };
        let chunks = (0..chunk_count(size)).map(digest).collect();
        UploadInit { digest: Digest::of(bytes), size, chunks, base: None }
    }

    async fn put(scene: &Scene, uploads: &Uploads, place: (UploadId, u64), bytes: &[u8]) {
        let frame = Ok::<_, Infallible>(Bytes::copy_from_slice(bytes));
        let body = ChunkBody { length: None, md5: None, bytes: stream::iter([frame]) };
        uploads.put_chunk(scene.caller, place, body).await.unwrap();
    }

    #[tokio::test]
    async fn an_upload_is_found_again_when_the_tracker_has_forgotten_it() {
        let scene = Scene::new(HOUR).await;
        let bytes = content();
        let uploads = Uploads::new(scene.context.clone());
        let id = uploads.init(scene.caller, init(&bytes)).await.unwrap().upload_id;
        for index in [2, 0] {
            put(&scene, &uploads, (id, index), piece(&bytes, index)).await;
        }
        scene.context.tracker.remove_upload(id).await.unwrap();

        let scene = scene.reopen().await;
        let uploads = Uploads::new(scene.context.clone());
        uploads.recover().await.unwrap();
        let begun = uploads.init(scene.caller, init(&bytes)).await.unwrap();
        assert_eq!((begun.upload_id, begun.missing), (id, vec![1]));
        put(&scene, &uploads, (id, 1), piece(&bytes, 1)).await;
        let stored = uploads.complete(scene.caller, id).await.unwrap();
        assert_eq!(scene.read(stored.digest).await, Some(bytes));
    }

    #[tokio::test]
    async fn after_another_boot_only_chunks_whose_bytes_are_there_count() {
        let scene = Scene::new(HOUR).await;
        let bytes = content();
        let uploads = Uploads::new(scene.context.clone());
        let request = init(&bytes);
        let digests = request.chunks.clone();
        let id = uploads.init(scene.caller, request).await.unwrap().upload_id;
        put(&scene, &uploads, (id, 1), piece(&bytes, 1)).await;
        let marks = [(0, digests[0].unwrap()), (1, digests[1].unwrap())];
        let tracker = &scene.context.tracker;
        tracker.replace_chunks(id, b"another boot", &marks).await.unwrap();

        let scene = scene.reopen().await;
        let uploads = Uploads::new(scene.context.clone());
        let status = uploads.status(scene.caller, id).await.unwrap();
        assert_eq!((status.received, status.missing), (vec![1], vec![0, 2]));
    }

    #[tokio::test]
    async fn staged_bytes_of_an_interrupted_request_are_dropped_and_those_of_contents_stay() {
        let scene = Scene::new(HOUR).await;
        let (_, kept) = scene.bring(b"kept").await;
        let stray = BlobId::random();
        scene.context.staging.create(stray, 10).await.unwrap();
        let scene = scene.reopen().await;
        Uploads::new(scene.context.clone()).recover().await.unwrap();
        assert!(scene.context.staging.file(stray).unwrap().is_none());
        assert!(scene.context.staging.file(kept).unwrap().is_some());
    }
}
