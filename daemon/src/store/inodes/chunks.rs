//! States of the chunks of a content: here or not, dirty or not, written since the last snapshot or not.
//!
//! ```text
//!   Absent ── all blocks filled and checked ──▶ Clean ── written to ──▶ Dirty ── on the server ──▶ Clean
//!     ▲                                           │
//!     └──────────────── evicted ──────────────────┘
//! ```
//! A dirty chunk is wholly here. An absent one may have some blocks here, in a mask that is lost
//! with the process. Chunks from `base` on are local by definition: they need neither byte nor row.

use std::ops::Range;

use miaofs::content::{BlockDigest, CHUNK_SIZE, Chunk, ChunkDigest, chunk_count};

use super::arriving::ArrivingChunks;
use crate::store::disk::chunk_rows::ChunkState;

/// Bytes that are fetched and kept track of as one.
pub(crate) use miaofs::content::BLOCK_SIZE;

/// States of all chunks of one content.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    /// One byte a chunk, for the first `base`.
    states: Vec<ChunkState>,
    /// Blocks of absent chunks.
    arriving: ArrivingChunks,
    /// Chunks written to since the snapshot `generation`.
    written: Bits,
    /// Number of the last snapshot.
    generation: u64,
}

impl Chunks {
    /// `base` chunks that are not here; all others are local.
    pub(crate) fn absent(base: u64) -> Self {
        Self { states: vec![ChunkState::Absent; base as usize], ..Self::default() }
    }

    /// Number of chunks, from the first on, that may still be those of the known content.
    pub(crate) fn base_chunks(&self) -> u64 {
        self.states.len() as u64
    }

    /// State of one chunk.
    pub(crate) fn state(&self, index: u64) -> ChunkState {
        self.states.get(index as usize).copied().unwrap_or(ChunkState::Dirty)
    }

    /// Sets the state of a chunk; its mask is not needed any more.
    pub(crate) fn set(&mut self, index: u64, state: ChunkState) {
        if let Some(slot) = self.states.get_mut(index as usize) {
            *slot = state;
        }
        self.arriving.forget(index);
    }

    /// Makes all chunks from `base` on local.
    pub(crate) fn truncate_base(&mut self, base: u64) {
        self.states.truncate(base as usize);
        self.arriving.forget_from(base);
    }

    /// Replaces all states, as when the content became another one.
    pub(crate) fn replace(&mut self, states: Vec<ChunkState>) {
        self.states = states;
        self.arriving.clear();
    }

    /// Like [`Chunks::replace`], with the states of another.
    pub(crate) fn take_states(&mut self, other: Self) {
        self.replace(other.states);
    }

    /// Indexes of the chunks in a state, among the first `base`.
    pub(crate) fn in_state(&self, state: ChunkState) -> impl Iterator<Item = u64> {
        (0..).zip(&self.states).filter(move |(_, found)| **found == state).map(|(index, _)| index)
    }

    /// Remembers that a chunk was written to.
    pub(crate) fn note_written(&mut self, chunks: Range<u64>) {
        self.written.set(chunks);
    }

    /// True if the chunk was written to since snapshot `generation`, also if that is unknown.
    pub(crate) fn written_since(&self, index: u64, generation: u64) -> bool {
        self.generation != generation || self.written.has(index)
    }

    /// Begins a new snapshot and answers its generation.
    pub(crate) fn begin_snapshot(&mut self) -> u64 {
        self.generation += 1;
        self.written = Bits::default();
        self.generation
    }

    /// Notes that blocks of an absent chunk are here: number and digest of each. True if it has all of its blocks now.
    pub(crate) fn note_filled(&mut self, chunk: Chunk, blocks: &[(u64, BlockDigest)]) -> bool {
        self.arriving.note(chunk, blocks)
    }

    /// The digest of an absent chunk that has all of its blocks, as they came; `None` when that is not known of all of them.
    pub(crate) fn filled_digest(&self, chunk: Chunk) -> Option<ChunkDigest> {
        self.arriving.digest(chunk)
    }

    /// Forgets the blocks of an absent chunk.
    pub(crate) fn drop_partial(&mut self, index: u64) {
        self.arriving.forget(index);
    }

    /// True if blocks of an absent chunk are here.
    pub(crate) fn has_partial(&self, index: u64) -> bool {
        self.arriving.has(index)
    }

    /// True if blocks of any absent chunk are here.
    pub(crate) fn has_partials(&self) -> bool {
        self.arriving.has_any()
    }

