//! What a request does on the backing directory, where that is more than one call.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use fuser::{BackingId, FileAttr, FileHandle, INodeNo, Request, TimeOrNow};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, Uid};

use super::handles::{Handles, Open};
use super::nodes::{Nodes, kind};

/// Who reads and writes open files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// This process, for the kernel.
    ThroughThisProcess,
    /// The kernel itself, which is told of the backing file when one is opened.
    ByTheKernel,
}

/// The file system as the kernel calls it.
pub(crate) struct PassThrough {
    pub(crate) nodes: Nodes,
    pub(crate) handles: Handles,
    pub(crate) opening: Opening,
}

impl PassThrough {
    /// Shows this directory.
    pub(crate) fn new(backing: &Path, opening: Opening) -> io::Result<Self> {
        let (nodes, handles) = (Nodes::new(backing)?, Handles::default());
        Ok(Self { nodes, handles, opening })
    }

    /// Opens a node for this process.
    pub(crate) fn reopen(&self, node: INodeNo, flags: OFlags) -> io::Result<OwnedFd> {
        let (way, flags) = (self.nodes.way(node)?, flags | OFlags::CLOEXEC);
        Ok(match &way.name {
            Some(name) => {
                rustix::fs::openat(&*way.file, name, flags | OFlags::NOFOLLOW, Mode::empty())?
            }
            None => rustix::fs::open(way.path(), flags, Mode::empty())?,
        })
    }

