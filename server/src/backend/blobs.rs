//! The store: where blobs rest once they have been moved from the staging disk.
//!
//! `object_store` is the seam behind which Ceph and OSS will stand; the store of the embedded server
//! is a local directory. Keys are random and an object never changes.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::{GetResultPayload, ObjectStore as _, ObjectStoreExt as _};

use super::blocking::off_loop;
use super::staging::{make_directory, sync_directory};
use super::{BlobId, Error};

/// The store of this server. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Store {
    objects: Arc<LocalFileSystem>,
}

impl Store {
    /// Opens a local directory as store, made when absent.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Store`].
    pub fn open(directory: &Path) -> Result<Self, Error> {
        make_directory(directory)?;
        let objects = LocalFileSystem::new_with_prefix(directory)?.with_fsync(true);
        Ok(Self { objects: Arc::new(objects) })
    }

    /// The key of a blob: fanned out, so that no directory grows too large.
    pub fn key(blob: BlobId) -> String {
        let hex = blob.to_string();
        format!("{}/{hex}", &hex[..2])
    }

    /// Takes a blob in from a synced file, which stays as it is: as a second name of the same file
    /// where both are on one file system, else as a copy. What an interrupted try left is replaced.
    /// Answers when the blob is here for good, with its size in bytes.
    ///
    /// # Errors
    /// [`Error::NoRoom`], [`Error::File`], [`Error::Store`].
    pub async fn take_in(&self, blob: BlobId, file: PathBuf) -> Result<u64, Error> {
        let target = self.objects.path_to_filesystem(&Self::location(blob))?;
        off_loop(move || {
            let folder = target.parent().unwrap_or(&target);
            make_directory(folder)?;
            link_or_copy(&file, &target).map_err(|error| Error::file(&target, error))?;
            sync_directory(folder)?;
            let size = std::fs::metadata(&target).map(|metadata| metadata.len());
            size.map_err(|error| Error::file(&target, error))
        })
        .await
    }

    /// Opens a blob for reading; `None` when it is not here.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn file(&self, blob: BlobId) -> Result<Option<File>, Error> {
        match self.objects.get(&Self::location(blob)).await {
            Ok(found) => match found.payload {
                GetResultPayload::File(file, _path) => Ok(Some(file)),
                GetResultPayload::Stream(_) => Err(Error::Damaged { what: "local store" }),
            },
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a blob, if it is here.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn remove(&self, blob: BlobId) -> Result<(), Error> {
        match self.objects.delete(&Self::location(blob)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// All objects of this server's, as they are found.
    pub fn list(&self) -> BoxStream<'static, Result<Found, Error>> {
        let ours = |object: object_store::ObjectMeta| {
            let key = object.location.to_string();
            let mut bytes = [0; 16];
            hex::decode_to_slice(key.rsplit('/').next()?, &mut bytes).ok()?;
            let blob = BlobId::from_bytes(bytes);
            let changed_at = object.last_modified.timestamp();
            (Self::key(blob) == key).then_some(Found { blob, size: object.size, changed_at })
        };
        let found = self.objects.list(None).map_err(Error::from);
        found.try_filter_map(move |object| std::future::ready(Ok(ours(object)))).boxed()
    }

    fn location(blob: BlobId) -> object_store::path::Path {
        Self::key(blob).into()
    }
}

/// An object of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Which blob.
    pub blob: BlobId,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written, in seconds since 1970.
    pub changed_at: i64,
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        Self::Store(Box::new(error))
    }
}

fn link_or_copy(file: &Path, target: &Path) -> io::Result<()> {
    match std::fs::hard_link(file, target) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if same_file(file, target)? {
                return Ok(());
            }
            std::fs::remove_file(target)?;
            link_or_copy(file, target)
        }
        Err(error) if no_link_there(&error) => copy(file, target),
        linked => linked,
    }
}

/// Whether the error only says that the two places cannot share a file; see link(2).
fn no_link_there(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::CrossesDevices
            | io::ErrorKind::Unsupported
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::TooManyLinks
    )
}

/// Copies under another name first, so that the target is whole or not there.
fn copy(file: &Path, target: &Path) -> io::Result<()> {
    let beside = target.with_extension("new");
    std::fs::copy(file, &beside)?;
    File::open(&beside)?.sync_all()?;
    std::fs::rename(&beside, target)
}

fn same_file(a: &Path, b: &Path) -> io::Result<bool> {
    let (a, b) = (std::fs::metadata(a)?, std::fs::metadata(b)?);
    Ok((a.dev(), a.ino()) == (b.dev(), b.ino()))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    async fn read(store: &Store, blob: BlobId) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        store.file(blob).await.unwrap()?.read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    #[tokio::test]
    async fn a_blob_is_taken_in_again_over_whatever_a_former_try_left() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let staged = directory.path().join("staged");
        std::fs::write(&staged, b"the bytes").unwrap();
        let blob = BlobId::random();
        assert_eq!(read(&store, blob).await, None);

        let left = directory.path().join("store").join(Store::key(blob));
        std::fs::create_dir_all(left.parent().unwrap()).unwrap();
        std::fs::write(&left, b"the by").unwrap();
        for _again in 0..2 {
            assert_eq!(store.take_in(blob, staged.clone()).await.unwrap(), 9);
        }
        std::fs::remove_file(&staged).unwrap();
        assert_eq!(read(&store, blob).await.as_deref(), Some(&b"the bytes"[..]));

        store.remove(blob).await.unwrap();
        store.remove(blob).await.unwrap();
        assert_eq!(read(&store, blob).await, None);
    }

    #[test]
    fn a_copy_is_whole_and_leaves_nothing_beside() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        std::fs::write(&from, vec![5; 100_000]).unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), vec![5; 100_000]);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
