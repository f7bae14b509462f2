//! Where the chunks of a content live: its manifest together with its extents.
//!
//! The extents stand as runs: so many chunks in a row, either holes or one after the other in a blob.
//! As a column of the database, all numbers big-endian:
//!
//! ```text
//! version (1 byte: 1)
//! blobs   (4 bytes) · id (16 bytes) each
//! runs    (4 bytes) · { chunks (4 bytes) · blob (4 bytes: its place in the list, or all ones for a hole)
//!                     · offset (8 bytes) } each
//! chunk digest (32 bytes) each, those of holes included
//! ```
//!
//! The number of chunks follows from the size of the content, which is a column of its own.

use std::collections::BTreeSet;
use std::ops::Range;

use miaofs::content::{CHUNK_SIZE, ChunkDigest, Digest, chunk_count};

use super::{BlobId, Error};

const VERSION: u8 = 1;
const HOLE: u32 = u32::MAX;

/// Where bytes are to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nowhere: they are zeros.
    Hole,
    /// In a blob, from `offset` on.
    Blob {
        /// The blob that holds the bytes.
        blob: BlobId,
        /// Where in it, in bytes.
        offset: u64,
    },
}

impl Source {
    /// Where the bytes `distance` further on are.
    pub(crate) fn advanced(self, distance: u64) -> Self {
        match self {
            Self::Hole => Self::Hole,
            Self::Blob { blob, offset } => Self::Blob { blob, offset: offset + distance },
        }
    }
}

/// Bytes in a row that come from one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where they are.
    pub source: Source,
    /// Number of chunks in the run, at least one.
    pub length: u64,
}

/// So many chunks in a row from one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    chunks: u32,
    source: Source,
}

/// Size, chunk digests and extents of one content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    size: u64,
    chunks: Vec<ChunkDigest>,
    runs: Vec<Run>,
}

impl Layout {
    /// The layout of a content of `size` bytes: for each of its chunks the digest and the source.
    ///
    /// # Panics
    /// When there are more or fewer chunks than the size says.
    pub(crate) fn new(size: u64, chunks: impl IntoIterator<Item = (ChunkDigest, Source)>) -> Self {
        let mut layout = Self { size, chunks: Vec::new(), runs: Vec::new() };
        for (digest, source) in chunks {
            layout.chunks.push(digest);
            layout.push(source);
        }
        assert_eq!(layout.chunks.len() as u64, chunk_count(size), "one source for each chunk");
        layout
    }

    /// The layout of a content of one chunk at the most, whose bytes are at `source`.
    pub(crate) fn of_small(digest: Digest, size: u64, source: Source) -> Self {
        let only = (ChunkDigest::from_bytes(*digest.as_bytes()), source);
        Self::new(size, (size > 0).then_some(only))
    }

    fn push(&mut self, source: Source) {
        if let Some(run) = self.runs.last_mut()
            && run.chunks < u32::MAX
            && run.source.advanced(u64::from(run.chunks) * CHUNK_SIZE) == source
        {
            run.chunks += 1;
        } else {
            self.runs.push(Run { chunks: 1, source });
        }
    }

    /// Size of the content in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The digests of all chunks in order.
    pub(crate) fn chunks(&self) -> &[ChunkDigest] {
        &self.chunks
    }

    /// The sources of all chunks in order.
    pub(crate) fn sources(&self) -> impl Iterator<Item = Source> {
        self.runs.iter().flat_map(|run| {
            (0..u64::from(run.chunks)).map(|chunk| run.source.advanced(chunk * CHUNK_SIZE))
        })
    }

    /// The blobs that hold the content.
    pub(crate) fn blobs(&self) -> BTreeSet<BlobId> {
        self.runs
            .iter()
            .filter_map(|run| match run.source {
                Source::Hole => None,
                Source::Blob { blob, .. } => Some(blob),
            })
            .collect()
    }

