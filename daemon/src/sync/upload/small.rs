//! Brings contents to the server: many small ones together here, one large one in [`large`].
//!
//! A group of small contents is hashed, asked about in one request, and what is unknown is sent in
//! one more. It is read twice, for its digests and for its bytes, so that contents which the server
//! has are never all in memory; a content that changed in between is left for the next look.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use miaofs::client;
use miaofs::content::{CHUNK_SIZE, Digest, Manifest, ManifestError};
use miaofs::protocol::batch;
use miaofs::protocol::uploads::Known;
use tokio::sync::Semaphore;

use super::hash::{self, HashError, Hashed};
use super::large;
use crate::store::{self, ChunkRead, Ino, Snapshot, Store, run_blocking};
use crate::sync::download::fetch::{self, Fault};
use crate::sync::engine::Core;
use crate::sync::link::reason;
use crate::sync::push::plan::{Job, Uploaded};

/// Groups of small contents under way at once.
pub(crate) const GROUPS: usize = 3;
/// Large contents under way at once.
const LARGE: usize = 3;
/// Chunks being sent at once.
pub(crate) const STREAMS: usize = 6;

/// What bounds the memory and the requests of uploads.
#[derive(Debug)]
pub(crate) struct Lanes {
    groups: Semaphore,
    pub(crate) large: Semaphore,
    pub(crate) streams: Semaphore,
}

impl Lanes {
    pub(crate) fn new() -> Self {
        Self {
            groups: Semaphore::new(GROUPS),
            large: Semaphore::new(LARGE),
            streams: Semaphore::new(STREAMS),
        }
    }
}

/// Why a content is not on the server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// Somebody wrote to it.
    #[error("the file changes while it is read")]
    Changed,
    /// The server has it no more, and cannot give what is not here.
    #[error("the server has lost this content, and not all of it is here")]
    Absent,
    /// The server did not take it.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It could not be hashed.
    #[error(transparent)]
    Hash(HashError),
    /// What it grew from is not known here and could not be asked for.
    #[error(transparent)]
    Manifest(ManifestError),
}

impl From<HashError> for UploadError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Changed => Self::Changed,
            HashError::Store(error) => Self::Store(error),
            error @ HashError::Manifest(_) => Self::Hash(error),
        }
    }
}

impl From<Fault> for UploadError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Client(error) => Self::Client(error),
            Fault::Store(error) => Self::Store(error),
            Fault::Manifest(error) => Self::Manifest(error),
        }
    }
}

/// Does a job and says of each of its nodes how it ended.
pub(crate) async fn run(core: &Arc<Core>, job: Job) -> Vec<(Ino, Uploaded)> {
    match job {
        Job::Large(ino) => {
            let result = large::upload(core, ino).await;
            vec![(ino, outcome(core, &result))]
        }
        Job::Small(inos) => group(core, &inos).await,
    }
}

fn outcome(core: &Core, result: &Result<(), UploadError>) -> Uploaded {
    match result {
        Ok(()) => Uploaded::Known,
        Err(error) => failed(core, error),
    }
}

fn failed(core: &Core, error: &UploadError) -> Uploaded {
    match error {
        UploadError::Changed
        | UploadError::Store(store::Error::NoNode(_) | store::Error::Replaced(_)) => {
            Uploaded::Changed
        }
        UploadError::Client(error) => {
            core.link.failed(error);
            match error {
                client::Error::SignedOut => Uploaded::Away,
                error if error.is_offline() => Uploaded::Away,
                error => {
                    let why = reason(error);
                    tracing::warn!(
                        error = why,
                        request_id = error.request_id(),
                        "an upload failed"
                    );
                    Uploaded::Failed(why)
                }
            }
        }
        error => Uploaded::Failed(reason(error)),
    }
}

/// A small content that has been hashed.
struct Small {
    ino: Ino,
    snapshot: Snapshot,
    manifest: Arc<Manifest>,
}

async fn group(core: &Arc<Core>, inos: &[Ino]) -> Vec<(Ino, Uploaded)> {
    let _lane = core.lanes.groups.acquire().await.expect("lanes are never closed");
    for &ino in inos {
        bring_absent(core, ino, 0..CHUNK_SIZE).await;
    }
    let store = Arc::clone(&core.store);
    let wanted = inos.to_vec();
    let hashed = run_blocking(move || {
        wanted.into_iter().map(|ino| (ino, hash_small(&store, ino))).collect::<Vec<_>>()
    })
    .await;
    let mut outcomes = Vec::with_capacity(inos.len());
    let mut contents = Vec::with_capacity(inos.len());
    for (ino, result) in hashed {
        match result {
            Ok(small) => contents.push(small),
            Err(error) => outcomes.push((ino, outcome(core, &Err(error)))),
        }
    }
    match send(core, &contents).await {
        Ok(changed) => outcomes.extend(settle(core, contents, changed).await),
        Err(error) => {
            let failed = outcome(core, &Err(error.into()));
            outcomes.extend(contents.iter().map(|small| (small.ino, failed.clone())));
        }
    }
    outcomes
}

/// Fetches what must be sent though it is not here: the server knew it, and does not let it be named any more.
pub(crate) async fn bring_absent(core: &Arc<Core>, ino: Ino, range: Range<u64>) {
    let missing = core.store.missing(ino, range.clone());
    if missing.is_ok_and(|missing| !missing.is_empty())
        && let Err(error) = fetch::bring(core, ino, range).await
    {
        tracing::debug!(%error, %ino, "what is to be sent cannot be fetched");
    }
}

