//! Values as the columns of several tables hold them.

use miaofs::protocol::files::Kind;
use rusqlite::Row;

/// A 64-bit number that SQLite keeps as signed.
pub(crate) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)? as u64)
}

/// The number that stands for a kind in the tables.
pub(crate) fn kind_to_number(kind: Kind) -> i64 {
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
pub(crate) fn kind_from(row: &Row<'_>, column: usize) -> rusqlite::Result<Kind> {
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
