//! The list of a content's chunks, which proves that it is of the content it says.

use super::chunk::merge;
use super::{Chunk, ChunkDigest, Digest, chunk_count, is_known, zero_chunks};

/// Size and chunk digests of a content, in order.
///
/// A hole is a chunk of nothing but zeros: it takes no room in a store and is never sent. It is
/// still hashed like any other chunk, so a manifest cannot call a hole what is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    digest: Digest,
    size: u64,
    chunks: Vec<ChunkDigest>,
    holes: Vec<bool>,
}

/// Why a list of chunks is not the manifest of a content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The number of chunks does not follow from the size.
    #[error("a content of {size} bytes has {expected} chunks, not {given}")]
    ChunkCount {
        /// Size of the content in bytes.
        size: u64,
        /// Chunks that a content of that size has.
        expected: u64,
        /// Chunks that were listed.
        given: u64,
    },
    /// The chunk digests merge to another digest than the one they were given for.
    #[error("the chunks are of content {actual}, not {expected}")]
    Digest {
        /// The digest that was claimed.
        expected: Digest,
        /// The digest that the chunks merge to.
        actual: Digest,
    },
}

impl Manifest {
    /// The manifest of a content of `size` bytes with these chunks; `None` stands for a hole.
    ///
    /// Hashing the zeros of a hole costs about a millisecond when it is the first one at its place, so
    /// call this off the event loop when a manifest may have many.
    ///
    /// # Errors
    /// [`ManifestError::ChunkCount`] when the list is too long or too short for the size.
    pub fn new(size: u64, chunks: &[Option<ChunkDigest>]) -> Result<Self, ManifestError> {
        ManifestDraft::new(size, chunks.to_vec())?.finish()
    }

    /// Like [`Manifest::new`], with the digests of holes, for which `true` stands beside them.
    ///
    /// # Errors
    /// [`ManifestError::ChunkCount`] when the list is too long or too short for the size.
    pub fn hashed(size: u64, chunks: Vec<(ChunkDigest, bool)>) -> Result<Self, ManifestError> {
        check_count(size, chunks.len())?;
        let (chunks, holes): (Vec<_>, Vec<_>) = chunks.into_iter().unzip();
        Ok(Self { digest: merge(&chunks), size, chunks, holes })
    }

    /// Like [`Manifest::new`], but the chunks must merge to `digest`.
    ///
    /// # Errors
    /// [`ManifestError`] when the list is not that of `digest`.
    pub fn proven(
        digest: Digest,
        size: u64,
        chunks: &[Option<ChunkDigest>],
    ) -> Result<Self, ManifestError> {
        Self::new(size, chunks)?.checked(digest)
    }

    /// A manifest that was proven before and kept with the digests of its holes, each `true` here,
    /// so that no zeros need to be hashed again.
    ///
    /// # Errors
    /// [`ManifestError`] when the list is not that of `digest`.
    pub fn restored(
        digest: Digest,
        size: u64,
        chunks: &[(ChunkDigest, bool)],
    ) -> Result<Self, ManifestError> {
        Self::hashed(size, chunks.to_vec())?.checked(digest)
    }

    fn checked(self, expected: Digest) -> Result<Self, ManifestError> {
        match self.digest == expected {
            true => Ok(self),
            false => Err(ManifestError::Digest { expected, actual: self.digest }),
        }
    }

    /// The manifest of a content that is at most one chunk long: its digest says all.
    ///
    /// # Errors
    /// [`ManifestError::ChunkCount`] when `size` needs more than one chunk.
    pub fn of_small(digest: Digest, size: u64) -> Result<Self, ManifestError> {
        let chunks = vec![Some(ChunkDigest::from_bytes(*digest.as_bytes())); usize::from(size > 0)];
        Self::proven(digest, size, &chunks)
    }

    /// The digest of the content.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The size of the content in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Number of chunks of the content.
    pub fn chunk_count(&self) -> u64 {
        self.chunks.len() as u64
    }

    /// The digests of all chunks in order, those of holes included.
    pub fn chunks(&self) -> &[ChunkDigest] {
        &self.chunks
    }

    /// The digest of one chunk; `None` past the end.
    pub fn chunk(&self, index: u64) -> Option<ChunkDigest> {
        self.chunks.get(usize::try_from(index).ok()?).copied()
    }

    /// True if the chunk is a hole; `false` past the end.
    pub fn is_hole(&self, index: u64) -> bool {
        usize::try_from(index).ok().and_then(|index| self.holes.get(index)).copied() == Some(true)
    }

    /// Bytes of all chunks that are no holes.
    pub fn data_bytes(&self) -> u64 {
        let chunks = (0..).zip(&self.holes).filter(|(_, hole)| !**hole);
        chunks.filter_map(|(index, _)| Chunk::new(index, self.size)).map(Chunk::length).sum()
    }

    /// The chunks as they travel: `None` for a hole.
    pub fn to_wire(&self) -> Vec<Option<ChunkDigest>> {
        self.chunks.iter().zip(&self.holes).map(|(chunk, hole)| (!hole).then_some(*chunk)).collect()
    }
}

/// A manifest whose holes are still to be hashed, so that it can be done in steps.
#[derive(Debug)]
pub struct ManifestDraft {
    size: u64,
    chunks: Vec<Option<ChunkDigest>>,
    holes: Vec<Chunk>,
    /// The digests of the first holes.
    zeros: Vec<ChunkDigest>,
}

impl ManifestDraft {
    /// A draft of [`Manifest::new`].
    ///
    /// # Errors
    /// [`ManifestError::ChunkCount`] when the list is too long or too short for the size.
    pub fn new(size: u64, chunks: Vec<Option<ChunkDigest>>) -> Result<Self, ManifestError> {
        check_count(size, chunks.len())?;
        let holes = (0..)
            .zip(&chunks)
            .filter(|(_, chunk)| chunk.is_none())
            .filter_map(|(index, _)| Chunk::new(index, size))
            .collect();
        Ok(Self { size, chunks, holes, zeros: Vec::new() })
    }

