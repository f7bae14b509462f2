//! Migration: everything that is in one store moves to another one, while all of it is read.
//!
//! Whoever asks for it only writes into the outbox what has to move, and looks how far it is; processes that
//! transfer do the rest. So it may be ended and begun again at any moment.

use futures::stream::StreamExt as _;
use serde::Serialize;

use crate::backend::blobs::{StoreName, Stores};
use crate::backend::db::transfers::{Route, TransferState};
use crate::backend::db::{self, Db, relocations};
use crate::backend::queue::RoutingKey;
use crate::backend::{self, Backends, BlobId, unix_now};
use crate::service::Error;

/// Blobs that are written into the outbox at once.
const PAGE: u32 = 200;
/// Transfers that wait or are at work at the most: what is in a store may be far more than an outbox
/// should hold.
const MOVING_MAX: u64 = 2000;

/// One migration. What it has begun goes on without it.
#[derive(Debug)]
pub(crate) struct Migration {
    db: Db,
    stores: Stores,
    route: Route,
}

/// Result of feeding the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fed {
    /// Blobs of so many bytes.
    Bytes(u64),
    /// Nothing: enough waits there.
    Enough,
    /// Nothing: there is nothing that has not begun.
    AllHasBegun,
}

/// Progress of a migration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Progress {
    /// Copies that are still in the store that is to be left.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Transfers that wait or are at work.
    pub moving: u64,
    /// Blobs that have moved and whose old object stays until nobody reads it any more.
    pub leaving: u64,
    /// Transfers that have failed for good.
    pub failed: u64,
}

impl Progress {
    /// True if all has moved and nothing is left.
    pub(crate) const fn is_done(&self) -> bool {
        self.blobs + self.moving + self.leaving + self.failed == 0
    }
}

impl Migration {
    /// Begins a migration or goes on with it; what failed for good gets all its tries again.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the stores are the same, one of them is not set up, or a migration between
    /// other stores is not done; [`Error::Backend`].
    pub(crate) async fn begin(
        backends: &Backends,
        from: StoreName,
        to: StoreName,
    ) -> Result<Self, Error> {
        let stores = backends.stores.clone();
        if from == to {
            return Err(Error::Invalid(format!("everything in {from} is in {to} already")));
        }
        let unknown = [from, to].into_iter().find(|name| !stores.names().any(|it| it == *name));
        if let Some(name) = unknown {
            let said = format!("the store {name} is not set up; add [stores.{name}]");
            return Err(Error::Invalid(said));
        }
        let migration = Self { db: backends.db.clone(), stores, route: Route { from, to } };
        migration.refuse_beside_another().await?;
        db::retry_transaction(|| migration.revive()).await?;
        Ok(migration)
    }

    async fn refuse_beside_another(&self) -> Result<(), Error> {
        let counts = relocations::counts(&mut *self.db.read().await?).await?;
        match counts.iter().find(|(route, ..)| *route != self.route) {
            None => Ok(()),
            Some((Route { from, to }, ..)) => Err(Error::Invalid(format!(
                "a migration from {from} to {to} is not done; end it first: migrate --from {from} --to {to}"
            ))),
        }
    }

    async fn revive(&self) -> Result<(), backend::Error> {
        let mut transaction = self.db.write().await?;
        relocations::revive(&mut transaction, self.route, unix_now()).await?;
        transaction.commit().await
    }

    /// True if new uploads still go to the store that is to be left, as far as this configuration says.
    pub(crate) fn is_refilled(&self) -> bool {
        self.stores.policy().contains(&self.route.from)
    }

    /// Writes into the outbox what has to move: blobs until they have `bytes` bytes together, at least
    /// one, at most a page.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(crate) async fn feed(&self, bytes: u64) -> Result<Fed, Error> {
        if self.progress().await?.moving >= MOVING_MAX {
            return Ok(Fed::Enough);
        }
        Ok(db::retry_transaction(|| self.feed_once(bytes)).await?)
    }

    async fn feed_once(&self, bytes: u64) -> Result<Fed, backend::Error> {
        let mut transaction = self.db.write().await?;
        let unbegun = relocations::movable(&mut transaction, self.route.from, PAGE).await?;
        let mut fed = 0;
        let enough = |(_blob, size): &(BlobId, u64)| {
            let first = fed < bytes.max(1);
            fed += size;
            first
        };
        let some: Vec<_> = unbegun.into_iter().take_while(enough).collect();
        if some.is_empty() {
            return Ok(Fed::AllHasBegun);
        }
        let fed = some.iter().map(|(_blob, size)| size).sum();
        let blobs: Vec<BlobId> = some.into_iter().map(|(blob, _size)| blob).collect();
        let lane = RoutingKey::shared();
        let due = (lane.as_str(), unix_now());
        relocations::insert(&mut transaction, &blobs, self.route, due).await?;
        transaction.commit().await?;
        Ok(Fed::Bytes(fed))
    }

    /// Counts what has moved and what has not.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(crate) async fn progress(&self) -> Result<Progress, Error> {
        let mut db = self.db.read().await?;
        // Transfers first: what they have moved is then not counted in the store, never the other way.
        let counts = relocations::counts(&mut db).await?;
        let (blobs, bytes) = relocations::copies_in(&mut db, self.route.from).await?;
        let mut progress = Progress { blobs, bytes, ..Progress::default() };
        for (_route, state, count) in counts.into_iter().filter(|(route, ..)| *route == self.route)
        {
            match state {
                TransferState::Pending | TransferState::Published => progress.moving += count,
                TransferState::Moved => progress.leaving += count,
                TransferState::Dead => progress.failed += count,
            }
        }
        Ok(progress)
    }

    /// Why one of those that failed for good did so.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(crate) async fn any_error(&self) -> Result<Option<String>, Error> {
        Ok(relocations::any_error(&mut *self.db.read().await?, self.route).await?)
    }

    /// Counts the objects of this server in the store that was left, copies or not.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(crate) async fn objects_left(&self) -> Result<u64, Error> {
        let from = self.route.from;
        let mut found = self.stores.list(from)?;
        let mut count = 0;
        while let Some(object) = found.next().await {
            count += u64::from(self.stores.blob_of(from, &object?.key).is_some());
        }
        Ok(count)
    }
}
