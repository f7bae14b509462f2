//! The rules of the server, by feature; knows neither HTTP nor SQL.

pub mod accounts;
pub mod batch;
mod caller;
pub mod changes;
mod collection;
mod commit;
pub mod contents;
pub mod downloads;
mod error;
pub mod fastupload;
pub mod files;
mod passwords;
mod paths;
pub mod plain;
mod policy;
mod reader;
mod session;
#[cfg(test)]
mod tests;
mod tokens;
mod transfer;
mod tries;
pub mod uploads;

pub use caller::Caller;
pub use error::Error;
pub use policy::{Dedup, Policy, Role, Roles, SignUps};

use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::db::Db;
use crate::backend::tracker::Tracker;
use crate::backend::{self, DataLock};
use crate::service::accounts::Accounts;
use crate::service::batch::Batches;
use crate::service::changes::Changes;
use crate::service::contents::Contents;
use crate::service::downloads::Downloads;
use crate::service::fastupload::FastUploads;
use crate::service::files::Files;
use crate::service::plain::PlainUploads;
use crate::service::tokens::Tokens;
use crate::service::transfer::Transfers;
use crate::service::uploads::Uploads;

/// Everything that the server can do, opened once; a clone is the same.
#[derive(Debug, Clone)]
pub struct Services {
    /// Chunked uploads.
    pub uploads: Uploads,
    /// Many small contents at once.
    pub batches: Batches,
    /// Contents without their bytes, for a proof.
    pub fast_uploads: FastUploads,
    /// Whole files in one request.
    pub plain_uploads: PlainUploads,
    /// Contents out, and where they are.
    pub downloads: Downloads,
    /// Signing up, in and out.
    pub accounts: Accounts,
    /// The feeds of the drives.
    pub changes: Changes,
    /// The drives.
    pub files: Files,
    contents: Arc<Contents>,
    db: Db,
    tracker: Tracker,
    stop: CancellationToken,
    _lock: Arc<DataLock>,
}

impl Services {
    /// Opens what the services stand on, in `data`. Whoever waits for news ends when `stop` is
    /// cancelled.
    ///
    /// # Errors
    /// [`Error::Backend`] when the data cannot be made, opened or migrated.
    pub async fn open(data: &Path, policy: Policy, stop: CancellationToken) -> Result<Self, Error> {
        make_private_directory(data)?;
        let lock = Arc::new(DataLock::take(data)?);
        let policy = Arc::new(policy);
        let db = Db::open(&data.join("miaofs.db")).await?;
        let tracker = Tracker::open(&data.join("tracker.db")).await?;
        let lifetimes = [policy.access_ttl, policy.refresh_ttl];
        let tokens = Tokens::new(tracker.clone(), &data.join("token.key"), lifetimes)?;
        let changes = Changes::new(db.clone(), stop.clone());
        let files = Files::new(db.clone(), changes.clone(), policy.clone());
        let accounts = Accounts::new(db.clone(), tracker.clone(), tokens, policy.clone());
        let contents = Contents::open(data, db.clone(), tracker.clone(), policy)?;
        let uploads = Uploads::new(contents.clone());
        uploads.recover().await?;
        Ok(Self {
            accounts,
            changes,
            files,
            uploads,
            batches: Batches::new(contents.clone()),
            fast_uploads: FastUploads::new(contents.clone()),
            plain_uploads: PlainUploads::new(contents.clone()),
            downloads: Downloads::new(contents.clone()),
            contents,
            db,
            tracker,
            stop,
            _lock: lock,
        })
    }

    /// Starts the work that no request asks for, until the `stop` of [`Self::open`].
    pub fn start_workers(&self, roles: &Roles, workers: &TaskTracker) {
        let contents = || self.contents.clone();
        let stop = || self.stop.clone();
        if roles.contains(Role::Upload) {
            workers.spawn(collection::sweep_forever(contents(), self.uploads.clone(), stop()));
            workers.spawn(collection::measure_forever(contents(), stop()));
        }
        if roles.contains(Role::Transfer) {
            let transfers = Transfers::new(contents());
            workers.spawn(transfers.clone().relay(stop()));
            workers.spawn(transfers.clone().work(stop()));
            workers.spawn(transfers.finish(stop()));
            workers.spawn(collection::collect_forever(contents(), stop()));
        }
    }

    /// Whether requests can be served now.
    ///
    /// # Errors
    /// [`Error::Backend`] of what does not answer.
    pub async fn ready(&self) -> Result<(), Error> {
        Ok(self.db.ping().await?)
    }

    /// Closes the files, after the last request and worker.
    pub async fn close(&self) {
        self.tracker.close().await;
        self.db.close().await;
    }
}

fn make_private_directory(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| backend::Error::file(path, error).into())
}