    /// True if there are holes that were not hashed.
    pub fn has_holes_left(&self) -> bool {
        self.zeros.len() < self.holes.len()
    }

    /// Hashes the next holes: at most so many that nobody has hashed before, which cost about a millisecond each.
    pub fn hash_holes(&mut self, unknown_max: usize) {
        let left = &self.holes[self.zeros.len()..];
        let mut unknown = 0;
        let step = left.iter().take_while(|hole| {
            unknown += usize::from(!is_known(**hole));
            unknown <= unknown_max
        });
        let step = step.count();
        self.zeros.extend(zero_chunks(&left[..step]));
    }

    /// The manifest; holes that were not hashed are hashed now.
    ///
    /// # Errors
    /// None that [`Self::new`] has not told.
    pub fn finish(mut self) -> Result<Manifest, ManifestError> {
        self.hash_holes(usize::MAX);
        let mut zeros = self.zeros.into_iter();
        let chunks = self.chunks.into_iter().map(|chunk| match chunk {
            Some(digest) => (digest, false),
            None => (zeros.next().expect("each hole was hashed"), true),
        });
        Manifest::hashed(self.size, chunks.collect())
    }

    /// Like [`Self::finish`], but the chunks must merge to `digest`.
    ///
    /// # Errors
    /// [`ManifestError`] when the list is not that of `digest`.
    pub fn proven(self, digest: Digest) -> Result<Manifest, ManifestError> {
        self.finish()?.checked(digest)
    }
}

fn check_count(size: u64, given: usize) -> Result<(), ManifestError> {
    let (expected, given) = (chunk_count(size), given as u64);
    if expected == given {
        Ok(())
    } else {
        Err(ManifestError::ChunkCount { size, expected, given })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn holes_that_are_hashed_in_steps_are_the_same_holes() {
        let size = 40 * CHUNK_SIZE + 1;
        let chunks: Vec<_> = (0..41u8)
            .map(|index| (index % 3 == 0).then(|| ChunkDigest::from_bytes([index; 32])))
            .collect();
        let mut draft = ManifestDraft::new(size, chunks.clone()).unwrap();
        let mut steps = 0;
        while draft.has_holes_left() {
            let before = draft.zeros.len();
            draft.hash_holes(4);
            assert!(draft.zeros.len() > before);
            steps += 1;
        }
        assert!(steps <= 27usize.div_ceil(4));
        assert_eq!(draft.finish().unwrap(), Manifest::new(size, &chunks).unwrap());
    }
    use crate::content::{CHUNK_SIZE, hash_chunk};

    /// Bytes that differ from place to place, so that a chunk at a wrong offset has a wrong digest.
    fn bytes_of(size: u64) -> Vec<u8> {
        let mut bytes = vec![0; size as usize];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn cut(bytes: &[u8]) -> Vec<Option<ChunkDigest>> {
        let size = bytes.len() as u64;
        (0..chunk_count(size))
            .map(|index| {
                let chunk = Chunk::new(index, size).unwrap();
                let range = chunk.range();
                Some(hash_chunk(chunk, &bytes[range.start as usize..range.end as usize]))
            })
            .collect()
    }

    #[test]
    fn merged_chunks_equal_the_plain_hash_around_every_boundary() {
        let sizes = (0..=9u64).flat_map(|chunks| {
            [-1025i64, -1024, -1, 0, 1, 1023, 1024, 1025]
                .map(|beside| (chunks * CHUNK_SIZE).checked_add_signed(beside))
        });
        for size in sizes.flatten() {
            let bytes = bytes_of(size);
            let manifest = Manifest::new(size, &cut(&bytes)).unwrap();
            assert_eq!(manifest.digest(), Digest::of(&bytes), "{size} bytes");
        }
    }

    #[test]
    fn a_hole_is_hashed_as_zeros_and_cannot_hide_anything_else() {
        let size = 3 * CHUNK_SIZE + 5;
        let mut bytes = bytes_of(size);
        bytes[CHUNK_SIZE as usize..2 * CHUNK_SIZE as usize].fill(0);
        let mut chunks = cut(&bytes);
        chunks[1] = None;
        let manifest = Manifest::proven(Digest::of(&bytes), size, &chunks).unwrap();
        assert!(manifest.is_hole(1) && !manifest.is_hole(0));
        assert_eq!(manifest.to_wire(), chunks);

        chunks[2] = None;
        assert!(matches!(
            Manifest::proven(Digest::of(&bytes), size, &chunks),
            Err(ManifestError::Digest { .. })
        ));
    }

    #[test]
    fn a_list_of_the_wrong_length_is_refused() {
        assert!(matches!(
            Manifest::new(CHUNK_SIZE + 1, &[None]),
            Err(ManifestError::ChunkCount { expected: 2, given: 1, .. })
        ));
        assert!(matches!(
            Manifest::new(CHUNK_SIZE + 1, &[None; 3]),
            Err(ManifestError::ChunkCount { expected: 2, given: 3, .. })
        ));
        assert!(Manifest::of_small(Digest::of_nothing(), 0).is_ok());
        assert!(Manifest::of_small(Digest::of(b"x"), CHUNK_SIZE + 1).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn merged_chunks_equal_the_plain_hash(size in 0..6 * CHUNK_SIZE) {
            let bytes = bytes_of(size);
            let manifest = Manifest::new(size, &cut(&bytes)).unwrap();
            prop_assert_eq!(manifest.digest(), Digest::of(&bytes));
        }
    }
}
