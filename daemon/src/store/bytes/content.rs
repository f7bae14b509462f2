//! A handle on the content of a file: reading, writing, cutting, making durable.
//!
//! Bytes that are here are read and written with the inode locked and nothing else. The tree is
//! locked too when a chunk, or the file, becomes dirty; that is committed before any byte changes,
//! so a killed daemon never leaves changed bytes that it takes for clean.
//!
//! Cutting shorter commits the new size first and cuts then, growing grows first: whichever half a
//! crash leaves out, recovery makes the data file as long as the row says.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use miaofs::content::{CHUNK_SIZE, Chunk, chunk_count};

use crate::store::core::Store;
use crate::store::disk::chunk_rows::{self, ChunkRowState, ChunkState};
use crate::store::disk::data_files::read_or_zeros;
use crate::store::error::{Error, while_doing};
use crate::store::inodes::chunks::chunks_of;
use crate::store::inodes::inode::{ContentState, Inode};
use crate::store::node::{Access, Ino};
use crate::store::tree::change::Change;
use crate::store::tree::inode_cache::data_length;
use crate::store::tree::view::View;

/// The largest size of a file: 16 TiB, which is also ext4's.
pub(crate) const SIZE_MAX: u64 = 1 << 44;

/// Result of an operation that needs bytes of a content to be here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Availability<T> {
    /// The bytes were here, and it is done.
    Ready(T),
    /// These bytes must be fetched first; then try again.
    Missing(Range<u64>),
}

/// An open handle. Dropping it closes it: never inside `Store::view` or `Store::change`.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) store: Arc<Store>,
    pub(crate) inode: Arc<Inode>,
    pub(crate) access: Access,
}

impl Store {
    /// Like [`Store::change`], then opens the node that it answers, even one without an entry (`O_TMPFILE`).
    pub(crate) fn change_and_open<T, E: From<Error>>(
        self: &Arc<Self>,
        access: Access,
        change: impl FnOnce(&mut Change<'_>) -> Result<(T, Ino), E>,
    ) -> Result<(T, Content), E> {
        let (answer, inode) = self.transact(|tree| {
            let (answer, ino) = change(&mut Change { view: View { tree } })?;
            let inode = tree.opened(ino, access)?;
            Ok::<_, E>((answer, inode))
        })?;
        Ok((answer, Content { store: Arc::clone(self), inode, access }))
    }

    /// Opens the content of a regular file.
    pub(crate) fn open_content(
        self: &Arc<Self>,
        ino: Ino,
        access: Access,
    ) -> Result<Content, Error> {
        let inode = self.tree().opened(ino, access)?;
        Ok(Content { store: Arc::clone(self), inode, access })
    }
}

impl Content {
    /// The node.
    pub(crate) fn ino(&self) -> Ino {
        self.inode.ino
    }

    /// Access mode of the handle.
    pub(crate) fn access(&self) -> Access {
        self.access
    }

    /// Size of the file in bytes, as far as it is known: of one that is lent as it was when somebody looked last.
    pub(crate) fn size(&self) -> u64 {
        self.inode.attributes().size
    }

