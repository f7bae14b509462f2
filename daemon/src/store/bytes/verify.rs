//! Compares cached chunks with their digests: one that does not match is given up, so that it is fetched again.
//!
//! Only clean chunks are looked at: of a dirty one nobody knows yet what it should be. The bytes are read from the disk,
//! not from the memory that the kernel keeps of it.

use miaofs::content::{Chunk, ChunkDigest, hash_chunk};
use rustix::fs::Advice;

use crate::store::core::Store;
use crate::store::disk::chunk_rows::{self, ChunkState};
use crate::store::disk::{data_files, meta};
use crate::store::error::Error;
use crate::store::inodes::inode::{ContentState, known_manifest};
use crate::store::node::Ino;
use crate::store::tree::transaction::Tree;

/// Keys of the place that the search in idle time has reached, and of the time at which it began.
const SCRUB_INO: &str = "scrub_ino";
const SCRUB_CHUNK: &str = "scrub_chunk";
const SCRUB_BEGAN: &str = "scrub_began";

/// A place among all chunks that are here: all before it were looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ChunkPosition {
    ino: u64,
    chunk: u64,
}

/// Result of comparing one chunk with its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChunkVerdict {
    /// The bytes, so many, are those of the content.
    Sound(u64),
    /// They were not, and were given up.
    GivenUp,
    /// The digest is not known.
    Unknown,
    /// The chunk is not here any more, or was changed.
    Skipped,
}

impl Store {
    /// Looks at the next chunk from a position on: its node, the verdict, and the position behind it. `None` at the end.
    pub(crate) fn verify_next(
        &self,
        from: ChunkPosition,
    ) -> Result<Option<(Ino, ChunkVerdict, ChunkPosition)>, Error> {
        let next = chunk_rows::next_clean(&self.tree().db, Ino(from.ino), from.chunk)?;
        let Some((ino, index)) = next else { return Ok(None) };
        let verdict = match self.verify_chunk(ino, index) {
            Err(Error::NoNode(_) | Error::NoContent(_)) => ChunkVerdict::Skipped,
            verdict => verdict?,
        };
        Ok(Some((ino, verdict, ChunkPosition { ino: ino.0, chunk: index + 1 })))
    }

    /// Number that changes whenever a program reads or changes anything.
    pub(crate) fn activity(&self) -> u64 {
        self.activity.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Where the search in idle time goes on, and when it began, in nanoseconds since 1970.
    pub(crate) fn scrub_place(&self) -> Result<(ChunkPosition, i64), Error> {
        let tree = self.tree();
        let number = |key| Ok::<_, Error>(meta::number(&tree.db, key)?.unwrap_or(0));
        let place = ChunkPosition { ino: number(SCRUB_INO)?, chunk: number(SCRUB_CHUNK)? };
        Ok((place, number(SCRUB_BEGAN)? as i64))
    }

    /// Remembers that. It does not count as activity.
    pub(crate) fn set_scrub_place(&self, place: ChunkPosition, began: i64) -> Result<(), Error> {
        let set = |tree: &mut Tree| {
            tree.begin()?;
            meta::set_number(&tree.db, SCRUB_INO, place.ino)?;
            meta::set_number(&tree.db, SCRUB_CHUNK, place.chunk)?;
            meta::set_number(&tree.db, SCRUB_BEGAN, began as u64)
        };
        self.tree().transact(set).map(|((), _)| ())
    }

    fn verify_chunk(&self, ino: Ino, index: u64) -> Result<ChunkVerdict, Error> {
        let inode = self.inode(ino)?;
        // Of what is lent nothing may be given up; it is looked at another time.
        if inode.lent.is_lent() {
            return Ok(ChunkVerdict::Skipped);
        }
        let expected = match expected(&inode.content_state(), index)? {
            Expected::Digest(chunk, digest) => (chunk, digest),
            Expected::Unknown => return Ok(ChunkVerdict::Unknown),
            Expected::Nothing => return Ok(ChunkVerdict::Skipped),
        };
        let (chunk, digest) = expected;
        let matches = || Ok::<_, Error>(self.digest_on_disk(ino, chunk)? == Some(digest));
        if matches()? {
            return Ok(ChunkVerdict::Sound(chunk.length()));
        }
        // It may have been written to meanwhile; now nobody does.
        let mut content_state = inode.content_state_mut();
        let expected_now = self::expected(&content_state, index)?;
        if expected_now != Expected::Digest(chunk, digest) || inode.lent.is_lent() {
            return Ok(ChunkVerdict::Skipped);
        }
        if matches()? {
            return Ok(ChunkVerdict::Sound(chunk.length()));
        }
        let bytes = content_state.cached_bytes(index);
        self.transact(|tree| {
            tree.begin()?;
            chunk_rows::delete_chunk(&tree.db, ino, index)?;
            tree.add_cached(ino, -(bytes as i64))
        })?;
        content_state.chunks.set(index, ChunkState::Absent);
        drop(content_state);
        tracing::error!(%ino, chunk = index, "cached bytes were damaged on the disk: they are fetched again");
        self.forget_pages(ino);
        Ok(ChunkVerdict::GivenUp)
    }

    /// The digest of a chunk as the disk has it; `None` when it has not all of it.
    fn digest_on_disk(&self, ino: Ino, chunk: Chunk) -> Result<Option<ChunkDigest>, Error> {
        let Some(file) = self.data.existing(ino)? else { return Ok(None) };
        let range = chunk.range();
        let length = std::num::NonZeroU64::new(chunk.length());
        let forget = || rustix::fs::fadvise(&file, range.start, length, Advice::DontNeed);
        // Where the kernel keeps it all the same, that is what is compared.
        let _not_written_yet = forget();
        let mut bytes = vec![0; chunk.length() as usize];
        let read = match data_files::read_or_zeros(&file, &mut bytes, range.start) {
            Ok(read) => read,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%ino, error, "cached bytes cannot be read");
                return Ok(None);
            }
        };
        let _kept = forget();
        Ok((read == bytes.len()).then(|| hash_chunk(chunk, &bytes)))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Digest(Chunk, ChunkDigest),
    Unknown,
    Nothing,
}

/// The digest that a clean chunk should have.
fn expected(content_state: &ContentState, index: u64) -> Result<Expected, Error> {
    let is_clean = index < content_state.chunks.base_chunks()
        && content_state.chunks.state(index) == ChunkState::Clean;
    let Some(content) = content_state.content.filter(|_| is_clean) else {
        return Ok(Expected::Nothing);
    };
    let Some(manifest) = known_manifest(content_state, content)? else {
        return Ok(Expected::Unknown);
    };
    Ok(match (Chunk::new(index, content.size), manifest.chunk(index)) {
        (Some(chunk), Some(digest)) if !manifest.is_hole(index) => Expected::Digest(chunk, digest),
        _ => Expected::Nothing,
    })
}
