//! Single values of the store, by key, counters among them, and the time.

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{OptionalExtension, params};

use super::database::Database;
use crate::store::error::Error;

/// Key of 1 once the whole drive has been here, of 0 until then; stores that were made before it was kept have none.
pub(crate) const ALL_NAMES: &str = "all_names";

/// Key of a time, in nanoseconds since 1970: whatever was committed before it is in the database.
pub(crate) const COMMITTED: &str = "committed_at";

/// Key of the last commit that both histories have, while all is compared with a drive of another history.
pub(crate) const COMMON: &str = "common";

/// Key of 1 while all is compared with a drive that has forgotten deletions.
pub(crate) const ANEW: &str = "anew";

/// Key of the drive's head when a listing of it began, until that has come to its end.
pub(crate) const BEGAN_AT: &str = "began_at";

/// Numbers that a [`Counter`] reserves in the database at once.
const RESERVED: u64 = 4096;

/// A number.
pub(crate) fn number(db: &Database, key: &str) -> Result<Option<u64>, Error> {
    let found: Option<i64> =
        db.0.prepare_cached("SELECT value FROM meta WHERE key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()?;
    Ok(found.map(|value| value as u64))
}

/// Sets a number.
pub(crate) fn set_number(db: &Database, key: &str, value: u64) -> Result<(), Error> {
    db.write(
        "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)",
        params![key, value as i64],
    )?;
    Ok(())
}

/// Sets a number, or removes it.
pub(crate) fn set_or_remove(db: &Database, key: &str, value: Option<u64>) -> Result<(), Error> {
    value.map_or_else(|| remove(db, key), |value| set_number(db, key, value))
}

/// Removes a value.
pub(crate) fn remove(db: &Database, key: &str) -> Result<(), Error> {
    db.write("DELETE FROM meta WHERE key = ?1", params![key])?;
    Ok(())
}

/// A text.
pub(crate) fn text(db: &Database, key: &str) -> Result<Option<String>, Error> {
    Ok(db
        .0
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?)
}

/// Sets a text.
pub(crate) fn set_text(db: &Database, key: &str, value: &str) -> Result<(), Error> {
    db.write("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", params![key, value])?;
    Ok(())
}

/// Numbers that are given out once each, also over a crash: the database holds one above all of them.
#[derive(Debug)]
pub(crate) struct Counter {
    key: &'static str,
    next: u64,
    reserved: u64,
}

impl Counter {
    /// The counter of a key; a new one begins at `first`.
    pub(crate) fn load(db: &Database, key: &'static str, first: u64) -> Result<Self, Error> {
        let next = number(db, key)?.unwrap_or(first);
        Ok(Self { key, next, reserved: next })
    }

    /// The next number; reserves some more in the transaction that is in progress when they are used up.
    pub(crate) fn take(&mut self, db: &Database) -> Result<u64, Error> {
        if self.next == self.reserved {
            set_number(db, self.key, self.reserved + RESERVED)?;
            self.reserved += RESERVED;
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    /// The transaction was undone, and with it perhaps a reservation.
    pub(crate) fn undo_reservation(&mut self) {
        self.reserved = self.next;
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as i64)
}