    /// The runs of `range` that are not here, widened to blocks, in a content of `size` bytes.
    pub(crate) fn missing(&self, size: u64, range: Range<u64>) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        let end = range.end.min(size);
        let mut at = range.start / BLOCK_SIZE * BLOCK_SIZE;
        while at < end {
            let index = at / CHUNK_SIZE;
            let chunk_end = ((index + 1) * CHUNK_SIZE).min(size);
            if self.state(index) != ChunkState::Absent {
                at = chunk_end;
                continue;
            }
            let block_end = (at + BLOCK_SIZE).min(chunk_end);
            if !self.has_block(index, at) {
                match runs.last_mut() {
                    Some(last) if last.end == at => last.end = block_end,
                    _ => runs.push(at..block_end),
                }
            }
            at = block_end;
        }
        runs
    }

    /// True if all of `range` is here.
    pub(crate) fn is_here(&self, range: &Range<u64>) -> bool {
        if range.start / CHUNK_SIZE >= self.base_chunks() {
            return true;
        }
        chunks_of(range).all(|index| match self.state(index) {
            ChunkState::Clean | ChunkState::Dirty => true,
            ChunkState::Absent => {
                let start = range.start.max(index * CHUNK_SIZE) / BLOCK_SIZE;
                let end = range.end.min((index + 1) * CHUNK_SIZE).div_ceil(BLOCK_SIZE);
                (start..end).all(|block| self.has_block(index, block * BLOCK_SIZE))
            }
        })
    }

    fn has_block(&self, index: u64, offset: u64) -> bool {
        self.arriving.has_block(index, offset % CHUNK_SIZE / BLOCK_SIZE)
    }
}

/// The chunks that a range of bytes touches.
pub(crate) fn chunks_of(range: &Range<u64>) -> Range<u64> {
    if range.is_empty() { 0..0 } else { range.start / CHUNK_SIZE..chunk_count(range.end) }
}

/// The runs of bytes that chunks, given in order, cover in a content of `size` bytes.
pub(crate) fn runs(indexes: &[u64], size: u64) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for range in indexes.iter().filter_map(|index| Chunk::new(*index, size)).map(Chunk::range) {
        match runs.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => runs.push(range),
        }
    }
    runs
}

/// A set of small numbers that grows on demand: one bit each.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn set(&mut self, range: Range<u64>) {
        let words = (range.end as usize).div_ceil(64);
        if self.0.len() < words {
            self.0.resize(words, 0);
        }
        for index in range {
            self.0[(index / 64) as usize] |= 1 << (index % 64);
        }
    }

    fn has(&self, index: u64) -> bool {
        self.0.get((index / 64) as usize).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 2 * CHUNK_SIZE + 100_000;

    #[test]
    fn what_is_missing_is_aligned_to_blocks_and_ends_with_the_file() {
        let chunks = Chunks::absent(3);
        assert_eq!(chunks.missing(SIZE, 70_000..70_001), vec![BLOCK_SIZE..2 * BLOCK_SIZE]);
        assert_eq!(
            chunks.missing(SIZE, SIZE - 1..u64::MAX),
            vec![2 * CHUNK_SIZE + BLOCK_SIZE..SIZE]
        );
        assert!(!chunks.is_here(&(70_000..70_001)));
    }

    #[test]
    fn a_block_that_was_filled_is_here_and_its_neighbours_are_not() {
        let mut chunks = Chunks::absent(3);
        let chunk = Chunk::new(1, SIZE).unwrap();
        let start = CHUNK_SIZE + BLOCK_SIZE;
        let block = BlockDigest::of(chunk, 1, &[0; BLOCK_SIZE as usize]);
        assert!(!chunks.note_filled(chunk, &[(1, block)]));
        assert!(chunks.is_here(&(start..start + BLOCK_SIZE)));
        assert!(!chunks.is_here(&(start - 1..start)));
        let runs = chunks.missing(SIZE, CHUNK_SIZE..start + 2 * BLOCK_SIZE);
        assert_eq!(runs, vec![CHUNK_SIZE..start, start + BLOCK_SIZE..start + 2 * BLOCK_SIZE]);
    }

    #[test]
    fn the_last_block_of_a_content_may_be_short() {
        let mut chunks = Chunks::absent(3);
        let chunk = Chunk::new(2, SIZE).unwrap();
        let blocks = [65_536, 34_464].map(|length| vec![0; length]);
        let blocks = [0, 1].map(|at| (at as u64, BlockDigest::of(chunk, at as u64, &blocks[at])));
        assert!(chunks.note_filled(chunk, &blocks));
        assert!(chunks.filled_digest(chunk).is_some());
    }

    #[test]
    fn a_superseded_snapshot_counts_everything_as_written() {
        let mut chunks = Chunks::absent(0);
        let first = chunks.begin_snapshot();
        chunks.note_written(5..6);
        assert!(chunks.written_since(5, first) && !chunks.written_since(4, first));
        let second = chunks.begin_snapshot();
        assert!(chunks.written_since(4, first) && !chunks.written_since(5, second));
    }
}
