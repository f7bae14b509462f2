//! Content that comes from the server: manifests, what is missing, and bytes that arrive.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use miaofs::content::{Chunk, Digest, Manifest, hash_chunk};
use miaofs::protocol::files::ContentRef;

use crate::store::core::Store;
use crate::store::disk::chunk_rows::{self, ChunkState};
use crate::store::disk::{data_files, inode_queries, manifest_rows, meta};
use crate::store::error::{Error, while_doing};
use crate::store::inodes::chunks::{chunks_of, runs};
use crate::store::inodes::inode::{ContentState, Inode, known_manifest};
use crate::store::node::Ino;
use crate::store::tree::transaction::Tree;

/// Use that was made of fetched bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    /// They are here now.
    Stored,
    /// They were not needed: the content changed meanwhile, or they are here already.
    Ignored,
}

impl Store {
    /// The content that the server is known to have for a node, dirty chunks aside: what its absent
    /// chunks are fetched of.
    pub(crate) fn content_of(&self, ino: Ino) -> Result<Option<ContentRef>, Error> {
        Ok(self.tree().present(ino)?.content)
    }

    /// The manifest of a node's content, if it is known or follows from the digest.
    pub(crate) fn manifest(&self, ino: Ino) -> Result<Option<Arc<Manifest>>, Error> {
        let inode = self.inode(ino)?;
        let content_state = inode.content_state();
        content_state.content.map_or(Ok(None), |content| known_manifest(&content_state, content))
    }

