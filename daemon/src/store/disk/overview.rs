//! Counts of a store that need not be open here: read on a connection that changes nothing.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use serde::{Deserialize, Serialize};

use super::columns::number;
use super::examine::{self, Depth, connect_to_read};
use super::redo;
use crate::store::error::Error;

/// State of the database of a store, as far as it can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Overview {
    /// The damage that was found.
    pub damage: Option<String>,
    /// Format of the database.
    pub format: i64,
    /// Nodes that are here.
    pub nodes: u64,
    /// Nodes that the server does not have as they are here.
    pub dirty_nodes: u64,
    /// Bytes of their contents, at the most.
    pub dirty_bytes: u64,
    /// When the one of them that was changed first was changed, in nanoseconds since 1970.
    pub oldest_dirty: Option<i64>,
    /// Bytes of clean content.
    pub cached_bytes: u64,
    /// Sequence number up to which the changes of the server have been applied.
    pub cursor: u64,
}

/// Reads the state of a store; looks at all pages of the database if that is wanted.
///
/// # Errors
/// When it cannot be looked at. Damage is no error.
pub(crate) fn overview(dir: &Path, is_whole: bool) -> Result<Option<Overview>, Error> {
    let database = dir.join("state.db");
    if !database.exists() {
        return Ok(None);
    }
    let depth = if is_whole { Depth::Whole } else { Depth::Header };
    let damage = examine::examine(&database, false, depth)?;
    let read = || match read_redone(&database, dir) {
        // A daemon that runs changes the database just now; what it has not committed is some seconds old at the most.
        Err(_) | Ok(None) => connect_to_read(&database).and_then(|db| read(&db)),
        Ok(Some(overview)) => Ok(overview),
    };
    match read() {
        Ok(overview) => Ok(Some(Overview { damage, ..overview })),
        Err(error) => {
            let damage = damage.unwrap_or_else(|| format!("the database cannot be read: {error}"));
            Ok(Some(Overview { damage: Some(damage), ..Overview::default() }))
        }
    }
}

/// Reads it as it will be when the redo log has been done again, and leaves it as it is; none when nothing is in the log.
fn read_redone(database: &Path, dir: &Path) -> rusqlite::Result<Option<Overview>> {
    let committed = redo::committed(&connect_to_read(database)?)?;
    let logged = redo::statements_after(dir, committed);
    if logged.is_empty() {
        return Ok(None);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(database, flags)?;
    db.busy_timeout(std::time::Duration::ZERO)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (text, values) in &logged {
        redo::do_again(&transaction, text, values)?;
    }
    read(&transaction).map(Some)
}

fn read(db: &Connection) -> rusqlite::Result<Overview> {
    let one = |query: &str| db.query_row(query, [], |row| number(row, 0));
    let dirty = "SELECT count(*), coalesce(sum(CASE WHEN content_dirty = 1 AND links > 0 THEN size ELSE 0 END), 0), \
                 min(ctime) FROM nodes WHERE dirty = 1";
    let (dirty_nodes, dirty_bytes, oldest_dirty) =
        db.query_row(dirty, [], |row| Ok((number(row, 0)?, number(row, 1)?, row.get(2)?)))?;
    Ok(Overview {
        damage: None,
        format: db.query_row("PRAGMA user_version", [], |row| row.get(0))?,
        nodes: one("SELECT count(*) FROM nodes WHERE status IN (0, 3)")?,
        dirty_nodes,
        dirty_bytes,
        oldest_dirty,
        cached_bytes: one("SELECT coalesce(sum(cached), 0) FROM nodes WHERE cached > 0")?,
        cursor: one("SELECT coalesce(max(value), 0) FROM meta WHERE key = 'cursor'")?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    #[test]
    fn what_the_database_had_not_committed_counts() {
        let dir = tempfile::tempdir().unwrap();
        let db = schema::open_database(&dir.path().join("state.db"), dir.path()).unwrap();
        db.begin().unwrap();
        super::super::meta::set_number(&db, "cursor", 7).unwrap();
        db.commit().unwrap();
        // Killed now: its transaction is undone, and the log is what it was.
        let copy = tempfile::tempdir().unwrap();
        for name in ["state.db", "state.db-wal", redo::NAME] {
            std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
        }
        let cursor = || overview(copy.path(), false).unwrap().map(|overview| overview.cursor);
        assert_eq!((cursor(), cursor()), (Some(7), Some(7)));
        assert_eq!(overview(dir.path(), false).unwrap().map(|it| it.cursor), Some(0));
    }
}
