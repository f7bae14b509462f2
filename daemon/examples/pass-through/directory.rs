//! A directory that is being read.

use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Dir, FileType};

/// An entry as it stands in the directory.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: OsString,
    /// The inode on the disk.
    pub(crate) number: u64,
    pub(crate) kind: FileType,
    /// Where reading goes on after it.
    pub(crate) next: u64,
}

/// A place in a directory, and the entry there that did not fit into the last answer.
pub(crate) struct Stream {
    directory: Dir,
    place: u64,
    left_over: Option<Entry>,
}

impl Stream {
    /// Reads this directory from its beginning.
    pub(crate) fn new(directory: OwnedFd) -> io::Result<Self> {
        Ok(Self { directory: Dir::new(directory)?, place: 0, left_over: None })
    }

    /// Gives entries from a place on, until `add` has no room for one or all were given.
    pub(crate) fn read(
        &mut self,
        from: u64,
        mut add: impl FnMut(&Entry) -> io::Result<ControlFlow<()>>,
    ) -> io::Result<()> {
        if from != self.place {
            self.left_over = None;
            self.directory.seek(from as i64)?;
            self.place = from;
        }
        while let Some(entry) = self.next()? {
            if add(&entry)?.is_break() {
                self.left_over = Some(entry);
                break;
            }
            self.place = entry.next;
        }
        Ok(())
    }

    fn next(&mut self) -> io::Result<Option<Entry>> {
        if let Some(entry) = self.left_over.take() {
            return Ok(Some(entry));
        }
        let Some(entry) = self.directory.read().transpose()? else { return Ok(None) };
        Ok(Some(Entry {
            name: OsStr::from_bytes(entry.file_name().to_bytes()).to_owned(),
            number: entry.ino(),
            kind: entry.file_type(),
            next: entry.offset() as u64,
        }))
    }
}
