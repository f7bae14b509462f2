//! The outbox as an operator sees it: what waits, what rests and why, and how to let it begin anew.

use crate::backend::db::transfers::{self, ListedTransfer, TransferCount, TransferState};
use crate::backend::db::{self, Db};
use crate::backend::queue::{Queue, QueueDepth, RoutingKey};
use crate::backend::{self, Backends, TransferId, unix_now};
use crate::service::Error;

/// Transfers that are read at once.
const PAGE: usize = 500;
/// Dead letters that are taken out of their queue at once.
const LETTERS: usize = 1000;

/// The outbox of all hosts.
#[derive(Debug)]
pub(crate) struct Outbox {
    db: Db,
    queue: Queue,
}

/// Selection of dead transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// This one.
    One(TransferId),
    /// All that rest.
    AllDead,
}

impl Outbox {
    /// The outbox in these backends.
    pub(crate) fn new(backends: &Backends) -> Self {
        Self { db: backends.db.clone(), queue: backends.queue.clone() }
    }

    /// Some transfers in this state, or in any, in the order of their ids after one of them; none when
    /// there are no more.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(crate) async fn page(
        &self,
        state: Option<TransferState>,
        after: Option<TransferId>,
    ) -> Result<Vec<ListedTransfer>, Error> {
        Ok(transfers::page(&mut *self.db.read().await?, state, after, PAGE).await?)
    }

    /// Counts the transfers of each host in each state.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(crate) async fn counts(&self) -> Result<Vec<TransferCount>, Error> {
        Ok(transfers::counts(&mut *self.db.read().await?).await?)
    }

    /// Lengths of the queues of these counts' hosts, and last that of the dead letters; none when the
    /// queue is within the server's process.
    ///
    /// # Errors
    /// [`Error::Backend`] when the queue does not answer.
    pub(crate) async fn depths(&self, counts: &[TransferCount]) -> Result<Vec<QueueDepth>, Error> {
        let mut lanes: Vec<RoutingKey> =
            counts.iter().map(|count| RoutingKey::of_host(&count.host)).collect();
        lanes.dedup();
        Ok(self.queue.depths(&lanes).await?)
    }

    /// Lets transfers that rest begin anew, with all their tries; answers how many.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the one that is meant does not rest, [`Error::Backend`].
    pub(crate) async fn retry(&self, which: Which) -> Result<u64, Error> {
        let revived = db::retry_transaction(|| self.revive(which)).await?;
        if revived == 0 && which != Which::AllDead {
            return Err(Error::NotFound("transfer that rests"));
        }
        if let Err(error) = self.clear_dead_letters().await {
            tracing::warn!(%error, "dead letters of transfers that begin anew are left in the queue");
        }
        Ok(revived)
    }

    async fn revive(&self, which: Which) -> Result<u64, backend::Error> {
        let mut transaction = self.db.write().await?;
        let revived = match which {
            Which::AllDead => transfers::revive_all(&mut transaction, unix_now()).await?,
            Which::One(id) => transfers::revive(&mut transaction, id, unix_now()).await?.into(),
        };
        transaction.commit().await?;
        Ok(revived)
    }

    /// Takes the letters of transfers that rest no more out of the queue of the dead; the table has
    /// already said what becomes of them.
    async fn clear_dead_letters(&self) -> Result<(), backend::Error> {
        let mut kept = Vec::new();
        loop {
            let letters = self.queue.dead_letters(LETTERS).await?;
            if letters.is_empty() {
                return Ok(());
            }
            for letter in letters {
                let mut db = self.db.read().await?;
                match transfers::state(&mut db, letter.message.transfer).await? {
                    Some(TransferState::Dead) => kept.push(letter),
                    _ => letter.ack().await,
                }
            }
        }
    }
}