    /// Remembers a manifest. Chunks of an older content of a node that are equal in it count as here.
    pub(crate) fn set_manifest(&self, manifest: Arc<Manifest>) -> Result<(), Error> {
        let waiting = self.transact(|tree| {
            tree.begin()?;
            manifest_rows::save_manifest(&tree.db, &manifest)?;
            tree.waiting_for(manifest.digest())
        })?;
        for ino in waiting {
            match self.inode(ino) {
                Ok(inode) => self.compare(&inode, &manifest)?,
                Err(Error::NoNode(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells which chunks of a node are those of a manifest that has come.
    fn compare(&self, inode: &Inode, manifest: &Arc<Manifest>) -> Result<(), Error> {
        let mut content_state = inode.content_state_mut();
        if content_state.content.is_none_or(|content| content.digest != manifest.digest()) {
            return Ok(());
        }
        let dropped = self.transact(|tree| {
            tree.count_blocks(inode.ino, manifest)?;
            tree.compare_previous(inode.ino, manifest)
        })?;
        if !dropped.is_empty() {
            self.sync_journal()?;
            if let Some(file) = self.data.existing(inode.ino)? {
                for run in runs(&dropped, manifest.size()) {
                    data_files::punch(&file, run)?;
                }
            }
        }
        self.tree().reload(inode.ino, &mut content_state)
    }

    /// The runs of `range` that are not here, aligned to [`crate::store::BLOCK_SIZE`] but for the end of the file.
    pub(crate) fn missing(&self, ino: Ino, range: Range<u64>) -> Result<Vec<Range<u64>>, Error> {
        let inode = self.inode(ino)?;
        let content_state = inode.content_state();
        let size = inode.attributes().size;
        Ok(content_state.chunks.missing(size, range))
    }

    /// Takes bytes of content `digest` that were fetched for the node. `offset` is a multiple of
    /// [`crate::store::BLOCK_SIZE`], and so is the end unless it is the end of the content.
    ///
    /// A chunk that has all of its bytes is checked; a damaged one is dropped ([`Error::Corrupt`]).
    pub(crate) fn fill(
        &self,
        ino: Ino,
        digest: Digest,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Filled, Error> {
        self.ensure_space(bytes.len() as u64)?;
        let inode = self.inode(ino)?;
        let manifest = {
            let content_state = inode.content_state();
            match content_state.content {
                Some(content) if content.digest == digest => {
                    known_manifest(&content_state, content)?
                }
                _ => return Ok(Filled::Ignored),
            }
        };
        let manifest = manifest.ok_or(Error::NoManifest(ino))?;
        let fetched = FetchedBytes { ino, manifest: &manifest, offset, bytes };
        fetched.check_whole_chunks()?;
        let filled = {
            let mut content_state = inode.content_state_mut();
            if content_state.content.is_none_or(|content| content.digest != digest) {
                return Ok(Filled::Ignored);
            }
            self.take(&fetched, &inode, &mut content_state)?
        };
        self.enforce_cache_limit()?;
        Ok(filled)
    }

    fn take(
        &self,
        fetched: &FetchedBytes<'_>,
        inode: &Inode,
        content_state: &mut ContentState,
    ) -> Result<Filled, Error> {
        let wanted: Vec<Chunk> = fetched
            .chunks()
            .filter(|chunk| chunk.index() < content_state.chunks.base_chunks())
            .filter(|chunk| content_state.chunks.state(chunk.index()) == ChunkState::Absent)
            .collect();
        if wanted.is_empty() {
            return Ok(Filled::Ignored);
        }
        let file = self.data.open(fetched.ino, inode.attributes().size)?;
        let mut complete = Vec::new();
        for chunk in wanted {
            let part = fetched.part(chunk);
            file.write_all_at(fetched.bytes_of(&part), part.start)
                .map_err(while_doing("writing a data file"))?;
            if content_state.chunks.note_filled(chunk, &part) {
                if part != chunk.range() {
                    check_stored(&file, fetched, chunk, content_state)?;
                }
                complete.push(chunk);
            }
        }
        if !complete.is_empty() {
            self.transact(|tree| {
                for chunk in &complete {
                    tree.add_cached(fetched.ino, chunk.length() as i64)?;
                    tree.set_unsynced(fetched.ino, chunk.index())?;
                }
                tree.edit(fetched.ino)?.used_at = meta::now();
                Ok::<(), Error>(())
            })?;
        }
        for chunk in complete {
            content_state.chunks.set(chunk.index(), ChunkState::Clean);
        }
        Ok(Filled::Stored)
    }
}

/// Bytes that were fetched.
struct FetchedBytes<'a> {
    ino: Ino,
    manifest: &'a Manifest,
    offset: u64,
    bytes: &'a [u8],
}

impl FetchedBytes<'_> {
    fn range(&self) -> Range<u64> {
        self.offset..self.manifest.size().min(self.offset + self.bytes.len() as u64)
    }

    /// The chunks that it has bytes of.
    fn chunks(&self) -> impl Iterator<Item = Chunk> {
        let size = self.manifest.size();
        chunks_of(&self.range()).filter_map(move |index| Chunk::new(index, size))
    }

    /// The part of a chunk that was fetched.
    fn part(&self, chunk: Chunk) -> Range<u64> {
        let (range, chunk) = (self.range(), chunk.range());
        range.start.max(chunk.start)..range.end.min(chunk.end)
    }

    fn bytes_of(&self, part: &Range<u64>) -> &[u8] {
        &self.bytes[(part.start - self.offset) as usize..(part.end - self.offset) as usize]
    }

    /// Checks the chunks that are wholly in it, before anything is locked.
    fn check_whole_chunks(&self) -> Result<(), Error> {
        for chunk in self.chunks() {
            let part = self.part(chunk);
            if part == chunk.range() {
                self.check(chunk, self.bytes_of(&part))?;
            }
        }
        Ok(())
    }

    fn check(&self, chunk: Chunk, bytes: &[u8]) -> Result<(), Error> {
        if self.manifest.chunk(chunk.index()) == Some(hash_chunk(chunk, bytes)) {
            Ok(())
        } else {
            Err(Error::Corrupt { ino: self.ino, index: chunk.index() })
        }
    }
}

/// Checks a chunk that came in several pieces; a damaged one is forgotten.
fn check_stored(
    file: &File,
    fetched: &FetchedBytes<'_>,
    chunk: Chunk,
    content_state: &mut ContentState,
) -> Result<(), Error> {
    let mut bytes = vec![0; chunk.length() as usize];
    data_files::read_or_zeros(file, &mut bytes, chunk.range().start)?;
    fetched
        .check(chunk, &bytes)
        .inspect_err(|_damaged| content_state.chunks.drop_partial(chunk.index()))
}

impl Tree {
    /// The nodes that have a content and wait for its manifest.
    fn waiting_for(&mut self, digest: Digest) -> Result<Vec<Ino>, Error> {
        let mut waiting = inode_queries::with_previous(&self.db, digest)?;
        for ino in self.loaded_inos() {
            if self.record(ino)?.content.is_some_and(|content| content.digest == digest) {
                waiting.push(ino);
            }
        }
        waiting.sort_unstable();
        waiting.dedup();
        Ok(waiting)
    }

    /// Keeps the chunks of an older content that are equal in the new one, and gives up the others:
    /// their indexes, to be punched.
    pub(crate) fn compare_previous(
        &mut self,
        ino: Ino,
        manifest: &Manifest,
    ) -> Result<Vec<u64>, Error> {
        let record = self.record(ino)?;
        let Some(previous) = record.previous else { return Ok(Vec::new()) };
        let before = record.cached;
        let old = manifest_rows::manifest(&self.db, previous)?;
        let mut cached = 0;
        let mut dropped = Vec::new();
        for (index, _clean) in chunk_rows::chunk_rows(&self.db, ino)? {
            let digest = old.as_ref().and_then(|old| old.chunk(index));
            if digest.is_some() && digest == manifest.chunk(index) && !manifest.is_hole(index) {
                cached += Chunk::new(index, manifest.size()).map_or(0, Chunk::length);
            } else {
                chunk_rows::delete_chunk(&self.db, ino, index)?;
                dropped.push(index);
            }
        }
        self.add_cached(ino, cached as i64 - before as i64)?;
        self.edit(ino)?.previous = None;
        Ok(dropped)
    }

    /// Reads the state of a content again after its rows changed.
    pub(crate) fn reload(
        &mut self,
        ino: Ino,
        content_state: &mut ContentState,
    ) -> Result<(), Error> {
        let record = self.record(ino)?.clone();
        let loaded = self.load(&record)?.into_content_state();
        content_state.content = loaded.content;
        content_state.manifest = loaded.manifest;
        content_state.content_dirty = loaded.content_dirty;
        content_state.chunks.take_states(loaded.chunks);
        content_state.is_lost = loaded.is_lost;
        content_state.synced_size = loaded.synced_size;
        Ok(())
    }
}
