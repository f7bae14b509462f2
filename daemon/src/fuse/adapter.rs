//! Each request of the kernel as one call of the file system.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, INodeNo,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};
use miaofs::protocol::files::Kind;
use tokio::runtime::Handle as Runtime;

use crate::store::{Availability, CopyRange};
use crate::vfs::{
    AttributeChange, Caller, EntryName, IfExists, NewNode, Privileges, Room, Span, SyncMode, Vfs,
};

use super::answer::{Answer, GENERATION, LIFETIME, XattrReply};
use super::capabilities::negotiate;
use super::notify::Kernel;
use super::translate::{
    allocation, attributes, caller, caller_with_umask, device, directory_flags, entry_name, errno,
    file_type, handle, ino, kind_of_mode, open_mode, rename_mode, set_xattr, sought, time,
};

thread_local! {
    /// What a thread reads into before it answers; as large as its largest read so far.
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The file system as the kernel calls it.
pub(super) struct Adapter {
    pub(super) vfs: Arc<Vfs>,
    pub(super) runtime: Runtime,
    pub(super) kernel: Kernel,
}

impl Adapter {
    pub(super) fn new(vfs: Arc<Vfs>, runtime: Runtime, kernel: Kernel) -> Self {
        Self { vfs, runtime, kernel }
    }

    /// Pages stay valid from one opening to the next, as news from the server invalidates them. `close`
    /// need not be told unless it waits for the server.
    fn open_flags(&self) -> FopenFlags {
        match self.vfs.sync_mode() {
            SyncMode::Local => FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH,
            SyncMode::Remote => FopenFlags::FOPEN_KEEP_CACHE,
        }
    }

    fn create_node(
        &self,
        caller: Caller,
        entry: EntryName<'_>,
        new: NewNode<'_>,
        reply: ReplyEntry,
    ) {
        reply.answer(self.vfs.create(caller, entry, new));
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        negotiate(config);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        reply.answer(self.vfs.lookup(entry_name(parent, name)));
    }

    fn forget(&self, _: &Request, node: INodeNo, _: u64) {
        self.vfs.forget(ino(node));
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.answer(self.vfs.stat(ino(node)));
    }

    fn setattr(
        &self,
        request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let (caller, node) = (caller(request), ino(node));
        let (atime, mtime) = (atime.map(time), mtime.map(time));
        let wanted = AttributeChange { mode, uid, gid, size, atime, mtime };
        match self.vfs.set_attributes(caller, node, wanted) {
            Ok(Availability::Ready(stat)) => reply.answer(Ok(stat)),
            Err(error) => reply.error(errno(&error)),
            Ok(Availability::Missing(_)) => {
                let vfs = Arc::clone(&self.vfs);
                self.runtime.spawn(async move {
                    reply.answer(vfs.set_attributes_fetching(caller, node, wanted).await);
                });
            }
        }
    }

    fn readlink(&self, _: &Request, node: INodeNo, reply: ReplyData) {
        reply.answer(self.vfs.read_link(ino(node)));
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        match kind_of_mode(mode) {
            Some(kind) => {
                let rdev = match kind {
                    Kind::CharDevice | Kind::BlockDevice => device(rdev),
                    _ => 0,
                };
                let new = NewNode { kind, mode, rdev, target: None };
                self.create_node(
                    caller_with_umask(request, umask),
                    entry_name(parent, name),
                    new,
                    reply,
                );
            }
            None => reply.error(Errno::EINVAL),
        }
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let new = NewNode { kind: Kind::Directory, mode, rdev: 0, target: None };
        self.create_node(caller_with_umask(request, umask), entry_name(parent, name), new, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply.answer(self.vfs.unlink(entry_name(parent, name)));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply.answer(self.vfs.remove_directory(entry_name(parent, name)));
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let target = Some(target.as_os_str().as_bytes());
        let new = NewNode { kind: Kind::Symlink, mode: 0o777, rdev: 0, target };
        self.create_node(caller(request), entry_name(parent, name), new, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = (entry_name(parent, name), entry_name(new_parent, new_name));
        match rename_mode(flags) {
            Some(mode) => reply.answer(self.vfs.rename(from, to, mode)),
            None => reply.error(Errno::EINVAL),
        }
    }

    fn link(&self, _: &Request, node: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        reply.answer(self.vfs.link(ino(node), entry_name(parent, name)));
    }

    fn open(&self, request: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let opened = self.vfs.open(caller(request), ino(node), open_mode(flags));
        reply.answer(opened.map(|handle| (handle, self.open_flags())));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let if_exists = if flags & libc::O_EXCL != 0 { IfExists::Fail } else { IfExists::Open };
        let how = (open_mode(OpenFlags(flags)), if_exists);
        let made = self.vfs.create_and_open(
            caller_with_umask(request, umask),
            entry_name(parent, name),
            mode,
            how,
        );
        reply.answer(made.map(|(stat, handle)| (stat, handle, self.open_flags())));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        number: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let size = size as usize;
        READ_BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(buffer.len().max(size), 0);
            match self.vfs.read(handle(number), offset, &mut buffer[..size]) {
                Ok(Availability::Ready(length)) => reply.data(&buffer[..length]),
                Ok(Availability::Missing(_)) => {
                    self.read_later(handle(number), offset, size, reply)
                }
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    fn write(
        &self,
        request: &Request,
        node: INodeNo,
        number: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let privileges = match write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
            true => Privileges::Drop(caller(request)),
            false => Privileges::Keep,
        };
        let (id, length) = (handle(number), data.len() as u32);
        match self.vfs.write(id, offset, data, privileges) {
            Ok(Availability::Ready(written)) => {
                reply.answer(Ok(self.kernel.told(node, written, length)))
            }
            Err(error) => reply.error(errno(&error)),
            Ok(Availability::Missing(_)) => {
                let (vfs, kernel, bytes) =
                    (Arc::clone(&self.vfs), self.kernel.clone(), data.to_vec());
                self.runtime.spawn(async move {
                    let written = vfs.write_fetching(id, offset, &bytes, privileges).await;
                    reply.answer(written.map(|written| kernel.told(node, written, length)));
                });
            }
        }
    }

    fn flush(&self, _: &Request, node: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        match self.vfs.sync_mode() {
            SyncMode::Local => reply.ok(),
            SyncMode::Remote => {
                let (vfs, node) = (Arc::clone(&self.vfs), ino(node));
                self.runtime.spawn(async move { reply.answer(vfs.flush(node).await) });
            }
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        number: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        reply.answer(self.vfs.release(handle(number)));
    }

    fn fsync(&self, _: &Request, node: INodeNo, number: FileHandle, _: bool, reply: ReplyEmpty) {
        let id = handle(number);
        self.sync_later(ino(node), reply, move |vfs| vfs.sync(id));
    }

    fn opendir(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let opened = self.vfs.open_directory(ino(node));
        reply.answer(opened.map(|(stream, cache)| (stream, directory_flags(cache))));
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        number: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        reply.answer(self.vfs.release_directory(handle(number)));
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        stream: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let read = self.vfs.read_directory(handle(stream), offset, |entry| {
            let (number, kind) = (INodeNo(entry.ino.0), file_type(entry.kind));
            room(reply.add(number, entry.next, kind, OsStr::from_bytes(entry.name)))
        });
        match read {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        _: INodeNo,
        stream: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let read = self.vfs.read_directory_stats(handle(stream), offset, |entry, stat| {
            let (number, name) = (INodeNo(entry.ino.0), OsStr::from_bytes(entry.name));
            let attributes = attributes(stat);
            room(reply.add(number, entry.next, name, &LIFETIME, &attributes, GENERATION))
        });
        match read {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn fsyncdir(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let node = ino(node);
        self.sync_later(node, reply, move |vfs| vfs.sync_directory(node));
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.answer(self.vfs.space());
    }

    fn setxattr(
        &self,
        request: &Request,
        node: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let (attribute, when) = ((name.as_bytes(), value), set_xattr(flags));
        reply.answer(self.vfs.set_xattr(caller(request), ino(node), attribute, when));
    }

    fn getxattr(&self, _: &Request, node: INodeNo, name: &OsStr, room: u32, reply: ReplyXattr) {
        XattrReply { reply, room }.answer(self.vfs.xattr(ino(node), name.as_bytes()));
    }

    fn listxattr(&self, request: &Request, node: INodeNo, room: u32, reply: ReplyXattr) {
        XattrReply { reply, room }.answer(self.vfs.xattr_names(caller(request), ino(node)));
    }

    fn removexattr(&self, _: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply.answer(self.vfs.remove_xattr(ino(node), name.as_bytes()));
    }

    fn copy_file_range(
        &self,
        request: &Request,
        _: INodeNo,
        source: FileHandle,
        from: u64,
        node: INodeNo,
        target: FileHandle,
        to: u64,
        length: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let (caller, handles) = (caller(request), (handle(source), handle(target)));
        let stretch = CopyRange { from, to, length };
        let (vfs, kernel, runtime) =
            (Arc::clone(&self.vfs), self.kernel.clone(), self.runtime.clone());
        self.runtime.spawn_blocking(move || {
            let copied = runtime.block_on(vfs.copy(caller, handles, stretch));
            let told = |(length, written)| kernel.told(node, written, length as u32);
            reply.answer(copied.map(told));
        });
    }

    fn fallocate(
        &self,
        request: &Request,
        node: INodeNo,
        number: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let (id, span) = (handle(number), Span { offset, length });
        match allocation(mode) {
            Some(what) => self.allocate(caller(request), node, (id, span, what), reply),
            None => reply.error(Errno::EOPNOTSUPP),
        }
    }

    fn lseek(
        &self,
        _: &Request,
        _: INodeNo,
        number: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        match sought(whence) {
            Some(sought) => self.seek(handle(number), offset, sought, reply),
            None => reply.error(Errno::EINVAL),
        }
    }

    // What follows is not supported. `ENOSYS` makes the kernel remember that and do it in its own
    // way: `ENOTTY` for `ioctl`, always ready for `poll`.

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }
}

fn room(full: bool) -> Room {
    if full { Room::Full } else { Room::Left }
}
