//! The trial of a store: an object of its own is put, found, read back and removed.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::TryStreamExt as _;
use object_store::path::Path as Key;
use object_store::{ObjectStoreExt as _, PutPayload};

use super::bucket::Bucket;
use super::failure::Action;
use super::settings::{StoreName, StoresSettings};
use super::{Stores, buckets, fanned_key, not_set_up};
use crate::backend::trial::{TRIED, Trial, expect_tried, try_directory, within_limit};
use crate::backend::{BlobId, Error};

const STORE: &str = "the store";

impl Stores {
    /// Tries a store out, without opening or making any other. The object is removed whatever has become of it, and has the key of
    /// a blob, so that `fsck` finds one that was left.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::File`], [`Error::Trial`].
    pub(crate) async fn try_out(
        settings: &StoresSettings,
        name: StoreName,
    ) -> Result<Trial, Error> {
        if name == StoreName::Local {
            return within_limit(STORE, try_directory(&settings.local)).await;
        }
        let found = buckets(settings)?.into_iter().find(|(it, _)| *it == name);
        let (_, bucket) = found.ok_or_else(|| not_set_up(name))?;
        let bucket = Arc::new(bucket);
        let key = Path::new(bucket.prefix()).join(fanned_key(BlobId::random()));
        let key = key.to_string_lossy();
        let exchanged = within_limit(STORE, exchange(&bucket, &key)).await;
        let removed = within_limit(STORE, bucket.remove(&key)).await;
        let trial = exchanged?;
        removed.map(|()| trial)
    }
}

async fn exchange(bucket: &Arc<Bucket>, key: &str) -> Result<Trial, Error> {
    let put = bucket.writes.put(&Key::from(key), PutPayload::from_static(TRIED)).await;
    put.map_err(|error| bucket.store_error(Action::Put, error))?;
    let found = bucket.head(key).await?;
    let back = match bucket.read(key, 0..TRIED.len() as u64).await? {
        Some(bytes) => Some(bytes.try_collect::<Vec<Bytes>>().await?.concat()),
        None => None,
    };
    expect_tried(STORE, back.as_deref())?;
    // The time of the object is the moment at which the store took it, by its own clock.
    Ok(Trial { version: None, clock: found.map(|object| object.changed_at) })
}
