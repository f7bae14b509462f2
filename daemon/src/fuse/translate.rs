//! The kernel's words for the store's: attributes, kinds, times, errnos.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileType, FopenFlags, INodeNo, OpenAccMode, OpenFlags, RenameFlags, Request,
    TimeOrNow,
};
use miaofs::protocol::files::Kind;

use crate::store::{Access, Growth, Ino, SeekWhence};
use crate::vfs::{
    self, Allocation, Caller, DirCache, EntryName, OpenMode, RenameMode, SetXattr, Stat, Time,
    Truncate,
};

/// The size of I/O that programs are advised to use, in bytes.
const PREFERRED_IO_SIZE: u32 = 128 * 1024;

pub(super) fn ino(number: INodeNo) -> Ino {
    Ino(number.0)
}

pub(super) fn caller(request: &Request) -> Caller {
    let thread = Some(request.pid()).filter(|number| *number != 0);
    Caller { uid: request.uid(), gid: request.gid(), umask: 0, thread }
}

/// The caller of a request that makes a node. The kernel leaves the umask to us (`DONT_MASK`).
pub(super) fn caller_with_umask(request: &Request, umask: u32) -> Caller {
    Caller { umask, ..caller(request) }
}

pub(super) fn entry_name(parent: INodeNo, name: &OsStr) -> EntryName<'_> {
    EntryName { parent: ino(parent), name: name.as_bytes() }
}

/// The errno of an error; what broke is logged, here and only here.
pub(super) fn errno(error: &vfs::Error) -> Errno {
    if error.is_fault() {
        tracing::error!(error = error as &dyn std::error::Error, "an operation failed");
    }
    Errno::from_i32(error.errno().raw_os_error())
}

pub(super) fn attributes(stat: &Stat) -> FileAttr {
    let attributes = &stat.attributes;
    FileAttr {
        ino: INodeNo(stat.ino.0),
        size: attributes.size,
        blocks: stat.blocks,
        atime: system_time(attributes.atime),
        mtime: system_time(attributes.mtime),
        ctime: system_time(attributes.ctime),
        crtime: system_time(attributes.btime),
        kind: file_type(attributes.kind),
        perm: (attributes.mode & 0o7777) as u16,
        nlink: stat.links,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: kernel_device(attributes.rdev),
        blksize: PREFERRED_IO_SIZE,
        flags: 0,
    }
}

/// Flags of an open directory. What the kernel caches of it stays from one opening to the next, as changes on the
/// server invalidate it.
pub(super) fn directory_flags(cache: DirCache) -> FopenFlags {
    match cache {
        DirCache::Allowed => FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR,
        DirCache::Bypass => FopenFlags::FOPEN_KEEP_CACHE,
    }
}

/// Attributes that answer a lookup of a name that is not there: inode 0 has the kernel cache a negative entry.
pub(super) fn negative_entry() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

pub(super) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::CharDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
    }
}

/// Reads the mode of `fallocate`; `None` for what is not supported.
pub(super) fn allocation(mode: i32) -> Option<Allocation> {
    const RESERVE_AND_KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;
    const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE;
    const ZERO_AND_KEEP: i32 = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
    match mode {
        0 => Some(Allocation::Reserve(Growth::Extend)),
        RESERVE_AND_KEEP => Some(Allocation::Reserve(Growth::KeepSize)),
        PUNCH => Some(Allocation::Punch),
        ZERO => Some(Allocation::Zero(Growth::Extend)),
        ZERO_AND_KEEP => Some(Allocation::Zero(Growth::KeepSize)),
        _ => None,
    }
}

/// Reads the `whence` of `lseek`; the kernel answers all but these by itself.
pub(super) fn seek_whence(whence: i32) -> Option<SeekWhence> {
    match whence {
        libc::SEEK_DATA => Some(SeekWhence::Data),
        libc::SEEK_HOLE => Some(SeekWhence::Hole),
        _ => None,
    }
}

