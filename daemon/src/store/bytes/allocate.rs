//! Zeros and reserved space in a content: punching holes, writing zeros, reserving blocks of the disk.
//!
//! Zeros are a write like any other: the chunks are committed as dirty before a byte changes, and one
//! that is not here is fetched first unless all of it becomes zeros. Unlike bytes that are written,
//! blocks that are given back may be gone for good before the journal has reached the disk, so where
//! a chunk was equal to the server's, the journal is made durable in between.
//!
//! Reserved blocks read as zeros, also behind the end of the file, and belong to nothing but the data
//! file: it is as long as its row says all the same, so recovery knows nothing of them. They stay
//! until the file is cut, or its bytes are given up as cache because the server has them.

use std::fs::File;
use std::ops::Range;

use miaofs::content::Manifest;

use super::content::{Availability, Content, SIZE_MAX, missing_for_resize, missing_for_write};
use crate::store::disk::chunk_rows::ChunkState;
use crate::store::disk::data_files;
use crate::store::error::Error;
use crate::store::inodes::chunks::chunks_of;
use crate::store::inodes::inode::ContentState;
use crate::store::node::Ino;
use crate::store::tree::transaction::Tree;

/// Effect of fallocate(2) on the size of a file that the range ends behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    /// The file grows up to the end of the range.
    Extend,
    /// The size stays (`FALLOC_FL_KEEP_SIZE`).
    KeepSize,
}

impl Growth {
    fn size_after(self, size: u64, end: u64) -> u64 {
        match self {
            Self::Extend => size.max(end),
            Self::KeepSize => size,
        }
    }
}

impl Content {
    /// Reserves blocks of this machine's disk for a range; its bytes stay. mtime and ctime become `now`.
    ///
    /// # Errors
    /// [`Error::NoSpace`] when less than the floor would stay free; [`Error::TooLarge`].
    pub(crate) fn reserve(
        &self,
        range: Range<u64>,
        growth: Growth,
        now: i64,
    ) -> Result<Availability<()>, Error> {
        self.ensure_space_for(&range)?;
        let mut content_state = self.current_state()?;
        content_state.not_lost(self.inode.ino)?;
        let size = self.inode.attributes().size;
        let after = growth.size_after(size, range.end);
        if let Some(needed) = missing_for_resize(&content_state, size, after) {
            return Ok(Availability::Missing(needed));
        }
        let file = self.store.data.open(self.inode.ino, size)?;
        data_files::reserve(&file, range)?;
        self.resize_locked(&mut content_state, after, now)
    }

    /// Makes a range a hole: it reads as zeros and takes no room. The size stays; mtime and ctime
    /// become `now`.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub(crate) fn punch(&self, range: Range<u64>, now: i64) -> Result<Availability<()>, Error> {
        check_end(&range)?;
        let mut content_state = self.current_state()?;
        content_state.not_lost(self.inode.ino)?;
        let size = self.inode.attributes().size;
        self.clear(&mut content_state, range, (size, now), data_files::punch)
    }

    /// Makes a range read as zeros and keeps blocks for it. mtime and ctime become `now`.
    ///
    /// # Errors
    /// As [`Content::reserve`].
    pub(crate) fn zero(
        &self,
        range: Range<u64>,
        growth: Growth,
        now: i64,
    ) -> Result<Availability<()>, Error> {
        self.ensure_space_for(&range)?;
        let mut content_state = self.current_state()?;
        content_state.not_lost(self.inode.ino)?;
        let after = growth.size_after(self.inode.attributes().size, range.end);
        self.clear(&mut content_state, range, (after, now), data_files::zero)
    }

    /// Makes a range zeros in the way of `erase`, then has the file be of size `after`.
    fn clear(
        &self,
        content_state: &mut ContentState,
        range: Range<u64>,
        (after, now): (u64, i64),
        erase: impl FnOnce(&File, Range<u64>) -> Result<(), Error>,
    ) -> Result<Availability<()>, Error> {
        let size = self.inode.attributes().size;
        let inside = range.start.min(size)..range.end.min(size);
        let needed = match inside.is_empty() {
            true => missing_for_resize(content_state, size, after),
            false => missing_for_write(content_state, size, &inside, inside.start),
        };
        if let Some(needed) = needed {
            return Ok(Availability::Missing(needed));
        }
        let file = self.store.data.open(self.inode.ino, size)?;
        if !inside.is_empty() {
            let chunks = chunks_of(&inside);
            let is_clean = |index| content_state.chunks.state(index) == ChunkState::Clean;
            let gives_up_clean = chunks.clone().any(is_clean);
            self.mark_dirty(content_state, &inside, now)?;
            content_state.chunks.note_written(chunks);
            if gives_up_clean {
                self.store.sync_journal()?;
            }
        }
        erase(&file, range)?;
        if inside.is_empty() || after != size {
            return self.resize_locked(content_state, after, now);
        }
        Ok(Availability::Ready(()))
    }

    /// Sees to it that the disk has room for what of a range has no blocks yet.
    fn ensure_space_for(&self, range: &Range<u64>) -> Result<(), Error> {
        check_end(range)?;
        let bytes = match self.store.data.existing(self.inode.ino)? {
            Some(file) => holes_in(&file, range)?,
            None => range.end - range.start,
        };
        self.store.ensure_space(bytes)
    }
}

fn check_end(range: &Range<u64>) -> Result<(), Error> {
    if range.end > SIZE_MAX { Err(Error::TooLarge(range.end)) } else { Ok(()) }
}

/// Bytes of a range that the disk has no data of. Blocks that are reserved only count, too: asking
/// for more room than is needed is safe.
fn holes_in(file: &File, range: &Range<u64>) -> Result<u64, Error> {
    let mut bytes = 0;
    let mut at = range.start;
    while at < range.end {
        let data = data_files::next_data(file, at)?.unwrap_or(range.end).min(range.end);
        bytes += data - at;
        at = match data < range.end {
            true => data_files::next_hole(file, data)?.unwrap_or(range.end),
            false => range.end,
        };
    }
    Ok(bytes)
}

impl Tree {
    /// Counts the blocks of a content that came from the server without its holes, which the manifest
    /// tells of. Being given up changes nothing: they are the blocks that it takes with all of it here.
    pub(crate) fn count_blocks(&mut self, ino: Ino, manifest: &Manifest) -> Result<(), Error> {
        let record = self.record(ino)?;
        let blocks = manifest.data_bytes().div_ceil(512);
        if !record.content_dirty && record.blocks > blocks {
            self.edit(ino)?.blocks = blocks;
        }
        Ok(())
    }
}
