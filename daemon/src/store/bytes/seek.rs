//! Where a content has data and where holes, without reading any of it.
//!
//! Of bytes that are only here the data file knows. A chunk that the server has, too, is a hole when
//! its manifest says so, and data otherwise, whether it is here or was given up: a hole of the data
//! file tells nothing then.

use miaofs::content::{CHUNK_SIZE, Chunk};

use super::content::Content;
use super::snapshot::Snapshot;
use crate::store::core::Store;
use crate::store::disk::chunk_rows::ChunkState;
use crate::store::disk::data_files;
use crate::store::error::Error;
use crate::store::inodes::inode::{ContentState, known_manifest};

/// Data or hole, as of lseek(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SeekWhence {
    /// Bytes that may be other than zero.
    Data,
    /// Zeros that take no room; also the end of the file.
    Hole,
}

/// Kind of an extent, as far as it is known without the data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Data,
    Hole,
    /// As the data file says.
    Local,
}

impl Content {
    /// The first place from `offset` on where what is sought is (`SEEK_DATA`, `SEEK_HOLE` of
    /// lseek(2)). `None` when `offset` is not inside of the file, or no data follows.
    ///
    /// Absent chunks count as data while [`Content::knows_holes`] does not hold.
    pub(crate) fn seek(&self, offset: u64, sought: SeekWhence) -> Result<Option<u64>, Error> {
        self.take_in_unseen()?;
        let content_state = self.inode.content_state();
        let size = self.inode.attributes().size;
        let mut at = offset;
        while at < size {
            let (extent, end) = extent_at(&content_state, at, size);
            let found = match (extent, sought) {
                (Extent::Data, SeekWhence::Data) | (Extent::Hole, SeekWhence::Hole) => Some(at),
                (Extent::Data, SeekWhence::Hole) | (Extent::Hole, SeekWhence::Data) => None,
                (Extent::Local, _) => self.seek_local(at, sought)?,
            };
            match found {
                Some(found) if found < end => return Ok(Some(found)),
                _ => at = end,
            }
        }
        Ok(match sought {
            SeekWhence::Hole if offset < size => Some(size),
            _ => None,
        })
    }

    /// True if it is known which of the chunks that are not here are holes.
    pub(crate) fn knows_holes(&self) -> Result<bool, Error> {
        let content_state = self.inode.content_state();
        let content = match content_state.content {
            Some(content) if content_state.chunks.in_state(ChunkState::Absent).next().is_some() => {
                content
            }
            _ => return Ok(true),
        };
        Ok(known_manifest(&content_state, content)?.is_some())
    }

    fn seek_local(&self, at: u64, sought: SeekWhence) -> Result<Option<u64>, Error> {
        match (self.store.data.existing(self.inode.ino)?, sought) {
            (Some(file), SeekWhence::Data) => data_files::next_data(&file, at),
            // Behind the end of the data file is a hole.
            (Some(file), SeekWhence::Hole) => Ok(data_files::next_hole(&file, at)?.or(Some(at))),
            (None, SeekWhence::Data) => Ok(None),
            (None, SeekWhence::Hole) => Ok(Some(at)),
        }
    }
}

impl Store {
    /// Those of a snapshot's chunks, given in order, that have no data and were not written to since:
    /// they are zeros, which need not be read.
    pub(crate) fn holes_of(&self, snapshot: &Snapshot, indexes: &[u64]) -> Result<Vec<u64>, Error> {
        let content_state = snapshot.inode.content_state();
        let file = self.data.existing(snapshot.ino)?;
        let data_from = |offset| match &file {
            Some(file) => Ok(data_files::next_data(file, offset)?.unwrap_or(u64::MAX)),
            None => Ok::<_, Error>(u64::MAX),
        };
        let mut data = data_from(0)?;
        let mut holes = Vec::new();
        for &index in indexes {
            let Some(range) = Chunk::new(index, snapshot.size).map(Chunk::range) else { break };
            if data < range.start {
                data = data_from(range.start)?;
            }
            let unchanged = !content_state.chunks.written_since(index, snapshot.generation);
            if data >= range.end && unchanged && content_state.chunks.is_here(&range) {
                holes.push(index);
            }
        }
        Ok(holes)
    }
}

/// The extent that the chunk at `at` is in, and where that ends.
fn extent_at(content_state: &ContentState, at: u64, size: u64) -> (Extent, u64) {
    let first = at / CHUNK_SIZE;
    let extent = extent(content_state, first);
    let base_chunks = content_state.chunks.base_chunks();
    let mut end = first + 1;
    while end < base_chunks && end * CHUNK_SIZE < size && self::extent(content_state, end) == extent
    {
        end += 1;
    }
    match extent {
        // All that is behind the chunks that the server may know is local.
        Extent::Local if end >= base_chunks => (extent, size),
        _ => (extent, size.min(end * CHUNK_SIZE)),
    }
}

fn extent(content_state: &ContentState, index: u64) -> Extent {
    let is_hole =
        || content_state.manifest.as_ref().is_some_and(|manifest| manifest.is_hole(index));
    match content_state.chunks.state(index) {
        ChunkState::Absent => Extent::Data,
        ChunkState::Clean if is_hole() => Extent::Hole,
        ChunkState::Clean | ChunkState::Dirty => Extent::Local,
    }
}
