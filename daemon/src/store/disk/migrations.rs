//! Brings a store of an earlier format to this one: in one transaction, so a crash leaves the old or the new.
//!
//! A store holds bytes that exist nowhere else, so no format that was ever released is given up.

use rusqlite::Connection;

use crate::store::error::Error;

/// Brings a store of this format to the newest.
pub(super) fn from(db: &Connection, format: i64) -> Result<(), Error> {
    let steps = [from_1, from_2, from_3, from_4, from_5];
    steps.into_iter().skip(format.saturating_sub(1) as usize).try_for_each(|step| step(db))
}

/// Format 1 kept entries by a cookie of their own, with an index of directories beside it.
fn from_1(db: &Connection) -> Result<(), Error> {
    Ok(db.execute_batch(
        "BEGIN IMMEDIATE;
         ALTER TABLE entries RENAME TO entries_1;
         DROP INDEX entries_name;
         DROP INDEX entries_parent;
         DROP INDEX entries_ino;
         CREATE TABLE entries (
             parent INTEGER NOT NULL,
             cookie INTEGER NOT NULL,
             name BLOB NOT NULL,
             ino INTEGER NOT NULL,
             kind INTEGER NOT NULL,
             PRIMARY KEY (parent, cookie)
         ) WITHOUT ROWID;
         INSERT INTO entries (parent, cookie, name, ino, kind)
             SELECT parent, cookie, name, ino, kind FROM entries_1 ORDER BY parent, cookie;
         INSERT OR REPLACE INTO meta (key, value)
             SELECT 'next_cookie', coalesce(max(cookie), 0) + 1 FROM entries_1;
         DROP TABLE entries_1;
         CREATE UNIQUE INDEX entries_name ON entries (parent, name);
         CREATE INDEX entries_ino ON entries (ino);
         CREATE INDEX nodes_gone ON nodes (ino) WHERE dirty = 1 AND links = 0;
         PRAGMA user_version = 2;
         COMMIT;",
    )?)
}

/// Format 2 did not know which history of the drive its cursor was of.
fn from_2(db: &Connection) -> Result<(), Error> {
    Ok(db.execute_batch(
        "BEGIN IMMEDIATE;
         CREATE TABLE seen_commits (seq INTEGER PRIMARY KEY, id BLOB NOT NULL);
         CREATE TABLE compared (id BLOB PRIMARY KEY) WITHOUT ROWID;
         CREATE TABLE requests (thread INTEGER PRIMARY KEY, number INTEGER NOT NULL);
         PRAGMA user_version = 3;
         COMMIT;",
    )?)
}

/// Format 3 had no redo log: a program that does not know of it would miss what was done last.
fn from_3(db: &Connection) -> Result<(), Error> {
    Ok(db.execute_batch("PRAGMA user_version = 4")?)
}

/// Format 4 did not know of data files that programs write to unseen.
fn from_4(db: &Connection) -> Result<(), Error> {
    Ok(db.execute_batch(
        "BEGIN IMMEDIATE;
         ALTER TABLE nodes ADD COLUMN lent INTEGER;
         CREATE INDEX nodes_lent ON nodes (ino) WHERE lent IS NOT NULL;
         PRAGMA user_version = 5;
         COMMIT;",
    )?)
}

/// Format 5 knew of one push of a node only: a program that knows of no more cannot read the rows of others.
fn from_5(db: &Connection) -> Result<(), Error> {
    Ok(db.execute_batch("PRAGMA user_version = 6")?)
}
