//! Plain uploads: a whole file in one request, of a size that nobody says beforehand.
//!
//! It is cut, hashed and written as it comes, a chunk at a time, so memory does not grow with it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::Stream;
use md5::Digest as _;
use miaofs::content::{CHUNK_SIZE, Chunk, ChunkDigest, Manifest, Md5, hash_chunk};
use miaofs::protocol::files::ContentRef;

use crate::backend::db::contents::NewContent;
use crate::backend::layout::{Layout, Source};
use crate::backend::staging::Draft;
use crate::backend::{BlobId, UserId, run_blocking, run_to_completion};
use crate::service::context::{ReceivedContents, ServiceContext};
use crate::service::{Error, Gathering, Lobby, Room, Writer};

/// Chunks of files that are in memory at once.
const CHUNKS_AT_ONCE: usize = 32;

/// Plain uploads. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct PlainUploads {
    context: Arc<ServiceContext>,
    room: Room<UserId>,
}

impl PlainUploads {
    /// Plain uploads into these contents.
    pub(crate) fn new(context: Arc<ServiceContext>) -> Self {
        Self { context, room: Room::new("files", CHUNKS_AT_ONCE) }
    }

    /// Receives a file of any size and makes its content the caller's own, for good.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::OverQuota`]; [`Error::LengthMismatch`] when the body breaks off.
    pub(crate) async fn receive<E: fmt::Display>(
        &self,
        writer: Writer,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<ContentRef, Error> {
        let received = metrics::counter!("miaofs_upload_bytes_received_total");
        let quota = self.context.quota(writer.user).await?;
        let context = &*self.context;
        let lobby = Lobby { room: &self.room, spools: &context.spools, user: writer.user };
        let mut intake = Intake::new(context, lobby).await?;
        while let Some(frame) = intake.rest.next(&mut body).await? {
            received.increment(frame.len() as u64);
            intake.push(&frame).await?;
            self.context.admit_size(intake.size())?;
            if intake.size() > quota {
                return Err(Error::OverQuota);
            }
        }
        self.store(writer, intake.finish().await?).await
    }

    async fn store(&self, writer: Writer, received: Received) -> Result<ContentRef, Error> {
        let context = self.context.clone();
        let Received { content, draft, blob_size } = received;
        let answer = ContentRef { digest: content.digest, size: content.layout.size() };
        let blob = draft.persist();
        run_to_completion(async move {
            context.staging.sync(blob).await?;
            let received = ReceivedContents {
                user: writer.user,
                contents: vec![content],
                blob: Some((blob, blob_size)),
            };
            let stored = context.store_alone(&received).await;
            context.after_store(Some(blob)).await?;
            stored?;
            Ok::<(), Error>(())
        })
        .await?;
        Ok(answer)
    }
}

/// A file that has come whole.
struct Received {
    content: NewContent,
    draft: Draft,
    blob_size: u64,
}

/// A file that is coming.
struct Intake<'a> {
    context: &'a ServiceContext,
    lobby: Lobby<'a>,
    blob: BlobId,
    draft: Draft,
    blob_size: u64,
    chunks: Vec<(ChunkDigest, Source)>,
    md5: md5::Md5,
    /// Bytes since the last whole chunk, one chunk at the most.
    rest: Gathering<'a>,
}

impl<'a> Intake<'a> {
    async fn new(context: &'a ServiceContext, lobby: Lobby<'a>) -> Result<Self, Error> {
        let blob = BlobId::random();
        let draft = context.staging.draft(blob).await?;
        Ok(Self {
            context,
            lobby,
            blob,
            draft,
            blob_size: 0,
            chunks: Vec::new(),
            md5: md5::Md5::new(),
            rest: Gathering::quick(lobby, CHUNK_SIZE),
        })
    }

    /// Bytes that have come.
    fn size(&self) -> u64 {
        self.chunks.len() as u64 * CHUNK_SIZE + self.rest.len()
    }

    /// A chunk is only taken out of the rest when more follows it: the only chunk of a content is
    /// hashed otherwise.
    async fn push(&mut self, mut frame: &[u8]) -> Result<(), Error> {
        while !frame.is_empty() {
            if self.rest.len() == CHUNK_SIZE {
                self.seal(self.size_with_more()).await?;
            }
            let room = CHUNK_SIZE - self.rest.len();
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            let (now, later) = frame.split_at(frame.len().min(room));
            self.rest.push(now).await?;
            frame = later;
        }
        Ok(())
    }

    /// The least that the content has when more follows its next chunk.
    fn size_with_more(&self) -> u64 {
        (self.chunks.len() as u64 + 1) * CHUNK_SIZE + 1
    }

    /// Hashes the chunk that has come and writes it.
    async fn seal(&mut self, content_size: u64) -> Result<(), Error> {
        let chunk = Chunk::new(self.chunks.len() as u64, content_size)
            .expect("a content ends behind each of its chunks");
        let gathered = std::mem::replace(&mut self.rest, Gathering::quick(self.lobby, CHUNK_SIZE));
        let (bytes, _seat) = gathered.finish().await?;
        let mut md5 = std::mem::take(&mut self.md5);
        let hashed = run_blocking(move || {
            md5.update(&bytes);
            let digest = hash_chunk(chunk, &bytes);
            let is_hole = bytes.iter().all(|byte| *byte == 0);
            Ok((md5, digest, is_hole, bytes))
        });
        let (md5, digest, is_hole, bytes) = hashed.await?;
        self.md5 = md5;
        let source = if is_hole {
            Source::Hole
        } else {
            let offset = self.blob_size;
            self.blob_size += bytes.len() as u64;
            self.context.staging.write(self.blob, offset, bytes).await?;
            Source::Blob { blob: self.blob, offset }
        };
        self.chunks.push((digest, source));
        Ok(())
    }

    async fn finish(mut self) -> Result<Received, Error> {
        let size = self.size();
        if self.rest.len() > 0 {
            self.seal(size).await?;
        }
        let digests: Vec<_> = self.chunks.iter().map(|(digest, _)| Some(*digest)).collect();
        // A hash for each chunk of a file that may have very many.
        let manifest = run_blocking(move || Ok(Manifest::new(size, &digests))).await?;
        let manifest = manifest.expect("every chunk was sealed once");
        let content = NewContent {
            digest: manifest.digest(),
            md5: Some(Md5::from_bytes(self.md5.finalize().into())),
            layout: Layout::new(size, self.chunks),
        };
        Ok(Received { content, draft: self.draft, blob_size: self.blob_size })
    }
}
