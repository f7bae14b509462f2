//! Nodes that the kernel knows, each with a descriptor of its file in the backing directory.
//!
//! A node's number is the inode's on the disk, but that of the root is 1. As long as the descriptor is open the disk gives
//! the number to no other file.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{BackingId, FileAttr, FileType, INodeNo};
use rustix::fs::{Mode, OFlags, Stat};

/// A node that the kernel knows.
struct Node {
    file: Arc<OwnedFd>,
    /// How often the kernel was told of it and has not forgotten it.
    lookups: u64,
    /// The kernel's name of its file while that is open by kernel passthrough.
    backing: Weak<BackingId>,
}

/// All of them.
pub(crate) struct Nodes {
    root: Arc<OwnedFd>,
    /// Number of the root on the disk.
    root_number: u64,
    known: RwLock<HashMap<u64, Node>>,
}

impl Nodes {
    /// Begins with the root.
    pub(crate) fn new(backing: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(backing, flags, Mode::empty())?;
        let root_number = rustix::fs::fstat(&root)?.st_ino;
        Ok(Self { root: Arc::new(root), root_number, known: RwLock::default() })
    }

    /// The descriptor (`O_PATH`) of a node.
    pub(crate) fn file(&self, node: INodeNo) -> io::Result<Arc<OwnedFd>> {
        if node == INodeNo::ROOT {
            return Ok(Arc::clone(&self.root));
        }
        let known = self.read();
        known.get(&node.0).map(|it| Arc::clone(&it.file)).ok_or(rustix::io::Errno::STALE.into())
    }

    /// Attributes of a node.
    pub(crate) fn attributes(&self, node: INodeNo) -> io::Result<FileAttr> {
        Ok(attributes(&rustix::fs::fstat(self.file(node)?)?, node))
    }

    /// Attributes of what has this name; the kernel is told of it once more.
    pub(crate) fn look_up(&self, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        let parent = self.file(parent)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        let new = || Node { file: Arc::new(file), lookups: 0, backing: Weak::new() };
        self.write().entry(stat.st_ino).or_insert_with(new).lookups += 1;
        Ok(attributes(&stat, self.number(stat.st_ino)))
    }

    /// The same, when the number of what has the name was read from its directory: a known node is not opened again.
    pub(crate) fn look_up_numbered(
        &self,
        parent: INodeNo,
        name: &OsStr,
        number: u64,
    ) -> io::Result<FileAttr> {
        let known = self.write().get_mut(&number).map(|node| {
            node.lookups += 1;
            Arc::clone(&node.file)
        });
        match known {
            Some(file) => Ok(attributes(&rustix::fs::fstat(file)?, self.number(number))),
            None => self.look_up(parent, name),
        }
    }

    /// The number by which the kernel knows an inode of the disk.
    pub(crate) fn number(&self, on_disk: u64) -> INodeNo {
        if on_disk == self.root_number { INodeNo::ROOT } else { INodeNo(on_disk) }
    }

    /// The kernel has forgotten so many of the times that it was told.
    pub(crate) fn forget(&self, node: INodeNo, lookups: u64) {
        let mut known = self.write();
        if let Some(entry) = known.get_mut(&node.0) {
            entry.lookups = entry.lookups.saturating_sub(lookups);
            if entry.lookups == 0 {
                known.remove(&node.0);
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
        let entry = known.get_mut(&node.0).ok_or(rustix::io::Errno::STALE)?;
        if let Some(id) = entry.backing.upgrade() {
            return Ok(id);
        }
        let id = Arc::new(make()?);
        entry.backing = Arc::downgrade(&id);
        Ok(id)
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<u64, Node>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<u64, Node>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
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
