//! Nodes that the kernel knows, and where each is in the backing directory.
//!
//! A node's number is the inode's on the disk, but that of the root is 1. Directories have a descriptor, all others the
//! names by which they are reached, since there may be more of them than a process may have descriptors. One that has lost its
//! last name has a descriptor, too, until the kernel forgets it: so long the disk gives its number to no other file.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{BackingId, FileAttr, FileType, INodeNo};
use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

/// A node that the kernel knows.
#[derive(Default)]
struct Node {
    /// Of a directory, and of what has lost its last name.
    file: Option<Arc<OwnedFd>>,
    /// The directories in which it has a name, with the name.
    names: Vec<(INodeNo, OsString)>,
    /// How often the kernel was told of it and has not forgotten it.
    lookups: u64,
    /// The kernel's name of its file while that is open by kernel passthrough.
    backing: Weak<BackingId>,
}

/// A way to a node, for calls that take a directory and a name, or a path.
pub(crate) struct Way {
    /// A directory, or the node itself where it has no name.
    pub(crate) file: Arc<OwnedFd>,
    /// The name in it; `.` for the directory itself, none where the node has no name.
    pub(crate) name: Option<OsString>,
}

impl Way {
    /// A path whose last part must not be followed, unless the node has no name.
    pub(crate) fn path(&self) -> PathBuf {
        let mut path = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        path.extend(&self.name);
        path
    }

    /// Says whether the last part of the path is to be followed.
    pub(crate) fn flags(&self) -> AtFlags {
        if self.name.is_some() { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() }
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(match &self.name {
            Some(name) => rustix::fs::statat(&*self.file, name, AtFlags::SYMLINK_NOFOLLOW)?,
            None => rustix::fs::fstat(&*self.file)?,
        })
    }
}

/// All of them.
pub(crate) struct Nodes {
    root: Arc<OwnedFd>,
    /// Number of the root on the disk.
    root_number: u64,
    known: RwLock<HashMap<INodeNo, Node>>,
}

impl Nodes {
    /// Begins with the root.
    pub(crate) fn new(backing: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(backing, flags, Mode::empty())?;
        let root_number = rustix::fs::fstat(&root)?.st_ino;
        Ok(Self { root: Arc::new(root), root_number, known: RwLock::default() })
    }

    /// The descriptor (`O_PATH`) of a directory.
    pub(crate) fn directory(&self, node: INodeNo) -> io::Result<Arc<OwnedFd>> {
        if node == INodeNo::ROOT {
            return Ok(Arc::clone(&self.root));
        }
        let known = self.read();
        let file = known.get(&node).ok_or(Errno::STALE)?.file.as_ref();
        Ok(file.map(Arc::clone).ok_or(Errno::NOTDIR)?)
    }

    /// A way to a node.
    pub(crate) fn way(&self, node: INodeNo) -> io::Result<Way> {
        if node == INodeNo::ROOT {
            return Ok(Way { file: Arc::clone(&self.root), name: Some(OsString::from(".")) });
        }
        let (parent, name) = {
            let known = self.read();
            let entry = known.get(&node).ok_or(Errno::STALE)?;
            match (&entry.file, entry.names.first()) {
                (Some(file), None) => return Ok(Way { file: Arc::clone(file), name: None }),
                (Some(file), Some(_)) => {
                    return Ok(Way { file: Arc::clone(file), name: Some(OsString::from(".")) });
                }
                (None, Some((parent, name))) => (*parent, name.clone()),
                (None, None) => return Err(Errno::STALE.into()),
            }
        };
        Ok(Way { file: self.directory(parent)?, name: Some(name) })
    }

    /// Attributes of a node.
    pub(crate) fn attributes(&self, node: INodeNo) -> io::Result<FileAttr> {
        Ok(attributes(&self.way(node)?.stat()?, node))
    }

