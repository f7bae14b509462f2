//! Rows of `entries`: names, in the order in which their directory is read.

use rusqlite::{Connection, OptionalExtension, params};

use super::columns;
use crate::store::error::Error;
use crate::store::node::Ino;

/// All names of a node, each with its directory.
pub(crate) fn entries_of(db: &Connection, ino: Ino) -> Result<Vec<(Ino, Vec<u8>)>, Error> {
    let mut statement =
        db.prepare_cached("SELECT parent, name FROM entries WHERE ino = ?1 ORDER BY cookie")?;
    let rows = statement
        .query_map([ino.0 as i64], |row| Ok((Ino(columns::number(row, 0)?), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
