//! Connections and transactions, the same for every database.

use std::ops::{Deref, DerefMut};

use sqlx::{MySql, Sqlite};

use super::error::commit_error;
use crate::backend::Error;

/// One connection, within a transaction.
#[derive(Debug)]
pub(crate) struct Connection(Driver);

/// The transaction of a driver, which every connection is in.
#[derive(Debug)]
pub(super) enum Driver {
    /// Of SQLite.
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    /// Of MySQL or MariaDB.
    MySql(sqlx::Transaction<'static, MySql>),
}

impl Connection {
    /// True if no other change can begin before this one ends, so that nothing has to be locked.
    pub(super) const fn is_alone(&self) -> bool {
        matches!(self.0, Driver::Sqlite(_))
    }

    pub(super) fn driver(&mut self) -> &mut Driver {
        &mut self.0
    }
}

/// A transaction; it is rolled back unless committed.
#[derive(Debug)]
pub(crate) struct Transaction(Connection);

impl Transaction {
    pub(super) const fn new(driver: Driver) -> Self {
        Self(Connection(driver))
    }

    /// Makes what was done in it stay.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::SerializationFailure`]; then it is rolled back.
    /// [`Error::CommitUnknown`] when the connection broke meanwhile, and nobody knows.
    pub(crate) async fn commit(self) -> Result<(), Error> {
        match self.0.0 {
            Driver::Sqlite(transaction) => Ok(transaction.commit().await?),
            Driver::MySql(transaction) => transaction.commit().await.map_err(commit_error),
        }
    }
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}
