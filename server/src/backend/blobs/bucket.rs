//! A bucket of a service that speaks S3: objects in, verified, and out by ranges.
//!
//! A put is believed when the service's ETags are those of the MD5s that were computed while the file
//! was read, and the object has the right size when asked for afterwards. An object never changes.

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path as Key;
use object_store::signer::{Method, SignedUrlOptions, Signer as _};
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, ObjectStore as _, ObjectStoreExt as _, PutPayload,
    RetryConfig,
};
use secrecy::ExposeSecret as _;
use url::Url;

use super::etag;
use super::failure::{Action, Cause, StoreFailure};
use super::object::{MultipartUpload, StoredCopy, StoredObject};
use super::oss;
use super::parts::{Parts, read_part};
use super::rules::{Addressing, CompletedEtag, Rules};
use super::settings::{BucketSettings, StoreName};
use crate::backend::{Error, run_blocking};

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(5);
/// Until the next bytes of an answer come when something is read. Another copy may be asked then.
const READ_IDLE: Duration = Duration::from_secs(15);
/// The same when something is put; it runs while a part is sent, so it bounds a slow link.
const PUT_IDLE: Duration = Duration::from_secs(300);

/// A bucket with its keys.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) name: StoreName,
    address: String,
    prefix: String,
    pub(super) rules: Rules,
    /// Options of requests that the `object_store` crate does not know.
    pub(super) client: ClientOptions,
    /// With few retries: another copy may be read instead.
    reads: AmazonS3,
    /// With more retries.
    pub(super) writes: AmazonS3,
    /// The bucket as clients reach it. It only signs_urls.
    public: Option<AmazonS3>,
}

impl Bucket {
    /// A bucket as the settings say. Connects to nothing yet.
    ///
    /// # Errors
    /// [`Error::Store`] when a setting cannot be right.
    pub(super) fn new(
        name: StoreName,
        settings: &BucketSettings,
        rules: Rules,
    ) -> Result<Self, Error> {
        let address = format!("bucket {} at {}", settings.bucket, settings.endpoint);
        let open = |endpoint: &str, retry: RetryConfig, idle| {
            connect(endpoint, settings, &rules, retry, idle).map_err(|cause| {
                Error::from(StoreFailure {
                    store: name,
                    address: address.clone(),
                    action: Action::Open,
                    cause,
                })
            })
        };
        if Key::parse(&settings.prefix).is_err() || settings.prefix.starts_with('/') {
            let said = format!("the setting 'prefix' cannot be {:?}", settings.prefix);
            let cause = Cause::Settings(said);
            return Err(StoreFailure { store: name, address, action: Action::Open, cause }.into());
        }
        let public = settings.public_endpoint.as_deref();
        Ok(Self {
            reads: open(&settings.endpoint, retry(1, 5), READ_IDLE)?,
            writes: open(&settings.endpoint, retry(3, 120), PUT_IDLE)?,
            public: public.map(|public| open(public, retry(0, 0), READ_IDLE)).transpose()?,
            client: client(settings, READ_IDLE).with_allow_http(true),
            prefix: settings.prefix.trim_end_matches('/').to_owned(),
            name,
            rules,
            address,
        })
    }

    /// Prefix of all keys.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// True if clients get signed URLs.
    pub(super) fn signs_urls(&self) -> bool {
        self.public.is_some()
    }

    /// Takes a file in under `key` and answers size and ETag once the object is known to be the same. With
    /// `begun`, by the parts of that put.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::File`].
    pub(super) async fn put(
        &self,
        key: &str,
        file: PathBuf,
        begun: Option<&MultipartUpload>,
    ) -> Result<StoredObject, Error> {
        let (file, size) = run_blocking(move || {
            let opened = File::open(&file).and_then(|open| Ok((open.metadata()?.len(), open)));
            opened
                .map(|(size, open)| (Arc::new(open), size))
                .map_err(|error| Error::file(file, error))
        })
        .await?;
        let at = Key::from(key);
        let sent = match begun {
            None => Some(self.put_whole(&at, file, size).await?),
            Some(put) => self.send(put, file, Parts::of(size, &self.rules)).await?,
        };
        let found = self.head(key).await?.ok_or_else(|| {
            self.failure(Action::Put, Cause::Mismatch("the object is not there afterwards".into()))
        })?;
        self.expect_same(&at, "size", &found.size.to_string(), &size.to_string())?;
        if let Some(etag) = &sent {
            self.expect_same(&at, "ETag", found.etag.as_deref().unwrap_or(""), etag)?;
        }
        Ok(found)
    }

