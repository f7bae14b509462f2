//! Each request of the kernel as one call of the file system, counted and followed in the log ([`Adapter::traced`]).

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, INodeNo, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};
use miaofs::protocol::files::Kind;
use tokio::runtime::Handle as Runtime;

use crate::store::CopyRange;
use crate::vfs::{
    AttributeChange, ByteRange, EntryName, HandleId, NodeSpec, Privileges, Vfs, Written,
};

use super::answer::{Answer, Refuse};
use super::buffered::XattrReply;
use super::capabilities::{negotiate, negotiate_passthrough};
use super::notify::Kernel;
use super::passthrough::Passthrough;
use super::request_counts::{Opcode, RequestCounts};
use super::takeover::{SessionRecord, first_number, is_sent_again};
use super::translate::{
    allocation, caller, caller_with_umask, device, directory_flags, entry_name, ino, kind_of_mode,
    rename_mode, seek_whence, set_xattr, time,
};

/// The file system as the kernel calls it.
pub(super) struct Adapter {
    pub(super) vfs: Arc<Vfs>,
    pub(super) runtime: Runtime,
    pub(super) kernel: Kernel,
    /// The kernel's side of the session, once it has begun.
    pub(super) record: Arc<OnceLock<SessionRecord>>,
    /// Counts what it asks for.
    pub(super) requests: Arc<RequestCounts>,
    /// The files that it reads and writes by itself.
    pub(super) passthrough: Arc<Passthrough>,
}

impl Adapter {
    pub(super) fn new(
        vfs: Arc<Vfs>,
        runtime: Runtime,
        (kernel, passthrough): (Kernel, Arc<Passthrough>),
    ) -> Self {
        let (record, requests) = (Arc::default(), Arc::default());
        Self { vfs, runtime, kernel, record, requests, passthrough }
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // A session begins once.
        let _already = self.record.set(SessionRecord::of(config));
        negotiate(config);
        self.passthrough.allow(|| negotiate_passthrough(config));
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let reply = self.traced(Opcode::Lookup, request, (parent, name), reply);
        self.answer_named(reply, (parent, name), |vfs, entry| vfs.lookup(entry));
    }

    fn forget(&self, request: &Request, node: INodeNo, _: u64) {
        self.unanswered(Opcode::Forget, request, node);
        self.passthrough.forget(ino(node));
        self.vfs.forget(ino(node));
    }

    fn getattr(&self, request: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let reply = self.traced(Opcode::Getattr, request, node, reply);
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
        let reply = self.traced(Opcode::Setattr, request, node, reply);
        let (caller, node) = (caller(request), ino(node));
        let (atime, mtime) = (atime.map(time), mtime.map(time));
        let wanted = AttributeChange { mode, uid, gid, size, atime, mtime };
        let attempt = self.vfs.set_attributes(caller, node, wanted);
        self.answer_or_fetch(reply, attempt, |vfs| async move {
            vfs.set_attributes_fetching(caller, node, wanted).await
        });
    }

