//! What can go wrong in the local store, with causes kept.

use std::io;
use std::path::PathBuf;

use super::node::Ino;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Another process has the state directory open.
    #[error("{0} is in use by another process")]
    Locked(PathBuf),
    /// The state directory was written by a newer version of this program.
    #[error("the store has format {found}, this program knows formats up to {known}")]
    Format {
        /// Format on disk.
        found: i64,
        /// Newest format known here.
        known: i64,
    },
    /// There is no such node (any more).
    #[error("there is no node {0}")]
    NoNode(Ino),
    /// The directory has no entry of that name.
    #[error("there is no such entry in directory {0}")]
    NoEntry(Ino),
    /// The name is taken in that directory.
    #[error("the name is taken in directory {0}")]
    NameTaken(Ino),
    /// The node has no content: it is no regular file.
    #[error("node {0} is no regular file")]
    NoContent(Ino),
    /// The name of an extended attribute is not UTF-8, which the protocol cannot carry.
    #[error("the name of an extended attribute is not UTF-8")]
    XattrName,
    /// There is no extended attribute of that name.
    #[error("there is no such extended attribute")]
    NoXattr,
    /// The disk is full, or fuller than the floor of free space allows.
    #[error("no space left for local data")]
    NoSpace,
    /// A size beyond what the store can hold.
    #[error("{0} bytes are more than a file can have here")]
    TooLarge(u64),
    /// The manifest of the content is needed first.
    #[error("the manifest of the content of node {0} is not known yet")]
    NoManifest(Ino),
    /// Fetched bytes are not those of the content; they were dropped.
    #[error("chunk {index} of node {ino} arrived damaged")]
    Corrupt {
        /// The node.
        ino: Ino,
        /// Index of the chunk.
        index: u64,
    },
    /// The data file, or a part of it, is gone, and with it bytes that were nowhere else.
    #[error(
        "bytes that only this device had are gone from its data file: replace the file, or remove it"
    )]
    BytesLost(Ino),
    /// A copy of another content has replaced the content of a snapshot.
    #[error("the content of node {0} was replaced meanwhile")]
    Replaced(Ino),
    /// A record in the database cannot be read.
    #[error("a record of the store is damaged: {0}")]
    Damaged(&'static str),
    /// A state could not be written or read as JSON.
    #[error("a state in the store cannot be read or written")]
    Json(#[from] serde_json::Error),
    /// The database failed.
    #[error("the store's database failed")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file in the state directory failed.
    #[error("{action} failed")]
    Io {
        /// The operation, for the message.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Names what was being done when an operation on a file failed; a full disk becomes [`Error::NoSpace`].
pub(super) fn while_doing(action: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoSpace,
        _ => Error::Io { action, source },
    }
}
