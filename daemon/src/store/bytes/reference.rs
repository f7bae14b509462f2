//! Which chunks a copy can take over from its source by reference: pure, from what is known of both.
//!
//! Chunk digests depend on the position, so a chunk that is copied to its own place is *the same chunk*. A target
//! has one content that its chunks may be equal to, so one that leans on another with chunks that stay takes
//! nothing by reference.

use std::ops::Range;
use std::sync::Arc;

use miaofs::content::{CHUNK_SIZE, Chunk, Manifest, chunk_count};
use miaofs::protocol::files::ContentRef;

use super::content::edge;
use crate::store::disk::chunk_rows::ChunkState;
use crate::store::inodes::inode::ContentState;

/// Range of bytes to be copied, as of copy_file_range(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CopyRange {
    /// Where they are in the source.
    pub from: u64,
    /// Where they go in the target.
    pub to: u64,
    /// Number of bytes.
    pub length: u64,
}

/// One of the two contents, locked.
pub(crate) struct Side<'a> {
    pub(crate) content_state: &'a ContentState,
    pub(crate) size: u64,
}

/// Chunks that a target takes over from a source.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) content: ContentRef,
    pub(crate) manifest: Option<Arc<Manifest>>,
    pub(crate) chunks: Range<u64>,
    /// The chunk outside of `chunks` whose digest the target's new size changes.
    pub(crate) edge: Option<u64>,
    /// Size of the target then.
    pub(crate) size: u64,
    /// Where in `chunks` bytes are copied beside it.
    pub(crate) here: Vec<u64>,
    /// States of the target's chunks then, while these bytes are not there yet.
    pub(crate) states: Vec<ChunkState>,
}

impl Reference {
    /// The first chunks of a range that can be taken over, if there are any; `space` bounds the bytes that
    /// are copied beside them.
    pub(crate) fn find(
        source: &Side<'_>,
        target: &Side<'_>,
        copy_range: CopyRange,
        space: u64,
    ) -> Option<Self> {
        if copy_range.from != copy_range.to || !copy_range.from.is_multiple_of(CHUNK_SIZE) {
            return None;
        }
        let content = source.content_state.content?;
        let (chunks, here) = source.run(copy_range, space);
        let chunks = fit(chunks, source.size, target.size, content.size)?;
        let same = target.content_state.content == Some(content);
        let leans = |index: &u64| target.content_state.chunks.state(*index) != ChunkState::Dirty;
        let base_chunks = target.content_state.chunks.base_chunks();
        if !same
            && (0..base_chunks).filter(|index| !chunks.contains(index)).any(|index| leans(&index))
        {
            return None;
        }
        let size = target.size.max(end_of(chunks.end, source.size));
        let edge = edge(target.size, size).filter(|index| !chunks.contains(index));
        let mut found = Self {
            content,
            manifest: source.content_state.manifest.clone(),
            here: here.into_iter().filter(|index| chunks.contains(index)).collect(),
            chunks,
            edge,
            size,
            states: Vec::new(),
        };
        found.states = found.states(source, target, if same { base_chunks } else { 0 });
        Some(found)
    }

    /// States of the target's chunks, the first `base_chunks` of which keep theirs where nothing is copied.
    fn states(&self, source: &Side<'_>, target: &Side<'_>, base_chunks: u64) -> Vec<ChunkState> {
        let is_hole =
            |index| self.manifest.as_ref().is_some_and(|manifest| manifest.is_hole(index));
        let state = |index| {
            let here = source.content_state.chunks.state(index) == ChunkState::Clean;
            if self.chunks.contains(&index) {
                return if here && is_hole(index) { ChunkState::Clean } else { ChunkState::Absent };
            }
            if self.edge == Some(index) {
                return ChunkState::Dirty;
            }
            // What lies behind the old end was never written to: zeros, as in a hole of the content.
            let unwritten = index >= chunk_count(target.size) && is_hole(index);
            match index < base_chunks {
                true => target.content_state.chunks.state(index),
                false if unwritten => ChunkState::Clean,
                false => ChunkState::Dirty,
            }
        };
        (0..base_chunks.max(self.chunks.end)).map(state).collect()
    }

    /// True if the target is the content then, and nothing else.
    pub(crate) fn is_whole(&self) -> bool {
        self.size == self.content.size
            && self.states.len() as u64 == chunk_count(self.size)
            && !self.states.contains(&ChunkState::Dirty)
    }

    /// True if a chunk that is dirty then has no row yet that says so.
    pub(crate) fn is_newly_dirty(&self, index: u64, before: &ContentState) -> bool {
        index >= before.chunks.base_chunks() || before.chunks.state(index) != ChunkState::Dirty
    }

    /// The bytes that are taken over.
    pub(crate) fn range(&self) -> Range<u64> {
        self.chunks.start * CHUNK_SIZE..end_of(self.chunks.end, self.content.size)
    }

    /// Length of one of the chunks.
    pub(crate) fn length(&self, index: u64) -> u64 {
        Chunk::new(index, self.content.size).map_or(0, Chunk::length)
    }
}

impl Side<'_> {
    /// The chunks in a row from the beginning of a range on that are wholly in it and those of a known
    /// content, with which of them have bytes here: no more than `space`, unless there is none for any.
    fn run(&self, copy_range: CopyRange, space: u64) -> (Range<u64>, Vec<u64>) {
        let first = copy_range.from / CHUNK_SIZE;
        let end =
            copy_range.from + copy_range.length.min(self.size.saturating_sub(copy_range.from));
        let mut here = Vec::new();
        let mut left = space;
        let mut last = first;
        while last < self.content_state.chunks.base_chunks()
            && self.content_state.chunks.state(last) != ChunkState::Dirty
            && end_of(last + 1, self.size) <= end
        {
            let bytes = self.content_state.cached_bytes(last);
            if bytes > 0 && space > 0 {
                let Some(rest) = left.checked_sub(bytes) else { break };
                left = rest;
                here.push(last);
            }
            last += 1;
        }
        (first..last, here)
    }
}

/// Without the chunk at the end if that has another digest in a target which ends elsewhere.
fn fit(
    mut chunks: Range<u64>,
    source_size: u64,
    target_size: u64,
    content_size: u64,
) -> Option<Range<u64>> {
    while let Some(last) = chunks.clone().next_back() {
        let size = target_size.max(end_of(chunks.end, source_size));
        if Chunk::new(last, size).is_some_and(|chunk| chunk.is_alike_in(content_size)) {
            return Some(chunks);
        }
        chunks.end -= 1;
    }
    None
}

/// Where the first `count` chunks of `size` bytes end.
fn end_of(count: u64, size: u64) -> u64 {
    (count * CHUNK_SIZE).min(size)
}
