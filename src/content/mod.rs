//! A content is a byte string known by its BLAKE3 digest; this module hashes it in chunks.
//!
//! A content of up to one chunk is hashed as it stands. A longer one is cut every
//! [`CHUNK_SIZE`] bytes; because that is a power of two of BLAKE3's own 1 KiB chunks, each piece is
//! a complete subtree of the hash, its *chaining value* can be computed alone, in any order, and
//! merging the values gives exactly `blake3::hash` of the whole (BLAKE3 paper, section 2.1 "Tree
//! structure" and 4.1 "Multithreading"). So a [`Manifest`] proves itself, and one changed chunk
//! costs one chunk of hashing.
//!
//! Nothing here does I/O.

mod block;
mod chunk;
mod digest;
mod manifest;
mod zeros;

pub use block::{BLOCK_SIZE, BlockDigest};
pub use chunk::{CHUNK_SIZE, Chunk, ChunkHasher, chunk_count, hash_chunk};
pub use digest::{ChunkDigest, Digest, Md5, ParseDigestError};
pub use manifest::{Manifest, ManifestDraft, ManifestError};
pub use zeros::zero_chunk;

use zeros::{is_known, zero_chunks};
