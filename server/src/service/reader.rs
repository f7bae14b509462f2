//! Reads contents wherever their bytes are, in large pieces, two of them at a time.
//!
//! A blob may move from the staging disk to the store at any moment. Its bytes are never gone: the
//! table says where they are before the staged ones are dropped, so a file that is not found is looked
//! for once more; and a file that was opened stays readable.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _};
use tokio::sync::Mutex;

use super::contents::Contents;
use crate::backend::db::blobs::{self, Place};
use crate::backend::layout::{Layout, Piece, Source};
use crate::backend::{BlobId, Error, off_loop};

/// Bytes that are read from a disk at once.
const BUFFER: usize = 512 * 1024;
/// Buffers that are read ahead of whoever takes them.
const AHEAD: usize = 2;
/// How often a blob is looked for that is moving.
const TRIES: usize = 5;

static ZEROS: [u8; BUFFER] = [0; BUFFER];

/// The bytes of a range of a content, in order. The range lies within the content.
pub(super) fn read(
    contents: Arc<Contents>,
    layout: &Layout,
    range: Range<u64>,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
    let opened = Arc::new(Opened { contents, last: Mutex::new(None) });
    stream::iter(layout.plan(range).into_iter().flat_map(cut))
        .map(move |piece| {
            let opened = opened.clone();
            async move { opened.read(piece).await }
        })
        .buffered(AHEAD)
}

/// Cuts a piece into ones that a buffer holds.
fn cut(piece: Piece) -> impl Iterator<Item = Piece> + Send {
    (0..piece.length).step_by(BUFFER).map(move |start| Piece {
        source: piece.source.advanced(start),
        length: (piece.length - start).min(BUFFER as u64),
    })
}

/// The blob that was read last, open.
struct Opened {
    contents: Arc<Contents>,
    last: Mutex<Option<(BlobId, Arc<File>)>>,
}

impl Opened {
    async fn read(&self, piece: Piece) -> Result<Bytes, Error> {
        let length = usize::try_from(piece.length).unwrap_or(BUFFER).min(BUFFER);
        let Source::Blob { blob, offset } = piece.source else {
            return Ok(Bytes::from_static(&ZEROS[..length]));
        };
        let file = self.file(blob).await?;
        off_loop(move || {
            let mut buffer = vec![0; length];
            file.read_exact_at(&mut buffer, offset)
                .map_err(|error| Error::file(blob.to_string(), error))?;
            Ok(buffer.into())
        })
        .await
    }

    async fn file(&self, blob: BlobId) -> Result<Arc<File>, Error> {
        let mut last = self.last.lock().await;
        if let Some((open, file)) = &*last
            && *open == blob
        {
            return Ok(file.clone());
        }
        let file = Arc::new(open(&self.contents, blob).await?);
        *last = Some((blob, file.clone()));
        Ok(file)
    }
}

async fn open(contents: &Contents, blob: BlobId) -> Result<File, Error> {
    for _try in 0..TRIES {
        let Some(row) = blobs::get(&mut *contents.db.read().await?, blob).await? else { break };
        let staging = contents.staging.clone();
        let file = match row.place {
            Place::Staging => off_loop(move || staging.file(blob)).await?,
            Place::Store => contents.store.file(blob).await?,
        };
        if let Some(file) = file {
            return Ok(file);
        }
    }
    Err(Error::Lost { blob })
}
