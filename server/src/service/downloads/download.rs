//! Downloads: contents for those who own them, whole or in part, and where their chunks are.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{Stream, StreamExt as _};
use miaofs::content::Digest;
use miaofs::protocol::downloads::{ChunkSource, LOCATE_MAX, Locate, Located, LocatedChunk};

use super::reader;
use super::recent::{FoundContent, RecentContents};
use crate::backend::blobs::StoredCopy;
use crate::backend::db::copies;
use crate::backend::layout::{Piece, Source};
use crate::backend::{self, BlobId, UserId};
use crate::service::context::ServiceContext;
use crate::service::{Caller, Error};

/// Downloads. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Downloads {
    pub(super) context: Arc<ServiceContext>,
    recent: RecentContents,
}

/// A content that its owner may read.
#[derive(Debug, Clone)]
pub(crate) struct Readable {
    /// Digest of the whole content.
    pub digest: Digest,
    found: Arc<FoundContent>,
}

impl Readable {
    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.found.layout.size()
    }
}

impl Downloads {
    /// Downloads of these contents.
    pub(crate) fn new(context: Arc<ServiceContext>) -> Self {
        Self { context, recent: RecentContents::new() }
    }

    /// A content of the user's own.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not theirs, whether it exists or not.
    pub(crate) async fn open(&self, user: UserId, digest: Digest) -> Result<Readable, Error> {
        let found = match self.recent.get(user, digest) {
            Some(found) => found,
            None => {
                let layout = self.context.owned_lately(user, digest).await?;
                let layout = layout.ok_or(Error::NotFound("content"))?;
                self.recent.remember(user, digest, layout)
            }
        };
        Ok(Readable { digest, found })
    }

    /// The bytes of a range, which lies within the content.
    pub(crate) fn read(
        &self,
        content: &Readable,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, backend::Error>> + Send + use<> {
        let sent = metrics::counter!("miaofs_download_bytes_total");
        // The bytes are read after the request's handler has returned.
        let request = tracing::Span::current();
        let FoundContent { layout, file } = &*content.found;
        let read = reader::read_again(self.context.clone(), layout, range, file.clone());
        read.inspect(move |bytes| match bytes {
            Ok(bytes) => sent.increment(bytes.len() as u64),
            Err(error) => request.in_scope(|| tracing::error!(%error, "a download broke off")),
        })
    }

    /// Where chunks of a content are.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::TooLarge`] when too many are asked for.
    pub(crate) async fn locate(&self, caller: Caller, request: Locate) -> Result<Located, Error> {
        if request.count > LOCATE_MAX {
            return Err(Error::TooLarge(format!("at most {LOCATE_MAX} chunks at once")));
        }
        let content = self.open(caller.user, request.digest).await?;
        let first = usize::try_from(request.first).unwrap_or(usize::MAX);
        let count = usize::try_from(request.count).unwrap_or(usize::MAX);
        let layout = &content.found.layout;
        let chunks = layout.chunks().iter().zip(layout.sources());
        let chunks: Vec<_> = chunks.skip(first).take(count).collect();
        let blobs = chunks.iter().filter_map(|(_digest, source)| match source {
            Source::Hole => None,
            Source::Blob { blob, .. } => Some(*blob),
        });
        let signed = self.sign(&blobs.collect()).await?;
        let located = chunks.iter().map(|(digest, source)| match source {
            Source::Hole => LocatedChunk { digest: None, source: ChunkSource::Hole },
            Source::Blob { blob, offset } => LocatedChunk {
                digest: Some(**digest),
                source: match signed.places.get(blob) {
                    Some(url) => ChunkSource::Url { url: *url, offset: *offset },
                    None => ChunkSource::Server,
                },
            },
        });
        Ok(Located {
            size: content.size(),
            expires_in: self.context.policy.signed_url_ttl.as_secs(),
            chunks: located.collect(),
            urls: signed.urls,
        })
    }

    /// A URL of all the bytes of a content in a store that clients reach, under `disposition`; `None`
    /// when there is no object of just those bytes.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(crate) async fn redirection(
        &self,
        content: &Readable,
        disposition: Option<&str>,
    ) -> Result<Option<String>, Error> {
        let layout = &content.found.layout;
        let pieces = layout.plan(0..layout.size());
        let [Piece { source: Source::Blob { blob, offset: 0 }, .. }] = pieces[..] else {
            return Ok(None);
        };
        let mut copies = self.copies(&BTreeSet::from([blob])).await?;
        let copies = copies.remove(&blob).unwrap_or_default();
        if copies.iter().any(|copy| copy.size != layout.size()) {
            return Ok(None);
        }
        Ok(self.sign_first(&copies, disposition).await?)
    }

    /// Signs one URL for each blob of which clients can reach a copy.
    async fn sign(&self, blobs: &BTreeSet<BlobId>) -> Result<Signed, backend::Error> {
        let mut signed = Signed::default();
        for (blob, copies) in self.copies(blobs).await? {
            if let Some(url) = self.sign_first(&copies, None).await? {
                let place = u32::try_from(signed.urls.len()).expect("fewer blobs than chunks");
                signed.places.insert(blob, place);
                signed.urls.push(url);
            }
        }
        Ok(signed)
    }

    /// The copies of blobs, the ones to be read first at the front; none when no store is reached by
    /// clients.
    async fn copies(
        &self,
        blobs: &BTreeSet<BlobId>,
    ) -> Result<HashMap<BlobId, Vec<StoredCopy>>, backend::Error> {
        if !self.context.stores.signs_urls() {
            return Ok(HashMap::new());
        }
        let blobs: Vec<BlobId> = blobs.iter().copied().collect();
        let mut copies = copies::of_blobs(&mut *self.context.db.read().await?, &blobs).await?;
        copies.values_mut().for_each(|copies| self.context.stores.sort(copies));
        Ok(copies)
    }

    async fn sign_first(
        &self,
        copies: &[StoredCopy],
        disposition: Option<&str>,
    ) -> Result<Option<String>, backend::Error> {
        let ttl = self.context.policy.signed_url_ttl;
        for copy in copies {
            if let Some(url) = self.context.stores.signed_url(copy, ttl, disposition).await? {
                return Ok(Some(url.into()));
            }
        }
        Ok(None)
    }
}

/// URLs of objects, and which blob has which of them.
#[derive(Debug, Default)]
struct Signed {
    urls: Vec<String>,
    places: HashMap<BlobId, u32>,
}
