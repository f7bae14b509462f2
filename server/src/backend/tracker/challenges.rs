//! Challenges of instant uploads, each good for one answer.

use miaofs::content::Digest;
use miaofs::protocol::ids::ChallengeId;
use miaofs::protocol::uploads::Challenge;

use super::{Tracker, ask};
use crate::backend::{Error, UserId};

/// A challenge, to whom it was given, and for which content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrackedChallenge {
    /// Who may answer.
    pub user: UserId,
    /// The content in question.
    pub digest: Digest,
    /// What was asked.
    pub challenge: Challenge,
}

impl Tracker {
    /// Keeps a challenge for as long as it says.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn put_challenge(&self, tracked: &TrackedChallenge) -> Result<(), Error> {
        ask!(self, records => records.put_challenge(tracked))
    }

    /// Uses a challenge up; `None` when there is none of that id for the user (any more).
    ///
    /// # Errors
    /// When the tracker cannot be written, or the challenge cannot be read back.
    pub(crate) async fn take_challenge(
        &self,
        user: UserId,
        id: ChallengeId,
    ) -> Result<Option<TrackedChallenge>, Error> {
        ask!(self, records => records.take_challenge(user, id))
    }
}
