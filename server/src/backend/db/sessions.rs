//! Sessions: who is signed in on which device, and which refresh token renews that.
//!
//! ```text
//!            renew with `refresh`                      a successor is shown: spend
//!  refresh ───────────────────────▶ predecessor, good ───────────────────────────▶ predecessor, spent
//! ```
//!
//! One row a device, however often it is renewed. A refresh token that was used renews again until its
//! holder shows a token of the pair that it was given: the answer with that pair may have been lost.

use std::array::TryFromSliceError;

use miaofs::protocol::ids::DeviceId;

use super::{Connection, Row, query};
use crate::backend::tracker::Bearer;
use crate::backend::{Error, TokenId, UserId, unix_now};

/// A session that has not expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ActiveSession {
    /// Whose it is, and on which device.
    pub bearer: Bearer,
    /// The refresh token that was given last.
    pub refresh: TokenId,
    /// The one that it was given for; `None` when the device signed in.
    pub predecessor: Option<TokenId>,
    /// When a token that was given for the predecessor was first shown, in seconds since 1970.
    pub spent_at: Option<i64>,
    /// When it was last renewed, in seconds since 1970.
    pub renewed_at: i64,
}

/// Refresh tokens of a session from a renewal on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Renewal {
    /// The one that was shown.
    pub predecessor: TokenId,
    /// The one that is given for it.
    pub refresh: TokenId,
}

/// Begins a session, in place of the one that the device may have.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn begin(
    db: &mut Connection,
    id: TokenId,
    bearer: Bearer,
    refresh: TokenId,
    expires_at: i64,
) -> Result<(), Error> {
    end_device(db, bearer).await?;
    query(
        "INSERT INTO sessions (id, user_id, device, refresh, renewed_at, expires_at)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(id.as_bytes().to_vec())
    .bind(bearer.user.0)
    .bind(bearer.device.to_bytes().to_vec())
    .bind(refresh.as_bytes().to_vec())
    .bind(unix_now())
    .bind(expires_at)
    .execute(db)
    .await?;
    Ok(())
}

/// Locks the row of a session until the end of the transaction, and reads it unless it expired until `over_before`.
///
/// # Errors
/// [`Error::Database`]; [`Error::Damaged`] when an id has not 16 bytes.
pub(crate) async fn lock_row(
    db: &mut Connection,
    id: TokenId,
    over_before: i64,
) -> Result<Option<ActiveSession>, Error> {
    // An update that changes nothing locks the row in every database, and only the row.
    query("UPDATE sessions SET id = id WHERE id = ?")
        .bind(id.as_bytes().to_vec())
        .execute(db)
        .await?;
    let row = query(
        "SELECT user_id, device, refresh, predecessor, spent_at, renewed_at FROM sessions
         WHERE id = ? AND expires_at > ?",
    )
    .bind(id.as_bytes().to_vec())
    .bind(over_before)
    .fetch_optional(db)
    .await?;
    row.map(|row| session_of(&row)).transpose()
}

/// Lets a session be renewed by another refresh token.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn renew(
    db: &mut Connection,
    id: TokenId,
    renewal: Renewal,
    expires_at: i64,
) -> Result<(), Error> {
    query(
        "UPDATE sessions SET predecessor = ?, refresh = ?, spent_at = NULL, renewed_at = ?,
         expires_at = ? WHERE id = ?",
    )
    .bind(renewal.predecessor.as_bytes().to_vec())
    .bind(renewal.refresh.as_bytes().to_vec())
    .bind(unix_now())
    .bind(expires_at)
    .bind(id.as_bytes().to_vec())
    .execute(db)
    .await?;
    Ok(())
}

/// Marks `predecessor` as spent: a token that was issued for it was used.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn spend(
    db: &mut Connection,
    bearer: Bearer,
    predecessor: TokenId,
) -> Result<(), Error> {
    query(
        "UPDATE sessions SET spent_at = ?
         WHERE user_id = ? AND device = ? AND predecessor = ? AND spent_at IS NULL",
    )
    .bind(unix_now())
    .bind(bearer.user.0)
    .bind(bearer.device.to_bytes().to_vec())
    .bind(predecessor.as_bytes().to_vec())
    .execute(db)
    .await?;
    Ok(())
}

/// Ends the session of a device.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn end_device(db: &mut Connection, bearer: Bearer) -> Result<(), Error> {
    query("DELETE FROM sessions WHERE user_id = ? AND device = ?")
        .bind(bearer.user.0)
        .bind(bearer.device.to_bytes().to_vec())
        .execute(db)
        .await?;
    Ok(())
}

/// Ends all sessions of a user.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn end_user(db: &mut Connection, user: UserId) -> Result<(), Error> {
    query("DELETE FROM sessions WHERE user_id = ?").bind(user.0).execute(db).await?;
    Ok(())
}

/// True if there is a session of this id, expired or not.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn is_known(db: &mut Connection, id: TokenId) -> Result<bool, Error> {
    let row = query("SELECT 1 FROM sessions WHERE id = ?")
        .bind(id.as_bytes().to_vec())
        .fetch_optional(db)
        .await?;
    Ok(row.is_some())
}

/// The other devices of a user that have a session, the one that was renewed last first.
///
/// # Errors
/// [`Error::Database`]; [`Error::Damaged`] when an id has not 16 bytes.
pub(crate) async fn other_devices(
    db: &mut Connection,
    bearer: Bearer,
) -> Result<Vec<DeviceId>, Error> {
    let rows = query(
        "SELECT device FROM sessions WHERE user_id = ? AND device <> ?
         ORDER BY renewed_at DESC, device",
    )
    .bind(bearer.user.0)
    .bind(bearer.device.to_bytes().to_vec())
    .fetch_all(db)
    .await?;
    rows.iter().map(device_of).collect()
}

/// Removes the sessions that expired until `over_before`.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn remove_expired(db: &mut Connection, over_before: i64) -> Result<(), Error> {
    query("DELETE FROM sessions WHERE expires_at <= ?").bind(over_before).execute(db).await?;
    Ok(())
}

fn session_of(row: &Row) -> Result<ActiveSession, Error> {
    let id = |bytes: &[u8]| {
        let id = bytes.try_into().map(TokenId::from_bytes);
        id.map_err(|error: TryFromSliceError| Error::damaged("session", error))
    };
    let device = device_of(row)?;
    let refresh: Vec<u8> = row.try_get("refresh")?;
    let predecessor: Option<Vec<u8>> = row.try_get("predecessor")?;
    Ok(ActiveSession {
        bearer: Bearer { user: UserId(row.try_get("user_id")?), device },
        refresh: id(&refresh)?,
        predecessor: predecessor.as_deref().map(id).transpose()?,
        spent_at: row.try_get("spent_at")?,
        renewed_at: row.try_get("renewed_at")?,
    })
}

fn device_of(row: &Row) -> Result<DeviceId, Error> {
    let device: Vec<u8> = row.try_get("device")?;
    DeviceId::try_from(&device[..]).map_err(|error| Error::damaged("session", error))
}
