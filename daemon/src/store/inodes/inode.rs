//! The state in memory of an inode that is open or was recently, shared by its handles.
//!
//! Lock order: the content's state, then the tree, then `attributes`. Whoever holds the tree never waits for the
//! state of a content, so no operation on names or attributes waits for data to be read or written; `attributes`
//! is never held over I/O.
//!
//! While `attributes.dirty`, size and times are here and not in the node's row, so that writing to a
//! file that is dirty already costs no transaction: after a crash they are read from the data file.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use miaofs::content::{CHUNK_SIZE, Chunk, Manifest, chunk_count};
use miaofs::protocol::files::ContentRef;

use super::chunks::Chunks;
use super::loan::{Lent, Stamp};
use crate::store::disk::chunk_rows::ChunkState;
use crate::store::disk::record::Record;
use crate::store::error::Error;
use crate::store::node::{Access, Ino};

/// State of one inode, shared by its handles.
#[derive(Debug)]
pub(crate) struct Inode {
    pub(crate) ino: Ino,
    /// Open handles that read only; changed with the tree locked.
    readers: AtomicU32,
    /// Open handles that may write; changed with the tree locked.
    writers: AtomicU32,
    /// Chunk that was read last: its neighbourhood is evicted last.
    pub(crate) last_read: AtomicU64,
    /// Count of the times that a chunk was marked as unsynced; changed with the tree locked.
    unsynced_count: AtomicU64,
    /// Use that the kernel makes of the data file by itself.
    pub(crate) lent: Lent,
    attributes: Mutex<CachedAttributes>,
    content_state: RwLock<ContentState>,
}

/// Attributes that every write changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CachedAttributes {
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    pub(crate) ctime: i64,
    pub(crate) written_at: i64,
    /// The values above are newer than the node's row, which says so too.
    pub(crate) dirty: bool,
}

/// The content that the server knows, and which of its chunks are here or dirty.
#[derive(Debug)]
pub(crate) struct ContentState {
    pub(crate) content: Option<ContentRef>,
    /// Of `content`, when it is known and has more than one chunk.
    pub(crate) manifest: Option<Arc<Manifest>>,
    pub(crate) content_dirty: bool,
    pub(crate) chunks: Chunks,
    /// Bytes that were only here are gone from the data file.
    pub(crate) is_lost: bool,
    /// Length up to which the data file is known to be on the disk.
    pub(crate) synced_size: u64,
    /// Number of the changes unseen by anybody here ([`Lent`]) that the states of the chunks tell of.
    pub(crate) unseen: u64,
}

impl Inode {
    /// The state that a node's row tells, with these chunks.
    pub(crate) fn new(record: &Record, manifest: Option<Arc<Manifest>>, chunks: Chunks) -> Self {
        let attributes = &record.attributes;
        Self {
            ino: record.ino,
            readers: AtomicU32::new(0),
            writers: AtomicU32::new(0),
            last_read: AtomicU64::new(0),
            unsynced_count: AtomicU64::new(0),
            lent: Lent::default(),
            attributes: Mutex::new(CachedAttributes {
                size: attributes.size,
                mtime: attributes.mtime,
                ctime: attributes.ctime,
                written_at: record.written_at,
                dirty: record.attributes_dirty,
            }),
            content_state: RwLock::new(ContentState {
                content: record.content,
                manifest,
                content_dirty: record.content_dirty,
                chunks,
                is_lost: false,
                synced_size: 0,
                unseen: 0,
            }),
        }
    }

    /// The content alone.
    pub(crate) fn into_content_state(self) -> ContentState {
        self.content_state.into_inner().expect("nobody else has it, so nobody panicked with it")
    }

