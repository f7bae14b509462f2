//! The threads that work by the clock: one syncs the journal every few seconds, shortens it, and sees to the disk's free room;
//! one has the database commit what is in the redo log.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::recovery;
use crate::store::core::{Store, TimerThread};
use crate::store::disk::database::Database;
use crate::store::disk::journal::Checkpointed;
use crate::store::error::{Error, while_doing};
use crate::store::tree::transaction::Tree;

/// Time that a commit may be in memory only, when nobody asks for more.
const INTERVAL: Duration = Duration::from_secs(5);

/// Time between two looks at what programs write to unseen.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Time that an operation may be in the redo log only. Whatever is changed within it is written into the database once.
const COMMIT_DELAY: Duration = Duration::from_millis(50);

/// Commits after which the length of the journal is looked at without waiting for the timer.
const COMMITS: u32 = 16;

/// Starts the thread that syncs. It does not keep the store alive, and ends when what is returned is dropped.
pub(crate) fn start(store: &Arc<Store>) -> Result<TimerThread, Error> {
    let store = Arc::downgrade(store);
    let (alive, ended) = mpsc::channel();
    let thread = thread::Builder::new()
        .name("store-timer".to_owned())
        .spawn(move || {
            let mut connection = None;
            let mut ticked = Instant::now();
            loop {
                let woken = ended.recv_timeout(LOOK_INTERVAL);
                if woken == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
                look_for_unseen(&store);
                if woken.is_ok() || ticked.elapsed() >= INTERVAL {
                    tick(&store, &mut connection);
                    ticked = Instant::now();
                }
            }
        })
        .map_err(while_doing("starting the store's timer"))?;
    Ok(TimerThread::new(alive, thread))
}

/// Starts the thread that commits a while after it was woken, and wakes the timer when the journal may have become long. It ends when
/// what is returned is dropped.
pub(crate) fn start_committing(
    tree: &Arc<Mutex<Tree>>,
    timer: Option<Sender<()>>,
) -> Result<TimerThread, Error> {
    let tree = Arc::downgrade(tree);
    let (alive, woken) = mpsc::channel();
    let thread = thread::Builder::new()
        .name("store-commit".to_owned())
        .spawn(move || {
            let mut commits = 0_u32;
            while woken.recv().is_ok()
                && woken.recv_timeout(COMMIT_DELAY) != Err(RecvTimeoutError::Disconnected)
            {
                commit(&tree);
                commits += 1;
                if commits.is_multiple_of(COMMITS) {
                    let _ending = timer.as_ref().map(|timer| timer.send(()));
                }
            }
        })
        .map_err(while_doing("starting the thread that commits"))?;
    Ok(TimerThread::new(alive, thread))
}

fn commit(tree: &Weak<Mutex<Tree>>) {
    let Some(tree) = tree.upgrade() else { return };
    // A panic with the lock held comes to light with those who need the tree.
    let Ok(tree) = tree.lock() else { return };
    if let Err(error) = tree.db.commit_all() {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "the database could not commit; the redo log has it all");
    }
}

fn look_for_unseen(store: &Weak<Store>) {
    let Some(store) = store.upgrade() else { return };
    if let Err(error) = store.take_in_unseen() {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "what programs have written cannot be taken in");
    }
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
                let tree = self.tree();
                tree.db.commit_all()?;
                self.journal.checkpoint(connection)?;
            }
        }
        Ok(())
    }
}
