//! How what was acknowledged becomes durable: the write-ahead log, and what may happen only after it.
//!
//! A commit is in the kernel's page cache. Three things wait until the log is on the disk, because
//! power loss could undo the commit but not them: unlinking the data file of a node that is gone,
//! punching a hole where a chunk was evicted, cutting a data file to a new content. A timer syncs
//! the log every few seconds, so nothing waits long.
//!
//! The log is worked into the database beside the commits. SQLite begins it anew with the first commit that finds all of it worked
//! in, which never happens while somebody always commits: then commits wait for one short pass when it has become very long.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::database::Database;
use super::schema;
use crate::store::error::{Error, while_doing};

/// Size of the log from which it is worked into the database.
const CHECKPOINT_SIZE: u64 = 16 * 1024 * 1024;
/// Passes without anybody waiting; each is shorter than the one before, as it finds what was committed during that.
const PASSES: u32 = 2;

/// The write-ahead log of `state.db`, as a file of our own to sync.
///
/// SQLite keeps the same file as long as a connection is open, and the store's connection outlives
/// this. Its locks are on other files, so this descriptor does no harm to them.
#[derive(Debug)]
pub(crate) struct Journal {
    log: File,
    database: PathBuf,
}

impl Journal {
    /// The log of a database that is open and has been written to.
    pub(crate) fn new(database: &Path) -> Result<Self, Error> {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        let log = File::open(log).map_err(while_doing("opening the database's log"))?;
        Ok(Self { log, database: database.to_owned() })
    }

    /// Path of the database.
    pub(crate) fn database(&self) -> &Path {
        &self.database
    }

    /// Has all that is committed survive power loss.
    ///
    /// `fdatasync` also makes the length of the log durable, and a frame counts only when its
    /// checksum and all before it are right, so the tree comes back as of some commit, no older
    /// than this one.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.log.sync_data().map_err(while_doing("syncing the database's log"))
    }

    /// Works the log into the database if it has grown long, on a connection of its own so that
    /// commits go on meanwhile.
    pub(crate) fn checkpoint(
        &self,
        connection: &mut Option<Database>,
    ) -> Result<Checkpointed, Error> {
        if self.length()? < CHECKPOINT_SIZE {
            return Ok(Checkpointed::Enough);
        }
        if connection.is_none() {
            *connection = Some(schema::connect(&self.database)?);
        }
        if let Some(connection) = connection {
            for _ in 0..PASSES {
                connection.checkpoint()?;
            }
        }
        let is_long = self.length()? > schema::LOG_MAX;
        Ok(if is_long { Checkpointed::Mostly } else { Checkpointed::Enough })
    }

    /// Bytes of the log, among them those of before it was begun anew.
    fn length(&self) -> Result<u64, Error> {
        let found = self.log.metadata().map_err(while_doing("looking at the database's log"))?;
        Ok(found.len())
    }
}

/// Result of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checkpointed {
    /// The log is short, or will be begun anew when nobody commits for a moment.
    Enough,
    /// The log has become very long since somebody always commits.
    Mostly,
}
