//! Rows of `graves` and `moves`: what is to be done with data files once a commit is durable.

use rusqlite::params;

use super::columns::{ino, inos};
use super::database::Database;
use crate::store::error::Error;
use crate::store::node::Ino;

/// Has a data file unlinked later, also if the daemon is killed before.
pub(crate) fn add_pending_unlink(db: &Database, ino: Ino) -> Result<(), Error> {
    db.write("INSERT OR IGNORE INTO graves (ino) VALUES (?1)", params![ino.0 as i64])?;
    Ok(())
}

/// A data file has been unlinked.
pub(crate) fn remove_pending_unlink(db: &Database, ino: Ino) -> Result<(), Error> {
    db.write("DELETE FROM graves WHERE ino = ?1", params![ino.0 as i64])?;
    Ok(())
}

/// Data files that are to be unlinked.
pub(crate) fn pending_unlinks(db: &Database) -> Result<Vec<Ino>, Error> {
    inos(db, "SELECT ino FROM graves", [])
}

/// A data file has been renamed.
pub(crate) fn remove_pending_rename(db: &Database, from: Ino) -> Result<(), Error> {
    db.write("DELETE FROM moves WHERE source = ?1", params![from.0 as i64])?;
    Ok(())
}

/// Data files that an earlier version left to be renamed.
pub(crate) fn pending_renames(db: &Database) -> Result<Vec<(Ino, Ino)>, Error> {
    let mut statement = db.0.prepare("SELECT source, target FROM moves")?;
    let rows = statement.query_map([], |row| Ok((ino(row, 0)?, ino(row, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// True if a data file is to be unlinked.
pub(crate) fn is_pending_unlink(db: &Database, ino: Ino) -> Result<bool, Error> {
    Ok(db.0.prepare_cached("SELECT 1 FROM graves WHERE ino = ?1")?.exists([ino.0 as i64])?)
}
