//! Nodes that outlive their last name though no content of theirs is open: directories and special files.
//!
//! The kernel opens these by itself and tells nobody, but it says when it has forgotten a number for
//! good. So whoever takes the last name away has the node kept ([`Change::pin`]): a row without a
//! name, like an unlinked file that is open, until [`Store::forget`]. Which nodes are kept is known in
//! memory only: closing the store and recovery end what has no name. There are never more than the
//! kernel has inodes in use.

use std::collections::HashSet;

use super::tree::Tree;
use super::{Change, Error, Ino, Store};

/// The nodes that are kept, and those that were.
#[derive(Debug, Default)]
pub(super) struct Kept {
    inos: HashSet<Ino>,
    /// Forgotten, and to be buried with the next transaction: it saves one for each.
    forgotten: Vec<Ino>,
}

impl Kept {
    /// Whether a node stays without a name.
    pub(super) fn holds(&self, ino: Ino) -> bool {
        self.inos.contains(&ino)
    }

    /// What the next transaction is to bury, if it has no name.
    pub(super) fn forgotten(&self) -> &[Ino] {
        &self.forgotten
    }

    /// They are buried.
    pub(super) fn buried(&mut self) {
        self.forgotten.clear();
    }

    fn forget(&mut self, ino: Ino) {
        if self.inos.remove(&ino) {
            self.forgotten.push(ino);
        }
    }
}

impl Change<'_> {
    /// Keeps a node of which the kernel may know more than names, until [`Store::forget`].
    pub(crate) fn pin(&mut self, ino: Ino) {
        self.tree.kept.inos.insert(ino);
    }
}

impl Store {
    /// The kernel does not know this number any more. Without a name the node ends with the next change, or soon.
    pub(crate) fn forget(&self, ino: Ino) {
        self.tree().kept.forget(ino);
    }
}

impl Tree {
    /// Begins a transaction if there is something to bury.
    pub(super) fn bury_forgotten(&mut self) -> Result<(), Error> {
        if !self.kept.forgotten.is_empty() {
            self.begin()?;
        }
        Ok(())
    }

    /// Nobody holds any node any more.
    pub(super) fn forget_all_kept(&mut self) {
        let kept = &mut self.kept;
        kept.forgotten.extend(kept.inos.drain());
    }
}
