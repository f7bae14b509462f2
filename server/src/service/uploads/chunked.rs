//! Chunked uploads: begun, found again, filled in any order, completed once.
//!
//! A chunk is checked in memory before it touches the disk, so whatever is sent, and however often or
//! at once, the staged file only ever holds right bytes at their place.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::Stream;
use miaofs::content::{CHUNK_SIZE, Digest, Md5, hash_chunk};
use miaofs::protocol::files::ContentRef;
use miaofs::protocol::ids::UploadId;
use miaofs::protocol::uploads::{UploadBegun, UploadInit, UploadStatus};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::active::ActiveUploads;
use super::finished;
use super::proofs::ManifestProofs;
use super::session::{Found, MissingChunk, UploadSession, UploadSessions, metadata_of};
use crate::backend::db::contents::NewContent;
use crate::backend::db::{self, Lock, contents};
use crate::backend::staging::Sidecar;
use crate::backend::tracker::{TrackedUpload, UploadPhase};
use crate::backend::{self, BlobId, UserId, run_blocking, run_to_completion};
use crate::service::context::{ReceivedContents, ServiceContext};
use crate::service::{Caller, Error, Gathering, Lobby, Room, Seat};

/// Chunks that are in memory at once, with 4 MiB each: those of quick senders while they come, all others when they have.
const CHUNKS_AT_ONCE: usize = 64;

/// Pause between two looks whether the tracker has lost its memory.
const REREGISTER: Duration = Duration::from_secs(2);

/// Chunked uploads. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Uploads(Arc<UploadsInner>);

#[derive(Debug)]
struct UploadsInner {
    context: Arc<ServiceContext>,
    sessions: UploadSessions,
    active: ActiveUploads,
    /// Held while an upload is looked for and begun, so that the same one is not begun twice.
    beginning: Mutex<()>,
    buffers: Room<UserId>,
    proofs: ManifestProofs,
}

/// A chunk as it is sent.
#[derive(Debug)]
pub(crate) struct ChunkBody<S> {
    /// Length in bytes, as the sender says.
    pub length: Option<u64>,
    /// MD5 of the bytes, as the sender says.
    pub md5: Option<Md5>,
    /// The bytes, as they come.
    pub bytes: S,
}

impl Uploads {
    /// Chunked uploads into these contents.
    pub(crate) fn new(context: Arc<ServiceContext>) -> Self {
        Self(Arc::new(UploadsInner {
            sessions: UploadSessions::new(context.clone()),
            active: ActiveUploads::default(),
            context,
            beginning: Mutex::new(()),
            buffers: Room::new("chunks", CHUNKS_AT_ONCE),
            proofs: ManifestProofs::new(),
        }))
    }

