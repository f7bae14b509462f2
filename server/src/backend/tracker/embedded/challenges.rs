//! Challenges in the embedded tracker.

use std::time::Duration;

use miaofs::content::Digest;
use miaofs::protocol::ids::ChallengeId;
use miaofs::protocol::uploads::Challenge;
use sqlx::Row;

use super::Embedded;
use crate::backend::tracker::TrackedChallenge;
use crate::backend::tracker::epoch::expires_at;
use crate::backend::{Error, UserId, unix_now};

impl Embedded {
    pub(crate) async fn put_challenge(&self, tracked: &TrackedChallenge) -> Result<(), Error> {
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
        .bind(expires_at(Duration::from_secs(challenge.expires_in)))
        .execute(&self.quick)
        .await?;
        Ok(())
    }

    pub(crate) async fn take_challenge(
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
        Digest::try_from(bytes).map_err(|error| Error::damaged("challenge", error))
    };
    let ranges: &str = row.try_get("ranges")?;
    let ranges =
        serde_json::from_str(ranges).map_err(|error| Error::damaged("challenge", error))?;
    let challenge = Challenge { id, nonce: digest("nonce")?, ranges, expires_in: 0 };
    Ok(TrackedChallenge { user, digest: digest("digest")?, challenge })
}
