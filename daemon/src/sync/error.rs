//! Reasons for which a node is not on the server, as the planner keeps them and a person reads them.

use std::error::Error;

use miaofs::client;
use miaofs::content::ManifestError;

use crate::store;

/// Why a node is not on the server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SyncError {
    /// So much is deleted at once that a person must confirm it.
    #[error("very many deletions wait for your word: miaofs sync --allow-deletions")]
    DeletionsHeld,
    /// The content is larger than the server takes; it stays on this machine.
    #[error("stays local: the server takes files of up to {limit} bytes")]
    TooLarge {
        /// Size in bytes of the largest content that the server takes.
        limit: u64,
    },
    /// The account has no room for the content, or for what the node is beside it.
    #[error("the quota is full: delete something or ask for more")]
    OverQuota,
    /// The drive has as many nodes as the server lets it have.
    #[error("the drive has as many files and directories as it may: delete some")]
    TooManyNodes,
    /// Neither side has all bytes of the content.
    #[error("the server has lost this content, and not all of it is here")]
    ContentLost,
    /// The server refused a request.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The local store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The content cannot be described by a manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// An error and its causes on one line; a cause that the line says already is left out.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        let text = text.trim_end();
        if !line.contains(text) {
            line = format!("{line}: {text}");
        }
        source = cause.source();
    }
    line
}
