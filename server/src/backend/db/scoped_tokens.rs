//! Scoped tokens: hashes of secrets, and what part of a drive each reaches.

use miaofs::protocol::ids::{NodeId, ScopedTokenId};
use miaofs::protocol::scoped_tokens::{Operations, ScopedToken};

use super::entries::node_id;
use super::{Connection, Row, query};
use crate::backend::{Error, UserId};

/// Values of the column `operations`.
const READ: i64 = 0;
const WRITE: i64 = 1;

/// Hash of the text of a scoped token.
pub(crate) type ScopedTokenHash = [u8; 32];

/// The part of a drive that a scoped token reaches, and what may be done there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The token.
    pub id: ScopedTokenId,
    /// Whose drive it is.
    pub user: UserId,
    /// The node that it reaches, with all below it.
    pub root: NodeId,
    /// Operations that it allows.
    pub operations: Operations,
}

/// Adds a token.
///
/// # Errors
/// [`Error::Duplicate`] when the user has one of this name.
pub(crate) async fn insert(
    db: &mut Connection,
    grant: Grant,
    hash: ScopedTokenHash,
    token: &ScopedToken,
) -> Result<(), Error> {
    query(
        "INSERT INTO scoped_tokens
         (id, user_id, hash, name, root, path, operations, created_at, expires_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&grant.id.to_bytes()[..])
    .bind(grant.user.0)
    .bind(&hash[..])
    .bind(token.name.as_str())
    .bind(&grant.root.to_bytes()[..])
    .bind(token.path.as_str())
    .bind(match grant.operations {
        Operations::Read => READ,
        Operations::Write => WRITE,
    })
    .bind(token.created_at)
    .bind(token.expires_at)
    .execute(db)
    .await?;
    Ok(())
}

/// The grant of the token with this hash, unless it expired until `now` or its account is closed.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn grant(
    db: &mut Connection,
    hash: ScopedTokenHash,
    now: i64,
) -> Result<Option<Grant>, Error> {
    let row = query(
        "SELECT t.id, t.root, t.user_id, t.operations FROM scoped_tokens t
         JOIN users u ON u.id = t.user_id
         WHERE t.hash = ? AND u.status = 0 AND (t.expires_at IS NULL OR t.expires_at > ?)",
    )
    .bind(&hash[..])
    .bind(now)
    .fetch_optional(db)
    .await?;
    let grant = |row: Row| {
        Ok(Grant {
            id: token_id(&row)?,
            root: node_id(&row, 1)?,
            user: UserId(row.try_get(2)?),
            operations: operations(row.try_get(3)?)?,
        })
    };
    row.map(grant).transpose()
}

/// The tokens of a user, by time of creation.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn list(db: &mut Connection, user: UserId) -> Result<Vec<ScopedToken>, Error> {
    let rows = query(
        "SELECT id, name, path, operations, created_at, expires_at FROM scoped_tokens
         WHERE user_id = ? ORDER BY created_at, name",
    )
    .bind(user.0)
    .fetch_all(db)
    .await?;
    let token = |row: &Row| {
        Ok(ScopedToken {
            id: token_id(row)?,
            name: row.try_get(1)?,
            path: row.try_get(2)?,
            operations: operations(row.try_get(3)?)?,
            created_at: row.try_get(4)?,
            expires_at: row.try_get(5)?,
        })
    };
    rows.iter().map(token).collect()
}

/// Removes a token of a user. False when they have none with this id.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn remove(
    db: &mut Connection,
    user: UserId,
    id: ScopedTokenId,
) -> Result<bool, Error> {
    let removed = query("DELETE FROM scoped_tokens WHERE user_id = ? AND id = ?")
        .bind(user.0)
        .bind(&id.to_bytes()[..])
        .execute(db)
        .await?;
    Ok(removed > 0)
}

/// Removes all tokens of a user.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn remove_all(db: &mut Connection, user: UserId) -> Result<(), Error> {
    query("DELETE FROM scoped_tokens WHERE user_id = ?").bind(user.0).execute(db).await?;
    Ok(())
}

/// Removes the tokens of a user that expired until `now`.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn remove_expired(
    db: &mut Connection,
    user: UserId,
    now: i64,
) -> Result<(), Error> {
    query("DELETE FROM scoped_tokens WHERE user_id = ? AND expires_at <= ?")
        .bind(user.0)
        .bind(now)
        .execute(db)
        .await?;
    Ok(())
}

fn token_id(row: &Row) -> Result<ScopedTokenId, Error> {
    ScopedTokenId::try_from(row.try_get::<&[u8], _>(0)?)
        .map_err(|error| Error::damaged("scoped token", error))
}

fn operations(value: i64) -> Result<Operations, Error> {
    match value {
        READ => Ok(Operations::Read),
        WRITE => Ok(Operations::Write),
        _ => Err(Error::damaged("scoped token", "no such operations")),
    }
}
