//! Another history: the server was restored from an older copy, so that versions and the cursor do not mean what they did.
//!
//! Up to one commit, the common one, both histories are the same. The whole drive is then compared with what is here, node by
//! node, as batches of the feed from its beginning, deleted nodes among them:
//!
//! | here | there | result |
//! |---|---|---|
//! | as both knew it | newer | as ever: the server's change |
//! | newer than both knew it | as both knew it, or unknown | it is sent again |
//! | newer than both knew it | newer, and equal | nothing |
//! | newer than both knew it | newer | a conflict, as between two devices |
//!
//! What the server lacks is known at the end only ([`Store::end_comparison`]).
//!
//! A drive that has forgotten deletions has the same history, and is compared in the same way, as batches of the feed. What it does not show
//! in the end it has deleted ([`Store::not_shown`]); what was changed here since stands, as after any deletion.

use std::collections::HashSet;

use miaofs::protocol::files::{self, Entry, Kind, SeenCommit};
use miaofs::protocol::ids::NodeId;

use super::apply::{ChangeBatch, Standing};
use super::rules::Rules;
use crate::store::core::Store;
use crate::store::disk::history_rows::{self, Comparison, Cursor};
use crate::store::disk::record::{NodeStatus, Record};
use crate::store::disk::{base_rows, entry_rows, meta};
use crate::store::error::Error;
use crate::store::invalidation::Invalidation;
use crate::store::node::Ino;
use crate::store::tree::transaction::Tree;

impl Store {
    /// The newest commit that this device knows of by its own commits, and that the cursor has not come to: its nodes have versions
    /// of that history.
    pub(crate) fn seen_ahead(&self) -> Result<Option<SeenCommit>, Error> {
        let tree = self.tree();
        history_rows::seen_between(&tree.db, tree.cursor.seq, u64::MAX)
    }

    /// The newest of those that the cursor comes to when it goes to `seq`.
    pub(crate) fn seen_until(&self, seq: u64) -> Result<Option<SeenCommit>, Error> {
        let tree = self.tree();
        history_rows::seen_between(&tree.db, tree.cursor.seq, seq)
    }

    /// The commits that the cursor has been at, by rising number; fewer of those that are long ago.
    pub(crate) fn seen_commits(&self) -> Result<Vec<SeenCommit>, Error> {
        history_rows::seen(&self.tree().db)
    }

    /// The comparison of all that is here with the drive, if one is in progress.
    pub(crate) fn comparison(&self) -> Option<Comparison> {
        self.tree().comparison
    }

    /// Begins to compare all that is here with the drive. The cursor is at the beginning then.
    pub(crate) fn begin_comparison(&self, comparison: Comparison) -> Result<(), Error> {
        let mut tree = self.tree();
        tree.transact(|tree| {
            tree.begin()?;
            history_rows::set_comparison(&tree.db, Some(comparison))?;
            if let Some(common) = comparison.common() {
                history_rows::forget_seen_after(&tree.db, common)?;
            }
            history_rows::set_cursor(&tree.db, Cursor::from(0))
        })?;
        tree.comparison = Some(comparison);
        tree.cursor = Cursor::from(0);
        if comparison.common().is_some() {
            tree.taken_deletions.clear();
        }
        Ok(())
    }

    /// The nodes that a drive which has forgotten deletions did not show, once the cursor is at its head: it has deleted them. What
    /// is in a directory comes before it.
    pub(crate) fn not_shown(&self) -> Result<Vec<NodeId>, Error> {
        let mut tree = self.tree();
        let (mut nodes, mut directories) = (Vec::new(), Vec::new());
        for ino in history_rows::not_compared(&tree.db)? {
            let record = tree.record(ino)?;
            let id = record.id;
            match record.attributes.kind {
                Kind::Directory => directories.push((depth(&tree, ino)?, id)),
                _ => nodes.push(id),
            }
        }
        directories.sort_unstable_by_key(|(depth, _)| std::cmp::Reverse(*depth));
        nodes.extend(directories.into_iter().map(|(_, id)| id));
        Ok(nodes)
    }

    /// Ends the comparison, once the cursor is at the drive's head. What a restored server did not show it lacks, and so it is
    /// as if it were made here just now.
    pub(crate) fn end_comparison(&self, rules: &Rules<'_>) -> Result<Vec<Invalidation>, Error> {
        let invalidations = self.transact(|tree| {
            tree.begin()?;
            let lacking = match tree.comparison {
                Some(Comparison::Restored { .. }) => history_rows::not_compared(&tree.db)?,
                Some(Comparison::Anew) | None => Vec::new(),
            };
            history_rows::set_comparison(&tree.db, None)?;
            ChangeBatch::give_up_bases(tree, rules, lacking)
        })?;
        self.tree().comparison = None;
        Ok(invalidations)
    }

    /// The server does not know a node any more that a change is based on: it was deleted, and that is forgotten. The change
    /// is as if the node were made here just now.
    pub(crate) fn give_up_base(
        &self,
        ino: Ino,
        rules: &Rules<'_>,
    ) -> Result<Vec<Invalidation>, Error> {
        let given_up = self.transact(|tree| {
            tree.begin()?;
            ChangeBatch::give_up_bases(tree, rules, vec![ino])
        });
        match given_up {
            Err(Error::NoNode(_)) => Ok(Vec::new()),
            given_up => given_up,
        }
    }

    /// The drive's head when a listing of it began, from 0, that has not come to its end.
    pub(crate) fn began_at(&self) -> Option<u64> {
        self.tree().began_at
    }

