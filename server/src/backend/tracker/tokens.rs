//! Tokens that count: a token whose id is not here is refused, however well it is signed.

use std::time::Duration;

use miaofs::protocol::ids::DeviceId;
use sqlx::Row;

use super::{Tracker, after};
use crate::backend::{Error, TokenId, UserId, unix_now};

const ACCESS: i64 = 0;
const REFRESH: i64 = 1;

/// Whose token it is, and of which device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bearer {
    /// The user.
    pub user: UserId,
    /// The device that signed in.
    pub device: DeviceId,
}

impl Tracker {
    /// Lets an access token count for `lifetime`.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub async fn put_token(
        &self,
        id: TokenId,
        bearer: Bearer,
        lifetime: Duration,
    ) -> Result<(), Error> {
        self.put(id, ACCESS, bearer, lifetime).await
    }

    /// Lets a refresh token count once, within `lifetime`.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub async fn put_refresh(
        &self,
        id: TokenId,
        bearer: Bearer,
        lifetime: Duration,
    ) -> Result<(), Error> {
        self.put(id, REFRESH, bearer, lifetime).await
    }

    async fn put(
        &self,
        id: TokenId,
        kind: i64,
        bearer: Bearer,
        lifetime: Duration,
    ) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO tokens (id, kind, user_id, device, expires_at) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&id.as_bytes()[..])
        .bind(kind)
        .bind(bearer.user.0)
        .bind(&bearer.device.to_bytes()[..])
        .bind(after(lifetime))
        .execute(&self.durable)
        .await?;
        Ok(())
    }

    /// Whose access token this is; `None` when it does not count (any more).
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub async fn token(&self, id: TokenId) -> Result<Option<Bearer>, Error> {
        let row = sqlx::query(
            "SELECT user_id, device FROM tokens WHERE id = ? AND kind = ? AND expires_at > ?",
        )
        .bind(&id.as_bytes()[..])
        .bind(ACCESS)
        .bind(unix_now())
        .fetch_optional(&self.quick)
        .await?;
        row.map(|row| bearer_of(&row)).transpose()
    }

    /// Uses a refresh token up; `None` when it does not count (any more).
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub async fn take_refresh(&self, id: TokenId) -> Result<Option<Bearer>, Error> {
        let mut transaction = self.durable.begin_with("BEGIN IMMEDIATE").await?;
        let row = sqlx::query(
            "SELECT user_id, device FROM tokens WHERE id = ? AND kind = ? AND expires_at > ?",
        )
        .bind(&id.as_bytes()[..])
        .bind(REFRESH)
        .bind(unix_now())
        .fetch_optional(&mut *transaction)
        .await?;
        sqlx::query("DELETE FROM tokens WHERE id = ? AND kind = ?")
            .bind(&id.as_bytes()[..])
            .bind(REFRESH)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        row.map(|row| bearer_of(&row)).transpose()
    }

    /// Ends all tokens of a device.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub async fn end_device(&self, bearer: Bearer) -> Result<(), Error> {
        sqlx::query("DELETE FROM tokens WHERE user_id = ? AND device = ?")
            .bind(bearer.user.0)
            .bind(&bearer.device.to_bytes()[..])
            .execute(&self.durable)
            .await?;
        Ok(())
    }

    /// Ends all tokens of a user.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub async fn end_user(&self, user: UserId) -> Result<(), Error> {
        sqlx::query("DELETE FROM tokens WHERE user_id = ?")
            .bind(user.0)
            .execute(&self.durable)
            .await?;
        Ok(())
    }
}

fn bearer_of(row: &sqlx::sqlite::SqliteRow) -> Result<Bearer, Error> {
    let device: &[u8] = row.try_get("device")?;
    Ok(Bearer {
        user: UserId(row.try_get("user_id")?),
        device: DeviceId::try_from(device)
            .map_err(|_wrong_length| Error::Damaged { what: "token" })?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    async fn tracker() -> (tempfile::TempDir, Tracker) {
        let directory = tempfile::tempdir().unwrap();
        let tracker = Tracker::open(&directory.path().join("tracker.db")).await.unwrap();
        (directory, tracker)
    }

    fn bearer(user: i64) -> Bearer {
        Bearer { user: UserId(user), device: DeviceId::random() }
    }

    #[tokio::test]
    async fn a_token_counts_until_it_is_ended_or_over() {
        let (_directory, tracker) = tracker().await;
        let (kept, over) = (TokenId::random(), TokenId::random());
        let owner = bearer(1);
        tracker.put_token(kept, owner, HOUR).await.unwrap();
        tracker.put_token(over, owner, Duration::ZERO).await.unwrap();
        assert_eq!(tracker.token(kept).await.unwrap(), Some(owner));
        assert_eq!(tracker.token(over).await.unwrap(), None);
        tracker.end_device(owner).await.unwrap();
        assert_eq!(tracker.token(kept).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_refresh_token_counts_once_and_is_no_access_token() {
        let (_directory, tracker) = tracker().await;
        let id = TokenId::random();
        let owner = bearer(1);
        tracker.put_refresh(id, owner, HOUR).await.unwrap();
        assert_eq!(tracker.token(id).await.unwrap(), None);
        assert_eq!(tracker.take_refresh(id).await.unwrap(), Some(owner));
        assert_eq!(tracker.take_refresh(id).await.unwrap(), None);
    }

    #[tokio::test]
    async fn ending_a_device_or_a_user_leaves_the_others() {
        let (_directory, tracker) = tracker().await;
        let (phone, laptop, other) = (bearer(1), bearer(1), bearer(2));
        let ids = [TokenId::random(), TokenId::random(), TokenId::random()];
        for (id, owner) in ids.into_iter().zip([phone, laptop, other]) {
            tracker.put_token(id, owner, HOUR).await.unwrap();
        }
        tracker.end_device(phone).await.unwrap();
        assert_eq!(tracker.token(ids[0]).await.unwrap(), None);
        assert_eq!(tracker.token(ids[1]).await.unwrap(), Some(laptop));
        tracker.end_user(UserId(1)).await.unwrap();
        assert_eq!(tracker.token(ids[1]).await.unwrap(), None);
        assert_eq!(tracker.token(ids[2]).await.unwrap(), Some(other));
    }
}
