//! The stores: where blobs are kept once they have been moved from the staging disk.
//!
//! A store is a directory of this machine or a bucket of a service that speaks S3; the policy says which
//! of them keep a copy of what is uploaded. Keys are random, an object never changes, and none is
//! public. Which copies there are is known by the table [`copies`](super::db::copies) alone.

mod bucket;
mod etag;
mod failure;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod health;
mod local;
mod multipart;
mod object;
mod oss;
mod parts;
mod rules;
mod settings;
#[cfg(test)]
mod tests;
mod trial;

pub(crate) use failure::{Action, Cause, StoreFailure};
pub(crate) use object::{MultipartUpload, StoredCopy, StoredObject, UnfinishedUpload};
pub(crate) use settings::{BucketSettings, StoreName, StoresSettings, UnknownStore};

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use url::Url;

use self::bucket::Bucket;
use self::health::Health;
use self::local::LocalStore;
use super::{BlobId, Error};

/// The bytes of a copy.
pub(crate) enum ObjectBody {
    /// A file that holds all of it.
    File(File),
    /// The bytes of the range that was asked for, as they come.
    Stream(BoxStream<'static, Result<Bytes, Error>>),
}

#[derive(Debug)]
enum Store {
    Local(LocalStore),
    Bucket(Arc<Bucket>),
}

/// All stores of this server. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Stores {
    named: Arc<BTreeMap<StoreName, NamedStore>>,
    policy: Arc<[StoreName]>,
}

#[derive(Debug)]
struct NamedStore {
    store: Store,
    health: Health,
}

impl From<Store> for NamedStore {
    fn from(store: Store) -> Self {
        Self { store, health: Health::default() }
    }
}

impl Stores {
    /// Opens the stores; connects to none yet.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Store`] when a setting cannot be right.
    pub(crate) fn open(settings: &StoresSettings) -> Result<Self, Error> {
        let local = Store::Local(LocalStore::open(&settings.local)?);
        let mut named = BTreeMap::from([(StoreName::Local, NamedStore::from(local))]);
        for (name, bucket) in buckets(settings)? {
            named.insert(name, Store::Bucket(Arc::new(bucket)).into());
        }
        let stores = Self { named: Arc::new(named), policy: settings.policy.as_slice().into() };
        for name in &settings.policy {
            stores.store(*name)?;
        }
        Ok(stores)
    }

    /// The stores that keep a copy of everything uploaded, the one read first at the front.
    pub(crate) fn policy(&self) -> &[StoreName] {
        &self.policy
    }

    /// All stores that are set up.
    pub(crate) fn names(&self) -> impl Iterator<Item = StoreName> {
        self.named.keys().copied()
    }

    /// Makes a verified copy of a synced file, which stays as it is. What an interrupted try left is
    /// replaced.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::NoSpace`], [`Error::File`].
    pub(crate) async fn put(
        &self,
        name: StoreName,
        blob: BlobId,
        file: PathBuf,
    ) -> Result<StoredCopy, Error> {
        let length = tokio::fs::metadata(&file).await.map_err(|error| Error::file(&file, error))?;
        let begun = self.begin_multipart(name, blob, length.len()).await?;
        self.put_multipart(name, blob, file, begun.as_ref()).await
    }

