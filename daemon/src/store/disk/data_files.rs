//! The data files: one sparse file a node, `data/XX/INO`, open as long as few enough are.
//!
//! A data file appears with its full length at once: one that must not be empty is made as
//! `INO.new`, extended and renamed, so that recovery can trust the length of what it finds.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use lru::LruCache;
use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom};

use crate::store::error::{Error, while_doing};
use crate::store::node::Ino;

/// Data files that are kept open at the most.
const OPEN_MAX: NonZeroUsize = NonZeroUsize::new(512).expect("512 is not zero");
/// Folders that the data files are spread over.
const FOLDERS: u64 = 256;
/// Writes by which the clock of the disk is tried.
const STAMPS_PROBED: u64 = 50;
/// Ends the name of a data file that is being made.
pub(crate) const UNFINISHED: &str = ".new";

/// The data files of a store.
#[derive(Debug)]
pub(crate) struct DataFiles {
    folder: PathBuf,
    open: Mutex<LruCache<Ino, Arc<File>>>,
    has_fine_stamps: OnceLock<bool>,
}

impl DataFiles {
    /// Opens the folder, making it and those in it.
    pub(crate) fn new(folder: PathBuf) -> Result<Self, Error> {
        for index in 0..FOLDERS {
            fs::create_dir_all(folder.join(format!("{index:02x}")))
                .map_err(while_doing("making the folder of data files"))?;
        }
        let open = Mutex::new(LruCache::new(OPEN_MAX));
        Ok(Self { folder, open, has_fine_stamps: OnceLock::new() })
    }

    /// Where all data files are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the data file of a node is, if it has one.
    pub(crate) fn path(&self, ino: Ino) -> PathBuf {
        self.folder.join(format!("{:02x}/{ino}", ino.0 % FOLDERS))
    }

    /// True if each change of a file gives it another time once the one before was looked at (multigrain timestamps, Linux 6.13).
    pub(crate) fn has_fine_stamps(&self) -> bool {
        *self.has_fine_stamps.get_or_init(|| has_fine_stamps(&self.folder).unwrap_or(false))
    }

    /// Calls `found` with each data file and its name, which is the number of a node.
    pub(crate) fn each_file(
        &self,
        mut found: impl FnMut(&Path, &str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let doing = while_doing("listing the data files");
        for folder in fs::read_dir(&self.folder).map_err(&doing)? {
            for file in fs::read_dir(folder.map_err(&doing)?.path()).map_err(&doing)? {
                let file = file.map_err(&doing)?;
                found(&file.path(), &file.file_name().to_string_lossy())?;
            }
        }
        Ok(())
    }

    /// True if there is any data file.
    pub(crate) fn has_any(&self) -> Result<bool, Error> {
        let doing = while_doing("looking for data files");
        for folder in fs::read_dir(&self.folder).map_err(&doing)? {
            let folder = folder.map_err(&doing)?.path();
            if fs::read_dir(folder).map_err(&doing)?.next().is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The data file of a node; made with `size` bytes of hole when there is none.
    pub(crate) fn open(&self, ino: Ino, size: u64) -> Result<Arc<File>, Error> {
        if let Some(file) = self.existing(ino)? {
            return Ok(file);
        }
        let path = self.path(ino);
        let file = if size == 0 { create(&path) } else { create_with_length(&path, size) }
            .map_err(while_doing("making a data file"))?;
        Ok(self.keep(ino, file))
    }

    /// The data file of a node, if it has one.
    pub(crate) fn existing(&self, ino: Ino) -> Result<Option<Arc<File>>, Error> {
        if let Some(file) = self.lock().get(&ino) {
            return Ok(Some(Arc::clone(file)));
        }
        match OpenOptions::new().read(true).write(true).open(self.path(ino)) {
            Ok(file) => Ok(Some(self.keep(ino, file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(while_doing("opening a data file")(error)),
        }
    }

    /// Another descriptor of the data file of a node, by which nobody can write, if it has one.
    pub(crate) fn open_to_look(&self, ino: Ino) -> Result<Option<File>, Error> {
        match File::open(self.path(ino)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(while_doing("opening a data file")(error)),
        }
    }

    /// Closes the data file of a node, once nobody uses it any more.
    pub(crate) fn close(&self, ino: Ino) {
        self.lock().pop(&ino);
    }

    /// 512-byte blocks that the data file takes, if it is open.
    pub(crate) fn blocks(&self, ino: Ino) -> Option<u64> {
        let file = self.lock().peek(&ino).cloned()?;
        file.metadata().ok().map(|metadata| metadata.blocks())
    }

    /// True if a node has a data file.
    pub(crate) fn exists(&self, ino: Ino) -> bool {
        self.lock().contains(&ino) || self.path(ino).exists()
    }

    /// When the data file of a node was changed last, in nanoseconds since 1970, if it has one.
    pub(crate) fn modified(&self, ino: Ino) -> Result<Option<i64>, Error> {
        Ok(self.metadata(ino)?.as_ref().map(modified))
    }

    /// Size and times of the data file of a node, if it has one.
    pub(crate) fn metadata(&self, ino: Ino) -> Result<Option<Metadata>, Error> {
        match fs::metadata(self.path(ino)) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(while_doing("looking at a data file")(error)),
        }
    }

    /// Removes the data file of a node that is gone.
    pub(crate) fn remove(&self, ino: Ino) -> Result<(), Error> {
        self.lock().pop(&ino);
        match fs::remove_file(self.path(ino)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(while_doing("removing a data file")(error))
            }
            _ => Ok(()),
        }
    }

    /// Makes the data file of one node that of another, which has none.
    pub(crate) fn rename(&self, from: Ino, to: Ino) -> Result<(), Error> {
        self.lock().pop(&from);
        match fs::rename(self.path(from), self.path(to)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(while_doing("renaming a data file")(error))
            }
            _ => Ok(()),
        }
    }

    fn keep(&self, ino: Ino, file: File) -> Arc<File> {
        let file = Arc::new(file);
        self.lock().put(ino, Arc::clone(&file));
        file
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Ino, Arc<File>>> {
        self.open.lock().expect("nothing panics while the open data files are locked")
    }
}

/// Writes to a file without a name several times within a tick of the coarse clock, and looks at its time in between.
fn has_fine_stamps(folder: &Path) -> io::Result<bool> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR)?);
    let mut last = modified(&file.metadata()?);
    let mut is_fine = true;
    for round in 0..STAMPS_PROBED {
        file.write_all_at(b"x", round)?;
        let now = modified(&file.metadata()?);
        is_fine &= now != last;
        last = now;
    }
    Ok(is_fine)
}

/// When a file was changed last, in nanoseconds since 1970.
pub(crate) fn modified(metadata: &Metadata) -> i64 {
    metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec()
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn create_with_length(path: &Path, size: u64) -> io::Result<File> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(UNFINISHED);
    let file = create(Path::new(&unfinished))?;
    file.set_len(size)?;
    fs::rename(&unfinished, path)?;
    Ok(file)
}

/// Reads all of `buffer`; what is beyond the end of the file is zeros. Answers the number of bytes that are not beyond.
pub(crate) fn read_or_zeros(file: &File, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(while_doing("reading a data file")(error)),
        }
    }
    buffer[done..].fill(0);
    Ok(done)
}

