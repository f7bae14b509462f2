//! Results of the file system as answers to the kernel, one for each kind of reply.

use std::time::Duration;

use fuser::{
    Errno, FileHandle, FopenFlags, Generation, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll,
    ReplyStatfs, ReplyWrite, ReplyXattr,
};
use miaofs::protocol::name::NAME_MAX;

use crate::vfs::{BLOCK_SIZE, Error, HandleId, Space, Stat};

use super::translate::{attributes, errno, negative_entry};

/// Lifetime of names and attributes in the kernel; the feed of changes ends it sooner.
pub(super) const LIFETIME: Duration = Duration::from_secs(3600);

/// A number that comes back is that of the same node, so one generation is enough.
pub(super) const GENERATION: Generation = Generation(0);

/// A reply that can be an error.
pub(super) trait Refuse: Sized {
    /// Answers with an errno.
    fn refuse(self, errno: Errno);
}

/// A reply that a result of type `T` can be told by.
pub(super) trait Answer<T>: Refuse {
    /// Answers that it is done.
    fn accept(self, value: T);

    /// Answers with the result; an error by its errno.
    fn answer(self, result: Result<T, Error>) {
        match result {
            Ok(value) => self.accept(value),
            Err(error) => self.refuse(errno(&error)),
        }
    }
}

macro_rules! refuse {
    ($($reply:ty),* $(,)?) => {$(
        impl Refuse for $reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        }
    )*};
}

refuse!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyIoctl,
    ReplyLseek,
    ReplyOpen,
    ReplyPoll,
    ReplyStatfs,
    ReplyWrite,
    ReplyXattr,
);

impl Answer<()> for ReplyEmpty {
    fn accept(self, (): ()) {
        self.ok();
    }
}

impl Answer<()> for ReplyDirectory {
    fn accept(self, (): ()) {
        self.ok();
    }
}

impl Answer<()> for ReplyDirectoryPlus {
    fn accept(self, (): ()) {
        self.ok();
    }
}

impl Answer<Stat> for ReplyEntry {
    fn accept(self, stat: Stat) {
        self.entry(&LIFETIME, &attributes(&stat), GENERATION);
    }
}

impl Answer<Option<Stat>> for ReplyEntry {
    fn accept(self, found: Option<Stat>) {
        let attributes = found.as_ref().map_or_else(negative_entry, attributes);
        self.entry(&LIFETIME, &attributes, GENERATION);
    }
}

impl Answer<Stat> for ReplyAttr {
    fn accept(self, stat: Stat) {
        let lifetime = if stat.is_volatile { Duration::ZERO } else { LIFETIME };
        self.attr(&lifetime, &attributes(&stat));
    }
}

impl<B: AsRef<[u8]>> Answer<B> for ReplyData {
    fn accept(self, bytes: B) {
        self.data(bytes.as_ref());
    }
}

impl Answer<(HandleId, FopenFlags)> for ReplyOpen {
    fn accept(self, (handle, flags): (HandleId, FopenFlags)) {
        self.opened(FileHandle(handle.0), flags);
    }
}

impl Answer<u32> for ReplyWrite {
    fn accept(self, length: u32) {
        self.written(length);
    }
}

impl Answer<u64> for ReplyLseek {
    fn accept(self, offset: u64) {
        // A size is at most 16 TiB.
        self.offset(offset as i64);
    }
}

impl Answer<Space> for ReplyStatfs {
    fn accept(self, space: Space) {
        let Space { blocks, free, available, nodes, free_nodes } = space;
        let (block, name) = (BLOCK_SIZE as u32, NAME_MAX as u32);
        self.statfs(blocks, free, available, nodes, free_nodes, block, name, block);
    }
}

/// An extended attribute, or the list of their names, as the kernel asks for it.
pub(super) enum XattrAnswer {
    /// Size in bytes, for a caller that makes a buffer next.
    Size(u32),
    /// The value.
    Value(Vec<u8>),
}

impl Answer<XattrAnswer> for ReplyXattr {
    fn accept(self, answer: XattrAnswer) {
        match answer {
            XattrAnswer::Size(size) => self.size(size),
            XattrAnswer::Value(value) => self.data(&value),
        }
    }
}
