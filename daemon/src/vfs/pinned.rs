//! Files that lost their last name to another one, pinned until the kernel has forgotten them.
//!
//! Who opens a file has found its inode just before. If a rename takes its name between the two, the file must
//! open all the same: the kernel looks a second time after `ESTALE`, but not a third, so a name that is replaced
//! all the time could not be opened at every moment. What the kernel knows it names in `FORGET` when nobody
//! uses it any more; for a file without a name that is at once.

use miaofs::protocol::files::Kind;

use crate::store::{Access, Content, Ino};

use super::{EntryName, Error, Vfs};

impl Vfs {
    /// The kernel does not know this node any more; it asks for the name before it uses it again. Without a
    /// name it ends.
    pub(crate) fn forget(&self, ino: Ino) {
        self.store.forget(ino);
        // Dropped here, not under the lock: closing the last handle ends the file.
        drop(self.pinned.remove(ino));
    }

    /// Opens the file at a name, if that is the only name that it has, so that it outlives the name.
    pub(super) fn pin_if_last_link(&self, entry: EntryName<'_>) -> Result<Option<Content>, Error> {
        match self.lookup(entry)? {
            Some(found) if found.attributes.kind == Kind::File && found.links == 1 => {
                Ok(Some(self.store.open_content(found.ino, Access::Read)?))
            }
            _ => Ok(None),
        }
    }
}
