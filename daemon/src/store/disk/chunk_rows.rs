//! Rows of `chunks`: which chunks of a content are here, and which of them the server has.

use std::ops::{Range, RangeInclusive};

use rusqlite::{Connection, params};

use crate::store::error::Error;
use crate::store::node::Ino;

/// State of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ChunkState {
    /// Not here, or not all of it.
    Absent,
    /// Here, and equal to the content that the server has.
    Clean,
    /// Here and nowhere else.
    Dirty,
}

/// How a chunk that is here stands in its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    /// Here and nowhere else.
    Dirty = 1,
    /// Equal to the content that the server has, and durable.
    Clean = 2,
    /// Clean, but its bytes may not have reached the disk: not to be believed after power loss.
    Fresh = 3,
}

/// Sets the row of a chunk.
pub(crate) fn set_chunk(db: &Connection, ino: Ino, index: u64, row: Row) -> Result<(), Error> {
    db.prepare_cached("INSERT OR REPLACE INTO chunks (ino, idx, state) VALUES (?1, ?2, ?3)")?
        .execute(params![ino.0 as i64, index as i64, row as i64])?;
    Ok(())
}

/// Removes the row of a chunk: it is not here.
pub(crate) fn delete_chunk(db: &Connection, ino: Ino, index: u64) -> Result<(), Error> {
    db.prepare_cached("DELETE FROM chunks WHERE ino = ?1 AND idx = ?2")?
        .execute(params![ino.0 as i64, index as i64])?;
    Ok(())
}

/// Removes the rows of some chunks in a row.
pub(crate) fn delete_chunks(db: &Connection, ino: Ino, chunks: Range<u64>) -> Result<(), Error> {
    db.prepare_cached("DELETE FROM chunks WHERE ino = ?1 AND idx >= ?2 AND idx < ?3")?
        .execute(params![ino.0 as i64, chunks.start as i64, chunks.end as i64])?;
    Ok(())
}

/// Removes the rows of all chunks from `index` on.
pub(crate) fn delete_chunks_from(db: &Connection, ino: Ino, index: u64) -> Result<(), Error> {
    db.prepare_cached("DELETE FROM chunks WHERE ino = ?1 AND idx >= ?2")?
        .execute(params![ino.0 as i64, index as i64])?;
    Ok(())
}

/// The chunks of a node that have a row.
pub(crate) fn chunk_rows(db: &Connection, ino: Ino) -> Result<Vec<(u64, ChunkState)>, Error> {
    let mut statement =
        db.prepare_cached("SELECT idx, state FROM chunks WHERE ino = ?1 ORDER BY idx")?;
    let rows = statement.query_map([ino.0 as i64], |row| {
        let index = row.get::<_, i64>(0)? as u64;
        match row.get::<_, i64>(1)? {
            1 => Ok((index, ChunkState::Dirty)),
            2 | 3 => Ok((index, ChunkState::Clean)),
            other => Err(rusqlite::Error::IntegralValueOutOfRange(1, other)),
        }
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The fresh chunks of a node have reached the disk.
pub(crate) fn believe_fresh(db: &Connection, ino: Ino) -> Result<(), Error> {
    db.prepare_cached("UPDATE chunks SET state = ?2 WHERE ino = ?1 AND state = 3")?
        .execute([ino.0 as i64, Row::Clean as i64])?;
    Ok(())
}

/// Whether one of some chunks is fresh.
pub(crate) fn any_fresh(
    db: &Connection,
    ino: Ino,
    chunks: RangeInclusive<u64>,
) -> Result<bool, Error> {
    let (first, last) = (*chunks.start() as i64, *chunks.end() as i64);
    Ok(db
        .prepare_cached(
            "SELECT 1 FROM chunks WHERE ino = ?1 AND idx BETWEEN ?2 AND ?3 AND state = 3",
        )?
        .exists([ino.0 as i64, first, last])?)
}

/// All fresh chunks have reached the disk.
pub(crate) fn believe_all_fresh(db: &Connection) -> Result<(), Error> {
    db.execute("UPDATE chunks SET state = 2 WHERE state = 3", [])?;
    Ok(())
}

/// The rows of all chunks of one node become another's.
pub(crate) fn move_chunks(db: &Connection, from: Ino, to: Ino) -> Result<(), Error> {
    db.prepare_cached("UPDATE chunks SET ino = ?2 WHERE ino = ?1")?
        .execute([from.0 as i64, to.0 as i64])?;
    Ok(())
}
