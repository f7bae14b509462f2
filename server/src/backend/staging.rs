//! The staging disk: blobs as they arrive, and the metadata of the uploads that bring them.
//!
//! ```text
//! DIR/{blob}.blob      the bytes; of a chunked upload, its missing chunks at their rank · 4 MiB
//! DIR/{upload}.json    the sidecar of a chunked upload, from before its first chunk until it is complete
//! ```
//!
//! A blob of a chunked upload has the upload's id. All names are made of ids of our own, in hex.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use miaofs::content::{ChunkDigest, Digest, chunk_count};
use miaofs::protocol::ids::UploadId;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::blocking::run_blocking;
use super::direct_write::write_all_at;
use super::{BlobId, Error};

const BLOB: &str = "blob";
const SIDECAR: &str = "json";
/// File with which Linux identifies the boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Metadata of a chunked upload, enough to resume it after the tracker lost it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sidecar {
    /// Number of the user whose upload it is.
    pub user: i64,
    /// The content that it brings.
    pub digest: Digest,
    /// Size of that content in bytes.
    pub size: u64,
    /// The digests of all chunks of the content, those of holes included.
    pub chunks: Vec<ChunkDigest>,
    /// Indexes of the chunks that are holes, rising.
    pub holes: Vec<u64>,
    /// Indexes of the chunks to be sent, rising. The rest are in `base`.
    pub missing: Vec<u64>,
    /// The content that has the other chunks.
    pub base: Option<Digest>,
}

impl Sidecar {
    /// Reads the text of a sidecar.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it is none, or its lists do not fit the size.
    pub(super) fn from_json(json: &[u8]) -> Result<Self, Error> {
        const KIND: &str = "sidecar of an upload";
        let sidecar: Self =
            serde_json::from_slice(json).map_err(|error| Error::damaged(KIND, error))?;
        let count = sidecar.chunks.len() as u64;
        let are_places = |list: &[u64]| {
            list.is_sorted_by(|one, next| one < next) && list.last().is_none_or(|it| *it < count)
        };
        let fits = count == chunk_count(sidecar.size)
            && are_places(&sidecar.holes)
            && are_places(&sidecar.missing);
        if fits { Ok(sidecar) } else { Err(Error::damaged(KIND, "its lists do not fit its size")) }
    }
}

/// Bytes that a check writes: a transaction of the database takes about as many.
const CHECKED: usize = 256 * 1024;

/// The staging directory of this host. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Staging {
    directory: Arc<Path>,
    boot: Arc<[u8]>,
}

