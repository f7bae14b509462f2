//! Open files and directories: the numbers that the kernel knows them by, and what it may keep of them.

use fuser::{FileHandle, FopenFlags, INodeNo};

use crate::vfs::{HandleId, SyncMode};

use super::adapter::Adapter;
use super::translate::ino;

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
}
