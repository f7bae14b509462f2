//! The embedded tracker: a SQLite file of its own beside the database, for a server of one process.

mod challenges;
mod limits;
mod tokens;
mod trial;
mod uploads;

pub(super) use trial::try_out;

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, SqlitePool};

use super::epoch::Epoch;
use super::limits::{Decision, RateLimit};
use crate::backend::sqlite::pool_options;
use crate::backend::{Error, unix_now};
use limits::ArrivalTimes;

/// The longest time in which the tries at a key are paid for that counts as short.
const SHORT: Duration = Duration::from_secs(60);
/// Time that a statement waits for another one's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS access_tokens (
    user_id INTEGER NOT NULL,
    id BLOB NOT NULL,
    device BLOB NOT NULL,
    predecessor BLOB, -- the refresh token that it was given for, until that is known to be spent
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uploads (
    id BLOB NOT NULL PRIMARY KEY,
    user_id INTEGER NOT NULL,
    digest BLOB NOT NULL,
    size INTEGER NOT NULL,
    boot BLOB NOT NULL,
    phase INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    host TEXT NOT NULL DEFAULT 'local'
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS uploads_of_content ON uploads (user_id, digest);
CREATE INDEX IF NOT EXISTS uploads_by_expiry ON uploads (expires_at);
CREATE TABLE IF NOT EXISTS chunks (
    upload BLOB NOT NULL,
    chunk INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (upload, chunk)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS challenges (
    id BLOB NOT NULL PRIMARY KEY,
    user_id INTEGER NOT NULL,
    digest BLOB NOT NULL,
    nonce BLOB NOT NULL,
    ranges TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
";

/// The embedded tracker. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(super) struct Embedded {
    /// For what the loss of power must not undo: which tokens have ended.
    durable: SqlitePool,
    /// For what only the loss of power may undo: progress of uploads.
    quick: SqlitePool,
    /// Of keys whose tries are soon paid for.
    short_limits: ArrivalTimes,
    /// Of the others, apart: each stays for long, so many of them would crowd the short ones out.
    long_limits: ArrivalTimes,
}

impl Embedded {
    /// Opens the tracker's file, creating it where there is none.
    pub(super) async fn open(path: &Path) -> Result<Self, Error> {
        let durable = pool(path, SqliteSynchronous::Full).await?;
        sqlx::raw_sql(SCHEMA).execute(&durable).await?;
        add_hosts(&durable).await?;
        let quick = pool(path, SqliteSynchronous::Normal).await?;
        let (short_limits, long_limits) = (ArrivalTimes::default(), ArrivalTimes::default());
        Ok(Self { durable, quick, short_limits, long_limits })
    }

    /// A process that has the file open cannot lose it.
    pub(super) async fn epoch(&self) -> Result<Epoch, Error> {
        Ok(Epoch(Vec::new()))
    }

    pub(super) async fn remove_expired(&self) -> Result<(), Error> {
        for statement in [
            "DELETE FROM access_tokens WHERE expires_at <= ?",
            "DELETE FROM challenges WHERE expires_at <= ?",
        ] {
            sqlx::query(statement).bind(unix_now()).execute(&self.quick).await?;
        }
        Ok(())
    }

    pub(super) async fn check_rate_limit(
        &self,
        key: &str,
        limit: RateLimit,
    ) -> Result<Decision, Error> {
        let is_short = limit.tolerance() <= SHORT;
        let limits = if is_short { &self.short_limits } else { &self.long_limits };
        Ok(limits.count(key, limit))
    }

    /// Closes the file, after the statements under way.
    pub(super) async fn close(&self) {
        self.quick.close().await;
        self.durable.close().await;
    }
}

/// A file of before uploads had a host knows of this one only.
async fn add_hosts(pool: &SqlitePool) -> Result<(), Error> {
    let columns = "SELECT 1 FROM pragma_table_info('uploads') WHERE name = 'host'";
    if sqlx::query(columns).fetch_optional(pool).await?.is_none() {
        let add = "ALTER TABLE uploads ADD COLUMN host TEXT NOT NULL DEFAULT 'local'";
        sqlx::query(add).execute(pool).await?;
    }
    Ok(())
}

async fn pool(path: &Path, synchronous: SqliteSynchronous) -> Result<SqlitePool, Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(BUSY_TIMEOUT);
    let pool = pool_options(1).connect_with(options).await?;
    pool.acquire().await?.ping().await?;
    Ok(pool)
}
