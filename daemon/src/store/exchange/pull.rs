//! The server's changes, applied: clean nodes take the server's state, for dirty ones the caller's rules decide.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, RwLockWriteGuard};

use miaofs::content::{CHUNK_SIZE, chunk_count};
use miaofs::protocol::files::{self, ContentRef, Kind};

use super::apply::{ChangeBatch, DataFileAction};
use super::rules::Rules;
use crate::store::core::Store;
use crate::store::disk::history_rows::{self, Cursor};
use crate::store::disk::record::NodeStatus;
use crate::store::disk::{chunk_rows, data_files, inode_queries, manifest_rows, meta, schema};
use crate::store::error::{Error, while_doing};
use crate::store::inodes::chunks::runs;
use crate::store::inodes::inode::{ContentState, Inode};
use crate::store::invalidation::Invalidation;
use crate::store::node::Ino;
use crate::store::tree::frozen::TreeLock;
use crate::store::tree::transaction::{Committed, Tree};

/// Changes from which on those who read the tree do not wait for the transaction.
const LONG_BATCH: usize = 64;
/// Changes that are looked up with the tree locked once.
const LOOKUPS: usize = 256;

impl Store {
    /// Place in the feed up to which the changes of the server have been applied.
    pub(crate) fn cursor(&self) -> Cursor {
        self.tree().cursor
    }

    /// True once the whole drive has been here, from its first change to its latest.
    pub(crate) fn has_all_names(&self) -> bool {
        self.tree().has_all_names
    }

    /// Remembers that the whole drive is here.
    pub(crate) fn note_all_names(&self) -> Result<(), Error> {
        let mut tree = self.tree();
        tree.transact(|tree| {
            tree.begin()?;
            meta::set_number(&tree.db, meta::ALL_NAMES, 1)
        })?;
        tree.has_all_names = true;
        Ok(())
    }

    /// Applies one batch of changes and moves the cursor, in one transaction.
    ///
    /// The contents of files that it may change are locked first, in order of their numbers, because
    /// nobody waits for a content while the tree is locked. A file that is opened meanwhile has it begin again.
    pub(crate) fn apply(
        &self,
        nodes: &[files::Node],
        rules: &Rules<'_>,
        cursor: impl Into<Cursor>,
    ) -> Result<Vec<Invalidation>, Error> {
        self.give_rows_room();
        self.take_in_unseen()?;
        let cursor = cursor.into();
        loop {
            let inodes = self.inodes_of(nodes)?;
            let mut content_states: ContentStates<'_> = inodes
                .iter()
                .map(|inode| (inode.ino, (&**inode, inode.content_state_mut())))
                .collect();
            let mut locked = self.tree_for(nodes.len())?;
            let tree = &mut *locked.tree;
            if !all_locked(tree, nodes, &content_states)? {
                continue;
            }
            let (applied, committed) = tree.transact(|tree| {
                tree.begin()?;
                if cursor != tree.cursor {
                    history_rows::set_cursor(&tree.db, cursor)?;
                }
                if tree.comparison.is_some() {
                    history_rows::add_compared(&tree.db, nodes)?;
                }
                ChangeBatch::apply(tree, rules, nodes)
            })?;
            tree.cursor = cursor;
            tree.taken_deletions.forget_until(cursor.seq);
            for invalidation in &applied.invalidations {
                if let Invalidation::Content(ino) = invalidation {
                    self.untold.changed(*ino);
                }
            }
            let is_first = tree.db.announce();
            drop(locked);
            if is_first {
                self.wake_committer();
            }
            if let Err(error) = self.finish_contents(&applied.actions, &mut content_states) {
                // It is committed all the same, and whoever opens one of the files waits until the kernel knows.
                self.report(applied.invalidations);
                return Err(error);
            }
            if committed == Committed::Dirty {
                self.notify_dirty();
            }
            return Ok(applied.invalidations);
        }
    }