    /// Puts a file in one piece, and returns the ETag that the object must have.
    async fn put_whole(&self, at: &Key, file: Arc<File>, size: u64) -> Result<String, Error> {
        let (bytes, md5) = read_part(file, 0..size).await?;
        let put = self.writes.put(at, PutPayload::from_bytes(bytes)).await;
        let put = put.map_err(|error| self.store_error(Action::Put, error))?;
        let expected = etag::of_piece(&md5);
        self.expect_same(at, "ETag", &etag::plain(put.e_tag.as_deref().unwrap_or("")), &expected)?;
        Ok(expected)
    }

    /// Makes sure that a file has the bytes of a copy, by the ETag that the copy has; one that a client
    /// cannot compute proves nothing.
    ///
    /// # Errors
    /// [`Error::Store`] when they differ, [`Error::File`].
    pub(super) async fn verify(&self, copy: &StoredCopy, path: PathBuf) -> Result<(), Error> {
        let Some(etag) = &copy.etag else { return Ok(()) };
        let parts = Parts::of(copy.size, &self.rules);
        if !parts.is_one() && self.rules.completed_etag == CompletedEtag::Opaque {
            return Ok(());
        }
        let open = || File::open(&path).map_err(|error| Error::file(&path, error));
        let file = Arc::new(open()?);
        let mut md5s = Vec::new();
        for range in parts.ranges() {
            md5s.push(read_part(file.clone(), range).await?.1);
        }
        let computed = match md5s[..] {
            [md5] => etag::of_piece(&md5),
            _ => etag::of_parts(&md5s),
        };
        if computed == *etag {
            return Ok(());
        }
        let said = format!("the ETag of {} is {etag}, that of its bytes {computed}", copy.key);
        Err(self.failure(Action::Read, Cause::Mismatch(said)))
    }

    /// Size and ETag of an object; `None` when it is not there.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(super) async fn head(&self, key: &str) -> Result<Option<StoredObject>, Error> {
        match self.reads.head(&Key::from(key)).await {
            Ok(meta) => Ok(Some(found(meta))),
            Err(error) => self.none_if_not_found(Action::Inspect, error),
        }
    }

    /// Opens a stream of a range, which is not empty; `None` when the object is not there.
    ///
    /// # Errors
    /// [`Error::Store`]; also in the stream.
    pub(super) async fn read(
        self: &Arc<Self>,
        key: &str,
        range: Range<u64>,
    ) -> Result<Option<BoxStream<'static, Result<Bytes, Error>>>, Error> {
        let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
        match self.reads.get_opts(&Key::from(key), options).await {
            Ok(answer) => {
                let bucket = Arc::clone(self);
                let bytes = answer.into_stream();
                Ok(Some(
                    bytes.map_err(move |error| bucket.store_error(Action::Read, error)).boxed(),
                ))
            }
            Err(error) => self.none_if_not_found(Action::Read, error),
        }
    }

    /// Removes an object, if it is there.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(super) async fn remove(&self, key: &str) -> Result<(), Error> {
        match self.writes.delete(&Key::from(key)).await {
            Ok(()) => Ok(()),
            Err(error) => self.none_if_not_found::<()>(Action::Remove, error).map(|_absent| ()),
        }
    }

    /// All objects under the prefix, as they come.
    pub(super) fn list(self: &Arc<Self>) -> BoxStream<'static, Result<StoredObject, Error>> {
        let bucket = Arc::clone(self);
        let prefix = (!self.prefix.is_empty()).then(|| Key::from(self.prefix.as_str()));
        let listed = self.reads.list(prefix.as_ref());
        listed
            .map(move |meta| {
                meta.map(found).map_err(|error| bucket.store_error(Action::Inspect, error))
            })
            .boxed()
    }

    /// A URL by which anybody may read an object until it expires; `None` when clients cannot reach
    /// the bucket. With `disposition`, the answer bears it as its `Content-Disposition`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(super) async fn signed_url(
        &self,
        key: &str,
        expires_in: Duration,
        disposition: Option<&str>,
    ) -> Result<Option<Url>, Error> {
        let Some(public) = &self.public else { return Ok(None) };
        let mut options = SignedUrlOptions::default();
        if let Some(disposition) = disposition {
            options = options.with_query([("response-content-disposition", disposition)]);
        }
        let expires_in = expires_in.min(self.rules.signed_for_max);
        let key = Key::from(key);
        let signed = public.signed_url_opts(Method::GET, &key, expires_in, &options);
        signed.await.map(Some).map_err(|error| self.store_error(Action::Sign, error))
    }

    pub(super) fn expect_same(
        &self,
        at: &Key,
        what: &str,
        given: &str,
        expected: &str,
    ) -> Result<(), Error> {
        if given == expected {
            return Ok(());
        }
        let said = format!("{what} of {at} is {given}, not {expected}");
        Err(self.failure(Action::Put, Cause::Mismatch(said)))
    }

    pub(super) fn none_if_not_found<T>(
        &self,
        action: Action,
        error: object_store::Error,
    ) -> Result<Option<T>, Error> {
        match Cause::of(error) {
            Cause::NotFound(_) => Ok(None),
            cause => Err(self.failure(action, cause)),
        }
    }

    pub(super) fn store_error(&self, action: Action, error: object_store::Error) -> Error {
        self.failure(action, Cause::of(error))
    }

    pub(super) fn failure(&self, action: Action, cause: Cause) -> Error {
        StoreFailure { store: self.name, address: self.address.clone(), action, cause }.into()
    }
}

