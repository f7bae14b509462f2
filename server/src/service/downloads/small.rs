//! Many small contents in one answer, so that a reader of many files does not wait for an answer for each.

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use miaofs::content::Digest;
use miaofs::protocol::batch;
use miaofs::protocol::downloads::{CONTENTS_MAX, SMALL_MAX, SmallContents};

use super::Downloads;
use crate::service::{Caller, Error};

/// Contents that are read at the same time for one answer.
const PARALLEL: usize = 4;

impl Downloads {
    /// The records of an answer, in the order asked for, without those that are not the caller's, are too large, or cannot be read now.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when too many are asked for.
    pub(crate) fn small(
        &self,
        caller: Caller,
        request: SmallContents,
    ) -> Result<impl Stream<Item = Bytes> + Send + use<>, Error> {
        if request.digests.len() > CONTENTS_MAX {
            return Err(Error::TooLarge(format!("at most {CONTENTS_MAX} contents at once")));
        }
        let downloads = self.clone();
        let read = move |digest| {
            let downloads = downloads.clone();
            async move { downloads.record(caller, digest).await }
        };
        let records = stream::iter(request.digests).map(read).buffered(PARALLEL);
        Ok(records.filter_map(|record| async { record }))
    }

    async fn record(&self, caller: Caller, digest: Digest) -> Option<Bytes> {
        let read = self.small_content(caller, digest).await;
        let bytes = read.unwrap_or_else(|error| {
            tracing::error!(%error, %digest, "a content is left out of an answer");
            None
        })?;
        let mut record = Vec::with_capacity(batch::HEADER + bytes.len());
        batch::push(&mut record, digest, &bytes);
        Some(record.into())
    }

    /// The bytes of a content of the caller's own, if it is small.
    async fn small_content(
        &self,
        caller: Caller,
        digest: Digest,
    ) -> Result<Option<Vec<u8>>, Error> {
        let content = match self.open(caller, digest).await {
            Err(Error::NotFound(_)) => return Ok(None),
            opened => opened?,
        };
        if content.size() > SMALL_MAX {
            return Ok(None);
        }
        let mut whole = Vec::with_capacity(content.size() as usize);
        let mut read = std::pin::pin!(self.read(&content, 0..content.size()));
        while let Some(bytes) = read.try_next().await? {
            whole.extend_from_slice(&bytes);
        }
        Ok(Some(whole))
    }
}
