//! A file system on a store that can be killed and opened again.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::remote::Remote;
use crate::store::{Error, Ino, Store, StoreOptions};
use crate::vfs::Vfs;
use crate::vfs::tests::offline;

const OPTIONS: StoreOptions = StoreOptions { cache_limit: 1 << 40, free_floor: 0 };

/// A state directory and what serves it. Its engine stands still: nothing runs but what is asked for.
pub(super) struct Instance {
    /// The file system that serves it now.
    pub(super) vfs: Arc<Vfs>,
    /// Number of sequences that have run on it.
    pub(super) sequences: u64,
    store: Arc<Store>,
    remote: Remote,
    /// Never driven, so the engine's tasks begin nothing.
    runtime: Runtime,
    dir: TempDir,
}

impl Instance {
    /// A new state directory, in memory where that can be.
    pub(super) fn new() -> Self {
        Self::on(scratch(), 0, Remote::default())
    }

    fn on(dir: TempDir, sequences: u64, mut remote: Remote) -> Self {
        remote.forget_begun();
        let store = open(dir.path());
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let vfs = offline(Arc::clone(&store), &runtime, dir.path());
        Self { vfs, sequences, store, remote, runtime, dir }
    }

    /// Ends everything in order and begins again.
    pub(super) fn remount(self) -> Self {
        let Self { vfs, sequences, store, remote, runtime, dir } = self;
        drop((vfs, store, runtime));
        Self::on(dir, sequences, remote)
    }

    /// Begins again with what is on the disk now.
    pub(super) fn kill(self) -> Self {
        let dir = scratch();
        // Nobody writes while the tree is locked.
        self.store.view(|_locked| take(self.dir.path(), dir.path()).map_err(failed)).unwrap();
        Self::on(dir, self.sequences, self.remote)
    }

    /// Sends everything to the server, which does not say yet that it arrived.
    pub(super) fn send(&mut self) {
        self.remote.begin(&self.store);
    }

    /// Sends everything to the server, and keeps no bytes that it has.
    pub(super) fn send_away(&mut self) {
        self.remote.take_all(&self.store);
    }

    /// Fetches what is missing of a range of a file.
    pub(super) fn fetch(&mut self, ino: Ino, range: Range<u64>) {
        self.remote.fetch(&self.store, ino, range);
    }
}

fn failed(error: std::io::Error) -> Error {
    panic!("the state directory cannot be copied: {error}")
}

fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("miaofs-test-").tempdir_in(place).unwrap()
}

/// Opens a store that may be about to be closed by its timer.
fn open(dir: &Path) -> Arc<Store> {
    for _ in 0..500 {
        match Store::open(dir, OPTIONS) {
            Err(Error::Locked(_)) => thread::sleep(Duration::from_millis(10)),
            opened => return opened.unwrap(),
        }
    }
    panic!("{} stays locked", dir.display());
}

/// Copies the database, what it has not committed first and its log last, and takes over the data files, whose bytes nobody changes any more.
fn take(from: &Path, to: &Path) -> std::io::Result<()> {
    for name in ["state.redo", "state.db", "state.db-wal"] {
        fs::copy(from.join(name), to.join(name))?;
    }
    for folder in children(&from.join("data"))? {
        let target = to.join(folder.strip_prefix(from).expect("it is below"));
        fs::create_dir_all(&target)?;
        for file in children(&folder)? {
            fs::hard_link(&file, target.join(file.file_name().expect("it has a name")))?;
        }
    }
    Ok(())
}

fn children(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}
