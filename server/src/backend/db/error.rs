//! Errors of the database drivers, sorted into the server's: what to retry, what to wait for, what to report.

use sqlx::mysql::MySqlDatabaseError;

use crate::backend::Error;

/// SQLite's result code for a full disk.
const SQLITE_FULL: &str = "13";

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed) {
            return Self::Busy(error);
        }
        if matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) {
            return unavailable(error);
        }
        match classify(&error) {
            Some(MysqlErrorKind::SerializationFailure) => return Self::SerializationFailure(error),
            Some(MysqlErrorKind::Unavailable) => return unavailable(error),
            None => (),
        }
        match error.as_database_error() {
            Some(database) if database.is_unique_violation() => Self::Duplicate(error),
            Some(database) if database.code().as_deref() == Some(SQLITE_FULL) => {
                Self::NoSpace(std::io::Error::other(error))
            }
            _ => Self::Database(error),
        }
    }
}

/// The error of a commit. Without an answer nobody knows whether it was applied.
pub(super) fn commit_error(error: sqlx::Error) -> Error {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => Error::CommitUnknown(error),
        _ => Error::from(error),
    }
}

/// The database went away, or takes no changes; nothing was changed.
fn unavailable(error: sqlx::Error) -> Error {
    Error::Unavailable { what: "the database", source: Box::new(error) }
}

/// Errors by which a MySQL server refuses for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MysqlErrorKind {
    /// Another transaction was in the way.
    SerializationFailure,
    /// The server is ending, or takes no changes (any more).
    Unavailable,
}

/// Sorts an error by the server's number; `None` when it is not a passing one.
fn classify(error: &sqlx::Error) -> Option<MysqlErrorKind> {
    match mysql_number(error)? {
        // Deadlock, lock wait timeout, snapshot overtaken (MariaDB).
        1213 | 1205 | 1020 => Some(MysqlErrorKind::SerializationFailure),
        // Too many connections, shutdown, read only (a primary no more), killed, connection errors.
        1040
        | 1053
        | 1079
        | 1080
        | 1152
        | 1158..=1161
        | 1203
        | 1290
        | 1317
        | 1836
        | 1927
        | 4031 => Some(MysqlErrorKind::Unavailable),
        _ => None,
    }
}

/// The number that a MySQL server gave an error; `None` for an error of another origin.
pub(super) fn mysql_number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(error.number())
}