    /// Remembers where a listing began, or that it has come to its end.
    pub(crate) fn note_listing(&self, began_at: Option<u64>) -> Result<(), Error> {
        let mut tree = self.tree();
        if tree.began_at == began_at {
            return Ok(());
        }
        tree.transact(|tree| {
            tree.begin()?;
            meta::set_or_remove(&tree.db, meta::BEGAN_AT, began_at)
        })?;
        tree.began_at = began_at;
        Ok(())
    }
}

/// Number of directories above one, each counted once.
fn depth(tree: &Tree, ino: Ino) -> Result<usize, Error> {
    let (mut above, mut at) = (HashSet::new(), ino);
    while let Some((parent, _)) = entry_rows::entries_of(&tree.db, at)?.into_iter().next()
        && above.insert(parent)
    {
        at = parent;
    }
    Ok(above.len())
}

impl ChangeBatch<'_> {
    /// Compares a node of the server with the row that is here of it.
    pub(super) fn standing(
        &mut self,
        record: &Record,
        node: &files::Node,
    ) -> Result<Standing, Error> {
        let Record { ino, status, base_version, .. } = *record;
        let is_next = node.version > base_version;
        let common = self.tree.comparison.and_then(Comparison::common);
        let is_known = |common: u64| is_next && base_version <= common;
        if common.is_none_or(|common| base_version == 0 || is_known(common)) {
            let is_dirty =
                record.is_dirty() || status == NodeStatus::Detached && record.has_changes();
            return Ok(match (is_next, is_dirty) {
                (false, _) => return self.nothing_new(record, node),
                (true, false) => Standing::Theirs,
                (true, true) => Standing::Both(Box::new(self.tree.as_dirty(ino)?)),
            });
        }
        if base_rows::base(&self.tree.db, ino)? == node.state {
            self.set_base(ino, node)?;
            let record = self.tree.record(ino)?.clone();
            return self.nothing_new(&record, node);
        }
        let is_older = node.version < base_version && Some(node.version) <= common;
        if is_older && !(record.is_gone() && node.state.is_none()) && status != NodeStatus::Detached
        {
            return Ok(Standing::Lost);
        }
        // The server has never had the base in this history.
        let mut local = self.tree.as_dirty(ino)?;
        local.base_state = None;
        if let (Some(here), Some(there)) = (&mut local.state, &node.state)
            && here.entries.is_empty()
        {
            // Another node has its names already.
            here.entries.clone_from(&there.entries);
        }
        Ok(Standing::Both(Box::new(local)))
    }

    /// Standing of a node that the server shows as it was shown before. One that is clean and lacks a name had made way for
    /// another node that the server gave the name to; in the history that the server has now, it did not.
    fn nothing_new(&mut self, record: &Record, node: &files::Node) -> Result<Standing, Error> {
        let Some(state) = &node.state else { return Ok(Standing::Known) };
        if node.version != record.base_version
            || record.is_dirty()
            || self.has_names(record.ino, &state.entries)?
        {
            return Ok(Standing::Known);
        }
        Ok(match record.has_changes() {
            false => Standing::Theirs,
            true => Standing::Both(Box::new(self.tree.as_dirty(record.ino)?)),
        })
    }

    /// True if a node has all of these names here.
    fn has_names(&mut self, ino: Ino, entries: &[Entry]) -> Result<bool, Error> {
        for entry in entries {
            let named = match self.tree.by_id(entry.parent)? {
                Some(parent) => self.tree.entry(parent, entry.name.as_bytes())?,
                None => None,
            };
            if named != Some(ino) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The server has lost what is here: it is sent again, in place of what the server has. That is the base from now on: what
    /// goes back to where the server has it must find it there, and another device may change it before this one has sent
    /// what was lost. A content that was edited here since stands on the lost one, which another device may send.
    pub(super) fn send_again(&mut self, ino: Ino, node: &files::Node) -> Result<(), Error> {
        let base = base_rows::base(&self.tree.db, ino)?;
        let record = self.tree.record(ino)?;
        let is_edited =
            record.content_dirty || base.is_some_and(|base| base.content != record.content);
        if is_edited {
            let record = self.tree.edit(ino)?;
            record.base_version = node.version;
            record.in_flight.clear();
        } else {
            self.set_base(ino, node)?;
        }
        self.tree.edit_and_bump(ino).map(drop)
    }

    /// Makes nodes that the server lacks such as it never had.
    fn give_up_bases(
        tree: &mut Tree,
        rules: &Rules<'_>,
        lacking: Vec<Ino>,
    ) -> Result<Vec<Invalidation>, Error> {
        let mut batch = ChangeBatch::new(tree, rules, &[]);
        for ino in lacking {
            batch.give_up_base(ino)?;
        }
        batch.break_cycles()?;
        Ok(batch.applied.invalidations)
    }

    fn give_up_base(&mut self, ino: Ino) -> Result<(), Error> {
        let status = self.tree.record(ino)?.status;
        if status == NodeStatus::Deleted {
            return self.tree.delete_node(ino);
        }
        let names = base_rows::base(&self.tree.db, ino)?.map(|base| base.entries);
        base_rows::set_base(&self.tree.db, ino, None)?;
        let record = self.tree.edit_and_bump(ino)?;
        record.base_version = 0;
        record.in_flight.clear();
        match status {
            NodeStatus::Detached => self.name_again(ino, &names.unwrap_or_default()),
            _ => Ok(()),
        }
    }
}
