//! The inodes that live: which are in memory, how long they stay, and when their sizes and times reach their rows.

use std::sync::Arc;

use miaofs::content::{CHUNK_SIZE, Manifest};
use miaofs::protocol::files::Kind;

use super::transaction::Tree;
use crate::store::disk::chunk_rows::{self, ChunkState};
use crate::store::disk::data_files::{self, DataFiles};
use crate::store::disk::database::Database;
use crate::store::disk::record::Record;
use crate::store::disk::{manifest_rows, meta};
use crate::store::error::{Error, while_doing};
use crate::store::inodes::chunks::{Chunks, runs};
use crate::store::inodes::inode::Live;
use crate::store::node::{Access, Ino};

/// Inodes whose state is kept after they were closed.
const LIVE_MAX: usize = 2048;
/// How exactly it is known when a node was last opened, in nanoseconds.
const USED_STEP: i64 = 60_000_000_000;

impl Tree {
    /// The state of an inode that is in memory already.
    pub(crate) fn living(&self, ino: Ino) -> Option<&Arc<Live>> {
        self.live.peek(&ino)
    }

    /// All inodes that are in memory.
    pub(crate) fn living_inos(&self) -> Vec<Ino> {
        self.live.iter().map(|(ino, _)| *ino).collect()
    }

    /// The state of an inode, read from its rows if need be.
    pub(crate) fn live(&mut self, ino: Ino) -> Result<Arc<Live>, Error> {
        if let Some(live) = self.live.get(&ino) {
            return Ok(Arc::clone(live));
        }
        let record = self.present(ino)?.clone();
        let live = Arc::new(load_live(&self.db, &self.data, &record)?);
        self.trim_live();
        self.live.put(ino, Arc::clone(&live));
        Ok(live)
    }

    /// The state of a regular file.
    pub(crate) fn live_file(&mut self, ino: Ino) -> Result<Arc<Live>, Error> {
        match self.present(ino)?.attributes.kind {
            Kind::File => self.live(ino),
            _ => Err(Error::NoContent(ino)),
        }
    }

    /// Counts a new handle on a regular file.
    pub(crate) fn opened(&mut self, ino: Ino, access: Access) -> Result<Arc<Live>, Error> {
        let live = self.live_file(ino)?;
        self.note_used(ino)?;
        live.opened(access);
        Ok(live)
    }

    /// Forgets the state of inodes that were closed longest ago.
    fn trim_live(&mut self) {
        for _try in 0..self.live.len().saturating_sub(LIVE_MAX) {
            let Some((ino, live)) = self.live.pop_lru() else { return };
            if live.is_open() || live.hot().unsettled {
                self.live.put(ino, live);
                continue;
            }
            match Arc::try_unwrap(live) {
                Ok(gone) => {
                    if gone.into_body().chunks.has_partials() {
                        self.forgotten.push(ino);
                    }
                }
                Err(shared) => drop(self.live.put(ino, shared)),
            }
        }
    }

    /// Has the size and times of a closed inode written with the next transaction.
    pub(crate) fn settle_later(&mut self, ino: Ino) {
        self.unsettled.push(ino);
    }

    /// How many inodes wait to be settled.
    pub(crate) fn waiting_to_settle(&self) -> usize {
        self.unsettled.len()
    }

    /// Writes the size and times of every inode that has newer ones in memory.
    pub(crate) fn settle_all(&mut self) -> Result<(), Error> {
        for live in self.unsettled_lives() {
            self.settle(live.ino)?;
        }
        Ok(())
    }

    /// The inodes whose size and times in memory are newer than their rows.
    pub(crate) fn unsettled_lives(&self) -> Vec<Arc<Live>> {
        let unsettled = self.live.iter().filter(|(_, live)| live.hot().unsettled);
        unsettled.map(|(_, live)| Arc::clone(live)).collect()
    }

