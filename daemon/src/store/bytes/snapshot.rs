//! A content at one moment, to be hashed and uploaded while programs may go on writing to it.

use std::ops::Range;
use std::sync::Arc;

use miaofs::content::{CHUNK_SIZE, Chunk, Manifest, chunk_count};

use crate::store::core::Store;
use crate::store::disk::chunk_rows::ChunkState;
use crate::store::disk::data_files;
use crate::store::error::Error;
use crate::store::inodes::inode::{ContentState, Inode, known_manifest};
use crate::store::node::Ino;

/// A content at one moment, as long as nobody writes to it.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// The node.
    pub ino: Ino,
    /// Size of the content in bytes.
    pub size: u64,
    /// Number of this snapshot among those of the node; a later one takes its place.
    pub generation: u64,
    /// The content that chunks outside `dirty` are still equal to.
    pub base_manifest: Option<Arc<Manifest>>,
    /// Indexes of the chunks that may differ from `base_manifest`.
    pub dirty: Vec<u64>,
    /// Number of the unseen changes until then; `None` when the file would not come to rest.
    pub(crate) unseen: Option<u64>,
    pub(crate) inode: Arc<Inode>,
}

/// Result of reading a chunk of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChunkRead {
    /// The bytes are those of the snapshot.
    Unchanged,
    /// Somebody wrote to the chunk since: take a new snapshot.
    ChangedSince,
    /// The chunk is not here; the server is known to have it.
    Absent,
}

impl Snapshot {
    /// True if a program may write to the file now.
    pub(crate) fn has_writers(&self) -> bool {
        self.inode.writers() > 0
    }

    /// True if programs have written to the file since, unseen.
    pub(crate) fn is_overtaken(&self) -> bool {
        self.unseen != Some(self.inode.unseen().0)
    }

    /// True if a chunk may not be that of the snapshot any more.
    pub(crate) fn may_have_changed(&self, content_state: &ContentState, index: u64) -> bool {
        content_state.chunks.written_since(index, self.generation) || self.is_overtaken()
    }
}

impl Store {
    /// The content of a node now, to be hashed and uploaded.
    ///
    /// # Errors
    /// [`Error::NoManifest`] when the unchanged chunks cannot be named without the manifest, [`Error::BytesLost`] when
    /// the content is not whole any more, [`Error::NoNode`] when the node has been deleted.
    pub(crate) fn snapshot(&self, ino: Ino) -> Result<Snapshot, Error> {
        let inode = self.inode(ino)?;
        let settled = self.settle(&inode)?;
        let mut content_state = inode.content_state_mut();
        self.take_in(&inode, &mut content_state)?;
        let snapshot = take_snapshot(&inode, &mut content_state, settled);
        snapshot.map_err(|error| self.unless_gone(error))
    }

    /// A new snapshot in place of an earlier one of the same node, and the indexes of the chunks
    /// that were written to in between: what is known of the others is still true.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub(crate) fn snapshot_again(&self, earlier: &Snapshot) -> Result<(Snapshot, Vec<u64>), Error> {
        let inode = &earlier.inode;
        let settled = self.settle(inode)?;
        let mut content_state = inode.content_state_mut();
        self.take_in(inode, &mut content_state)?;
        let count = chunk_count(earlier.size.max(inode.attributes().size));
        let written = |index: &u64| earlier.may_have_changed(&content_state, *index);
        let written = (0..count).filter(written).collect();
        let snapshot = take_snapshot(inode, &mut content_state, settled);
        Ok((snapshot.map_err(|error| self.unless_gone(error))?, written))
    }

    /// Reads one chunk of a snapshot into `buffer`, which takes its length.
    pub(crate) fn read_chunk(
        &self,
        snapshot: &Snapshot,
        index: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<ChunkRead, Error> {
        match Chunk::new(index, snapshot.size) {
            Some(chunk) => self.read_range(snapshot, chunk.range(), buffer),
            None => Ok(ChunkRead::ChangedSince),
        }
    }

    /// Reads a range within one chunk of a snapshot into `buffer`, which takes its length.
    pub(crate) fn read_range(
        &self,
        snapshot: &Snapshot,
        range: Range<u64>,
        buffer: &mut Vec<u8>,
    ) -> Result<ChunkRead, Error> {
        let index = range.start / CHUNK_SIZE;
        let chunk = Chunk::new(index, snapshot.size);
        if chunk.is_none_or(|chunk| range.end > chunk.range().end) {
            return Ok(ChunkRead::ChangedSince);
        }
        let content_state = snapshot.inode.content_state();
        if snapshot.may_have_changed(&content_state, index) {
            return Ok(ChunkRead::ChangedSince);
        }
        if !content_state.chunks.is_here(&range) {
            return Ok(ChunkRead::Absent);
        }
        buffer.resize((range.end - range.start) as usize, 0);
        let read = match self.data.existing(snapshot.ino)? {
            Some(file) => data_files::read_or_zeros(&file, buffer, range.start)?,
            None => 0,
        };
        if snapshot.is_overtaken() {
            return Ok(ChunkRead::ChangedSince);
        }
        // Only a hole of the manifest may be zeros without being in the file.
        if read < buffer.len() && content_state.chunks.state(index) == ChunkState::Dirty {
            return Err(self.unless_gone(Error::BytesLost(snapshot.ino)));
        }
        buffer[read..].fill(0);
        Ok(ChunkRead::Unchanged)
    }

    /// An error; bytes of a node that has been deleted are not lost, its data file went with it.
    fn unless_gone(&self, error: Error) -> Error {
        let Error::BytesLost(ino) = error else { return error };
        match self.tree().record(ino) {
            Ok(record) if record.is_gone() => Error::NoNode(ino),
            Ok(_) => error,
            Err(unknown) => unknown,
        }
    }
}

fn take_snapshot(
    inode: &Arc<Inode>,
    content_state: &mut ContentState,
    unseen: Option<u64>,
) -> Result<Snapshot, Error> {
    let ino = inode.ino;
    content_state.not_lost(ino)?;
    let size = inode.attributes().size;
    let base = match content_state.content {
        _ if content_state.chunks.base_chunks() == 0 => None,
        Some(content) => {
            Some(known_manifest(content_state, content)?.ok_or(Error::NoManifest(ino))?)
        }
        None => None,
    };
    let dirty = content_state.chunks.in_state(ChunkState::Dirty);
    let dirty = dirty.chain(content_state.chunks.base_chunks()..chunk_count(size)).collect();
    let generation = content_state.chunks.begin_snapshot();
    let inode = Arc::clone(inode);
    Ok(Snapshot { ino, size, generation, base_manifest: base, dirty, unseen, inode })
}
