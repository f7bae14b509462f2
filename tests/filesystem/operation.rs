//! The operations of a sequence. Each names what it works on by a path or by the number of a handle, so
//! that what is left of a sequence still means something when some of it is taken out.

use std::fmt;

/// Handles that a sequence has.
pub(crate) const HANDLES: usize = 4;
/// Streams of directories that a sequence has.
pub(crate) const STREAMS: usize = 2;

/// Names that paths are made of.
pub(crate) const NAMES: [&[u8]; 7] =
    [b"a", b"b", b"c", b"d", b"\xff \n\xfe", &[b'n'; 255], &[b'x'; 256]];
/// Of them, those that an entry can have.
pub(crate) const GOOD_NAMES: usize = 6;

/// The longest name that an entry can have, in bytes.
pub(crate) const NAME_MAX: usize = 255;

/// The names from the top of the sequence's directory down; none at all is that directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path(pub Vec<&'static [u8]>);

impl Path {
    /// The path of an entry in this directory.
    pub(crate) fn join(&self, name: &'static [u8]) -> Self {
        Self(self.0.iter().copied().chain([name]).collect())
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for (index, name) in self.0.iter().enumerate() {
            let slash = if index > 0 { "/" } else { "" };
            match name.len() {
                0..20 => write!(f, "{slash}{}", name.escape_ascii())?,
                length => write!(f, "{slash}{}…{length}", char::from(name[0]))?,
            }
        }
        f.write_str("\"")
    }
}

/// Flags of an `open`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Open {
    /// For reading, or for writing as well.
    pub access: Access,
    /// Creation, as by `O_CREAT` and `O_EXCL`.
    pub creation: Creation,
    /// True for `O_TRUNC`: only with writing.
    pub truncate: bool,
}

/// Access mode of a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// `O_RDONLY`
    Read,
    /// `O_RDWR`
    Write,
    /// `O_RDWR | O_APPEND`
    Append,
}

/// Creation of a file on `open`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Creation {
    /// The file must exist.
    No,
    /// `O_CREAT`, with these permissions.
    IfMissing(u32),
    /// `O_CREAT | O_EXCL`
    Must(u32),
}

/// Treatment of a node that has the new name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rename {
    /// The node loses the name.
    Over,
    /// `RENAME_NOREPLACE`
    NoReplace,
    /// `RENAME_EXCHANGE`
    Exchange,
}

/// Mode of a `fallocate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allocation {
    /// Blocks are reserved; the file grows up to the end of the range.
    Reserve,
    /// `FALLOC_FL_KEEP_SIZE`: it has room, also behind the end.
    ReserveKeepingSize,
    /// `FALLOC_FL_PUNCH_HOLE`
    Punch,
    /// `FALLOC_FL_ZERO_RANGE`: it is zeros; the file grows up to its end.
    Zero,
}

/// A time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NewTime {
    /// The time stays.
    Omit,
    /// That of the clock.
    Now,
    /// Nanoseconds since 1970; before 2017, so that it is none of the clock.
    At(i64),
}

/// When an xattr is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetXattr {
    /// Always.
    Always,
    /// `XATTR_CREATE`
    Create,
    /// `XATTR_REPLACE`
    Replace,
}

/// One call of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Opens a regular file, never following a symlink; the handle's file of before is closed.
    Open {
        handle: usize,
        path: Path,
        how: Open,
    },
    Close {
        handle: usize,
    },
    Read {
        handle: usize,
        offset: u64,
        length: usize,
    },
    /// Writes `length` bytes that follow from `fill` and their places.
    Write {
        handle: usize,
        offset: u64,
        length: usize,
        fill: u8,
    },
    /// ftruncate(2)
    Resize {
        handle: usize,
        size: u64,
    },
    /// fallocate(2)
    Allocate {
        handle: usize,
        offset: u64,
        length: u64,
        what: Allocation,
    },
    StatHandle {
        handle: usize,
    },
    /// fsync(2)
    Sync {
        handle: usize,
    },
    /// truncate(2), or opening a file, cutting and closing it
    Truncate {
        path: Path,
        size: u64,
    },
    MakeDirectory {
        path: Path,
        mode: u32,
    },
    MakeFifo {
        path: Path,
        mode: u32,
    },
    /// A symlink to what is nowhere, whose target has so many bytes.
    Symlink {
        path: Path,
        length: usize,
    },
    ReadLink {
        path: Path,
    },
    Link {
        from: Path,
        to: Path,
    },
    Unlink {
        path: Path,
    },
    RemoveDirectory {
        path: Path,
    },
    Rename {
        from: Path,
        to: Path,
        mode: Rename,
    },
    Stat {
        path: Path,
    },
    /// Names and kinds of all entries.
    List {
        path: Path,
    },
    /// Opens a directory to read it in pieces.
    OpenStream {
        stream: usize,
        path: Path,
    },
    /// Reads some more; what was seen is told by `EndStream`.
    ReadStream {
        stream: usize,
        entries: usize,
    },
    Rewind {
        stream: usize,
    },
    /// Reads the rest, tells all names seen since the beginning, and closes the stream.
    EndStream {
        stream: usize,
    },
    Chmod {
        path: Path,
        mode: u32,
    },
    /// lchown(2)
    Chown {
        path: Path,
        uid: Option<u32>,
        gid: Option<u32>,
    },
    /// utimensat(2), not following a symlink
    SetTimes {
        path: Path,
        atime: NewTime,
        mtime: NewTime,
    },
    SetXattr {
        path: Path,
        name: &'static str,
        length: usize,
        fill: u8,
        when: SetXattr,
    },
    GetXattr {
        path: Path,
        name: &'static str,
    },
    ListXattrs {
        path: Path,
    },
    RemoveXattr {
        path: Path,
        name: &'static str,
    },
    /// Sends dirty contents to the server; their arrival is learned with the next of these operations.
    Send,
    /// Brings a file up to date on the server, and evicts its bytes from this machine.
    SendAway,
    /// The daemon ends in order, and begins again.
    Remount,
    /// The daemon is killed, and begins again.
    Kill,
}

/// The target of the symlink that is so long: an absolute path that is not there.
pub(crate) fn target(length: usize) -> Vec<u8> {
    let mut target = b"/nowhere/".to_vec();
    target.extend((target.len()..length).map(|at| b'a' + (at % 26) as u8));
    target
}

/// The bytes of a write or of an xattr: none is zero, and each place has its own.
pub(crate) fn pattern(fill: u8, offset: u64, length: usize) -> Vec<u8> {
    let word = |at: u64| (at ^ (u64::from(fill) << 48)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (offset..).take(length).map(|at| (word(at) >> 56) as u8 | 1).collect()
}