/// Gives the blocks of a range back to the disk; it reads as zeros then.
pub(crate) fn punch(file: &File, range: Range<u64>) -> Result<(), Error> {
    if range.is_empty() {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(file, flags, range.start, range.end - range.start)
        .map_err(|error| while_doing("punching a hole into a data file")(error.into()))
}

/// Gives blocks of zeros back to the disk, where it has any.
pub(crate) fn punch_data(
    file: &File,
    zeros: impl IntoIterator<Item = Range<u64>>,
) -> Result<(), Error> {
    for range in zeros {
        if has_data(file, range.clone())? {
            punch(file, range)?;
        }
    }
    Ok(())
}

/// Has a range read as zeros and keeps blocks for it, where the disk can; it is no longer than before.
///
/// Where the disk cannot do both at once (tmpfs), the blocks are given back and taken again.
pub(crate) fn zero(file: &File, range: Range<u64>) -> Result<(), Error> {
    let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, flags, range.start, range.end - range.start) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP) => {
            punch(file, range.clone())?;
            reserve(file, range)
        }
        Err(error) => Err(while_doing("writing zeros into a data file")(error.into())),
    }
}

/// Keeps blocks for a range that has none; it reads as before, and the file is no longer than before.
pub(crate) fn reserve(file: &File, range: Range<u64>) -> Result<(), Error> {
    let length = range.end - range.start;
    rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, range.start, length)
        .map_err(|error| while_doing("reserving room for a data file")(error.into()))
}

/// Where data begins, from `offset` on; `None` when there is none up to the end of the file.
pub(crate) fn next_data(file: &File, offset: u64) -> Result<Option<u64>, Error> {
    found(rustix::fs::seek(file, SeekFrom::Data(offset)))
}

/// Where a hole begins, from `offset` on, at the latest the end of the file; `None` behind that.
pub(crate) fn next_hole(file: &File, offset: u64) -> Result<Option<u64>, Error> {
    found(rustix::fs::seek(file, SeekFrom::Hole(offset)))
}

fn found(answer: rustix::io::Result<u64>) -> Result<Option<u64>, Error> {
    match answer {
        Ok(offset) => Ok(Some(offset)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(while_doing("looking for data in a data file")(error.into())),
    }
}

/// True if a range has any data blocks.
pub(crate) fn has_data(file: &File, range: Range<u64>) -> Result<bool, Error> {
    Ok(next_data(file, range.start)?.is_some_and(|data| data < range.end))
}

/// True if a range has any hole, or ends behind the file.
pub(crate) fn has_hole(file: &File, range: Range<u64>) -> Result<bool, Error> {
    Ok(next_hole(file, range.start)?.is_none_or(|hole| hole < range.end))
}

/// Copies a range of one file to `offset` in another without passing the bytes: the disk shares blocks where
/// it can, else the kernel copies (copy_file_range(2)). What is a hole, or behind the end, becomes a hole.
pub(crate) fn copy(from: &File, range: Range<u64>, to: &File, offset: u64) -> Result<(), Error> {
    let there = |at: u64| offset + (at - range.start);
    let mut at = range.start;
    while at < range.end {
        let data = next_data(from, at)?.unwrap_or(range.end).min(range.end);
        if data > at && has_data(to, there(at)..there(data))? {
            punch(to, there(at)..there(data))?;
        }
        at = data;
        if data < range.end {
            at = next_hole(from, data)?.unwrap_or(range.end).min(range.end);
            copy_data(from, data..at, to, there(data))?;
        }
    }
    let doing = while_doing("copying between data files");
    if to.metadata().map_err(&doing)?.len() < there(range.end) {
        to.set_len(there(range.end)).map_err(&doing)?;
    }
    Ok(())
}

fn copy_data(from: &File, range: Range<u64>, to: &File, mut offset: u64) -> Result<(), Error> {
    let doing = while_doing("copying between data files");
    let mut at = range.start;
    while at < range.end {
        let left = usize::try_from(range.end - at).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, Some(&mut at), to, Some(&mut offset), left) {
            Ok(0) => return Err(doing(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(doing(error.into())),
        }
    }
    Ok(())
}
