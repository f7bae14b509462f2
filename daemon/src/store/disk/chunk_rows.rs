//! Rows of `chunks`: which chunks of a content are here, and which of them the server has.

use std::ops::{Range, RangeInclusive};

use rusqlite::{OptionalExtension, params};

use super::columns::inos;
use super::database::{Database, statement};
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

/// State of a chunk that is here, as its row has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChunkRowState {
    /// Here and nowhere else.
    Dirty = 1,
    /// Equal to the content that the server has, and durable.
    Clean = 2,
    /// Clean, but its bytes may not have reached the disk: not to be believed after power loss.
    Unsynced = 3,
}

const DIRTY: i64 = ChunkRowState::Dirty as i64;
const CLEAN: i64 = ChunkRowState::Clean as i64;
const UNSYNCED: i64 = ChunkRowState::Unsynced as i64;

/// Sets the row of a chunk.
pub(crate) fn set_chunk(
    db: &Database,
    ino: Ino,
    index: u64,
    state: ChunkRowState,
) -> Result<(), Error> {
    db.write(
        "INSERT OR REPLACE INTO chunks (ino, idx, state) VALUES (?1, ?2, ?3)",
        params![ino.0 as i64, index as i64, state as i64],
    )?;
    Ok(())
}

/// Removes the row of a chunk: it is not here.
pub(crate) fn delete_chunk(db: &Database, ino: Ino, index: u64) -> Result<(), Error> {
    db.write(
        "DELETE FROM chunks WHERE ino = ?1 AND idx = ?2",
        params![ino.0 as i64, index as i64],
    )?;
    Ok(())
}

/// Removes the rows of some chunks in a row.
pub(crate) fn delete_chunks(db: &Database, ino: Ino, chunks: Range<u64>) -> Result<(), Error> {
    db.write(
        "DELETE FROM chunks WHERE ino = ?1 AND idx >= ?2 AND idx < ?3",
        params![ino.0 as i64, chunks.start as i64, chunks.end as i64],
    )?;
    Ok(())
}

/// Removes the rows of all chunks from `index` on.
pub(crate) fn delete_chunks_from(db: &Database, ino: Ino, index: u64) -> Result<(), Error> {
    db.write(
        "DELETE FROM chunks WHERE ino = ?1 AND idx >= ?2",
        params![ino.0 as i64, index as i64],
    )?;
    Ok(())
}

/// The chunks of a node that have a row.
pub(crate) fn chunk_rows(db: &Database, ino: Ino) -> Result<Vec<(u64, ChunkState)>, Error> {
    let mut statement =
        db.0.prepare_cached("SELECT idx, state FROM chunks WHERE ino = ?1 ORDER BY idx")?;
    let rows = statement.query_map([ino.0 as i64], |row| {
        let index = row.get::<_, i64>(0)? as u64;
        match row.get::<_, i64>(1)? {
            DIRTY => Ok((index, ChunkState::Dirty)),
            CLEAN | UNSYNCED => Ok((index, ChunkState::Clean)),
            other => Err(rusqlite::Error::IntegralValueOutOfRange(1, other)),
        }
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Marks the unsynced chunks of a node as clean: they have reached the disk.
pub(crate) fn mark_synced(db: &Database, ino: Ino) -> Result<(), Error> {
    db.write(
        statement!("UPDATE chunks SET state = {CLEAN} WHERE ino = ?1 AND state = {UNSYNCED}"),
        params![ino.0 as i64],
    )?;
    Ok(())
}

/// True if one of some chunks is unsynced.
pub(crate) fn any_unsynced(
    db: &Database,
    ino: Ino,
    chunks: RangeInclusive<u64>,
) -> Result<bool, Error> {
    let (first, last) = (*chunks.start() as i64, *chunks.end() as i64);
    Ok(db
        .0
        .prepare_cached(statement!(
            "SELECT 1 FROM chunks WHERE ino = ?1 AND idx BETWEEN ?2 AND ?3 AND state = {UNSYNCED}"
        ))?
        .exists([ino.0 as i64, first, last])?)
}

/// Marks all unsynced chunks as clean: they have reached the disk.
pub(crate) fn mark_all_synced(db: &Database) -> Result<(), Error> {
    db.write(statement!("UPDATE chunks SET state = {CLEAN} WHERE state = {UNSYNCED}"), &[])?;
    Ok(())
}

/// Nodes with chunks that are clean and known to be on the disk.
pub(crate) fn nodes_with_clean(db: &Database) -> Result<Vec<Ino>, Error> {
    inos(db, statement!("SELECT DISTINCT ino FROM chunks WHERE state = {CLEAN}"), [])
}

/// The first clean chunk of the node from an index on, or of the nodes behind it.
pub(crate) fn next_clean(db: &Database, ino: Ino, index: u64) -> Result<Option<(Ino, u64)>, Error> {
    Ok(db
        .0
        .prepare_cached(statement!(
            "SELECT ino, idx FROM chunks WHERE (ino, idx) >= (?1, ?2) AND state IN ({CLEAN}, {UNSYNCED}) \
             ORDER BY ino, idx LIMIT 1"
        ))?
        .query_row([ino.0 as i64, index as i64], |row| {
            Ok((Ino(row.get::<_, i64>(0)? as u64), row.get::<_, i64>(1)? as u64))
        })
        .optional()?)
}

/// Nodes with unsynced chunks.
pub(crate) fn nodes_with_unsynced(db: &Database) -> Result<Vec<Ino>, Error> {
    inos(db, statement!("SELECT DISTINCT ino FROM chunks WHERE state = {UNSYNCED}"), [])
}

/// Removes the rows of a node's clean chunks that count as synced: they are not here.
pub(crate) fn delete_clean(db: &Database, ino: Ino) -> Result<(), Error> {
    db.write(
        statement!("DELETE FROM chunks WHERE ino = ?1 AND state = {CLEAN}"),
        params![ino.0 as i64],
    )?;
    Ok(())
}

/// Removes the rows of all unsynced chunks: they are not here.
pub(crate) fn delete_unsynced(db: &Database) -> Result<(), Error> {
    db.write(statement!("DELETE FROM chunks WHERE state = {UNSYNCED}"), &[])?;
    Ok(())
}
