//! The replica: reads that may lag behind what was committed, or that are known not to.
//!
//! A replica applies transactions whole and in order, and each commit to a drive counts its sequence
//! number up in the same transaction. So a replica that has a drive's last number has all of the drive,
//! whichever process committed it. One that fails is left alone for a moment: the primary serves meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use sqlx::MySqlPool;

use super::connection::Transaction;
use super::{accounts, mysql};
use crate::backend::{Error, UserId};

/// Time for which a replica that failed is not used.
const REST: Duration = Duration::from_secs(5);

/// A replica of the database. A clone is the same.
#[derive(Debug, Clone)]
pub(super) struct Replica {
    pool: MySqlPool,
    resting_until: Arc<Mutex<Option<Instant>>>,
}

/// Result of a read that a replica might have served.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    Served,
    Behind,
    Failed,
}

impl Replica {
    /// Will connect to the replica when it is asked for something.
    ///
    /// # Errors
    /// [`Error::DatabaseUrl`].
    pub(super) fn open(url: &SecretString) -> Result<Self, Error> {
        Ok(Self { pool: mysql::replica(url)?, resting_until: Arc::default() })
    }

    /// A look at a drive, if all of it is here up to the sequence number.
    pub(super) async fn look_at(&self, user: UserId, seq: u64) -> Option<Transaction> {
        let mut look = self.begin().await?;
        match accounts::usage(&mut look, user).await {
            Ok(Some(usage)) if usage.seq >= seq => {
                count(Outcome::Served);
                Some(look)
            }
            Ok(_) => {
                count(Outcome::Behind);
                None
            }
            Err(error) => self.rest(&error),
        }
    }

    /// A look at what is here by now.
    pub(super) async fn look(&self) -> Option<Transaction> {
        let look = self.begin().await?;
        count(Outcome::Served);
        Some(look)
    }

    /// Ends all connections.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    async fn begin(&self) -> Option<Transaction> {
        if self.is_resting() {
            return None;
        }
        match mysql::begin_look(&self.pool).await {
            Ok(look) => Some(look),
            Err(error) => self.rest(&error),
        }
    }

    fn is_resting(&self) -> bool {
        let until = self.resting_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn rest(&self, error: &Error) -> Option<Transaction> {
        count(Outcome::Failed);
        tracing::warn!(%error, "the replica does not serve: the primary does");
        let mut until = self.resting_until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = Some(Instant::now() + REST);
        None
    }
}

fn count(outcome: Outcome) {
    let outcome = match outcome {
        Outcome::Served => "served",
        Outcome::Behind => "behind",
        Outcome::Failed => "failed",
    };
    metrics::counter!("miaofs_replica_reads_total", "outcome" => outcome).increment(1);
}
