//! Challenges of instant uploads, each good for one answer.

use miaofs::content::Digest;
use miaofs::protocol::uploads::Challenge;

use crate::backend::UserId;

/// A challenge, to whom it was given, and for which content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrackedChallenge {
    /// Who may answer.
    pub user: UserId,
    /// The content in question.
    pub digest: Digest,
    /// The challenge that was given.
    pub challenge: Challenge,
}
