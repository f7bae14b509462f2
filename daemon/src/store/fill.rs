//! Content that comes from the server: manifests, what is missing, and bytes that arrive.

use std::ops::Range;
use std::sync::Arc;

use miaofs::content::{Digest, Manifest};
use miaofs::protocol::files::ContentRef;

use super::{Error, Ino, Store};

/// What became of bytes that were fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// They are here now.
    Stored,
    /// They were not needed: the content changed meanwhile, or they are here already.
    Ignored,
}

/// Bytes of clean content that are here, and how many may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheUsage {
    /// Bytes here that could be fetched again.
    pub bytes: u64,
    /// How many may be here.
    pub limit: u64,
}

impl Store {
    /// The content that the server is known to have for a node, dirty chunks aside: what its absent
    /// chunks are fetched of.
    pub fn content_of(&self, _ino: Ino) -> Result<Option<ContentRef>, Error> {
        todo!()
    }

    /// The manifest of a node's content, if it is known or follows from the digest.
    pub fn manifest(&self, _ino: Ino) -> Result<Option<Arc<Manifest>>, Error> {
        todo!()
    }

    /// Remembers a manifest. Chunks of an older content of a node that are equal in it count as here.
    pub fn set_manifest(&self, _manifest: Arc<Manifest>) -> Result<(), Error> {
        todo!()
    }

    /// The runs of `range` that are not here, aligned to [`super::BLOCK_SIZE`] but for the end of the file.
    pub fn missing(&self, _ino: Ino, _range: Range<u64>) -> Result<Vec<Range<u64>>, Error> {
        todo!()
    }

    /// Takes bytes of content `digest` that were fetched for the node. `offset` is a multiple of
    /// [`super::BLOCK_SIZE`], and so is the end unless it is the end of the content.
    pub fn fill(
        &self,
        _ino: Ino,
        _digest: Digest,
        _offset: u64,
        _bytes: &[u8],
    ) -> Result<Filled, Error> {
        todo!()
    }

    /// Gives up the local bytes of a node that the server has; how many there were.
    pub fn evict(&self, _ino: Ino) -> Result<u64, Error> {
        todo!()
    }

    /// How full the cache is.
    pub fn cache_usage(&self) -> CacheUsage {
        todo!()
    }
}
