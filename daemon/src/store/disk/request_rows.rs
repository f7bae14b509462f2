//! Rows of `requests`: for each thread of each daemon of a session the last request of the kernel that was done by a transaction.

use std::collections::HashSet;

use rusqlite::params;

use super::columns::number;
use super::database::Database;
use crate::store::error::Error;

/// Rows that a daemon may have: more than it ever has threads.
const ROWS: i64 = 1 << 16;
/// Daemons whose rows are kept: more than may die one after the other before nobody starts the next one.
const DAEMONS: i64 = 64;

/// The transaction in progress does what a request asks for.
pub(crate) fn note(db: &Database, (thread, request): (u64, u64)) -> Result<(), Error> {
    db.write(
        "INSERT OR REPLACE INTO requests (thread, number) VALUES (?1, ?2)",
        params![thread as i64, request as i64],
    )?;
    Ok(())
}

/// The requests that were done last.
pub(crate) fn all(db: &Database) -> Result<HashSet<u64>, Error> {
    let mut statement = db.0.prepare("SELECT number FROM requests")?;
    let rows = statement.query_map([], |row| number(row, 0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Number of the first row of the daemon that comes after those that have rows.
pub(crate) fn next(db: &Database) -> Result<u64, Error> {
    let first = "SELECT coalesce(max(thread) / ?1 + 1, 0) * ?1 FROM requests";
    Ok(db.0.query_row(first, [ROWS], |row| number(row, 0))?)
}

/// Forgets what daemons have done that ended long before the last one.
pub(crate) fn trim(db: &Database) -> Result<(), Error> {
    let old = "DELETE FROM requests WHERE thread < (SELECT max(thread) FROM requests) - ?1";
    db.write(old, params![ROWS * DAEMONS])?;
    Ok(())
}

/// Forgets all: the numbers begin again with the next session.
pub(crate) fn clear(db: &Database) -> Result<(), Error> {
    db.write("DELETE FROM requests", &[])?;
    Ok(())
}
