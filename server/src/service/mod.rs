//! The rules of the server, by feature; knows neither HTTP nor SQL.

mod caller;
mod error;
mod policy;

pub use caller::Caller;
pub use error::Error;
pub use policy::{Dedup, Policy, Role, Roles, SignUps};

use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend;
use crate::backend::db::Db;

/// Everything that the server can do, opened once; a clone is the same.
#[derive(Debug, Clone)]
pub struct Services {
    db: Db,
    policy: Arc<Policy>,
    stop: CancellationToken,
}

impl Services {
    /// Opens what the services stand on, in `data`. Whoever waits for news ends when `stop` is
    /// cancelled.
    ///
    /// # Errors
    /// [`Error::Backend`] when the data cannot be made, opened or migrated.
    pub async fn open(data: &Path, policy: Policy, stop: CancellationToken) -> Result<Self, Error> {
        make_private_directory(data)?;
        let db = Db::open(&data.join("miaofs.db")).await?;
        Ok(Self { db, policy: Arc::new(policy), stop })
    }

    /// Starts the work that no request asks for, until the `stop` of [`Self::open`].
    pub fn start_workers(&self, roles: &Roles, workers: &TaskTracker) {
        let _none_yet = (roles, workers, &self.stop, &self.policy);
    }

    /// Who shows this access token.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] unless it is signed by this server, not expired and not ended.
    pub async fn authenticate(&self, _token: &str) -> Result<Caller, Error> {
        Err(Error::Unauthorized)
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
