//! Blocks of chunks that are on their way here: which of them have come, and their digests.
//!
//! With the digests of all its blocks a chunk is checked without being read again. They take 2 KiB a chunk, so they are kept for
//! the chunks only that got a block last.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use lru::LruCache;
use miaofs::content::{BlockDigest, Chunk, ChunkDigest};

/// Chunks of one content whose blocks' digests are kept.
const DIGESTS_OF: NonZeroUsize = NonZeroUsize::new(16).expect("16 is not zero");

/// Blocks that have come of absent chunks of one content.
#[derive(Debug)]
pub(crate) struct ArrivingChunks {
    /// Bit `n` is set when block `n` of the chunk is here.
    masks: HashMap<u64, u64>,
    digests: LruCache<u64, Vec<Option<BlockDigest>>>,
}

impl Default for ArrivingChunks {
    fn default() -> Self {
        Self { masks: HashMap::new(), digests: LruCache::new(DIGESTS_OF) }
    }
}

impl ArrivingChunks {
    /// Notes that blocks of a chunk are here: number and digest of each. True if it has all of its blocks now.
    pub(crate) fn note(&mut self, chunk: Chunk, blocks: &[(u64, BlockDigest)]) -> bool {
        let index = chunk.index();
        let count = chunk.block_count();
        let mask = self.masks.entry(index).or_default();
        let digests = self.digests.get_or_insert_mut(index, || vec![None; count as usize]);
        for (block, digest) in blocks {
            *mask |= 1 << block;
            digests[*block as usize] = Some(*digest);
        }
        *mask == u64::MAX >> (64 - count)
    }

    /// The digest of a chunk all of whose blocks have come; `None` when some of theirs are not known any more.
    pub(crate) fn digest(&self, chunk: Chunk) -> Option<ChunkDigest> {
        let blocks: Option<Vec<_>> = self.digests.peek(&chunk.index())?.iter().copied().collect();
        Some(chunk.digest_of_blocks(&blocks?))
    }

    /// True if block `block` of an absent chunk is here.
    pub(crate) fn has_block(&self, index: u64, block: u64) -> bool {
        self.masks.get(&index).is_some_and(|mask| mask & (1 << block) != 0)
    }

    /// True if any block of a chunk is here.
    pub(crate) fn has(&self, index: u64) -> bool {
        self.masks.contains_key(&index)
    }

    /// True if a block of any chunk is here.
    pub(crate) fn has_any(&self) -> bool {
        !self.masks.is_empty()
    }

    /// Forgets the blocks of a chunk.
    pub(crate) fn forget(&mut self, index: u64) {
        self.masks.remove(&index);
        self.digests.pop(&index);
    }

    /// Forgets those of the chunks from `first` on.
    pub(crate) fn forget_from(&mut self, first: u64) {
        let gone: Vec<u64> = self.masks.keys().copied().filter(|index| *index >= first).collect();
        gone.into_iter().for_each(|index| self.forget(index));
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.masks.clear();
        self.digests.clear();
    }
}

#[cfg(test)]
mod tests {
    use miaofs::content::{BLOCK_SIZE, CHUNK_SIZE, hash_chunk};

    use super::*;

    const SIZE: u64 = 100 * CHUNK_SIZE;

    fn blocks(chunk: Chunk, bytes: &[u8]) -> Vec<(u64, BlockDigest)> {
        let cut = (0..).zip(bytes.chunks(BLOCK_SIZE as usize));
        cut.map(|(block, bytes)| (block, BlockDigest::of(chunk, block, bytes))).collect()
    }

    #[test]
    fn a_chunk_whose_blocks_came_in_any_order_has_its_digest() {
        let chunk = Chunk::new(3, SIZE).unwrap();
        let bytes: Vec<u8> = (0..CHUNK_SIZE).map(|at| (at % 253) as u8).collect();
        let mut arriving = ArrivingChunks::default();
        let mut blocks = blocks(chunk, &bytes);
        blocks.reverse();
        let (last, first) = blocks.split_at(40);
        assert!(!arriving.note(chunk, last));
        assert!(arriving.has_block(3, 63) && !arriving.has_block(3, 23));
        assert!(arriving.note(chunk, first));
        assert_eq!(arriving.digest(chunk), Some(hash_chunk(chunk, &bytes)));
    }

    #[test]
    fn digests_are_kept_for_few_chunks_and_not_beyond_their_blocks() {
        let mut arriving = ArrivingChunks::default();
        let bytes = vec![7; CHUNK_SIZE as usize];
        let chunk = |index| Chunk::new(index, SIZE).unwrap();
        for index in 0..40 {
            arriving.note(chunk(index), &blocks(chunk(index), &bytes)[..1]);
        }
        assert!(arriving.note(chunk(0), &blocks(chunk(0), &bytes)[1..]));
        assert_eq!(arriving.digest(chunk(0)), None, "that of the first block was forgotten");
        arriving.forget(39);
        assert!(!arriving.note(chunk(39), &blocks(chunk(39), &bytes)[1..]));
        assert_eq!(arriving.digest(chunk(39)), None);
        assert_eq!(arriving.digests.len(), DIGESTS_OF.get());
    }
}