    /// Creates a multipart upload for a blob of `size` bytes; `None` when it goes in one put. Its parts stay
    /// in the store until [`Self::put_multipart`] or [`Self::abort_multipart`] ends it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn begin_multipart(
        &self,
        name: StoreName,
        blob: BlobId,
        size: u64,
    ) -> Result<Option<MultipartUpload>, Error> {
        match self.store(name)? {
            Store::Local(_) => Ok(None),
            Store::Bucket(bucket) => bucket.begin_multipart(&self.key(name, blob)?, size).await,
        }
    }

    /// Like [`Self::put`], by the upload that [`Self::begin_multipart`] has created. When it fails, the
    /// upload is aborted, if the store answers.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::NoSpace`], [`Error::File`].
    pub(crate) async fn put_multipart(
        &self,
        name: StoreName,
        blob: BlobId,
        file: PathBuf,
        begun: Option<&MultipartUpload>,
    ) -> Result<StoredCopy, Error> {
        let key = self.key(name, blob)?;
        let (size, etag) = match self.store(name)? {
            Store::Local(store) => (store.import(&key, file).await?, None),
            Store::Bucket(bucket) => {
                let found = bucket.put(&key, file, begun).await?;
                (found.size, found.etag)
            }
        };
        metrics::counter!("miaofs_store_put_bytes_total", "store" => name.as_str()).increment(size);
        Ok(StoredCopy { blob, store: name, key, size, etag })
    }

    /// Aborts a multipart upload: the store drops its parts.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn abort_multipart(&self, put: &MultipartUpload) -> Result<(), Error> {
        match self.store(put.store)? {
            Store::Local(_) => Ok(()),
            Store::Bucket(bucket) => bucket.abort_multipart(put).await,
        }
    }

    /// A page of the multipart uploads that are not completed, after one of them; empty at the end.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn list_multipart(
        &self,
        name: StoreName,
        after: Option<&MultipartUpload>,
    ) -> Result<Vec<UnfinishedUpload>, Error> {
        match self.store(name)? {
            Store::Local(_) => Ok(Vec::new()),
            Store::Bucket(bucket) => bucket.list_multipart(after).await,
        }
    }

    /// Makes sure that a file has the bytes of a copy, as far as its store says what they are: their number,
    /// and for a bucket their MD5s by the ETag.
    ///
    /// # Errors
    /// [`Error::Store`] when they differ, [`Error::File`].
    pub(crate) async fn verify(&self, copy: &StoredCopy, file: &Path) -> Result<(), Error> {
        let length = tokio::fs::metadata(file).await.map_err(|error| Error::file(file, error))?;
        if length.len() != copy.size {
            let said = format!("{} bytes instead of {}", length.len(), copy.size);
            return Err(Error::damaged("length of a stored blob", said));
        }
        match self.store(copy.store)? {
            Store::Local(_) => Ok(()),
            Store::Bucket(bucket) => bucket.verify(copy, file.to_owned()).await,
        }
    }

    /// Opens a copy to read a range of it, which is not empty; `None` when it is not there.
    ///
    /// # Errors
    /// [`Error::Store`], also in the stream.
    pub(crate) async fn read(
        &self,
        copy: &StoredCopy,
        range: Range<u64>,
    ) -> Result<Option<ObjectBody>, Error> {
        match self.store(copy.store)? {
            Store::Local(store) => Ok(store.file(&copy.key).await?.map(ObjectBody::File)),
            Store::Bucket(bucket) => {
                Ok(bucket.read(&copy.key, range).await?.map(ObjectBody::Stream))
            }
        }
    }

    /// The object that a store has for a blob; `None` when it has none.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn head(
        &self,
        name: StoreName,
        blob: BlobId,
    ) -> Result<Option<StoredObject>, Error> {
        let key = self.key(name, blob)?;
        match self.store(name)? {
            Store::Local(store) => store.head(&key).await,
            Store::Bucket(bucket) => bucket.head(&key).await,
        }
    }

    /// A copy as its store has it; `None` when it is not there.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn find(&self, copy: &StoredCopy) -> Result<Option<StoredObject>, Error> {
        match self.store(copy.store)? {
            Store::Local(store) => store.head(&copy.key).await,
            Store::Bucket(bucket) => bucket.head(&copy.key).await,
        }
    }

    /// Removes an object by its key, if it is there.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn remove(&self, name: StoreName, key: &str) -> Result<(), Error> {
        match self.store(name)? {
            Store::Local(store) => store.remove(key).await,
            Store::Bucket(bucket) => bucket.remove(key).await,
        }
    }

    /// Removes what a store has of a blob under the key that it is put under now.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn remove_blob(&self, name: StoreName, blob: BlobId) -> Result<(), Error> {
        self.remove(name, &self.key(name, blob)?).await
    }

    /// Removes a blob from every store that may have it: those of the policy, where a put may have been
    /// interrupted before it was known, and those of `copies`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn remove_everywhere(
        &self,
        blob: BlobId,
        copies: &[StoredCopy],
    ) -> Result<(), Error> {
        for copy in copies {
            self.remove(copy.store, &copy.key).await?;
        }
        for name in self.policy.iter().filter(|name| copies.iter().all(|it| it.store != **name)) {
            self.remove_blob(*name, blob).await?;
        }
        Ok(())
    }

    /// All objects that a store has under its prefix, as they come.
    ///
    /// # Errors
    /// [`Error::Store`], also in the stream.
    pub(crate) fn list(
        &self,
        name: StoreName,
    ) -> Result<BoxStream<'static, Result<StoredObject, Error>>, Error> {
        Ok(match self.store(name)? {
            Store::Local(store) => store.list(),
            Store::Bucket(bucket) => bucket.list(),
        })
    }

    /// The blob that an object of a store holds, by its key; `None` when this server makes no such keys.
    pub(crate) fn blob_of(&self, name: StoreName, key: &str) -> Option<BlobId> {
        let hex = key.rsplit('/').next()?;
        let mut bytes = [0; 16];
        hex::decode_to_slice(hex, &mut bytes).ok()?;
        let blob = BlobId::from_bytes(bytes);
        (self.key(name, blob).ok()? == key).then_some(blob)
    }

    /// A URL by which a copy may be read for a while; `None` when clients cannot reach its store. With
    /// `disposition`, the answer bears it as its `Content-Disposition`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn signed_url(
        &self,
        copy: &StoredCopy,
        expires_in: Duration,
        disposition: Option<&str>,
    ) -> Result<Option<Url>, Error> {
        match self.store(copy.store)? {
            Store::Bucket(bucket) => bucket.signed_url(&copy.key, expires_in, disposition).await,
            Store::Local(_) => Ok(None),
        }
    }

    /// True if clients get signed URLs of any store.
    pub(crate) fn signs_urls(&self) -> bool {
        let signs_urls =
            |it: &NamedStore| matches!(&it.store, Store::Bucket(bucket) if bucket.signs_urls());
        self.named.values().any(signs_urls)
    }

    /// Sorts copies by the order in which they are to be read: the policy's, then the rest, and behind
    /// them those in stores that failed lately.
    pub(crate) fn sort(&self, copies: &mut [StoredCopy]) {
        let suspect = |name| self.named.get(&name).is_none_or(|it| it.health.is_suspect());
        let rank = |name| self.policy.iter().position(|it| *it == name).unwrap_or(usize::MAX);
        copies.sort_by_key(|copy| (suspect(copy.store), rank(copy.store), copy.store));
    }

    /// Records the result of a read, by which [`Self::sort`] ranks stores.
    pub(crate) fn record_read(&self, name: StoreName, read: Result<(), &Error>) {
        match (self.named.get(&name), read) {
            (Some(named), Ok(())) => named.health.record_success(name),
            (Some(named), Err(error)) => named.health.record_failure(name, error),
            (None, _) => (),
        }
    }

    fn key(&self, name: StoreName, blob: BlobId) -> Result<String, Error> {
        Ok(match self.store(name)? {
            Store::Bucket(bucket) if !bucket.prefix().is_empty() => {
                format!("{}/{}", bucket.prefix(), fanned_key(blob))
            }
            Store::Local(_) | Store::Bucket(_) => fanned_key(blob),
        })
    }

    fn store(&self, name: StoreName) -> Result<&Store, Error> {
        self.named.get(&name).map(|named| &named.store).ok_or_else(|| not_set_up(name))
    }
}

fn not_set_up(name: StoreName) -> Error {
    let cause = Cause::Settings(format!("it is not set up; add [stores.{name}]"));
    StoreFailure { store: name, address: "nowhere".to_owned(), action: Action::Open, cause }.into()
}

/// Makes sure that the settings of all buckets can be right, without connecting to any.
///
/// # Errors
/// [`Error::Store`].
pub(crate) fn check(settings: &StoresSettings) -> Result<(), Error> {
    buckets(settings).map(|_all| ())
}

fn buckets(settings: &StoresSettings) -> Result<Vec<(StoreName, Bucket)>, Error> {
    let all =
        [(StoreName::Ceph, &settings.ceph, rules::CEPH), (StoreName::Oss, &settings.oss, oss::OSS)];
    let set_up = all.into_iter().filter_map(|(name, of, rules)| Some((name, of.as_ref()?, rules)));
    set_up.map(|(name, settings, rules)| Ok((name, Bucket::new(name, settings, rules)?))).collect()
}

/// The key of a blob below a store's prefix: fanned out, so that no directory grows too large.
pub(crate) fn fanned_key(blob: BlobId) -> String {
    let hex = blob.to_string();
    format!("{}/{hex}", &hex[..2])
}
