//! The database: one writer, many readers, and the migrations; one file a kind of record.
//!
//! SQL is portable to MySQL: `?` placeholders, numbers as `i64`, ids, digests and names as bytes, no
//! `RETURNING` and no `ON CONFLICT`; a column that has a keyword's name stands in backticks. What was committed is on the disk (`synchronous = FULL`).
//!
//! Functions of the records take a [`Connection`], so that the caller decides what is one
//! transaction: [`Db::write`] for a change, [`Db::read`] for a consistent look.

pub mod accounts;
pub mod audit;
pub mod blobs;
mod connection;
pub mod contents;
pub mod files;
pub mod hosts;
mod query;
pub mod sessions;
pub mod transfers;
pub mod users;

pub use connection::{Connection, Transaction};
pub use query::{Query, Row, query};

use std::path::Path;
use std::time::Duration;

use sqlx::SqlSafeStr;
use sqlx::SqlitePool;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::Error;
use connection::Driver;

/// Connections that read at once.
const READERS: u32 = 8;
/// How long a request waits for a connection before it is told to come again.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(20);
/// Rows that one statement names at the most; more are done in several.
pub const ROWS_A_STATEMENT: usize = 250;

/// The database of the server.
#[derive(Debug, Clone)]
pub struct Db {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Db {
    /// Opens the database file, made when absent, and brings it to this program's version.
    ///
    /// # Errors
    /// [`Error::Database`] when it cannot be opened, [`Error::Migration`] when it is of a newer
    /// program or a migration fails.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let db = Self::connect(options(path).create_if_missing(true)).await?;
        migrations().run(&db.writer).await?;
        Ok(db)
    }

    /// Opens the database file of a server that may be running, and changes nothing.
    ///
    /// # Errors
    /// [`Error::Database`] when it cannot be opened, [`Error::OtherVersion`] when a server of this
    /// program's version has not been started yet, or a newer one has.
    pub async fn open_existing(path: &Path) -> Result<Self, Error> {
        let db = Self::connect(options(path)).await?;
        let applied: Option<i64> =
            sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations WHERE success")
                .fetch_one(&db.readers)
                .await?;
        if applied == migrations().iter().map(|migration| migration.version).max() {
            return Ok(db);
        }
        db.close().await;
        Err(Error::OtherVersion)
    }

    async fn connect(options: SqliteConnectOptions) -> Result<Self, Error> {
        let pool = |connections| {
            SqlitePoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT)
        };
        let writer = pool(1).connect_with(options.clone()).await?;
        let readers = pool(READERS).connect_with(options).await?;
        Ok(Self { writer, readers })
    }

    /// Begins a change. It is alone: another waits until this one ends.
    ///
    /// # Errors
    /// [`Error::Database`], a pool timeout among them.
    pub async fn write(&self) -> Result<Transaction, Error> {
        let transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Transaction::new(Driver::Sqlite(transaction)))
    }

    /// Begins a look at one state of the database, whatever is written meanwhile.
    ///
    /// # Errors
    /// [`Error::Database`], a pool timeout among them.
    pub async fn read(&self) -> Result<Transaction, Error> {
        Ok(Transaction::new(Driver::Sqlite(self.readers.begin().await?)))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`Error::Database`] when it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1").execute(&self.readers).await?;
        Ok(())
    }

    /// Closes all connections, folding the write-ahead log into the database.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(false)
        .busy_timeout(ACQUIRE_TIMEOUT)
        .pragma("cache_size", "-16384")
        .statement_cache_capacity(64)
}

fn migrations() -> Migrator {
    let list = [
        (1, "initial", include_str!("../../../migrations/sqlite/0001_initial.sql")),
        (2, "hosts", include_str!("../../../migrations/sqlite/0002_hosts.sql")),
        (4, "sessions", include_str!("../../../migrations/sqlite/0004_sessions.sql")),
    ];
    let migration = |(number, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(number, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(list.map(migration).into())
}
