//! Reasons for which bytes did not come: of one request, and of all that was tried for a reader.

use miaofs::client;
use miaofs::content::ManifestError;

use crate::store;

/// Why bytes that are not here could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The server cannot be reached, or wants a sign-in first.
    #[error("not here, and the server cannot be reached")]
    Offline,
    /// The server has the content no more.
    #[error("the server has this content no more")]
    Gone,
    /// The bytes that come are not those of the content.
    #[error("the server sends damaged content")]
    Corrupt,
    /// The server does not answer as it should.
    #[error("the server does not answer in time")]
    TimedOut,
    /// The local store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Why one fetch did not bring its bytes; another may.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttemptError {
    /// The server did not give them.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The store did not take them.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The server says what cannot be.
    #[error("the manifest is not that of the content")]
    Manifest(#[from] ManifestError),
}
