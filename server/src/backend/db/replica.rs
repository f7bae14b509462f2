//! The replica: reads that may lag behind what was committed, or that are known not to.
//!
//! A replica applies transactions whole and in order, and each commit to a drive counts its sequence
//! number up in the same transaction. So a replica that has a drive's last number has all of the drive,
//! whichever process committed it. One that fails is not used for a moment: the primary serves meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use sqlx::MySqlPool;

use super::connection::Transaction;
use super::pool_meter::PoolMeter;
use super::{accounts, mysql};
use crate::backend::{Error, UserId};

/// Time for which a replica that failed is not used.
const PAUSE: Duration = Duration::from_secs(5);

/// A replica of the database. A clone is the same.
#[derive(Debug, Clone)]
pub(super) struct Replica {
    pool: MySqlPool,
    meter: PoolMeter,
    paused_until: Arc<Mutex<Option<Instant>>>,
}

/// Result of a read that a replica might have served.
#[derive(Debug, Clone, Copy)]
enum ReplicaRead {
    Served,
    Behind,
    Failed,
}

impl Replica {
    /// Opens the replica; connects when something is read first.
    ///
    /// # Errors
    /// [`Error::DatabaseUrl`].
    pub(super) fn open(url: &SecretString) -> Result<Self, Error> {
        let (pool, meter) = (mysql::replica(url)?, mysql::replica_meter());
        Ok(Self { pool, meter, paused_until: Arc::default() })
    }

    /// Begins a read of a drive, if the replica has all of it up to the sequence number.
    pub(super) async fn read_drive(&self, user: UserId, seq: u64) -> Option<Transaction> {
        let mut transaction = self.begin().await?;
        match accounts::usage(&mut transaction, user).await {
            Ok(Some(usage)) if usage.seq >= seq => {
                count(ReplicaRead::Served);
                Some(transaction)
            }
            Ok(_) => {
                count(ReplicaRead::Behind);
                None
            }
            Err(error) => self.pause(&error),
        }
    }

    /// Begins a read of what the replica has by now.
    pub(super) async fn read(&self) -> Option<Transaction> {
        let transaction = self.begin().await?;
        count(ReplicaRead::Served);
        Some(transaction)
    }

    /// Tells how many connections there are.
    pub(super) fn measure(&self) {
        self.meter.tell(&self.pool);
    }

    /// Ends all connections.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    async fn begin(&self) -> Option<Transaction> {
        if self.is_paused() {
            return None;
        }
        match self.meter.time(mysql::begin_read_only(&self.pool)).await {
            Ok(transaction) => Some(transaction),
            Err(error) => self.pause(&error),
        }
    }

    fn is_paused(&self) -> bool {
        let until = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn pause(&self, error: &Error) -> Option<Transaction> {
        count(ReplicaRead::Failed);
        tracing::warn!(%error, "the replica does not serve: the primary does");
        let mut until = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = Some(Instant::now() + PAUSE);
        None
    }
}

fn count(outcome: ReplicaRead) {
    let outcome = match outcome {
        ReplicaRead::Served => "served",
        ReplicaRead::Behind => "behind",
        ReplicaRead::Failed => "failed",
    };
    metrics::counter!("miaofs_replica_reads_total", "outcome" => outcome).increment(1);
}
