//! Spools: bytes that wait for somebody slower, in memory as long as they are few, then in a file.
//!
//! A body of a slow sender, or an answer to a slow reader, so costs a file and nothing that others wait for. A file
//! has no name, so it goes with its last user whatever happens. All files together, and those of one owner, have a
//! limit; beyond it, and when the disk is full, bytes stay in memory, which the owner is told.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

use super::blocking::run_blocking;
use super::{Error, UserId};

/// Bytes of a spool that are held in memory before they go to a file.
const MEMORY: usize = 128 * 1024;
/// Bytes of all files.
const FILES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Bytes of one owner's files.
const OWNER_MAX: u64 = FILES_MAX / 4;
/// Bytes that are read back at once.
const READ: usize = 256 * 1024;

/// Where spools have their files. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Spools {
    directory: Arc<Path>,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    bytes: u64,
    of: HashMap<UserId, u64>,
}

/// Where bytes went that were put into a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spooled {
    /// Where they stand in nobody's way.
    Cheaply,
    /// Into memory, however much that is by now: the files may not grow.
    InMemory,
}

impl Spools {
    /// Spools with their files in a directory, which exists or has none.
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.into(), used: Arc::default() }
    }

    /// An empty spool of this owner's.
    pub(crate) fn open(&self, owner: UserId) -> Spool {
        Spool {
            share: Share { spools: self.clone(), owner, bytes: 0 },
            file: None,
            tail: BytesMut::new(),
        }
    }
}

/// Bytes in the order in which they were put in.
#[derive(Debug)]
pub(crate) struct Spool {
    share: Share,
    file: Option<Arc<File>>,
    /// The bytes behind those in the file.
    tail: BytesMut,
}

impl Spool {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be written for another reason than that there is no room.
    pub(crate) async fn push(&mut self, bytes: &[u8]) -> Result<Spooled, Error> {
        self.tail.extend_from_slice(bytes);
        if self.tail.len() <= MEMORY {
            return Ok(Spooled::Cheaply);
        }
        if !self.share.grow(self.tail.len() as u64) {
            return Ok(Spooled::InMemory);
        }
        let (offset, tail) = (self.share.bytes, self.tail.split().freeze());
        let file = match self.file.clone() {
            Some(file) => Ok(file),
            None => self.make_file().await,
        };
        let written = match file {
            Ok(file) => write(file, offset, tail.clone()).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => {
                self.share.bytes += tail.len() as u64;
                Ok(Spooled::Cheaply)
            }
            Err(Error::NoSpace(_)) => {
                self.share.shrink(tail.len() as u64);
                self.tail = BytesMut::from(tail);
                Ok(Spooled::InMemory)
            }
            Err(error) => {
                self.share.shrink(tail.len() as u64);
                Err(error)
            }
        }
    }

    async fn make_file(&mut self) -> Result<Arc<File>, Error> {
        let directory = self.share.spools.directory.clone();
        let file = run_blocking(move || {
            nameless(&directory).map_err(|error| Error::file(&*directory, error))
        });
        let file = Arc::new(file.await?);
        self.file = Some(file.clone());
        Ok(file)
    }

    /// Bytes in it.
    pub(crate) fn len(&self) -> u64 {
        self.share.bytes + self.tail.len() as u64
    }

    /// All of its bytes, in memory.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) async fn into_bytes(self) -> Result<Bytes, Error> {
        let Some(file) = self.file.clone() else { return Ok(self.tail.freeze()) };
        let in_file = usize::try_from(self.share.bytes).unwrap_or(usize::MAX);
        run_blocking(move || {
            // Whole from the start: it would be as long again to take the few bytes at the end.
            let mut all = Vec::with_capacity(in_file + self.tail.len());
            all.resize(in_file, 0);
            let read = file.read_exact_at(&mut all, 0);
            read.map_err(|error| Error::file("a spool", error))?;
            all.extend_from_slice(&self.tail);
            Ok(all.into())
        })
        .await
    }

    /// The bytes behind an offset, some at a time; `None` at the end.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) async fn read(&self, offset: u64) -> Result<Option<Bytes>, Error> {
        let left = self.share.bytes.saturating_sub(offset);
        if left == 0 {
            let behind = usize::try_from(offset - self.share.bytes).unwrap_or(usize::MAX);
            let rest = self.tail.get(behind..).filter(|rest| !rest.is_empty());
            return Ok(rest.map(|rest| Bytes::copy_from_slice(&rest[..rest.len().min(READ)])));
        }
        let Some(file) = self.file.clone() else { return Ok(None) };
        let length = usize::try_from(left).unwrap_or(READ).min(READ);
        let read = run_blocking(move || {
            let mut bytes = vec![0; length];
            let read = file.read_exact_at(&mut bytes, offset);
            read.map_err(|error| Error::file("a spool", error))?;
            Ok(bytes.into())
        });
        read.await.map(Some)
    }
}

