//! Failures of the backends: one enum of the cases that the service distinguishes, with their causes.

use std::path::PathBuf;

use miaofs::protocol::host::HostName;

use super::BlobId;
use super::blobs::StoreFailure;

/// A failure of a backend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The database refused a statement.
    #[error("database: {0}")]
    Database(#[source] sqlx::Error),
    /// The connection was lost during a commit, which may have been applied or not.
    #[error("the database went away during a commit: {0}")]
    CommitUnknown(#[source] sqlx::Error),
    /// Another transaction was in the way of this one, which was rolled back.
    #[error("another change was in the way: {0}")]
    SerializationFailure(#[source] sqlx::Error),
    /// The URL of the database is none.
    #[error("the URL of the database must {0}")]
    DatabaseUrl(&'static str),
    /// Another program has been migrating the same database for very long.
    #[error("another program is migrating the database and does not end")]
    Migrating,
    /// All connections stayed busy for too long.
    #[error("the database is busy: {0}")]
    Busy(#[source] sqlx::Error),
    /// Another server uses the data directory.
    #[error("another server uses {0}: stop it first, or choose another directory with --data")]
    Locked(PathBuf),
    /// Nothing of a server is in the directory.
    #[error("there is no server's data in {0}: choose its directory with --data")]
    NoData(PathBuf),
    /// The database is of an older or a newer program.
    #[error(
        "the database is of another version: start this version's server once, or use the newer program"
    )]
    OtherVersion,
    /// A row with this key is there already.
    #[error("the row exists already: {0}")]
    Duplicate(#[source] sqlx::Error),
    /// The database could not be brought to the version of this program.
    #[error("cannot migrate the database: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A row holds what this program never wrote.
    #[error("the database holds a damaged {what}: {source}")]
    Damaged {
        /// Kind of the value.
        what: &'static str,
        /// The reason for which it cannot be read.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The disk is full.
    #[error("no room on the disk: {0}")]
    NoSpace(#[source] std::io::Error),
    /// A file of the server cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Path of the file or directory.
        path: PathBuf,
        /// Cause of the failure.
        source: std::io::Error,
    },
    /// A blob is not where its row says.
    #[error("blob {blob} is neither staged nor stored")]
    MissingBlob {
        /// Id of the blob.
        blob: BlobId,
    },
    /// Another host of the server, which has the bytes, cannot be asked.
    #[error("host {host} cannot be reached: {source}")]
    Unreachable {
        /// Name of the host.
        host: HostName,
        /// Cause of the failure.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// This machine cannot make connections.
    #[error("cannot set up connections: {0}")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A backend of another process does not answer, or not yet; it may in a moment.
    #[error("{what} does not answer: {source}")]
    Unavailable {
        /// Name of that process.
        what: &'static str,
        /// Cause of the failure.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A part does not do what it was asked for to try it.
    #[error("{what} {said}")]
    Trial {
        /// Name of the part.
        what: &'static str,
        /// The answer or deed that was not expected.
        said: String,
    },
    /// The process is stopping.
    #[error("the process is stopping")]
    Stopping,
    /// A store failed.
    #[error(transparent)]
    Store(Box<StoreFailure>),
    /// The queue failed.
    #[error("queue: {0}")]
    Queue(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<StoreFailure> for Error {
    fn from(failure: StoreFailure) -> Self {
        Self::Store(Box::new(failure))
    }
}

impl Error {
    /// A value that cannot be read back, for this reason.
    pub(crate) fn damaged(
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Damaged { what, source: source.into() }
    }

    /// An I/O error at a path; a full disk is a case of its own.
    pub(crate) fn file(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::NoSpace(source)
            }
            _ => Self::File { path: path.into(), source },
        }
    }
}
