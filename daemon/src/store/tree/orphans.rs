//! The end of a node: of one that has neither a name nor a handle, and of its bytes here.

use miaofs::protocol::files::Kind;

use super::transaction::Tree;
use crate::store::disk::record::NodeStatus;
use crate::store::disk::{chunk_rows, pending_rows};
use crate::store::error::Error;
use crate::store::node::Ino;

impl Tree {
    /// Removes the nodes that have neither name nor handle: of those touched, and of those kept until now.
    pub(super) fn reap_orphans(&mut self) -> Result<(), Error> {
        let released = self.pinned.released();
        self.begin()?.reaped = released.len();
        let dead = self.touched_orphans().into_iter().chain(released);
        let dead: Vec<Ino> = dead.filter(|ino| !self.pinned.holds(*ino)).collect();
        for ino in dead {
            if !self.is_open(ino) && self.is_orphan(ino)? {
                self.reap(ino)?;
            }
        }
        Ok(())
    }

    fn is_orphan(&mut self, ino: Ino) -> Result<bool, Error> {
        match self.record(ino) {
            Ok(record) => Ok(record.is_orphan()),
            Err(Error::NoNode(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes a node: wholly, or to a row that tells the server.
    pub(crate) fn reap(&mut self, ino: Ino) -> Result<(), Error> {
        self.inodes.pop(&ino);
        self.superseded.remove(&ino);
        self.drop_content(ino)?;
        let record = self.edit(ino)?;
        if record.may_be_known() {
            record.status = NodeStatus::Deleted;
            record.content_dirty = false;
            record.attributes_dirty = false;
            record.xattrs = None;
            self.edit_and_bump(ino)?;
            Ok(())
        } else {
            self.delete_node(ino)
        }
    }

    /// Gives up all local bytes of a node: its chunks' rows now, its data file after the journal is durable.
    pub(crate) fn drop_content(&mut self, ino: Ino) -> Result<(), Error> {
        let record = self.record(ino)?;
        if record.attributes.kind != Kind::File {
            return Ok(());
        }
        let cached = record.cached;
        self.add_cached(ino, -(cached as i64))?;
        chunk_rows::delete_chunks_from(&self.db, ino, 0)?;
        if self.data.exists(ino) {
            pending_rows::add_pending_unlink(&self.db, ino)?;
            self.begin()?.pending_unlinks.push(ino);
        }
        Ok(())
    }

    /// Begins a transaction if there is an inode to reap.
    pub(crate) fn reap_released(&mut self) -> Result<(), Error> {
        if self.pinned.has_released() {
            self.begin()?;
        }
        Ok(())
    }
}
