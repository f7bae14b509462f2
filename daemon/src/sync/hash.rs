//! Hashes the content of a snapshot: the chunks that may have changed, in parallel, each read once.
//!
//! Each thread holds one chunk. A chunk of nothing but zeros becomes a hole.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use miaofs::content::{Chunk, ChunkDigest, Manifest, ManifestError, chunk_count, hash_chunk};

use crate::store::{self, ChunkRead, Snapshot, Store};

/// Threads that hash one content.
const THREADS_MAX: usize = 4;

/// Why there is no manifest of a snapshot.
#[derive(Debug, thiserror::Error)]
pub(super) enum HashError {
    /// Somebody writes to it.
    #[error("the file changes while it is read")]
    Changed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Chunks were left out.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// The manifest of a snapshot. Blocks, so it is called off the event loop.
///
/// # Errors
/// [`HashError::Changed`] when a chunk was written to since the snapshot was taken.
pub(super) fn manifest(store: &Store, snapshot: &Snapshot) -> Result<Manifest, HashError> {
    let mut chunks = kept_chunks(snapshot);
    let to_hash: Vec<u64> =
        (0..).zip(&chunks).filter_map(|(index, kept)| kept.is_none().then_some(index)).collect();
    for (index, digest) in hash_all(store, snapshot, &to_hash)? {
        chunks[index as usize] = Some(digest);
    }
    let chunks: Vec<Option<ChunkDigest>> = chunks.into_iter().map(Option::flatten).collect();
    Ok(Manifest::new(snapshot.size, &chunks)?)
}

/// What is known of each chunk from the base: `None` when it must be hashed, `Some(None)` for a hole.
fn kept_chunks(snapshot: &Snapshot) -> Vec<Option<Option<ChunkDigest>>> {
    let mut chunks = vec![None; chunk_count(snapshot.size) as usize];
    if let Some(base) = &snapshot.base {
        for (index, chunk) in (0..).zip(&mut chunks) {
            if same_place(index, snapshot.size, base.size()) {
                *chunk = Some(if base.is_hole(index) { None } else { base.chunk(index) });
            }
        }
    }
    for &index in &snapshot.dirty {
        if let Some(chunk) = chunks.get_mut(index as usize) {
            *chunk = None;
        }
    }
    chunks
}

/// A chunk digest depends on the chunk's length, and on whether it is the only one.
fn same_place(index: u64, size: u64, base_size: u64) -> bool {
    let only_one = |size| chunk_count(size) == 1;
    match (Chunk::new(index, size), Chunk::new(index, base_size)) {
        (Some(now), Some(before)) => {
            now.length() == before.length() && only_one(size) == only_one(base_size)
        }
        _ => false,
    }
}

type Hashed = Vec<(u64, Option<ChunkDigest>)>;

fn hash_all(store: &Store, snapshot: &Snapshot, indexes: &[u64]) -> Result<Hashed, HashError> {
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(THREADS_MAX).min(indexes.len());
    let work = || hash_some(store, snapshot, indexes, &next);
    if threads <= 1 {
        return work();
    }
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut hashed = Vec::with_capacity(indexes.len());
        for worker in workers {
            hashed.extend(worker.join().expect("hashing does not panic")?);
        }
        Ok(hashed)
    })
}

/// Takes the next index again and again until there is none or one fails.
fn hash_some(
    store: &Store,
    snapshot: &Snapshot,
    indexes: &[u64],
    next: &AtomicUsize,
) -> Result<Hashed, HashError> {
    let mut hashed = Vec::new();
    let mut buffer = Vec::new();
    while let Some(&index) = indexes.get(next.fetch_add(1, Ordering::Relaxed)) {
        let result = hash_one(store, snapshot, index, &mut buffer);
        if result.is_err() {
            next.store(indexes.len(), Ordering::Relaxed);
        }
        hashed.push((index, result?));
    }
    Ok(hashed)
}

fn hash_one(
    store: &Store,
    snapshot: &Snapshot,
    index: u64,
    buffer: &mut Vec<u8>,
) -> Result<Option<ChunkDigest>, HashError> {
    match store.read_chunk(snapshot, index, buffer)? {
        ChunkRead::ChangedSince => Err(HashError::Changed),
        ChunkRead::Unchanged if is_zero(buffer) => Ok(None),
        ChunkRead::Unchanged => {
            let chunk = Chunk::new(index, snapshot.size).ok_or(HashError::Changed)?;
            Ok(Some(hash_chunk(chunk, buffer)))
        }
    }
}

/// Reads sixteen bytes at a time: this runs over every byte that is hashed.
fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// Like [`manifest`], on a thread that may block.
pub(super) async fn manifest_of(
    store: &Arc<Store>,
    snapshot: &Snapshot,
) -> Result<Arc<Manifest>, HashError> {
    let (store, snapshot) = (Arc::clone(store), snapshot.clone());
    let hashing = tokio::task::spawn_blocking(move || manifest(&store, &snapshot));
    hashing.await.expect("hashing does not panic").map(Arc::new)
}
