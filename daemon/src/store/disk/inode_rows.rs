//! Rows of `nodes`: reading, writing and deleting one record.

use std::sync::Arc;

use miaofs::content::Digest;
use miaofs::protocol::files::ContentRef;
use miaofs::protocol::ids::{NodeId, Revision};
use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, params};

use super::columns::{ino, kind_from, kind_to_number, number};
use super::database::{Database, statement};
use super::record::{NodeStatus, Record, Xattrs};
use crate::store::error::Error;
use crate::store::node::{Attributes, Ino};

const COLUMNS: &str = "ino, id, status, kind, mode, uid, gid, rdev, size, blocks, atime, mtime, \
    ctime, btime, target, xattrs, links, change, acknowledged, base, in_flight, digest, \
    digest_size, previous, kept, content_dirty, unsettled, written_at, used_at, cached, \
    subdirectories, lent";

/// Reads one row.
pub(crate) fn load(db: &Database, ino: Ino) -> Result<Option<Record>, Error> {
    let mut statement =
        db.0.prepare_cached(statement!("SELECT {COLUMNS} FROM nodes WHERE ino = ?1"))?;
    Ok(statement.query_row([ino.0 as i64], from_row).optional()?)
}

/// The node of an id, whatever its status.
pub(crate) fn by_id(db: &Database, id: NodeId) -> Result<Option<Ino>, Error> {
    Ok(db
        .0
        .prepare_cached("SELECT ino FROM nodes WHERE id = ?1")?
        .query_row([id.to_bytes()], |row| ino(row, 0))
        .optional()?)
}

/// Writes a row that is new; its values are those of [`UPDATE`].
pub(super) const INSERT: &str = "INSERT INTO nodes (ino, id, status, kind, mode, uid, gid, rdev, size, blocks, atime, \
    mtime, ctime, btime, target, xattrs, links, change, acknowledged, base, in_flight, \
    digest, digest_size, previous, kept, content_dirty, unsettled, written_at, used_at, \
    cached, dirty, subdirectories, lent) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, \
    ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33)";

/// Writes all of a row that exists.
pub(super) const UPDATE: &str = "UPDATE nodes SET id = ?2, status = ?3, kind = ?4, mode = ?5, uid = ?6, gid = ?7, \
    rdev = ?8, size = ?9, blocks = ?10, atime = ?11, mtime = ?12, ctime = ?13, btime = ?14, \
    target = ?15, xattrs = ?16, links = ?17, change = ?18, acknowledged = ?19, base = ?20, \
    in_flight = ?21, digest = ?22, digest_size = ?23, previous = ?24, kept = ?25, \
    content_dirty = ?26, unsettled = ?27, written_at = ?28, used_at = ?29, cached = ?30, \
    dirty = ?31, subdirectories = ?32, lent = ?33 WHERE ino = ?1";

/// Writes a row that is new.
pub(crate) fn insert(db: &Database, record: &Record) -> Result<(), Error> {
    write(db, record, INSERT)
}

/// Writes a row that exists.
pub(crate) fn update(db: &Database, record: &Record) -> Result<(), Error> {
    write(db, record, UPDATE)
}

/// Deletes a row.
pub(crate) fn delete(db: &Database, ino: Ino) -> Result<(), Error> {
    db.write("DELETE FROM nodes WHERE ino = ?1", params![ino.0 as i64])?;
    Ok(())
}

/// Sets how many bytes of clean content a node has here.
pub(crate) fn set_cached(db: &Database, ino: Ino, bytes: u64) -> Result<(), Error> {
    db.write("UPDATE nodes SET cached = ?2 WHERE ino = ?1", params![ino.0 as i64, bytes as i64])?;
    Ok(())
}