    /// The pieces that make up a range of the content, which is cut at its end.
    pub(crate) fn plan(&self, range: Range<u64>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut start = 0;
        for run in &self.runs {
            let end = (start + u64::from(run.chunks) * CHUNK_SIZE).min(self.size);
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                pieces.push(Piece { source: run.source.advanced(from - start), length: to - from });
            }
            start = end;
        }
        pieces
    }

    /// The layout as the database holds it.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let blobs: Vec<BlobId> = self.blobs().into_iter().collect();
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&count(blobs.len()).to_be_bytes());
        for blob in &blobs {
            bytes.extend_from_slice(blob.as_bytes());
        }
        bytes.extend_from_slice(&count(self.runs.len()).to_be_bytes());
        for run in &self.runs {
            let (blob, offset) = match run.source {
                Source::Hole => (HOLE, 0),
                Source::Blob { blob, offset } => {
                    let place = blobs.binary_search(&blob).expect("the list was made of the runs");
                    (count(place), offset)
                }
            };
            bytes.extend_from_slice(&run.chunks.to_be_bytes());
            bytes.extend_from_slice(&blob.to_be_bytes());
            bytes.extend_from_slice(&offset.to_be_bytes());
        }
        for chunk in &self.chunks {
            bytes.extend_from_slice(chunk.as_bytes());
        }
        bytes
    }

    /// Reads what [`Self::encode`] gave for a content of `size` bytes.
    ///
    /// # Errors
    /// [`Error::Damaged`] for anything else.
    pub(crate) fn decode(size: u64, bytes: &[u8]) -> Result<Self, Error> {
        Self::read(size, bytes).ok_or_else(|| {
            Error::damaged("manifest", "it is cut short, too long, or of another version")
        })
    }

    fn read(size: u64, bytes: &[u8]) -> Option<Self> {
        let mut rest = Reader(bytes);
        if rest.take::<1>()? != [VERSION] {
            return None;
        }
        let blobs = rest.list(|rest| rest.take().map(BlobId::from_bytes))?;
        let runs = rest.list(|rest| {
            let chunks = u32::from_be_bytes(rest.take()?);
            let blob = u32::from_be_bytes(rest.take()?);
            let offset = u64::from_be_bytes(rest.take()?);
            let source = match blob {
                HOLE => Source::Hole,
                place => {
                    offset.checked_add(u64::from(chunks) * CHUNK_SIZE)?;
                    Source::Blob { blob: *blobs.get(place as usize)?, offset }
                }
            };
            Some(Run { chunks, source })
        })?;
        let mut chunks = Vec::new();
        while !rest.0.is_empty() {
            chunks.push(ChunkDigest::from_bytes(rest.take()?));
        }
        let in_runs: u64 = runs.iter().map(|run| u64::from(run.chunks)).sum();
        let complete = chunks.len() as u64 == chunk_count(size) && in_runs == chunk_count(size);
        complete.then_some(Self { size, chunks, runs })
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).expect("a content has fewer than 2^32 chunks, hence runs and blobs")
}

/// The bytes that are not decoded yet.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    /// Decodes a list with its length in front.
    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let length = u32::from_be_bytes(self.take()?);
        (0..length).map(|_| read(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source() -> impl Strategy<Value = Source> {
        let blob = (0..3u8, 0..4u64).prop_map(|(blob, chunk)| Source::Blob {
            blob: BlobId::from_bytes([blob; 16]),
            offset: chunk * CHUNK_SIZE,
        });
        prop_oneof![1 => Just(Source::Hole), 3 => blob]
    }

    /// A content whose last chunk is `tail` bytes long.
    fn layout() -> impl Strategy<Value = Layout> {
        (prop::collection::vec((any::<[u8; 32]>(), source()), 0..12), 1..=CHUNK_SIZE).prop_map(
            |(chunks, tail)| {
                let size = (chunks.len() as u64 * CHUNK_SIZE).saturating_sub(CHUNK_SIZE - tail);
                let chunks =
                    chunks.into_iter().map(|(digest, at)| (ChunkDigest::from_bytes(digest), at));
                Layout::new(if chunks.len() == 0 { 0 } else { size }, chunks)
            },
        )
    }

    /// Where one byte of the content is, found the slow way.
    fn source_of(layout: &Layout, at: u64) -> Source {
        let chunk = layout.sources().nth((at / CHUNK_SIZE) as usize).unwrap();
        chunk.advanced(at % CHUNK_SIZE)
    }

    proptest! {
        #[test]
        fn a_layout_reads_back_what_it_encodes(layout in layout()) {
            let bytes = layout.encode();
            prop_assert_eq!(Layout::decode(layout.size(), &bytes).unwrap(), layout.clone());
            prop_assert!(Layout::decode(layout.size() + CHUNK_SIZE, &bytes).is_err());
            for cut in 0..bytes.len() {
                prop_assert!(Layout::decode(layout.size(), &bytes[..cut]).is_err());
            }
        }

        #[test]
        fn damaged_bytes_are_refused_and_never_panic(
            size in 0..4 * CHUNK_SIZE,
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _refused_or_not = Layout::decode(size, &bytes);
        }

        #[test]
        fn a_plan_covers_its_range_with_the_right_sources(
            layout in layout(),
            cut in any::<(prop::sample::Index, prop::sample::Index)>(),
        ) {
            let bound = usize::try_from(layout.size() + 2).unwrap();
            let (a, b) = (cut.0.index(bound) as u64, cut.1.index(bound) as u64);
            let range = a.min(b)..a.max(b);
            let mut at = range.start;
            for piece in layout.plan(range.clone()) {
                prop_assert!(piece.length > 0);
                prop_assert_eq!(piece.source, source_of(&layout, at));
                let last = piece.source.advanced(piece.length - 1);
                prop_assert_eq!(last, source_of(&layout, at + piece.length - 1));
                at += piece.length;
            }
            prop_assert_eq!(at, range.end.min(layout.size()).max(range.start));
        }
    }

    #[test]
    fn chunks_in_a_row_are_one_run() {
        let blob = BlobId::from_bytes([9; 16]);
        let chunk = |offset| (ChunkDigest::from_bytes([0; 32]), Source::Blob { blob, offset });
        let layout = Layout::new(3 * CHUNK_SIZE, [0, CHUNK_SIZE, 2 * CHUNK_SIZE].map(chunk));
        assert_eq!(layout.plan(0..u64::MAX).len(), 1);
        assert_eq!(layout.encode().len(), 1 + 4 + 16 + 4 + 16 + 3 * 32);
    }
}
