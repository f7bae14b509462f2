//! A store in a directory of this machine: what the embedded server has.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{GetResultPayload, ObjectMeta, ObjectStore as _, ObjectStoreExt as _};

use super::failure::{Action, Cause, StoreFailure};
use super::object::StoredObject;
use super::settings::StoreName;
use crate::backend::staging::{create_directory, sync_directory};
use crate::backend::{Error, run_blocking};

/// A directory of objects. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(super) struct LocalStore {
    directory: Arc<Path>,
    objects: Arc<LocalFileSystem>,
}

impl LocalStore {
    /// Opens a directory as store, made when absent.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Store`].
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        create_directory(directory)?;
        let objects = LocalFileSystem::new_with_prefix(directory)
            .map_err(|error| failure(directory, Action::Open, error))?;
        Ok(Self { directory: directory.into(), objects: Arc::new(objects.with_fsync(true)) })
    }

    /// Takes a synced file in, which stays as it is: as a second name of the same file where both are
    /// on one file system, else as a copy. What an interrupted try left is replaced. Answers when the
    /// object is here for good, with its size in bytes.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::File`], [`Error::Store`].
    pub(super) async fn import(&self, key: &str, file: PathBuf) -> Result<u64, Error> {
        let target = self.objects.path_to_filesystem(&Key::from(key));
        let target = target.map_err(|error| failure(&self.directory, Action::Put, error))?;
        run_blocking(move || {
            let folder = target.parent().unwrap_or(&target);
            create_directory(folder)?;
            link_or_copy(&file, &target).map_err(|error| Error::file(&target, error))?;
            sync_directory(folder)?;
            let size = std::fs::metadata(&target).map(|metadata| metadata.len());
            size.map_err(|error| Error::file(&target, error))
        })
        .await
    }

    /// Opens an object for reading; `None` when it is not here.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(super) async fn file(&self, key: &str) -> Result<Option<File>, Error> {
        match self.objects.get(&Key::from(key)).await {
            Ok(found) => match found.payload {
                GetResultPayload::File(file, _path) => Ok(Some(file)),
                GetResultPayload::Stream(_) => {
                    Err(Error::damaged("local store", "an object is no file"))
                }
            },
            Err(error) => self.none_if_not_found(Action::Read, error),
        }
    }

    /// Size of an object; `None` when it is not here.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(super) async fn head(&self, key: &str) -> Result<Option<StoredObject>, Error> {
        match self.objects.head(&Key::from(key)).await {
            Ok(meta) => Ok(Some(found(meta))),
            Err(error) => self.none_if_not_found(Action::Inspect, error),
        }
    }

    /// Removes an object, if it is here.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(super) async fn remove(&self, key: &str) -> Result<(), Error> {
        match self.objects.delete(&Key::from(key)).await {
            Ok(()) => Ok(()),
            Err(error) => self.none_if_not_found::<()>(Action::Remove, error).map(|_absent| ()),
        }
    }

    /// All objects, as they come.
    pub(super) fn list(&self) -> BoxStream<'static, Result<StoredObject, Error>> {
        let directory = self.directory.clone();
        self.objects
            .list(None)
            .map(move |meta| {
                meta.map(found).map_err(|error| failure(&directory, Action::Inspect, error))
            })
            .boxed()
    }

    fn none_if_not_found<T>(
        &self,
        action: Action,
        error: object_store::Error,
    ) -> Result<Option<T>, Error> {
        match error {
            object_store::Error::NotFound { .. } => Ok(None),
            error => Err(failure(&self.directory, action, error)),
        }
    }
}

fn found(meta: ObjectMeta) -> StoredObject {
    StoredObject {
        key: meta.location.to_string(),
        size: meta.size,
        etag: None,
        changed_at: meta.last_modified.timestamp(),
    }
}

fn failure(directory: &Path, action: Action, error: object_store::Error) -> Error {
    let address = directory.display().to_string();
    StoreFailure { store: StoreName::Local, address, action, cause: Cause::of(error) }.into()
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
        Err(error) if cannot_link(&error) => copy(file, target),
        linked => linked,
    }
}

/// True if the error only says that the two directories cannot share a file; see link(2).
fn cannot_link(error: &io::Error) -> bool {
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

    async fn read(store: &LocalStore, key: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        store.file(key).await.unwrap()?.read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    #[tokio::test]
    async fn a_blob_is_taken_in_again_over_whatever_a_former_try_left() {
        let directory = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&directory.path().join("store")).unwrap();
        let staged = directory.path().join("staged");
        std::fs::write(&staged, b"the bytes").unwrap();
        let key = "ab/abcd";
        assert_eq!(read(&store, key).await, None);

        let left = directory.path().join("store").join(key);
        std::fs::create_dir_all(left.parent().unwrap()).unwrap();
        std::fs::write(&left, b"the by").unwrap();
        for _again in 0..2 {
            assert_eq!(store.import(key, staged.clone()).await.unwrap(), 9);
        }
        std::fs::remove_file(&staged).unwrap();
        assert_eq!(read(&store, key).await.as_deref(), Some(&b"the bytes"[..]));

        store.remove(key).await.unwrap();
        store.remove(key).await.unwrap();
        assert_eq!(read(&store, key).await, None);
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
