//! What is staged on this host, for the other processes of the server.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::Stream;

use super::file_pieces::pieces_of;
use crate::backend::{self, BlobId, run_blocking};
use crate::service::Error;
use crate::service::context::ServiceContext;

/// The staged blobs of this host. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Staged(Arc<ServiceContext>);

/// A staged blob, which stays readable also when it moves away meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct StagedBlob {
    id: BlobId,
    file: Arc<File>,
    /// Size in bytes.
    pub size: u64,
}

impl Staged {
    /// Access to the staging disk of this context.
    pub(crate) fn new(context: Arc<ServiceContext>) -> Self {
        Self(context)
    }

    /// Opens a blob for a process that shows a pass for it.
    ///
    /// # Errors
    /// [`Error::Unauthorized`]; [`Error::NotFound`] when it is not here (any more).
    pub(crate) async fn open(&self, id: BlobId, pass: &str) -> Result<StagedBlob, Error> {
        self.0.hosts.admit(id, pass)?;
        let staging = self.0.staging.clone();
        let opened = run_blocking(move || {
            let Some(file) = staging.file(id)? else { return Ok(None) };
            let metadata = file.metadata();
            let metadata = metadata.map_err(|error| backend::Error::file(id.to_string(), error))?;
            Ok(Some(StagedBlob { id, file: Arc::new(file), size: metadata.len() }))
        });
        opened.await?.ok_or(Error::NotFound("staged blob"))
    }
}

impl StagedBlob {
    /// The bytes of a range, which lies within the blob.
    pub(crate) fn read(
        self,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, backend::Error>> + Send + use<> {
        pieces_of(self.file, self.id, range)
    }
}