    fn readlink(&self, request: &Request, node: INodeNo, reply: ReplyData) {
        let reply = self.traced(Opcode::Readlink, request, node, reply);
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
        let reply = self.traced(Opcode::Mknod, request, (parent, name), reply);
        let Some(kind) = kind_of_mode(mode) else { return reply.refuse(Errno::EINVAL) };
        let rdev = match kind {
            Kind::CharDevice | Kind::BlockDevice => device(rdev),
            _ => 0,
        };
        let caller = caller_with_umask(request, umask);
        let node = NodeSpec { kind, mode, rdev, target: None };
        let make = move |vfs: &Vfs, entry: EntryName<'_>| vfs.create(caller, entry, node);
        self.answer_change((request, reply), (parent, name), make, Vfs::existing);
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
        let reply = self.traced(Opcode::Mkdir, request, (parent, name), reply);
        let caller = caller_with_umask(request, umask);
        let node = NodeSpec::directory(mode);
        let make = move |vfs: &Vfs, entry: EntryName<'_>| vfs.create(caller, entry, node);
        self.answer_change((request, reply), (parent, name), make, Vfs::existing);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let reply = self.traced(Opcode::Unlink, request, (parent, name), reply);
        self.answer_change((request, reply), (parent, name), Vfs::unlink, |_, _| Ok(()));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let reply = self.traced(Opcode::Rmdir, request, (parent, name), reply);
        let (entry, remove) = ((parent, name), Vfs::remove_directory);
        self.answer_change((request, reply), entry, remove, |_, _| Ok(()));
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let reply = self.traced(Opcode::Symlink, request, (parent, name), reply);
        let (caller, target) = (caller(request), target.as_os_str().to_owned());
        let make = move |vfs: &Vfs, entry: EntryName<'_>| {
            vfs.create(caller, entry, NodeSpec::symlink(target.as_bytes()))
        };
        self.answer_change((request, reply), (parent, name), make, Vfs::existing);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let reply =
            self.traced(Opcode::Rename, request, [(parent, name), (new_parent, new_name)], reply);
        let Some(mode) = rename_mode(flags) else { return reply.refuse(Errno::EINVAL) };
        let new_name = new_name.to_owned();
        let rename = move |vfs: &Vfs, from: EntryName<'_>| {
            vfs.rename(from, entry_name(new_parent, &new_name), mode)
        };
        self.answer_change((request, reply), (parent, name), rename, |_, _| Ok(()));
    }

    fn link(
        &self,
        request: &Request,
        node: INodeNo,
        parent: INodeNo,
        name: &OsStr,
        reply: ReplyEntry,
    ) {
        let reply = self.traced(Opcode::Link, request, (parent, name), reply);
        let link = move |vfs: &Vfs, entry: EntryName<'_>| vfs.link(ino(node), entry);
        self.answer_change((request, reply), (parent, name), link, Vfs::existing);
    }

    fn open(&self, request: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let reply = self.traced(Opcode::Open, request, node, reply);
        self.open_file(request, (node, flags), reply);
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
        let reply = self.traced(Opcode::Create, request, (parent, name), reply);
        self.create_file((request, reply), (parent, name), (mode, umask), OpenFlags(flags));
    }

    fn read(
        &self,
        request: &Request,
        node: INodeNo,
        number: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let reply = self.traced(Opcode::Read, request, node, reply);
        self.read_content(self.file(node, number), offset, size as usize, reply);
    }

    fn write(
        &self,
        request: &Request,
        node: INodeNo,
        number: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let reply = self.traced(Opcode::Write, request, node, reply);
        let privileges = match write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
            true => Privileges::Drop(caller(request)),
            false => Privileges::Keep,
        };
        let (append, again) = (flags.0 & libc::O_APPEND != 0, is_sent_again(request));
        let written = Written { offset, append, again, bytes: data };
        self.write_content((node, self.file(node, number)), written, privileges, reply);
    }

    fn flush(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        _: LockOwner,
        reply: ReplyEmpty,
    ) {
        let reply = self.traced(Opcode::Flush, request, node, reply);
        self.flush_file((ino(node), HandleId(handle.0)), reply);
    }

    fn release(
        &self,
        request: &Request,
        node: INodeNo,
        number: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let reply = self.traced(Opcode::Release, request, node, reply);
        reply.answer(self.close(node, number));
    }

    fn fsync(
        &self,
        request: &Request,
        node: INodeNo,
        number: FileHandle,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let (reply, id) =
            (self.traced(Opcode::Fsync, request, node, reply), self.file(node, number));
        self.sync_node(ino(node), reply, move |vfs| vfs.sync(id));
    }

    fn opendir(&self, request: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let reply = self.traced(Opcode::Opendir, request, node, reply);
        self.answer_with_names(reply, move |vfs| {
            let (stream, cache) = vfs.open_directory(ino(node))?;
            Ok((stream, directory_flags(cache)))
        });
    }

    fn releasedir(
        &self,
        request: &Request,
        node: INodeNo,
        number: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        let reply = self.traced(Opcode::Releasedir, request, node, reply);
        reply.answer(self.vfs.release_directory(self.directory(node, number)));
    }

    fn readdir(
        &self,
        request: &Request,
        node: INodeNo,
        stream: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        let mut reply = self.traced(Opcode::Readdir, request, node, reply);
        let stream = self.directory(node, stream);
        let read = self.vfs.read_directory(stream, offset, |entry| reply.add(entry));
        reply.answer(read);
    }

    fn readdirplus(
        &self,
        request: &Request,
        node: INodeNo,
        stream: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let mut reply = self.traced(Opcode::Readdirplus, request, node, reply);
        let stream = self.directory(node, stream);
        let read =
            self.vfs.read_directory_stats(stream, offset, |entry, stat| reply.add(entry, stat));
        reply.answer(read);
    }

    fn fsyncdir(
        &self,
        request: &Request,
        node: INodeNo,
        _: FileHandle,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let (reply, node) = (self.traced(Opcode::Fsyncdir, request, node, reply), ino(node));
        self.sync_node(node, reply, move |vfs| vfs.sync_directory(node));
    }

    fn statfs(&self, request: &Request, node: INodeNo, reply: ReplyStatfs) {
        self.traced(Opcode::Statfs, request, node, reply).answer(self.vfs.space());
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
        let reply = self.traced(Opcode::Setxattr, request, (node, name), reply);
        let (attribute, when) = ((name.as_bytes(), value), set_xattr(flags));
        let set = |vfs: &Vfs| vfs.set_xattr(caller(request), ino(node), attribute, when);
        reply.answer(self.vfs.once(first_number(request), set, |_| Ok(())));
    }

    fn getxattr(
        &self,
        request: &Request,
        node: INodeNo,
        name: &OsStr,
        buffer_size: u32,
        reply: ReplyXattr,
    ) {
        let reply = self.traced(Opcode::Getxattr, request, (node, name), reply);
        XattrReply { reply, buffer_size }.answer(self.vfs.xattr(ino(node), name.as_bytes()));
    }

    fn listxattr(&self, request: &Request, node: INodeNo, buffer_size: u32, reply: ReplyXattr) {
        let reply = self.traced(Opcode::Listxattr, request, node, reply);
        XattrReply { reply, buffer_size }.answer(self.vfs.xattr_names(caller(request), ino(node)));
    }

    fn removexattr(&self, request: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let reply = self.traced(Opcode::Removexattr, request, (node, name), reply);
        let remove = |vfs: &Vfs| vfs.remove_xattr(ino(node), name.as_bytes());
        reply.answer(self.vfs.once(first_number(request), remove, |_| Ok(())));
    }

    fn copy_file_range(
        &self,
        request: &Request,
        source_node: INodeNo,
        source: FileHandle,
        from: u64,
        node: INodeNo,
        target: FileHandle,
        to: u64,
        length: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let reply = self.traced(Opcode::CopyFileRange, request, node, reply);
        let target = self.file(node, target);
        let handles = (self.file(source_node, source), (node, target));
        self.copy_content(caller(request), handles, CopyRange { from, to, length }, reply);
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
        let reply = self.traced(Opcode::Fallocate, request, node, reply);
        let Some(what) = allocation(mode) else { return reply.refuse(Errno::EOPNOTSUPP) };
        let range = ByteRange { offset, length };
        let file = (node, self.file(node, number));
        self.allocate_content(caller(request), file, (range, what), reply);
    }

    fn lseek(
        &self,
        request: &Request,
        node: INodeNo,
        number: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let reply = self.traced(Opcode::Lseek, request, node, reply);
        let Some(whence) = seek_whence(whence) else { return reply.refuse(Errno::EINVAL) };
        let id = self.file(node, number);
        let attempt = self.vfs.seek(id, offset, whence);
        self.answer_or_fetch(reply, attempt, |vfs| async move {
            vfs.seek_fetching(id, offset, whence).await
        });
    }

    // What follows is not supported. `ENOSYS` makes the kernel remember that and do it in its own
    // way: `ENOTTY` for `ioctl`, always ready for `poll`.

    fn ioctl(
        &self,
        request: &Request,
        node: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        self.traced(Opcode::Ioctl, request, node, reply).refuse(Errno::ENOSYS);
    }

    fn poll(
        &self,
        request: &Request,
        node: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        self.traced(Opcode::Poll, request, node, reply).refuse(Errno::ENOSYS);
    }
}
