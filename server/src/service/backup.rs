//! Backup and restoration of an embedded server, while it runs: the database of one moment, and all bytes that it names.
//!
//! A backup is a data directory of its own, which a server could serve from. The database is copied first, in one transaction;
//! then the blobs that the copy names, of which a server in use removes none before the grace period ends; the copy takes
//! the place of the one before last. Blobs never change, so the next backup copies only what is new, and a backup that was
//! interrupted leaves the one before it whole.

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;

use super::Error;
use crate::backend::blobs::StoreName;
use crate::backend::db::audit::contents as audit;
use crate::backend::db::blobs::{self, Location};
use crate::backend::db::{self, Db};
use crate::backend::{
    self, Backends, BlobCopied, BlobId, DataDirectory, Database, Settings, run_blocking,
};

/// Blobs that are looked up at once.
const PAGE: u32 = 500;
/// Copies of the database that are made until all that one names could be copied: a collection may come between.
const TRIES: u32 = 3;

/// Result of a backup or a restoration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Copied {
    /// Blobs that were copied.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that an earlier backup had copied.
    pub kept: u64,
    /// Blobs that nothing names any more and that were removed.
    pub removed: u64,
    /// Blobs whose bytes are in buckets only, which are not a part of it.
    pub in_buckets: u64,
    /// Blobs whose bytes are nowhere, though the database names them: `fsck` says which files they are of.
    pub lost: u64,
}

/// Copies everything that an embedded server keeps into a directory, which may hold an earlier backup.
///
/// `progress` is told after each page of blobs.
///
/// # Errors
/// [`Error::Invalid`] when the database is not embedded or the directory is the server's own; [`Error::Backend`].
pub(crate) async fn back_up(
    backends: &Backends,
    directory: &Path,
    progress: &mut dyn FnMut(&Copied),
) -> Result<Copied, Error> {
    let settings = &backends.settings;
    refuse_mysql(settings)?;
    let target = DataDirectory::lock(directory)?;
    if target.is(&settings.data) {
        return Err(Error::Invalid("a backup needs a directory of its own".to_owned()));
    }
    let mut tries = 1;
    let (snapshot, blobs, copied) = loop {
        let (db, snapshot) = snapshot(&backends.db, &target).await?;
        let mut copying = Copying::new(settings, &target);
        let done = async {
            copying.copy_all(&db, progress).await?;
            copying.forget_copies(&db).await
        };
        let done = done.await;
        db.close().await;
        done?;
        if copying.copied.lost == 0 || tries == TRIES {
            break (snapshot, copying.known, copying.copied);
        }
        tries += 1;
    };
    let key = settings.token_key_file();
    let copied = run_blocking(move || {
        target.copy_in(&key, &target.settings().token_key_file())?;
        // What the new database names is on the disk before it is in its place.
        target.sync()?;
        target.take_database(&snapshot.database_file())?;
        let removed = target.remove_blobs(|blob| blobs.get(&blob).copied())?;
        target.sync()?;
        Ok::<_, backend::Error>(Copied { removed, ..copied })
    });
    Ok(copied.await?)
}

/// Copies a backup into the empty data directory of an embedded server, and brings it to this program's version.
///
/// # Errors
/// [`Error::Invalid`] when the directory holds no backup, the server has data already or its database is not embedded;
/// [`Error::Backend`].
pub(crate) async fn restore(settings: &Settings, backup: &Path) -> Result<Copied, Error> {
    refuse_mysql(settings)?;
    if !Settings::embedded(backup.to_owned()).database_file().exists() {
        return Err(Error::Invalid(format!("there is no backup in {}", backup.display())));
    }
    let source = DataDirectory::lock(backup)?;
    let target = DataDirectory::lock(&settings.data)?.with_settings(settings);
    if settings.database_file().exists() {
        let data = settings.data.display();
        return Err(Error::Invalid(format!("{data} has a server's data: move it away first")));
    }
    let copied = run_blocking(move || {
        let (blobs, bytes) = target.copy_blobs_of(&source)?;
        let key = source.settings().token_key_file();
        target.copy_in(&key, &target.settings().token_key_file())?;
        target.sync()?;
        // The database comes last and at once: a restoration that was interrupted is begun again.
        let unfinished = target.settings().database_file().with_extension("unfinished");
        target.copy_in(&source.settings().database_file(), &unfinished)?;
        target.take_database(&unfinished)?;
        target.sync()?;
        Ok::<_, backend::Error>(Copied { blobs, bytes, ..Copied::default() })
    })
    .await?;
    Db::open(settings, backend::Schema::Migrate).await?.close().await;
    Ok(copied)
}