    /// Reads at `offset`; short only at the end of the file.
    pub(crate) fn read_at(
        &self,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<Availability<usize>, Error> {
        let content_state = self.inode.content_state();
        let size = self.inode.attributes().size;
        let end = size.min(offset.saturating_add(buffer.len() as u64));
        if offset >= end {
            return Ok(Availability::Ready(0));
        }
        let range = offset..end;
        self.inode.last_read.store(offset / CHUNK_SIZE, Ordering::Relaxed);
        self.store.activity.fetch_add(1, Ordering::Relaxed);
        if !content_state.chunks.is_here(&range) {
            return Ok(Availability::Missing(range));
        }
        content_state.not_lost(self.inode.ino)?;
        let buffer = &mut buffer[..(end - offset) as usize];
        let read = match self.store.data.existing(self.inode.ino)? {
            Some(file) => read_or_zeros(&file, buffer, offset)?,
            None => 0,
        };
        // A program that the kernel lets write by itself may have cut the file.
        if read == buffer.len() || self.inode.lent.is_lent_for_writing() {
            return Ok(Availability::Ready(read));
        }
        drop(content_state);
        buffer.fill(0);
        self.look_again(range)
    }

    /// The data file is shorter than the content: what can be fetched again is; only holes are zeros.
    fn look_again(&self, range: Range<u64>) -> Result<Availability<usize>, Error> {
        let mut content_state = self.inode.content_state_mut();
        let (ino, size) = (self.inode.ino, self.inode.attributes().size);
        let length = data_length(&self.store.data, ino)?.unwrap_or(0);
        let gone = content_state.lose_beyond(length, size);
        content_state.not_lost(ino)?;
        self.store.tree().drop_gone(ino, &gone)?;
        self.store
            .data
            .open(ino, size)?
            .set_len(size)
            .map_err(while_doing("mending a data file"))?;
        Ok(match content_state.chunks.is_here(&range) {
            // Somebody has filled them, or they are holes: the next try tells.
            true if length < range.end && gone.is_empty() => {
                Availability::Ready((range.end - range.start) as usize)
            }
            _ => Availability::Missing(range),
        })
    }

    /// Writes all of `bytes` at `offset`, growing the file if need be; mtime and ctime become `now`.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::TooLarge`]; nothing is written then, or a part of `bytes`.
    pub(crate) fn write_at(
        &self,
        offset: u64,
        bytes: &[u8],
        now: i64,
    ) -> Result<Availability<()>, Error> {
        self.store.activity.fetch_add(1, Ordering::Relaxed);
        self.store.ensure_space(bytes.len() as u64)?;
        self.write_locked(&mut *self.current_state()?, offset, bytes, now)
    }

    /// True if the file goes on at `offset` as `bytes` begin, for one byte at least.
    ///
    /// # Errors
    /// A disk that failed.
    pub(crate) fn begins_at(&self, offset: u64, bytes: &[u8]) -> Result<bool, Error> {
        let mut there = vec![0; bytes.len()];
        match self.read_at(offset, &mut there)? {
            Availability::Ready(0) | Availability::Missing(_) => Ok(false),
            Availability::Ready(length) => Ok(there[..length] == bytes[..length]),
        }
    }

    /// Writes all of `bytes` at the end of the file, wherever that is now, and answers where it was.
    ///
    /// # Errors
    /// As [`Self::write_at`].
    pub(crate) fn append(&self, bytes: &[u8], now: i64) -> Result<Availability<u64>, Error> {
        self.store.ensure_space(bytes.len() as u64)?;
        let mut content_state = self.current_state()?;
        let end = self.inode.attributes().size;
        Ok(match self.write_locked(&mut content_state, end, bytes, now)? {
            Availability::Ready(()) => Availability::Ready(end),
            Availability::Missing(range) => Availability::Missing(range),
        })
    }

    fn write_locked(
        &self,
        content_state: &mut ContentState,
        offset: u64,
        bytes: &[u8],
        now: i64,
    ) -> Result<Availability<()>, Error> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > SIZE_MAX {
            return Err(Error::TooLarge(end));
        }
        if bytes.is_empty() {
            return Ok(Availability::Ready(()));
        }
        content_state.not_lost(self.inode.ino)?;
        let size = self.inode.attributes().size;
        let range = changed_by(size, offset..end);
        if let Some(needed) = missing_for_write(content_state, size, &range, offset) {
            return Ok(Availability::Missing(needed));
        }
        let file = self.store.data.open(self.inode.ino, size)?;
        self.mark_dirty(content_state, &range, now)?;
        content_state.chunks.note_written(chunks_of(&range));
        match file.write_all_at(bytes, offset) {
            Ok(()) => Ok(Availability::Ready(())),
            Err(error) => {
                self.commit_partial_write(&file, size)?;
                Err(while_doing("writing a data file")(error))
            }
        }
    }

    /// Cuts or extends with zeros; mtime and ctime become `now`.
    pub(crate) fn resize(&self, size: u64, now: i64) -> Result<Availability<()>, Error> {
        if size > SIZE_MAX {
            return Err(Error::TooLarge(size));
        }
        self.resize_locked(&mut *self.current_state()?, size, now)
    }

