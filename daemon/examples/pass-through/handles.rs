//! Open files and directories by the numbers that the kernel knows them by.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use fuser::{BackingId, FileHandle};

use super::directory::Stream;

/// An open file or directory.
pub(crate) enum Open {
    /// A file; where the kernel reads and writes it itself, its name of the file lives as long.
    File { file: File, _backing: Option<Arc<BackingId>> },
    /// A directory.
    Directory(Mutex<Stream>),
}

/// All of them.
#[derive(Default)]
pub(crate) struct Handles {
    next: AtomicU64,
    open: RwLock<HashMap<u64, Arc<Open>>>,
}

impl Handles {
    /// Adds one; returns its number.
    pub(crate) fn add(&self, opened: Open) -> FileHandle {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(number, Arc::new(opened));
        FileHandle(number)
    }

    /// Closes one.
    pub(crate) fn close(&self, number: FileHandle) {
        let closed = self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&number.0);
        drop(closed);
    }

    /// Does something with an open file.
    pub(crate) fn with_file<T>(
        &self,
        number: FileHandle,
        work: impl FnOnce(&File) -> io::Result<T>,
    ) -> io::Result<T> {
        match &*self.get(number)? {
            Open::File { file, .. } => work(file),
            Open::Directory(_) => Err(rustix::io::Errno::ISDIR.into()),
        }
    }

    /// Does something with an open directory.
    pub(crate) fn with_directory<T>(
        &self,
        number: FileHandle,
        work: impl FnOnce(&mut Stream) -> io::Result<T>,
    ) -> io::Result<T> {
        match &*self.get(number)? {
            Open::File { .. } => Err(rustix::io::Errno::NOTDIR.into()),
            Open::Directory(stream) => {
                work(&mut stream.lock().unwrap_or_else(PoisonError::into_inner))
            }
        }
    }

    fn get(&self, number: FileHandle) -> io::Result<Arc<Open>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&number.0).map(Arc::clone).ok_or(rustix::io::Errno::BADF.into())
    }
}
