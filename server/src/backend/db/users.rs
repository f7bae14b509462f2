//! Accounts as an operator sees and changes them.

use super::{Connection, Row, query};
use crate::backend::{Error, UserId};

/// Status of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// May sign in.
    Active,
    /// Nobody can sign in, and all its tokens have ended. Its drive stays.
    Disabled,
    /// The same, and after a grace its removal begins.
    Closed,
    /// The removal has begun.
    Removing,
}

impl Status {
    pub(super) const fn to_column(self) -> i64 {
        match self {
            Self::Active => 0,
            Self::Disabled => 1,
            Self::Closed => 2,
            Self::Removing => 3,
        }
    }

    fn from_column(number: i64) -> Result<Self, Error> {
        match number {
            0 => Ok(Self::Active),
            1 => Ok(Self::Disabled),
            2 => Ok(Self::Closed),
            3 => Ok(Self::Removing),
            _ => Err(Error::damaged("status of an account", format!("unknown number {number}"))),
        }
    }
}

/// An account with what its drive takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// Id of the account.
    pub id: UserId,
    /// Name, in lower case.
    pub name: String,
    /// Status, which decides if it may sign in.
    pub status: Status,
    /// Bytes that its files may have in all.
    pub quota: u64,
    /// Bytes that they have.
    pub used: u64,
    /// Bytes that its nodes take beside that.
    pub metadata: u64,
    /// Nodes that are not deleted.
    pub nodes: u64,
    /// When it was made, in seconds since 1970.
    pub created_at: i64,
}

/// The first `limit` accounts after one, in the order in which they were made.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn page(
    db: &mut Connection,
    after: UserId,
    limit: u32,
) -> Result<Vec<User>, Error> {
    let rows = query(
        "SELECT id, name, status, quota, used, metadata, nodes, created_at FROM users
         WHERE id > ? ORDER BY id LIMIT ?",
    )
    .bind(after.0)
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?;
    rows.iter().map(user_of).collect()
}

/// The account of a name, whatever its status.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn by_name(db: &mut Connection, name: &str) -> Result<Option<User>, Error> {
    let row =
        query("SELECT id, name, status, quota, used, metadata, nodes, created_at FROM users WHERE name = ?")
            .bind(name.as_bytes())
            .fetch_optional(db)
            .await?;
    row.as_ref().map(user_of).transpose()
}

/// Changes how many bytes the drive of an account may have.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn set_quota(db: &mut Connection, user: UserId, quota: u64) -> Result<(), Error> {
    query("UPDATE users SET quota = ? WHERE id = ?")
        .bind(i64::try_from(quota).unwrap_or(i64::MAX))
        .bind(user.0)
        .execute(db)
        .await?;
    Ok(())
}

/// Changes whether an account may be used; `false` when it is closed.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn set_status(
    db: &mut Connection,
    user: UserId,
    status: Status,
) -> Result<bool, Error> {
    let changed = query("UPDATE users SET status = ? WHERE id = ? AND closed_at IS NULL")
        .bind(status.to_column())
        .bind(user.0)
        .execute(db)
        .await?;
    Ok(changed > 0)
}

fn user_of(row: &Row) -> Result<User, Error> {
    let number = |column: &str| Ok::<_, Error>(row.try_get::<i64, _>(column)?.max(0) as u64);
    Ok(User {
        id: UserId(row.try_get("id")?),
        name: String::from_utf8(row.try_get("name")?)
            .map_err(|error| Error::damaged("account name", error))?,
        status: Status::from_column(row.try_get("status")?)?,
        quota: number("quota")?,
        used: number("used")?,
        metadata: number("metadata")?,
        nodes: number("nodes")?,
        created_at: row.try_get("created_at")?,
    })
}
