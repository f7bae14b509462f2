//! Accounts and their devices.

use miaofs::protocol::accounts::Device;
use miaofs::protocol::ids::DeviceId;

use super::{Connection, Lock, query};
use crate::backend::{Error, UserId, unix_now};

/// An account as sign-in needs it.
#[derive(Clone)]
pub(crate) struct Login {
    /// Id of the account.
    pub user: UserId,
    /// PHC string of argon2id.
    pub password: String,
}

/// Usage of a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Bytes that its files may have in all.
    pub quota: u64,
    /// Bytes that they have.
    pub used: u64,
    /// Bytes that its nodes take beside that.
    pub metadata: u64,
    /// Nodes that are not deleted.
    pub nodes: u64,
    /// Sequence number of its last commit.
    pub seq: u64,
}

/// Makes an account with an empty drive at sequence number 0.
///
/// # Errors
/// [`Error::Duplicate`] when the name is taken.
pub(crate) async fn insert(
    db: &mut Connection,
    name: &str,
    password: &str,
    quota: u64,
) -> Result<UserId, Error> {
    let id =
        query("INSERT INTO users (name, password, quota, seq, created_at) VALUES (?, ?, ?, 0, ?)")
            .bind(name.as_bytes())
            .bind(password)
            .bind(i64::try_from(quota).unwrap_or(i64::MAX))
            .bind(unix_now())
            .insert(db)
            .await?;
    Ok(UserId(id))
}

/// The account of a name, unless it is closed.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn login(db: &mut Connection, name: &str) -> Result<Option<Login>, Error> {
    let row = query("SELECT id, password FROM users WHERE name = ? AND status = 0")
        .bind(name.as_bytes())
        .fetch_optional(db)
        .await?;
    row.map(|row| Ok(Login { user: UserId(row.try_get(0)?), password: row.try_get(1)? }))
        .transpose()
}

/// True if a device was signed in to the account of a name, and is not forgotten.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn has_device(
    db: &mut Connection,
    name: &str,
    device: DeviceId,
) -> Result<bool, Error> {
    let row = query(
        "SELECT 1 FROM devices JOIN users ON users.id = devices.user_id \
         WHERE users.name = ? AND devices.id = ?",
    )
    .bind(name.as_bytes())
    .bind(device.to_bytes().to_vec())
    .fetch_optional(db)
    .await?;
    Ok(row.is_some())
}

/// Locks the row of an account until the end of the transaction; `true` if it may sign in, and by the same password.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn lock_verified(db: &mut Connection, login: &Login) -> Result<bool, Error> {
    // An update that changes nothing locks the row in every database.
    let locked = query("UPDATE users SET status = 0 WHERE id = ? AND status = 0 AND password = ?")
        .bind(login.user.0)
        .bind(login.password.as_str())
        .execute(db)
        .await?;
    Ok(locked > 0)
}

/// The name of an account, unless it is closed.
///
/// # Errors
/// [`Error::Database`]; [`Error::Damaged`] when the name is not text.
pub(crate) async fn name(db: &mut Connection, user: UserId) -> Result<Option<String>, Error> {
    let row = query("SELECT name FROM users WHERE id = ? AND status = 0")
        .bind(user.0)
        .fetch_optional(db)
        .await?;
    let name: Option<Vec<u8>> = row.map(|row| row.try_get(0)).transpose()?;
    name.map(|bytes| {
        String::from_utf8(bytes).map_err(|error| Error::damaged("account name", error))
    })
    .transpose()
}

/// Usage of the drive of an account; `None` when there is no such account.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn usage(db: &mut Connection, user: UserId) -> Result<Option<Usage>, Error> {
    let row = query("SELECT quota, used, metadata, nodes, seq FROM users WHERE id = ?")
        .bind(user.0)
        .fetch_optional(db)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let number = |column| row.try_get::<i64, usize>(column).map(|value| value.max(0) as u64);
    Ok(Some(Usage {
        quota: number(0)?,
        used: number(1)?,
        metadata: number(2)?,
        nodes: number(3)?,
        seq: number(4)?,
    }))
}

/// Locks a drive until the end of the transaction; `false` when there is no such account.
///
/// # Errors
/// [`Error::Database`], [`Error::SerializationFailure`].
pub(crate) async fn lock(db: &mut Connection, user: UserId) -> Result<bool, Error> {
    let row = query("SELECT 1 FROM users WHERE id = ?")
        .bind(user.0)
        .lock(Lock::Exclusive)
        .fetch_optional(db)
        .await?;
    Ok(row.is_some())
}

/// Writes what a commit made of a drive; its quota stays.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn set_usage(
    db: &mut Connection,
    user: UserId,
    usage: Usage,
) -> Result<(), Error> {
    query("UPDATE users SET used = ?, metadata = ?, nodes = ?, seq = ? WHERE id = ?")
        .bind(usage.used.cast_signed())
        .bind(usage.metadata.cast_signed())
        .bind(usage.nodes.cast_signed())
        .bind(usage.seq.cast_signed())
        .bind(user.0)
        .execute(db)
        .await?;
    Ok(())
}

/// Replaces the password's hash.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn set_password(
    db: &mut Connection,
    user: UserId,
    password: &str,
) -> Result<(), Error> {
    query("UPDATE users SET password = ? WHERE id = ?")
        .bind(password)
        .bind(user.0)
        .execute(db)
        .await?;
    Ok(())
}

/// Notes that a device signed in now, in a transaction of [`lock_verified`].
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn see_device(
    db: &mut Connection,
    user: UserId,
    id: DeviceId,
    device: &Device,
) -> Result<(), Error> {
    let now = unix_now();
    let known = query("UPDATE devices SET name = ?, last_seen = ? WHERE user_id = ? AND id = ?")
        .bind(device.name.as_str())
        .bind(now)
        .bind(user.0)
        .bind(id.to_bytes().to_vec())
        .execute(&mut *db)
        .await?;
    if known == 0 {
        query(
            "INSERT INTO devices (user_id, id, name, first_seen, last_seen) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(user.0)
        .bind(id.to_bytes().to_vec())
        .bind(device.name.as_str())
        .bind(now)
        .bind(now)
        .execute(db)
        .await?;
    }
    Ok(())
}
