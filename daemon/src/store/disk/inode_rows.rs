//! One row of `nodes`: all that the store knows of a node but its names and the state of its chunks.
//!
//! Two numbers say how far it is pushed: `change` counts the changes made here, `acknowledged` is
//! the count at the last push that the server took. Content changes are a flag of their own
//! (`content_dirty`), because writing to a file that is dirty already costs no transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use miaofs::content::Digest;
use miaofs::protocol::files::{ContentRef, Kind, NodeState};
use miaofs::protocol::ids::{NodeId, Revision};
use miaofs::protocol::name::Bytes;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::columns::{kind_from, kind_to_number, number};
use crate::store::error::Error;
use crate::store::node::{Attributes, Ino, NewNode};

/// Extended attributes by name.
pub(crate) type Xattrs = BTreeMap<String, Bytes>;

/// Where a node stands in the tree.
///
/// ```text
///   insert ─▶ Present ─ last name and handle gone, the server has it ─▶ Deleted ─ pushed ─▶ no row
///   a child of an unknown directory came ─▶ Awaited ─ its own news ─▶ Present
///   its name was taken by other news ─▶ Detached ─ its own news ─▶ Present, or no row
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// It is in the tree, or open without a name.
    Present = 0,
    /// It is gone here; the server must be told.
    Deleted = 1,
    /// A directory whose children came before it.
    Awaited = 2,
    /// It lost its name to a node of the server; its own news is still to come.
    Detached = 3,
}

/// A row of `nodes`.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) ino: Ino,
    pub(crate) id: NodeId,
    pub(crate) status: Status,
    pub(crate) attributes: Attributes,
    /// 512-byte blocks when last settled.
    pub(crate) blocks: u64,
    pub(crate) target: Option<Arc<[u8]>>,
    pub(crate) xattrs: Option<Arc<Xattrs>>,
    pub(crate) links: u32,
    /// Directories in this one.
    pub(crate) subdirectories: u32,
    pub(crate) change: u64,
    pub(crate) acknowledged: u64,
    /// Version on the server that the local state grew from; 0 for none.
    pub(crate) base_version: u64,
    pub(crate) in_flight: Option<Revision>,
    /// The last content that the server is known to have for it.
    pub(crate) content: Option<ContentRef>,
    /// An older content whose chunks are still in the data file, to be compared when the manifest comes.
    pub(crate) previous: Option<Digest>,
    /// Chunks below this index may still be those of `content`; all others are local and dirty.
    pub(crate) kept: u64,
    pub(crate) content_dirty: bool,
    /// Size and mtime are those of the data file.
    pub(crate) unsettled: bool,
    pub(crate) written_at: i64,
    /// When it was last opened or fetched, in nanoseconds since 1970.
    pub(crate) used_at: i64,
    /// Bytes of clean chunks that are here.
    pub(crate) cached: u64,
}

impl Record {
    /// A node that was made here just now.
    pub(crate) fn new(ino: Ino, id: NodeId, new: NewNode) -> Self {
        let is_file = new.kind == Kind::File;
        Self {
            ino,
            id,
            status: Status::Present,
            attributes: Attributes {
                kind: new.kind,
                mode: new.mode,
                uid: new.uid,
                gid: new.gid,
                rdev: new.rdev,
                size: new.target.as_ref().map_or(0, |target| target.len() as u64),
                atime: new.now,
                mtime: new.now,
                ctime: new.now,
                btime: new.now,
            },
            blocks: 0,
            target: new.target.map(Into::into),
            xattrs: None,
            links: 0,
            subdirectories: 0,
            change: 1,
            acknowledged: 0,
            base_version: 0,
            in_flight: None,
            content: None,
            previous: None,
            kept: 0,
            content_dirty: is_file,
            unsettled: is_file,
            written_at: 0,
            used_at: new.now,
            cached: 0,
        }
    }

    /// Counts one more change that must be pushed.
    pub(crate) fn mark(&mut self) {
        self.change += 1;
    }

    /// Whether the server may have it: a push with an unknown answer counts.
    pub(crate) fn may_be_known(&self) -> bool {
        self.base_version > 0 || self.in_flight.is_some()
    }

    /// Whether it is in the tree without a name: open, but unlinked.
    pub(crate) fn is_orphan(&self) -> bool {
        self.status == Status::Present && self.links == 0 && self.ino != Ino::ROOT
    }

    /// Whether the server must be told of it.
    pub(crate) fn is_dirty(&self) -> bool {
        match self.status {
            Status::Deleted => true,
            Status::Awaited | Status::Detached => false,
            Status::Present if self.is_orphan() => self.may_be_known(),
            Status::Present => self.has_changes(),
        }
    }

    /// Whether it changed here since the server last took it.
    pub(crate) fn has_changes(&self) -> bool {
        self.content_dirty || self.change != self.acknowledged
    }

    /// Takes over what a state of the server says but content and names.
    ///
    /// The root is made by the server without anybody's choice of owner and permissions, so until
    /// somebody changes it (`ctime`) it is the local user's.
    pub(crate) fn take_attributes(&mut self, state: &NodeState) {
        let attributes = &mut self.attributes;
        if self.ino != Ino::ROOT || state.ctime != state.btime {
            attributes.mode = state.mode;
            attributes.uid = state.uid;
            attributes.gid = state.gid;
        }
        attributes.rdev = state.rdev;
        attributes.mtime = state.mtime;
        attributes.ctime = state.ctime;
        attributes.btime = state.btime;
        self.target = state.target.as_ref().map(|target| target.0.as_slice().into());
        if let Some(target) = &self.target {
            attributes.size = target.len() as u64;
        }
        self.xattrs = (!state.xattrs.is_empty()).then(|| Arc::new(state.xattrs.clone()));
    }

