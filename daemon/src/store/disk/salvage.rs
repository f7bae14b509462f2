//! Reads what can still be read of a damaged database: row by row, and nothing of it is taken for granted.
//!
//! A row that can be read is as it was written, since a page that is torn or gone gives an error. A file of which
//! nothing can be read may be anything.

use std::collections::HashMap;
use std::path::Path;

use miaofs::protocol::files::Kind;
use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::chunk_rows::ChunkRowState;
use super::columns::{ino, kind_from, kind_to_number};
use super::examine::connect_to_read;
use super::inode_rows::status_to_number;
use super::meta::COMMITTED;
use super::record::NodeStatus;
use crate::store::node::Ino;

/// The longest way up to the root that is followed.
const DEPTH_MAX: usize = 2048;
/// The longest name.
const NAME_MAX: usize = 255;

/// A database that is read as far as it goes.
#[derive(Debug)]
pub(crate) struct Salvage {
    db: Option<Connection>,
    /// Entries by node, read from both ends of the table when an index does not find one.
    scanned: Option<HashMap<Ino, (Ino, Vec<u8>)>>,
}

/// A node with a name and without content that the server never had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnsentNode {
    /// Number of the node.
    pub(crate) ino: Ino,
    /// Type of the node.
    pub(crate) kind: Kind,
    /// Target of a symlink.
    pub(crate) target: Option<Vec<u8>>,
}

impl Salvage {
    /// Opens a database, if it can be opened at all.
    pub(crate) fn open(database: &Path) -> Self {
        let db = connect_to_read(database)
            .inspect_err(|error| tracing::debug!(%error, "nothing of the database can be read"));
        Self { db: db.ok(), scanned: None }
    }

    /// When it was last written down that all before is in the database, in nanoseconds since 1970.
    pub(crate) fn committed_at(&self) -> Option<i64> {
        self.one("SELECT value FROM meta WHERE key = ?1", [COMMITTED], |row| row.get(0))
    }

    /// True if all that a file has here is on the server, too, beyond doubt.
    pub(crate) fn is_on_server(&self, file: Ino) -> bool {
        let present = status_to_number(NodeStatus::Present);
        let kind = kind_to_number(Kind::File);
        let dirty = ChunkRowState::Dirty as i64;
        let number = file.0 as i64;
        let node = "SELECT status = ?2 AND kind = ?3 AND dirty = 0 AND content_dirty = 0 AND unsettled = 0 \
                    AND base > 0 AND digest IS NOT NULL FROM nodes WHERE ino = ?1";
        let chunks = "SELECT count(*) = 0 FROM chunks WHERE ino = ?1 AND state = ?2";
        self.one(node, (number, present, kind), |row| row.get(0)) == Some(true)
            && self.one(chunks, (number, dirty), |row| row.get(0)) == Some(true)
    }

    /// True if the row of a file says that some of its chunks are not here: they are zeros in its data file.
    pub(crate) fn is_incomplete(&self, file: Ino) -> bool {
        let query = "SELECT kept > (SELECT count(*) FROM chunks WHERE chunks.ino = nodes.ino) \
                     FROM nodes WHERE ino = ?1";
        self.one(query, [file.0 as i64], |row| row.get(0)) == Some(true)
    }

    /// Names of the way from the root to a node, as far as it is known: the first may be in a directory of which only
    /// the number is known, and which is answered with it.
    pub(crate) fn path(&mut self, node: Ino) -> Option<(Option<Ino>, Vec<Vec<u8>>)> {
        let mut names = Vec::new();
        let mut at = node;
        while at != Ino::ROOT {
            match self.entry(at) {
                Some((parent, name)) if is_name(&name) && names.len() < DEPTH_MAX => {
                    names.push(name);
                    at = parent;
                }
                _ if names.is_empty() => return None,
                _ => break,
            }
        }
        names.reverse();
        Some(((at != Ino::ROOT).then_some(at), names))
    }

    /// The nodes without content that the server never had and whose rows can be read.
    pub(crate) fn unsent(&self) -> Vec<UnsentNode> {
        let query = "SELECT ino, kind, target FROM nodes \
                     WHERE dirty = 1 AND links > 0 AND base = 0 AND (size = 0 OR target IS NOT NULL)";
        self.each(query, |row| {
            Ok(UnsentNode { ino: ino(row, 0)?, kind: kind_from(row, 1)?, target: row.get(2)? })
        })
    }

    fn entry(&mut self, node: Ino) -> Option<(Ino, Vec<u8>)> {
        let query = "SELECT parent, name FROM entries WHERE ino = ?1 ORDER BY cookie LIMIT 1";
        let found = self.one(query, [node.0 as i64], |row| Ok((ino(row, 0)?, row.get(1)?)));
        found.or_else(|| {
            if self.scanned.is_none() {
                self.scanned = Some(self.scan());
            }
            self.scanned.as_ref().and_then(|entries| entries.get(&node).cloned())
        })
    }

    /// Reads the entries from the first on and from the last on, each way until a page cannot be read.
    fn scan(&self) -> HashMap<Ino, (Ino, Vec<u8>)> {
        let from = |order| {
            let query = format!(
                "SELECT ino, parent, name FROM entries NOT INDEXED ORDER BY parent {order}, cookie {order}"
            );
            self.each(&query, |row| Ok((ino(row, 0)?, (ino(row, 1)?, row.get(2)?))))
        };
        from("DESC").into_iter().chain(from("ASC")).collect()
    }

    /// The one row of a query, if it can be read.
    fn one<T>(
        &self,
        query: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Option<T> {
        let mut statement = self.db.as_ref()?.prepare_cached(query).ok()?;
        statement.query_row(params, read).optional().ok().flatten()
    }

    /// The rows of a query up to the first that cannot be read.
    fn each<T>(
        &self,
        query: &str,
        mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Vec<T> {
        let Some(mut statement) = self.db.as_ref().and_then(|db| db.prepare(query).ok()) else {
            return Vec::new();
        };
        let Ok(rows) = statement.query_map([], &mut read) else { return Vec::new() };
        rows.map_while(Result::ok).collect()
    }
}

/// True if these bytes may be the name of a file.
fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= NAME_MAX
        && !name.contains(&b'/')
        && !name.contains(&0)
}
