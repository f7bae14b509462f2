//! Hashes the content of a snapshot: the chunks that may have changed, in parallel, each read once.
//!
//! Each thread holds one chunk. A chunk of nothing but zeros becomes a hole; one that has no data on
//! the disk is not read for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use miaofs::content::{
    Chunk, ChunkDigest, Manifest, ManifestError, chunk_count, hash_chunk, zero_chunk,
};

use crate::store::{self, ChunkRead, Snapshot, Store};

/// Threads that hash one content.
const THREADS_MAX: usize = 4;
/// Number of times that chunks which changed meanwhile are hashed again.
const AGAIN_MAX: u32 = 16;

/// Why there is no manifest of a snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HashError {
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

/// A snapshot that has been hashed.
#[derive(Debug, Clone)]
pub(crate) struct Hashed {
    /// State of the file that was hashed.
    pub snapshot: Snapshot,
    /// Manifest of that state.
    pub manifest: Arc<Manifest>,
}

/// Hashes a snapshot. Blocks, so it is called off the event loop.
///
/// When chunks are written to meanwhile, a new snapshot takes its place and only these are hashed again.
///
/// # Errors
/// [`HashError::Changed`] when the file keeps changing too fast for that.
pub(crate) fn hash(store: &Store, snapshot: Snapshot) -> Result<Hashed, HashError> {
    let hashes = Hashes::of_base(&snapshot);
    finish(store, snapshot, hashes)
}

/// Hashes what was written to since a snapshot was hashed. Blocks as well.
///
/// # Errors
/// As [`hash`].
pub(super) fn hash_again(store: &Store, earlier: &Hashed) -> Result<Hashed, HashError> {
    let (snapshot, written) = store.snapshot_again(&earlier.snapshot)?;
    let hashes = Hashes::of_manifest(&earlier.manifest, snapshot.size).without(&written);
    finish(store, snapshot, hashes)
}

fn finish(store: &Store, mut snapshot: Snapshot, mut hashes: Hashes) -> Result<Hashed, HashError> {
    for _again in 0..AGAIN_MAX {
        match hashes.complete(store, &snapshot) {
            Ok(()) => {
                // One that is missing makes the list too short for the size.
                let chunks = hashes.chunks.into_iter().flatten().collect();
                let manifest = Arc::new(Manifest::hashed(snapshot.size, chunks)?);
                return Ok(Hashed { snapshot, manifest });
            }
            Err(HashError::Changed) => {
                let (now, written) = store.snapshot_again(&snapshot)?;
                hashes = hashes.resized(now.size).without(&written);
                snapshot = now;
            }
            Err(error) => return Err(error),
        }
    }
    Err(HashError::Changed)
}

/// Digests of the chunks of a content, by index; `None` for one that must be hashed.
struct Hashes {
    size: u64,
    chunks: Vec<Option<Hash>>,
}

/// The digest of a chunk, and whether it is a hole.
type Hash = (ChunkDigest, bool);

impl Hashes {
    /// Digests of the chunks that are those of a snapshot's base.
    fn of_base(snapshot: &Snapshot) -> Self {
        match &snapshot.base_manifest {
            Some(base) => Self::of_manifest(base, snapshot.size).without(&snapshot.dirty),
            None => {
                let chunks = vec![None; chunk_count(snapshot.size) as usize];
                Self { size: snapshot.size, chunks }
            }
        }
    }

    /// Digests of the chunks that a content of `size` bytes has in common with the manifest it grew from.
    fn of_manifest(manifest: &Manifest, size: u64) -> Self {
        let chunks = (0..).zip(manifest.chunks());
        let chunks =
            chunks.map(|(index, digest)| Some((*digest, manifest.is_hole(index)))).collect();
        Self { size: manifest.size(), chunks }.resized(size)
    }

    /// Keeps the digests that stay true when the size changes.
    fn resized(mut self, size: u64) -> Self {
        self.chunks.resize(chunk_count(size) as usize, None);
        for (index, chunk) in (0..).zip(&mut self.chunks) {
            if !Chunk::new(index, size).is_some_and(|chunk| chunk.is_alike_in(self.size)) {
                *chunk = None;
            }
        }
        Self { size, ..self }
    }

    /// Forgets chunks that may have changed.
    fn without(mut self, changed: &[u64]) -> Self {
        for &index in changed {
            if let Some(chunk) = self.chunks.get_mut(index as usize) {
                *chunk = None;
            }
        }
        self
    }

    /// Hashes what is not known; what was hashed before an error stays known.
    fn complete(&mut self, store: &Store, snapshot: &Snapshot) -> Result<(), HashError> {
        let unknown = (0..).zip(&self.chunks).filter(|(_, chunk)| chunk.is_none());
        let indexes: Vec<u64> = unknown.map(|(index, _)| index).collect();
        let holes = store.holes_of(snapshot, &indexes)?;
        let work = Work { store, snapshot, indexes: &indexes, holes: &holes };
        let (hashed, result) = work.do_all();
        for (index, hash) in hashed {
            self.chunks[index as usize] = Some(hash);
        }
        result
    }
}

/// Chunks to hash, by several threads.
struct Work<'a> {
    store: &'a Store,
    snapshot: &'a Snapshot,
    indexes: &'a [u64],
    /// Those of them that are known to be zeros.
    holes: &'a [u64],
}

/// Digests so far, and an error when these are not all.
type HashProgress = (Vec<(u64, Hash)>, Result<(), HashError>);

