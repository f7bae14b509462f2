//! Access tokens in the embedded tracker.

use std::array::TryFromSliceError;

use miaofs::protocol::ids::DeviceId;
use sqlx::{Row, Sqlite, Transaction};

use super::Embedded;
use crate::backend::tracker::epoch::expires_at;
use crate::backend::tracker::{AccessToken, ActiveToken, Bearer, OtherTokens};
use crate::backend::{Error, TokenId, UserId, unix_now};

impl Embedded {
    pub(crate) async fn put_token(
        &self,
        bearer: Bearer,
        token: AccessToken,
        others: OtherTokens,
    ) -> Result<(), Error> {
        let mut transaction = self.durable.begin_with("BEGIN IMMEDIATE").await?;
        if others == OtherTokens::Revoke {
            revoke_device(&mut transaction, bearer).await?;
        }
        sqlx::query(
            "REPLACE INTO access_tokens (user_id, id, device, predecessor, expires_at)
             VALUES (?, ?, ?, ?, ?)",
        )
        .bind(bearer.user.0)
        .bind(&token.id.as_bytes()[..])
        .bind(&bearer.device.to_bytes()[..])
        .bind(token.predecessor.map(|id| id.as_bytes().to_vec()))
        .bind(expires_at(token.lifetime))
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }

    pub(crate) async fn token(
        &self,
        user: UserId,
        id: TokenId,
    ) -> Result<Option<ActiveToken>, Error> {
        let row = sqlx::query(
            "SELECT device, predecessor FROM access_tokens
             WHERE user_id = ? AND id = ? AND expires_at > ?",
        )
        .bind(user.0)
        .bind(&id.as_bytes()[..])
        .bind(unix_now())
        .fetch_optional(&self.quick)
        .await?;
        row.map(|row| shown_of(user, &row)).transpose()
    }

    pub(crate) async fn mark_token_used(&self, user: UserId, id: TokenId) -> Result<(), Error> {
        sqlx::query("UPDATE access_tokens SET predecessor = NULL WHERE user_id = ? AND id = ?")
            .bind(user.0)
            .bind(&id.as_bytes()[..])
            .execute(&self.quick)
            .await?;
        Ok(())
    }

    pub(crate) async fn revoke_device(&self, bearer: Bearer) -> Result<(), Error> {
        let mut transaction = self.durable.begin_with("BEGIN IMMEDIATE").await?;
        revoke_device(&mut transaction, bearer).await?;
        Ok(transaction.commit().await?)
    }

    pub(crate) async fn revoke_user(&self, user: UserId) -> Result<(), Error> {
        sqlx::query("DELETE FROM access_tokens WHERE user_id = ?")
            .bind(user.0)
            .execute(&self.durable)
            .await?;
        Ok(())
    }
}

async fn revoke_device(db: &mut Transaction<'_, Sqlite>, bearer: Bearer) -> Result<(), Error> {
    sqlx::query("DELETE FROM access_tokens WHERE user_id = ? AND device = ?")
        .bind(bearer.user.0)
        .bind(&bearer.device.to_bytes()[..])
        .execute(&mut **db)
        .await?;
    Ok(())
}

fn shown_of(user: UserId, row: &sqlx::sqlite::SqliteRow) -> Result<ActiveToken, Error> {
    let device: &[u8] = row.try_get("device")?;
    let device =
        DeviceId::try_from(device).map_err(|error| Error::damaged("access token", error))?;
    let predecessor: Option<&[u8]> = row.try_get("predecessor")?;
    let unspent = predecessor.map(|id| id.try_into().map(TokenId::from_bytes)).transpose();
    let bearer = Bearer { user, device };
    Ok(ActiveToken {
        bearer,
        unspent: unspent
            .map_err(|error: TryFromSliceError| Error::damaged("access token", error))?,
    })
}
