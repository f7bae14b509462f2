//! Accounts that were closed, and the removal of all that they have, some rows at a time.

use std::collections::HashMap;

use miaofs::content::Digest;

use super::columns::digest_from_column;
use super::users::Status;
use super::{Connection, Statement, query};
use crate::backend::{Error, UserId};

/// Closes an account at a time in seconds since 1970; `false` unless it is one that is not closed yet.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn close(db: &mut Connection, user: UserId, now: i64) -> Result<bool, Error> {
    let closed =
        query("UPDATE users SET status = ?, closed_at = ? WHERE id = ? AND closed_at IS NULL")
            .bind(Status::Closed.to_column())
            .bind(now)
            .bind(user.0)
            .execute(db)
            .await?;
    Ok(closed > 0)
}

/// Lets a closed account be used again; `false` unless it is one whose removal has not begun.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn restore(db: &mut Connection, user: UserId) -> Result<bool, Error> {
    let restored =
        query("UPDATE users SET status = ?, closed_at = NULL WHERE id = ? AND status = ?")
            .bind(Status::Active.to_column())
            .bind(user.0)
            .bind(Status::Closed.to_column())
            .execute(db)
            .await?;
    Ok(restored > 0)
}

/// Some accounts that were closed at `before` (seconds since 1970) or earlier.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn closed_until(
    db: &mut Connection,
    before: i64,
    limit: u32,
) -> Result<Vec<UserId>, Error> {
    let rows = query("SELECT id FROM users WHERE closed_at <= ? ORDER BY closed_at LIMIT ?")
        .bind(before)
        .bind(i64::from(limit))
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| Ok(UserId(row.try_get(0)?))).collect()
}

/// Locks an account until the end of the transaction and marks that its removal has begun, which nothing takes back;
/// `false` unless it is a closed one.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn begin_removal(db: &mut Connection, user: UserId) -> Result<bool, Error> {
    let begun = query("UPDATE users SET status = ? WHERE id = ? AND closed_at IS NOT NULL")
        .bind(Status::Removing.to_column())
        .bind(user.0)
        .execute(db)
        .await?;
    Ok(begun > 0)
}

/// Rows that went, and what they leave to be counted.
#[derive(Debug, Default)]
pub(crate) struct RemovedNodes {
    /// Nodes that went.
    pub nodes: usize,
    /// The contents that they named, each with the number of nodes.
    pub contents: HashMap<Digest, i64>,
}

/// Removes at most `limit` nodes of a user, with their names.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn remove_nodes(
    db: &mut Connection,
    user: UserId,
    limit: u32,
) -> Result<RemovedNodes, Error> {
    let rows = query("SELECT id, digest FROM nodes WHERE user_id = ? LIMIT ?")
        .bind(user.0)
        .bind(i64::from(limit))
        .fetch_all(&mut *db)
        .await?;
    let mut removed = RemovedNodes { nodes: rows.len(), ..RemovedNodes::default() };
    let mut ids: Vec<Vec<u8>> = Vec::with_capacity(rows.len());
    for row in &rows {
        ids.push(row.try_get("id")?);
        if let Some(digest) = row.try_get::<Option<&[u8]>, _>("digest")? {
            *removed.contents.entry(digest_from_column(digest)?).or_default() += 1;
        }
    }
    if !ids.is_empty() {
        among(query("DELETE FROM entries WHERE user_id = "), user, (" AND node IN ", &ids))
            .execute(&mut *db)
            .await?;
        among(query("DELETE FROM nodes WHERE user_id = "), user, (" AND id IN ", &ids))
            .execute(db)
            .await?;
    }
    Ok(removed)
}

/// Removes at most `limit` claims of a user to contents that no node of theirs names any more. Answers how many.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn remove_claims(
    db: &mut Connection,
    user: UserId,
    limit: u32,
) -> Result<usize, Error> {
    let rows = query("SELECT digest FROM user_contents WHERE user_id = ? LIMIT ?")
        .bind(user.0)
        .bind(i64::from(limit))
        .fetch_all(&mut *db)
        .await?;
    let digests = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<Vec<u8>>, _>>()?;
    if !digests.is_empty() {
        let delete = query("DELETE FROM user_contents WHERE user_id = ");
        among(delete, user, (" AND digest IN ", &digests)).execute(db).await?;
    }
    Ok(digests.len())
}

/// Removes the ids of at most `limit` commits of a user, the first ones first. Answers how many.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn remove_commits(
    db: &mut Connection,
    user: UserId,
    limit: u32,
) -> Result<usize, Error> {
    let rows = query("SELECT seq FROM commits WHERE user_id = ? ORDER BY seq LIMIT ?")
        .bind(user.0)
        .bind(i64::from(limit))
        .fetch_all(&mut *db)
        .await?;
    let Some(last) = rows.last() else { return Ok(0) };
    query("DELETE FROM commits WHERE user_id = ? AND seq <= ?")
        .bind(user.0)
        .bind(last.try_get::<i64, _>(0)?)
        .execute(db)
        .await?;
    Ok(rows.len())
}

/// Removes an account, of which only its sessions and devices are left.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn remove(db: &mut Connection, user: UserId) -> Result<(), Error> {
    for delete in [
        "DELETE FROM scoped_tokens WHERE user_id = ?",
        "DELETE FROM sessions WHERE user_id = ?",
        "DELETE FROM devices WHERE user_id = ?",
        "DELETE FROM users WHERE id = ?",
    ] {
        query(delete).bind(user.0).execute(&mut *db).await?;
    }
    Ok(())
}

/// Goes on with a user's id, and a column that is one of these.
fn among(
    mut query: Statement,
    user: UserId,
    (column, values): (&'static str, &[Vec<u8>]),
) -> Statement {
    query.push_bind(user.0).push(column).push_list(values.iter().cloned());
    query
}
