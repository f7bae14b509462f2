//! Eviction: giving up bytes that can be fetched again, those of files unused longest first.
//!
//! Only nodes that the server has as they are here are touched. A chunk is given up in three steps:
//! its row goes, the journal is made durable, its blocks are punched if nobody filled it meanwhile.
//! So neither a crash nor power loss leaves a row that tells of bytes that are not there.

use std::sync::atomic::Ordering;

use crate::store::core::Store;
use crate::store::disk::chunk_rows::{self, ChunkState};
use crate::store::disk::space::free_bytes;
use crate::store::disk::{data_files, inode_queries};
use crate::store::error::Error;
use crate::store::inodes::chunks::runs;
use crate::store::inodes::inode::{ContentState, Inode};
use crate::store::node::Ino;

/// Bytes that may be written before the disk is asked again how full it is.
const ASK_EVERY: u64 = 16 * 1024 * 1024;
/// Nodes that are given up between two syncs of the journal.
const BATCH: usize = 64;
/// Chunks behind and ahead of the last one read that an open file keeps.
const NEAR: u64 = 8;

/// Bytes of clean content that are here, and how many may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheUsage {
    /// Bytes here that could be fetched again.
    pub bytes: u64,
    /// Bytes that may be here.
    pub limit: u64,
}

/// Size of a block of the disk: 4 KiB, or parts of it.
const DISK_BLOCK: u64 = 4096;

/// Chunks that are given up but still have blocks.
struct EvictedChunks {
    ino: Ino,
    chunks: Vec<u64>,
}

impl Store {
    /// Bytes in the cache and its limit.
    pub(crate) fn cache_usage(&self) -> CacheUsage {
        CacheUsage { bytes: self.tree().cached, limit: self.options.cache_limit }
    }

    /// Gives up the local bytes of a node that the server has; how many there were. Nothing but the
    /// tests asks for one node yet.
    #[cfg(test)]
    pub(crate) fn evict(&self, ino: Ino) -> Result<u64, Error> {
        let mut evicted = Vec::new();
        let bytes = self.evict_chunks(ino, u64::MAX, 0, &mut evicted)?;
        self.punch(evicted)?;
        Ok(bytes)
    }

    /// Gives up cached bytes while others have filled the disk beyond the floor, or the reserve is to be made again.
    /// The caller has nothing locked.
    pub(crate) fn free_the_floor(&self) -> Result<(), Error> {
        let wanted = self.options.free_floor.max(self.reserve.wants());
        let missing = wanted.saturating_sub(self.free_bytes_for(wanted)?);
        if missing > 0 && self.tree().cached > 0 { self.evict_bytes(missing) } else { Ok(()) }
    }

    /// Bytes that may still be written to a disk with `free` bytes: not the floor, but what the cache would give up.
    pub(crate) fn writable_bytes(&self, free: u64) -> u64 {
        free.saturating_add(self.tree().cached).saturating_sub(self.options.free_floor)
    }

    /// Sees to it that `bytes` more may be written. The caller has nothing locked.
    ///
    /// # Errors
    /// [`Error::NoSpace`] when less than the floor would stay free and nothing can be given up.
    pub(crate) fn ensure_space(&self, bytes: u64) -> Result<(), Error> {
        if self.space.take(bytes) {
            return Ok(());
        }
        let needed = self.options.free_floor.saturating_add(bytes).saturating_add(ASK_EVERY);
        let free = self.free_bytes_for(needed)?;
        let floor = self.options.free_floor;
        if free.saturating_add(self.tree().cached) < floor.saturating_add(bytes) {
            // Giving up the whole cache would not help.
            return Err(Error::NoSpace);
        }
        if free < needed {
            self.evict_bytes(needed - free)?;
        }
        let free = self.free_bytes()?.saturating_sub(self.options.free_floor);
        if free < bytes {
            return Err(Error::NoSpace);
        }
        self.space.allow((free - bytes).min(ASK_EVERY));
        Ok(())
    }

    /// Gives up what is above the limit. The caller has nothing locked.
    pub(crate) fn enforce_cache_limit(&self) -> Result<(), Error> {
        self.punch_unloaded_partials()?;
        let limit = self.options.cache_limit;
        let cached = self.tree().cached;
        // A little more than needed, so that not every chunk that comes has to wait for another to go.
        if cached > limit { self.evict_bytes(cached - limit + limit / 32) } else { Ok(()) }
    }

    /// Free bytes of the disk. If there are fewer than `needed`, what programs have removed goes from it first, which waits for
    /// the journal otherwise. The caller has nothing locked.
    fn free_bytes_for(&self, needed: u64) -> Result<u64, Error> {
        let free = self.free_bytes()?;
        if free >= needed {
            return Ok(free);
        }
        if self.tree().pending_unlinks.is_empty() {
            self.wait_for_unlinks();
        } else {
            self.sync_tree()?;
        }
        self.free_bytes()
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        free_bytes(self.data.folder())
    }