    /// Finds again what a former run of this process has received. Once, before any request.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(crate) async fn recover(&self) -> Result<(), Error> {
        self.0.sessions.recover().await?;
        self.0.active.recover(&self.0.context).await?;
        self.count_active().await
    }

    /// Begins an upload, or finds it again.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the chunks are not those of the digest, [`Error::TooLarge`],
    /// [`Error::OverQuota`], [`Error::TooManyUploads`]; [`Error::WrongHost`] when another host has
    /// begun it.
    pub(crate) async fn init(
        &self,
        caller: Caller,
        request: UploadInit,
    ) -> Result<UploadBegun, Error> {
        let context = &self.0.context;
        context.admit_size(request.size)?;
        let (named_base, digest) = (request.base, request.digest);
        let manifest = self.0.proofs.verify(caller.user, request).await?;
        if context.owned(caller.user, digest).await?.is_some() {
            let upload = finished::begin(context, caller, &manifest).await?;
            return Ok(self.begun(upload.id, upload.size, Vec::new()));
        }
        let base = match named_base {
            Some(base) => context.owned(caller.user, base).await?,
            None => None,
        };
        context.admit(caller.user, manifest.size()).await?;
        let metadata = metadata_of(caller, &manifest, base.as_ref().zip(named_base));

        let _alone = self.0.beginning.lock().await;
        self.0.sessions.ensure_registered().await?;
        match self.find_resumable(&metadata).await? {
            Some(begun) => Ok(begun),
            None => {
                let quota = context.quota(caller.user).await?;
                self.0.active.admit(caller.user, metadata.size, quota, &context.policy)?;
                self.begin(metadata).await
            }
        }
    }

    /// The user's upload of the same content, if going on with it sends no more than a new one would.
    ///
    /// # Errors
    /// [`Error::WrongHost`] when it is on another host that lives. One that is down keeps what it has
    /// until its time is over; the upload begins anew here.
    async fn find_resumable(&self, metadata: &Sidecar) -> Result<Option<UploadBegun>, Error> {
        let context = &self.0.context;
        let user = backend::UserId(metadata.user);
        for tracked in context.tracker.uploads_of(user, metadata.digest).await? {
            if tracked.host != *context.host() {
                if context.hosts.is_alive(&tracked.host).await? {
                    return Err(Error::WrongHost(tracked.host));
                }
                continue;
            }
            let Some(session) = self.0.sessions.open(&tracked).await? else { continue };
            let missing = self.still_missing(&session).await?;
            if missing.len() <= metadata.missing.len() {
                context.tracker.renew_upload(session.id, context.policy.upload_ttl).await?;
                return Ok(Some(self.begun(session.id, metadata.size, missing)));
            }
        }
        Ok(None)
    }

    async fn begin(&self, metadata: Sidecar) -> Result<UploadBegun, Error> {
        let context = &self.0.context;
        let session = UploadSession::new(UploadId::random(), metadata);
        if !session.metadata.missing.is_empty() {
            context.staging.create(session.blob(), session.blob_size()).await?;
        }
        context.staging.put_sidecar(session.id, &session.metadata).await?;
        let upload = TrackedUpload {
            id: session.id,
            user: backend::UserId(session.metadata.user),
            digest: session.metadata.digest,
            size: session.metadata.size,
            host: context.host().clone(),
            boot: context.staging.boot().to_vec(),
            phase: UploadPhase::Receiving,
            expires_in: context.policy.upload_ttl.as_secs(),
        };
        context.tracker.put_upload(&upload).await?;
        self.0.active.add(upload.user, upload.id, upload.size);
        let session = self.0.sessions.insert(session);
        self.count_active().await?;
        Ok(self.begun(session.id, session.metadata.size, session.metadata.missing.clone()))
    }

    fn begun(&self, upload_id: UploadId, size: u64, missing: Vec<u64>) -> UploadBegun {
        let chunk_count = miaofs::content::chunk_count(size);
        let host = self.0.context.hosts.announced();
        UploadBegun { upload_id, chunk_size: CHUNK_SIZE, chunk_count, missing, host }
    }

    /// Receives one chunk.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a chunk that is not to be sent;
    /// [`Error::LengthMismatch`], [`Error::DigestMismatch`], and then nothing is marked.
    pub(crate) async fn put_chunk<E: fmt::Display>(
        &self,
        caller: Caller,
        (id, index): (UploadId, u64),
        body: ChunkBody<impl Stream<Item = Result<Bytes, E>> + Unpin>,
    ) -> Result<(), Error> {
        let session = self.receiving(caller, id).await?;
        let missing = session.missing_chunk(index).ok_or_else(|| {
            Error::Invalid(format!("index: chunk {index} is not among those to be sent"))
        })?;
        let length = missing.chunk.length();
        if let Some(said) = body.length.filter(|said| *said != length) {
            return Err(Error::LengthMismatch(format!(
                "chunk {index} has {length} bytes, not {said}"
            )));
        }
        let (room, spools) = (&self.0.buffers, &self.0.context.spools);
        let lobby = Lobby { room, spools, user: caller.user };
        let (bytes, _seat) = read_chunk(body.bytes, length, lobby).await?;
        let bytes = check_chunk(bytes, missing, body.md5).await?;

        let ServiceContext { tracker, staging, policy, .. } = &*self.0.context;
        if !tracker.has_chunk(id, index).await?
            && let Err(error) = staging.write(session.blob(), missing.offset, bytes).await
        {
            // Whoever ends an upload meanwhile removes the file that the chunk belongs to.
            self.receiving(caller, id).await?;
            return Err(error.into());
        }
        metrics::counter!("miaofs_chunks_received_total").increment(1);
        let mark = async || tracker.mark_chunk(id, index, missing.digest, policy.upload_ttl).await;
        if mark().await? {
            return Ok(());
        }
        // The tracker may have lost its memory while the chunk came: the upload is not over then.
        self.receiving(caller, id).await?;
        if mark().await? { Ok(()) } else { Err(Error::NotFound("upload")) }
    }

    /// Received and missing chunks of an upload.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) async fn status(&self, caller: Caller, id: UploadId) -> Result<UploadStatus, Error> {
        match self.0.sessions.find(caller.user, id).await? {
            Found::Receiving(session, tracked) => {
                let received = self.0.sessions.received(&session).await?;
                let missing = missing_after(&session, &received);
                let chunks = received.iter().filter_map(|index| session.missing_chunk(*index));
                let received_bytes = chunks.map(|missing| missing.chunk.length()).sum();
                Ok(status(&tracked, received, missing, received_bytes))
            }
            Found::Finished(tracked) => Ok(status(&tracked, Vec::new(), Vec::new(), 0)),
        }
    }

    /// Ends an upload. Its bytes are gone.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) async fn cancel(&self, caller: Caller, id: UploadId) -> Result<(), Error> {
        match self.0.sessions.find(caller.user, id).await? {
            Found::Receiving(session, _) => self.end(&session).await,
            Found::Finished(_) => Ok(self.0.context.tracker.remove_upload(id).await?),
        }
    }

    /// Makes the content of an upload exist, and the caller's own, for good.
    ///
    /// # Errors
    /// [`Error::ChunksMissing`]; [`Error::Conflict`] when the base has gone meanwhile and the upload
    /// has to begin anew; [`Error::NotFound`].
    pub(crate) async fn complete(&self, caller: Caller, id: UploadId) -> Result<ContentRef, Error> {
        let uploads = self.clone();
        run_to_completion(async move { uploads.complete_alone(caller, id).await }).await
    }

    async fn complete_alone(&self, caller: Caller, id: UploadId) -> Result<ContentRef, Error> {
        let session = match self.0.sessions.find(caller.user, id).await? {
            Found::Receiving(session, _) => session,
            Found::Finished(upload) => return self.claim_finished(&upload).await,
        };
        let _alone = session.ending.lock().await;
        match self.0.sessions.find(caller.user, id).await? {
            Found::Receiving(..) => (),
            Found::Finished(upload) => return self.claim_finished(&upload).await,
        }
        let missing = self.still_missing(&session).await?;
        if !missing.is_empty() {
            return Err(Error::ChunksMissing(missing));
        }
        self.store(&session).await?;
        let ServiceContext { tracker, staging, policy, .. } = &*self.0.context;
        tracker.finish_upload(id, policy.upload_ttl).await?;
        staging.remove_sidecar(id).await?;
        self.0.sessions.remove(id);
        self.0.active.remove(caller.user, id);
        self.count_active().await?;
        Ok(ContentRef { digest: session.metadata.digest, size: session.metadata.size })
    }

    async fn store(&self, session: &UploadSession) -> Result<(), Error> {
        let context = &self.0.context;
        let blob = (!session.metadata.missing.is_empty()).then(|| session.blob());
        let synced = match blob {
            Some(blob) => context.staging.sync(blob).await?,
            None => true,
        };
        db::retry_transaction(|| self.try_store(session, blob, synced)).await?;
        Ok(context.after_store(blob).await?)
    }

    async fn try_store(
        &self,
        session: &UploadSession,
        blob: Option<BlobId>,
        synced: bool,
    ) -> Result<(), Error> {
        let context = &self.0.context;
        let mut transaction = context.db.write().await?;
        let (digest, base) = (session.metadata.digest, session.metadata.base);
        let both: Vec<Digest> = [digest].into_iter().chain(base).collect();
        let held = contents::lock_rows(&mut transaction, &both, Lock::Shared).await?;
        let user = backend::UserId(session.metadata.user);
        if !synced {
            // Completed before, of which the outcome was lost: the file has moved on.
            if !held.contains(&digest) {
                return Err(Error::NotFound("upload"));
            }
            contents::claim(&mut transaction, user, &[digest], backend::unix_now()).await?;
            return Ok(transaction.commit().await?);
        }
        let base = match base {
            Some(base) => contents::layout(&mut transaction, base).await?,
            None => None,
        };
        let layout = session.layout(base.as_ref()).ok_or(Error::Conflict)?;
        let content = NewContent { digest, md5: None, layout };
        let received = ReceivedContents {
            user,
            contents: vec![content],
            blob: blob.map(|blob| (blob, session.blob_size())),
        };
        context.store(&mut transaction, &received).await?;
        Ok(transaction.commit().await?)
    }

    async fn claim_finished(&self, upload: &TrackedUpload) -> Result<ContentRef, Error> {
        let context = &self.0.context;
        db::retry_transaction(|| context.claim_stored(upload.user, upload.digest)).await?;
        Ok(ContentRef { digest: upload.digest, size: upload.size })
    }

    async fn receiving(&self, caller: Caller, id: UploadId) -> Result<Arc<UploadSession>, Error> {
        match self.0.sessions.find(caller.user, id).await? {
            Found::Receiving(session, _) => Ok(session),
            Found::Finished(_) => Err(Error::NotFound("upload")),
        }
    }

    async fn still_missing(&self, session: &UploadSession) -> Result<Vec<u64>, Error> {
        Ok(missing_after(session, &self.0.sessions.received(session).await?))
    }

    /// Lets a tracker that has lost its memory know again soon, until `stop`: others may be asked
    /// for what is staged here.
    pub(crate) async fn reregister_forever(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(REREGISTER)).await.is_some() {
            if let Err(error) = self.0.sessions.ensure_registered().await {
                tracing::warn!(%error, "the tracker cannot be registered_epoch of the uploads that are here");
            }
        }
    }

    /// Ends uploads whose time is over.
    ///
    /// # Errors
    /// [`Error::Backend`]; the rest is tried again next time.
    pub(crate) async fn sweep(&self) -> Result<(), Error> {
        let ServiceContext { tracker, hosts, .. } = &*self.0.context;
        tracker.remove_expired().await?;
        self.0.sessions.reregister_all().await?;
        for upload in tracker.expired_uploads(hosts.here()).await? {
            match self.0.sessions.open(&upload).await? {
                Some(session) if upload.phase == UploadPhase::Receiving => {
                    self.end(&session).await?
                }
                _ => tracker.remove_upload(upload.id).await?,
            }
        }
        Ok(())
    }

    /// The sidecar goes first: without it nothing comes back after a crash, and the rest is dropped
    /// when the process starts.
    async fn end(&self, session: &UploadSession) -> Result<(), Error> {
        let _alone = session.ending.lock().await;
        let ServiceContext { tracker, staging, .. } = &*self.0.context;
        staging.remove_sidecar(session.id).await?;
        let ended = tracker.remove_upload(session.id).await;
        self.0.sessions.remove(session.id);
        self.0.active.remove(backend::UserId(session.metadata.user), session.id);
        self.0.context.release(session.blob()).await?;
        ended?;
        self.count_active().await
    }

    async fn count_active(&self) -> Result<(), Error> {
        let ServiceContext { tracker, hosts, .. } = &*self.0.context;
        let active = tracker.receiving_uploads(hosts.here()).await?;
        metrics::gauge!("miaofs_uploads_active").set(active as f64);
        Ok(())
    }
}

