//! Sessions: who is signed in on which device, and which refresh token renews that.
//!
//! ```text
//!            renew with `refresh`                      a successor is shown: spend
//!  refresh ───────────────────────▶ predecessor, good ───────────────────────────▶ predecessor, spent
//! ```
//!
//! A session that was ended stays until it expires, with the reason, so that its device learns why; but one by whose
//! device itself it was ended, or in whose place another one began, is removed.
//!
//! One row a device, however often it is renewed. A refresh token that was used renews again until its
//! holder shows a token of the pair that it was given: the answer with that pair may have been lost.

use std::array::TryFromSliceError;

use miaofs::protocol::accounts::{Devices, SignedInDevice};
use miaofs::protocol::ids::DeviceId;

use super::{Connection, Row, query};
use crate::backend::tracker::Bearer;
use crate::backend::{Error, TokenId, UserId, unix_now};

/// Why a session was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Another device signed in, and there may be no more.
    Displaced,
    /// Another device, or the operator, signed it out.
    Revoked,
    /// The password was changed.
    PasswordChanged,
    /// The operator disabled the account.
    Disabled,
    /// The account was closed.
    Closed,
    /// The refresh token was shown after it was spent.
    Stolen,
}

impl Ending {
    const ALL: [Self; 6] = [
        Self::Displaced,
        Self::Revoked,
        Self::PasswordChanged,
        Self::Disabled,
        Self::Closed,
        Self::Stolen,
    ];

    const fn to_column(self) -> i64 {
        match self {
            Self::Displaced => 1,
            Self::Revoked => 2,
            Self::PasswordChanged => 3,
            Self::Disabled => 4,
            Self::Closed => 5,
            Self::Stolen => 6,
        }
    }

    fn from_column(number: i64) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|ending| ending.to_column() == number);
        known.ok_or_else(|| Error::damaged("session", format!("unknown ending {number}")))
    }
}

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
    remove_device(db, bearer).await?;
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

/// Locks the row of a session until the end of the transaction, and reads it unless it was ended, or expired until `over_before`.
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
         WHERE id = ? AND ended IS NULL AND expires_at > ?",
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

/// Ends the session of a device; `false` when it has none.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn end_device(
    db: &mut Connection,
    bearer: Bearer,
    ending: Ending,
) -> Result<bool, Error> {
    let ended =
        query("UPDATE sessions SET ended = ? WHERE user_id = ? AND device = ? AND ended IS NULL")
            .bind(ending.to_column())
            .bind(bearer.user.0)
            .bind(bearer.device.to_bytes().to_vec())
            .execute(db)
            .await?;
    Ok(ended > 0)
}

/// Forgets the session of a device.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn remove_device(db: &mut Connection, bearer: Bearer) -> Result<(), Error> {
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
pub(crate) async fn end_user(
    db: &mut Connection,
    user: UserId,
    ending: Ending,
) -> Result<(), Error> {
    query("UPDATE sessions SET ended = ? WHERE user_id = ? AND ended IS NULL")
        .bind(ending.to_column())
        .bind(user.0)
        .execute(db)
        .await?;
    Ok(())
}

/// All that is known of a session, expired or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing: there is none.
    Unknown,
    /// One that goes on, unless it has expired.
    Active,
    /// One that was ended.
    Ended(Ending),
}

/// All that is known of the session of this id.
///
/// # Errors
/// [`Error::Database`]; [`Error::Damaged`] when it was ended for no known reason.
pub(crate) async fn standing(db: &mut Connection, id: TokenId) -> Result<Standing, Error> {
    let row = query("SELECT ended FROM sessions WHERE id = ?")
        .bind(id.as_bytes().to_vec())
        .fetch_optional(db)
        .await?;
    let Some(row) = row else { return Ok(Standing::Unknown) };
    Ok(match row.try_get::<Option<i64>, _>(0)? {
        None => Standing::Active,
        Some(ending) => Standing::Ended(Ending::from_column(ending)?),
    })
}

/// The devices of a user that are signed in, the one that was seen last first.
///
/// # Errors
/// [`Error::Database`]; [`Error::Damaged`] when an id has not 16 bytes.
pub(crate) async fn devices(db: &mut Connection, bearer: Bearer) -> Result<Devices, Error> {
    let rows = query(
        "SELECT sessions.device, devices.name, devices.first_seen, sessions.renewed_at
         FROM sessions JOIN devices
         ON devices.user_id = sessions.user_id AND devices.id = sessions.device
         WHERE sessions.user_id = ? AND sessions.ended IS NULL
         ORDER BY sessions.renewed_at DESC, sessions.device",
    )
    .bind(bearer.user.0)
    .fetch_all(db)
    .await?;
    let device = |row: &Row| {
        let id = device_of(row)?;
        Ok::<_, Error>(SignedInDevice {
            id,
            name: row.try_get("name")?,
            first_seen: row.try_get("first_seen")?,
            last_seen: row.try_get("renewed_at")?,
            current: id == bearer.device,
        })
    };
    Ok(Devices { devices: rows.iter().map(device).collect::<Result<_, _>>()? })
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
        "SELECT device FROM sessions WHERE user_id = ? AND device <> ? AND ended IS NULL
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
