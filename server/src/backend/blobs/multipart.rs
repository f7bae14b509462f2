//! Multipart uploads: created, sent, completed or aborted; and the listing of those that nobody ended.
//!
//! A service keeps the parts until the upload is completed or aborted, and shows them in no listing of objects.
//! So an upload has its id before the first part is sent, and whoever creates one can record the id.

use std::fmt::Display;
use std::fs::File;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use object_store::client::{
    HttpConnector as _, HttpError, HttpRequest, HttpRequestBody, ReqwestConnector,
};
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path as Key;
use object_store::signer::{Method, SignedUrlOptions, Signer as _};
use serde::Deserialize;

use super::bucket::Bucket;
use super::etag::{self, Md5Bytes};
use super::failure::{Action, Cause};
use super::object::{MultipartUpload, UnfinishedUpload};
use super::parts::{Parts, read_part};
use super::rules::CompletedEtag;
use crate::backend::Error;

/// Multipart uploads of one page of a listing.
const PAGE: &str = "100";
/// Time for which the request for a listing is signed.
const SIGNED_FOR: Duration = Duration::from_secs(300);

/// One page of a listing, and where the next one begins.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Page {
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_key_marker: String,
    #[serde(default)]
    next_upload_id_marker: String,
    #[serde(default, rename = "Upload")]
    uploads: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    key: String,
    upload_id: String,
    /// RFC 3339.
    initiated: String,
}

