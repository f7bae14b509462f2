//! Acknowledgements of the server: contents become clean, states become the base of their nodes.

use std::sync::Arc;

use miaofs::content::{CHUNK_SIZE, Chunk, Manifest, chunk_count};
use miaofs::protocol::files::{ContentRef, SeenCommit};

use super::push::Pushed;
use crate::store::bytes::snapshot::Snapshot;
use crate::store::core::Store;
use crate::store::disk::chunk_rows::{self, ChunkRowState, ChunkState};
use crate::store::disk::record::NodeStatus;
use crate::store::disk::{base_rows, data_files, history_rows, manifest_rows};
use crate::store::error::Error;
use crate::store::inodes::chunks::runs;
use crate::store::inodes::inode::ContentState;
use crate::store::node::Ino;
use crate::store::tree::transaction::Tree;

/// State in memory of a content that is known, to be taken over after the commit.
struct Known {
    content: ContentRef,
    states: Vec<ChunkState>,
    still_dirty: bool,
}

/// Use of the knowledge that the server has a content.
enum KnownOutcome {
    Known(Known),
    /// None: the node changed meanwhile, for this reason.
    Overtaken(Error),
}

impl Store {
    /// The server has these states: each becomes the node's base, and the node clean unless it changed since.
    ///
    /// From now on their bytes may be given up, so what is above the cache's limit goes. `seen` is the commit that the server
    /// had then.
    pub(crate) fn finish_push(
        &self,
        done: &[Pushed],
        seen: Option<SeenCommit>,
    ) -> Result<(), Error> {
        self.transact(|tree| {
            if let Some(seen) = seen {
                tree.begin()?;
                history_rows::add_seen(&tree.db, seen)?;
            }
            done.iter().try_for_each(|pushed| acknowledge(tree, pushed))
        })?;
        self.enforce_cache_limit()
    }

    /// The server has the content of the snapshot: chunks not written since become clean.
    ///
    /// Those of zeros are holes then and give their blocks back. The node stays dirty until [`Store::finish_push`] says
    /// that the server has it with this content.
    ///
    /// # Errors
    /// [`Error::NoNode`] when it is gone, [`Error::Replaced`] when a copy has put chunks of another content into
    /// it that are not here.
    pub(crate) fn mark_uploaded(
        &self,
        snapshot: &Snapshot,
        manifest: Arc<Manifest>,
    ) -> Result<(), Error> {
        match self.mark_all_uploaded(&[(snapshot.clone(), manifest)])?.pop() {
            Some((_, overtaken)) => Err(overtaken),
            None => Ok(()),
        }
    }

    /// The same for many contents in one transaction; the nodes that were overtaken meanwhile, each with what
    /// [`Store::mark_uploaded`] says of it.
    ///
    /// The contents are locked in order of their numbers, as [`Store::apply`] does it.
    pub(crate) fn mark_all_uploaded(
        &self,
        known: &[(Snapshot, Arc<Manifest>)],
    ) -> Result<Vec<(Ino, Error)>, Error> {
        let mut known: Vec<_> = known.iter().collect();
        known.sort_unstable_by_key(|(snapshot, _)| snapshot.ino);
        known.dedup_by_key(|(snapshot, _)| snapshot.ino);
        let mut content_states: Vec<_> =
            known.iter().map(|(it, _)| it.inode.content_state_mut()).collect();
        let contents = known.iter().zip(&content_states);
        let blocks = contents.map(|((it, manifest), content_state)| {
            self.punch_clean_holes(it, content_state, manifest)
        });
        let blocks: Vec<Option<u64>> = blocks.collect::<Result<_, Error>>()?;
        let outcomes = self.transact(|tree| -> Result<Vec<KnownOutcome>, Error> {
            let contents = known.iter().zip(&content_states).zip(blocks);
            contents
                .map(|(((it, manifest), content_state), blocks)| {
                    apply_known(tree, it, content_state, (manifest, blocks))
                })
                .collect()
        })?;
        let mut overtaken = Vec::new();
        for (((snapshot, manifest), content_state), outcome) in
            known.iter().zip(&mut content_states).zip(outcomes)
        {
            match outcome {
                KnownOutcome::Overtaken(error) => overtaken.push((snapshot.ino, error)),
                KnownOutcome::Known(Known { content, states, still_dirty }) => {
                    content_state.content = Some(content);
                    content_state.manifest =
                        (content.size > CHUNK_SIZE).then(|| Arc::clone(manifest));
                    content_state.content_dirty = still_dirty;
                    content_state.chunks.replace(states);
                }
            }
        }
        drop(content_states);
        self.enforce_cache_limit()?;
        Ok(overtaken)
    }

    /// Gives back the blocks of the chunks that are clean holes once the content of a snapshot is known; how
    /// many the data file has then, if it had any of them.
    ///
    /// Nobody writes to them while the state is locked, and they are zeros before and after: it need not wait
    /// for a commit.
    pub(crate) fn punch_clean_holes(
        &self,
        snapshot: &Snapshot,
        content_state: &ContentState,
        manifest: &Manifest,
    ) -> Result<Option<u64>, Error> {
        // Where programs write unseen, zeros may be others at any time.
        if manifest.data_bytes() == manifest.size() || snapshot.inode.lent.is_lent_for_writing() {
            return Ok(None);
        }
        let size = snapshot.inode.attributes().size;
        let states = states_after(content_state, snapshot, size);
        let is_hole = |(index, state): (u64, &ChunkState)| {
            (*state == ChunkState::Clean && manifest.is_hole(index)).then_some(index)
        };
        let holes: Vec<u64> = (0..).zip(&states).filter_map(is_hole).collect();
        let Some(file) = self.data.existing(snapshot.ino)? else { return Ok(None) };
        data_files::punch_data(&file, runs(&holes, manifest.size()))?;
        Ok(self.data.blocks(snapshot.ino))
    }
}