async fn write(file: Arc<File>, offset: u64, bytes: Bytes) -> Result<(), Error> {
    run_blocking(move || {
        file.write_all_at(&bytes, offset).map_err(|error| Error::file("a spool", error))
    })
    .await
}

/// A new file without a name; on a file system that cannot make one (`O_TMPFILE`, open(2)), one that had a name for
/// a moment.
fn nameless(directory: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.clone().custom_flags(libc::O_TMPFILE).open(directory) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            let path = directory.join(format!("{:032x}.spool", rand::random::<u128>()));
            let file = options.create_new(true).open(&path)?;
            std::fs::remove_file(path)?;
            Ok(file)
        }
        made => made,
    }
}

/// The bytes of a spool's file, which count until it is dropped.
#[derive(Debug)]
struct Share {
    spools: Spools,
    owner: UserId,
    bytes: u64,
}

impl Share {
    /// Counts bytes that are about to be written; `false` when there may be no more.
    fn grow(&self, bytes: u64) -> bool {
        let mut used = self.spools.used.lock().unwrap_or_else(PoisonError::into_inner);
        let own = used.of.get(&self.owner).copied().unwrap_or(0);
        if used.bytes + bytes > FILES_MAX || own + bytes > OWNER_MAX {
            return false;
        }
        used.bytes += bytes;
        used.of.insert(self.owner, own + bytes);
        true
    }

    /// Counts bytes no more.
    fn shrink(&self, bytes: u64) {
        let mut used = self.spools.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.bytes -= bytes;
        if let Some(own) = used.of.get_mut(&self.owner) {
            *own -= bytes;
            if *own == 0 {
                used.of.remove(&self.owner);
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: UserId = UserId(1);

    async fn read_back(spool: &Spool) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(bytes) = spool.read(all.len() as u64).await.unwrap() {
            all.extend_from_slice(&bytes);
        }
        all
    }

    #[tokio::test]
    async fn what_was_put_in_comes_out_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let spools = Spools::new(directory.path());
        for pieces in [0, 1, 3, 40] {
            let mut spool = spools.open(OWNER);
            let mut expected = Vec::new();
            for piece in 0..pieces {
                let bytes = vec![piece as u8; 50_000 + piece];
                assert_eq!(spool.push(&bytes).await.unwrap(), Spooled::Cheaply);
                expected.extend_from_slice(&bytes);
            }
            assert_eq!(spool.len(), expected.len() as u64);
            assert!(spool.tail.len() <= MEMORY);
            assert!(read_back(&spool).await == expected);
            assert!(spool.into_bytes().await.unwrap() == expected);
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
            assert_eq!(spools.used.lock().unwrap().bytes, 0);
        }
    }

    #[tokio::test]
    async fn an_owner_who_has_too_much_is_told_and_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let spools = Spools::new(directory.path());
        let most = Share { spools: spools.clone(), owner: OWNER, bytes: OWNER_MAX };
        assert!(most.grow(OWNER_MAX));
        let mut spool = spools.open(OWNER);
        let bytes = vec![7; MEMORY + 1];
        assert_eq!(spool.push(&bytes).await.unwrap(), Spooled::InMemory);
        assert_eq!(spools.open(UserId(2)).push(&bytes).await.unwrap(), Spooled::Cheaply);
        drop(most);
        assert_eq!(spool.push(&[8]).await.unwrap(), Spooled::Cheaply);
        assert!(spool.into_bytes().await.unwrap() == [&bytes[..], &[8]].concat());
        assert!(spools.used.lock().unwrap().of.is_empty());
    }
}
