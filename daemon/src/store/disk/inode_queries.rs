//! Searches among the rows of `nodes`: those that are dirty, that may be evicted, that recovery looks at.

use miaofs::content::Digest;
use miaofs::protocol::files::Kind;
use rusqlite::params;

use super::columns::{ino, inos, kind_to_number, number};
use super::database::{Database, statement};
use super::inode_rows::status_to_number;
use super::record::NodeStatus;
use crate::store::error::Error;
use crate::store::node::Ino;

const FILE: i64 = kind_to_number(Kind::File);
const DIRECTORY: i64 = kind_to_number(Kind::Directory);
const PRESENT: i64 = status_to_number(NodeStatus::Present);
const AWAITED: i64 = status_to_number(NodeStatus::Awaited);
const DETACHED: i64 = status_to_number(NodeStatus::Detached);

/// Files of a directory to be fetched ahead, and how many of them at the most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UncachedQuery {
    /// The directory.
    pub(crate) parent: Ino,
    /// Only entries with a cookie above this one.
    pub(crate) after: u64,
    /// Entries that are looked at.
    pub(crate) entries: usize,
    /// Bytes of each file at the most.
    pub(crate) largest: u64,
    /// Files at the most.
    pub(crate) files: usize,
}

/// Up to `limit` nodes by rising number, beginning after `after`.
pub(crate) fn after(db: &Database, after: Ino, limit: usize) -> Result<Vec<Ino>, Error> {
    let statement = "SELECT ino FROM nodes WHERE ino > ?1 ORDER BY ino LIMIT ?2";
    inos(db, statement, params![after.0 as i64, limit as i64])
}

/// Dirty nodes by rising number.
pub(crate) fn dirty(db: &Database) -> Result<Vec<Ino>, Error> {
    inos(db, "SELECT ino FROM nodes WHERE dirty = 1", [])
}

/// Up to `limit` dirty nodes by rising number, beginning after `after`.
pub(crate) fn dirty_after(db: &Database, after: Ino, limit: usize) -> Result<Vec<Ino>, Error> {
    let statement = "SELECT ino FROM nodes WHERE dirty = 1 AND ino > ?1 ORDER BY ino LIMIT ?2";
    inos(db, statement, params![after.0 as i64, limit as i64])
}

/// Dirty nodes of one stretch of numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DirtyCount {
    /// Number of them.
    pub(crate) nodes: u64,
    /// Bytes of their contents, as of their rows, that the server does not have.
    pub(crate) bytes: u64,
    /// The last of them; none when there are none.
    pub(crate) last: Option<Ino>,
}

/// Counts up to `limit` dirty nodes by rising number, beginning after `after`.
pub(crate) fn count_dirty(db: &Database, after: Ino, limit: usize) -> Result<DirtyCount, Error> {
    let mut statement = db.0.prepare_cached(
        "SELECT count(*), coalesce(sum(bytes), 0), coalesce(max(ino), 0) FROM (SELECT ino, \
         CASE WHEN content_dirty = 1 AND links > 0 THEN size ELSE 0 END AS bytes FROM nodes \
         WHERE dirty = 1 AND ino > ?1 ORDER BY ino LIMIT ?2)",
    )?;
    Ok(statement.query_row(params![after.0 as i64, limit as i64], |row| {
        let last = Some(ino(row, 2)?).filter(|last| *last != Ino(0));
        Ok(DirtyCount { nodes: number(row, 0)?, bytes: number(row, 1)?, last })
    })?)
}

/// Number of deletions that the server is to be told of.
pub(crate) fn count_deletions(db: &Database) -> Result<u64, Error> {
    let mut statement = db
        .0
        .prepare_cached("SELECT count(*) FROM nodes WHERE dirty = 1 AND links = 0 AND ino <> ?1")?;
    Ok(statement.query_row([Ino::ROOT.0 as i64], |row| number(row, 0))?)
}

/// Nodes of a content whose older content's chunks wait to be compared with it.
pub(crate) fn with_previous(db: &Database, content: Digest) -> Result<Vec<Ino>, Error> {
    let statement = "SELECT ino FROM nodes WHERE digest = ?1 AND previous IS NOT NULL";
    inos(db, statement, [content.as_bytes()])
}

