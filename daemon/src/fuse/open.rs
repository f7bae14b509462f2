//! Open files and directories: the numbers that the kernel knows them by, and what it may keep of them.

use std::ffi::OsStr;
use std::sync::Arc;

use fuser::{
    BackingId, FileHandle, FopenFlags, INodeNo, OpenAccMode, OpenFlags, ReplyCreate, ReplyOpen,
    Request,
};

use crate::store::Ino;
use crate::vfs::{EntryName, Error, FileOrigin, HandleId, IfExists, Stat, SyncMode, Vfs};

use super::adapter::Adapter;
use super::answer::{Answer, GENERATION, LIFETIME, Refuse as _};
use super::passthrough::{Backing, Opened, Passthrough};
use super::trace::Traced;
use super::translate::{attributes, caller, caller_with_umask, errno, ino, open_mode};

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

    /// Opens a file.
    pub(super) fn open_file(
        &self,
        request: &Request,
        (node, flags): (INodeNo, OpenFlags),
        reply: Traced<ReplyOpen>,
    ) {
        let opened = self.vfs.open(caller(request), ino(node), open_mode(flags));
        let tell = self.opening((flags, request.pid()), self.open_flags());
        let opening = opened.map(|handle| tell(ino(node), handle, FileOrigin::Existing));
        self.answer_opened(reply, ino(node), opening);
    }

    /// Makes a file of these permissions and opens it.
    pub(super) fn create_file(
        &self,
        (request, reply): (&Request, Traced<ReplyCreate>),
        name: (INodeNo, &OsStr),
        (permissions, umask): (u32, u32),
        flags: OpenFlags,
    ) {
        let caller = caller_with_umask(request, umask);
        let if_exists = if flags.0 & libc::O_EXCL != 0 { IfExists::Fail } else { IfExists::Open };
        let tell = self.opening((flags, request.pid()), self.create_flags(flags));
        let how = open_mode(flags);
        let make = move |vfs: &Vfs, entry: EntryName<'_>, if_exists| {
            let made = vfs.create_and_open(caller, entry, permissions, (how, if_exists));
            made.map(|(stat, handle, origin)| {
                let opening = tell(stat.ino, handle, origin);
                (stat, opening)
            })
        };
        let again = make.clone();
        let open = move |vfs: &Vfs, entry: EntryName<'_>| again(vfs, entry, IfExists::Open);
        let make = move |vfs: &Vfs, entry: EntryName<'_>| make(vfs, entry, if_exists);
        self.answer_change((request, reply), name, make, open);
    }

    /// Tells of a file that was opened, once the kernel can be told.
    fn opening(
        &self,
        (asked, pid): (OpenFlags, u32),
        flags: FopenFlags,
    ) -> impl Fn(Ino, HandleId, FileOrigin) -> Opening + Clone + use<> {
        let (vfs, passthrough) = (Arc::clone(&self.vfs), Arc::clone(&self.passthrough));
        move |ino, handle, origin| Opening {
            vfs: Arc::clone(&vfs),
            passthrough: Arc::clone(&passthrough),
            opened: Opened { ino, handle, origin, asked, pid, flags },
        }
    }

    /// Closes a file.
    pub(super) fn close(&self, node: INodeNo, number: FileHandle) -> Result<(), Error> {
        let id = self.file(node, number);
        self.passthrough.leave(ino(node), id);
        let released = self.vfs.release(id);
        self.passthrough.closed(id, released.as_ref().ok().copied());
        released.map(drop)
    }

    /// Flags of a file that is made. What a program only writes does not go through pages of the kernel: that saves a copy, and
    /// a question for `security.capability` before the first byte.
    pub(super) fn create_flags(&self, flags: OpenFlags) -> FopenFlags {
        let is_safe = self.record.get().is_some_and(|record| record.version >= DIRECT_SINCE);
        match flags.acc_mode() {
            OpenAccMode::O_WRONLY if is_safe => self.open_flags() | FopenFlags::FOPEN_DIRECT_IO,
            _ => self.open_flags(),
        }
    }
}

/// A file that was opened, until the kernel is told.
pub(super) struct Opening {
    vfs: Arc<Vfs>,
    passthrough: Arc<Passthrough>,
    opened: Opened,
}

impl Opening {
    /// The backing file that the kernel is to use, if there is one, and the flags. What cannot be told to the kernel is closed.
    fn enter(&self, reply: &impl Backing) -> Result<(Option<Arc<BackingId>>, FopenFlags), Error> {
        match self.passthrough.enter(&self.vfs, &self.opened, reply) {
            Ok(Some((id, flags))) => Ok((Some(id), flags)),
            Ok(None) => Ok((None, self.opened.flags)),
            Err(error) => {
                self.passthrough.leave(self.opened.ino, self.opened.handle);
                self.passthrough.closed(self.opened.handle, None);
                self.vfs.release(self.opened.handle)?;
                Err(error)
            }
        }
    }
}

impl Answer<Opening> for ReplyOpen {
    fn accept(self, opening: Opening) {
        let number = FileHandle(opening.opened.handle.0);
        match opening.enter(&self) {
            Ok((Some(id), flags)) => self.opened_passthrough(number, flags, &id),
            Ok((None, flags)) => self.opened(number, flags),
            Err(error) => self.refuse(errno(&error)),
        }
    }
}

impl Answer<(Stat, Opening)> for ReplyCreate {
    fn accept(self, (stat, opening): (Stat, Opening)) {
        let number = FileHandle(opening.opened.handle.0);
        let attributes = attributes(&stat);
        match opening.enter(&self) {
            Ok((Some(id), flags)) => {
                self.created_passthrough(&LIFETIME, &attributes, GENERATION, number, flags, &id);
            }
            Ok((None, flags)) => self.created(&LIFETIME, &attributes, GENERATION, number, flags),
            Err(error) => self.refuse(errno(&error)),
        }
    }
}
