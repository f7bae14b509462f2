//! Open files and directories: the numbers that the kernel knows them by, and what it may keep of them.

use fuser::{FileHandle, FopenFlags, INodeNo, OpenAccMode, OpenFlags};

use crate::vfs::{HandleId, SyncMode};

use super::adapter::Adapter;
use super::translate::ino;

/// Version of the kernel's protocol (Linux 6.18) since which a direct write takes along the pages that a reader may have got beside it.
const DIRECT_SINCE: (u32, u32) = (7, 45);

impl Adapter {
    /// The open file of a number; one that was opened with a daemon before this one is opened again.
    pub(super) fn file(&self, node: INodeNo, number: FileHandle) -> HandleId {
        let id = HandleId(number.0);
        self.vfs.keep_open(ino(node), id);
        id
    }

    /// The same of an open directory.
    pub(super) fn directory(&self, node: INodeNo, number: FileHandle) -> HandleId {
        let id = HandleId(number.0);
        self.vfs.keep_directory_open(ino(node), id);
        id
    }

    /// Pages stay valid from one opening to the next, as changes on the server invalidate them. `close`
    /// need not be sent unless it waits for the server.
    pub(super) fn open_flags(&self) -> FopenFlags {
        match self.vfs.sync_mode() {
            SyncMode::Local => FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH,
            SyncMode::Remote => FopenFlags::FOPEN_KEEP_CACHE,
        }
    }

    /// The same of a file that is made. What a program only writes does not go through pages of the kernel: that saves a copy, and
    /// a question for `security.capability` before the first byte.
    pub(super) fn create_flags(&self, flags: OpenFlags) -> FopenFlags {
        let is_safe = self.record.get().is_some_and(|record| record.version >= DIRECT_SINCE);
        match flags.acc_mode() {
            OpenAccMode::O_WRONLY if is_safe => self.open_flags() | FopenFlags::FOPEN_DIRECT_IO,
            _ => self.open_flags(),
        }
    }
}