impl Staging {
    /// Opens the directory, made when absent.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        create_directory(directory)?;
        Self::open_unowned(directory)
    }

    /// Opens the directory for a process that does not own it: nothing is created, and a missing directory
    /// is like an empty one.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn open_unowned(directory: &Path) -> Result<Self, Error> {
        let boot = std::fs::read(BOOT_ID).map_err(|error| Error::file(BOOT_ID, error))?;
        Ok(Self { directory: directory.into(), boot: boot.into() })
    }

    /// Id of the current boot. Bytes written but not synced in another boot may be lost.
    pub(crate) fn boot(&self) -> &[u8] {
        &self.boot
    }

    /// Where the bytes of a staged blob are.
    pub(crate) fn path(&self, blob: BlobId) -> PathBuf {
        blob_path(&self.directory, blob)
    }

    fn sidecar_path(&self, upload: UploadId) -> PathBuf {
        self.directory.join(format!("{upload}.{SIDECAR}"))
    }

    /// Makes a blob of `size` zero bytes, which take no room until they are written.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::File`].
    pub(crate) async fn create(&self, blob: BlobId, size: u64) -> Result<(), Error> {
        let path = self.path(blob);
        run_blocking(move || {
            let made = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
            made.and_then(|file| file.set_len(size)).map_err(|error| Error::file(path, error))
        })
        .await
    }

    /// Creates an empty blob that is removed again unless [`Draft::persist`] is called.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::File`].
    pub(crate) async fn draft(&self, blob: BlobId) -> Result<Draft, Error> {
        self.create(blob, 0).await?;
        Ok(Draft { blob, path: Some(self.path(blob)) })
    }

    /// Checks that something can be written.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::File`].
    pub(crate) async fn check(&self) -> Result<(), Error> {
        let draft = self.draft(BlobId::random()).await?;
        self.write(draft.blob, 0, Bytes::from_static(&[1; CHECKED])).await
    }

    /// Writes into a blob that was made before.
    ///
    /// # Errors
    /// [`Error::NoSpace`]; [`Error::File`], also when the blob does not exist.
    pub(crate) async fn write(&self, blob: BlobId, offset: u64, bytes: Bytes) -> Result<(), Error> {
        let path = self.path(blob);
        run_blocking(move || {
            let written = write_all_at(&path, &bytes, offset);
            written.map_err(|error| Error::file(path, error))
        })
        .await
    }

    /// Writes a blob that was made before from its start, from many pieces.
    ///
    /// # Errors
    /// [`Error::NoSpace`]; [`Error::File`], also when the blob does not exist.
    pub(crate) async fn fill(&self, blob: BlobId, pieces: Vec<Bytes>) -> Result<(), Error> {
        /// Small pieces are gathered into writes of this many bytes.
        const GATHER: usize = 1024 * 1024;
        let path = self.path(blob);
        run_blocking(move || {
            let write = || -> io::Result<()> {
                let file = OpenOptions::new().write(true).open(&path)?;
                let mut file = io::BufWriter::with_capacity(GATHER, file);
                pieces.iter().try_for_each(|piece| file.write_all(piece))?;
                file.flush()
            };
            write().map_err(|error| Error::file(&path, error))
        })
        .await
    }

    /// Brings a blob to the disk for good; `false` when it is not here.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::File`].
    pub(crate) async fn sync(&self, blob: BlobId) -> Result<bool, Error> {
        let (path, directory) = (self.path(blob), self.directory.clone());
        run_blocking(move || {
            let Some(file) = open_if_exists(&path)? else { return Ok(false) };
            file.sync_all().map_err(|error| Error::file(&path, error))?;
            sync_directory(&directory)?;
            Ok(true)
        })
        .await
    }

    /// Opens a blob for reading; `None` when it is not here. Blocks.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn file(&self, blob: BlobId) -> Result<Option<File>, Error> {
        open_if_exists(&self.path(blob))
    }

    /// Removes a blob, if it is here.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) async fn remove(&self, blob: BlobId) -> Result<(), Error> {
        let path = self.path(blob);
        run_blocking(move || remove_if_exists(&path)).await
    }

    /// Writes the sidecar of an upload durably.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::File`].
    pub(crate) async fn put_sidecar(
        &self,
        upload: UploadId,
        sidecar: &Sidecar,
    ) -> Result<(), Error> {
        let json = serde_json::to_vec(sidecar).expect("numbers and hex can always be said in JSON");
        let (path, directory) = (self.sidecar_path(upload), self.directory.clone());
        run_blocking(move || {
            let write = || -> io::Result<()> {
                let beside = path.with_extension("new");
                let mut file = File::create(&beside)?;
                file.write_all(&json)?;
                file.sync_all()?;
                std::fs::rename(&beside, &path)
            };
            write().map_err(|error| Error::file(&path, error))?;
            sync_directory(&directory)
        })
        .await
    }

    /// Reads the sidecar of an upload; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Damaged`] when it cannot be read back.
    pub(crate) async fn sidecar(&self, upload: UploadId) -> Result<Option<Sidecar>, Error> {
        let path = self.sidecar_path(upload);
        run_blocking(move || match std::fs::read(&path) {
            Ok(json) => Sidecar::from_json(&json).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file(path, error)),
        })
        .await
    }

    /// Removes the sidecar of an upload, if there is one.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) async fn remove_sidecar(&self, upload: UploadId) -> Result<(), Error> {
        let path = self.sidecar_path(upload);
        run_blocking(move || remove_if_exists(&path)).await
    }

    /// Contents of the disk. Files with other names than ours are skipped.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) async fn inventory(&self) -> Result<Inventory, Error> {
        let directory = self.directory.clone();
        run_blocking(move || {
            read_inventory(&directory).map_err(|error| Error::file(&*directory, error))
        })
        .await
    }
}

impl Staging {
    /// True if an upload has a sidecar.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) async fn has_sidecar(&self, upload: UploadId) -> Result<bool, Error> {
        let path = self.sidecar_path(upload);
        run_blocking(move || path.try_exists().map_err(|error| Error::file(&path, error))).await
    }

    /// The staged blobs, as the scan finds them; dropping the receiver ends the scan.
    pub(crate) fn list(&self) -> mpsc::Receiver<Result<StagedFile, Error>> {
        /// Blobs that the scan finds ahead of the receiver.
        const AHEAD: usize = 256;
        let (sender, receiver) = mpsc::channel(AHEAD);
        let directory = self.directory.clone();
        tokio::task::spawn_blocking(move || {
            let failed = |error| Err(Error::file(&*directory, error));
            match std::fs::read_dir(&directory) {
                Ok(entries) => {
                    for entry in entries {
                        let staged = entry.and_then(|entry| staged_of(&entry)).transpose();
                        if let Some(staged) = staged
                            && sender.blocking_send(staged.or_else(failed)).is_err()
                        {
                            return;
                        }
                    }
                }
                Err(error) => drop(sender.blocking_send(failed(error))),
            }
        });
        receiver
    }
}

/// File of a staged blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StagedFile {
    /// Id of the blob.
    pub blob: BlobId,
    /// Size in bytes.
    pub size: u64,
    /// When it was last written, in seconds since 1970.
    pub changed_at: i64,
}

