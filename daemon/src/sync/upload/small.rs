//! Brings many small contents to the server together.
//!
//! A group of small contents is hashed, asked about in one request, and what is unknown is sent in
//! one more. It is read twice, for its digests and for its bytes, so that contents which the server
//! has are never all in memory; a content that changed in between is left for the next look. One that
//! a program has open for writing may change again and again, so its bytes are kept from the first reading on.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use miaofs::client;
use miaofs::content::{CHUNK_SIZE, Digest, Manifest};
use miaofs::protocol::batch;
use miaofs::protocol::uploads::Known;

use super::error::{UploadError, UploadOutcome};
use super::prepare::Uploader;
use crate::store::{ChunkRead, Ino, Snapshot, Store};

/// The status of HTTP for a body that is too large.
const TOO_LARGE: u16 = 413;

/// A small content that has been hashed.
struct Small {
    ino: Ino,
    snapshot: Snapshot,
    manifest: Arc<Manifest>,
    /// Bytes of a content that somebody may write to meanwhile.
    bytes: Option<Bytes>,
}

/// Brings a group of small contents to the server and says of each how it ended.
pub(super) async fn upload(uploader: &Uploader, inos: &[Ino]) -> Vec<(Ino, UploadOutcome)> {
    let core = &uploader.core;
    let _permit = uploader.limits.group().await;
    for &ino in inos {
        uploader.fetch_absent(ino, 0..CHUNK_SIZE).await;
    }
    let wanted = inos.to_vec();
    let hashed = core
        .with_store(move |store| {
            wanted.into_iter().map(|ino| (ino, hash_small(store, ino))).collect::<Vec<_>>()
        })
        .await;
    let mut outcomes = Vec::with_capacity(inos.len());
    let mut contents = Vec::with_capacity(inos.len());
    for (ino, result) in hashed {
        match result {
            Ok(small) => contents.push(small),
            Err(error) => outcomes.push((ino, UploadOutcome::of(core, Err(error)))),
        }
    }
    match send(uploader, &contents).await {
        Ok(changed) => outcomes.extend(mark_uploaded(uploader, contents, changed).await),
        Err(error) => {
            let failed = UploadOutcome::of(core, Err(error.into()));
            outcomes.extend(contents.iter().map(|small| (small.ino, failed.clone())));
        }
    }
    outcomes
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
            ChunkRead::Absent => return Err(UploadError::Lost),
        },
    };
    let manifest = Arc::new(Manifest::of_small(digest, snapshot.size)?);
    let bytes = snapshot.has_writers().then(|| buffer.into());
    Ok(Small { ino, snapshot, manifest, bytes })
}

/// Sends what the server does not have. Answers the contents that changed meanwhile.
async fn send(uploader: &Uploader, contents: &[Small]) -> Result<HashSet<Digest>, client::Error> {
    let core = &uploader.core;
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
    let wanted: Vec<Wanted> = contents
        .iter()
        .filter(|small| unknown.remove(&small.manifest.digest()))
        .map(|small| (small.snapshot.clone(), small.manifest.digest(), small.bytes.clone()))
        .collect();
    if wanted.is_empty() {
        return Ok(HashSet::new());
    }
    let mut all_changed = HashSet::new();
    let mut parts = vec![wanted];
    while let Some(mut part) = parts.pop() {
        let room = uploader.limits.batch_bytes();
        let is_too_large = |part: &[Wanted]| {
            part.len() > 1 && part.iter().map(|(snapshot, ..)| snapshot.size).sum::<u64>() > room
        };
        while is_too_large(&part) {
            parts.push(part.split_off(part.len().div_ceil(2)));
        }
        let sending = part.clone();
        let (body, bytes, changed) = core.with_store(move |store| batch_of(store, &sending)).await;
        all_changed.extend(changed);
        if body.is_empty() {
            continue;
        }
        uploader.throttle.let_through(bytes).await;
        match core.client.batch(body).await {
            // A proxy on the way takes less than the server.
            Err(error) if error.status() == Some(TOO_LARGE) && part.len() > 1 => {
                uploader.limits.shrink_batches(bytes / 2);
                parts.push(part.split_off(part.len() / 2));
                parts.push(part);
            }
            Err(error) => return Err(error),
            Ok(_) => {
                core.metrics.batches.add(bytes);
                core.metrics.count_sent(bytes);
            }
        }
    }
    Ok(all_changed)
}

/// A content that is to be sent: its state, its digest, and its bytes if they were kept.
type Wanted = (Snapshot, Digest, Option<Bytes>);

/// The body of a batch, the bytes of contents in it, and the contents that could not be put in.
fn batch_of(store: &Store, wanted: &[Wanted]) -> (Bytes, u64, HashSet<Digest>) {
    let mut body = Vec::new();
    let mut bytes = 0;
    let mut changed = HashSet::new();
    let mut buffer = Vec::new();
    for (snapshot, digest, kept) in wanted {
        buffer.clear();
        let read = match (kept, snapshot.size) {
            (Some(kept), _) => {
                buffer.extend_from_slice(kept);
                Ok(ChunkRead::Unchanged)
            }
            (None, 0) => Ok(ChunkRead::Unchanged),
            (None, _) => store.read_chunk(snapshot, 0, &mut buffer),
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
async fn mark_uploaded(
    uploader: &Uploader,
    contents: Vec<Small>,
    changed: HashSet<Digest>,
) -> Vec<(Ino, UploadOutcome)> {
    let (changed, known): (Vec<_>, Vec<_>) =
        contents.into_iter().partition(|small| changed.contains(&small.manifest.digest()));
    let known: Vec<_> = known.into_iter().map(|small| (small.snapshot, small.manifest)).collect();
    let uploaded: Vec<Ino> = known.iter().map(|(snapshot, _)| snapshot.ino).collect();
    let changed = changed.into_iter().map(|small| (small.ino, UploadOutcome::Changed));
    let marked = uploader.core.with_store(move |store| store.mark_all_uploaded(&known)).await;
    match marked {
        Ok(overtaken) => {
            let overtaken: HashSet<Ino> = overtaken.into_iter().map(|(ino, _)| ino).collect();
            let known = uploaded.into_iter().map(|ino| match overtaken.contains(&ino) {
                true => (ino, UploadOutcome::Changed),
                false => (ino, UploadOutcome::Known),
            });
            changed.chain(known).collect()
        }
        Err(error) => {
            let failed = UploadOutcome::of(&uploader.core, Err(error.into()));
            changed.chain(uploaded.into_iter().map(|ino| (ino, failed.clone()))).collect()
        }
    }
}