impl Bucket {
    /// Creates a multipart upload under `key`; `None` when so many bytes go in one put.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(super) async fn begin_multipart(
        &self,
        key: &str,
        size: u64,
    ) -> Result<Option<MultipartUpload>, Error> {
        if Parts::of(size, &self.rules).is_one() {
            return Ok(None);
        }
        let begun = self.writes.create_multipart(&Key::from(key)).await;
        let id = begun.map_err(|error| self.store_error(Action::Put, error))?;
        Ok(Some(MultipartUpload { store: self.name, key: key.to_owned(), id }))
    }

    /// Aborts a multipart upload. One that the store does not know any more is no error.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(super) async fn abort_multipart(&self, put: &MultipartUpload) -> Result<(), Error> {
        match self.writes.abort_multipart(&Key::from(put.key.as_str()), &put.id).await {
            Ok(()) => Ok(()),
            Err(error) => self.none_if_not_found::<()>(Action::Remove, error).map(|_absent| ()),
        }
    }

    /// Sends all parts and completes; answers the ETag that the object must have, if that can be known.
    pub(super) async fn send(
        &self,
        put: &MultipartUpload,
        file: Arc<File>,
        parts: Parts,
    ) -> Result<Option<String>, Error> {
        let at = Key::from(put.key.as_str());
        let done = match self.send_parts(&at, &put.id, file, parts).await {
            Ok((ids, md5s)) => self.complete(&at, &put.id, ids, &md5s).await,
            Err(error) => Err(error),
        };
        if done.is_err()
            && let Err(error) = self.abort_multipart(put).await
        {
            tracing::warn!(store = %self.name, %error, "parts of a failed multipart upload may be left");
        }
        done
    }

    async fn send_parts(
        &self,
        at: &Key,
        id: &String,
        file: Arc<File>,
        parts: Parts,
    ) -> Result<(Vec<PartId>, Vec<Md5Bytes>), Error> {
        let sending = parts.ranges().enumerate().map(|(index, range)| {
            let file = file.clone();
            async move {
                let (bytes, md5) = read_part(file, range).await?;
                let sent = self.writes.put_part(at, id, index, bytes.into()).await;
                let part = sent.map_err(|error| self.store_error(Action::Put, error))?;
                let (given, due) = (etag::plain(&part.content_id), etag::of_piece(&md5));
                self.expect_same(at, "a part's ETag", &given, &due)?;
                Ok((part, md5))
            }
        });
        stream::iter(sending)
            .buffered(parts.at_once())
            .try_collect::<Vec<_>>()
            .await
            .map(|sent| sent.into_iter().unzip())
    }

    async fn complete(
        &self,
        at: &Key,
        id: &String,
        parts: Vec<PartId>,
        md5s: &[Md5Bytes],
    ) -> Result<Option<String>, Error> {
        let expected = match self.rules.completed_etag {
            CompletedEtag::OfPartMd5s => Some(etag::of_parts(md5s)),
            CompletedEtag::Opaque => None,
        };
        match self.writes.complete_multipart(at, id, parts).await {
            Ok(_answer) => Ok(expected),
            // Repeated after a lost answer, it finds no such upload: then the object is there.
            Err(error @ object_store::Error::NotFound { .. }) => {
                match self.head(at.as_ref()).await? {
                    Some(_completed) => Ok(expected),
                    None => Err(self.store_error(Action::Put, error)),
                }
            }
            Err(error) => Err(self.store_error(Action::Put, error)),
        }
    }

    /// A page of the multipart uploads under the prefix that are not ended, after one of them.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(super) async fn list_multipart(
        &self,
        after: Option<&MultipartUpload>,
    ) -> Result<Vec<UnfinishedUpload>, Error> {
        let mut page = self.list_unfinished(after).await?;
        // A service may answer an empty page that is not the last one.
        while page.uploads.is_empty() && page.is_truncated {
            let Page { next_key_marker: key, next_upload_id_marker: id, .. } = page;
            page =
                self.list_unfinished(Some(&MultipartUpload { store: self.name, key, id })).await?;
        }
        page.uploads.into_iter().map(|listed| self.read_listed(listed)).collect()
    }

    fn read_listed(&self, listed: Listed) -> Result<UnfinishedUpload, Error> {
        let begun_at: jiff::Timestamp =
            listed.initiated.parse().map_err(|error: jiff::Error| {
                self.failure(Action::Inspect, Cause::Unreadable(error.to_string()))
            })?;
        let put = MultipartUpload { store: self.name, key: listed.key, id: listed.upload_id };
        Ok(UnfinishedUpload { put, begun_at: begun_at.as_second() })
    }

    /// The crate for stores knows no such listing, but signs for it.
    async fn list_unfinished(&self, after: Option<&MultipartUpload>) -> Result<Page, Error> {
        let mut query = vec![("uploads", ""), ("prefix", self.prefix()), ("max-uploads", PAGE)];
        if let Some(after) = after {
            query.extend([("key-marker", &*after.key), ("upload-id-marker", &*after.id)]);
        }
        let options = SignedUrlOptions::default().with_query(query);
        let root = Key::default();
        let signed = self.writes.signed_url_opts(Method::GET, &root, SIGNED_FOR, &options);
        let url = signed.await.map_err(|error| self.store_error(Action::Inspect, error))?;
        let text =
            self.fetch(url.as_str()).await.map_err(|cause| self.failure(Action::Inspect, cause))?;
        read_page(&text)
            .map_err(|error| self.failure(Action::Inspect, Cause::Unreadable(error.to_string())))
    }

    async fn fetch(&self, url: &str) -> Result<String, Cause> {
        let client = ReqwestConnector::default().connect(&self.client).map_err(Cause::of)?;
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        parse_into(request.uri_mut(), url)?;
        let unreadable = |error: HttpError| Cause::Unreadable(error.to_string());
        let answer = client.execute(request).await.map_err(unreadable)?;
        let status = answer.status();
        let bytes = answer.into_body().bytes().await.map_err(unreadable)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if status.is_success() {
            return Ok(text);
        }
        Err(Cause::Unreadable(format!("{status}: {text}")))
    }
}

/// Reads a page of a listing.
pub(super) fn read_page(text: &str) -> Result<Page, quick_xml::DeError> {
    quick_xml::de::from_str(text)
}

/// Parses a URL as the type that `target` has, which the `object_store` crate does not name.
fn parse_into<T: FromStr<Err: Display>>(target: &mut T, url: &str) -> Result<(), Cause> {
    *target = url
        .parse()
        .map_err(|error: T::Err| Cause::Settings(format!("a signed URL is none: {error}")))?;
    Ok(())
}
