//! Blocks: parts of a chunk that are hashed as they come, in any order, so that the whole need not be read again.

use blake3::hazmat::HasherExt;

use super::chunk::{merge, merge_inner};
use super::{Chunk, ChunkDigest};

/// Bytes in every block of a chunk but the last, which may be shorter: 64 KiB.
pub const BLOCK_SIZE: u64 = 64 * 1024;

/// Digest of one block at its place in a content. Those of all blocks of a chunk give the chunk's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockDigest(ChunkDigest);

impl BlockDigest {
    /// The digest of the block at `index` among those of `chunk`, which has just these bytes.
    pub fn of(chunk: Chunk, index: u64, bytes: &[u8]) -> Self {
        let length = BLOCK_SIZE.min(chunk.length() - index * BLOCK_SIZE);
        debug_assert_eq!(bytes.len() as u64, length);
        let mut hasher = blake3::Hasher::new();
        let is_root = chunk.is_only_one() && chunk.length() <= BLOCK_SIZE;
        let digest = if is_root {
            *hasher.update(bytes).finalize().as_bytes()
        } else {
            hasher.set_input_offset(chunk.range().start + index * BLOCK_SIZE);
            hasher.update(bytes).finalize_non_root()
        };
        Self(ChunkDigest::from_bytes(digest))
    }
}

impl Chunk {
    /// Number of blocks, at least 1 and at most 64.
    pub const fn block_count(self) -> u64 {
        self.length().div_ceil(BLOCK_SIZE)
    }

    /// The digest of the chunk from those of all its blocks, in order.
    pub fn digest_of_blocks(self, blocks: &[BlockDigest]) -> ChunkDigest {
        debug_assert_eq!(blocks.len() as u64, self.block_count());
        let blocks: Vec<ChunkDigest> = blocks.iter().map(|block| block.0).collect();
        let digest =
            if self.is_only_one() { *merge(&blocks).as_bytes() } else { merge_inner(&blocks) };
        ChunkDigest::from_bytes(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CHUNK_SIZE, chunk_count, hash_chunk};
    use super::*;

    #[test]
    fn blocks_give_the_digest_of_their_chunk_wherever_it_is() {
        const B: u64 = BLOCK_SIZE;
        let sizes = [
            [1, 1024, 1025, B - 1, B, B + 1, 3 * B, CHUNK_SIZE - 1, CHUNK_SIZE].as_slice(),
            &[CHUNK_SIZE + 1, CHUNK_SIZE + B, CHUNK_SIZE + B + 1, 2 * CHUNK_SIZE + 5 * B + 77],
        ];
        for size in sizes.concat() {
            let bytes: Vec<u8> = (0..size).map(|at| (at * 31 % 251) as u8).collect();
            for chunk in (0..chunk_count(size)).map(|index| Chunk::new(index, size).unwrap()) {
                let range = chunk.range();
                let part = &bytes[range.start as usize..range.end as usize];
                let blocks: Vec<_> = (0..)
                    .zip(part.chunks(B as usize))
                    .map(|(index, bytes)| BlockDigest::of(chunk, index, bytes))
                    .collect();
                let expected = hash_chunk(chunk, part);
                assert_eq!(chunk.digest_of_blocks(&blocks), expected, "{chunk:?}");
            }
        }
    }
}
