//! The operations as system calls in a directory, be it of a local disk or of a mount.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::PathBuf;

use rustix::fs::{
    self, AtFlags, CWD, FallocateFlags, FileType, Gid, Mode, OFlags, RawDir, RenameFlags, Timespec,
    Timestamps, UTIME_NOW, UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::FileSystem;
use super::answer::{Answer, Kind, Stat, Time, Value};
use super::operation::{
    Access, Allocation, Creation, HANDLES, NewTime, Open, Operation, Path, Rename, STREAMS,
    SetXattr, pattern, target,
};

/// Room for one entry, however long its name is.
const ENTRY_MAX: usize = 300;
/// Room for the xattrs of these tests.
const XATTR_MAX: usize = 4096;
const NANOSECONDS: i64 = 1_000_000_000;

/// End of the daemon below the directory, before it begins again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// In order.
    Unmounted,
    /// By `kill -9`.
    Killed,
}

/// A directory, and what is open in it.
pub(crate) struct Disk<'a> {
    root: PathBuf,
    handles: [Option<(File, Access)>; HANDLES],
    streams: [Option<(File, Vec<Vec<u8>>)>; STREAMS],
    restart: Box<dyn FnMut(End) + 'a>,
}

type Done = Result<(), Errno>;

impl<'a> Disk<'a> {
    /// A directory that is empty; `restart` ends what it is served by and begins again.
    pub(crate) fn new(root: PathBuf, restart: impl FnMut(End) + 'a) -> Self {
        let (handles, streams) = Default::default();
        Self { root, handles, streams, restart: Box::new(restart) }
    }

    fn path(&self, path: &Path) -> PathBuf {
        path.0.iter().fold(self.root.clone(), |whole, name| whole.join(OsStr::from_bytes(name)))
    }

    fn file(&self, number: usize) -> Result<&(File, Access), Errno> {
        self.handles[number].as_ref().ok_or(Errno::BADF)
    }