fn hash_small(store: &Store, ino: Ino) -> Result<Small, UploadError> {
    let snapshot = store.snapshot(ino)?;
    if snapshot.size > CHUNK_SIZE {
        return Err(UploadError::Changed);
    }
    let mut buffer = Vec::new();
    let digest = match snapshot.size {
        0 => Digest::of_nothing(),
        _ => match store.read_chunk(&snapshot, 0, &mut buffer)? {
            ChunkRead::Unchanged => Digest::of(&buffer),
            ChunkRead::ChangedSince => return Err(UploadError::Changed),
            ChunkRead::Absent => return Err(UploadError::Absent),
        },
    };
    let manifest = Manifest::of_small(digest, snapshot.size).map_err(HashError::from)?;
    Ok(Small { ino, snapshot, manifest: Arc::new(manifest) })
}

/// Sends what the server does not have. Answers the contents that changed meanwhile.
async fn send(core: &Arc<Core>, contents: &[Small]) -> Result<HashSet<Digest>, client::Error> {
    if contents.is_empty() {
        return Ok(HashSet::new());
    }
    let mut asked = HashSet::new();
    let digests: Vec<Digest> = contents
        .iter()
        .map(|small| small.manifest.digest())
        .filter(|digest| asked.insert(*digest))
        .collect();
    let answer = core.client.known(&Known { digests }).await?;
    core.metrics.instant_uploads.fetch_add(answer.known.len() as u64, Ordering::Relaxed);
    for digest in &answer.known {
        asked.remove(digest);
    }
    let mut unknown = asked;
    let wanted: Vec<(Snapshot, Digest)> = contents
        .iter()
        .filter(|small| unknown.remove(&small.manifest.digest()))
        .map(|small| (small.snapshot.clone(), small.manifest.digest()))
        .collect();
    if wanted.is_empty() {
        return Ok(HashSet::new());
    }
    let store = Arc::clone(&core.store);
    let (body, bytes, changed) = run_blocking(move || batch_of(&store, &wanted)).await;
    core.throttle.let_through(bytes).await;
    if !body.is_empty() {
        core.client.batch(body).await?;
        core.metrics.batches.add(bytes);
        core.metrics.count_sent(bytes);
    }
    Ok(changed)
}

/// The body of a batch, the bytes of contents in it, and the contents that could not be put in.
fn batch_of(store: &Store, wanted: &[(Snapshot, Digest)]) -> (Bytes, u64, HashSet<Digest>) {
    let mut body = Vec::new();
    let mut bytes = 0;
    let mut changed = HashSet::new();
    let mut buffer = Vec::new();
    for (snapshot, digest) in wanted {
        buffer.clear();
        let read = match snapshot.size {
            0 => Ok(ChunkRead::Unchanged),
            _ => store.read_chunk(snapshot, 0, &mut buffer),
        };
        match read {
            Ok(ChunkRead::Unchanged) => {
                batch::push(&mut body, *digest, &buffer);
                bytes += buffer.len() as u64;
            }
            Ok(ChunkRead::ChangedSince | ChunkRead::Absent) | Err(_) => {
                changed.insert(*digest);
            }
        }
    }
    (body.into(), bytes, changed)
}

/// Tells the store which contents the server has now.
async fn settle(
    core: &Arc<Core>,
    contents: Vec<Small>,
    changed: HashSet<Digest>,
) -> Vec<(Ino, Uploaded)> {
    let settling = Arc::clone(core);
    run_blocking(move || {
        let (changed, known): (Vec<_>, Vec<_>) =
            contents.into_iter().partition(|small| changed.contains(&small.manifest.digest()));
        let changed = changed.into_iter().map(|small| (small.ino, Uploaded::Changed));
        let known: Vec<_> = known.into_iter().map(|it| (it.snapshot, it.manifest)).collect();
        let told = settling.store.mark_all_uploaded(&known).map_err(UploadError::from);
        let known = known.iter().map(|(snapshot, _)| match &told {
            Ok(overtaken) if overtaken.iter().any(|(ino, _)| *ino == snapshot.ino) => {
                (snapshot.ino, Uploaded::Changed)
            }
            Ok(_) => (snapshot.ino, Uploaded::Known),
            Err(error) => (snapshot.ino, failed(&settling, error)),
        });
        changed.chain(known).collect()
    })
    .await
}

/// Takes a snapshot and hashes it, off the event loop.
pub(crate) async fn hashed(core: &Arc<Core>, ino: Ino) -> Result<Hashed, UploadError> {
    let snapshot = match snapshot(core, ino).await {
        Err(store::Error::NoManifest(_)) => {
            fetch::know_manifest_of(core, ino).await?;
            snapshot(core, ino).await?
        }
        snapshot => snapshot?,
    };
    let store = Arc::clone(&core.store);
    Ok(run_blocking(move || hash::hash(&store, snapshot)).await?)
}

async fn snapshot(core: &Arc<Core>, ino: Ino) -> Result<Snapshot, store::Error> {
    let store = Arc::clone(&core.store);
    run_blocking(move || store.snapshot(ino)).await
}
