//! The tracker: what is true for a while, tokens, uploads in flight, and challenges.
//!
//! Everything in it has a lifetime and may be lost: then people sign in again, and uploads are found
//! again from what stands on the staging disk. This is the embedded one, a SQLite file of its own. Its
//! methods are what Redis does in one step (a hash per upload, keys with a lifetime, set-if-absent), and
//! no more.

mod challenges;
mod tokens;
mod uploads;

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqlitePool};

pub use challenges::TrackedChallenge;
pub use tokens::{Bearer, Renewal, TrackedPair};
pub use uploads::{TrackedUpload, UploadPhase};

use crate::backend::{Error, unix_now};

/// How long a statement waits for another one's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS tokens (
    id BLOB NOT NULL PRIMARY KEY,
    kind INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    device BLOB NOT NULL,
    predecessor BLOB, -- the refresh token that this one was given for
    spent_at INTEGER, -- of a refresh token: when a token that was given for it was first shown
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tokens_of_device ON tokens (user_id, device);
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
pub struct Tracker {
    /// For what the loss of power must not undo: tokens.
    durable: SqlitePool,
    /// For what only the loss of power may undo: progress of uploads.
    quick: SqlitePool,
}

impl Tracker {
    /// Opens the tracker's file, creating it where there is none.
    ///
    /// # Errors
    /// When the file cannot be opened or is not a database.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let durable = pool(path, SqliteSynchronous::Full).await?;
        sqlx::raw_sql(SCHEMA).execute(&durable).await?;
        add_hosts(&durable).await?;
        let quick = pool(path, SqliteSynchronous::Normal).await?;
        Ok(Self { durable, quick })
    }

    /// Forgets tokens and challenges whose time is over. Uploads are swept by their service, which
    /// has their bytes to remove first.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn forget_expired(&self) -> Result<(), Error> {
        for statement in [
            "DELETE FROM tokens WHERE expires_at <= ?",
            "DELETE FROM challenges WHERE expires_at <= ?",
        ] {
            sqlx::query(statement).bind(unix_now()).execute(&self.quick).await?;
        }
        Ok(())
    }

    /// Closes the file, after the statements under way.
    pub async fn close(&self) {
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
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    pool.acquire().await?.ping().await?;
    Ok(pool)
}

/// When something expires that begins now.
fn after(lifetime: Duration) -> i64 {
    unix_now().saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX))
}
