//! Owners and permissions that a mount shows in place of the files' own, as other FUSE file systems do.

use crate::store::Attributes;

/// Bits of a mode that say who may read, write and execute.
const PERMISSIONS: u32 = 0o777;

/// Owner, group and permissions of every file as they are shown; where one is `None`, the file's own. The kernel decides by what is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Presentation {
    /// `uid=N`: the owner.
    pub uid: Option<u32>,
    /// `gid=N`: the group.
    pub gid: Option<u32>,
    /// `umask=M`: all permissions but these.
    pub umask: Option<u32>,
}

impl Presentation {
    /// The attributes as they are shown.
    pub(super) fn of(self, mut attributes: Attributes) -> Attributes {
        attributes.uid = self.uid.unwrap_or(attributes.uid);
        attributes.gid = self.gid.unwrap_or(attributes.gid);
        if let Some(umask) = self.umask {
            attributes.mode = attributes.mode & !PERMISSIONS | PERMISSIONS & !umask;
        }
        attributes
    }
}
