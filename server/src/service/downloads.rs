//! Downloads: contents for those who own them, whole or in part, and where their chunks are.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{Stream, StreamExt as _};
use miaofs::content::Digest;
use miaofs::protocol::downloads::{LOCATE_MAX, Locate, Located, LocatedChunk, Place};

use super::contents::Contents;
use super::{Caller, Error, reader};
use crate::backend;
use crate::backend::layout::{Layout, Source};

/// How long the places that are answered hold.
const EXPIRES_IN: u64 = 3600;

/// Downloads. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Downloads(Arc<Contents>);

/// A content that its owner may read.
#[derive(Debug, Clone)]
pub struct Readable {
    /// Its digest.
    pub digest: Digest,
    layout: Layout,
}

impl Readable {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.layout.size()
    }
}

impl Downloads {
    /// Downloads of these contents.
    pub fn new(contents: Arc<Contents>) -> Self {
        Self(contents)
    }

    /// A content of the caller's own.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not theirs, whether it exists or not.
    pub async fn open(&self, caller: Caller, digest: Digest) -> Result<Readable, Error> {
        let layout = self.0.owned_lately(caller.user, digest).await?;
        let layout = layout.ok_or(Error::NotFound("content"))?;
        Ok(Readable { digest, layout })
    }

    /// The bytes of a range, which lies within the content.
    pub fn read(
        &self,
        content: &Readable,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, backend::Error>> + Send + use<> {
        let sent = metrics::counter!("miaofs_download_bytes_total");
        reader::read(self.0.clone(), &content.layout, range).inspect(move |bytes| match bytes {
            Ok(bytes) => sent.increment(bytes.len() as u64),
            Err(error) => tracing::error!(%error, "a download broke off"),
        })
    }

    /// Where chunks of a content are.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::TooLarge`] when too many are asked for.
    pub async fn locate(&self, caller: Caller, request: Locate) -> Result<Located, Error> {
        if request.count > LOCATE_MAX {
            return Err(Error::TooLarge(format!("at most {LOCATE_MAX} chunks at once")));
        }
        let content = self.open(caller, request.digest).await?;
        let first = usize::try_from(request.first).unwrap_or(usize::MAX);
        let count = usize::try_from(request.count).unwrap_or(usize::MAX);
        let chunks = content.layout.chunks().iter().zip(content.layout.sources());
        let located = chunks.skip(first).take(count).map(|(digest, source)| match source {
            Source::Hole => LocatedChunk { digest: None, place: Place::Hole },
            Source::Blob { .. } => LocatedChunk { digest: Some(*digest), place: Place::Server },
        });
        Ok(Located { size: content.size(), expires_in: EXPIRES_IN, chunks: located.collect() })
    }
}