/// Writes the rows of a content that is known, unless it was overtaken, and the blocks of its data file, if
/// these are others now.
fn apply_known(
    tree: &mut Tree,
    snapshot: &Snapshot,
    content_state: &ContentState,
    (manifest, blocks): (&Arc<Manifest>, Option<u64>),
) -> Result<KnownOutcome, Error> {
    let ino = snapshot.ino;
    match tree.present(ino) {
        Ok(_) => {}
        Err(error @ Error::NoNode(_)) => return Ok(KnownOutcome::Overtaken(error)),
        Err(error) => return Err(error),
    }
    let size = snapshot.inode.attributes().size;
    let (_, stamp) = snapshot.inode.unseen();
    let states = states_after(content_state, snapshot, size);
    if is_replaced(content_state, &states) {
        return Ok(KnownOutcome::Overtaken(Error::Replaced(ino)));
    }
    let content = ContentRef { digest: manifest.digest(), size: manifest.size() };
    let still_dirty = size != content.size || states.contains(&ChunkState::Dirty);
    // A row that no chunk is left of, a hole or given up, is believed after a kill.
    tree.flush_attributes(ino)?;
    tree.drop_previous(ino)?;
    let cached = write_states(tree, ino, content_state, &states, manifest)?;
    let before = tree.record(ino)?.cached;
    tree.add_cached(ino, cached as i64 - before as i64)?;
    if content.size > CHUNK_SIZE {
        manifest_rows::save_manifest(&tree.db, manifest)?;
    }
    let record = tree.edit_and_bump(ino)?;
    record.content = Some(content);
    record.base_chunks = states.len() as u64;
    record.content_dirty = still_dirty;
    record.blocks = blocks.unwrap_or(record.blocks);
    if let Some(stamp) = stamp {
        // What is written from now on may be known to the data file alone.
        record.lent = Some(stamp.modified);
    }
    Ok(KnownOutcome::Known(Known { content, states, still_dirty }))
}

/// True if a chunk that is not here would not be absent any more: what is behind `states` counts as dirty, and only
/// what is here can be dirty, as it is sent from here.
fn is_replaced(content_state: &ContentState, states: &[ChunkState]) -> bool {
    let mut absent = content_state.chunks.in_state(ChunkState::Absent);
    absent.any(|index| states.get(index as usize) != Some(&ChunkState::Absent))
}

/// States of the chunks once the content of a snapshot is known: as many as are as long now as then.
pub(crate) fn states_after(
    content_state: &ContentState,
    snapshot: &Snapshot,
    size: u64,
) -> Vec<ChunkState> {
    let base_chunks = if size == snapshot.size {
        chunk_count(size)
    } else {
        size.min(snapshot.size) / CHUNK_SIZE
    };
    let is_overtaken = snapshot.is_overtaken();
    let after = |index| {
        if is_overtaken || content_state.chunks.written_since(index, snapshot.generation) {
            return ChunkState::Dirty;
        }
        match content_state.chunks.state(index) {
            ChunkState::Dirty | ChunkState::Clean => ChunkState::Clean,
            ChunkState::Absent => ChunkState::Absent,
        }
    };
    (0..base_chunks).map(after).collect()
}

/// Writes the rows of chunks whose state changes; how many bytes are clean and here then.
fn write_states(
    tree: &mut Tree,
    ino: Ino,
    content_state: &ContentState,
    states: &[ChunkState],
    manifest: &Manifest,
) -> Result<u64, Error> {
    chunk_rows::delete_chunks_from(&tree.db, ino, states.len() as u64)?;
    let mut cached = 0;
    for (index, state) in (0..).zip(states) {
        let before = content_state.chunks.state(index);
        let hole = manifest.is_hole(index);
        match state {
            ChunkState::Clean if hole => chunk_rows::delete_chunk(&tree.db, ino, index)?,
            ChunkState::Clean => {
                let was_hole = content_state.manifest.as_ref().is_some_and(|it| it.is_hole(index));
                if was_hole || before != ChunkState::Clean {
                    tree.set_unsynced(ino, index)?;
                }
                cached += Chunk::new(index, manifest.size()).map_or(0, Chunk::length);
            }
            ChunkState::Dirty => chunk_rows::set_chunk(&tree.db, ino, index, ChunkRowState::Dirty)?,
            ChunkState::Absent => {}
        }
    }
    Ok(cached)
}

/// Makes a state that the server took the base of its node.
fn acknowledge(tree: &mut Tree, pushed: &Pushed) -> Result<(), Error> {
    let ino = pushed.ino;
    let record = match tree.edit(ino) {
        Ok(record) => record,
        Err(Error::NoNode(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    record.base_version = pushed.version;
    record.in_flight.clear();
    record.acknowledged = pushed.change;
    if pushed.state.is_none() && record.is_gone() {
        // The server has forgotten it: a row that was only to tell it of the end has done so.
        record.base_version = 0;
        let (id, status) = (record.id, record.status);
        tree.taken_deletions.add(id, pushed.version);
        if status == NodeStatus::Deleted {
            return tree.delete_node(ino);
        }
    }
    base_rows::set_base(&tree.db, ino, pushed.state.as_ref())
}
