//! Values as the columns of several tables hold them.

use miaofs::protocol::files::Kind;
use rusqlite::{Params, Row};

use super::database::Database;
use crate::store::error::Error;
use crate::store::node::Ino;

/// A 64-bit number that SQLite keeps as signed.
pub(super) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)? as u64)
}

/// The number that stands for a kind in the tables.
pub(super) const fn kind_to_number(kind: Kind) -> i64 {
    match kind {
        Kind::File => 0,
        Kind::Directory => 1,
        Kind::Symlink => 2,
        Kind::Fifo => 3,
        Kind::Socket => 4,
        Kind::CharDevice => 5,
        Kind::BlockDevice => 6,
    }
}

/// Reads what [`kind_to_number`] gave.
pub(super) fn kind_from(row: &Row<'_>, column: usize) -> rusqlite::Result<Kind> {
    match row.get::<_, i64>(column)? {
        0 => Ok(Kind::File),
        1 => Ok(Kind::Directory),
        2 => Ok(Kind::Symlink),
        3 => Ok(Kind::Fifo),
        4 => Ok(Kind::Socket),
        5 => Ok(Kind::CharDevice),
        6 => Ok(Kind::BlockDevice),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(column, other)),
    }
}

/// The number of a node.
pub(super) fn ino(row: &Row<'_>, column: usize) -> rusqlite::Result<Ino> {
    number(row, column).map(Ino)
}

/// Runs a query whose rows are numbers of nodes.
pub(super) fn inos(db: &Database, query: &str, params: impl Params) -> Result<Vec<Ino>, Error> {
    let mut statement = db.0.prepare_cached(query)?;
    let rows = statement.query_map(params, |row| ino(row, 0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
