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

/// Where bytes were found.
enum Found {
    /// In a file that this process can read.
    Here(Arc<File>),
    /// On another host, which has sent them.
    Elsewhere(Bytes),
}

impl Opened {
    async fn read(&self, piece: Piece) -> Result<Bytes, Error> {
        let length = usize::try_from(piece.length).unwrap_or(BUFFER).min(BUFFER);
        let Source::Blob { blob, offset } = piece.source else {
            return Ok(Bytes::from_static(&ZEROS[..length]));
        };
        let file = match self.find(blob, offset..offset + piece.length).await? {
            Found::Here(file) => file,
            Found::Elsewhere(bytes) => return Ok(bytes),
        };
        off_loop(move || {
            let mut buffer = vec![0; length];
            file.read_exact_at(&mut buffer, offset)
                .map_err(|error| Error::file(blob.to_string(), error))?;
            Ok(buffer.into())
        })
        .await
    }

    async fn find(&self, blob: BlobId, range: Range<u64>) -> Result<Found, Error> {
        let mut last = self.last.lock().await;
        if let Some((open, file)) = &*last
            && *open == blob
        {
            return Ok(Found::Here(file.clone()));
        }
        let found = find(&self.contents, blob, range).await?;
        if let Found::Here(file) = &found {
            *last = Some((blob, file.clone()));
        }
        Ok(found)
    }
}

async fn find(contents: &Contents, blob: BlobId, range: Range<u64>) -> Result<Found, Error> {
    for _try in 0..TRIES {
        let Some(row) = blobs::get(&mut *contents.db.read().await?, blob).await? else { break };
        let staging = contents.staging.clone();
        let file = match row.place {
            Place::Staging if row.host != *contents.host() => {
                match contents.hosts.read(&row.host, blob, range.clone()).await? {
                    Some(bytes) => return Ok(Found::Elsewhere(gather(bytes, &range).await?)),
                    None => continue,
                }
            }
            Place::Staging => off_loop(move || staging.file(blob)).await?,
            Place::Store => contents.store.file(blob).await?,
        };
        if let Some(file) = file {
            return Ok(Found::Here(Arc::new(file)));
        }
    }
    Err(Error::Lost { blob })
}

/// All bytes of a range that a buffer holds, as they come from another host.
async fn gather(
    mut bytes: impl Stream<Item = Result<Bytes, Error>> + Unpin,
    range: &Range<u64>,
) -> Result<Bytes, Error> {
    let length = usize::try_from(range.end - range.start).unwrap_or(BUFFER);
    let mut gathered = Vec::with_capacity(length.min(BUFFER));
    while let Some(frame) = bytes.next().await {
        gathered.extend_from_slice(&frame?);
        if gathered.len() > length {
            break;
        }
    }
    if gathered.len() == length {
        Ok(gathered.into())
    } else {
        Err(Error::Damaged { what: "length of what another host sent" })
    }
}
