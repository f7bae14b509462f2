//! The inodes in memory: how they are loaded, how long they stay, and when their attributes reach their rows.

use std::sync::Arc;

use miaofs::content::{CHUNK_SIZE, Chunk, Manifest};
use miaofs::protocol::files::Kind;

use super::transaction::{Moment, Tree};
use crate::store::disk::chunk_rows::{self, ChunkState};
use crate::store::disk::data_files::{self, DataFiles};
use crate::store::disk::database::Database;
use crate::store::disk::record::Record;
use crate::store::disk::{manifest_rows, meta};
use crate::store::error::{Error, while_doing};
use crate::store::inodes::chunks::{Chunks, runs};
use crate::store::inodes::inode::Inode;
use crate::store::node::{Access, Ino};

/// Inodes whose state is kept after they were closed.
const INODES_MAX: usize = 2048;
/// Inodes that are looked at when one is loaded: of very many open ones, not all each time.
const TRIMMED: usize = 4;
/// Resolution of the time at which a node was last opened, in nanoseconds.
const USED_STEP: i64 = 60_000_000_000;

impl Tree {
    /// The state of an inode that is in memory already.
    pub(crate) fn loaded_inode(&self, ino: Ino) -> Option<&Arc<Inode>> {
        self.inodes.peek(&ino)
    }

    /// True if a program has the file open.
    pub(crate) fn is_open(&self, ino: Ino) -> bool {
        self.loaded_inode(ino).is_some_and(|inode| inode.is_open())
    }

    /// All inodes that are in memory.
    pub(crate) fn loaded_inos(&self) -> Vec<Ino> {
        self.inodes.iter().map(|(ino, _)| *ino).collect()
    }

    /// The state of an inode, read from its rows if need be.
    pub(crate) fn inode(&mut self, ino: Ino) -> Result<Arc<Inode>, Error> {
        if let Some(inode) = self.inodes.get(&ino) {
            return Ok(Arc::clone(inode));
        }
        let record = self.present(ino)?.clone();
        let inode = Arc::new(self.load(&record)?);
        self.trim_inodes();
        self.inodes.put(ino, Arc::clone(&inode));
        Ok(inode)
    }

    /// Reads what is to be known of an inode. Chunks that are not in its data file though rows say so are fetched again.
    pub(crate) fn load(&mut self, record: &Record) -> Result<Inode, Error> {
        // A file that was made just now has none yet.
        let is_new = record.content_dirty && record.attributes.size == 0;
        let length = if is_new { None } else { data_length(&self.data, record.ino)? };
        let (inode, gone) = load_inode(&self.db, &self.data, record, length)?;
        if self.moment == Moment::Now {
            self.drop_gone(record.ino, &gone)?;
            if length.is_some_and(|it| it != record.attributes.size)
                && !inode.content_state().is_lost
            {
                resize(&self.data, record, length)?;
            }
        }
        Ok(inode)
    }

    /// Has the rows say of chunks that they are not here, with the transaction in progress or in one of its own.
    pub(crate) fn drop_gone(&mut self, ino: Ino, gone: &[u64]) -> Result<(), Error> {
        if gone.is_empty() {
            return Ok(());
        }
        tracing::warn!(%ino, chunks = gone.len(), "a data file lacks bytes: they are fetched again");
        if self.is_in_transaction() {
            return self.delete_gone(ino, gone);
        }
        self.transact(|tree| tree.delete_gone(ino, gone)).map(|((), _)| ())
    }

    fn delete_gone(&mut self, ino: Ino, gone: &[u64]) -> Result<(), Error> {
        let size = self.record(ino)?.content.map_or(0, |content| content.size);
        let mut bytes = 0;
        for index in gone {
            chunk_rows::delete_chunk(&self.db, ino, *index)?;
            bytes += Chunk::new(*index, size).map_or(0, Chunk::length);
        }
        self.add_cached(ino, -(bytes as i64))
    }

