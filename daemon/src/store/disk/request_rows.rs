//! Rows of `requests`: for each thread the last request of the kernel that was done by a transaction.

use std::collections::HashSet;

use rusqlite::params;

use super::columns::number;
use super::database::Database;
use crate::store::error::Error;

/// The transaction in progress does what a request asks for.
pub(crate) fn note(db: &Database, (thread, request): (u64, u64)) -> Result<(), Error> {
    db.0.prepare_cached("INSERT OR REPLACE INTO requests (thread, number) VALUES (?1, ?2)")?
        .execute(params![thread as i64, request as i64])?;
    Ok(())
}

/// The requests that were done last.
pub(crate) fn all(db: &Database) -> Result<HashSet<u64>, Error> {
    let mut statement = db.0.prepare("SELECT number FROM requests")?;
    let rows = statement.query_map([], |row| number(row, 0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Forgets all: the numbers begin again with the next session.
pub(crate) fn clear(db: &Database) -> Result<(), Error> {
    db.0.execute("DELETE FROM requests", [])?;
    Ok(())
}
