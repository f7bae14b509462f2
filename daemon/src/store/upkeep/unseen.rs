//! Unseen changes: programs write to data files that the kernel has been lent, and nobody tells.
//!
//! Each file that is lent for writing is looked at every second, and whenever somebody asks what is to be uploaded. One that has
//! changed counts as changed as a whole. A mapping that a program has written through outlives its descriptor, and both outlive the
//! daemon, so what could be written stays lent until nobody can write to the data file any more.

use std::sync::Arc;
use std::time::Duration;

use crate::store::core::Store;
use crate::store::disk::writers::{begin_write_out, has_writers};
use crate::store::disk::{chunk_rows, inode_queries, meta};
use crate::store::error::{Error, while_doing};
use crate::store::inodes::inode::{ContentState, Inode};
use crate::store::inodes::loan::{Stamp, Writer};
use crate::store::invalidation::Invalidation;
use crate::store::node::{Access, Ino};

/// Age from which a stamp is another one after the next write also where the file system's clock is coarse: two changes within a
/// tick of it have the same.
const STAMP_AGE: i64 = 20_000_000;
/// Tries to find a file at rest, and the pause between them.
const SETTLE_TRIES: u32 = 5;
const SETTLE_PAUSE: Duration = Duration::from_millis(10);

impl Store {
    /// Takes in that programs have written to what is lent, unseen.
    pub(crate) fn take_in_unseen(&self) -> Result<(), Error> {
        for inode in self.lent.all() {
            let mut content_state = inode.content_state_mut();
            if self.take_in(&inode, &mut content_state)? {
                self.report([Invalidation::Attributes(inode.ino)]);
            }
            if !inode.lent.is_left_to_others() {
                continue;
            }
            self.data.close(inode.ino);
            if !has_writers(&self.data.path(inode.ino)).unwrap_or(true) {
                self.end_lending(&inode, &mut content_state)?;
                drop(content_state);
                self.close(&inode, Access::Write)?;
            }
        }
        Ok(())
    }

    /// Lends files again that programs write to which opened them with a daemon before this one, as recovery has found and
    /// written down.
    pub(crate) fn lend_again(&self) -> Result<(), Error> {
        let files = inode_queries::lent(&self.tree().db)?;
        for ino in files {
            let Some(file) = self.data.open_to_look(ino)? else { continue };
            let mut tree = self.tree();
            let inode = match tree.opened(ino, Access::Write) {
                // Without a name and a session it has ended with that.
                Err(Error::NoNode(_) | Error::NoContent(_)) => continue,
                opened => opened?,
            };
            let record = tree.record(ino)?;
            let modified = record.lent.unwrap_or_default();
            let known = Stamp { modified, size: record.attributes.size };
            drop(tree);
            inode.lent.begin_writing(Arc::new(file), known, Writer::Unknown);
            tracing::debug!(%ino, "a program still writes to a file past a daemon that ended");
            self.lent.insert(inode);
        }
        Ok(())
    }

    /// Waits a little for a file that is lent for writing to be at rest: whatever changes it afterwards changes its stamp. Number of
    /// the unseen changes then; `None` if it goes on changing.
    pub(crate) fn settle(&self, inode: &Inode) -> Result<Option<u64>, Error> {
        for again in 0..SETTLE_TRIES {
            if again > 0 {
                std::thread::sleep(SETTLE_PAUSE);
            }
            let (before, _) = inode.unseen();
            let Some(file) = inode.lent.file() else { return Ok(Some(before)) };
            if inode.lent.may_be_mapped() {
                begin_write_out(&file).map_err(while_doing("writing out a data file"))?;
            }
            let (after, stamp) = inode.unseen();
            let age = stamp.map_or(0, |stamp| meta::now() - stamp.modified);
            if after == before && (age > STAMP_AGE || self.data.has_fine_stamps()) {
                return Ok(Some(after));
            }
        }
        Ok(None)
    }

    /// Has the states of the chunks tell of what was written unseen; true if anything was.
    pub(crate) fn take_in(
        &self,
        inode: &Inode,
        content_state: &mut ContentState,
    ) -> Result<bool, Error> {
        let (unseen, _) = inode.unseen();
        if content_state.unseen == unseen {
            return Ok(false);
        }
        if !content_state.content_dirty || content_state.chunks.base_chunks() > 0 {
            match self.commit_all_new(inode.ino) {
                Err(Error::NoNode(_)) => {}
                committed => committed?,
            }
            content_state.chunks.truncate_base(0);
            content_state.content_dirty = true;
        } else {
            self.notify_dirty();
        }
        content_state.unseen = unseen;
        Ok(true)
    }

    /// Has the rows of a content say that no chunk of it is known to the server.
    fn commit_all_new(&self, ino: Ino) -> Result<(), Error> {
        self.transact(|tree| {
            tree.flush_attributes(ino)?;
            tree.revive(ino)?;
            tree.drop_previous(ino)?;
            chunk_rows::delete_chunks_from(&tree.db, ino, 0)?;
            let cached = tree.record(ino)?.cached;
            tree.add_cached(ino, -(cached as i64))?;
            let record = tree.edit_and_bump(ino)?;
            record.content_dirty = true;
            record.base_chunks = 0;
            Ok(())
        })
    }

    /// Somebody may write to a data file though no opening of it is left.
    pub(crate) fn keep_lent(
        &self,
        inode: &Inode,
        content_state: &mut ContentState,
    ) -> Result<(), Error> {
        self.take_in(inode, content_state)?;
        let tree = self.tree();
        inode.opened(Access::Write);
        drop(tree);
        inode.lent.add_writer(Writer::Unknown);
        Ok(())
    }

    /// Nobody can write to a data file unseen any more.
    pub(crate) fn end_lending(
        &self,
        inode: &Inode,
        content_state: &mut ContentState,
    ) -> Result<(), Error> {
        let ino = inode.ino;
        self.take_in(inode, content_state)?;
        inode.lent.end_writing();
        self.lent.remove(ino);
        let is_recorded = match self.tree().record(ino) {
            Ok(record) => record.lent.is_some(),
            Err(Error::NoNode(_)) => false,
            Err(error) => return Err(error),
        };
        if is_recorded {
            self.transact(|tree| {
                tree.flush_attributes(ino)?;
                tree.edit(ino)?.lent = None;
                Ok::<(), Error>(())
            })?;
        }
        Ok(())
    }
}
