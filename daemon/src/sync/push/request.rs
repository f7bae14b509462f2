//! Requests to the loop that pushes, from the layers above and from uploads that ended.

use tokio::sync::oneshot;

use super::flush::{FlushError, Scope};
use crate::store::Ino;
use crate::sync::upload::UploadOutcome;

/// A request to the loop.
#[derive(Debug)]
pub(crate) enum PushRequest {
    /// The node was synced: it is pushed without delay.
    Urgent(Ino),
    /// Somebody waits until what is dirty now is on the server.
    Flush { scope: Scope, answer: oneshot::Sender<Result<(), FlushError>> },
    /// A person means the deletions that wait.
    AllowDeletions,
    /// Uploads ended.
    Uploaded(Vec<(Ino, UploadOutcome)>),
}