impl Work<'_> {
    fn do_all(&self) -> HashProgress {
        let next = AtomicUsize::new(0);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = cores.min(THREADS_MAX).min(self.indexes.len());
        if threads <= 1 {
            return self.do_some(&next);
        }
        std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..threads).map(|_| scope.spawn(|| self.do_some(&next))).collect();
            let mut hashes = Vec::with_capacity(self.indexes.len());
            let mut result = Ok(());
            for worker in workers {
                let (hashed, ended) = worker.join().expect("hashing does not panic");
                hashes.extend(hashed);
                result = result.and(ended);
            }
            (hashes, result)
        })
    }

    /// Takes the next index again and again until there is none or one fails.
    fn do_some(&self, next: &AtomicUsize) -> HashProgress {
        let mut hashes = Vec::new();
        let mut buffer = Vec::new();
        while let Some(&index) = self.indexes.get(next.fetch_add(1, Ordering::Relaxed)) {
            match self.do_one(index, &mut buffer) {
                Ok(hash) => hashes.push((index, hash)),
                Err(error) => {
                    next.store(self.indexes.len(), Ordering::Relaxed);
                    return (hashes, Err(error));
                }
            }
        }
        (hashes, Ok(()))
    }

    fn do_one(&self, index: u64, buffer: &mut Vec<u8>) -> Result<Hash, HashError> {
        let chunk = Chunk::new(index, self.snapshot.size).ok_or(HashError::Changed)?;
        if self.holes.binary_search(&index).is_ok() {
            return Ok((zero_chunk(chunk), true));
        }
        match self.store.read_chunk(self.snapshot, index, buffer)? {
            // What is hashed is dirty, and so here, unless a copy has taken its place.
            ChunkRead::ChangedSince | ChunkRead::Absent => Err(HashError::Changed),
            ChunkRead::Unchanged if is_zero(buffer) => Ok((zero_chunk(chunk), true)),
            ChunkRead::Unchanged => Ok((hash_chunk(chunk, buffer), false)),
        }
    }
}

/// Reads sixteen bytes at a time: this runs over every byte that is hashed.
fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use miaofs::content::CHUNK_SIZE;
    use miaofs::protocol::files::Kind;

    use super::*;
    use crate::store::{Access, Availability, Content, Ino, NewNode, StoreOptions};

    fn file(directory: &std::path::Path) -> (Arc<Store>, Content) {
        let options = StoreOptions { cache_limit: 1 << 40, free_floor: 0 };
        let store = Store::open(directory, options).unwrap();
        let made = store.change_and_open::<_, store::Error>(Access::Write, |change| {
            let kind = Kind::File;
            let new = NewNode { kind, mode: 0o644, uid: 0, gid: 0, rdev: 0, target: None, now: 1 };
            let ino = change.insert(new)?;
            change.link(Ino::ROOT, b"file", ino)?;
            Ok(((), ino))
        });
        let content = made.unwrap().1;
        (store, content)
    }

    fn write(content: &Content, offset: u64, length: usize, byte: u8) {
        let written = content.write_at(offset, &vec![byte; length], 2).unwrap();
        assert_eq!(written, Availability::Ready(()));
    }

    /// Hashes everything anew.
    fn plain(store: &Store, ino: Ino) -> Manifest {
        let hashed = hash(store, store.snapshot(ino).unwrap()).unwrap();
        Arc::unwrap_or_clone(hashed.manifest)
    }

    #[test]
    fn a_file_that_grows_while_it_is_hashed_is_hashed_as_it_is_in_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let (store, content) = file(directory.path());
        write(&content, 0, 2 * CHUNK_SIZE as usize + 100, 1);
        let snapshot = store.snapshot(content.ino()).unwrap();
        write(&content, 2 * CHUNK_SIZE + 100, 50, 2);
        let hashed = hash(&store, snapshot).unwrap();
        assert_eq!(hashed.snapshot.size, 2 * CHUNK_SIZE + 150);
        assert_eq!(*hashed.manifest, plain(&store, content.ino()));
    }

    #[test]
    fn hashing_again_sees_every_change_since() {
        let directory = tempfile::tempdir().unwrap();
        let (store, content) = file(directory.path());
        write(&content, 0, 2 * CHUNK_SIZE as usize + 100, 1);
        let mut hashed = hash(&store, store.snapshot(content.ino()).unwrap()).unwrap();
        let sizes = [3 * CHUNK_SIZE + 1, CHUNK_SIZE + 5, CHUNK_SIZE, 7, 2 * CHUNK_SIZE];
        for (round, size) in (2..).zip(sizes) {
            assert_eq!(content.resize(size, 3).unwrap(), Availability::Ready(()));
            write(&content, size / 2, 3, round);
            hashed = hash_again(&store, &hashed).unwrap();
            // Taking another snapshot would make everything count as changed, so this one goes on.
            let again = hash(&store, hashed.snapshot.clone()).unwrap();
            assert_eq!(hashed.manifest, again.manifest, "{size} bytes");
        }
    }

    #[test]
    fn what_did_not_change_is_not_hashed_again() {
        let directory = tempfile::tempdir().unwrap();
        let (store, content) = file(directory.path());
        write(&content, 0, 2 * CHUNK_SIZE as usize + 100, 1);
        let hashed = hash(&store, store.snapshot(content.ino()).unwrap()).unwrap();
        write(&content, CHUNK_SIZE, 1, 2);
        let (now, written) = store.snapshot_again(&hashed.snapshot).unwrap();
        assert_eq!(written, [1]);
        let hashes = Hashes::of_manifest(&hashed.manifest, now.size).without(&written);
        assert!(hashes.chunks[0].is_some() && hashes.chunks[1].is_none());
        assert!(hashes.chunks[2].is_some());
    }
}
