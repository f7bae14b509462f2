//! Reads contents wherever their bytes are, in large pieces, opening the next one ahead.
//!
//! A blob may move from the staging disk to stores, and from store to store, at any moment. Its bytes are
//! never gone: the tables say where they are before they are dropped elsewhere, so what is not found is
//! looked for again; and a file that was opened stays readable. When a store fails, also in the middle,
//! the rest is read from the next copy.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt as _, TryStreamExt as _};
use miaofs::protocol::host::HostName;
use tokio::sync::Mutex;

use super::file_pieces::{PIECE, cut, pieces_of};
use crate::backend::blobs::{ObjectBody, StoreName, StoredCopy};
use crate::backend::db::blobs::{self, Blob, Location};
use crate::backend::db::{Connection, copies};
use crate::backend::layout::{Layout, Piece, Source};
use crate::backend::{BlobId, Error, run_blocking};
use crate::service::context::ServiceContext;

/// Pieces of a layout that are opened ahead of whoever takes their bytes.
const AHEAD: usize = 2;
/// Lookups of a blob that is moving before it counts as lost.
const TRIES: usize = 5;
/// Requests to one store for the bytes of one piece.
const ASKED_MAX: usize = 2;

static ZEROS: [u8; PIECE] = [0; PIECE];

/// The file that was read last, open, and whose blob's it is.
pub(crate) type LastFile = Arc<Mutex<Option<(BlobId, Arc<File>)>>>;

type Pieces = BoxStream<'static, Result<Bytes, Error>>;

/// The bytes of a range of a content, in order. The range lies within the content.
pub(crate) fn read(
    context: Arc<ServiceContext>,
    layout: &Layout,
    range: Range<u64>,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
    read_again(context, layout, range, LastFile::default())
}

/// As [`read`], for somebody who reads several ranges of one content: `last` is the file that was open last.
pub(crate) fn read_again(
    context: Arc<ServiceContext>,
    layout: &Layout,
    range: Range<u64>,
    last: LastFile,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
    Arc::new(ContentReader { context, places: HashMap::new(), last }).read(layout, range)
}

/// As [`read`], where the bytes of one blob are in a file that is open already.
pub(crate) fn read_from(
    context: Arc<ServiceContext>,
    layout: &Layout,
    (blob, file): (BlobId, File),
) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
    let last = Arc::new(Mutex::new(Some((blob, Arc::new(file)))));
    read_again(context, layout, 0..layout.size(), last)
}

/// Where these blobs are, by one look; those that are not there are left out.
pub(super) async fn places(
    db: &mut Connection,
    blobs: &[BlobId],
) -> Result<HashMap<BlobId, Place>, Error> {
    let rows = blobs::get_many(db, blobs).await?;
    let stored = rows.iter().filter(|(_blob, row)| row.location == Location::Store);
    let stored: Vec<BlobId> = stored.map(|(blob, _row)| *blob).collect();
    let mut copies = copies::of_blobs(db, &stored).await?;
    let place = |(blob, row): (BlobId, Blob)| match row.location {
        Location::Staging => (blob, Place::Staged(row.host)),
        Location::Store => (blob, Place::Stored(copies.remove(&blob).unwrap_or_default())),
    };
    Ok(rows.into_iter().map(place).collect())
}

/// Reads contents; remembers the file that was read last, open.
pub(super) struct ContentReader {
    context: Arc<ServiceContext>,
    /// Where blobs were a moment ago, as far as that was asked for already.
    places: HashMap<BlobId, Place>,
    last: LastFile,
}

/// Where the bytes of a blob are.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// On the staging disk of this host.
    Staged(HostName),
    /// In stores.
    Stored(Vec<StoredCopy>),
}

/// Who gives bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ByteSource {
    /// A file that this process has open.
    File,
    /// The host on whose staging disk they are.
    Host,
    /// A store.
    Store(StoreName),
}

/// Progress in reading a piece: the range that is left, and the sources that failed.
struct PieceProgress {
    blob: BlobId,
    range: Range<u64>,
    open: Option<(ByteSource, Pieces)>,
    failed: Vec<ByteSource>,
    /// Why the last of them did.
    error: Option<Error>,
}

impl ContentReader {
    /// A reader that knows where some blobs were a moment ago.
    pub(super) fn new(context: Arc<ServiceContext>, places: HashMap<BlobId, Place>) -> Arc<Self> {
        Arc::new(Self { context, places, last: LastFile::default() })
    }

    /// The bytes of a range of a content, in order. The range lies within the content.
    pub(super) fn read(
        self: Arc<Self>,
        layout: &Layout,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
        stream::iter(layout.plan(range))
            .map(move |piece| self.clone().open(piece))
            .buffered(AHEAD)
            .try_flatten()
    }

    /// The bytes of a piece; the first of them are about to come.
    async fn open(self: Arc<Self>, piece: Piece) -> Result<Pieces, Error> {
        let Source::Blob { blob, offset } = piece.source else {
            let zeros = cut(0..piece.length).map(|part| {
                let length = usize::try_from(part.end - part.start).unwrap_or(PIECE);
                Ok(Bytes::from_static(&ZEROS[..length]))
            });
            return Ok(stream::iter(zeros).boxed());
        };
        let range = offset..offset + piece.length;
        let mut rest = PieceProgress { blob, range, open: None, failed: Vec::new(), error: None };
        rest.open = Some(self.source(&mut rest).await?);
        let read = stream::try_unfold((self, rest), |(reader, mut rest)| async move {
            Ok(reader.next(&mut rest).await?.map(|bytes| (bytes, (reader, rest))))
        });
        Ok(read.boxed())
    }