fn refuse_mysql(settings: &Settings) -> Result<(), Error> {
    match settings.database {
        Database::Embedded => Ok(()),
        Database::MySql { .. } => Err(Error::Invalid(
            "the database is on a MySQL server: back that up with mysqldump --single-transaction first, then the staging \
             disks and buckets, and restore in the opposite order"
                .to_owned(),
        )),
    }
}

/// Copies the database of this moment into a folder of its own in the backup.
async fn snapshot(db: &Db, target: &DataDirectory) -> Result<(Db, Settings), Error> {
    let settings = Settings::embedded(target.settings().data.join("unfinished"));
    let folder = settings.data.clone();
    run_blocking(move || DataDirectory::make_empty(&folder)).await?;
    db.copy_to(&settings.database_file()).await?;
    let copy = Db::open(&settings, backend::Schema::Expect).await?;
    Ok((copy, settings))
}

/// Blobs on their way into a backup.
struct Copying<'b> {
    settings: &'b Settings,
    target: &'b DataDirectory,
    /// All blobs that the copy of the database names, by where it has them.
    known: HashMap<BlobId, Location>,
    copied: Copied,
}

impl<'b> Copying<'b> {
    fn new(settings: &'b Settings, target: &'b DataDirectory) -> Self {
        Self { settings, target, known: HashMap::new(), copied: Copied::default() }
    }

    async fn copy_all(
        &mut self,
        snapshot: &Db,
        progress: &mut dyn FnMut(&Copied),
    ) -> Result<(), Error> {
        let mut last = None;
        loop {
            let mut db = snapshot.read().await?;
            let page = audit::blobs_after(&mut db, last, PAGE).await?;
            let Some(until) = page.last().copied() else { return Ok(()) };
            for blob in page {
                self.copy_one(&mut db, blob).await?;
            }
            progress(&self.copied);
            last = Some(until);
        }
    }

    /// Has the copy of the database say of what is staged that the local store does not have it, as it may in the moment in
    /// which a transfer ends: in the backup it is staged only, and is transferred again.
    async fn forget_copies(&self, snapshot: &Db) -> Result<(), Error> {
        let mut transaction = snapshot.write().await?;
        for (blob, _) in self.known.iter().filter(|(_, at)| **at == Location::Staging) {
            db::copies::remove(&mut transaction, *blob, StoreName::Local).await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn copy_one(&mut self, db: &mut db::Connection, blob: BlobId) -> Result<(), Error> {
        // One that is marked for deletion is nobody's.
        let Some(row) = blobs::get(db, blob).await? else { return Ok(()) };
        self.known.insert(blob, row.location);
        let copy = self.target.blob_copy(self.settings, blob, &row);
        let outcome = run_blocking(move || copy.run()).await?;
        match outcome {
            BlobCopied::Kept => self.copied.kept += 1,
            BlobCopied::Copied(bytes) => {
                self.copied.blobs += 1;
                self.copied.bytes += bytes;
            }
            BlobCopied::Missing if is_in_a_bucket(db, blob).await? => self.copied.in_buckets += 1,
            BlobCopied::Missing => self.copied.lost += 1,
        }
        Ok(())
    }
}

async fn is_in_a_bucket(db: &mut db::Connection, blob: BlobId) -> Result<bool, Error> {
    let copies = db::copies::of_blob(db, blob).await?;
    Ok(copies.iter().any(|copy| copy.store != StoreName::Local))
}