    /// Gives a new node to the user who made it, and tells the kernel of it.
    pub(crate) fn made(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
    ) -> io::Result<FileAttr> {
        let mut attributes = self.nodes.look_up(parent, name)?;
        let (uid, gid) = (request.uid(), request.gid());
        if (attributes.uid, attributes.gid) != (uid, gid) {
            let directory = self.nodes.directory(parent)?;
            let (owner, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(&*directory, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
            (attributes.uid, attributes.gid) = (uid, gid);
        }
        Ok(attributes)
    }

    /// Opens a node for the kernel, and makes the kernel's name of it where that is to read and write it itself.
    pub(crate) fn open(
        &self,
        node: INodeNo,
        flags: i32,
        make: impl FnOnce(&OwnedFd) -> io::Result<BackingId>,
    ) -> io::Result<Opened> {
        let file = self.reopen(node, backing_flags(flags))?;
        self.opened(node, file, make)
    }

    /// Makes a file and opens it, like [`PassThrough::open`].
    pub(crate) fn create(
        &self,
        request: &Request,
        (parent, name): (INodeNo, &OsStr),
        (flags, mode): (i32, Mode),
        make: impl FnOnce(&OwnedFd) -> io::Result<BackingId>,
    ) -> io::Result<(FileAttr, Opened)> {
        let directory = self.nodes.directory(parent)?;
        let how = backing_flags(flags) | OFlags::CREATE | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&*directory, name, how, mode)?;
        let attributes = self.made(request, parent, name)?;
        Ok((attributes, self.opened(attributes.ino, file, make)?))
    }

    fn opened(
        &self,
        node: INodeNo,
        file: OwnedFd,
        make: impl FnOnce(&OwnedFd) -> io::Result<BackingId>,
    ) -> io::Result<Opened> {
        let backing = match self.opening {
            Opening::ThroughThisProcess => None,
            Opening::ByTheKernel => Some(self.nodes.backing(node, || make(&file))?),
        };
        let open = Open::File { file: File::from(file), _backing: backing.clone() };
        Ok((self.handles.add(open), backing))
    }

    /// Removes a name.
    pub(crate) fn remove(&self, parent: INodeNo, name: &OsStr, flags: AtFlags) -> io::Result<()> {
        let node = self.nodes.hold(parent, name)?;
        rustix::fs::unlinkat(self.nodes.directory(parent)?, name, flags)?;
        self.nodes.remove_name(node, parent, name);
        Ok(())
    }

    /// Renames, and has the nodes of both names know it.
    pub(crate) fn move_name(
        &self,
        (parent, name): (INodeNo, &OsStr),
        (new_parent, new_name): (INodeNo, &OsStr),
        flags: RenameFlags,
    ) -> io::Result<()> {
        let (from, to) = (self.nodes.directory(parent)?, self.nodes.directory(new_parent)?);
        let replaced = self.nodes.hold(new_parent, new_name).ok();
        rustix::fs::renameat_with(&*from, name, &*to, new_name, flags)?;
        if let Some(replaced) = replaced {
            self.nodes.remove_name(replaced, new_parent, new_name);
        }
        self.named(new_parent, new_name, (parent, name))?;
        if flags.contains(RenameFlags::EXCHANGE) {
            self.named(parent, name, (new_parent, new_name))?;
        }
        Ok(())
    }

    /// Has the node of a name know it, and that it has not the other one.
    fn named(&self, parent: INodeNo, name: &OsStr, before: (INodeNo, &OsStr)) -> io::Result<()> {
        let directory = self.nodes.directory(parent)?;
        let stat = rustix::fs::statat(&*directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = kind(rustix::fs::FileType::from_raw_mode(stat.st_mode));
        let node = self.nodes.number(stat.st_ino);
        self.nodes.remove_name(node, before.0, before.1);
        self.nodes.add_name(node, parent, name, kind);
        Ok(())
    }

    pub(crate) fn set_attributes(&self, node: INodeNo, wanted: &Wanted) -> io::Result<FileAttr> {
        let way = self.nodes.way(node)?;
        let path = way.path();
        if let Some(mode) = wanted.mode {
            rustix::fs::chmod(&path, Mode::from_raw_mode(mode))?;
        }
        if wanted.uid.is_some() || wanted.gid.is_some() {
            let (uid, gid) = (wanted.uid.map(Uid::from_raw), wanted.gid.map(Gid::from_raw));
            rustix::fs::chownat(CWD, &path, uid, gid, way.flags())?;
        }
        match (wanted.size, wanted.handle) {
            (Some(size), Some(handle)) => {
                self.handles.with_file(handle, |file| file.set_len(size))?;
            }
            (Some(size), None) => {
                rustix::fs::ftruncate(self.reopen(node, OFlags::WRONLY)?, size)?;
            }
            (None, _) => {}
        }
        if wanted.atime.is_some() || wanted.mtime.is_some() {
            let (last_access, last_modification) = (time(wanted.atime), time(wanted.mtime));
            let times = Timestamps { last_access, last_modification };
            rustix::fs::utimensat(CWD, &path, &times, way.flags())?;
        }
        self.nodes.attributes(node)
    }
}

/// An open file, with the name by which the kernel reads and writes it itself, if it does.
pub(crate) type Opened = (FileHandle, Option<Arc<BackingId>>);

/// What `setattr` is to change.
pub(crate) struct Wanted {
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) atime: Option<TimeOrNow>,
    pub(crate) mtime: Option<TimeOrNow>,
    pub(crate) handle: Option<FileHandle>,
}

/// Flags of an opening that are for the backing file. Places are the kernel's business, so nothing is appended.
fn backing_flags(flags: i32) -> OFlags {
    let kept = libc::O_ACCMODE | libc::O_EXCL | libc::O_TRUNC | libc::O_SYNC | libc::O_DSYNC;
    OFlags::from_bits_retain((flags & kept) as u32)
}

/// A mode as a program with this umask has it.
pub(crate) fn masked(mode: u32, umask: u32) -> Mode {
    Mode::from_raw_mode(mode & !umask & 0o7777)
}

fn time(wanted: Option<TimeOrNow>) -> Timespec {
    let nanoseconds = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    match wanted {
        None => nanoseconds(rustix::fs::UTIME_OMIT),
        Some(TimeOrNow::Now) => nanoseconds(rustix::fs::UTIME_NOW),
        Some(TimeOrNow::SpecificTime(at)) => {
            let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
            Timespec { tv_sec: since.as_secs() as i64, tv_nsec: since.subsec_nanos().into() }
        }
    }
}
