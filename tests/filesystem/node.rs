//! The nodes of the model: what a file, directory, symlink or fifo is.

use std::collections::{BTreeMap, BTreeSet};

use super::answer::{Kind, Moved, Stat, Time};
use super::bytes::Bytes;

/// Number of a node of the model.
pub(crate) type Id = u64;

/// A node.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Type of the node.
    pub kind: Kind,
    /// Permissions with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names that it has; a directory has one until it is removed.
    pub names: u32,
    /// Of a file.
    pub bytes: Bytes,
    /// Of a symlink: how long its target is.
    pub target: usize,
    /// Of a directory.
    pub children: BTreeMap<&'static [u8], Id>,
    /// Value of each extended attribute.
    pub xattrs: BTreeMap<&'static str, Vec<u8>>,
    /// When the content changed.
    pub mtime: Stamp,
    /// When anything changed.
    pub ctime: Stamp,
    /// Time that the last `stat` told.
    pub told: Option<(Stamp, Stamp)>,
}

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// When the operation of this number was done.
    Step(u64),
    /// Time that a program set, in nanoseconds since 1970.
    Set(i64),
}

impl Node {
    /// A node made at a step, with no content and one name.
    pub(crate) fn new(kind: Kind, mode: u32, (uid, gid): (u32, u32), step: u64) -> Self {
        Self {
            kind,
            mode,
            uid,
            gid,
            names: 1,
            bytes: Bytes::default(),
            target: 0,
            children: BTreeMap::new(),
            xattrs: BTreeMap::new(),
            mtime: Stamp::Step(step),
            ctime: Stamp::Step(step),
            told: None,
        }
    }

    /// The content, or the names in it, changed.
    pub(crate) fn touch(&mut self, step: u64) {
        self.mtime = Stamp::Step(step);
        self.ctime = Stamp::Step(step);
    }

    /// Takes away what a new owner may not have.
    pub(crate) fn drop_privileges(&mut self) {
        if self.kind != Kind::Directory {
            let group = if self.mode & 0o010 != 0 { 0o2000 } else { 0 };
            self.mode &= !(0o4000 | group);
        }
    }

    /// Fields of `stat`, given the number of directories in this one.
    pub(crate) fn stat(&mut self, directories: u32) -> Stat {
        let told = self.told.replace((self.mtime, self.ctime));
        let size = match self.kind {
            Kind::File => self.bytes.size(),
            Kind::Symlink => self.target as u64,
            Kind::Directory | Kind::Fifo => 0,
        };
        let links = match self.kind {
            Kind::Directory => 2 + directories,
            _ => self.names,
        };
        Stat {
            kind: self.kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            links,
            size,
            mtime: time(self.mtime, told.map(|(mtime, _)| mtime)),
            ctime: time(self.ctime, told.map(|(_, ctime)| ctime)),
        }
    }
}

fn time(now: Stamp, before: Option<Stamp>) -> Time {
    match now {
        Stamp::Set(time) => Time::Set(time),
        Stamp::Step(_) if before == Some(now) => Time::Clock(Moved::No),
        Stamp::Step(_) => Time::Clock(Moved::Yes),
    }
}

/// An open file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handle {
    /// Node that is open.
    pub id: Id,
    /// True if it may be written to.
    pub writes: bool,
    /// True if it writes at the end only.
    pub appends: bool,
}

/// An open directory, and what a stream of it has to tell.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    /// Node that is open.
    pub id: Id,
    /// Names that were there all the time.
    pub always: BTreeSet<&'static [u8]>,
    /// Names that were there at some time.
    pub ever: BTreeSet<&'static [u8]>,
}

impl Stream {
    /// A stream that begins with these names.
    pub(crate) fn new(id: Id, names: impl Iterator<Item = &'static [u8]>) -> Self {
        let always: BTreeSet<_> = names.collect();
        Self { id, ever: always.clone(), always }
    }
}
