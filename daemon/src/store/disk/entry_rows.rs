//! Rows of `entries`: names, in the order in which their directory is read.

use miaofs::protocol::files::Kind;
use rusqlite::{OptionalExtension, params};

use super::columns::{ino, kind_from, kind_to_number, number};
use super::database::Database;
use crate::store::error::Error;
use crate::store::node::{Child, Ino};

/// The node that a name names.
pub(crate) fn find(db: &Database, parent: Ino, name: &[u8]) -> Result<Option<Ino>, Error> {
    Ok(db
        .0
        .prepare_cached("SELECT ino FROM entries WHERE parent = ?1 AND name = ?2")?
        .query_row(params![parent.0 as i64, name], |row| ino(row, 0))
        .optional()?)
}

/// Adds an entry.
pub(crate) fn insert(
    db: &Database,
    (parent, name): (Ino, &[u8]),
    cookie: u64,
    ino: Ino,
    kind: Kind,
) -> Result<(), Error> {
    db.write(
        "INSERT INTO entries (parent, cookie, name, ino, kind) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![parent.0 as i64, cookie as i64, name, ino.0 as i64, kind_to_number(kind)],
    )?;
    Ok(())
}

/// Removes an entry; its cookie, if it was there.
pub(crate) fn delete(db: &Database, parent: Ino, name: &[u8]) -> Result<Option<u64>, Error> {
    db.write_returning(
        "DELETE FROM entries WHERE parent = ?1 AND name = ?2 RETURNING cookie",
        params![parent.0 as i64, name],
        |row| number(row, 0),
    )
}

/// Gives an entry another name in the same directory.
pub(crate) fn rename(
    db: &Database,
    parent: Ino,
    name: &[u8],
    new_name: &[u8],
) -> Result<(), Error> {
    db.write(
        "UPDATE entries SET name = ?3 WHERE parent = ?1 AND name = ?2",
        params![parent.0 as i64, name, new_name],
    )?;
    Ok(())
}

/// Up to `limit` entries with a cookie above `after`, by rising cookie.
pub(crate) fn children(
    db: &Database,
    parent: Ino,
    after: u64,
    limit: usize,
) -> Result<Vec<Child>, Error> {
    let mut statement = db.0.prepare_cached(
        "SELECT cookie, name, ino, kind FROM entries WHERE parent = ?1 AND cookie > ?2 \
         ORDER BY cookie LIMIT ?3",
    )?;
    let rows =
        statement.query_map(params![parent.0 as i64, after as i64, limit as i64], |row| {
            Ok(Child {
                cookie: number(row, 0)?,
                name: row.get(1)?,
                ino: ino(row, 2)?,
                kind: kind_from(row, 3)?,
            })
        })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The highest cookie in a directory; 0 when it is empty.
pub(crate) fn last_cookie(db: &Database, parent: Ino) -> Result<u64, Error> {
    let last: Option<i64> =
        db.0.prepare_cached("SELECT max(cookie) FROM entries WHERE parent = ?1")?
            .query_row([parent.0 as i64], |row| row.get(0))?;
    Ok(last.map_or(0, |cookie| cookie as u64))
}

/// True if a directory holds anything.
pub(crate) fn has_children(db: &Database, parent: Ino) -> Result<bool, Error> {
    Ok(db
        .0
        .prepare_cached("SELECT 1 FROM entries WHERE parent = ?1 LIMIT 1")?
        .exists([parent.0 as i64])?)
}

/// All names of a node, each with its directory.
pub(crate) fn entries_of(db: &Database, node: Ino) -> Result<Vec<(Ino, Vec<u8>)>, Error> {
    let mut statement =
        db.0.prepare_cached("SELECT parent, name FROM entries WHERE ino = ?1 ORDER BY cookie")?;
    let rows = statement.query_map([node.0 as i64], |row| Ok((ino(row, 0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The directory of one of a node's names and the cookie of that entry; `None` when it has no name.
pub(crate) fn position(db: &Database, node: Ino) -> Result<Option<(Ino, u64)>, Error> {
    Ok(db
        .0
        .prepare_cached("SELECT parent, cookie FROM entries WHERE ino = ?1 LIMIT 1")?
        .query_row([node.0 as i64], |row| Ok((ino(row, 0)?, number(row, 1)?)))
        .optional()?)
}

/// The directory of one of a node's names.
pub(crate) fn parent_of(db: &Database, node: Ino) -> Result<Option<Ino>, Error> {
    Ok(db
        .0
        .prepare_cached("SELECT parent FROM entries WHERE ino = ?1")?
        .query_row([node.0 as i64], |row| ino(row, 0))
        .optional()?)
}