    /// Gives up at least `wanted` bytes if there are as many, those of open files last.
    fn evict_bytes(&self, wanted: u64) -> Result<(), Error> {
        let mut left = wanted;
        for near in [None, Some(NEAR)] {
            let mut after = (i64::MIN, Ino(0));
            while left > 0 {
                let candidates = inode_queries::evictable(&self.tree().db, after, BATCH)?;
                let Some(last) = candidates.last() else { break };
                after = *last;
                let mut evicted = Vec::new();
                for (_used_at, ino) in candidates {
                    if left == 0 {
                        break;
                    }
                    if near.is_some() || !self.tree().is_open(ino) {
                        let near = near.unwrap_or_default();
                        left = left.saturating_sub(self.evict_chunks(
                            ino,
                            left,
                            near,
                            &mut evicted,
                        )?);
                    }
                }
                self.punch(evicted)?;
            }
        }
        Ok(())
    }

    /// Takes away the rows of clean chunks until `wanted` bytes are given up, sparing those `near`
    /// the last one read; how many bytes it were.
    fn evict_chunks(
        &self,
        ino: Ino,
        wanted: u64,
        near: u64,
        evicted: &mut Vec<EvictedChunks>,
    ) -> Result<u64, Error> {
        let inode = match self.inode(ino) {
            Ok(inode) => inode,
            Err(Error::NoNode(_)) => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut content_state = inode.content_state_mut();
        if inode.lent.is_lent() {
            return Ok(0);
        }
        let last = inode.last_read.load(Ordering::Relaxed);
        let spared = last.saturating_sub(near)..last.saturating_add(near);
        let mut bytes = 0;
        let mut chunks = Vec::new();
        for index in content_state.chunks.in_state(ChunkState::Clean) {
            if bytes >= wanted {
                break;
            }
            let length = content_state.cached_bytes(index);
            if length > 0 && !spared.contains(&index) {
                bytes += length;
                chunks.push(index);
            }
        }
        let taken = self.transact(|tree| {
            if content_state.content_dirty || tree.record(ino)?.is_dirty() {
                return Ok(false);
            }
            for index in &chunks {
                chunk_rows::delete_chunk(&tree.db, ino, *index)?;
            }
            tree.add_cached(ino, -(bytes as i64))?;
            Ok::<_, Error>(true)
        })?;
        if !taken || chunks.is_empty() {
            return Ok(0);
        }
        for index in &chunks {
            content_state.chunks.set(*index, ChunkState::Absent);
        }
        evicted.push(EvictedChunks { ino, chunks });
        Ok(bytes)
    }

    /// Gives blocks back to the disk once no power loss can bring their rows back.
    fn punch(&self, evicted: Vec<EvictedChunks>) -> Result<(), Error> {
        if evicted.is_empty() {
            return Ok(());
        }
        self.sync_journal()?;
        for EvictedChunks { ino, chunks } in evicted {
            let inode = match self.inode(ino) {
                Ok(inode) => inode,
                Err(Error::NoNode(_)) => continue,
                Err(error) => return Err(error),
            };
            let content_state = inode.content_state_mut();
            self.punch_absent(&inode, &content_state, chunks)?;
        }
        Ok(())
    }

    /// Gives blocks back that were fetched of chunks which never became whole, once their inodes have
    /// left memory and the masks that told of them with these.
    fn punch_unloaded_partials(&self) -> Result<(), Error> {
        let unloaded = std::mem::take(&mut self.tree().unloaded_partials);
        for ino in unloaded {
            let inode = match self.inode(ino) {
                Ok(inode) => inode,
                Err(Error::NoNode(_)) => continue,
                Err(error) => return Err(error),
            };
            let content_state = inode.content_state_mut();
            // Chunks of an older content that wait to be compared count as absent, and have rows.
            if !self.waits_for_manifest(ino)? {
                let absent = content_state.chunks.in_state(ChunkState::Absent).collect();
                self.punch_absent(&inode, &content_state, absent)?;
            }
        }
        Ok(())
    }

    fn waits_for_manifest(&self, ino: Ino) -> Result<bool, Error> {
        match self.tree().record(ino) {
            Ok(record) => Ok(record.previous.is_some()),
            Err(Error::NoNode(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Gives back the blocks of those of the chunks that are absent altogether.
    ///
    /// The last block of a file goes only when all of it is punched, also what is beyond the end; nobody
    /// writes there while the state is locked.
    fn punch_absent(
        &self,
        inode: &Inode,
        content_state: &ContentState,
        mut chunks: Vec<u64>,
    ) -> Result<(), Error> {
        chunks.retain(|index| {
            *index < content_state.chunks.base_chunks()
                && content_state.chunks.state(*index) == ChunkState::Absent
                && !content_state.chunks.has_partial(*index)
        });
        let size = inode.attributes().size;
        if let Some(file) = self.data.existing(inode.ino)? {
            for run in runs(&chunks, size) {
                let end = if run.end == size { size.next_multiple_of(DISK_BLOCK) } else { run.end };
                data_files::punch(&file, run.start..end)?;
            }
        }
        Ok(())
    }
}