    /// [`Self::resize`] to a size that is not too large.
    pub(crate) fn resize_locked(
        &self,
        content_state: &mut ContentState,
        size: u64,
        now: i64,
    ) -> Result<Availability<()>, Error> {
        if size > 0 {
            content_state.not_lost(self.inode.ino)?;
        }
        let old = self.inode.attributes().size;
        if let Some(needed) = missing_for_resize(content_state, old, size) {
            return Ok(Availability::Missing(needed));
        }
        let edge = edge(old, size);
        // After a loss of power, rows from before a cut would take chunks of the server's for more of a changed file than
        // its data file has, and what is missing between them for zeros; also rows from when fewer of them were changed. A
        // chunk that is cut through cannot be fetched again.
        let base_chunks = content_state.chunks.base_chunks();
        let rows_must_tell = content_state.content_dirty && base_chunks > 0
            || edge.is_some_and(|index| index < base_chunks);
        if size > old {
            self.store
                .data
                .open(self.inode.ino, old)?
                .set_len(size)
                .map_err(while_doing("extending a data file"))?;
        }
        self.commit_size(content_state, size, edge, now)?;
        if size != old {
            let first = edge.unwrap_or(old.min(size) / CHUNK_SIZE);
            content_state.chunks.note_written(first..chunk_count(old.max(size)));
        }
        if size < old
            && let Some(file) = self.store.data.existing(self.inode.ino)?
        {
            if rows_must_tell {
                self.store.sync_journal()?;
            }
            file.set_len(size).map_err(while_doing("cutting a data file"))?;
        }
        content_state.is_lost &= size > 0;
        Ok(Availability::Ready(()))
    }

    /// Has the row say that `range` is dirty, then takes its new size and times over.
    pub(crate) fn mark_dirty(
        &self,
        content_state: &mut ContentState,
        range: &Range<u64>,
        now: i64,
    ) -> Result<(), Error> {
        loop {
            let clean: Vec<u64> = chunks_of(range)
                .take_while(|index| *index < content_state.chunks.base_chunks())
                .filter(|index| content_state.chunks.state(*index) != ChunkState::Dirty)
                .collect();
            if !clean.is_empty() || !content_state.content_dirty || !self.inode.attributes().dirty {
                self.sync_old_bytes(content_state, &clean)?;
                self.commit_dirty(content_state, &clean, now)?;
            }
            let mut attributes = self.inode.attributes();
            if attributes.dirty {
                attributes.size = attributes.size.max(range.end);
                attributes.mtime = now;
                attributes.ctime = now;
                attributes.written_at = now;
                return Ok(());
            }
        }
    }

    fn commit_dirty(
        &self,
        content_state: &mut ContentState,
        chunks: &[u64],
        now: i64,
    ) -> Result<(), Error> {
        let ino = self.inode.ino;
        let given_up: u64 = chunks.iter().map(|index| content_state.cached_bytes(*index)).sum();
        self.store.transact(|tree| {
            // Attributes that wait are flushed now: at the commit that would undo the mark set here.
            tree.flush_attributes(ino)?;
            tree.revive(ino)?;
            tree.drop_previous(ino)?;
            let record = tree.edit_and_bump(ino)?;
            record.content_dirty = true;
            record.attributes_dirty = true;
            // A kill before the bytes are written must not bring back a time from before one that somebody set.
            record.attributes.mtime = now;
            record.attributes.ctime = now;
            record.written_at = now;
            tree.add_cached(ino, -(given_up as i64))?;
            for index in chunks {
                chunk_rows::set_chunk(&tree.db, ino, *index, ChunkRowState::Dirty)?;
            }
            Ok::<(), Error>(())
        })?;
        let mut attributes = self.inode.attributes();
        attributes.dirty = true;
        attributes.mtime = now;
        attributes.ctime = now;
        drop(attributes);
        for index in chunks {
            content_state.chunks.set(*index, ChunkState::Dirty);
        }
        content_state.content_dirty = true;
        Ok(())
    }

