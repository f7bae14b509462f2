//! Copies bytes of one file to another without passing them: by reference, else below, between data files.
//!
//! A chunk that is copied to its own place is the same chunk ([`Reference`]): the target takes over the content
//! that the source's chunks are equal to, and which of them are not here. What of them is here is copied
//! beside it, so that the copy can be read offline; where the disk has no room for that, it is left to be fetched.
//!
//! All other bytes are copied as if they were written. They must be here, and so must what a write needs.
//!
//! Each call does a step and locks both contents for no longer, the lower inode number first.

use std::cmp::Ordering;
use std::fs::File;
use std::ops::Range;

use miaofs::content::{CHUNK_SIZE, Chunk};
use miaofs::protocol::files::ContentRef;

use super::content::{Content, SIZE_MAX, changed_by, missing_for_write};
use super::reference::{CopyRange, Reference, Side};
use crate::store::disk::chunk_rows::{self, ChunkRowState, ChunkState};
use crate::store::disk::{base_rows, data_files, meta};
use crate::store::error::{Error, while_doing};
use crate::store::inodes::chunks::{chunks_of, runs};
use crate::store::inodes::inode::ContentState;

/// Bytes that are copied on the disk in one step.
const STEP: u64 = 8 * CHUNK_SIZE;

/// Result of a step of copying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Copied {
    /// So many bytes are copied; none at the end of the source only.
    Done(u64),
    /// These bytes of the source must be fetched first; then try again.
    SourceMissing(Range<u64>),
    /// These bytes of the target must be fetched first; then try again.
    TargetMissing(Range<u64>),
}

impl Content {
    /// Copies the first bytes of a range of `source` into this file, as many as one step takes; mtime and
    /// ctime become `now`. In one file, the ranges must not overlap.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::TooLarge`]; nothing is copied then, or a part.
    pub(crate) fn copy_from(
        &self,
        source: &Self,
        copy_range: CopyRange,
        now: i64,
    ) -> Result<Copied, Error> {
        source.take_in_unseen()?;
        self.take_in_unseen()?;
        let rest = source.inode.attributes().size.saturating_sub(copy_range.from);
        let copy_range = CopyRange { length: copy_range.length.min(rest), ..copy_range };
        let end = copy_range.to.saturating_add(copy_range.length);
        if end > SIZE_MAX {
            return Err(Error::TooLarge(end));
        }
        let space = match self.store.ensure_space(copy_range.length.min(STEP)) {
            Err(Error::NoSpace) => 0,
            made => made.map(|()| STEP)?,
        };
        let step = Step { target: self, source, copy_range, space, now };
        let copied = match source.ino().cmp(&self.ino()) {
            Ordering::Equal => step.within(&mut self.inode.content_state_mut()),
            Ordering::Less => {
                let from = source.inode.content_state();
                step.between(&from, &mut self.inode.content_state_mut())
            }
            Ordering::Greater => {
                let mut into = self.inode.content_state_mut();
                step.between(&source.inode.content_state(), &mut into)
            }
        };
        let copied = copied?;
        self.store.enforce_cache_limit()?;
        Ok(copied)
    }
}

/// One step of copying.
struct Step<'a> {
    target: &'a Content,
    source: &'a Content,
    copy_range: CopyRange,
    /// Bytes that the disk has room for.
    space: u64,
    now: i64,
}

