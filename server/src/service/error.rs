//! Why the service refuses or fails: what a caller can tell apart, causes kept.

use std::time::Duration;

use miaofs::protocol::host::HostName;

use crate::backend;
use crate::backend::db::Retryable;

/// A refusal with its reason, or a failure of a backend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A value is out of its range; the text says which and how.
    #[error("{0}")]
    Invalid(String),
    /// Another host has what was asked for.
    #[error("ask host {0} for it, under /on/{0}")]
    WrongHost(HostName),
    /// Bytes do not have the digest that they were sent under.
    #[error("{0}")]
    DigestMismatch(String),
    /// A body is shorter or longer than it should be.
    #[error("{0}")]
    LengthMismatch(String),
    /// No token, or not a good one.
    #[error("the token is missing, malformed, expired or ended")]
    Unauthorized,
    /// The session of a refresh token is over, for this reason.
    #[error("{0}")]
    SessionEnded(&'static str),
    /// Name or password is wrong.
    #[error("the name or the password is wrong")]
    WrongCredentials,
    /// The token is good, and is not for this.
    #[error("the token does not allow this, or reaches another part of the drive")]
    InsufficientScope,
    /// The proof of possession is wrong.
    #[error("the proof does not match the content")]
    ProofWrong,
    /// Nobody may sign up.
    #[error("this server takes no new accounts; ask its operator for one")]
    SignUpClosed,
    /// Nobody may sign up without a good invitation.
    #[error("{0}")]
    InvitationNeeded(&'static str),
    /// No such thing, or not the caller's.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The name of the account is taken.
    #[error("the account name is taken; choose another")]
    AccountExists,
    /// Something has that path.
    #[error("{0} exists already")]
    AlreadyExists(String),
    /// A directory that has children.
    #[error("the directory is not empty")]
    NotEmpty,
    /// A directory was expected, or none was.
    #[error("{0}")]
    WrongKind(&'static str),
    /// An upload misses these chunks, rising.
    #[error("{} chunks are still to be sent", .0.len())]
    ChunksMissing(Vec<u64>),
    /// The drive changed while the request was at work.
    #[error("the drive changed meanwhile; try again")]
    Conflict,
    /// Something else is at a path than the request expects there.
    #[error("what is there is not what If-Match or If-None-Match expects; look at it again")]
    ConditionFailed,
    /// The drive has another commit at a cursor, or has not come so far.
    #[error("the drive has no such commit {0}, or another one; compare all that you have")]
    AnotherHistory(u64),
    /// The id of the commit at a cursor is not kept any more.
    #[error("the commit {0} is too long ago; compare all that you have")]
    CommitForgotten(u64),
    /// Deletions after a cursor are forgotten.
    #[error("what was deleted since {0} is forgotten; list the whole drive again")]
    BeginAnew(u64),
    /// Larger than the server takes.
    #[error("{0}")]
    TooLarge(String),
    /// The drive has no room for it.
    #[error("the drive's quota would be exceeded")]
    OverQuota,
    /// The drive may have no more nodes.
    #[error("the drive has as many files and directories as it may; delete some")]
    TooManyNodes,
    /// A range that the content does not have.
    #[error("the content has {size} bytes")]
    RangeNotSatisfiable {
        /// Size in bytes.
        size: u64,
    },
    /// Too many tries.
    #[error("too many tries; wait a little")]
    TooManyRequests {
        /// When to come again.
        retry_after: Duration,
    },
    /// The user has begun as many uploads as they may.
    #[error("too many uploads are begun: complete or cancel some, or wait until they are swept")]
    TooManyUploads,
    /// Not now.
    #[error("the server is stopping or busy; try again")]
    Unavailable,
    /// The disk is nearly full, and what is left of it is not for uploads.
    #[error("the disk of the server is nearly full; its operator has to make room")]
    StorageFull {
        /// When to come again.
        retry_after: Duration,
    },
    /// A backend failed.
    #[error(transparent)]
    Backend(#[from] backend::Error),
}

impl Retryable for Error {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Backend(error) if error.is_retryable())
    }
}
