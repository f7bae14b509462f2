//! The rules of the server, by feature; knows neither HTTP nor SQL.

pub mod accounts;
pub mod batch;
mod caller;
pub mod changes;
pub mod collection;
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
pub mod users;

pub use caller::Caller;
pub use error::Error;
pub use policy::{Dedup, Policy, Role, Roles, SignUps};

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::Backends;
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
    backends: Backends,
    stop: CancellationToken,
}

impl Services {
    /// Opens the services on these backends. Whoever waits for news ends when `stop` is cancelled.
    ///
    /// # Errors
    /// [`Error::Backend`] when the token key cannot be read or made, or what a former run has left
    /// cannot be found again.
    pub async fn open(
        backends: Backends,
        policy: Policy,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let policy = Arc::new(policy);
        let Backends { db, tracker, settings, .. } = backends.clone();
        let lifetimes = [policy.access_ttl, policy.refresh_ttl];
        let tokens = Tokens::new(tracker.clone(), &settings.token_key_file(), lifetimes)?;
        let changes = Changes::new(db.clone(), stop.clone());
        let files = Files::new(db.clone(), changes.clone(), policy.clone());
        let accounts = Accounts::new(db, tracker, tokens, policy.clone());
        let contents = Contents::new(&backends, policy);
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
            backends,
            stop,
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
        Ok(self.backends.db.ping().await?)
    }

    /// Closes the files, after the last request and worker.
    pub async fn close(&self) {
        self.backends.close().await;
    }
}
