//! The backends of the server: SQL, the tracker, the queue, staging disks and stores; no rule of the service.

pub(crate) mod blobs;
mod blocking;
mod clock;
mod data_directory;
pub(crate) mod db;
mod direct_write;
mod error;
pub(crate) mod free_space;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod ids;
mod key_prefix;
pub(crate) mod layout;
mod lock;
pub(crate) mod peers;
mod process;
pub(crate) mod queue;
mod rotating_file;
mod settings;
pub(crate) mod spool;
mod sqlite;
pub(crate) mod staging;
mod token_key;
pub(crate) mod tracker;
mod trial;

pub(crate) use blocking::{Priority, background_thread, run_blocking, run_to_completion};
pub(crate) use clock::{even_for, unix_now};
pub(crate) use data_directory::{BlobCopied, DataDirectory};
pub(crate) use error::Error;
pub(crate) use ids::{BlobId, InvitationId, TokenId, TransferId, UserId};
pub(crate) use key_prefix::KeyPrefix;
pub(crate) use process::{half_of_processors, open_files, resident_bytes};
pub(crate) use rotating_file::{RotatingFile, RotatingFileSettings};
pub(crate) use settings::{Database, RedisSettings, Schema, Settings, StagingUse};
pub(crate) use token_key::TokenKeys;
pub(crate) use trial::{TRIAL_LIMIT, Trial, try_directory, within_limit};

use std::path::Path;
use std::sync::Arc;

use blobs::Stores;
use db::Db;
use lock::DataLock;
use peers::Peers;
use queue::Queue;
use spool::Spools;
use staging::Staging;
use tracker::Tracker;

/// All backends of one process, opened once. A clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct Backends {
    /// The settings that they were opened with.
    pub settings: Settings,
    /// Durable records.
    pub db: Db,
    /// Records with a lifetime, all of which may be lost.
    pub tracker: Tracker,
    /// Messages about transfers that are due.
    pub queue: Queue,
    /// The staging disk, on which blobs are received.
    pub staging: Staging,
    /// Files for bytes that wait for somebody slower.
    pub spools: Spools,
    /// The stores that keep blobs.
    pub stores: Stores,
    /// The other hosts of this server.
    pub peers: Peers,
    /// The keys of access and refresh tokens.
    pub token_keys: TokenKeys,
    /// The file of the audit log, when there is to be one.
    pub audit_file: Option<RotatingFile>,
    /// Locks of the data directory, held by the process that serves.
    _locks: Arc<[DataLock]>,
}

impl Backends {
    /// Opens the backends to serve; those in the data directory are made when absent.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has the data directory, else whatever cannot be made,
    /// opened or migrated.
    pub(crate) async fn open(settings: &Settings) -> Result<Self, Error> {
        if settings.has_data() {
            create_private_directory(&settings.data)?;
            clock::keep(&settings.clock_file())?;
        }
        let staging = match settings.staging {
            StagingUse::Nothing => Staging::open_unowned(&settings.staging_directory())?,
            _ => Staging::open(&settings.staging_directory())?,
        };
        let locks = settings.locks().into_iter().map(|path| DataLock::acquire(&path));
        let locks = locks.collect::<Result<Arc<[_]>, _>>()?;
        let db = Db::open(settings, settings.schema).await?;
        Self::assemble(db, settings, staging, locks).await
    }

    /// Opens the backends of a server that may be running: nothing is locked or migrated, and every use is
    /// a transaction of its own.
    ///
    /// # Errors
    /// [`Error::NoData`] when there is no server's data; [`Error::OtherVersion`]; else whatever cannot
    /// be opened.
    pub(crate) async fn open_shared(settings: &Settings) -> Result<Self, Error> {
        let embedded = matches!(settings.database, Database::Embedded);
        if embedded && !settings.database_file().exists() {
            return Err(Error::NoData(settings.data.clone()));
        }
        clock::resume(&settings.clock_file());
        let db = Db::open(settings, Schema::Expect).await?;
        let staging = Staging::open_unowned(&settings.staging_directory())?;
        Self::assemble(db, settings, staging, Arc::new([])).await
    }

    async fn assemble(
        db: Db,
        settings: &Settings,
        staging: Staging,
        locks: Arc<[DataLock]>,
    ) -> Result<Self, Error> {
        let spools = match settings.staging {
            StagingUse::Nothing => Spools::new(&std::env::temp_dir()),
            _ => Spools::new(&settings.staging_directory()),
        };
        Ok(Self {
            settings: settings.clone(),
            spools,
            db,
            tracker: Tracker::open(settings).await?,
            queue: Queue::open(&settings.queue)?,
            staging,
            stores: Stores::open(&settings.stores)?,
            peers: Peers::new(settings.peer_ca.as_deref())?,
            token_keys: TokenKeys::load(&settings.token_key_file())?,
            audit_file: settings.audit.clone().map(RotatingFile::open).transpose()?,
            _locks: locks,
        })
    }

    /// Closes what has to be closed in order, after the last use.
    pub(crate) async fn close(&self) {
        self.tracker.close().await;
        self.db.close().await;
    }
}

fn create_private_directory(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Error::file(path, error))
}
