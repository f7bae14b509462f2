//! The embedded database: one file, one writer, many readers.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection as _, SqliteConnection, SqlitePool};

use super::connection::{Driver, Transaction};
use super::migrations;
use super::pool_meter::PoolMeter;
use crate::backend::settings::Schema;
use crate::backend::sqlite::pool_options;
use crate::backend::{Error, Trial};

/// Time a request waits for a connection before it fails as busy.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(20);
/// Connections of the embedded database that read at once.
pub(crate) const EMBEDDED_READERS: u32 = 8;

/// The connections to the file.
#[derive(Debug, Clone)]
pub(super) struct SqlitePools {
    writer: SqlitePool,
    readers: SqlitePool,
    /// Of the writer, and of the readers.
    meters: [PoolMeter; 2],
}

impl SqlitePools {
    /// Opens the database file, which is made when absent if it may be migrated.
    ///
    /// # Errors
    /// As [`super::Db::open`].
    pub(super) async fn open(path: &Path, schema: Schema) -> Result<Self, Error> {
        let options = options(path).create_if_missing(schema == Schema::Migrate);
        let pool = |connections| pool_options(connections).acquire_timeout(ACQUIRE_TIMEOUT);
        let writer = pool(1).connect_with(options.clone()).await?;
        let readers = pool(EMBEDDED_READERS).connect_with(options).await?;
        let meters = [PoolMeter::new("writer", 1), PoolMeter::new("reader", EMBEDDED_READERS)];
        let pools = Self { writer, readers, meters };
        match pools.prepare(schema).await {
            Ok(()) => Ok(pools),
            Err(error) => {
                pools.close().await;
                Err(error)
            }
        }
    }

    async fn prepare(&self, schema: Schema) -> Result<(), Error> {
        match schema {
            Schema::Migrate => Ok(migrations::for_sqlite().run(&self.writer).await?),
            Schema::Expect => {
                let applied = sqlx::query_scalar(migrations::APPLIED).fetch_one(&self.readers);
                migrations::expect(applied.await?)
            }
        }
    }

    pub(super) async fn write(&self) -> Result<Transaction, Error> {
        let begin = self.meters[0].time(self.writer.begin_with("BEGIN IMMEDIATE"));
        Ok(Transaction::new(Driver::Sqlite(begin.await?)))
    }

    pub(super) async fn read(&self) -> Result<Transaction, Error> {
        let begin = self.meters[1].time(self.readers.begin());
        Ok(Transaction::new(Driver::Sqlite(begin.await?)))
    }

    pub(super) async fn copy_to(&self, path: &Path) -> Result<(), Error> {
        // One statement, and so one snapshot; who writes does not wait for it.
        let path = path.to_string_lossy().into_owned();
        sqlx::query("VACUUM INTO ?").bind(path).execute(&self.readers).await?;
        Ok(())
    }

    /// Tells how many connections there are.
    pub(super) fn measure(&self) {
        let [writer, reader] = &self.meters;
        writer.tell(&self.writer);
        reader.tell(&self.readers);
    }

    /// Gives up what the connections that nobody uses keep of the file, up to 16 MiB each.
    pub(super) async fn shrink(&self) -> Result<(), Error> {
        for pool in [&self.writer, &self.readers] {
            // All of them before the first goes back, so that each is another one.
            let mut idle: Vec<_> = std::iter::from_fn(|| pool.try_acquire()).collect();
            for connection in &mut idle {
                sqlx::query("PRAGMA shrink_memory").execute(&mut **connection).await?;
            }
        }
        Ok(())
    }

    /// Folds the write-ahead log into the database with the last connection.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Opens the file, which is not made, and asks for the version. Its clock is that of this process.
///
/// # Errors
/// [`Error::Database`].
pub(super) async fn look(path: &Path) -> Result<Trial, Error> {
    let mut connection = SqliteConnection::connect_with(&options(path)).await?;
    let version = sqlx::query_scalar::<_, String>("SELECT sqlite_version()");
    let version = version.fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(Trial { version: Some(format!("SQLite {version}")), clock: None })
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