    /// Writes the size and times of an inode to its row.
    ///
    /// `unsettled` falls before the values are read: a write that comes meanwhile finds it fallen
    /// and marks the node again, behind this transaction.
    pub(crate) fn settle(&mut self, ino: Ino) -> Result<(), Error> {
        let Some(live) = self.live.peek(&ino).cloned() else { return Ok(()) };
        if !live.hot().unsettled {
            return Ok(());
        }
        self.begin()?.settled.push(Arc::clone(&live));
        let hot = {
            let mut hot = live.hot();
            hot.unsettled = false;
            *hot
        };
        let blocks = self.data.blocks(ino).unwrap_or(hot.size.div_ceil(512));
        let record = match self.edit(ino) {
            Ok(record) => record,
            Err(Error::NoNode(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        record.attributes.size = hot.size;
        record.attributes.mtime = hot.mtime;
        record.attributes.ctime = hot.ctime;
        record.written_at = hot.written_at;
        record.blocks = blocks;
        record.unsettled = false;
        Ok(())
    }

    /// Gives up what is left of an older content, whose chunks were to be compared with the new one's.
    pub(crate) fn forget_previous(&mut self, ino: Ino) -> Result<(), Error> {
        let record = self.record(ino)?;
        if record.previous.is_some() {
            let cached = record.cached;
            chunk_rows::delete_chunks_from(&self.db, ino, 0)?;
            self.count_cached(ino, -(cached as i64))?;
            self.edit(ino)?.previous = None;
        }
        Ok(())
    }

    /// Remembers that a node whose bytes are cache was opened; coarsely, with the next transaction.
    pub(crate) fn note_used(&mut self, ino: Ino) -> Result<(), Error> {
        let now = meta::now();
        let record = self.record(ino)?;
        if record.cached > 0 && now - record.used_at > USED_STEP {
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

/// Reads what is to be known of an inode that begins to live.
///
/// A hole of the manifest has no row; its bytes are made zeros again here, because a crash may have
/// come between a change of content and the punching that it asked for.
pub(crate) fn load_live(db: &Database, data: &DataFiles, record: &Record) -> Result<Live, Error> {
    if !record.content_dirty {
        fit_clean(data, record)?;
    }
    if record.kept == 0 {
        return Ok(Live::new(record, None, Chunks::default()));
    }
    let manifest = match record.content {
        Some(content) if content.size > CHUNK_SIZE => manifest_rows::manifest(db, content.digest)?,
        _ => None,
    };
    let mut chunks = Chunks::absent(record.kept);
    if record.previous.is_none() {
        for (index, state) in chunk_rows::chunk_rows(db, record.ino)? {
            chunks.set(index, state);
        }
        if let Some(manifest) = &manifest {
            open_holes(data, record.ino, manifest, &mut chunks)?;
        }
    }
    Ok(Live::new(record, manifest, chunks))
}

/// Makes the data file of a clean content as long as the content, which a crash may have kept it from.
fn fit_clean(data: &DataFiles, record: &Record) -> Result<(), Error> {
    let Some(file) = data.existing(record.ino)? else { return Ok(()) };
    let length = file.metadata().map_err(while_doing("looking at a data file"))?.len();
    if length != record.attributes.size {
        file.set_len(record.attributes.size).map_err(while_doing("mending a data file"))?;
    }
    Ok(())
}

/// Makes sure that the holes of a manifest read as zeros, and counts them as here.
pub(crate) fn open_holes(
    data: &DataFiles,
    ino: Ino,
    manifest: &Manifest,
    chunks: &mut Chunks,
) -> Result<(), Error> {
    let holes: Vec<u64> = (0..chunks.kept().min(manifest.chunk_count()))
        .filter(|index| manifest.is_hole(*index) && chunks.state(*index) == ChunkState::Absent)
        .collect();
    if holes.is_empty() {
        return Ok(());
    }
    if let Some(file) = data.existing(ino)? {
        data_files::give_back(&file, runs(&holes, manifest.size()))?;
    }
    for index in holes {
        chunks.set(index, ChunkState::Clean);
    }
    Ok(())
}
