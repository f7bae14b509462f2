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

/// Takes the seal off a state directory, durably: what is changed from now on has none.
pub(crate) fn take_off(dir: &Path) -> Result<Seal, Error> {
    let path = dir.join(NAME);
    let found = match fs::read_to_string(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Seal::Broken),
        // One that cannot be read says nothing.
        Err(_unreadable) => String::new(),
    };
    let doing = while_doing("taking the seal off the store");
    fs::remove_file(&path).map_err(&doing)?;
    sync_folder(dir).map_err(&doing)?;
    Ok(if found == text(dir) { Seal::Intact } else { Seal::Broken })
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
