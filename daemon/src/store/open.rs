//! Opening and closing a state directory.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use tokio::sync::watch;

use super::core::{Store, StoreOptions};
use super::disk::data_files::DataFiles;
use super::disk::examine;
use super::disk::journal::Journal;
use super::disk::lock::Lock;
use super::disk::reserve::Reserve;
use super::disk::seal::{self, Sealer};
use super::disk::space::DiskSpace;
use super::disk::{chunk_rows, inode_queries, manifest_rows, meta, request_rows, schema};
use super::error::{Error, while_doing};
use super::inodes::lent_inodes::LentInodes;
use super::lock_waits::LockMeter;
use super::tree::frozen::FrozenTree;
use super::tree::pinned::Pinned;
use super::tree::transaction::Tree;
use super::untold::Untold;
use super::upkeep::orphans::Orphans;
use super::upkeep::recovery::{self, FoundFiles};
use super::upkeep::{rebuild, timer};

impl Store {
    /// Opens the state directory, making what is missing and mending what a crash left behind. A damaged database is
    /// put aside, and a new one made.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it open.
    pub(crate) fn open(dir: &Path, options: StoreOptions) -> Result<Arc<Self>, Error> {
        Self::open_with(dir, options, Orphans::Reap)
    }

    /// The same for a daemon that goes on with the session of one that ended: programs may have open whatever has no
    /// name. It stays until the kernel forgets it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn open_again(dir: &Path, options: StoreOptions) -> Result<Arc<Self>, Error> {
        Self::open_with(dir, options, Orphans::Keep)
    }

    fn open_with(dir: &Path, options: StoreOptions, orphans: Orphans) -> Result<Arc<Self>, Error> {
        fs::create_dir_all(dir).map_err(while_doing("making the state directory"))?;
        let lock = Lock::take(dir)?;
        let reserve = Reserve::with_room(dir, options.free_floor);
        let database = dir.join("state.db");
        let data = Arc::new(DataFiles::new(dir.join("data"))?);
        let seal = seal::look(dir);
        rebuild::examine(dir, &data, (seal, orphans))?;
        let found = FoundFiles { seal, has_log: examine::has_log(&database), orphans };
        let db = schema::open_database(&database, dir)?;
        seal::take_off(dir)?;
        recovery::recover(&db, &data, dir, found)?;
        manifest_rows::sweep_manifests(&db)?;
        let pinned = Pinned::default();
        let mut done = HashSet::new();
        match orphans {
            Orphans::Keep => {
                pinned.pin_files(inode_queries::orphans(&db)?);
                request_rows::trim(&db)?;
                done = request_rows::all(&db)?;
            }
            Orphans::Reap => request_rows::clear(&db)?,
        }
        db.commit().and_then(|()| db.commit_all())?;
        let journal = Journal::new(&database)?;
        // That it is open must be known before anything else can change.
        journal.sync()?;
        let store = Arc::new(Self {
            options,
            journal,
            tree: Arc::new(Mutex::new(Tree::new(db, Arc::clone(&data), pinned.clone())?)),
            pinned,
            done,
            lock_waits: LockMeter::default(),
            frozen: FrozenTree::default(),
            data,
            lent: LentInodes::default(),
            unlinking: RwLock::new(()),
            dirtied: watch::Sender::new(0),
            invalidations: OnceLock::new(),
            untold: Untold::default(),
            reserve,
            space: DiskSpace::default(),
            timer: OnceLock::new(),
            committer: OnceLock::new(),
            dir: dir.to_owned(),
            activity: AtomicU64::new(0),
            is_damaged: AtomicBool::new(false),
            sealer: Sealer::new(dir),
            _lock: lock,
        });
        store.reserve.restore();
        store.lend_again()?;
        let timer = timer::start(&store)?;
        let committer = timer::start_committing(&store.tree, timer.waker())?;
        store.timer.get_or_init(|| timer);
        store.committer.get_or_init(|| committer);
        Ok(store)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.pinned.release_all();
        let closed = self.sync_all().and_then(|_durable| {
            self.tree().transact(|tree| {
                tree.begin()?;
                chunk_rows::mark_all_synced(&tree.db)?;
                recovery::note_time(&tree.db)?;
                meta::set_text(&tree.db, recovery::CLOSED, &recovery::boot_id()?)
            })?;
            self.tree().db.commit_all()
        });
        // Its connection to the database is closed with it.
        let threads = (self.committer.take(), self.timer.take());
        self.look_for_damage();
        match closed {
            Ok(_) if !self.is_damaged() => self.sealer.closed(),
            Ok(_) => {}
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the store was not closed cleanly"
            ),
        }
        drop(threads);
    }
}