    /// Size and times; of a data file that is lent for writing as they are now.
    pub(crate) fn attributes(&self) -> MutexGuard<'_, CachedAttributes> {
        let mut attributes =
            self.attributes.lock().expect("nothing panics while size and times are locked");
        if self.lent.is_lent_for_writing()
            && let Some(stamp) = self.lent.look()
        {
            attributes.size = stamp.size;
            attributes.mtime = stamp.modified;
            attributes.ctime = stamp.modified;
            attributes.written_at = stamp.modified;
            attributes.dirty = true;
        }
        attributes
    }

    /// Number of the changes so far that nobody here has seen, and the stamp of the data file while it is lent for writing.
    pub(crate) fn unseen(&self) -> (u64, Option<Stamp>) {
        let _looked = self.attributes();
        self.lent.found()
    }

    /// The content, to look at or to read.
    pub(crate) fn content_state(&self) -> RwLockReadGuard<'_, ContentState> {
        self.content_state
            .read()
            .expect("a writer that panicked left the content in an unknown state")
    }

    /// The content, to change.
    pub(crate) fn content_state_mut(&self) -> RwLockWriteGuard<'_, ContentState> {
        self.content_state
            .write()
            .expect("a writer that panicked left the content in an unknown state")
    }

    /// Count of the times that a chunk was marked as unsynced.
    pub(crate) fn unsynced_count(&self) -> u64 {
        self.unsynced_count.load(Ordering::Relaxed)
    }

    /// Remembers that a chunk was marked as unsynced.
    pub(crate) fn note_unsynced(&self) {
        self.unsynced_count.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one handle more.
    pub(crate) fn opened(&self, access: Access) {
        self.count(access).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one handle less.
    pub(crate) fn closed(&self, access: Access) {
        self.count(access).fetch_sub(1, Ordering::Relaxed);
    }

    /// Open handles that may write.
    pub(crate) fn writers(&self) -> u32 {
        self.writers.load(Ordering::Relaxed)
    }

    /// True if any handle is open.
    pub(crate) fn is_open(&self) -> bool {
        self.writers() > 0 || self.readers.load(Ordering::Relaxed) > 0
    }

    fn count(&self, access: Access) -> &AtomicU32 {
        match access {
            Access::Read => &self.readers,
            Access::Write => &self.writers,
        }
    }
}

impl ContentState {
    /// Takes in that the data file is so long: answers the clean chunks beyond, which can be fetched again and are not
    /// here now. If there are dirty ones, they are lost.
    pub(crate) fn lose_beyond(&mut self, length: u64, size: u64) -> Vec<u64> {
        let mut gone = Vec::new();
        for chunk in (length / CHUNK_SIZE..chunk_count(size)).filter_map(|it| Chunk::new(it, size))
        {
            let index = chunk.index();
            let is_hole = || self.manifest.as_ref().is_some_and(|it| it.is_hole(index));
            match self.chunks.state(index) {
                _ if chunk.range().end <= length => {}
                ChunkState::Clean if !is_hole() => {
                    self.chunks.set(index, ChunkState::Absent);
                    gone.push(index);
                }
                ChunkState::Absent | ChunkState::Clean => {}
                ChunkState::Dirty => self.is_lost = true,
            }
        }
        gone
    }

    /// Fails if bytes that were only here are gone.
    pub(crate) fn not_lost(&self, ino: Ino) -> Result<(), Error> {
        if self.is_lost { Err(Error::BytesLost(ino)) } else { Ok(()) }
    }
}

impl Record {
    /// Takes over size and times that are newer in memory.
    pub(crate) fn apply_cached(&mut self, attributes: &CachedAttributes) {
        if attributes.dirty {
            self.attributes.size = attributes.size;
            self.attributes.mtime = attributes.mtime;
            self.attributes.ctime = attributes.ctime;
            self.written_at = attributes.written_at;
        }
    }
}

/// The manifest of the content that local chunks are based on, if it is known.
pub(crate) fn known_manifest(
    content_state: &ContentState,
    content: ContentRef,
) -> Result<Option<Arc<Manifest>>, Error> {
    if content.size > CHUNK_SIZE {
        return Ok(content_state.manifest.clone());
    }
    let manifest = Manifest::of_small(content.digest, content.size)
        .map_err(|_cause| Error::Damaged("the size of a content"))?;
    Ok(Some(Arc::new(manifest)))
}