fn write(db: &Database, record: &Record, statement: &'static str) -> Result<(), Error> {
    let attributes = &record.attributes;
    let xattrs = match &record.xattrs {
        Some(xattrs) => Some(serde_json::to_string(&**xattrs)?),
        None => None,
    };
    db.write(
        statement,
        params![
            record.ino.0 as i64,
            record.id.to_bytes(),
            status_to_number(record.status),
            kind_to_number(attributes.kind),
            attributes.mode,
            attributes.uid,
            attributes.gid,
            attributes.rdev as i64,
            attributes.size as i64,
            record.blocks as i64,
            attributes.atime,
            attributes.mtime,
            attributes.ctime,
            attributes.btime,
            record.target.as_deref(),
            xattrs,
            record.links,
            record.change as i64,
            record.acknowledged as i64,
            record.base_version as i64,
            in_flight_to_bytes(&record.in_flight),
            record.content.map(|content| *content.digest.as_bytes()),
            record.content.map_or(0, |content| content.size as i64),
            record.previous.map(|digest| *digest.as_bytes()),
            record.base_chunks as i64,
            record.content_dirty,
            record.attributes_dirty,
            record.written_at,
            record.used_at,
            record.cached as i64,
            record.is_dirty(),
            record.subdirectories,
            record.lent,
        ],
    )?;
    Ok(())
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Record> {
    let digest: Option<[u8; 32]> = row.get(21)?;
    let digest_size: i64 = row.get(22)?;
    let xattrs: Option<String> = row.get(15)?;
    Ok(Record {
        ino: ino(row, 0)?,
        id: NodeId::from_bytes(row.get(1)?),
        status: status_from(row, 2)?,
        attributes: attributes_from(row)?,
        blocks: number(row, 9)?,
        target: row.get::<_, Option<Vec<u8>>>(14)?.map(Into::into),
        xattrs: xattrs.map(|text| xattrs_from(&text)).transpose()?.map(Arc::new),
        links: row.get(16)?,
        change: number(row, 17)?,
        acknowledged: number(row, 18)?,
        base_version: number(row, 19)?,
        in_flight: in_flight_from(row.get_ref(20)?.as_bytes_or_null()?.unwrap_or_default()),
        content: digest.map(|digest| ContentRef {
            digest: Digest::from_bytes(digest),
            size: digest_size as u64,
        }),
        previous: row.get::<_, Option<[u8; 32]>>(23)?.map(Digest::from_bytes),
        base_chunks: number(row, 24)?,
        content_dirty: row.get(25)?,
        attributes_dirty: row.get(26)?,
        written_at: row.get(27)?,
        used_at: row.get(28)?,
        cached: number(row, 29)?,
        subdirectories: row.get(30)?,
        lent: row.get(31)?,
    })
}

fn attributes_from(row: &Row<'_>) -> rusqlite::Result<Attributes> {
    Ok(Attributes {
        kind: kind_from(row, 3)?,
        mode: row.get(4)?,
        uid: row.get(5)?,
        gid: row.get(6)?,
        rdev: number(row, 7)?,
        size: number(row, 8)?,
        atime: row.get(10)?,
        mtime: row.get(11)?,
        ctime: row.get(12)?,
        btime: row.get(13)?,
    })
}

/// The number that stands for a status in the table.
pub(super) const fn status_to_number(status: NodeStatus) -> i64 {
    match status {
        NodeStatus::Present => 0,
        NodeStatus::Deleted => 1,
        NodeStatus::Awaited => 2,
        NodeStatus::Detached => 3,
    }
}

fn status_from(row: &Row<'_>, column: usize) -> rusqlite::Result<NodeStatus> {
    match row.get::<_, i64>(column)? {
        0 => Ok(NodeStatus::Present),
        1 => Ok(NodeStatus::Deleted),
        2 => Ok(NodeStatus::Awaited),
        3 => Ok(NodeStatus::Detached),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(column, other)),
    }
}

/// Revisions stand in a row one after the other.
fn in_flight_to_bytes(revisions: &[Revision]) -> Option<Vec<u8>> {
    let bytes = || revisions.iter().flat_map(|revision| revision.to_bytes()).collect();
    (!revisions.is_empty()).then(bytes)
}

fn in_flight_from(bytes: &[u8]) -> Vec<Revision> {
    let (revisions, _) = bytes.as_chunks();
    revisions.iter().copied().map(Revision::from_bytes).collect()
}

fn xattrs_from(text: &str) -> rusqlite::Result<Xattrs> {
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(15, Type::Text, error.into()))
}