    /// Commits a new size and the chunks that it changes.
    fn commit_size(
        &self,
        content_state: &mut ContentState,
        size: u64,
        edge: Option<u64>,
        now: i64,
    ) -> Result<(), Error> {
        let ino = self.inode.ino;
        let base_chunks = content_state.chunks.base_chunks().min(chunk_count(size));
        let edge = edge.filter(|index| *index < base_chunks);
        if let Some(index) = edge
            && content_state.chunks.state(index) != ChunkState::Dirty
        {
            self.sync_old_bytes(content_state, &[index])?;
        }
        let dirties = size != self.inode.attributes().size;
        let given_up: u64 = (base_chunks..content_state.chunks.base_chunks())
            .chain(edge)
            .map(|index| content_state.cached_bytes(index))
            .sum();
        self.store.transact(|tree| {
            tree.flush_attributes(ino)?;
            if dirties {
                tree.revive(ino)?;
                tree.drop_previous(ino)?;
                chunk_rows::delete_chunks_from(&tree.db, ino, base_chunks)?;
            }
            if let Some(index) = edge {
                chunk_rows::set_chunk(&tree.db, ino, index, ChunkRowState::Dirty)?;
            }
            tree.add_cached(ino, -(given_up as i64))?;
            let record = tree.edit_and_bump(ino)?;
            record.attributes.size = size;
            record.attributes.mtime = now;
            record.attributes.ctime = now;
            record.written_at = now;
            record.base_chunks = base_chunks;
            record.content_dirty |= dirties;
            Ok::<(), Error>(())
        })?;
        content_state.chunks.truncate_base(base_chunks);
        content_state.synced_size = content_state.synced_size.min(size);
        if let Some(index) = edge {
            content_state.chunks.set(index, ChunkState::Dirty);
        }
        content_state.content_dirty |= dirties;
        let mut attributes = self.inode.attributes();
        attributes.size = size;
        attributes.mtime = now;
        attributes.ctime = now;
        attributes.written_at = now;
        Ok(())
    }

    /// After a failed write: the file is as long as it was, or as what was written made it.
    pub(crate) fn commit_partial_write(&self, file: &File, before: u64) -> Result<(), Error> {
        let length = file.metadata().map_err(while_doing("looking at a data file"))?.len();
        let size = length.max(before);
        self.store.transact(|tree| {
            self.inode.attributes().size = size;
            tree.flush_attributes(self.inode.ino)?;
            tree.edit(self.inode.ino)?.attributes.size = size;
            Ok(())
        })
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if let Err(error) = self.store.close(&self.inode, self.access) {
            let ino = self.inode.ino;
            tracing::warn!(%ino, error = &error as &dyn std::error::Error, "closing a file failed");
        }
    }
}

impl ContentState {
    /// Bytes of a chunk that count as cache: clean, here, and no hole.
    pub(crate) fn cached_bytes(&self, index: u64) -> u64 {
        let hole = self.manifest.as_ref().is_some_and(|manifest| manifest.is_hole(index));
        match (self.chunks.state(index), self.content) {
            (ChunkState::Clean, Some(content)) if !hole => {
                Chunk::new(index, content.size).map_or(0, Chunk::length)
            }
            _ => 0,
        }
    }
}

/// The chunk whose digest a change of size changes though its first bytes stay: the one that the
/// nearer end falls into, or the first when it becomes the only one or is that no more.
pub(crate) fn edge(old: u64, size: u64) -> Option<u64> {
    let end = old.min(size);
    let keeps_digest = end.is_multiple_of(CHUNK_SIZE) && end != CHUNK_SIZE;
    (old != size && !keeps_digest).then(|| (end - 1) / CHUNK_SIZE)
}

/// Range that writing these bytes to a file of `size` bytes changes: growing changes the digest of the last chunk,
/// even when the bytes come far behind it.
pub(crate) fn changed_by(size: u64, written: Range<u64>) -> Range<u64> {
    let start = match edge(size, size.max(written.end)) {
        Some(_) => written.start.min(size - 1),
        None => written.start.min(size),
    };
    start..written.end
}

/// The chunk that is not here and whose digest a change of size changes, as bytes to be fetched.
pub(crate) fn missing_for_resize(
    content_state: &ContentState,
    old: u64,
    size: u64,
) -> Option<Range<u64>> {
    let chunk = Chunk::new(edge(old, size)?, old)?;
    (content_state.chunks.state(chunk.index()) == ChunkState::Absent).then(|| chunk.range())
}

/// The first chunk that is not here and that a write changes in part, as bytes to be fetched.
///
/// `range` is what changes, `offset` where the given bytes begin: what is before is zeros beyond the end.
pub(crate) fn missing_for_write(
    content_state: &ContentState,
    size: u64,
    range: &Range<u64>,
    offset: u64,
) -> Option<Range<u64>> {
    chunks_of(range)
        .take_while(|index| *index < content_state.chunks.base_chunks())
        .filter(|index| content_state.chunks.state(*index) == ChunkState::Absent)
        .filter_map(|index| Chunk::new(index, size))
        .map(Chunk::range)
        .find(|chunk| offset > chunk.start || range.end < chunk.end)
}
