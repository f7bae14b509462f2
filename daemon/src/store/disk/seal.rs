//! The seal: a note of how the files of the database were when the store was closed in order.
//!
//! It is there only while the store is closed. A database that is not as the seal says was not closed in order, has lost
//! its log, or was changed by somebody else: it is looked at before it is believed. One that is costs nothing.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::data_files::modified;
use crate::store::error::{Error, while_doing};

/// Name of the note.
const NAME: &str = "closed";

/// State of the seal that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seal {
    /// The database is as it was left when the store was closed in order.
    Intact,
    /// There is no seal, or it is of other files.
    Broken,
}

/// Looks at the seal of a state directory.
pub(crate) fn look(dir: &Path) -> Seal {
    match fs::read_to_string(dir.join(NAME)) {
        Ok(found) if found == text(dir) => Seal::Intact,
        // One that cannot be read says nothing.
        _ => Seal::Broken,
    }
}

/// Takes the seal off a state directory, durably: what is committed from now on has none.
pub(crate) fn take_off(dir: &Path) -> Result<(), Error> {
    let doing = while_doing("taking the seal off the store");
    match fs::remove_file(dir.join(NAME)) {
        Ok(()) => sync_folder(dir).map_err(doing),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(doing(error)),
    }
}

/// Has what was made, renamed and removed in a folder survive power loss.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Seals a state directory when it is dropped, which must be after the connections to the database are closed.
#[derive(Debug)]
pub(crate) struct Sealer {
    dir: PathBuf,
    is_closed: AtomicBool,
}

impl Sealer {
    /// A sealer that does nothing yet.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), is_closed: AtomicBool::new(false) }
    }

    /// All is in order: it may be sealed.
    pub(crate) fn closed(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }
}

impl Drop for Sealer {
    fn drop(&mut self) {
        if self.is_closed.load(Ordering::Relaxed)
            && let Err(error) = fs::write(self.dir.join(NAME), text(&self.dir))
        {
            tracing::debug!(%error, "the store could not be sealed");
        }
    }
}

/// Lengths and times of last change of the database and of its log.
fn text(dir: &Path) -> String {
    let describe = |name: &str| match fs::metadata(dir.join(name)) {
        // An empty log is none.
        Ok(found) if found.len() > 0 => format!("{name} {} {}\n", found.len(), modified(&found)),
        _ => format!("{name} none\n"),
    };
    describe("state.db") + &describe("state.db-wal")
}
