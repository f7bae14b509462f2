//! The database: embedded SQLite, or MySQL; the same tables and statements; one file a kind of record.
//!
//! SQL is portable: `?` placeholders, numbers as `i64`, ids, digests and names as bytes, no `RETURNING` and
//! no `ON CONFLICT` (both know `REPLACE`); a column that has a keyword's name stands in backticks. What was committed is on the
//! disk.
//!
//! Functions of the records take a [`Connection`], so that the caller decides what is one transaction:
//! [`Db::write`] for a change, [`Db::read`] for a consistent snapshot. A change of SQLite is alone; of MySQL,
//! several run at once and read what others have committed. So a change that decides by what it reads
//! locks it first ([`Statement::lock`]), in this order: the user's row, contents by rising digest, blobs by
//! rising id. What deadlocks nevertheless, or finds a row that another change has just inserted, is run
//! again by [`retry_transaction()`].

pub(crate) mod accounts;
pub(crate) mod audit;
pub(crate) mod blobs;
pub(crate) mod closed_users;
mod columns;
pub(crate) mod commits;
mod connection;
pub(crate) mod contents;
pub(crate) mod copies;
pub(crate) mod entries;
mod error;
pub(crate) mod files;
pub(crate) mod hosts;
pub(crate) mod invitations;
mod migrations;
pub(crate) mod multipart_uploads;
mod mysql;
mod pool_meter;
pub(crate) mod relocations;
mod replica;
mod retry;
pub(crate) mod scoped_tokens;
pub(crate) mod sessions;
mod sqlite;
mod statement;
pub(crate) mod tombstones;
pub(crate) mod transfers;
pub(crate) mod users;

pub(crate) use connection::{Connection, Transaction};
pub(crate) use retry::{Retryable, retry_transaction};
pub(crate) use sqlite::EMBEDDED_READERS;
pub(crate) use statement::{Lock, ROWS_A_STATEMENT, Row, Statement, query};

use statement::portions;

use std::path::Path;

use super::settings::{Database, Schema, Settings};
use super::{Error, Trial, UserId};
use replica::Replica;

/// Changes the row that is there to be changed.
const PROBE: &str = "UPDATE probes SET writes = writes + 1 WHERE id = 1";

/// The database of the server. A clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct Db {
    primary: Primary,
    replica: Option<Replica>,
}

#[derive(Debug, Clone)]
enum Primary {
    Sqlite(sqlite::SqlitePools),
    MySql(mysql::MysqlPools),
}

impl Db {
    /// Opens the database of these settings.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Unavailable`] when it cannot be opened, [`Error::DatabaseUrl`],
    /// [`Error::Migration`] when it is of a newer program or a migration fails, [`Error::Migrating`];
    /// [`Error::OtherVersion`] when it was to be expected.
    pub(crate) async fn open(settings: &Settings, schema: Schema) -> Result<Self, Error> {
        match &settings.database {
            Database::Embedded => {
                let pools = sqlite::SqlitePools::open(&settings.database_file(), schema).await?;
                Ok(Self { primary: Primary::Sqlite(pools), replica: None })
            }
            Database::MySql { primary, replica } => {
                let replica = replica.as_ref().map(Replica::open).transpose()?;
                let pools = mysql::MysqlPools::open(primary, schema).await?;
                Ok(Self { primary: Primary::MySql(pools), replica })
            }
        }
    }

    /// Connects once to the database of these settings, which is not made or migrated, and asks for its version and clock.
    ///
    /// # Errors
    /// [`Error::DatabaseUrl`], [`Error::Unavailable`], [`Error::Database`].
    pub(crate) async fn look(settings: &Settings) -> Result<Trial, Error> {
        match &settings.database {
            Database::Embedded => sqlite::look(&settings.database_file()).await,
            Database::MySql { primary, .. } => mysql::look(primary).await,
        }
    }

