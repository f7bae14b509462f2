//! The digests of chunks of zeros: what the holes of a manifest stand for.
//!
//! A digest depends on where its chunk is, so there is one for each place; hashing it costs about a
//! millisecond. What was hashed once is remembered, 40 bytes for each 4 MiB of the largest sparse
//! content seen, so only the first manifest with a hole at some place pays for it.

use std::sync::{LazyLock, OnceLock};
use std::thread;

use super::{CHUNK_SIZE, Chunk, ChunkDigest, hash_chunk};

/// Chunks that are remembered together: 4 GiB of a content.
const SEGMENT: u64 = 1024;
/// Segments at the most: what is behind 1 TiB is not remembered, which bounds the memory at 10 MiB.
const SEGMENTS: usize = 256;
/// Threads that hash the holes of one manifest.
const THREADS_MAX: usize = 4;
/// Holes that are worth another thread.
const HOLES_A_THREAD: usize = 64;

type Segment = Box<[OnceLock<ChunkDigest>]>;

static REMEMBERED: [OnceLock<Segment>; SEGMENTS] = [const { OnceLock::new() }; SEGMENTS];

/// The digest of `chunk` when all of its bytes are zero.
pub fn zero_chunk(chunk: Chunk) -> ChunkDigest {
    match place(chunk) {
        Some(place) => *place.get_or_init(|| hash_zeros(chunk)),
        None => hash_zeros(chunk),
    }
}

/// The digests of many chunks of zeros, in the same order, hashed in parallel.
pub(super) fn zero_chunks(chunks: &[Chunk]) -> Vec<ChunkDigest> {
    let worth = THREADS_MAX.min(chunks.len() / HOLES_A_THREAD);
    // Asking for the number of cores reads files.
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let threads = if worth > 1 { worth.min(cores()) } else { 1 };
    if threads == 1 {
        return chunks.iter().copied().map(zero_chunk).collect();
    }
    thread::scope(|scope| {
        let parts = chunks.chunks(chunks.len().div_ceil(threads));
        let hash = |part: &[Chunk]| part.iter().copied().map(zero_chunk).collect::<Vec<_>>();
        let workers: Vec<_> = parts.map(|part| scope.spawn(move || hash(part))).collect();
        let hashed = workers.into_iter().map(|worker| worker.join());
        hashed.flat_map(|part| part.expect("hashing does not panic")).collect()
    })
}

/// True if the digest of `chunk` when all of its bytes are zero needs no hashing any more.
pub(super) fn is_known(chunk: Chunk) -> bool {
    place(chunk).is_some_and(|place| place.get().is_some())
}

/// Where the digest of a chunk is remembered: of a whole one, which is not the only one.
fn place(chunk: Chunk) -> Option<&'static OnceLock<ChunkDigest>> {
    if chunk.length() < CHUNK_SIZE || chunk.is_only_one() {
        return None;
    }
    let segment = REMEMBERED.get((chunk.index() / SEGMENT) as usize)?;
    let digests = segment.get_or_init(|| (0..SEGMENT).map(|_| OnceLock::new()).collect());
    digests.get((chunk.index() % SEGMENT) as usize)
}

fn hash_zeros(chunk: Chunk) -> ChunkDigest {
    static ZEROS: LazyLock<Vec<u8>> = LazyLock::new(|| vec![0; CHUNK_SIZE as usize]);
    hash_chunk(chunk, &ZEROS[..chunk.length() as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remembered_digest_is_that_of_zeros_at_its_place_also_beside_other_sizes() {
        let zeros = vec![0; CHUNK_SIZE as usize];
        let sizes = [2 * CHUNK_SIZE + 5, CHUNK_SIZE, 5000 * CHUNK_SIZE, 2 * CHUNK_SIZE];
        for size in sizes.into_iter().chain(sizes) {
            for index in [0, 1, 2, 1023, 1024, 4097] {
                let Some(chunk) = Chunk::new(index, size) else { continue };
                let expected = hash_chunk(chunk, &zeros[..chunk.length() as usize]);
                assert_eq!(zero_chunk(chunk), expected, "chunk {index} of {size} bytes");
            }
        }
    }

    #[test]
    fn many_are_hashed_in_order() {
        let size = 300 * CHUNK_SIZE + 1;
        let chunks: Vec<Chunk> = (100..301).filter_map(|index| Chunk::new(index, size)).collect();
        let each: Vec<ChunkDigest> = chunks.iter().copied().map(hash_zeros).collect();
        assert_eq!(zero_chunks(&chunks), each);
    }

    #[test]
    fn what_is_behind_the_largest_place_remembered_is_hashed_each_time() {
        let chunk = Chunk::new(SEGMENT * SEGMENTS as u64, u64::MAX / 2).unwrap();
        assert!(place(chunk).is_none());
        assert_eq!(zero_chunk(chunk), hash_zeros(chunk));
    }
}
