//! Rows of `graves` and `moves`: what is to be done with data files once a commit is durable.

use rusqlite::{Connection, params};

use super::columns;
use crate::store::error::Error;
use crate::store::node::Ino;

/// Has a data file unlinked later, also if the daemon is killed before.
pub(crate) fn add_grave(db: &Connection, ino: Ino) -> Result<(), Error> {
    db.prepare_cached("INSERT OR IGNORE INTO graves (ino) VALUES (?1)")?.execute([ino.0 as i64])?;
    Ok(())
}

/// A data file has been unlinked.
pub(crate) fn remove_grave(db: &Connection, ino: Ino) -> Result<(), Error> {
    db.prepare_cached("DELETE FROM graves WHERE ino = ?1")?.execute([ino.0 as i64])?;
    Ok(())
}

/// Data files that are to be unlinked.
pub(crate) fn graves(db: &Connection) -> Result<Vec<Ino>, Error> {
    let mut statement = db.prepare("SELECT ino FROM graves")?;
    let rows = statement.query_map([], |row| row.get::<_, i64>(0))?;
    Ok(rows.map(|ino| ino.map(|ino| Ino(ino as u64))).collect::<Result<_, _>>()?)
}

/// Has a data file renamed, also if the daemon is killed before.
pub(crate) fn add_move(db: &Connection, from: Ino, to: Ino) -> Result<(), Error> {
    db.prepare_cached("INSERT INTO moves (source, target) VALUES (?1, ?2)")?
        .execute([from.0 as i64, to.0 as i64])?;
    Ok(())
}

/// A data file has been renamed.
pub(crate) fn remove_move(db: &Connection, from: Ino) -> Result<(), Error> {
    db.prepare_cached("DELETE FROM moves WHERE source = ?1")?.execute([from.0 as i64])?;
    Ok(())
}

/// Data files that are to be renamed.
pub(crate) fn moves(db: &Connection) -> Result<Vec<(Ino, Ino)>, Error> {
    let mut statement = db.prepare("SELECT source, target FROM moves")?;
    let rows = statement
        .query_map([], |row| Ok((Ino(columns::number(row, 0)?), Ino(columns::number(row, 1)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
