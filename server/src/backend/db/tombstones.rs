//! Tombstones: rows of deleted nodes, by which the feed tells of deletions, until nobody needs them.
//!
//! A drive remembers the commit up to which some have gone, and each device how far it has followed the feed.

use miaofs::protocol::ids::DeviceId;

use super::entries::{node_id, push_ids};
use super::{Connection, query};
use crate::backend::{Error, UserId};

/// Tombstones of a drive that may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forgettable {
    /// Those of deletions before this time, in seconds since 1970.
    pub deleted_before: i64,
    /// Those up to this version.
    pub until: u64,
}

/// The commit up to which deletions of a drive may be forgotten; 0 when all are remembered.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn forgotten_until(db: &mut Connection, user: UserId) -> Result<u64, Error> {
    let row = query("SELECT forgotten_until FROM users WHERE id = ?").bind(user.0);
    let row = row.fetch_optional(db).await?;
    row.map_or(Ok(0), |row| Ok(row.try_get::<i64, _>(0)?.cast_unsigned()))
}

/// Notes how far a device has followed the feed.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn note_followed(
    db: &mut Connection,
    (user, device): (UserId, DeviceId),
    until: u64,
) -> Result<(), Error> {
    query("UPDATE devices SET followed_until = ? WHERE user_id = ? AND id = ?")
        .bind(until.cast_signed())
        .bind(user.0)
        .bind(device.to_bytes().to_vec())
        .execute(db)
        .await?;
    Ok(())
}

/// The commit up to which all devices have followed the feed that follow it and are signed in at a time, in seconds since 1970;
/// `None` when there is none.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn all_followed_until(
    db: &mut Connection,
    user: UserId,
    now: i64,
) -> Result<Option<u64>, Error> {
    let row = query(
        "SELECT MIN(devices.followed_until) FROM sessions JOIN devices
         ON devices.user_id = sessions.user_id AND devices.id = sessions.device
         WHERE sessions.user_id = ? AND sessions.ended IS NULL AND sessions.expires_at > ?",
    )
    .bind(user.0)
    .bind(now)
    .fetch_optional(db)
    .await?;
    let until = row.map_or(Ok(None), |row| row.try_get::<Option<i64>, _>(0))?;
    Ok(until.map(i64::cast_unsigned))
}

/// Time of the deletion, in seconds since 1970, that so many newer ones of a drive follow.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn time_beyond(
    db: &mut Connection,
    user: UserId,
    newer: u64,
) -> Result<Option<i64>, Error> {
    let row = query(
        "SELECT deleted_at FROM nodes WHERE user_id = ? AND deleted_at IS NOT NULL
         ORDER BY deleted_at DESC LIMIT 1 OFFSET ?",
    )
    .bind(user.0)
    .bind(i64::try_from(newer).unwrap_or(i64::MAX))
    .fetch_optional(db)
    .await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// True if a drive has tombstones that may go.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn are_there(
    db: &mut Connection,
    user: UserId,
    forgettable: Forgettable,
) -> Result<bool, Error> {
    let row =
        query("SELECT 1 FROM nodes WHERE user_id = ? AND deleted_at < ? AND version <= ? LIMIT 1");
    let row = row.bind(user.0).bind(forgettable.deleted_before);
    Ok(row.bind(until_column(forgettable)).fetch_optional(db).await?.is_some())
}

/// Removes at most `limit` of the tombstones that may go, in a transaction that has locked the drive. Answers how many.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn remove(
    db: &mut Connection,
    user: UserId,
    forgettable: Forgettable,
    limit: u32,
) -> Result<usize, Error> {
    let rows = query(
        "SELECT id, version FROM nodes WHERE user_id = ? AND deleted_at < ? AND version <= ?
         ORDER BY deleted_at LIMIT ?",
    )
    .bind(user.0)
    .bind(forgettable.deleted_before)
    .bind(until_column(forgettable))
    .bind(i64::from(limit))
    .fetch_all(&mut *db)
    .await?;
    let mut ids = Vec::with_capacity(rows.len());
    let mut newest = 0;
    for row in &rows {
        ids.push(node_id(row, 0)?);
        newest = newest.max(row.try_get::<i64, _>(1)?);
    }
    if ids.is_empty() {
        return Ok(0);
    }
    let mut delete = query("DELETE FROM nodes WHERE user_id = ");
    delete.push_bind(user.0).push(" AND id IN ");
    push_ids(&mut delete, &ids);
    delete.execute(&mut *db).await?;
    query("UPDATE users SET forgotten_until = ? WHERE id = ? AND forgotten_until < ?")
        .bind(newest)
        .bind(user.0)
        .bind(newest)
        .execute(db)
        .await?;
    Ok(ids.len())
}

/// Removes at most `limit` devices that have no session and last signed in before a time, in seconds since 1970. Answers how
/// many.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn remove_old_devices(
    db: &mut Connection,
    before: i64,
    limit: u32,
) -> Result<usize, Error> {
    let rows = old_devices(before, limit).fetch_all(&mut *db).await?;
    for row in &rows {
        query("DELETE FROM devices WHERE user_id = ? AND id = ?")
            .bind(row.try_get::<i64, _>(0)?)
            .bind(row.try_get::<Vec<u8>, _>(1)?)
            .execute(&mut *db)
            .await?;
    }
    Ok(rows.len())
}

/// True if there are such devices.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn has_old_devices(db: &mut Connection, before: i64) -> Result<bool, Error> {
    Ok(old_devices(before, 1).fetch_optional(db).await?.is_some())
}

fn old_devices(before: i64, limit: u32) -> super::Statement {
    query(
        "SELECT user_id, id FROM devices WHERE last_seen < ? AND NOT EXISTS
         (SELECT 1 FROM sessions WHERE sessions.user_id = devices.user_id AND sessions.device = devices.id)
         LIMIT ?",
    )
    .bind(before)
    .bind(i64::from(limit))
}

fn until_column(forgettable: Forgettable) -> i64 {
    i64::try_from(forgettable.until).unwrap_or(i64::MAX)
}
