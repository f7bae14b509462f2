//! The connection to `state.db`: operations, transactions, and what its failures mean to the store.
//!
//! The store's own connection changes the database by operations. Many of them share a transaction, each with a record in the redo
//! log, so that one that was acknowledged is not lost with the process. One that fails leaves no trace: if it has written anything,
//! which few have by then, all since the last commit is undone and the others are done again from the log. (A savepoint for each
//! would copy every page that it touches.) The transaction is committed when the log has become long, and whenever somebody must
//! find all of it in the database: who makes it durable, or reads it on another connection.

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::redo::{self, Appended, REDONE, RedoLog};
use crate::store::error::Error;

/// A connection with the settings of `schema::connect`. Its statements stand in the files of the rows.
#[derive(Debug)]
pub(crate) struct Database(pub(super) Connection, Option<RefCell<RedoLog>>);

impl Database {
    /// A connection without a redo log, to read.
    pub(super) fn new(connection: Connection) -> Self {
        Self(connection, None)
    }

    /// Goes on with the redo log of a state directory: does again what the database has not committed.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the log does not fit the database.
    pub(super) fn with_redo_log(self, dir: &Path) -> Result<Self, Error> {
        let committed = redo::committed(&self.0)?;
        let database = Self(self.0, Some(RefCell::new(RedoLog::open(dir, committed)?)));
        let count = database.redo()?;
        if count > 0 {
            tracing::info!(count, "operations that were not committed have been done again");
        }
        database.commit_all()?;
        Ok(database)
    }

    /// True if the redo log was gone when it was opened, and with it what had been done last.
    pub(crate) fn has_lost_redo_log(&self) -> bool {
        self.1.as_ref().is_some_and(|redo| redo.borrow().was_lost())
    }

    /// True if the redo log goes on behind operations that had been committed and are not here: the database is an older one.
    pub(crate) fn lacks_commits(&self) -> bool {
        self.1.as_ref().is_some_and(|redo| redo.borrow().has_gap())
    }

    /// True once after an operation that is the first one since the last commit: there is something to commit.
    pub(crate) fn announce(&self) -> bool {
        self.1.as_ref().is_some_and(|redo| redo.borrow_mut().announce())
    }

    /// True while an operation is in progress.
    pub(crate) fn is_in_operation(&self) -> bool {
        self.1.as_ref().is_some_and(|redo| redo.borrow().is_in_operation())
    }

    /// Begins an operation unless one is in progress: a transaction that may write, to whoever uses this connection.
    pub(crate) fn begin(&self) -> Result<(), Error> {
        let Some(redo) = &self.1 else { return Ok(()) };
        if redo.borrow().is_in_operation() {
            return Ok(());
        }
        if redo.borrow().is_full() {
            self.commit_all()?;
        }
        if self.0.is_autocommit() {
            self.begin_shared()?;
        }
        redo.borrow_mut().begin();
        Ok(())
    }