/// Reads exactly `length` bytes, which are a chunk's at the most.
async fn read_chunk<E: fmt::Display>(
    mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    length: u64,
    lobby: Lobby<'_>,
) -> Result<(Bytes, Seat<UserId>), Error> {
    let received = metrics::counter!("miaofs_chunk_bytes_received_total");
    let mut gathering = Gathering::quick(lobby, length);
    while let Some(frame) = gathering.next(&mut body).await? {
        received.increment(frame.len() as u64);
        if gathering.len() + frame.len() as u64 > length {
            return Err(Error::LengthMismatch(format!("the chunk has {length} bytes, more came")));
        }
        gathering.push(&frame).await?;
    }
    if gathering.len() != length {
        let came = gathering.len();
        return Err(Error::LengthMismatch(format!("the chunk has {length} bytes, {came} came")));
    }
    gathering.finish().await
}

async fn check_chunk(
    bytes: Bytes,
    missing: MissingChunk,
    md5: Option<Md5>,
) -> Result<Bytes, Error> {
    let (bytes, right) = run_blocking(move || {
        let right = hash_chunk(missing.chunk, &bytes) == missing.digest
            && md5.is_none_or(|md5| Md5::of(&bytes) == md5);
        Ok((bytes, right))
    })
    .await?;
    if right {
        return Ok(bytes);
    }
    let index = missing.chunk.index();
    Err(Error::DigestMismatch(format!("the bytes are not those of chunk {index}; send it again")))
}

/// Chunks that are left to be sent when these were received.
fn missing_after(session: &UploadSession, received: &[u64]) -> Vec<u64> {
    let received: HashSet<&u64> = received.iter().collect();
    let missing = session.metadata.missing.iter();
    missing.filter(|index| !received.contains(index)).copied().collect()
}

fn status(
    upload: &TrackedUpload,
    received: Vec<u64>,
    missing: Vec<u64>,
    received_bytes: u64,
) -> UploadStatus {
    UploadStatus {
        upload_id: upload.id,
        digest: upload.digest,
        size: upload.size,
        received,
        missing,
        received_bytes,
        expires_in: upload.expires_in,
    }
}
