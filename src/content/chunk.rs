//! Chunks: where a content is cut, and how one piece is hashed without the others.

use std::ops::Range;

use blake3::hazmat::HasherExt;

use super::{ChunkDigest, Digest};

/// Bytes in every chunk of a content but the last, which may be shorter: 4 MiB.
pub const CHUNK_SIZE: u64 = 4 * 1024 * 1024;

/// Number of chunks of a content of `size` bytes; 0 for the empty one.
pub const fn chunk_count(size: u64) -> u64 {
    size.div_ceil(CHUNK_SIZE)
}

/// One chunk of a content of a known size: which bytes it covers and how it is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    index: u64,
    content_size: u64,
}

impl Chunk {
    /// The chunk at `index` of a content of `content_size` bytes; `None` past the last one.
    pub const fn new(index: u64, content_size: u64) -> Option<Self> {
        if index < chunk_count(content_size) { Some(Self { index, content_size }) } else { None }
    }

    /// Position among the chunks of the content.
    pub const fn index(self) -> u64 {
        self.index
    }

    /// The bytes of the content that this chunk covers.
    pub const fn range(self) -> Range<u64> {
        let start = self.index * CHUNK_SIZE;
        let end = start + CHUNK_SIZE;
        start..if end < self.content_size { end } else { self.content_size }
    }

    /// Length in bytes, at least 1 and at most [`CHUNK_SIZE`].
    pub const fn length(self) -> u64 {
        let range = self.range();
        range.end - range.start
    }

    /// True if the same bytes have the same digest as the chunk at this index of a content of `other_size`
    /// bytes. That depends on the chunk's length, and on whether it is the only one.
    pub const fn is_alike_in(self, other_size: u64) -> bool {
        match Self::new(self.index, other_size) {
            Some(other) => {
                self.length() == other.length() && self.is_only_one() == other.is_only_one()
            }
            None => false,
        }
    }

    pub(super) const fn is_only_one(self) -> bool {
        self.content_size <= CHUNK_SIZE
    }
}

/// Hashes one chunk from pieces that arrive in order.
#[derive(Debug)]
pub struct ChunkHasher {
    chunk: Chunk,
    hasher: blake3::Hasher,
}

impl ChunkHasher {
    /// A hasher for `chunk` that has seen no bytes.
    pub fn new(chunk: Chunk) -> Self {
        let mut hasher = blake3::Hasher::new();
        if !chunk.is_only_one() {
            hasher.set_input_offset(chunk.range().start);
        }
        Self { chunk, hasher }
    }

    /// Adds the next bytes. The caller never gives more than the chunk holds in all.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Number of bytes added so far.
    pub fn count(&self) -> u64 {
        self.hasher.count()
    }

    /// The digest of the chunk, once all of its bytes have been added.
    pub fn finalize(&self) -> ChunkDigest {
        let bytes = if self.chunk.is_only_one() {
            *self.hasher.finalize().as_bytes()
        } else {
            self.hasher.finalize_non_root()
        };
        ChunkDigest::from_bytes(bytes)
    }
}

/// Hashes a whole chunk; `bytes` are exactly those of `chunk.range()`.
pub fn hash_chunk(chunk: Chunk, bytes: &[u8]) -> ChunkDigest {
    debug_assert_eq!(chunk.length(), bytes.len() as u64);
    let mut hasher = ChunkHasher::new(chunk);
    hasher.update(bytes);
    hasher.finalize()
}

/// Merges the digests of all chunks of a content, in order, to the digest of the content; or those of all its blocks.
///
/// BLAKE3's tree is left-complete: of `n` equal subtrees the left child takes the largest power of
/// two below `n`.
pub(super) fn merge(chunks: &[ChunkDigest]) -> Digest {
    match chunks {
        [] => Digest::of_nothing(),
        [only] => Digest::from_bytes(*only.as_bytes()),
        _ => {
            let (left, right) = chunks.split_at(left_subtree(chunks.len()));
            let root = blake3::hazmat::merge_subtrees_root(
                &merge_inner(left),
                &merge_inner(right),
                blake3::hazmat::Mode::Hash,
            );
            Digest::from_bytes(*root.as_bytes())
        }
    }
}

/// Merges the digests of consecutive pieces of one size, but for the last, to that of a part of a content.
pub(super) fn merge_inner(chunks: &[ChunkDigest]) -> blake3::hazmat::ChainingValue {
    match chunks {
        [only] => *only.as_bytes(),
        _ => {
            let (left, right) = chunks.split_at(left_subtree(chunks.len()));
            blake3::hazmat::merge_subtrees_non_root(
                &merge_inner(left),
                &merge_inner(right),
                blake3::hazmat::Mode::Hash,
            )
        }
    }
}

/// The largest power of two below `count`, which is at least 2.
const fn left_subtree(count: usize) -> usize {
    (count - 1).next_power_of_two() / if (count - 1).is_power_of_two() { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_left_subtree_is_the_largest_power_of_two_below() {
        let expected = [(2, 1), (3, 2), (4, 2), (5, 4), (8, 4), (9, 8), (16, 8), (17, 16)];
        for (count, left) in expected {
            assert_eq!(left_subtree(count), left, "of {count}");
        }
    }

    #[test]
    fn chunks_cover_a_content_without_gap_or_overlap() {
        for size in [1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE + 17] {
            let mut at = 0;
            for index in 0..chunk_count(size) {
                let range = Chunk::new(index, size).expect("within the content").range();
                assert_eq!(range.start, at);
                assert!(range.end > range.start);
                at = range.end;
            }
            assert_eq!(at, size);
            assert_eq!(Chunk::new(chunk_count(size), size), None);
        }
    }
}
