//! Ends of an upload: the errors of the steps, and what the planner makes of them.

use std::sync::Arc;

use miaofs::client;
use miaofs::content::ManifestError;

use crate::store;
use crate::sync::core::Core;
use crate::sync::download::AttemptError;
use crate::sync::error::{SyncError, with_causes};
use crate::sync::hash::HashError;

/// Why a content is not on the server.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    /// Somebody wrote to it.
    #[error("the file changes while it is read")]
    Changed,
    /// The server has it no more, and cannot give what is not here.
    #[error("the server has lost this content, and not all of it is here")]
    Lost,
    /// The server did not take it.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The manifest cannot be made, or that of the content it grew from is damaged.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl From<HashError> for UploadError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Changed => Self::Changed,
            HashError::Store(error) => Self::Store(error),
            HashError::Manifest(error) => Self::Manifest(error),
        }
    }
}

impl From<AttemptError> for UploadError {
    fn from(error: AttemptError) -> Self {
        match error {
            AttemptError::Client(error) => Self::Client(error),
            AttemptError::Store(error) => Self::Store(error),
            AttemptError::Manifest(error) => Self::Manifest(error),
        }
    }
}

/// End of an upload of a node's content.
#[derive(Debug, Clone)]
pub(crate) enum UploadOutcome {
    /// The server has the content, and the store knows.
    Known,
    /// The content changed while it was read: look again.
    Changed,
    /// The server is away: look again when it is back.
    Offline,
    /// The upload failed, and may do better later.
    Failed(Arc<SyncError>),
}

impl UploadOutcome {
    /// The outcome of a result; tells the link of what concerns it.
    pub(super) fn of(core: &Core, result: Result<(), UploadError>) -> Self {
        match result {
            Ok(()) => Self::Known,
            Err(
                UploadError::Changed
                | UploadError::Store(store::Error::NoNode(_) | store::Error::Replaced(_)),
            ) => Self::Changed,
            Err(UploadError::Client(error)) => {
                core.link.failed(&error);
                if error.is_offline() || matches!(error, client::Error::SignedOut { .. }) {
                    Self::Offline
                } else {
                    let request_id = error.request_id();
                    tracing::warn!(error = with_causes(&error), request_id, "an upload failed");
                    Self::Failed(Arc::new(error.into()))
                }
            }
            Err(UploadError::Lost) => Self::Failed(Arc::new(SyncError::ContentLost)),
            Err(UploadError::Store(error)) => Self::Failed(Arc::new(error.into())),
            Err(UploadError::Manifest(error)) => Self::Failed(Arc::new(error.into())),
        }
    }
}