    /// The state of a regular file.
    pub(crate) fn file_inode(&mut self, ino: Ino) -> Result<Arc<Inode>, Error> {
        match self.present(ino)?.attributes.kind {
            Kind::File => self.inode(ino),
            _ => Err(Error::NoContent(ino)),
        }
    }

    /// Counts a new handle on a regular file.
    pub(crate) fn opened(&mut self, ino: Ino, access: Access) -> Result<Arc<Inode>, Error> {
        let inode = self.file_inode(ino)?;
        self.note_used(ino)?;
        inode.opened(access);
        Ok(inode)
    }

    /// Forgets the state of inodes that were closed longest ago.
    fn trim_inodes(&mut self) {
        for _try in 0..self.inodes.len().saturating_sub(INODES_MAX).min(TRIMMED) {
            let Some((ino, inode)) = self.inodes.pop_lru() else { return };
            if inode.is_open() || inode.attributes().dirty {
                self.inodes.put(ino, inode);
                continue;
            }
            match Arc::try_unwrap(inode) {
                Ok(gone) => {
                    if gone.into_content_state().chunks.has_partials() {
                        self.unloaded_partials.push(ino);
                    }
                }
                Err(shared) => drop(self.inodes.put(ino, shared)),
            }
        }
    }

    /// Has the size and times of a closed inode written with the next transaction.
    pub(crate) fn flush_attributes_later(&mut self, ino: Ino) {
        self.flush_queue.push(ino);
    }

    /// Number of closed inodes that wait to have their attributes flushed.
    pub(crate) fn waiting_to_flush(&self) -> usize {
        self.flush_queue.len()
    }

    /// Writes the size and times of every inode that has newer ones in memory.
    pub(crate) fn flush_all_attributes(&mut self) -> Result<(), Error> {
        for inode in self.inodes_with_dirty_attributes() {
            self.flush_attributes(inode.ino)?;
        }
        Ok(())
    }

    /// The inodes whose size and times in memory are newer than their rows.
    pub(crate) fn inodes_with_dirty_attributes(&self) -> Vec<Arc<Inode>> {
        let dirty = self.inodes.iter().filter(|(_, inode)| inode.attributes().dirty);
        dirty.map(|(_, inode)| Arc::clone(inode)).collect()
    }

