//! Challenges of instant uploads, each good for one answer.

use std::time::Duration;

use miaofs::content::Digest;
use miaofs::protocol::ids::ChallengeId;
use miaofs::protocol::uploads::Challenge;
use sqlx::Row;

use super::{Tracker, after};
use crate::backend::{Error, UserId, unix_now};

/// A challenge, to whom it was given, and for which content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackedChallenge {
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
    pub async fn put_challenge(&self, tracked: &TrackedChallenge) -> Result<(), Error> {
        let challenge = &tracked.challenge;
        let ranges = serde_json::to_string(&challenge.ranges)
            .expect("ranges are numbers, which JSON can always say");
        sqlx::query(
            "INSERT INTO challenges (id, user_id, digest, nonce, ranges, expires_at)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(&challenge.id.to_bytes()[..])
        .bind(tracked.user.0)
        .bind(&tracked.digest.as_bytes()[..])
        .bind(&challenge.nonce.as_bytes()[..])
        .bind(ranges)
        .bind(after(Duration::from_secs(challenge.expires_in)))
        .execute(&self.quick)
        .await?;
        Ok(())
    }

    /// Uses a challenge up; `None` when there is none of that id for the user (any more).
    ///
    /// # Errors
    /// When the tracker cannot be written, or the challenge cannot be read back.
    pub async fn take_challenge(
        &self,
        user: UserId,
        id: ChallengeId,
    ) -> Result<Option<TrackedChallenge>, Error> {
        let mut transaction = self.quick.begin_with("BEGIN IMMEDIATE").await?;
        let row = sqlx::query(
            "SELECT digest, nonce, ranges FROM challenges
             WHERE id = ? AND user_id = ? AND expires_at > ?",
        )
        .bind(&id.to_bytes()[..])
        .bind(user.0)
        .bind(unix_now())
        .fetch_optional(&mut *transaction)
        .await?;
        sqlx::query("DELETE FROM challenges WHERE id = ? AND user_id = ?")
            .bind(&id.to_bytes()[..])
            .bind(user.0)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        row.map(|row| challenge_of(user, id, &row)).transpose()
    }
}

fn challenge_of(
    user: UserId,
    id: ChallengeId,
    row: &sqlx::sqlite::SqliteRow,
) -> Result<TrackedChallenge, Error> {
    let digest = |column| -> Result<Digest, Error> {
        let bytes: &[u8] = row.try_get(column)?;
        Digest::try_from(bytes).map_err(|_wrong_length| Error::Damaged { what: "challenge" })
    };
    let ranges: &str = row.try_get("ranges")?;
    let ranges =
        serde_json::from_str(ranges).map_err(|_not_ranges| Error::Damaged { what: "challenge" })?;
    let challenge = Challenge { id, nonce: digest("nonce")?, ranges, expires_in: 0 };
    Ok(TrackedChallenge { user, digest: digest("digest")?, challenge })
}

#[cfg(test)]
mod tests {
    use miaofs::protocol::uploads::ByteRange;

    use super::*;

    #[tokio::test]
    async fn a_challenge_is_answered_once_and_by_its_user_alone() {
        let directory = tempfile::tempdir().unwrap();
        let tracker = Tracker::open(&directory.path().join("tracker.db")).await.unwrap();
        let challenge = Challenge {
            id: ChallengeId::random(),
            nonce: Digest::of(b"nonce"),
            ranges: vec![ByteRange { offset: 3, length: 5 }],
            expires_in: 60,
        };
        let tracked = TrackedChallenge { user: UserId(1), digest: Digest::of(b"it"), challenge };
        tracker.put_challenge(&tracked).await.unwrap();
        let id = tracked.challenge.id;
        assert_eq!(tracker.take_challenge(UserId(2), id).await.unwrap(), None);
        let taken = tracker.take_challenge(UserId(1), id).await.unwrap().unwrap();
        assert_eq!(taken.challenge.ranges, tracked.challenge.ranges);
        assert_eq!(
            (taken.digest, taken.challenge.nonce),
            (tracked.digest, tracked.challenge.nonce)
        );
        assert_eq!(tracker.take_challenge(UserId(1), id).await.unwrap(), None);
    }
}
