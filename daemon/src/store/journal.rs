//! How what was acknowledged becomes durable: the write-ahead log, and what may happen only after it.
//!
//! A commit is in the kernel's page cache. Three things wait until the log is on the disk, because
//! power loss could undo the commit but not them: unlinking the data file of a node that is gone,
//! punching a hole where a chunk was evicted, cutting a data file to a new content. A timer syncs
//! the log every few seconds, so nothing waits long.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;

use super::error::while_doing;
use super::{Error, Store, content_rows, recovery, schema};

/// How long a commit may be in memory only, when nobody asks for more.
const INTERVAL: Duration = Duration::from_secs(5);
/// Size of the log from which it is worked into the database.
const CHECKPOINT_SIZE: u64 = 16 * 1024 * 1024;

/// The write-ahead log of `state.db`, as a file of our own to sync.
///
/// SQLite keeps the same file as long as a connection is open, and the store's connection outlives
/// this. Its locks are on other files, so this descriptor does no harm to them.
#[derive(Debug)]
pub(super) struct Journal {
    log: File,
    database: PathBuf,
}

impl Journal {
    /// The log of a database that is open and has been written to.
    pub(super) fn new(database: &Path) -> Result<Self, Error> {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        let log = File::open(log).map_err(while_doing("opening the database's log"))?;
        Ok(Self { log, database: database.to_owned() })
    }

    /// Has all that is committed survive power loss.
    ///
    /// `fdatasync` also makes the length of the log durable, and a frame counts only when its
    /// checksum and all before it are right, so the tree comes back as of some commit, no older
    /// than this one.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.log.sync_data().map_err(while_doing("syncing the database's log"))
    }

    /// Works the log into the database if it has grown long, on a connection of its own so that
    /// commits go on meanwhile.
    fn checkpoint(&self, connection: &mut Option<Connection>) -> Result<Checkpointed, Error> {
        let length =
            self.log.metadata().map_err(while_doing("looking at the database's log"))?.len();
        if length < CHECKPOINT_SIZE {
            return Ok(Checkpointed::NotNeeded);
        }
        if connection.is_none() {
            *connection = Some(schema::connect(&self.database)?);
        }
        if let Some(connection) = connection {
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        }
        Ok(Checkpointed::Mostly)
    }
}

enum Checkpointed {
    NotNeeded,
    /// What was committed meanwhile is left.
    Mostly,
}

/// The thread that syncs the journal from time to time; it ends with this.
#[derive(Debug)]
pub(super) struct Timer {
    _alive: Sender<()>,
}

impl Timer {
    /// Starts the thread. It does not keep the store alive.
    pub(super) fn start(store: &Arc<Store>) -> Result<Self, Error> {
        let store = Arc::downgrade(store);
        let (alive, ended) = mpsc::channel();
        thread::Builder::new()
            .name("store-timer".to_owned())
            .spawn(move || {
                let mut connection = None;
                while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    tick(&store, &mut connection);
                }
            })
            .map_err(while_doing("starting the store's timer"))?;
        Ok(Self { _alive: alive })
    }
}

fn tick(store: &Weak<Store>, connection: &mut Option<Connection>) {
    let Some(store) = store.upgrade() else { return };
    if let Err(error) = store.note_time().and_then(|()| store.sync_tree()) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the journal could not be synced");
    }
    if let Err(error) = store.checkpoint(connection) {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the journal could not be shortened"
        );
    }
}

impl Store {
    /// Makes the tree (names, attributes, what is dirty) survive power loss, not the bytes of files.
    pub(crate) fn sync_tree(&self) -> Result<super::Durable, Error> {
        let graves = {
            let mut tree = self.tree();
            tree.transact(|tree| tree.bury_forgotten().and_then(|()| tree.settle_all()))?;
            std::mem::take(&mut tree.graves)
        };
        if let Err(error) = self.journal.sync() {
            self.tree().graves.extend(graves);
            return Err(error);
        }
        if !graves.is_empty() {
            for ino in &graves {
                self.data.remove(*ino)?;
            }
            self.tree().transact(|tree| {
                tree.begin()?;
                graves.iter().try_for_each(|ino| content_rows::remove_grave(&tree.db, *ino))
            })?;
        }
        Ok(super::Durable(()))
    }

    /// Writes the time down if something was committed since that was done.
    fn note_time(&self) -> Result<(), Error> {
        let mut tree = self.tree();
        if tree.has_committed {
            tree.transact(|tree| {
                tree.begin()?;
                recovery::note_time(&tree.db)
            })?;
            tree.has_committed = false;
        }
        Ok(())
    }

    fn checkpoint(&self, connection: &mut Option<Connection>) -> Result<(), Error> {
        match self.journal.checkpoint(connection)? {
            Checkpointed::NotNeeded => {}
            // With nobody committing, the rest is short, and the next commit begins the log anew.
            Checkpointed::Mostly => {
                let _nobody_commits = self.tree();
                self.journal.checkpoint(connection)?;
            }
        }
        Ok(())
    }
}