    /// Whether it is deleted as far as the server is concerned.
    pub(crate) fn is_gone(&self) -> bool {
        self.status == Status::Deleted || self.is_orphan()
    }
}

const COLUMNS: &str = "ino, id, status, kind, mode, uid, gid, rdev, size, blocks, atime, mtime, \
    ctime, btime, target, xattrs, links, change, acknowledged, base, in_flight, digest, \
    digest_size, previous, kept, content_dirty, unsettled, written_at, used_at, cached, \
    subdirectories";

/// Reads one row.
pub(crate) fn load(db: &Connection, ino: Ino) -> Result<Option<Record>, Error> {
    let mut statement = db.prepare_cached(select_by_ino())?;
    Ok(statement.query_row([ino.0 as i64], from_row).optional()?)
}

/// The statement of [`load`], put together once.
fn select_by_ino() -> &'static str {
    static SELECT: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| format!("SELECT {COLUMNS} FROM nodes WHERE ino = ?1"));
    &SELECT
}

/// Writes a row that is new.
pub(crate) fn insert(db: &Connection, record: &Record) -> Result<(), Error> {
    write(
        db,
        record,
        "INSERT INTO nodes (ino, id, status, kind, mode, uid, gid, rdev, size, blocks, atime, \
         mtime, ctime, btime, target, xattrs, links, change, acknowledged, base, in_flight, \
         digest, digest_size, previous, kept, content_dirty, unsettled, written_at, used_at, \
         cached, dirty, subdirectories) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, \
         ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32)",
    )
}

/// Writes a row that exists.
pub(crate) fn update(db: &Connection, record: &Record) -> Result<(), Error> {
    write(
        db,
        record,
        "UPDATE nodes SET id = ?2, status = ?3, kind = ?4, mode = ?5, uid = ?6, gid = ?7, \
         rdev = ?8, size = ?9, blocks = ?10, atime = ?11, mtime = ?12, ctime = ?13, btime = ?14, \
         target = ?15, xattrs = ?16, links = ?17, change = ?18, acknowledged = ?19, base = ?20, \
         in_flight = ?21, digest = ?22, digest_size = ?23, previous = ?24, kept = ?25, \
         content_dirty = ?26, unsettled = ?27, written_at = ?28, used_at = ?29, cached = ?30, \
         dirty = ?31, subdirectories = ?32 WHERE ino = ?1",
    )
}

fn write(db: &Connection, record: &Record, statement: &str) -> Result<(), Error> {
    let attributes = &record.attributes;
    let xattrs = match &record.xattrs {
        Some(xattrs) => Some(serde_json::to_string(&**xattrs)?),
        None => None,
    };
    db.prepare_cached(statement)?.execute(params![
        record.ino.0 as i64,
        record.id.to_bytes(),
        record.status as i64,
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
        record.in_flight.map(Revision::to_bytes),
        record.content.map(|content| *content.digest.as_bytes()),
        record.content.map_or(0, |content| content.size as i64),
        record.previous.map(|digest| *digest.as_bytes()),
        record.kept as i64,
        record.content_dirty,
        record.unsettled,
        record.written_at,
        record.used_at,
        record.cached as i64,
        record.is_dirty(),
        record.subdirectories,
    ])?;
    Ok(())
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Record> {
    let digest: Option<[u8; 32]> = row.get(21)?;
    let digest_size: i64 = row.get(22)?;
    let xattrs: Option<String> = row.get(15)?;
    Ok(Record {
        ino: Ino(number(row, 0)?),
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
        in_flight: row.get::<_, Option<[u8; 16]>>(20)?.map(Revision::from_bytes),
        content: digest.map(|digest| ContentRef {
            digest: Digest::from_bytes(digest),
            size: digest_size as u64,
        }),
        previous: row.get::<_, Option<[u8; 32]>>(23)?.map(Digest::from_bytes),
        kept: number(row, 24)?,
        content_dirty: row.get(25)?,
        unsettled: row.get(26)?,
        written_at: row.get(27)?,
        used_at: row.get(28)?,
        cached: number(row, 29)?,
        subdirectories: row.get(30)?,
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

fn status_from(row: &Row<'_>, column: usize) -> rusqlite::Result<Status> {
    match row.get::<_, i64>(column)? {
        0 => Ok(Status::Present),
        1 => Ok(Status::Deleted),
        2 => Ok(Status::Awaited),
        3 => Ok(Status::Detached),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(column, other)),
    }
}

fn xattrs_from(text: &str) -> rusqlite::Result<Xattrs> {
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(15, Type::Text, error.into()))
}

/// Bytes of clean content that are here, of all nodes.
pub(crate) fn cached_bytes(db: &Connection) -> Result<u64, Error> {
    let bytes: i64 =
        db.query_row("SELECT coalesce(sum(cached), 0) FROM nodes WHERE cached > 0", [], |row| {
            row.get(0)
        })?;
    Ok(bytes as u64)
}
