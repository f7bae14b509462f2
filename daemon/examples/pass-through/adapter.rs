//! Each request as the same call on the backing directory.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, Filesystem, FopenFlags, INodeNo,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{AtFlags, CWD, FallocateFlags, FileType, OFlags, SeekFrom, XattrFlags};

use super::answers::{
    GENERATION, LIFETIME, answer_attributes, answer_empty, answer_entry, answer_written,
    answer_xattr, errno, until_full,
};
use super::capabilities::{negotiate, negotiate_passthrough};
use super::directory::Stream;
use super::filesystem::{Opening, PassThrough, Wanted, masked};
use super::handles::Open;
use super::nodes::{absent, kind};

impl Filesystem for PassThrough {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        negotiate(config);
        if self.opening == Opening::ByTheKernel {
            // Either alone makes the kernel refuse backing files.
            let is_granted = negotiate_passthrough(config);
            if !is_granted {
                return Err(io::Error::from(io::ErrorKind::Unsupported));
            }
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.nodes.look_up(parent, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                reply.entry(&LIFETIME, &absent(), GENERATION);
            }
            found => answer_entry(reply, found),
        }
    }

    fn forget(&self, _: &Request, node: INodeNo, lookups: u64) {
        self.nodes.forget(node, lookups);
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer_attributes(reply, self.nodes.attributes(node));
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let wanted = Wanted { mode, uid, gid, size, atime, mtime, handle };
        answer_attributes(reply, self.set_attributes(node, &wanted));
    }

    fn readlink(&self, _: &Request, node: INodeNo, reply: ReplyData) {
        let way = self.nodes.way(node);
        match way.and_then(|way| Ok(rustix::fs::readlink(way.path(), Vec::new())?)) {
            Ok(target) => reply.data(target.to_bytes()),
            Err(error) => reply.error(errno(&error)),
        }
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
        let made = self.nodes.directory(parent).and_then(|directory| {
            let (kind, mode) = (FileType::from_raw_mode(mode), masked(mode, umask));
            rustix::fs::mknodat(&*directory, name, kind, mode, rdev.into())?;
            self.made(request, parent, name)
        });
        answer_entry(reply, made);
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
        let made = self.nodes.directory(parent).and_then(|directory| {
            rustix::fs::mkdirat(&*directory, name, masked(mode, umask))?;
            self.made(request, parent, name)
        });
        answer_entry(reply, made);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer_empty(reply, self.remove(parent, name, AtFlags::empty()));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer_empty(reply, self.remove(parent, name, AtFlags::REMOVEDIR));
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let made = self.nodes.directory(parent).and_then(|directory| {
            rustix::fs::symlinkat(target, &*directory, name)?;
            self.made(request, parent, name)
        });
        answer_entry(reply, made);
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
        let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
        answer_empty(reply, self.move_name((parent, name), (new_parent, new_name), flags));
    }

    fn link(&self, _: &Request, node: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let linked = self.nodes.way(node).and_then(|way| {
            let follow =
                if way.name.is_some() { AtFlags::empty() } else { AtFlags::SYMLINK_FOLLOW };
            rustix::fs::linkat(CWD, way.path(), self.nodes.directory(parent)?, name, follow)?;
            self.nodes.look_up(parent, name)
        });
        answer_entry(reply, linked);
    }

    fn open(&self, _: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.open(node, flags.0, |file| reply.open_backing(file)) {
            Ok((handle, Some(id))) => reply.opened_passthrough(handle, PASSTHROUGH_FLAGS, &id),
            Ok((handle, None)) => reply.opened(handle, OPEN_FLAGS),
            Err(error) => reply.error(errno(&error)),
        }
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
        let (how, make) = ((flags, masked(mode, umask)), |file: &_| reply.open_backing(file));
        match self.create(request, (parent, name), how, make) {
            Ok((attributes, (handle, Some(id)))) => {
                let flags = PASSTHROUGH_FLAGS;
                reply.created_passthrough(&LIFETIME, &attributes, GENERATION, handle, flags, &id);
            }
            Ok((attributes, (handle, None))) => {
                let flags = create_flags(OpenFlags(flags));
                reply.created(&LIFETIME, &attributes, GENERATION, handle, flags);
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut buffer = Vec::with_capacity(size as usize);
        let read = self.handles.with_file(handle, |file| {
            let room = rustix::buffer::spare_capacity(&mut buffer);
            Ok(rustix::io::pread(file, room, offset)?)
        });
        match read {
            Ok(_length) => reply.data(&buffer),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = |file: &File| Ok(rustix::io::pwrite(file, data, offset)?);
        answer_written(reply, self.handles.with_file(handle, write));
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.handles.close(handle);
        reply.ok();
    }

    fn fsync(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        let sync = |file: &File| if datasync { file.sync_data() } else { file.sync_all() };
        answer_empty(reply, self.handles.with_file(handle, sync));
    }

    fn opendir(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let directory = self.reopen(node, OFlags::RDONLY | OFlags::DIRECTORY);
        match directory.and_then(Stream::new) {
            Ok(stream) => {
                let handle = self.handles.add(Open::Directory(Mutex::new(stream)));
                reply.opened(handle, FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR);
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.handles.close(handle);
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let read = self.handles.with_directory(handle, |stream| {
            stream.read(offset, |entry| {
                let number = self.nodes.number(entry.number);
                Ok(until_full(reply.add(number, entry.next, kind(entry.kind), &entry.name)))
            })
        });
        match read {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let read = self.handles.with_directory(handle, |stream| {
            stream.read(offset, |entry| {
                let number = self.nodes.number(entry.number);
                let is_told = entry.name != "." && entry.name != "..";
                let attributes = match is_told {
                    true => self.nodes.look_up(node, &entry.name)?,
                    // The kernel takes no more than number and kind of these.
                    false => FileAttr { ino: number, ..self.nodes.attributes(node)? },
                };
                let is_full =
                    reply.add(number, entry.next, &entry.name, &LIFETIME, &attributes, GENERATION);
                if is_full && is_told {
                    self.nodes.forget(attributes.ino, 1);
                }
                Ok(until_full(is_full))
            })
        });
        match read {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn fsyncdir(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let directory = self.reopen(node, OFlags::RDONLY | OFlags::DIRECTORY);
        answer_empty(reply, directory.and_then(|it| Ok(rustix::fs::fsync(it)?)));
    }

    fn statfs(&self, _: &Request, node: INodeNo, reply: ReplyStatfs) {
        match self.nodes.way(node).and_then(|way| Ok(rustix::fs::fstatvfs(&*way.file)?)) {
            Ok(of) => reply.statfs(
                of.f_blocks,
                of.f_bfree,
                of.f_bavail,
                of.f_files,
                of.f_ffree,
                of.f_bsize as u32,
                of.f_namemax as u32,
                of.f_frsize as u32,
            ),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn setxattr(
        &self,
        _: &Request,
        node: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let flags = XattrFlags::from_bits_retain(flags as u32);
        let set = self
            .nodes
            .way(node)
            .and_then(|way| Ok(rustix::fs::lsetxattr(way.path(), name, value, flags)?));
        answer_empty(reply, set);
    }

    fn getxattr(&self, _: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        match self.nodes.way(node) {
            Ok(way) => {
                answer_xattr(reply, size, |buffer| rustix::fs::lgetxattr(way.path(), name, buffer))
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn listxattr(&self, _: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        match self.nodes.way(node) {
            Ok(way) => {
                answer_xattr(reply, size, |buffer| rustix::fs::llistxattr(way.path(), buffer))
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn removexattr(&self, _: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed =
            self.nodes.way(node).and_then(|way| Ok(rustix::fs::lremovexattr(way.path(), name)?));
        answer_empty(reply, removed);
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mode = FallocateFlags::from_bits_retain(mode as u32);
        let allocate = |file: &File| Ok(rustix::fs::fallocate(file, mode, offset, length)?);
        answer_empty(reply, self.handles.with_file(handle, allocate));
    }

    fn lseek(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let to = match whence {
            libc::SEEK_DATA => SeekFrom::Data(offset as u64),
            libc::SEEK_HOLE => SeekFrom::Hole(offset as u64),
            _ => return reply.error(Errno::EINVAL),
        };
        match self.handles.with_file(handle, |file| Ok(rustix::fs::seek(file, to)?)) {
            Ok(place) => reply.offset(place as i64),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        source: FileHandle,
        mut from: u64,
        _: INodeNo,
        target: FileHandle,
        mut to: u64,
        length: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let copied = self.handles.with_file(source, |source| {
            self.handles.with_file(target, |target| {
                let (from, to) = (Some(&mut from), Some(&mut to));
                Ok(rustix::fs::copy_file_range(source, from, target, to, length as usize)?)
            })
        });
        answer_written(reply, copied);
    }
}

/// Flags of files that are open through this process, as in the daemon.
const OPEN_FLAGS: FopenFlags = FopenFlags::FOPEN_KEEP_CACHE.union(FopenFlags::FOPEN_NOFLUSH);
/// Flags of files that the kernel reads and writes itself; it keeps their pages with the backing file.
const PASSTHROUGH_FLAGS: FopenFlags = FopenFlags::FOPEN_NOFLUSH;

/// Flags of a file that is made; one that is only written needs no pages, as in the daemon.
fn create_flags(flags: OpenFlags) -> FopenFlags {
    match flags.acc_mode() {
        OpenAccMode::O_WRONLY => OPEN_FLAGS | FopenFlags::FOPEN_DIRECT_IO,
        _ => OPEN_FLAGS,
    }
}
