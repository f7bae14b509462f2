//! Replies that go into a buffer of the caller: entries of a directory, and extended attributes.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;

use fuser::{Errno, INodeNo, ReplyDirectory, ReplyDirectoryPlus, ReplyXattr};

use crate::vfs::{DirEntry, Stat};

use super::answer::{Answer, GENERATION, LIFETIME, Refuse, XattrAnswer};
use super::trace::Traced;
use super::translate::{attributes, file_type};

/// The reply to a request for an attribute, and the size of the caller's buffer.
pub(super) struct XattrReply {
    pub(super) reply: Traced<ReplyXattr>,
    /// In bytes; 0 asks for the size only.
    pub(super) buffer_size: u32,
}

impl Refuse for XattrReply {
    fn refuse(self, errno: Errno) {
        self.reply.refuse(errno);
    }
}

impl Answer<Vec<u8>> for XattrReply {
    fn accept(self, value: Vec<u8>) {
        match self.buffer_size {
            0 => self.reply.accept(XattrAnswer::Size(value.len() as u32)),
            size if value.len() > size as usize => self.reply.refuse(Errno::ERANGE),
            _ => self.reply.accept(XattrAnswer::Value(value)),
        }
    }
}

impl Traced<ReplyDirectory> {
    /// Adds an entry, unless the kernel's buffer is full.
    pub(super) fn add(&mut self, entry: DirEntry<'_>) -> ControlFlow<()> {
        let (node, name) = (INodeNo(entry.ino.0), OsStr::from_bytes(entry.name));
        until_full(self.reply_mut().add(node, entry.next, file_type(entry.kind), name))
    }
}

impl Traced<ReplyDirectoryPlus> {
    /// Adds an entry with what the kernel may keep of its node, unless the kernel's buffer is full.
    pub(super) fn add(&mut self, entry: DirEntry<'_>, stat: &Stat) -> ControlFlow<()> {
        let (node, name) = (INodeNo(entry.ino.0), OsStr::from_bytes(entry.name));
        let attributes = attributes(stat);
        until_full(self.reply_mut().add(node, entry.next, name, &LIFETIME, &attributes, GENERATION))
    }
}

fn until_full(full: bool) -> ControlFlow<()> {
    if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