    /// The same of the replica; `None` when none is set up.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub(crate) async fn look_at_replica(settings: &Settings) -> Result<Option<Trial>, Error> {
        match &settings.database {
            Database::MySql { replica: Some(replica), .. } => mysql::look(replica).await.map(Some),
            Database::MySql { replica: None, .. } | Database::Embedded => Ok(None),
        }
    }

    /// Begins a change.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Unavailable`], [`Error::Database`].
    pub(crate) async fn write(&self) -> Result<Transaction, Error> {
        match &self.primary {
            Primary::Sqlite(pools) => pools.write().await,
            Primary::MySql(pools) => pools.write().await,
        }
    }

    /// Number of changes that are worth beginning at once: of more, all but a few only wait for each other.
    pub(crate) fn changes_at_once(&self) -> usize {
        match &self.primary {
            Primary::Sqlite(_) => 2,
            Primary::MySql(_) => 16,
        }
    }

    /// Begins a read of one snapshot of the database, with all that was committed before.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Unavailable`], [`Error::Database`].
    pub(crate) async fn read(&self) -> Result<Transaction, Error> {
        match &self.primary {
            Primary::Sqlite(pools) => pools.read().await,
            Primary::MySql(pools) => pools.read().await,
        }
    }

    /// Begins a read of a drive with all that was committed to it before. The replica serves it once it
    /// has the drive's last sequence number, which the primary is asked for.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) async fn read_drive(&self, user: UserId) -> Result<Transaction, Error> {
        let mut transaction = self.read().await?;
        let Some(replica) = &self.replica else { return Ok(transaction) };
        let Some(usage) = accounts::usage(&mut transaction, user).await? else {
            return Ok(transaction);
        };
        Ok(replica.read_drive(user, usage.seq).await.unwrap_or(transaction))
    }

    /// Begins a read of a snapshot that may lag behind; `None` when no replica serves it. What is not found
    /// there may be on the primary.
    pub(crate) async fn read_lagging(&self) -> Option<Transaction> {
        self.replica.as_ref()?.read().await
    }

    /// Writes a copy of an embedded database, as it is at one moment, to a file that is not there.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::NoSpace`].
    ///
    /// # Panics
    /// When the database is not embedded.
    pub(crate) async fn copy_to(&self, path: &Path) -> Result<(), Error> {
        match &self.primary {
            Primary::Sqlite(pools) => pools.copy_to(path).await,
            Primary::MySql(_) => panic!("only an embedded database is a file"),
        }
    }

    /// Checks that the database answers.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Unavailable`], [`Error::Database`] when it does not.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        query("SELECT 1").fetch_optional(&mut *self.read().await?).await.map(drop)
    }

    /// Checks that the database can be written to, by a change of a row that is there for this.
    ///
    /// # Errors
    /// As [`Self::write`]; [`Error::NoSpace`].
    pub(crate) async fn probe(&self) -> Result<(), Error> {
        retry_transaction(|| self.try_probe()).await
    }

    /// The same with a change that is taken back.
    ///
    /// # Errors
    /// As [`Self::write`]; [`Error::NoSpace`]; [`Error::Trial`] when the row is not there.
    pub(crate) async fn try_change(&self) -> Result<(), Error> {
        let mut transaction = self.write().await?;
        match query(PROBE).execute(&mut transaction).await? {
            1 => Ok(()),
            rows => Err(Error::Trial {
                what: "the database",
                said: format!("changed {rows} rows of 1"),
            }),
        }
    }

    async fn try_probe(&self) -> Result<(), Error> {
        let mut transaction = self.write().await?;
        query(PROBE).execute(&mut transaction).await?;
        transaction.commit().await
    }

    /// Tells how many connections there are, and how many of them are in use.
    pub(crate) fn measure(&self) {
        if let Some(replica) = &self.replica {
            replica.measure();
        }
        match &self.primary {
            Primary::Sqlite(pools) => pools.measure(),
            Primary::MySql(pools) => pools.measure(),
        }
    }

    /// Gives up memory that makes the next statements fast, and that may be read again.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(crate) async fn shrink(&self) -> Result<(), Error> {
        match &self.primary {
            Primary::Sqlite(pools) => pools.shrink().await,
            Primary::MySql(_) => Ok(()),
        }
    }

    /// Closes all connections.
    pub(crate) async fn close(&self) {
        if let Some(replica) = &self.replica {
            replica.close().await;
        }
        match &self.primary {
            Primary::Sqlite(pools) => pools.close().await,
            Primary::MySql(pools) => pools.close().await,
        }
    }
}