    async fn next(&self, rest: &mut PieceProgress) -> Result<Option<Bytes>, Error> {
        while !rest.range.is_empty() {
            let (source_kind, mut pieces) = match rest.open.take() {
                Some(open) => open,
                None => self.source(rest).await?,
            };
            let read = match pieces.next().await {
                Some(Ok(bytes)) if bytes.len() as u64 <= rest.range.end - rest.range.start => {
                    rest.range.start += bytes.len() as u64;
                    rest.open = Some((source_kind, pieces));
                    return Ok(Some(bytes));
                }
                Some(Err(error)) => error,
                Some(Ok(_)) | None => {
                    Error::damaged("length of a stored blob", "it ends early or late")
                }
            };
            self.note_failure(rest, source_kind, read)?;
        }
        Ok(None)
    }

    /// Opens what has the first byte of the rest.
    async fn source(&self, rest: &mut PieceProgress) -> Result<(ByteSource, Pieces), Error> {
        if let Some(file) = self.last_file(rest.blob).await {
            return Ok((ByteSource::File, pieces_of(file, rest.blob, rest.range.clone()).boxed()));
        }
        let mut known = self.places.get(&rest.blob).filter(|_| rest.failed.is_empty()).cloned();
        for _try in 0..TRIES {
            let place = match known.take() {
                Some(place) => Some(place),
                None => {
                    let mut db = self.context.db.read().await?;
                    places(&mut db, &[rest.blob]).await?.remove(&rest.blob)
                }
            };
            let open = match place {
                None => break,
                Some(Place::Staged(host)) => {
                    self.staged(&host, rest.blob, rest.range.clone()).await?
                }
                Some(Place::Stored(copies)) => self.stored(rest, copies).await?,
            };
            if let Some(open) = open {
                return Ok(open);
            }
        }
        Err(rest.error.take().unwrap_or(Error::MissingBlob { blob: rest.blob }))
    }

    async fn staged(
        &self,
        host: &HostName,
        blob: BlobId,
        range: Range<u64>,
    ) -> Result<Option<(ByteSource, Pieces)>, Error> {
        let context = &self.context;
        if host != context.host() {
            let sent = context.hosts.read(host, blob, range).await?;
            return Ok(sent.map(|pieces| (ByteSource::Host, pieces)));
        }
        let staging = context.staging.clone();
        let Some(file) = run_blocking(move || staging.file(blob)).await? else { return Ok(None) };
        let file = self.remember(blob, file).await;
        Ok(Some((ByteSource::File, pieces_of(file, blob, range).boxed())))
    }

    /// The first copy that can be opened.
    async fn stored(
        &self,
        rest: &mut PieceProgress,
        mut copies: Vec<StoredCopy>,
    ) -> Result<Option<(ByteSource, Pieces)>, Error> {
        let stores = &self.context.stores;
        stores.sort(&mut copies);
        for copy in copies {
            let source_kind = ByteSource::Store(copy.store);
            if rest.failed.iter().filter(|failed| **failed == source_kind).count() >= ASKED_MAX {
                continue;
            }
            let open = match stores.read(&copy, rest.range.clone()).await {
                Ok(None) => continue,
                Ok(Some(open)) => open,
                Err(error) => {
                    self.note_failure(rest, source_kind, error)?;
                    continue;
                }
            };
            stores.record_read(copy.store, Ok(()));
            let pieces = match open {
                ObjectBody::File(file) => {
                    let file = self.remember(rest.blob, file).await;
                    pieces_of(file, rest.blob, rest.range.clone()).boxed()
                }
                ObjectBody::Stream(pieces) => pieces,
            };
            return Ok(Some((source_kind, pieces)));
        }
        Ok(None)
    }

    /// Lets somebody fail for whom there may be another. There is no second file to read instead of a
    /// damaged one, and what is staged is on one host.
    fn note_failure(
        &self,
        rest: &mut PieceProgress,
        source_kind: ByteSource,
        error: Error,
    ) -> Result<(), Error> {
        match source_kind {
            ByteSource::File => return Err(error),
            ByteSource::Host if rest.failed.contains(&ByteSource::Host) => return Err(error),
            ByteSource::Host => (),
            ByteSource::Store(name) => self.context.stores.record_read(name, Err(&error)),
        }
        rest.failed.push(source_kind);
        rest.error = Some(error);
        Ok(())
    }

    async fn last_file(&self, blob: BlobId) -> Option<Arc<File>> {
        let last = self.last.lock().await;
        last.as_ref().filter(|(open, _file)| *open == blob).map(|(_blob, file)| file.clone())
    }

    async fn remember(&self, blob: BlobId, file: File) -> Arc<File> {
        let file = Arc::new(file);
        *self.last.lock().await = Some((blob, file.clone()));
        file
    }
}
