//! Results of the file system as answers to the kernel, one for each kind of reply.

use std::time::Duration;

use fuser::{
    Errno, FileHandle, FopenFlags, Generation, ReplyAttr, ReplyCreate, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
};
use miaofs::protocol::name::NAME_MAX;

use crate::vfs::{BLOCK_SIZE, Error, HandleId, Space, Stat};

use super::translate::{attributes, errno, negative_entry};

/// How long the kernel may keep names and attributes; the feed of changes ends it sooner.
pub(super) const LIFETIME: Duration = Duration::from_secs(3600);

/// Inode numbers are never used again, so one generation is enough.
pub(super) const GENERATION: Generation = Generation(0);

/// A reply that a result of type `T` can be told by.
pub(super) trait Answer<T> {
    /// Tells the result; an error by its errno.
    fn answer(self, result: Result<T, Error>);
}

impl Answer<()> for ReplyEmpty {
    fn answer(self, result: Result<(), Error>) {
        match result {
            Ok(()) => self.ok(),
            Err(error) => self.error(errno(&error)),
        }
    }
}

impl Answer<Stat> for ReplyEntry {
    fn answer(self, result: Result<Stat, Error>) {
        match result {
            Ok(stat) => self.entry(&LIFETIME, &attributes(&stat), GENERATION),
            Err(error) => self.error(errno(&error)),
        }
    }
}

impl Answer<Option<Stat>> for ReplyEntry {
    fn answer(self, result: Result<Option<Stat>, Error>) {
        match result.transpose() {
            Some(found) => self.answer(found),
            None => self.entry(&LIFETIME, &negative_entry(), GENERATION),
        }
    }
}

impl Answer<Stat> for ReplyAttr {
    fn answer(self, result: Result<Stat, Error>) {
        match result {
            Ok(stat) => self.attr(&LIFETIME, &attributes(&stat)),
            Err(error) => self.error(errno(&error)),
        }
    }
}

impl<B: AsRef<[u8]>> Answer<B> for ReplyData {
    fn answer(self, result: Result<B, Error>) {
        match result {
            Ok(bytes) => self.data(bytes.as_ref()),
            Err(error) => self.error(errno(&error)),
        }
    }
}

impl Answer<(HandleId, FopenFlags)> for ReplyOpen {
    fn answer(self, result: Result<(HandleId, FopenFlags), Error>) {
        match result {
            Ok((handle, flags)) => self.opened(FileHandle(handle.0), flags),
            Err(error) => self.error(errno(&error)),
        }
    }
}

impl Answer<(Stat, HandleId, FopenFlags)> for ReplyCreate {
    fn answer(self, result: Result<(Stat, HandleId, FopenFlags), Error>) {
        match result {
            Ok((stat, handle, flags)) => {
                let handle = FileHandle(handle.0);
                self.created(&LIFETIME, &attributes(&stat), GENERATION, handle, flags);
            }
            Err(error) => self.error(errno(&error)),
        }
    }
}

impl Answer<u32> for ReplyWrite {
    fn answer(self, result: Result<u32, Error>) {
        match result {
            Ok(length) => self.written(length),
            Err(error) => self.error(errno(&error)),
        }
    }
}

impl Answer<u64> for ReplyLseek {
    fn answer(self, result: Result<u64, Error>) {
        match result {
            // A size is at most 16 TiB.
            Ok(offset) => self.offset(offset as i64),
            Err(error) => self.error(errno(&error)),
        }
    }
}

impl Answer<Space> for ReplyStatfs {
    fn answer(self, result: Result<Space, Error>) {
        let block = BLOCK_SIZE as u32;
        match result {
            Ok(Space { blocks, free, available, nodes, free_nodes }) => {
                let name = NAME_MAX as u32;
                self.statfs(blocks, free, available, nodes, free_nodes, block, name, block);
            }
            Err(error) => self.error(errno(&error)),
        }
    }
}

/// The reply to a question for an attribute, and how many bytes the asker has room for.
pub(super) struct XattrReply {
    pub(super) reply: ReplyXattr,
    /// 0 asks for the length only.
    pub(super) room: u32,
}

impl Answer<Vec<u8>> for XattrReply {
    fn answer(self, result: Result<Vec<u8>, Error>) {
        match result {
            Ok(value) if self.room == 0 => self.reply.size(value.len() as u32),
            Ok(value) if value.len() > self.room as usize => self.reply.error(Errno::ERANGE),
            Ok(value) => self.reply.data(&value),
            Err(error) => self.reply.error(errno(&error)),
        }
    }
}
