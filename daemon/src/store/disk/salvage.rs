//! Reads what can still be read of a damaged database: row by row, and nothing of it is taken for granted.
//!
//! A row that can be read is as it was written, since a page that is torn or gone gives an error. A file of which
//! nothing can be read may be anything. What the database had not committed is done again in a database of its own, as far as
//! the redo log tells of whole rows: these are the newer ones.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use miaofs::protocol::files::Kind;
use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::chunk_rows::ChunkRowState;
use super::columns::{ino, kind_from, kind_to_number};
use super::examine::connect_to_read;
use super::inode_rows::{self, status_to_number};
use super::meta::COMMITTED;
use super::record::NodeStatus;
use super::redo::{self, Statement};
use super::schema;
use crate::store::node::Ino;

/// The longest way up to the root that is followed.
const DEPTH_MAX: usize = 2048;
/// The longest name.
const NAME_MAX: usize = 255;

/// A database that is read as far as it goes.
#[derive(Debug)]
pub(crate) struct Salvage {
    /// Rows of the redo log.
    newer: Option<Connection>,
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
        let mut salvage = Self { newer: None, db: db.ok(), scanned: None };
        let committed = salvage.db.as_ref().and_then(|db| redo::committed(db).ok().flatten());
        let logged = database.parent().map(|dir| redo::statements_after(dir, committed));
        salvage.newer = redone(&logged.unwrap_or_default())
            .inspect_err(|error| tracing::debug!(%error, "nothing of the redo log can be read"))
            .ok();
        salvage
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
        let has_none = |db: &Connection| one(db, chunks, (number, dirty), |row| row.get(0));
        self.one(node, (number, present, kind), |row| row.get(0)) == Some(true)
            && self.db.is_some()
            && self.sources().all(|db| has_none(db) == Some(true))
    }

    /// True if the row of a file says that some of its chunks are not here: they are zeros in its data file.
    pub(crate) fn is_incomplete(&self, file: Ino) -> bool {
        let kept: Option<i64> =
            self.one("SELECT kept FROM nodes WHERE ino = ?1", [file.0 as i64], |row| row.get(0));
        let here = "SELECT idx FROM chunks WHERE ino = ?1";
        let here: HashSet<i64> = self
            .sources()
            .flat_map(|db| each(db, here, [file.0 as i64], |row| row.get(0)))
            .collect();
        kept.is_some_and(|kept| kept > here.len() as i64)
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
        let of = |db: &Connection| {
            each(db, query, [], |row| {
                Ok(UnsentNode { ino: ino(row, 0)?, kind: kind_from(row, 1)?, target: row.get(2)? })
            })
        };
        let mut found: Vec<UnsentNode> = self.newer.iter().flat_map(of).collect();
        let older = self.db.iter().flat_map(of).filter(|node| !self.is_newer(node.ino));
        found.extend(older);
        found
    }

    /// True if the redo log tells of a node.
    fn is_newer(&self, node: Ino) -> bool {
        let query = "SELECT 1 FROM nodes WHERE ino = ?1";
        self.newer.as_ref().is_some_and(|db| one(db, query, [node.0 as i64], |_| Ok(())).is_some())
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
            let read = |row: &Row<'_>| Ok((ino(row, 0)?, (ino(row, 1)?, row.get(2)?)));
            self.db.iter().flat_map(|db| each(db, &query, [], read)).collect::<Vec<_>>()
        };
        from("DESC").into_iter().chain(from("ASC")).collect()
    }

    /// Where rows are looked for, the newest first.
    fn sources(&self) -> impl Iterator<Item = &Connection> {
        self.newer.iter().chain(&self.db)
    }

    /// The one row of a query, if it can be read.
    fn one<T>(
        &self,
        query: &str,
        params: impl Params + Clone,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Option<T> {
        self.sources().find_map(|db| one(db, query, params.clone(), &read))
    }
}

/// The whole rows that a redo log tells of, in a database of their own.
fn redone(logged: &[Statement]) -> rusqlite::Result<Connection> {
    let db = Connection::open_in_memory()?;
    db.execute_batch(schema::TABLES)?;
    for (text, values) in logged {
        // A row that exists may be in the other database only.
        let text = match text == inode_rows::UPDATE {
            true => &inode_rows::INSERT.replacen("INSERT", "INSERT OR REPLACE", 1),
            false => text,
        };
        if let Err(error) = redo::do_again(&db, text, values) {
            tracing::debug!(%error, "a statement of the redo log does not stand alone");
        }
    }
    Ok(db)
}

fn one<T>(
    db: &Connection,
    query: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Option<T> {
    db.prepare_cached(query).ok()?.query_row(params, read).optional().ok().flatten()
}

/// The rows of a query up to the first that cannot be read.
fn each<T>(
    db: &Connection,
    query: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Vec<T> {
    let Ok(mut statement) = db.prepare(query) else { return Vec::new() };
    let Ok(rows) = statement.query_map(params, &mut read) else { return Vec::new() };
    rows.map_while(Result::ok).collect()
}

/// True if these bytes may be the name of a file.
fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= NAME_MAX
        && !name.contains(&b'/')
        && !name.contains(&0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use miaofs::protocol::ids::NodeId;

    use super::super::entry_rows;
    use super::super::record::Record;
    use super::*;
    use crate::store::node::NewNode;

    #[test]
    fn what_the_database_had_not_committed_is_read_from_the_redo_log() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("state.db");
        let db = schema::open_database(&database, dir.path()).unwrap();
        let new = NewNode {
            kind: Kind::Fifo,
            mode: 0o644,
            uid: 0,
            gid: 0,
            rdev: 0,
            target: None,
            now: 0,
        };
        let mut record = Record::new(Ino(5), NodeId::random(), new);
        db.begin().unwrap();
        inode_rows::insert(&db, &record).unwrap();
        entry_rows::insert(&db, (Ino::ROOT, b"pipe"), 1, Ino(5), Kind::Fifo).unwrap();
        db.commit().unwrap();
        record.links = 1;
        db.begin().unwrap();
        inode_rows::update(&db, &record).unwrap();
        db.commit().unwrap();
        // Killed now, and the database is garbage or gone.
        let copy = tempfile::tempdir().unwrap();
        fs::copy(dir.path().join(redo::NAME), copy.path().join(redo::NAME)).unwrap();
        for bytes in [Some(vec![7; 8192]), None] {
            let database = copy.path().join("state.db");
            match bytes {
                Some(bytes) => fs::write(&database, bytes).unwrap(),
                None => fs::remove_file(&database).unwrap(),
            }
            let mut salvage = Salvage::open(&database);
            assert_eq!(salvage.path(Ino(5)), Some((None, vec![b"pipe".to_vec()])));
            let unsent = UnsentNode { ino: Ino(5), kind: Kind::Fifo, target: None };
            assert_eq!(salvage.unsent(), [unsent]);
        }
    }
}
