//! The tables of `state.db`, and how the database is opened.
//!
//! - `nodes`: one row a node, with its attributes, what is known of its content and how far it is pushed.
//!   `dirty` repeats what the other columns say (see `Record::is_dirty`) so that an index can find it.
//! - `bases`: the server's state that a node's local state grew from, as JSON.
//! - `entries`: the names, in the order in which their directory is read. A cookie is never used again.
//! - `chunks`: state of the chunks of a node that is not wholly local; no row: the chunk is not here.
//! - `manifests`: chunk digests of contents of more than one chunk, and which are holes.
//! - `graves`: data files of nodes that are gone, until they are unlinked.
//! - `moves`: data files that an earlier version left to be renamed.
//! - `seen_commits`: commits of the drive that the cursor has been at, by their ids: its history.
//! - `compared`: ids of the nodes that were compared, while all is compared with a drive of another history.
//! - `requests`: for each thread the last request of the kernel that a transaction of it has done (`tree/requests.rs`).
//! - `meta`: the cursor, the next inode number and cookie, the boot in which the store was last open.
//!
//! Every commit writes each page that it touched, so an index costs each `create` one page: there is
//! none that a key does not need.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::database::Database;
use super::migrations;
use crate::store::error::Error;

/// The format that this program writes; `PRAGMA user_version` of the database.
pub(super) const FORMAT: i64 = 6;

pub(super) const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE nodes (
    ino INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    status INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    gid INTEGER NOT NULL,
    rdev INTEGER NOT NULL,
    size INTEGER NOT NULL,
    blocks INTEGER NOT NULL,
    atime INTEGER NOT NULL,
    mtime INTEGER NOT NULL,
    ctime INTEGER NOT NULL,
    btime INTEGER NOT NULL,
    target BLOB,
    xattrs TEXT,
    links INTEGER NOT NULL,
    subdirectories INTEGER NOT NULL,
    change INTEGER NOT NULL,
    acknowledged INTEGER NOT NULL,
    base INTEGER NOT NULL,
    in_flight BLOB,
    digest BLOB,
    digest_size INTEGER NOT NULL,
    previous BLOB,
    kept INTEGER NOT NULL,
    content_dirty INTEGER NOT NULL,
    unsettled INTEGER NOT NULL,
    written_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    dirty INTEGER NOT NULL,
    lent INTEGER
);
CREATE UNIQUE INDEX nodes_id ON nodes (id);
CREATE INDEX nodes_dirty ON nodes (ino) WHERE dirty = 1;
CREATE INDEX nodes_gone ON nodes (ino) WHERE dirty = 1 AND links = 0;
CREATE INDEX nodes_cached ON nodes (used_at) WHERE cached > 0;
CREATE INDEX nodes_lent ON nodes (ino) WHERE lent IS NOT NULL;
CREATE INDEX nodes_previous ON nodes (digest) WHERE previous IS NOT NULL;
CREATE TABLE bases (ino INTEGER PRIMARY KEY, state TEXT NOT NULL);
CREATE TABLE entries (
    parent INTEGER NOT NULL,
    cookie INTEGER NOT NULL,
    name BLOB NOT NULL,
    ino INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    PRIMARY KEY (parent, cookie)
) WITHOUT ROWID;
CREATE UNIQUE INDEX entries_name ON entries (parent, name);
CREATE INDEX entries_ino ON entries (ino);
CREATE TABLE chunks (
    ino INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    state INTEGER NOT NULL,
    PRIMARY KEY (ino, idx)
) WITHOUT ROWID;
CREATE INDEX chunks_fresh ON chunks (ino) WHERE state = 3;
CREATE TABLE manifests (digest BLOB PRIMARY KEY, size INTEGER NOT NULL, chunks BLOB NOT NULL);
CREATE TABLE graves (ino INTEGER PRIMARY KEY);
CREATE TABLE moves (source INTEGER PRIMARY KEY, target INTEGER NOT NULL);
CREATE TABLE seen_commits (seq INTEGER PRIMARY KEY, id BLOB NOT NULL);
CREATE TABLE compared (id BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE requests (thread INTEGER PRIMARY KEY, number INTEGER NOT NULL);
";

/// Opens the database, makes its tables when it is new, and sets how it writes.
///
/// A commit is one append to the write-ahead log that the kernel then has (`synchronous=NORMAL`), and operations since the last
/// one are in the redo log: killing the daemon loses nothing. `Journal::sync` makes it survive power loss. Checkpoints are
/// the timer's, so that no commit waits for the disk.
pub(crate) fn open_database(path: &Path, dir: &Path) -> Result<Database, Error> {
    let db = connect(path)?;
    let found: i64 = db.0.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match found {
        0 => {
            db.0.execute_batch(&format!(
                "BEGIN; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;"
            ))?;
        }
        1..FORMAT => migrations::from(&db.0, found)?,
        FORMAT => {}
        _ => return Err(Error::Format { found, known: FORMAT }),
    }
    db.with_redo_log(dir)
}

/// Bytes of the write-ahead log from which commits wait until it is worked into the database.
pub(super) const LOG_MAX: u64 = 64 << 20;
/// Bytes that it keeps when it is begun anew.
const LOG_LEFT: i64 = 8 << 20;

/// A connection with this store's settings.
pub(crate) fn connect(path: &Path) -> Result<Database, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(Duration::from_secs(60))?;
    db.pragma_update(None, "journal_size_limit", LOG_LEFT)?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = NORMAL;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA cache_size = -32768;
         PRAGMA temp_store = MEMORY;",
    )?;
    db.set_prepared_statement_cache_capacity(96);
    Ok(Database::new(db))
}