    /// Ends the operation in progress: it outlives this process.
    pub(crate) fn commit(&self) -> Result<(), Error> {
        let Some(redo) = &self.1 else { return Ok(()) };
        if !redo.borrow().is_in_operation() {
            return Ok(());
        }
        let appended = redo.borrow_mut().append()?;
        match appended {
            Appended::TooLong => {
                let _is_committed_now = redo.borrow_mut().forget();
                self.commit_all()
            }
            Appended::Logged => {
                if redo.borrow().is_long()
                    && let Err(error) = self.commit_all()
                {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the database could not commit; the redo log has it all"
                    );
                }
                Ok(())
            }
        }
    }

    /// Undoes the operation in progress; some errors have done so already.
    pub(crate) fn rollback(&self) -> Result<(), Error> {
        let Some(redo) = &self.1 else { return Ok(()) };
        if !redo.borrow().is_in_operation() {
            return Ok(());
        }
        let has_written = redo.borrow_mut().forget();
        // Some errors undo all operations since the last commit by themselves.
        if has_written || self.0.is_autocommit() { self.undo_all() } else { Ok(()) }
    }

    /// Has the database commit all operations.
    ///
    /// # Errors
    /// The database's. The operations stay, and may be committed later.
    pub(crate) fn commit_all(&self) -> Result<(), Error> {
        let Some(redo) = &self.1 else { return Ok(()) };
        if self.0.is_autocommit() {
            return Ok(());
        }
        let last = redo.borrow().last();
        match self.note_redone(last).and_then(|()| self.run("COMMIT")) {
            Ok(()) => {
                redo.borrow_mut().begin_anew();
                Ok(())
            }
            Err(error) => {
                self.undo_all()?;
                Err(error)
            }
        }
    }

    /// Begins a transaction that only reads, unless one is in progress; false then.
    pub(crate) fn begin_reading(&self) -> Result<bool, Error> {
        let begins = self.0.is_autocommit();
        if begins {
            self.run("BEGIN DEFERRED")?;
        }
        Ok(begins)
    }

    /// Ends it.
    pub(crate) fn end_reading(&self) -> Result<(), Error> {
        self.run("ROLLBACK")
    }

    /// Copies the write-ahead log into the database as far as no reader needs it.
    pub(super) fn checkpoint(&self) -> Result<(), Error> {
        Ok(self.0.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
    }

    /// Runs a statement that changes rows, and answers how many. An operation begins with the first.
    pub(super) fn write(
        &self,
        statement: &'static str,
        values: &[&dyn ToSql],
    ) -> Result<usize, Error> {
        self.begin()?;
        let executed = self.0.prepare_cached(statement)?.execute(values);
        let changed = executed.inspect_err(|_| self.note_failure())?;
        if changed > 0 {
            self.note(statement, values)?;
        }
        Ok(changed)
    }

    /// Runs a statement that changes one row at the most and answers something of it.
    pub(super) fn write_returning<T>(
        &self,
        statement: &'static str,
        values: &[&dyn ToSql],
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error> {
        self.begin()?;
        let answer = self.0.prepare_cached(statement)?.query_row(values, read).optional();
        let answer = answer.inspect_err(|_| self.note_failure())?;
        if answer.is_some() {
            self.note(statement, values)?;
        }
        Ok(answer)
    }

    /// Has the transaction tell up to which record the redo log is in it.
    fn note_redone(&self, last: u64) -> Result<(), Error> {
        self.0
            .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
            .execute(params![REDONE, last as i64])?;
        Ok(())
    }

    fn note(&self, statement: &'static str, values: &[&dyn ToSql]) -> Result<(), Error> {
        match &self.1 {
            Some(redo) => {
                let noted = redo.borrow_mut().note(statement, values);
                Ok(noted.inspect_err(|_| self.note_failure())?)
            }
            None => Ok(()),
        }
    }

    fn note_failure(&self) {
        self.1.iter().for_each(|redo| redo.borrow_mut().note_failure());
    }

    /// Goes back to what is logged.
    fn undo_all(&self) -> Result<(), Error> {
        if !self.0.is_autocommit() {
            self.run("ROLLBACK")?;
        }
        self.redo().map(drop)
    }

    /// Begins the transaction that operations share.
    fn begin_shared(&self) -> Result<(), Error> {
        match &self.1 {
            // Going back to what is logged has failed.
            Some(redo) if redo.borrow().is_ahead() => self.redo().map(drop),
            _ => self.run("BEGIN IMMEDIATE"),
        }
    }

    /// The same, and does in it what is logged and not committed; answers of how many operations.
    fn redo(&self) -> Result<u64, Error> {
        let Some(redo) = &self.1 else { return Ok(0) };
        self.run("BEGIN IMMEDIATE")?;
        let redone =
            redo.borrow_mut().replay(|(text, values)| Ok(redo::do_again(&self.0, &text, &values)?));
        if redone.is_err() && !self.0.is_autocommit() {
            self.run("ROLLBACK")?;
        }
        redone
    }

    fn run(&self, statement: &str) -> Result<(), Error> {
        self.0.prepare_cached(statement)?.execute([])?;
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;

    use super::super::{pending_rows, schema};
    use super::*;
    use crate::store::node::Ino;

    fn open(dir: &Path) -> Database {
        schema::open_database(&dir.join("state.db"), dir).unwrap()
    }

    /// A copy that the next process finds when this one is killed.
    fn killed(dir: &Path) -> (tempfile::TempDir, Database) {
        let copy = tempfile::tempdir().unwrap();
        for name in [redo::NAME, "state.db", "state.db-wal"] {
            fs::copy(dir.join(name), copy.path().join(name)).unwrap();
        }
        let database = open(copy.path());
        (copy, database)
    }

    fn add(db: &Database, ino: u64) {
        db.begin().unwrap();
        pending_rows::add_pending_unlink(db, Ino(ino)).unwrap();
        db.commit().unwrap();
    }

    fn rows(db: &Database) -> Vec<u64> {
        pending_rows::pending_unlinks(db).unwrap().into_iter().map(|ino| ino.0).collect()
    }

    #[test]
    fn operations_outlive_the_process_before_the_database_has_committed_them() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path());
        (1..=3).for_each(|ino| add(&db, ino));
        let other = schema::connect(&dir.path().join("state.db")).unwrap();
        assert_eq!(rows(&other), [0; 0], "nothing of it was committed");
        assert_eq!(rows(&killed(dir.path()).1), [1, 2, 3]);
        db.commit_all().unwrap();
        assert_eq!(rows(&other), [1, 2, 3]);
        add(&db, 4);
        assert_eq!(rows(&killed(dir.path()).1), [1, 2, 3, 4]);
    }

    #[test]
    fn an_operation_that_failed_leaves_no_trace_here_nor_in_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path());
        add(&db, 1);
        db.begin().unwrap();
        pending_rows::add_pending_unlink(&db, Ino(2)).unwrap();
        assert_eq!(rows(&db), [1, 2]);
        db.rollback().unwrap();
        add(&db, 3);
        assert_eq!(rows(&db), [1, 3]);
        assert_eq!(rows(&killed(dir.path()).1), [1, 3]);
    }

    #[test]
    fn an_error_that_undoes_the_shared_transaction_takes_only_the_operation_that_met_it() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path());
        add(&db, 1);
        db.begin().unwrap();
        pending_rows::add_pending_unlink(&db, Ino(2)).unwrap();
        db.0.execute_batch("ROLLBACK").unwrap();
        db.rollback().unwrap();
        assert_eq!(rows(&db), [1]);
        add(&db, 3);
        db.commit_all().unwrap();
        assert_eq!(rows(&killed(dir.path()).1), [1, 3]);
    }

    #[test]
    fn what_is_too_long_for_the_log_is_committed_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path());
        add(&db, 1);
        db.begin().unwrap();
        (2..40_000).for_each(|ino| pending_rows::add_pending_unlink(&db, Ino(ino)).unwrap());
        db.commit().unwrap();
        add(&db, 50_000);
        let found = rows(&killed(dir.path()).1);
        assert_eq!((found.len(), found.last()), (40_000, Some(&50_000)));
    }

    #[test]
    fn a_log_that_has_become_long_is_begun_anew_and_what_stands_behind_its_end_is_not_done() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path());
        let count = 40_000;
        (1..=count).for_each(|ino| add(&db, ino));
        assert!(fs::metadata(dir.path().join(redo::NAME)).unwrap().len() <= 4 << 20);
        let (copy, again) = killed(dir.path());
        assert_eq!(rows(&again).len() as u64, count);
        // Rows that are gone stay away, though the log has the records by which they came.
        again.begin().unwrap();
        again.write("DELETE FROM graves", &[]).unwrap();
        again.commit().unwrap();
        assert_eq!(rows(&killed(copy.path()).1), [0; 0]);
    }

    #[test]
    fn a_record_that_is_torn_ends_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path());
        (1..=2).for_each(|ino| add(&db, ino));
        let log = fs::OpenOptions::new().write(true).open(dir.path().join(redo::NAME)).unwrap();
        let end = db.1.as_ref().unwrap().borrow().end();
        log.write_all_at(b"torn", end - 8).unwrap();
        let (copy, again) = killed(dir.path());
        assert_eq!(rows(&again), [1]);
        add(&again, 3);
        assert_eq!(rows(&killed(copy.path()).1), [1, 3]);
    }

    #[test]
    fn a_database_that_lacks_what_came_before_the_log_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path());
        add(&db, 1);
        let (older, _) = killed(dir.path());
        (2..4).for_each(|ino| add(&db, ino));
        db.commit_all().unwrap();
        add(&db, 4);
        fs::copy(dir.path().join(redo::NAME), older.path().join(redo::NAME)).unwrap();
        let found = open(older.path());
        assert!(found.lacks_commits());
        assert_eq!(rows(&found), [1]);
        assert!(!killed(dir.path()).1.lacks_commits());
    }

    #[test]
    fn a_log_that_is_gone_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path());
        assert!(!db.has_lost_redo_log(), "a new store has none");
        add(&db, 1);
        drop(db);
        fs::remove_file(dir.path().join(redo::NAME)).unwrap();
        let again = open(dir.path());
        assert!(again.has_lost_redo_log());
        assert_eq!(rows(&again), [0; 0]);
    }
}
