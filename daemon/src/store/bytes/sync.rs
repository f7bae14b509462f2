//! What power loss must not undo: how bytes that the kernel has reach the disk, and when rows say that they did.
//!
//! A clean chunk counts as unsynced until its bytes are on the disk: after power loss it is fetched again. Nobody
//! fetches a dirty one, so what it held before must be on the disk before the first of its bytes changes: then
//! power loss takes what was written since, and nothing that was safe on the server.

use super::content::Content;
use crate::store::core::Durable;
use crate::store::disk::chunk_rows::{self, ChunkRowState};
use crate::store::error::{Error, while_doing};
use crate::store::inodes::inode::ContentState;
use crate::store::node::Ino;
use crate::store::tree::transaction::Tree;

impl Content {
    /// Makes what was acknowledged of this file, and all of the tree, survive power loss.
    ///
    /// The bytes go first: a row must not tell of bytes that are not there. Then the row, then the
    /// log that holds it.
    pub(crate) fn sync(&self) -> Result<Durable, Error> {
        let ino = self.inode.ino;
        if let Some(file) = self.store.data.existing(ino)? {
            let before = self.inode.unsynced_count();
            file.sync_data().map_err(while_doing("syncing a data file"))?;
            self.store.transact(|tree| {
                // Bytes of those that became unsynced meanwhile may have come behind the sync.
                if self.inode.unsynced_count() == before {
                    tree.begin()?;
                    chunk_rows::mark_synced(&tree.db, ino)?;
                }
                Ok::<(), Error>(())
            })?;
        }
        self.store.sync_tree()
    }

    /// Has the bytes of some chunks, given in order, be on the disk before they become dirty, and the length of all
    /// that the server has: the end of a hole is nothing else.
    pub(crate) fn sync_old_bytes(
        &self,
        content_state: &mut ContentState,
        chunks: &[u64],
    ) -> Result<(), Error> {
        let ino = self.inode.ino;
        let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else { return Ok(()) };
        let size = self.inode.attributes().size;
        let needed = content_state.content.map_or(0, |content| content.size.min(size));
        if content_state.synced_size >= needed
            && !chunk_rows::any_unsynced(&self.store.tree().db, ino, *first..=*last)?
        {
            return Ok(());
        }
        if let Some(file) = self.store.data.existing(ino)? {
            file.sync_data().map_err(while_doing("syncing a data file"))?;
        }
        content_state.synced_size = size;
        self.store.transact(|tree| {
            tree.begin()?;
            chunk_rows::mark_synced(&tree.db, ino)
        })
    }
}

impl Tree {
    /// Has the row of a chunk say that it is here and clean, though its bytes may not be on the disk yet.
    pub(crate) fn set_unsynced(&mut self, ino: Ino, index: u64) -> Result<(), Error> {
        if let Some(inode) = self.loaded_inode(ino) {
            inode.note_unsynced();
        }
        chunk_rows::set_chunk(&self.db, ino, index, ChunkRowState::Unsynced)
    }
}