    fn open(&mut self, number: usize, path: &Path, how: Open) -> Done {
        self.handles[number] = None;
        let path = self.path(path);
        let (create, mode) = match how.creation {
            Creation::No => (OFlags::empty(), 0),
            Creation::IfMissing(mode) => (OFlags::CREATE, mode),
            Creation::Must(mode) => (OFlags::CREATE | OFlags::EXCL, mode),
        };
        // A fifo would wait for somebody at its other end.
        let found = std::fs::symlink_metadata(&path).map_err(errno);
        // Without a daemon the kernel still opens one that it knows.
        if let Err(gone @ (Errno::NOTCONN | Errno::CONNABORTED)) = found {
            return Err(gone);
        }
        if found.is_ok_and(|it| kind(it.mode()) == Kind::Fifo)
            && !matches!(how.creation, Creation::Must(_))
        {
            return Err(Errno::NXIO);
        }
        let access = match how.access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
            Access::Append => OFlags::RDWR | OFlags::APPEND,
        };
        let truncate = if how.truncate { OFlags::TRUNC } else { OFlags::empty() };
        let flags = access | create | truncate | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file: File = fs::open(&path, flags, Mode::from_raw_mode(mode))?.into();
        if kind(file.metadata().map_err(errno)?.mode()) == Kind::Directory {
            return Err(Errno::ISDIR);
        }
        self.handles[number] = Some((file, how.access));
        Ok(())
    }

    fn read(&self, number: usize, offset: u64, length: usize) -> Answer {
        let (file, _) = self.file(number)?;
        let (mut bytes, mut at) = (vec![0xee; length], 0);
        while at < length {
            match file.read_at(&mut bytes[at..], offset + at as u64).map_err(errno)? {
                0 => break,
                count => at += count,
            }
        }
        bytes.truncate(at);
        Ok(Value::Bytes(bytes))
    }

    fn write(&self, number: usize, offset: u64, (fill, length): (u8, usize)) -> Done {
        let (file, access) = self.file(number)?;
        let offset = match access {
            Access::Append => file.metadata().map_err(errno)?.len(),
            Access::Read | Access::Write => offset,
        };
        file.write_all_at(&pattern(fill, offset, length), offset).map_err(errno)
    }

    fn truncate(&self, path: &Path, size: u64) -> Done {
        let path = self.path(path);
        match kind(std::fs::metadata(&path).map_err(errno)?.mode()) {
            Kind::Directory => Err(Errno::ISDIR),
            Kind::Fifo | Kind::Symlink => Err(Errno::INVAL),
            Kind::File => {
                let file = fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
                fs::ftruncate(file, size)
            }
        }
    }

    fn read_link(&self, path: &Path) -> Answer {
        let target = std::fs::read_link(self.path(path)).map_err(errno)?;
        Ok(Value::Bytes(target.as_os_str().as_bytes().to_vec()))
    }

    fn list(&self, path: &Path) -> Answer {
        let mut entries = BTreeMap::new();
        for entry in std::fs::read_dir(self.path(path)).map_err(errno)? {
            let entry = entry.map_err(errno)?;
            let metadata = std::fs::symlink_metadata(entry.path()).map_err(errno)?;
            entries.insert(entry.file_name().as_bytes().to_vec(), kind(metadata.mode()));
        }
        Ok(Value::Entries(entries))
    }

    fn rename(&self, from: &Path, to: &Path, mode: Rename) -> Done {
        let flags = match mode {
            Rename::Over => RenameFlags::empty(),
            Rename::NoReplace => RenameFlags::NOREPLACE,
            Rename::Exchange => RenameFlags::EXCHANGE,
        };
        fs::renameat_with(CWD, self.path(from), CWD, self.path(to), flags)
    }

    fn open_stream(&mut self, number: usize, path: &Path) -> Done {
        self.streams[number] = None;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = fs::open(self.path(path), flags, Mode::empty())?;
        self.streams[number] = Some((directory.into(), Vec::new()));
        Ok(())
    }

    /// Reads so many entries, or somewhat more.
    fn read_stream(&mut self, number: usize, entries: usize) -> Done {
        let (directory, seen) = self.streams[number].as_mut().ok_or(Errno::BADF)?;
        for _ in 0..entries {
            let mut room = [MaybeUninit::uninit(); ENTRY_MAX];
            let mut some = RawDir::new(&*directory, &mut room);
            while let Some(entry) = some.next() {
                let name = entry?.file_name().to_bytes().to_vec();
                if name != b"." && name != b".." {
                    seen.push(name);
                }
                if some.is_buffer_empty() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn rewind(&mut self, number: usize) -> Done {
        let (directory, seen) = self.streams[number].as_mut().ok_or(Errno::BADF)?;
        seen.clear();
        fs::seek(directory, fs::SeekFrom::Start(0)).map(drop)
    }

    fn end_stream(&mut self, number: usize) -> Answer {
        let (directory, mut seen) = self.streams[number].take().ok_or(Errno::BADF)?;
        let mut room = [MaybeUninit::uninit(); 8192];
        let mut rest = RawDir::new(&directory, &mut room);
        while let Some(entry) = rest.next() {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                seen.push(name);
            }
        }
        Ok(Value::Seen(seen))
    }

    fn chown(&self, path: &Path, uid: Option<u32>, gid: Option<u32>) -> Done {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        fs::chownat(CWD, self.path(path), uid, gid, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn set_times(&self, path: &Path, atime: NewTime, mtime: NewTime) -> Done {
        let times = Timestamps { last_access: timespec(atime), last_modification: timespec(mtime) };
        fs::utimensat(CWD, self.path(path), &times, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn set_xattr(&self, path: &Path, (name, value): (&str, &[u8]), when: SetXattr) -> Done {
        let flags = match when {
            SetXattr::Always => XattrFlags::empty(),
            SetXattr::Create => XattrFlags::CREATE,
            SetXattr::Replace => XattrFlags::REPLACE,
        };
        fs::lsetxattr(self.path(path), name, value, flags)
    }

    fn xattr(&self, path: &Path, name: &str) -> Answer {
        let mut value = vec![0; XATTR_MAX];
        let length = fs::lgetxattr(self.path(path), name, &mut value[..])?;
        value.truncate(length);
        Ok(Value::Bytes(value))
    }

    fn xattr_names(&self, path: &Path) -> Answer {
        let mut list = vec![0; XATTR_MAX];
        let length = fs::llistxattr(self.path(path), &mut list[..])?;
        let names = list[..length].split(|byte| *byte == 0);
        let ours: BTreeSet<Vec<u8>> =
            names.filter(|name| name.starts_with(b"user.")).map(<[u8]>::to_vec).collect();
        Ok(Value::Xattrs(ours))
    }

    fn restart(&mut self, how: End) {
        self.handles = Default::default();
        self.streams = Default::default();
        (self.restart)(how);
    }

    fn change(&mut self, operation: &Operation) -> Done {
        match operation {
            Operation::Open { handle, path, how } => self.open(*handle, path, *how),
            Operation::Close { handle } => {
                self.handles[*handle].take().map(drop).ok_or(Errno::BADF)
            }
            Operation::Write { handle, offset, length, fill } => {
                self.write(*handle, *offset, (*fill, *length))
            }
            Operation::Resize { handle, size } => fs::ftruncate(&self.file(*handle)?.0, *size),
            Operation::Allocate { handle, offset, length, what } => {
                let what = match what {
                    Allocation::Reserve => FallocateFlags::empty(),
                    Allocation::ReserveKeepingSize => FallocateFlags::KEEP_SIZE,
                    Allocation::Punch => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                    Allocation::Zero => FallocateFlags::ZERO_RANGE,
                };
                fs::fallocate(&self.file(*handle)?.0, what, *offset, *length)
            }
            Operation::Sync { handle } => fs::fsync(&self.file(*handle)?.0),
            Operation::Truncate { path, size } => self.truncate(path, *size),
            Operation::MakeDirectory { path, mode } => {
                fs::mkdir(self.path(path), Mode::from_raw_mode(*mode))
            }
            Operation::MakeFifo { path, mode } => {
                let mode = Mode::from_raw_mode(*mode);
                fs::mknodat(CWD, self.path(path), FileType::Fifo, mode, 0)
            }
            Operation::Symlink { path, length } => {
                symlink(OsStr::from_bytes(&target(*length)), self.path(path)).map_err(errno)
            }
            Operation::Link { from, to } => {
                fs::linkat(CWD, self.path(from), CWD, self.path(to), AtFlags::empty())
            }
            Operation::Unlink { path } => fs::unlink(self.path(path)),
            Operation::RemoveDirectory { path } => fs::rmdir(self.path(path)),
            Operation::Rename { from, to, mode } => self.rename(from, to, *mode),
            Operation::OpenStream { stream, path } => self.open_stream(*stream, path),
            Operation::ReadStream { stream, entries } => self.read_stream(*stream, *entries),
            Operation::Rewind { stream } => self.rewind(*stream),
            Operation::Chmod { path, mode } => {
                fs::chmod(self.path(path), Mode::from_raw_mode(*mode))
            }
            Operation::Chown { path, uid, gid } => self.chown(path, *uid, *gid),
            Operation::SetTimes { path, atime, mtime } => self.set_times(path, *atime, *mtime),
            Operation::SetXattr { path, name, length, fill, when } => {
                self.set_xattr(path, (name, &pattern(*fill, 0, *length)), *when)
            }
            Operation::RemoveXattr { path, name } => fs::lremovexattr(self.path(path), *name),
            asking => panic!("{asking:?} is done elsewhere"),
        }
    }
}

impl FileSystem for Disk<'_> {
    fn apply(&mut self, operation: &Operation) -> Answer {
        match operation {
            Operation::Read { handle, offset, length } => self.read(*handle, *offset, *length),
            Operation::StatHandle { handle } => Ok(stat(&fs::fstat(&self.file(*handle)?.0)?)),
            Operation::Stat { path } => Ok(stat(&fs::lstat(self.path(path))?)),
            Operation::ReadLink { path } => self.read_link(path),
            Operation::List { path } => self.list(path),
            Operation::EndStream { stream } => self.end_stream(*stream),
            Operation::GetXattr { path, name } => self.xattr(path, name),
            Operation::ListXattrs { path } => self.xattr_names(path),
            // A local disk has nowhere to send it, and a mount does it without being told.
            Operation::Send | Operation::SendAway => Ok(Value::Nothing),
            Operation::Remount => {
                self.restart(End::Unmounted);
                Ok(Value::Nothing)
            }
            Operation::Kill => {
                self.restart(End::Killed);
                Ok(Value::Nothing)
            }
            changing => self.change(changing).map(|()| Value::Nothing),
        }
    }
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or_else(|| panic!("{error} is of no system call"))
}

fn kind(mode: u32) -> Kind {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        other => panic!("nobody made a {other:?}"),
    }
}

fn stat(stat: &fs::Stat) -> Value {
    let kind = kind(stat.st_mode);
    let time = |seconds: i64, nanoseconds: u64| {
        Time::told_coarsely(seconds.saturating_mul(NANOSECONDS).saturating_add(nanoseconds as i64))
    };
    Value::Stat(Stat {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        links: stat.st_nlink as u32,
        size: if kind == Kind::Directory { 0 } else { stat.st_size as u64 },
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
    })
}

fn timespec(time: NewTime) -> Timespec {
    match time {
        NewTime::Omit => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        NewTime::Now => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        NewTime::At(time) => {
            Timespec { tv_sec: time.div_euclid(NANOSECONDS), tv_nsec: time.rem_euclid(NANOSECONDS) }
        }
    }
}
