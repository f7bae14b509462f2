//! Why an operation failed, and the one place that decides which errno a program sees.

use rustix::io::Errno;

use crate::store;
use crate::sync::{FetchError, FlushError, NamesError};

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no such name.
    #[error("no such file or directory")]
    NoName,
    /// The node is gone, though the kernel still knows it: a change of another device removed it.
    #[error("the file is gone")]
    Stale,
    /// The name is taken.
    #[error("the name is taken")]
    Exists,
    /// A directory was needed.
    #[error("not a directory")]
    NotDirectory,
    /// Anything but a directory was needed.
    #[error("is a directory")]
    IsDirectory,
    /// The directory has children.
    #[error("the directory is not empty")]
    NotEmpty,
    /// A directory would be inside itself.
    #[error("a directory cannot be moved into itself")]
    IntoItself,
    /// A name over 255 bytes, or a symlink's target that no path can be.
    #[error("the name is too long")]
    NameTooLong,
    /// The node has as many names as the server takes.
    #[error("the file has too many names")]
    TooManyLinks,
    /// Directories have one name.
    #[error("a directory cannot have a second name")]
    LinkToDirectory,
    /// `readlink` of something else.
    #[error("not a symlink")]
    NotSymlink,
    /// Bytes of a file would be copied over themselves.
    #[error("the ranges to be copied overlap")]
    Overlap,
    /// A handle that is not open, or not open for this.
    #[error("the handle is not open for this")]
    BadHandle,
    /// There is no extended attribute of this name.
    #[error("no such extended attribute")]
    NoXattr,
    /// There is one already, and it was to be made.
    #[error("the extended attribute is there already")]
    XattrExists,
    /// The extended attribute is one of our own, which nobody can set.
    #[error("the extended attribute is read-only")]
    XattrReadOnly,
    /// The node's extended attributes would be larger than the server takes.
    #[error("no room for more extended attributes")]
    XattrsFull,
    /// The value is not a valid POSIX ACL.
    #[error("not a valid access control list")]
    Acl,
    /// Room for no bytes was asked for.
    #[error("the range is empty")]
    EmptyRange,
    /// Data or a hole was sought where no file is any more, or data where none follows.
    #[error("there is nothing from there on")]
    NothingBehind,
    /// The drive cannot do this.
    #[error("not supported")]
    Unsupported,
    /// Bytes that were fetched were gone again, each time: the cache is far too small.
    #[error("fetched bytes did not stay long enough to be used")]
    NotHere,
    /// The names of the drive have not all come yet, and do not come.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// Bytes that are not here could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The server has not got what it was to have.
    #[error(transparent)]
    Flush(#[from] FlushError),
    /// The disk under the state directory cannot be looked at.
    #[error("the disk cannot be looked at")]
    Disk(#[source] Errno),
    /// The local store failed.
    #[error(transparent)]
    Store(store::Error),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::NoNode(_) => Self::Stale,
            store::Error::NoEntry(_) => Self::NoName,
            store::Error::NameTaken(_) => Self::Exists,
            store::Error::NoXattr => Self::NoXattr,
            other => Self::Store(other),
        }
    }
}

impl Error {
    /// The errno that a local disk would give, and for the network: `ENETDOWN` when the server
    /// cannot be reached, `ETIMEDOUT` when it took too long, `EIO` for what is damaged or lost.
    ///
    /// `ESTALE` makes the kernel look the whole path up again: who opens a file that is being replaced
    /// from elsewhere gets the old one or the new one, and `ENOENT` only if the name is gone.
    pub(crate) fn errno(&self) -> Errno {
        match self {
            Self::NoName => Errno::NOENT,
            Self::Stale => Errno::STALE,
            Self::Exists | Self::XattrExists => Errno::EXIST,
            Self::NotDirectory => Errno::NOTDIR,
            Self::IsDirectory => Errno::ISDIR,
            Self::NotEmpty => Errno::NOTEMPTY,
            Self::IntoItself | Self::NotSymlink | Self::Acl | Self::Overlap | Self::EmptyRange => {
                Errno::INVAL
            }
            Self::NameTooLong => Errno::NAMETOOLONG,
            Self::TooManyLinks => Errno::MLINK,
            Self::LinkToDirectory | Self::XattrReadOnly => Errno::PERM,
            Self::BadHandle => Errno::BADF,
            Self::NoXattr => Errno::NODATA,
            Self::XattrsFull => Errno::NOSPC,
            Self::NothingBehind => Errno::NXIO,
            Self::Unsupported => Errno::OPNOTSUPP,
            Self::NotHere | Self::Names(_) => Errno::IO,
            Self::Fetch(error) => fetch_errno(error),
            Self::Flush(error) => flush_errno(error),
            Self::Disk(errno) => *errno,
            Self::Store(error) => store_errno(error),
        }
    }

    /// True for a fault that an operator should hear of, rather than a request for what cannot be.
    pub(crate) fn is_fault(&self) -> bool {
        self.errno() == Errno::IO && !matches!(self, Self::Names(_))
    }
}

fn fetch_errno(error: &FetchError) -> Errno {
    match error {
        FetchError::Offline => Errno::NETDOWN,
        FetchError::TimedOut => Errno::TIMEDOUT,
        FetchError::Gone | FetchError::Corrupt => Errno::IO,
        FetchError::Store(error) => store_errno(error),
    }
}

fn flush_errno(error: &FlushError) -> Errno {
    match error {
        FlushError::SignedOut(_) => Errno::ACCESS,
        FlushError::Refused(_) | FlushError::Store(_) | FlushError::Ended => Errno::IO,
    }
}

fn store_errno(error: &store::Error) -> Errno {
    use store::Error as Store;
    match error {
        Store::NoNode(_) => Errno::STALE,
        Store::NoEntry(_) => Errno::NOENT,
        Store::NameTaken(_) => Errno::EXIST,
        Store::NoContent(_) | Store::XattrName => Errno::INVAL,
        Store::NoXattr => Errno::NODATA,
        Store::NoSpace => Errno::NOSPC,
        Store::TooLarge(_) => Errno::FBIG,
        Store::Io { source, .. } => Errno::from_io_error(source).unwrap_or(Errno::IO),
        Store::Locked(_)
        | Store::Format { .. }
        | Store::NoManifest(_)
        | Store::Corrupt { .. }
        | Store::Replaced(_)
        | Store::BytesLost(_)
        | Store::Damaged(_)
        | Store::Json(_)
        | Store::Database(_) => Errno::IO,
    }
}