    /// Writes the size and times of an inode to its row.
    ///
    /// `dirty` is cleared before the values are read: a write that comes meanwhile finds it clear
    /// and marks the node again, behind this transaction.
    pub(crate) fn flush_attributes(&mut self, ino: Ino) -> Result<(), Error> {
        let Some(inode) = self.inodes.peek(&ino).cloned() else { return Ok(()) };
        if !inode.attributes().dirty {
            return Ok(());
        }
        self.begin()?.flushed.push(Arc::clone(&inode));
        let (attributes, stamp) = {
            let mut attributes = inode.attributes();
            attributes.dirty = false;
            (*attributes, inode.lent.found().1)
        };
        let blocks = self.data.blocks(ino).unwrap_or(attributes.size.div_ceil(512));
        let record = match self.edit(ino) {
            Ok(record) => record,
            Err(Error::NoNode(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        record.attributes.size = attributes.size;
        record.attributes.mtime = attributes.mtime;
        record.attributes.ctime = attributes.ctime;
        record.written_at = attributes.written_at;
        record.blocks = blocks;
        record.attributes_dirty = false;
        if record.content_dirty && record.base_chunks == 0 {
            // The row tells of all up to here. One that says of chunks that they are clean tells of less.
            record.lent = stamp.map(|stamp| stamp.modified);
        }
        Ok(())
    }

    /// Gives up what is left of an older content, whose chunks were to be compared with the new one's.
    pub(crate) fn drop_previous(&mut self, ino: Ino) -> Result<(), Error> {
        let record = self.record(ino)?;
        if record.previous.is_some() {
            let cached = record.cached;
            chunk_rows::delete_chunks_from(&self.db, ino, 0)?;
            self.add_cached(ino, -(cached as i64))?;
            self.edit(ino)?.previous = None;
        }
        Ok(())
    }

    /// Remembers that a node whose bytes are cache was opened; coarsely, with the next transaction.
    pub(crate) fn note_used(&mut self, ino: Ino) -> Result<(), Error> {
        let now = meta::now();
        let record = self.record(ino)?;
        if record.cached > 0 && now.abs_diff(record.used_at) > USED_STEP.unsigned_abs() {
            self.used.push((ino, now));
        }
        Ok(())
    }

    pub(crate) fn write_used(&mut self) -> Result<(), Error> {
        for (ino, now) in std::mem::take(&mut self.used) {
            match self.edit(ino) {
                Ok(record) => record.used_at = now,
                Err(Error::NoNode(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Reads what is to be known of an inode whose data file is so long, if it has one; beside it the chunks that are
/// not there though rows say so.
///
/// A hole of the manifest has no row; its bytes are made zeros again here, because a crash may have
/// come between a change of content and the punching that it asked for.
fn load_inode(
    db: &Database,
    data: &DataFiles,
    record: &Record,
    length: Option<u64>,
) -> Result<(Inode, Vec<u64>), Error> {
    let (length, size) = (length.unwrap_or(0), record.attributes.size);
    let manifest = match record.content {
        Some(content) if record.base_chunks > 0 && content.size > CHUNK_SIZE => {
            manifest_rows::manifest(db, content.digest)?
        }
        _ => None,
    };
    let mut chunks = Chunks::absent(record.base_chunks);
    let rows = match record.base_chunks {
        0 => Vec::new(),
        _ => chunk_rows::chunk_rows(db, record.ino)?,
    };
    if record.previous.is_some() {
        let is_gone =
            |index: &u64| Chunk::new(*index, size).is_none_or(|it| it.range().end > length);
        let gone = rows.into_iter().map(|(index, _)| index).filter(is_gone).collect();
        return Ok((Inode::new(record, manifest, chunks), gone));
    }
    for (index, state) in rows {
        chunks.set(index, state);
    }
    if let Some(manifest) = &manifest {
        zero_holes(data, record.ino, manifest, &mut chunks)?;
    }
    let inode = Inode::new(record, manifest, chunks);
    let gone = inode.content_state_mut().lose_beyond(length, size);
    Ok((inode, gone))
}

/// Length of the data file of a node, if it has one.
pub(crate) fn data_length(data: &DataFiles, ino: Ino) -> Result<Option<u64>, Error> {
    let Some(file) = data.existing(ino)? else { return Ok(None) };
    let found = file.metadata().map_err(while_doing("looking at a data file"))?;
    Ok(Some(found.len()))
}

/// Makes the data file of a content as long as the content, which a crash may have kept it from.
fn resize(data: &DataFiles, record: &Record, length: Option<u64>) -> Result<(), Error> {
    // What is behind the end of a content that only this device has is nobody's to cut off here.
    let is_longer = length.is_some_and(|length| length > record.attributes.size);
    match data.existing(record.ino)? {
        Some(file) if !record.content_dirty || !is_longer => {
            file.set_len(record.attributes.size).map_err(while_doing("mending a data file"))
        }
        _ => Ok(()),
    }
}

/// Makes sure that the holes of a manifest read as zeros, and counts them as here.
pub(crate) fn zero_holes(
    data: &DataFiles,
    ino: Ino,
    manifest: &Manifest,
    chunks: &mut Chunks,
) -> Result<(), Error> {
    let holes: Vec<u64> = (0..chunks.base_chunks().min(manifest.chunk_count()))
        .filter(|index| manifest.is_hole(*index) && chunks.state(*index) == ChunkState::Absent)
        .collect();
    if holes.is_empty() {
        return Ok(());
    }
    if let Some(file) = data.existing(ino)? {
        data_files::punch_data(&file, runs(&holes, manifest.size()))?;
    }
    for index in holes {
        chunks.set(index, ChunkState::Clean);
    }
    Ok(())
}
