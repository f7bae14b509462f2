//! The thread that syncs the journal every few seconds, shortens it, and sees to the disk's free room.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::recovery;
use crate::store::core::{Store, TimerThread};
use crate::store::disk::database::Database;
use crate::store::disk::journal::Checkpointed;
use crate::store::error::{Error, while_doing};

/// Time that a commit may be in memory only, when nobody asks for more.
const INTERVAL: Duration = Duration::from_secs(5);

/// Starts the thread. It does not keep the store alive, and ends when what is returned is dropped.
pub(crate) fn start(store: &Arc<Store>) -> Result<TimerThread, Error> {
    let store = Arc::downgrade(store);
    let (alive, ended) = mpsc::channel();
    let thread = thread::Builder::new()
        .name("store-timer".to_owned())
        .spawn(move || {
            let mut connection = None;
            while ended.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Disconnected) {
                tick(&store, &mut connection);
            }
        })
        .map_err(while_doing("starting the store's timer"))?;
    Ok(TimerThread::new(alive, thread))
}

fn tick(store: &Weak<Store>, connection: &mut Option<Database>) {
    let Some(store) = store.upgrade() else { return };
    if let Err(error) = store.free_the_floor() {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "cached bytes could not be given up"
        );
    }
    store.reserve.restore();
    if let Err(error) = store.note_time().and_then(|()| store.sync_tree()) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the journal could not be synced");
    }
    if let Err(error) = store.checkpoint(connection) {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the journal could not be shortened"
        );
    }
    store.look_for_damage();
}

impl Store {
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

    fn checkpoint(&self, connection: &mut Option<Database>) -> Result<(), Error> {
        match self.journal.checkpoint(connection)? {
            Checkpointed::Enough => {}
            // With nobody committing, the next pass is the last one, and the next commit begins the log anew.
            Checkpointed::Mostly => {
                let _nobody_commits = self.tree();
                self.journal.checkpoint(connection)?;
            }
        }
        Ok(())
    }
}
