//! A data directory that no process serves from, as files: what a backup is written to, and a restoration.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blobs::fanned_key;
use super::db::blobs::{Blob, Location};
use super::lock::DataLock;
use super::staging::{blob_path, remove_if_exists};
use super::{BlobId, Error, Settings, create_private_directory};

/// A locked data directory with everything embedded. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct DataDirectory {
    settings: Settings,
    _lock: Arc<DataLock>,
}

impl DataDirectory {
    /// Locks a directory, which is made when absent.
    ///
    /// # Errors
    /// [`Error::Locked`] when a server or another backup is at work on it; [`Error::File`].
    pub(crate) fn lock(directory: &Path) -> Result<Self, Error> {
        create_private_directory(directory)?;
        let lock = DataLock::acquire(&directory.join("lock"))?;
        Ok(Self { settings: Settings::embedded(directory.to_owned()), _lock: Arc::new(lock) })
    }

    /// The same with what is elsewhere by an operator's settings.
    pub(crate) fn with_settings(self, settings: &Settings) -> Self {
        Self { settings: settings.clone(), ..self }
    }

    /// Settings that say where everything in it is.
    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// True if it is the directory of this path.
    pub(crate) fn is(&self, path: &Path) -> bool {
        match (fs::canonicalize(&self.settings.data), fs::canonicalize(path)) {
            (Ok(here), Ok(there)) => here == there,
            _ => false,
        }
    }

    /// Makes a directory that has nothing in it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn make_empty(path: &Path) -> Result<(), Error> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(path, error)),
            _gone => create_private_directory(path),
        }
    }

    /// The copy of a blob of another data directory that is to be made here.
    pub(crate) fn blob_copy(&self, from: &Settings, blob: BlobId, row: &Blob) -> BlobCopy {
        let [staged, stored] = places(&self.settings, blob);
        let (target, former) = match row.location {
            Location::Staging => (staged, stored),
            Location::Store => (stored, staged),
        };
        BlobCopy { sources: places(from, blob), target, former, size: row.size }
    }

    /// Copies all blobs of another data directory; answers their number and bytes.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::NoSpace`].
    pub(crate) fn copy_blobs_of(&self, from: &Self) -> Result<(u64, u64), Error> {
        let (mut blobs, mut bytes) = (0, 0);
        for (from, to) in blob_folders(&from.settings).into_iter().zip(blob_folders(&self.settings))
        {
            for file in files_below(&from)? {
                let place = file.strip_prefix(&from).expect("it was found there");
                bytes += self.copy_in(&file, &to.join(place))?;
                blobs += 1;
            }
        }
        Ok((blobs, bytes))
    }

    /// Copies a file to a place in it; answers its length in bytes.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::NoSpace`].
    pub(crate) fn copy_in(&self, from: &Path, to: &Path) -> Result<u64, Error> {
        make_folder_of(to)?;
        fs::copy(from, to).map_err(|error| Error::file(from, error))
    }

    /// Replaces the database by a file, at once. Whatever stood beside the file goes.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn take_database(&self, file: &Path) -> Result<(), Error> {
        let database = self.settings.database_file();
        for log in ["db-wal", "db-shm"] {
            remove_if_exists(&database.with_extension(log))?;
        }
        rename(file, &database)?;
        match file.parent() {
            Some(folder) if folder != self.settings.data => {
                fs::remove_dir_all(folder).map_err(|error| Error::file(folder, error))
            }
            _ => Ok(()),
        }
    }

    /// Removes the blobs that are not where they belong; answers how many.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn remove_blobs(
        &self,
        belongs: impl Fn(BlobId) -> Option<Location>,
    ) -> Result<u64, Error> {
        let mut removed = 0;
        for folder in blob_folders(&self.settings) {
            for file in files_below(&folder)? {
                let blob = file.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
                let place = blob.and_then(|blob: BlobId| {
                    let [staged, stored] = places(&self.settings, blob);
                    belongs(blob).map(|location| match location {
                        Location::Staging => staged,
                        Location::Store => stored,
                    })
                });
                if place.as_ref() != Some(&file) {
                    remove_if_exists(&file)?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// Brings everything that was written to it to the disk for good.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn sync(&self) -> Result<(), Error> {
        for path in [&self.settings.data, &self.settings.stores.local] {
            match File::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => {
                    let folder = opened.map_err(|error| Error::file(path, error))?;
                    rustix::fs::syncfs(&folder).map_err(|error| Error::file(path, error.into()))?;
                }
            }
        }
        Ok(())
    }
}

/// A blob on its way from one data directory to another.
#[derive(Debug)]
pub(crate) struct BlobCopy {
    /// Where its bytes may be, in the order in which they move.
    sources: [PathBuf; 2],
    target: PathBuf,
    /// Where an earlier copy may be.
    former: PathBuf,
    size: u64,
}

/// Result of copying a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlobCopied {
    /// So many bytes were copied.
    Copied(u64),
    /// An earlier copy is there.
    Kept,
    /// The bytes are in neither place.
    Missing,
}

impl BlobCopy {
    /// Copies the blob, unless an earlier copy is there.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::NoSpace`].
    pub(crate) fn run(&self) -> Result<BlobCopied, Error> {
        let target = &self.target;
        let is_whole = |path: &Path| fs::metadata(path).is_ok_and(|found| found.len() == self.size);
        if is_whole(target) {
            return Ok(BlobCopied::Kept);
        }
        make_folder_of(target)?;
        // The database of the earlier backup still has it at its former place.
        if is_whole(&self.former) && fs::hard_link(&self.former, target).is_ok() {
            return Ok(BlobCopied::Kept);
        }
        let unfinished = target.with_extension("unfinished");
        for source in &self.sources {
            match fs::copy(source, &unfinished) {
                Ok(copied) if copied == self.size => {
                    return rename(&unfinished, target).map(|()| BlobCopied::Copied(copied));
                }
                Ok(_other_length) => remove_if_exists(&unfinished)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::file(target, error)),
            }
        }
        Ok(BlobCopied::Missing)
    }
}

/// Where the bytes of a blob may be: staged, and stored.
fn places(settings: &Settings, blob: BlobId) -> [PathBuf; 2] {
    let [staging, store] = blob_folders(settings);
    [blob_path(&staging, blob), store.join(fanned_key(blob))]
}

fn blob_folders(settings: &Settings) -> [PathBuf; 2] {
    [settings.staging_directory(), settings.stores.local.clone()]
}

/// All files below a directory, which may not be there.
fn files_below(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let (mut files, mut left) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(at) = left.pop() {
        let failed = |error| Error::file(&at, error);
        let entries = match fs::read_dir(&at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            match entry.file_type().map_err(failed)?.is_dir() {
                true => left.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    Ok(files)
}

fn make_folder_of(path: &Path) -> Result<(), Error> {
    let Some(folder) = path.parent() else { return Ok(()) };
    fs::create_dir_all(folder).map_err(|error| Error::file(folder, error))
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|error| Error::file(to, error))
}
