//! Gives numbers to new nodes.

use miaofs::protocol::ids::NodeId;

use super::numbers::of_id;
use super::transaction::Tree;
use crate::store::disk::pending_rows;
use crate::store::error::Error;
use crate::store::node::Ino;

impl Tree {
    /// A number for a new node: the one that follows from its id, unless another node has that one, or it is remembered of a
    /// node that has ended: then one that no node ever had.
    ///
    /// So a node that comes back has the number that it had after the daemon was started anew. The kernel is told to drop
    /// what it may have of such a file, as it is for each content that comes.
    pub(crate) fn number_for(&mut self, id: NodeId) -> Result<Ino, Error> {
        match of_id(id) {
            Some(ino) if !self.is_used(ino)? => Ok(ino),
            _ => self.next_number(),
        }
    }

    /// A number that no node ever had.
    pub(crate) fn next_number(&mut self) -> Result<Ino, Error> {
        self.begin()?;
        self.inos.next(&self.db)
    }

    /// True if a node has this number, or what is left of one.
    fn is_used(&mut self, ino: Ino) -> Result<bool, Error> {
        if self.inos.may_have_ended(ino) || pending_rows::is_pending_unlink(&self.db, ino)? {
            return Ok(true);
        }
        match self.record(ino) {
            Ok(_) => Ok(true),
            Err(Error::NoNode(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