impl Step<'_> {
    fn within(&self, content_state: &mut ContentState) -> Result<Copied, Error> {
        content_state.not_lost(self.target.ino())?;
        let size = self.target.inode.attributes().size;
        let copy_range = self.copy_range.up_to(size);
        if !content_state.chunks.is_here(&copy_range.source()) {
            return Ok(Copied::SourceMissing(copy_range.source()));
        }
        self.bytes(content_state, copy_range)
    }

    fn between(&self, from: &ContentState, into: &mut ContentState) -> Result<Copied, Error> {
        from.not_lost(self.source.ino())?;
        into.not_lost(self.target.ino())?;
        let source = Side { content_state: from, size: self.source.inode.attributes().size };
        let target = Side { content_state: into, size: self.target.inode.attributes().size };
        // Of what the kernel reads by itself nothing may be missing.
        if !self.target.inode.lent.is_lent()
            && let Some(reference) = Reference::find(&source, &target, self.copy_range, self.space)
            && self.may_change_content(into, reference.content)?
        {
            return self.refer(reference, into);
        }
        let copy_range = self.copy_range.up_to(source.size);
        if !from.chunks.is_here(&copy_range.source()) {
            return Ok(Copied::SourceMissing(copy_range.source()));
        }
        self.bytes(into, copy_range)
    }

    /// A content that was brought to the server and is not committed yet stays, for the commit to name.
    fn may_change_content(&self, into: &ContentState, content: ContentRef) -> Result<bool, Error> {
        if into.content.is_none() || into.content == Some(content) {
            return Ok(true);
        }
        let base = base_rows::base(&self.target.store.tree().db, self.target.ino())?;
        Ok(base.is_some_and(|base| base.content == into.content))
    }

    /// Copies bytes that are here, as a write does.
    fn bytes(&self, into: &mut ContentState, copy_range: CopyRange) -> Result<Copied, Error> {
        if copy_range.length == 0 {
            return Ok(Copied::Done(0));
        }
        if self.space < copy_range.length {
            return Err(Error::NoSpace);
        }
        let (store, ino) = (&self.target.store, self.target.ino());
        let size = self.target.inode.attributes().size;
        let range = changed_by(size, copy_range.target());
        if let Some(needed) = missing_for_write(into, size, &range, copy_range.to) {
            return Ok(Copied::TargetMissing(needed));
        }
        let from = store.data.open(self.source.ino(), self.source.inode.attributes().size)?;
        let to = store.data.open(ino, size)?;
        self.target.mark_dirty(into, &range, self.now)?;
        into.chunks.note_written(chunks_of(&range));
        // What is punched could not be brought back, were the mark lost with the machine's power.
        if data_files::has_data(&to, copy_range.target())?
            && data_files::has_hole(&from, copy_range.source())?
        {
            store.sync_journal()?;
        }
        match data_files::copy(&from, copy_range.source(), &to, copy_range.to) {
            Ok(()) => Ok(Copied::Done(copy_range.length)),
            Err(error) => {
                self.target.commit_partial_write(&to, size)?;
                Err(error)
            }
        }
    }

    /// Makes chunks of the target those of the source: first not here, then, as far as their bytes are, here.
    fn refer(&self, reference: Reference, into: &mut ContentState) -> Result<Copied, Error> {
        if let Some(edge) = reference.edge
            && into.chunks.state(edge) == ChunkState::Absent
            && let Some(chunk) = Chunk::new(edge, self.target.inode.attributes().size)
        {
            return Ok(Copied::TargetMissing(chunk.range()));
        }
        let range = reference.range();
        let file = self.target.store.data.open(self.target.ino(), reference.size)?;
        let doing = while_doing("extending a data file");
        if file.metadata().map_err(&doing)?.len() < reference.size {
            file.set_len(reference.size).map_err(&doing)?;
        }
        let is_dirtied = |(index, state): (u64, &ChunkState)| {
            let was_dirty = into.chunks.state(index) == ChunkState::Dirty;
            (*state == ChunkState::Dirty && !was_dirty).then_some(index)
        };
        let dirtied: Vec<u64> = (0..).zip(&reference.states).filter_map(is_dirtied).collect();
        self.target.sync_old_bytes(into, &dirtied)?;
        self.commit(&reference, into)?;
        if data_files::has_data(&file, range.clone())? {
            self.target.store.sync_journal()?;
            data_files::punch(&file, range.clone())?;
        }
        self.copy_beside(&reference, &file, into)?;
        Ok(Copied::Done(range.end - range.start))
    }

    /// Has the rows and the memory tell of a reference, with none of its bytes here.
    fn commit(&self, reference: &Reference, into: &mut ContentState) -> Result<(), Error> {
        let ino = self.target.ino();
        let is_whole = reference.is_whole();
        let lost = reference.chunks.clone().chain(reference.edge);
        let given_up: u64 = lost.map(|index| into.cached_bytes(index)).sum();
        self.target.store.transact(|tree| {
            tree.flush_attributes(ino)?;
            tree.revive(ino)?;
            tree.drop_previous(ino)?;
            tree.add_cached(ino, -(given_up as i64))?;
            chunk_rows::delete_chunks(&tree.db, ino, reference.chunks.clone())?;
            chunk_rows::delete_chunks_from(&tree.db, ino, reference.states.len() as u64)?;
            for (index, state) in (0..).zip(&reference.states) {
                if *state == ChunkState::Dirty && reference.is_newly_dirty(index, into) {
                    chunk_rows::set_chunk(&tree.db, ino, index, ChunkRowState::Dirty)?;
                }
            }
            let record = tree.edit_and_bump(ino)?;
            record.attributes.size = reference.size;
            record.attributes.mtime = self.now;
            record.attributes.ctime = self.now;
            record.written_at = self.now;
            record.blocks = reference.size.div_ceil(512);
            record.content = Some(reference.content);
            record.base_chunks = reference.states.len() as u64;
            record.content_dirty = !is_whole;
            match &reference.manifest {
                Some(manifest) => tree.count_blocks(ino, manifest),
                None => Ok(()),
            }
        })?;
        into.content = Some(reference.content);
        into.manifest = reference.manifest.clone();
        into.content_dirty = !is_whole;
        into.chunks.replace(reference.states.clone());
        // What a snapshot says of the content that was, it does not say of this one.
        into.chunks.begin_snapshot();
        let mut attributes = self.target.inode.attributes();
        attributes.size = reference.size;
        attributes.mtime = self.now;
        attributes.ctime = self.now;
        attributes.written_at = self.now;
        Ok(())
    }

    /// Copies what is here of chunks that were taken over; a full disk leaves it to be fetched.
    fn copy_beside(
        &self,
        reference: &Reference,
        file: &File,
        into: &mut ContentState,
    ) -> Result<(), Error> {
        let ino = self.target.ino();
        let runs = runs(&reference.here, reference.content.size);
        let Some(from) = self.target.store.data.existing(self.source.ino())? else {
            return Ok(());
        };
        for run in runs {
            match data_files::copy(&from, run.clone(), file, run.start) {
                Err(Error::NoSpace) => return Ok(()),
                copied => copied?,
            }
        }
        self.target.store.transact(|tree| {
            for index in &reference.here {
                tree.set_unsynced(ino, *index)?;
                tree.add_cached(ino, reference.length(*index) as i64)?;
            }
            tree.edit(ino)?.used_at = meta::now();
            Ok::<(), Error>(())
        })?;
        for index in &reference.here {
            into.chunks.set(*index, ChunkState::Clean);
        }
        Ok(())
    }
}

impl CopyRange {
    /// The part that a step copies on the disk, from a source of `size` bytes: up to the next chunk if chunks
    /// stay in their places, since that one may be had by reference.
    fn up_to(self, size: u64) -> Self {
        let mut length = self.length.min(size.saturating_sub(self.from)).min(STEP);
        if self.from == self.to {
            length = length.min(CHUNK_SIZE - self.from % CHUNK_SIZE);
        }
        Self { length, ..self }
    }

    fn source(self) -> Range<u64> {
        self.from..self.from + self.length
    }

    fn target(self) -> Range<u64> {
        self.to..self.to + self.length
    }
}
