//! Content that comes from the server: manifests, what is missing, and bytes that arrive.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use miaofs::content::{BLOCK_SIZE, BlockDigest, Chunk, ChunkDigest, Digest, Manifest, hash_chunk};
use miaofs::protocol::files::ContentRef;

use crate::store::bytes::content::Content;
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
    /// They were here already, or are not needed any more.
    Ignored,
    /// The content changed meanwhile.
    Superseded,
}

impl Content {
    /// Size of the content that the server is known to have for the file, in bytes; `None` if it has none.
    pub(crate) fn size_on_server(&self) -> Option<u64> {
        self.inode.content_state().content.map(|content| content.size)
    }
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
                _ => return Ok(Filled::Superseded),
            }
        };
        let manifest = manifest.ok_or(Error::NoManifest(ino))?;
        let fetched = FetchedBytes::new(ino, &manifest, offset, bytes);
        fetched.check_whole_chunks()?;
        let filled = {
            let mut content_state = inode.content_state_mut();
            if content_state.content.is_none_or(|content| content.digest != digest) {
                return Ok(Filled::Superseded);
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
        let wanted: Vec<&FetchedChunk> = fetched
            .chunks
            .iter()
            .filter(|it| it.chunk.index() < content_state.chunks.base_chunks())
            .filter(|it| content_state.chunks.state(it.chunk.index()) == ChunkState::Absent)
            .collect();
        if wanted.is_empty() {
            return Ok(Filled::Ignored);
        }
        let file = self.data.open(fetched.ino, inode.attributes().size)?;
        let mut complete = Vec::new();
        for part in wanted {
            file.write_all_at(fetched.bytes_of(part), part.range.start)
                .map_err(while_doing("writing a data file"))?;
            if content_state.chunks.note_filled(part.chunk, &part.blocks) {
                fetched.check_filled(&file, part.chunk, content_state)?;
                complete.push(part.chunk);
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
    chunks: Vec<FetchedChunk>,
}

/// The part of a chunk that was fetched.
struct FetchedChunk {
    chunk: Chunk,
    /// Where in the content it is.
    range: Range<u64>,
    /// Number and digest of each of its blocks.
    blocks: Vec<(u64, BlockDigest)>,
}

impl<'a> FetchedBytes<'a> {
    /// Hashes the blocks, before anything is locked and while the bytes are still in the processor's cache.
    fn new(ino: Ino, manifest: &'a Manifest, offset: u64, bytes: &'a [u8]) -> Self {
        let size = manifest.size();
        let range = offset..size.min(offset + bytes.len() as u64);
        let mut fetched = Self { ino, manifest, offset, bytes, chunks: Vec::new() };
        for chunk in chunks_of(&range).filter_map(|index| Chunk::new(index, size)) {
            let whole = chunk.range();
            let part = range.start.max(whole.start)..range.end.min(whole.end);
            let mut taken = FetchedChunk { chunk, range: part, blocks: Vec::new() };
            let first = (taken.range.start - whole.start) / BLOCK_SIZE;
            let blocks = fetched.bytes_of(&taken).chunks(BLOCK_SIZE as usize);
            let is_whole = |(index, bytes): &(u64, &[u8])| {
                bytes.len() as u64 == BLOCK_SIZE.min(chunk.length() - index * BLOCK_SIZE)
            };
            let digest = |(index, bytes)| (index, BlockDigest::of(chunk, index, bytes));
            taken.blocks = (first..).zip(blocks).filter(is_whole).map(digest).collect();
            fetched.chunks.push(taken);
        }
        fetched
    }

    fn bytes_of(&self, part: &FetchedChunk) -> &'a [u8] {
        &self.bytes
            [(part.range.start - self.offset) as usize..(part.range.end - self.offset) as usize]
    }

    /// Checks the chunks that are wholly in it.
    fn check_whole_chunks(&self) -> Result<(), Error> {
        for part in self.chunks.iter().filter(|part| part.range == part.chunk.range()) {
            let blocks: Vec<_> = part.blocks.iter().map(|(_index, digest)| *digest).collect();
            self.check(part.chunk, part.chunk.digest_of_blocks(&blocks))?;
        }
        Ok(())
    }

    /// Checks a chunk that has all of its blocks by now; a damaged one is forgotten.
    fn check_filled(
        &self,
        file: &File,
        chunk: Chunk,
        content_state: &mut ContentState,
    ) -> Result<(), Error> {
        let digest = match content_state.chunks.filled_digest(chunk) {
            Some(digest) => digest,
            None => {
                let mut bytes = vec![0; chunk.length() as usize];
                data_files::read_or_zeros(file, &mut bytes, chunk.range().start)?;
                hash_chunk(chunk, &bytes)
            }
        };
        self.check(chunk, digest)
            .inspect_err(|_damaged| content_state.chunks.drop_partial(chunk.index()))
    }

    fn check(&self, chunk: Chunk, digest: ChunkDigest) -> Result<(), Error> {
        if self.manifest.chunk(chunk.index()) == Some(digest) {
            Ok(())
        } else {
            Err(Error::Corrupt { ino: self.ino, index: chunk.index() })
        }
    }
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