    /// Attributes of what has this name; the kernel is told of it once more.
    pub(crate) fn look_up(&self, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        let directory = self.directory(parent)?;
        let stat = rustix::fs::statat(&*directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let node = self.number(stat.st_ino);
        let found = attributes(&stat, node);
        let mut known = self.write();
        let entry = known.entry(node).or_default();
        if found.kind == FileType::Directory && entry.file.is_none() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&*directory, name, flags, Mode::empty())?;
            entry.file = Some(Arc::new(file));
        }
        if found.kind != FileType::Directory {
            entry.file = None;
        }
        entry.add_name(parent, name);
        entry.lookups += 1;
        Ok(found)
    }

    /// Before a name goes: keeps what has it in reach, if the kernel knows it. Returns its number.
    pub(crate) fn hold(&self, parent: INodeNo, name: &OsStr) -> io::Result<INodeNo> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.directory(parent)?, name, flags, Mode::empty())?;
        let node = self.number(rustix::fs::fstat(&file)?.st_ino);
        if let Some(entry) = self.write().get_mut(&node)
            && entry.file.is_none()
            && entry.names.iter().all(|(known, it)| *known == parent && it == name)
        {
            entry.file = Some(Arc::new(file));
        }
        Ok(node)
    }

    /// A name of a node has gone.
    pub(crate) fn remove_name(&self, node: INodeNo, parent: INodeNo, name: &OsStr) {
        if let Some(entry) = self.write().get_mut(&node) {
            entry.names.retain(|(known, it)| *known != parent || it != name);
        }
    }

    /// A node, if the kernel knows it, has a name that it had not; what only had to be in reach need not be any more.
    pub(crate) fn add_name(&self, node: INodeNo, parent: INodeNo, name: &OsStr, kind: FileType) {
        if let Some(entry) = self.write().get_mut(&node) {
            entry.add_name(parent, name);
            if kind != FileType::Directory {
                entry.file = None;
            }
        }
    }

    /// The number by which the kernel knows an inode of the disk.
    pub(crate) fn number(&self, on_disk: u64) -> INodeNo {
        if on_disk == self.root_number { INodeNo::ROOT } else { INodeNo(on_disk) }
    }

    /// The kernel has forgotten so many of the times that it was told.
    pub(crate) fn forget(&self, node: INodeNo, lookups: u64) {
        let mut known = self.write();
        if let Some(entry) = known.get_mut(&node) {
            entry.lookups = entry.lookups.saturating_sub(lookups);
            if entry.lookups == 0 {
                known.remove(&node);
            }
        }
    }

    /// The kernel's name of a node's file, the same for all who have it open; `make` gives the first of them one.
    pub(crate) fn backing(
        &self,
        node: INodeNo,
        make: impl FnOnce() -> io::Result<BackingId>,
    ) -> io::Result<Arc<BackingId>> {
        let mut known = self.write();
        let entry = known.get_mut(&node).ok_or(Errno::STALE)?;
        if let Some(id) = entry.backing.upgrade() {
            return Ok(id);
        }
        let id = Arc::new(make()?);
        entry.backing = Arc::downgrade(&id);
        Ok(id)
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<INodeNo, Node>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<INodeNo, Node>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    fn add_name(&mut self, parent: INodeNo, name: &OsStr) {
        if !self.names.iter().any(|(known, it)| *known == parent && it == name) {
            self.names.push((parent, name.to_owned()));
        }
    }
}

/// The kernel's attributes of an inode of the disk, under this number.
fn attributes(stat: &Stat, number: INodeNo) -> FileAttr {
    let changed = time(stat.st_ctime, stat.st_ctime_nsec);
    FileAttr {
        ino: number,
        size: stat.st_size as u64,
        blocks: stat.st_blocks as u64,
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: changed,
        crtime: changed,
        kind: kind(rustix::fs::FileType::from_raw_mode(stat.st_mode)),
        perm: (stat.st_mode & 0o7777) as u16,
        nlink: stat.st_nlink as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: stat.st_rdev as u32,
        blksize: stat.st_blksize as u32,
        flags: 0,
    }
}

/// Attributes that answer a lookup of a name that is not there: with inode 0 the kernel keeps that, as it does of the mount.
pub(crate) fn absent() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// The kind of a file in the words of the library.
pub(crate) fn kind(of: rustix::fs::FileType) -> FileType {
    match of {
        rustix::fs::FileType::Directory => FileType::Directory,
        rustix::fs::FileType::Symlink => FileType::Symlink,
        rustix::fs::FileType::Fifo => FileType::NamedPipe,
        rustix::fs::FileType::Socket => FileType::Socket,
        rustix::fs::FileType::CharacterDevice => FileType::CharDevice,
        rustix::fs::FileType::BlockDevice => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

fn time(seconds: impl TryInto<i64>, nanoseconds: impl TryInto<u32>) -> SystemTime {
    let (seconds, nanoseconds) =
        (seconds.try_into().unwrap_or_default(), nanoseconds.try_into().unwrap_or_default());
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let second = if seconds < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance };
    second + Duration::from_nanos(u64::from(nanoseconds))
}