/// `None` for a file that is no blob, or has just been removed.
fn staged_of(entry: &std::fs::DirEntry) -> io::Result<Option<StagedFile>> {
    use std::os::unix::fs::MetadataExt as _;
    let path = entry.path();
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let id = stem.and_then(|stem| stem.parse::<UploadId>().ok());
    let Some(id) = id.filter(|_| path.extension().is_some_and(|is| is == BLOB)) else {
        return Ok(None);
    };
    let blob = BlobId::from_bytes(id.to_bytes());
    match entry.metadata() {
        Ok(found) => Ok(Some(StagedFile { blob, size: found.len(), changed_at: found.mtime() })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A blob that is being written; dropping it removes the blob.
#[derive(Debug)]
pub(crate) struct Draft {
    blob: BlobId,
    path: Option<PathBuf>,
}

impl Draft {
    /// Keeps the blob.
    pub(crate) fn persist(mut self) -> BlobId {
        self.path = None;
        self.blob
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && let Err(error) = remove_if_exists(&path)
        {
            tracing::warn!(%error, "an unneeded blob stays until the next start");
        }
    }
}

/// Contents of a staging disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inventory {
    /// The staged blobs.
    pub blobs: Vec<BlobId>,
    /// Room that they take in bytes, holes not counted.
    pub bytes: u64,
    /// The uploads that have a sidecar.
    pub uploads: Vec<UploadId>,
}

fn read_inventory(directory: &Path) -> io::Result<Inventory> {
    let mut inventory = Inventory::default();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let Some(id) = stem.and_then(|stem| stem.parse::<UploadId>().ok()) else { continue };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some(BLOB) => {
                inventory.blobs.push(BlobId::from_bytes(id.to_bytes()));
                inventory.bytes += allocated_bytes(&entry)?;
            }
            Some(SIDECAR) => inventory.uploads.push(id),
            _ => (),
        }
    }
    Ok(inventory)
}

/// Bytes on the disk that a file takes; one that has just been removed takes none.
fn allocated_bytes(entry: &std::fs::DirEntry) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    /// The unit of `st_blocks`, whatever the file system's own is; see stat(3type).
    const BLOCK: u64 = 512;
    match entry.metadata() {
        Ok(metadata) => Ok(metadata.blocks() * BLOCK),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

fn open_if_exists(path: &Path) -> Result<Option<File>, Error> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file(path, error)),
    }
}

/// Removes a file, which may be gone already.
///
/// # Errors
/// [`Error::File`].
pub(super) fn remove_if_exists(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(path, error)),
        _gone => Ok(()),
    }
}

/// Where a staging directory has the bytes of a blob.
pub(crate) fn blob_path(directory: &Path, blob: BlobId) -> PathBuf {
    directory.join(format!("{blob}.{BLOB}"))
}

/// Makes a directory, where there is none, for good.
///
/// # Errors
/// [`Error::NoSpace`], [`Error::File`].
pub(crate) fn create_directory(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(|error| Error::file(path, error))?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Brings the names in a directory to the disk for good.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| Error::file(path, error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_and_what_is_removed_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let staging = Staging::open(&directory.path().join("staging")).unwrap();
        let blob = BlobId::random();
        assert!(!staging.sync(blob).await.unwrap());
        assert!(staging.write(blob, 0, Bytes::from_static(b"x")).await.is_err());

        staging.create(blob, 8).await.unwrap();
        staging.write(blob, 4, Bytes::from_static(b"four")).await.unwrap();
        assert!(staging.sync(blob).await.unwrap());
        let mut bytes = [1; 8];
        staging.file(blob).unwrap().unwrap().read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"\0\0\0\0four");
        assert_eq!(staging.inventory().await.unwrap().blobs, [blob]);

        staging.remove(blob).await.unwrap();
        staging.remove(blob).await.unwrap();
        assert!(staging.file(blob).unwrap().is_none());
        assert_eq!(staging.inventory().await.unwrap(), Inventory::default());
    }

    #[tokio::test]
    async fn a_sidecar_reads_back_and_names_that_are_not_ours_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let staging = Staging::open(directory.path()).unwrap();
        let upload = UploadId::random();
        let sidecar = Sidecar {
            user: 3,
            digest: Digest::of(b"it"),
            size: 2,
            chunks: vec![ChunkDigest::from_bytes([7; 32])],
            holes: vec![],
            missing: vec![0],
            base: None,
        };
        staging.put_sidecar(upload, &sidecar).await.unwrap();
        std::fs::write(directory.path().join("notes.json"), "{}").unwrap();
        assert_eq!(staging.sidecar(upload).await.unwrap(), Some(sidecar));
        assert_eq!(staging.inventory().await.unwrap().uploads, [upload]);
        staging.remove_sidecar(upload).await.unwrap();
        assert_eq!(staging.sidecar(upload).await.unwrap(), None);
    }
}