/// Bytes of clean content that are here, of all nodes.
pub(crate) fn cached_bytes(db: &Database) -> Result<u64, Error> {
    let bytes: i64 =
        db.0.query_row("SELECT coalesce(sum(cached), 0) FROM nodes WHERE cached > 0", [], |row| {
            row.get(0)
        })?;
    Ok(bytes as u64)
}

/// Up to `limit` clean nodes with bytes to give up and when each was used, unused longest first, after `after`.
pub(crate) fn evictable(
    db: &Database,
    after: (i64, Ino),
    limit: usize,
) -> Result<Vec<(i64, Ino)>, Error> {
    let mut statement = db.0.prepare_cached(
        "SELECT used_at, ino FROM nodes WHERE cached > 0 AND dirty = 0 \
         AND (used_at, ino) > (?1, ?2) ORDER BY used_at, ino LIMIT ?3",
    )?;
    let rows = statement.query_map((after.0, after.1.0 as i64, limit as i64), |row| {
        Ok((row.get(0)?, ino(row, 1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Clean files of which nothing is here and the sizes of their contents, in the order of the directory.
pub(crate) fn uncached_files(
    db: &Database,
    query: UncachedQuery,
) -> Result<Vec<(Ino, u64)>, Error> {
    let mut statement = db.0.prepare_cached(
        "SELECT nodes.ino, nodes.digest_size FROM \
         (SELECT cookie, ino FROM entries WHERE parent = ?1 AND cookie > ?2 \
         ORDER BY cookie LIMIT ?3) AS listed \
         JOIN nodes ON nodes.ino = listed.ino \
         WHERE nodes.digest IS NOT NULL AND nodes.cached = 0 AND nodes.dirty = 0 \
         AND nodes.digest_size BETWEEN 1 AND ?4 ORDER BY listed.cookie LIMIT ?5",
    )?;
    let limits = params![
        query.parent.0 as i64,
        query.after as i64,
        query.entries as i64,
        query.largest as i64,
        query.files as i64
    ];
    let rows = statement.query_map(limits, |row| Ok((ino(row, 0)?, number(row, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Nodes that are in the tree without a name.
pub(crate) fn orphans(db: &Database) -> Result<Vec<Ino>, Error> {
    let statement =
        statement!("SELECT ino FROM nodes WHERE status = {PRESENT} AND links = 0 AND ino <> ?1");
    inos(db, statement, [Ino::ROOT.0 as i64])
}

/// Files whose content is dirty.
pub(crate) fn with_dirty_content(db: &Database) -> Result<Vec<Ino>, Error> {
    let statement = statement!(
        "SELECT ino FROM nodes WHERE content_dirty = 1 AND kind = {FILE} \
         AND status IN ({PRESENT}, {DETACHED})"
    );
    inos(db, statement, [])
}

/// Files that programs could write to unseen, by rising number.
pub(crate) fn lent(db: &Database) -> Result<Vec<Ino>, Error> {
    inos(db, "SELECT ino FROM nodes WHERE lent IS NOT NULL ORDER BY ino", [])
}

/// True if a data file of this number belongs to a node.
pub(crate) fn is_file(db: &Database, ino: Ino) -> Result<bool, Error> {
    let statement = statement!(
        "SELECT 1 FROM nodes WHERE ino = ?1 AND kind = {FILE} AND status IN ({PRESENT}, {DETACHED})"
    );
    Ok(db.0.prepare_cached(statement)?.exists([ino.0 as i64])?)
}

/// Deletes directories that wait for a state of the server, with neither children nor such a state.
pub(crate) fn delete_empty_placeholders(db: &Database) -> Result<(), Error> {
    db.write(
        statement!(
            "DELETE FROM nodes WHERE status IN ({AWAITED}, {DETACHED}) AND kind = {DIRECTORY} \
             AND ino NOT IN (SELECT parent FROM entries) AND ino NOT IN (SELECT ino FROM bases)"
        ),
        &[],
    )?;
    Ok(())
}
