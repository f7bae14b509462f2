//! The connection to `state.db`: transactions, and what its failures mean to the store.

use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use crate::store::error::Error;

/// A connection with the settings of `schema::connect`. Its statements stand in the files of the rows.
#[derive(Debug)]
pub(crate) struct Database(pub(super) Connection);

impl Database {
    /// Begins a transaction that may write.
    pub(crate) fn begin(&self) -> Result<(), Error> {
        self.0.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(())
    }

    /// Begins a transaction that only reads.
    pub(crate) fn begin_reading(&self) -> Result<(), Error> {
        self.0.prepare_cached("BEGIN DEFERRED")?.execute([])?;
        Ok(())
    }

    /// Commits the transaction in progress.
    pub(crate) fn commit(&self) -> Result<(), Error> {
        self.0.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Undoes the transaction in progress; some errors have done so already.
    pub(crate) fn rollback(&self) -> Result<(), Error> {
        if !self.0.is_autocommit() {
            self.0.prepare_cached("ROLLBACK")?.execute([])?;
        }
        Ok(())
    }

    /// Copies the write-ahead log into the database as far as no reader needs it.
    pub(super) fn checkpoint(&self) -> Result<(), Error> {
        Ok(self.0.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
    }
}

/// True after some database of this process was said to be damaged.
static DAMAGE_MET: AtomicBool = AtomicBool::new(false);

/// True if an error since the last call said that some database of this process is damaged: look at yours.
pub(crate) fn take_damage_met() -> bool {
    DAMAGE_MET.swap(false, Ordering::Relaxed)
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let code = error.sqlite_error_code();
        if matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) {
            DAMAGE_MET.store(true, Ordering::Relaxed);
        }
        match code {
            Some(rusqlite::ErrorCode::DiskFull) => Self::NoSpace,
            _ => Self::Database(error.into()),
        }
    }
}

/// A statement with named constants in it, put together once.
///
/// The constants cannot be parameters where SQLite is to find rows by an index on a part of a table.
macro_rules! statement {
    ($($part:tt)*) => {{
        static STATEMENT: std::sync::LazyLock<String> =
            std::sync::LazyLock::new(|| format!($($part)*));
        STATEMENT.as_str()
    }};
}
pub(super) use statement;