    /// Locks the tree for so many changes. Readers do not wait for many.
    fn tree_for(&self, changes: usize) -> Result<TreeLock<'_>, Error> {
        if changes < LONG_BATCH {
            return Ok(TreeLock::short(self.tree()));
        }
        let lock = || {
            let tree = self.tree();
            // The other connection sees what the database has committed.
            tree.db.commit_all().map(|()| tree)
        };
        self.frozen.freeze(lock, || schema::connect(self.journal.database()))
    }

    /// The inodes of a batch that have bytes here or are in memory, by rising number.
    fn inodes_of(&self, nodes: &[files::Node]) -> Result<Vec<Arc<Inode>>, Error> {
        let mut inodes = BTreeMap::new();
        for some in nodes.chunks(LOOKUPS) {
            self.add_inodes_of(some, &mut inodes)?;
        }
        Ok(inodes.into_values().collect())
    }

    fn add_inodes_of(
        &self,
        nodes: &[files::Node],
        inodes: &mut BTreeMap<Ino, Arc<Inode>>,
    ) -> Result<(), Error> {
        let mut tree = self.tree();
        for node in nodes {
            let Some(ino) = tree.by_id(node.id)? else { continue };
            let record = tree.record(ino)?;
            let is_file = record.attributes.kind == Kind::File;
            let has_bytes = record.cached > 0 || record.content_dirty;
            if is_file && record.status != NodeStatus::Deleted && (has_bytes || tree.is_loaded(ino))
            {
                inodes.insert(ino, tree.inode(ino)?);
            }
        }
        Ok(())
    }

    /// Makes the data files and what is in memory follow contents that became others.
    fn finish_contents(
        &self,
        actions: &BTreeMap<Ino, DataFileAction>,
        content_states: &mut ContentStates<'_>,
    ) -> Result<(), Error> {
        let here: Vec<_> =
            actions.iter().filter(|(ino, _)| content_states.contains_key(ino)).collect();
        if here.is_empty() {
            return Ok(());
        }
        self.sync_journal()?;
        for (ino, action) in here {
            let size = match self.tree().record(*ino) {
                Ok(record) => record.attributes.size,
                Err(Error::NoNode(_)) => continue,
                Err(error) => return Err(error),
            };
            if let Some(file) = self.data.existing(*ino)? {
                apply_action(&file, action, size)?;
            }
            if let Some((inode, content_state)) = content_states.get_mut(ino) {
                let mut attributes = inode.attributes();
                content_state.chunks.note_written(0..chunk_count(size.max(attributes.size)));
                attributes.size = size;
                drop(attributes);
                self.tree().reload(*ino, content_state)?;
            }
        }
        Ok(())
    }
}

/// Contents that are locked, by their node.
type ContentStates<'a> = BTreeMap<Ino, (&'a Inode, RwLockWriteGuard<'a, ContentState>)>;

fn apply_action(file: &File, action: &DataFileAction, size: u64) -> Result<(), Error> {
    let cut = |length| file.set_len(length).map_err(while_doing("cutting a data file"));
    match action {
        DataFileAction::Discard => {
            cut(0)?;
            cut(size)
        }
        DataFileAction::Truncate(given_up) => {
            cut(size)?;
            let runs = runs(given_up, size);
            runs.into_iter().try_for_each(|run| data_files::punch(file, run))
        }
    }
}

/// True if every inode of a batch that is in memory is locked.
fn all_locked(
    tree: &mut Tree,
    nodes: &[files::Node],
    content_states: &ContentStates<'_>,
) -> Result<bool, Error> {
    for node in nodes {
        if let Some(ino) = tree.by_id(node.id)?
            && tree.is_loaded(ino)
            && !content_states.contains_key(&ino)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Tree {
    /// Makes the content of a node another one, without bytes but chunks that may be equal; what is
    /// to be done with its data file, if the content was another one.
    pub(crate) fn replace_content(
        &mut self,
        ino: Ino,
        content: ContentRef,
    ) -> Result<Option<DataFileAction>, Error> {
        let record = self.record(ino)?.clone();
        if record.content == Some(content) && !record.content_dirty {
            return Ok(None);
        }
        let old = record.content.filter(|old| {
            !record.content_dirty && record.cached > 0 && old.size.min(content.size) > CHUNK_SIZE
        });
        if old.is_none() {
            chunk_rows::delete_chunks_from(&self.db, ino, 0)?;
            self.add_cached(ino, -(record.cached as i64))?;
        }
        let record = self.edit(ino)?;
        record.previous = old.map(|old| record.previous.unwrap_or(old.digest));
        record.content = Some(content);
        record.base_chunks = chunk_count(content.size);
        record.attributes.size = content.size;
        record.blocks = content.size.div_ceil(512);
        record.content_dirty = false;
        record.attributes_dirty = false;
        if old.is_none() {
            return Ok(Some(DataFileAction::Discard));
        }
        match manifest_rows::manifest(&self.db, content.digest)? {
            Some(manifest) => {
                self.count_blocks(ino, &manifest)?;
                Ok(Some(DataFileAction::Truncate(self.compare_previous(ino, &manifest)?)))
            }
            None => Ok(Some(DataFileAction::Truncate(Vec::new()))),
        }
    }

    /// True if an inode is in memory.
    fn is_loaded(&self, ino: Ino) -> bool {
        self.loaded_inode(ino).is_some()
    }

    /// All nodes that are dirty, also by the transaction in progress.
    pub(crate) fn dirty_inos(&mut self) -> Result<Vec<Ino>, Error> {
        self.flush()?;
        inode_queries::dirty(&self.db)
    }
}
