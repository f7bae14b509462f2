//! Tokens that count: a token whose id is not here is refused, however well it is signed.
//!
//! ```text
//!                  renews                     a successor is shown
//! refresh token ─────────▶ the same, renewable ───────────────────▶ spent ──▶ (grace) ──▶ stolen, if shown
//! ```
//!
//! A refresh token that was used renews again until its holder shows a token of the pair that it was
//! given: the answer with that pair may have been lost. Spent tokens stay until they expire, so that
//! showing one is seen (RFC 9700, section 4.14.2).

use std::time::Duration;

use miaofs::protocol::ids::DeviceId;
use sqlx::{Row, Sqlite, Transaction};

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

/// An access and a refresh token that are given together.
#[derive(Debug, Clone, Copy)]
pub struct TrackedPair {
    /// The access token.
    pub access: TokenId,
    /// How long it counts.
    pub access_ttl: Duration,
    /// The refresh token.
    pub refresh: TokenId,
    /// How long it counts.
    pub refresh_ttl: Duration,
}

/// What became of a refresh token that was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Its successors count.
    Renewed(Bearer),
    /// It was spent long ago, so two hold it: all tokens of its device have ended.
    Stolen(Bearer),
    /// It does not count (any more).
    Unknown,
}

impl Tracker {
    /// Lets a pair count, and no other token of its device.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub async fn begin_session(&self, bearer: Bearer, pair: TrackedPair) -> Result<(), Error> {
        let mut transaction = self.durable.begin_with("BEGIN IMMEDIATE").await?;
        end_device(&mut transaction, bearer).await?;
        put_pair(&mut transaction, bearer, pair, None).await?;
        Ok(transaction.commit().await?)
    }

    /// Lets a pair count that is given for a refresh token. The same token is given the same pair,
    /// however often it is shown; later than `grace` after it was spent it is given none.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub async fn renew_session(
        &self,
        refresh: TokenId,
        pair: TrackedPair,
        grace: Duration,
    ) -> Result<Renewal, Error> {
        let mut transaction = self.durable.begin_with("BEGIN IMMEDIATE").await?;
        let row = sqlx::query(
            "SELECT user_id, device, predecessor, spent_at FROM tokens
             WHERE id = ? AND kind = ? AND expires_at > ?",
        )
        .bind(&refresh.as_bytes()[..])
        .bind(REFRESH)
        .bind(unix_now())
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = row else { return Ok(Renewal::Unknown) };
        let bearer = bearer_of(&row)?;
        let renewal = match row.try_get::<Option<i64>, _>("spent_at")? {
            Some(at) if at <= before(grace) => {
                end_device(&mut transaction, bearer).await?;
                Renewal::Stolen(bearer)
            }
            spent_at => {
                spend(&mut transaction, row.try_get("predecessor")?).await?;
                if spent_at.is_none() {
                    end_other_access(&mut transaction, bearer, pair.access).await?;
                }
                put_pair(&mut transaction, bearer, pair, Some(refresh)).await?;
                Renewal::Renewed(bearer)
            }
        };
        transaction.commit().await?;
        Ok(renewal)
    }

    /// Whose access token this is; `None` when it does not count (any more). The refresh token that it
    /// was given for is spent from now on.
    ///
    /// # Errors
    /// When the tracker cannot be read or written.
    pub async fn token(&self, id: TokenId) -> Result<Option<Bearer>, Error> {
        let row = sqlx::query(
            "SELECT tokens.user_id, tokens.device, unspent.id AS unspent FROM tokens
             LEFT JOIN tokens AS unspent
             ON unspent.id = tokens.predecessor AND unspent.spent_at IS NULL
             WHERE tokens.id = ? AND tokens.kind = ? AND tokens.expires_at > ?",
        )
        .bind(&id.as_bytes()[..])
        .bind(ACCESS)
        .bind(unix_now())
        .fetch_optional(&self.quick)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let unspent: Option<&[u8]> = row.try_get("unspent")?;
        if unspent.is_some() {
            let mut transaction = self.durable.begin_with("BEGIN IMMEDIATE").await?;
            spend(&mut transaction, unspent).await?;
            transaction.commit().await?;
        }
        bearer_of(&row).map(Some)
    }

    /// Ends all tokens of a device.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub async fn end_device(&self, bearer: Bearer) -> Result<(), Error> {
        let mut transaction = self.durable.begin_with("BEGIN IMMEDIATE").await?;
        end_device(&mut transaction, bearer).await?;
        Ok(transaction.commit().await?)
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

/// When something began that is over now.
fn before(lifetime: Duration) -> i64 {
    unix_now().saturating_sub(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX))
}

/// Lets a pair count. What is known of its refresh token stays: a pair may be given again.
async fn put_pair(
    db: &mut Transaction<'_, Sqlite>,
    bearer: Bearer,
    pair: TrackedPair,
    predecessor: Option<TokenId>,
) -> Result<(), Error> {
    let access =
        "INSERT OR REPLACE INTO tokens (id, kind, user_id, device, predecessor, expires_at)
                  VALUES (?, ?, ?, ?, ?, ?)";
    let refresh =
        "INSERT OR IGNORE INTO tokens (id, kind, user_id, device, predecessor, expires_at)
                   VALUES (?, ?, ?, ?, ?, ?)";
    for (statement, id, kind, lifetime) in [
        (access, pair.access, ACCESS, pair.access_ttl),
        (refresh, pair.refresh, REFRESH, pair.refresh_ttl),
    ] {
        sqlx::query(statement)
            .bind(id.as_bytes().to_vec())
            .bind(kind)
            .bind(bearer.user.0)
            .bind(bearer.device.to_bytes().to_vec())
            .bind(predecessor.map(|id| id.as_bytes().to_vec()))
            .bind(after(lifetime))
            .execute(&mut **db)
            .await?;
    }
    Ok(())
}

