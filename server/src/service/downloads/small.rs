//! Many small contents in one answer, so that a reader of many files does not wait for an answer for each.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use miaofs::content::Digest;
use miaofs::protocol::batch;
use miaofs::protocol::downloads::{CONTENTS_MAX, SMALL_MAX, SmallContents};
use tracing::Instrument as _;

use super::Downloads;
use super::reader::{self, ContentReader};
use crate::backend::layout::Layout;
use crate::backend::{self, BlobId};
use crate::service::{Caller, Error};

/// Contents that are read at the same time for one answer.
const PARALLEL: usize = 4;

impl Downloads {
    /// The records of an answer, in the order asked for, without those that are not the caller's, are too large, or cannot be read
    /// now. The database is asked once for where all of them are.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when too many are asked for, [`Error::Backend`].
    pub(crate) async fn small(
        &self,
        caller: Caller,
        request: SmallContents,
    ) -> Result<impl Stream<Item = Bytes> + Send + use<>, Error> {
        if request.digests.len() > CONTENTS_MAX {
            return Err(Error::TooLarge(format!("at most {CONTENTS_MAX} contents at once")));
        }
        let context = &self.context;
        let asked: HashSet<Digest> = request.digests.iter().copied().collect();
        let layouts = context.small_owned_lately(caller.user, &asked, SMALL_MAX).await?;
        let blobs: BTreeSet<BlobId> = layouts.values().flat_map(Layout::blobs).collect();
        let blobs: Vec<BlobId> = blobs.into_iter().collect();
        let places = reader::places(&mut *context.db.read().await?, &blobs).await?;
        let reader = ContentReader::new(context.clone(), places);
        // The bytes are read after the request's handler has returned.
        let request_span = tracing::Span::current();
        let owned = request
            .digests
            .into_iter()
            .filter_map(move |digest| layouts.get(&digest).map(|layout| (digest, layout.clone())));
        let records = stream::iter(owned)
            .map(move |(digest, layout)| {
                record(reader.clone(), digest, layout).instrument(request_span.clone())
            })
            .buffered(PARALLEL);
        Ok(records.filter_map(|record| async { record }))
    }
}

/// The record of a content; `None` when it cannot be read now.
async fn record(reader: Arc<ContentReader>, digest: Digest, layout: Layout) -> Option<Bytes> {
    let mut record = Vec::new();
    match read_whole(reader, &layout).await {
        Ok(bytes) => batch::push(&mut record, digest, &bytes),
        Err(error) => {
            tracing::error!(%error, %digest, "a content is left out of an answer");
            return None;
        }
    }
    metrics::counter!("miaofs_download_bytes_total").increment(layout.size());
    Some(record.into())
}

async fn read_whole(
    reader: Arc<ContentReader>,
    layout: &Layout,
) -> Result<Vec<u8>, backend::Error> {
    let mut whole = Vec::with_capacity(layout.size() as usize);
    let mut read = std::pin::pin!(reader.read(layout, 0..layout.size()));
    while let Some(bytes) = read.try_next().await? {
        whole.extend_from_slice(&bytes);
    }
    Ok(whole)
}