fn connect(
    endpoint: &str,
    settings: &BucketSettings,
    rules: &Rules,
    retry: RetryConfig,
    idle: Duration,
) -> Result<AmazonS3, Cause> {
    let url = Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.filter(Url::has_host).ok_or_else(|| {
        Cause::Settings(format!("{endpoint:?} is no endpoint: write http://HOST[:PORT]"))
    })?;
    let region = settings.region.as_deref().or(rules.region).ok_or_else(|| {
        Cause::Settings("signatures name a region: set 'region', as cn-hangzhou".to_owned())
    })?;
    let endpoint = match rules.addressing {
        Addressing::Path => endpoint.trim_end_matches('/').to_owned(),
        Addressing::VirtualHosted => {
            oss::bucket_endpoint(&url, &settings.bucket).ok_or_else(|| {
                Cause::Settings(format!(
                    "{endpoint:?} is an address, and the bucket stands in a name"
                ))
            })?
        }
    };
    AmazonS3Builder::new()
        .with_endpoint(endpoint)
        .with_bucket_name(&settings.bucket)
        .with_region(region)
        .with_access_key_id(&settings.access_key)
        .with_secret_access_key(settings.secret_key.expose_secret())
        .with_virtual_hosted_style_request(rules.addressing == Addressing::VirtualHosted)
        .with_client_options(client(settings, idle).with_allow_http(url.scheme() == "http"))
        .with_retry(retry)
        // The ETag proves what arrived; hashing everything a second time would prove no more.
        .with_unsigned_payload(true)
        .with_conditional_put(S3ConditionalPut::Disabled)
        .with_disable_bulk_delete(true)
        .build()
        .map_err(Cause::of)
}

fn client(settings: &BucketSettings, idle: Duration) -> ClientOptions {
    let client = match &settings.proxy {
        Some(proxy) => ClientOptions::new().with_proxy_url(proxy),
        None => ClientOptions::new(),
    };
    client.with_connect_timeout(CONNECT).with_timeout_disabled().with_read_timeout(idle)
}

fn retry(times: usize, seconds: u64) -> RetryConfig {
    RetryConfig {
        max_retries: times,
        retry_timeout: Duration::from_secs(seconds),
        backoff: BackoffConfig::default(),
    }
}

fn found(meta: object_store::ObjectMeta) -> StoredObject {
    StoredObject {
        key: meta.location.to_string(),
        size: meta.size,
        etag: meta.e_tag.as_deref().map(etag::plain),
        changed_at: meta.last_modified.timestamp(),
    }
}
