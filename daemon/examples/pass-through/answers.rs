//! Results as answers to the kernel.

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use fuser::{
    Errno, FileAttr, Generation, ReplyAttr, ReplyEmpty, ReplyEntry, ReplyWrite, ReplyXattr,
};

/// Lifetime of names and attributes in the kernel, as in the daemon.
pub(crate) const LIFETIME: Duration = Duration::from_secs(3600);
/// A number that comes back is that of the same file.
pub(crate) const GENERATION: Generation = Generation(0);

/// The kernel's word for an error.
pub(crate) fn errno(error: &io::Error) -> Errno {
    Errno::from_i32(error.raw_os_error().unwrap_or(libc::EIO))
}

pub(crate) fn answer_empty(reply: ReplyEmpty, result: io::Result<()>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(&error)),
    }
}

pub(crate) fn answer_entry(reply: ReplyEntry, result: io::Result<FileAttr>) {
    match result {
        Ok(attributes) => reply.entry(&LIFETIME, &attributes, GENERATION),
        Err(error) => reply.error(errno(&error)),
    }
}

pub(crate) fn answer_attributes(reply: ReplyAttr, result: io::Result<FileAttr>) {
    match result {
        Ok(attributes) => reply.attr(&LIFETIME, &attributes),
        Err(error) => reply.error(errno(&error)),
    }
}

pub(crate) fn answer_written(reply: ReplyWrite, result: io::Result<usize>) {
    match result {
        // A request has at most a few MiB.
        Ok(length) => reply.written(length as u32),
        Err(error) => reply.error(errno(&error)),
    }
}

/// Reads into a buffer of the caller's size; 0 asks for the size only.
pub(crate) fn answer_xattr(
    reply: ReplyXattr,
    size: u32,
    read: impl FnOnce(&mut [u8]) -> rustix::io::Result<usize>,
) {
    let mut buffer = vec![0; size as usize];
    match read(&mut buffer) {
        Ok(length) if size == 0 => reply.size(length as u32),
        Ok(length) => reply.data(&buffer[..length]),
        Err(error) => reply.error(Errno::from_i32(error.raw_os_error())),
    }
}

/// Ends with the entry for which there was no room.
pub(crate) fn until_full(full: bool) -> ControlFlow<()> {
    if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