/// The kind that `mknod` asks for; it cannot make directories and symlinks.
pub(super) fn kind_of_mode(mode: u32) -> Option<Kind> {
    match mode & libc::S_IFMT {
        libc::S_IFREG | 0 => Some(Kind::File),
        libc::S_IFIFO => Some(Kind::Fifo),
        libc::S_IFSOCK => Some(Kind::Socket),
        libc::S_IFCHR => Some(Kind::CharDevice),
        libc::S_IFBLK => Some(Kind::BlockDevice),
        _ => None,
    }
}

/// The kernel packs device numbers into 32 bits: minor's low byte, 12 bits of major, 12 of minor.
pub(super) fn kernel_device(device: u64) -> u32 {
    let (major, minor) = (libc::major(device), libc::minor(device));
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)
}

/// The device number that the kernel packed ([`kernel_device`]).
pub(super) fn device(packed: u32) -> u64 {
    let major = (packed >> 8) & 0xfff;
    let minor = (packed & 0xff) | ((packed >> 12) & 0xfff00);
    libc::makedev(major, minor)
}

pub(super) fn time(time: TimeOrNow) -> Time {
    match time {
        TimeOrNow::Now => Time::Now,
        TimeOrNow::SpecificTime(time) => Time::At(nanoseconds(time)),
    }
}

/// Nanoseconds since 1970 of a time that the kernel set. Before 1970 `fuser` counts the nanoseconds away
/// from the epoch where the kernel counts them towards it; that is put right here.
fn nanoseconds(time: SystemTime) -> i64 {
    let signed = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i128::from(after.as_secs()) * 1_000_000_000 + i128::from(after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            i128::from(before.subsec_nanos()) - i128::from(before.as_secs()) * 1_000_000_000
        }
    };
    i64::try_from(signed).unwrap_or(if signed < 0 { i64::MIN } else { i64::MAX })
}

fn system_time(nanoseconds: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanoseconds.unsigned_abs());
    if nanoseconds < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

pub(super) fn open_mode(flags: OpenFlags) -> OpenMode {
    let access = match flags.acc_mode() {
        OpenAccMode::O_RDONLY => Access::Read,
        OpenAccMode::O_WRONLY | OpenAccMode::O_RDWR => Access::Write,
    };
    let truncate = if flags.0 & libc::O_TRUNC != 0 { Truncate::Yes } else { Truncate::No };
    OpenMode { access, truncate }
}

/// Reads the flags of renameat2(2); `None` for what a drive has not (`RENAME_WHITEOUT`).
pub(super) fn rename_mode(flags: RenameFlags) -> Option<RenameMode> {
    match flags {
        RenameFlags::RENAME_NOREPLACE => Some(RenameMode::KeepTarget),
        RenameFlags::RENAME_EXCHANGE => Some(RenameMode::Exchange),
        none if none.is_empty() => Some(RenameMode::Replace),
        _ => None,
    }
}

pub(super) fn set_xattr(flags: i32) -> SetXattr {
    match flags {
        libc::XATTR_CREATE => SetXattr::Create,
        libc::XATTR_REPLACE => SetXattr::Replace,
        _ => SetXattr::Always,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_way_to_the_kernel() {
        for nanoseconds in
            [0, 1, 999_999_999, 1_700_000_000_123_456_789, -1, -1_500_000_000, i64::MIN]
        {
            let time = system_time(nanoseconds);
            let distance = i128::from(nanoseconds).unsigned_abs();
            let found = match time.duration_since(UNIX_EPOCH) {
                Ok(after) => after.as_nanos(),
                Err(before) => before.duration().as_nanos(),
            };
            assert_eq!(found, distance, "{nanoseconds}");
        }
    }

    #[test]
    fn a_time_before_1970_is_what_the_kernel_meant() {
        // The kernel says second -2 and nanosecond 800,000,000; fuser makes 2.8 s before the epoch of it.
        let from_fuser = UNIX_EPOCH - Duration::new(2, 800_000_000);
        assert_eq!(nanoseconds(from_fuser), -1_200_000_000);
    }

    #[test]
    fn device_numbers_survive_the_way_to_the_kernel() {
        for (major, minor) in [(1, 3), (8, 17), (0xfff, 0xfffff), (259, 0x12345)] {
            let number = libc::makedev(major, minor);
            assert_eq!(device(kernel_device(number)), number);
        }
    }
}