/// A successor of the refresh token was shown.
async fn spend(db: &mut Transaction<'_, Sqlite>, refresh: Option<&[u8]>) -> Result<(), Error> {
    sqlx::query("UPDATE tokens SET spent_at = ? WHERE id = ? AND spent_at IS NULL")
        .bind(unix_now())
        .bind(refresh)
        .execute(&mut **db)
        .await?;
    Ok(())
}

async fn end_device(db: &mut Transaction<'_, Sqlite>, bearer: Bearer) -> Result<(), Error> {
    sqlx::query("DELETE FROM tokens WHERE user_id = ? AND device = ?")
        .bind(bearer.user.0)
        .bind(&bearer.device.to_bytes()[..])
        .execute(&mut **db)
        .await?;
    Ok(())
}

async fn end_other_access(
    db: &mut Transaction<'_, Sqlite>,
    bearer: Bearer,
    access: TokenId,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM tokens WHERE user_id = ? AND device = ? AND kind = ? AND id <> ?")
        .bind(bearer.user.0)
        .bind(&bearer.device.to_bytes()[..])
        .bind(ACCESS)
        .bind(&access.as_bytes()[..])
        .execute(&mut **db)
        .await?;
    Ok(())
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

    fn pair(lifetime: Duration) -> TrackedPair {
        let (access, refresh) =
            (TokenId::from_bytes(rand::random()), TokenId::from_bytes(rand::random()));
        TrackedPair { access, access_ttl: lifetime, refresh, refresh_ttl: lifetime }
    }

    #[tokio::test]
    async fn a_token_counts_until_it_is_ended_or_over() {
        let (_directory, tracker) = tracker().await;
        let (kept, over) = (pair(HOUR), pair(Duration::ZERO));
        let owner = bearer(1);
        tracker.begin_session(owner, kept).await.unwrap();
        tracker.begin_session(bearer(1), over).await.unwrap();
        assert_eq!(tracker.token(kept.access).await.unwrap(), Some(owner));
        assert_eq!(tracker.token(kept.refresh).await.unwrap(), None);
        assert_eq!(tracker.token(over.access).await.unwrap(), None);
        let late = tracker.renew_session(over.refresh, pair(HOUR), HOUR).await.unwrap();
        assert_eq!(late, Renewal::Unknown);
        tracker.end_device(owner).await.unwrap();
        assert_eq!(tracker.token(kept.access).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_refresh_token_renews_until_a_token_given_for_it_is_shown() {
        let (_directory, tracker) = tracker().await;
        let (owner, pairs) = (bearer(1), [pair(HOUR), pair(HOUR), pair(HOUR)]);
        let renew = async |from: TrackedPair, to: TrackedPair| {
            tracker.renew_session(from.refresh, to, Duration::ZERO).await.unwrap()
        };
        tracker.begin_session(owner, pairs[0]).await.unwrap();
        for _lost_answer in 0..3 {
            assert_eq!(renew(pairs[0], pairs[1]).await, Renewal::Renewed(owner));
        }
        assert_eq!(tracker.token(pairs[0].access).await.unwrap(), None);
        // The next refresh token shows the second pair as well as its access token does.
        assert_eq!(renew(pairs[1], pairs[2]).await, Renewal::Renewed(owner));
        assert_eq!(renew(pairs[0], pairs[1]).await, Renewal::Stolen(owner));
        assert_eq!(tracker.token(pairs[2].access).await.unwrap(), None);
        assert_eq!(renew(pairs[2], pair(HOUR)).await, Renewal::Unknown);
    }

    #[tokio::test]
    async fn a_late_duplicate_of_a_renewal_ends_nothing_within_the_grace() {
        let (_directory, tracker) = tracker().await;
        let (owner, first, second) = (bearer(1), pair(HOUR), pair(HOUR));
        tracker.begin_session(owner, first).await.unwrap();
        tracker.renew_session(first.refresh, second, HOUR).await.unwrap();
        assert_eq!(tracker.token(second.access).await.unwrap(), Some(owner));
        let again = tracker.renew_session(first.refresh, second, HOUR).await.unwrap();
        assert_eq!(again, Renewal::Renewed(owner));
        assert_eq!(tracker.token(second.access).await.unwrap(), Some(owner));
        let late = tracker.renew_session(first.refresh, second, Duration::ZERO).await.unwrap();
        assert_eq!(late, Renewal::Stolen(owner));
        assert_eq!(tracker.token(second.access).await.unwrap(), None);
    }

    #[tokio::test]
    async fn ending_a_device_or_a_user_leaves_the_others() {
        let (_directory, tracker) = tracker().await;
        let (phone, laptop, other) = (bearer(1), bearer(1), bearer(2));
        let pairs = [pair(HOUR), pair(HOUR), pair(HOUR)];
        for (pair, owner) in pairs.into_iter().zip([phone, laptop, other]) {
            tracker.begin_session(owner, pair).await.unwrap();
        }
        tracker.end_device(phone).await.unwrap();
        assert_eq!(tracker.token(pairs[0].access).await.unwrap(), None);
        assert_eq!(tracker.token(pairs[1].access).await.unwrap(), Some(laptop));
        tracker.end_user(UserId(1)).await.unwrap();
        assert_eq!(tracker.token(pairs[1].access).await.unwrap(), None);
        assert_eq!(tracker.token(pairs[2].access).await.unwrap(), Some(other));
    }
}
