//! One batch of the server's changes on the tree: what becomes of each node, by the caller's rules.
//!
//! A batch shows the nodes in the order of the commits, each as it was when its page was read; so until the last batch a
//! parent may still be to come (its children wait in a row of status `Awaited`), and a name may
//! still have its former owner (which is then `Detached` until its own change comes). A node that was changed between two
//! pages is on both: the later one shows it as it is. Directories are deleted at the end of a batch, when it is known what in
//! them stays.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use miaofs::protocol::files::{self, ContentRef, Entry, Kind, NodeState};
use miaofs::protocol::ids::NodeId;

use super::push::DirtyNode;
use super::rules::{NameResolution, Resolution, Rules};
use crate::store::disk::record::{NodeStatus, Record};
use crate::store::disk::{base_rows, entry_rows};
use crate::store::error::Error;
use crate::store::invalidation::Invalidation;
use crate::store::node::{Ino, NewNode};
use crate::store::tree::transaction::Tree;

/// Action on a data file once the transaction is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DataFileAction {
    /// Nothing in the file is of use: it becomes a hole of the node's size.
    Discard,
    /// Chunks may be of use: it is made as long as the node, and these are given back.
    Truncate(Vec<u64>),
}

/// State of a node that the server shows, with respect to what is here.
pub(super) enum Standing {
    /// The server shows nothing new.
    Known,
    /// The server shows something new, and nothing here speaks against it.
    Theirs,
    /// The server has lost what is here, and shows something older.
    Lost,
    /// Both sides changed it.
    Both(Box<DirtyNode>),
}

/// Effects of a batch that its transaction does not contain.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub(crate) invalidations: Vec<Invalidation>,
    /// Nodes whose content became another one.
    pub(crate) actions: BTreeMap<Ino, DataFileAction>,
}

/// The batch that is being applied.
pub(crate) struct ChangeBatch<'t> {
    pub(crate) tree: &'t mut Tree,
    pub(super) rules: &'t Rules<'t>,
    /// The latest state of each.
    nodes: HashMap<NodeId, &'t files::Node>,
    done: HashSet<NodeId>,
    /// Names that the rules gave to nodes which have not made way yet.
    new_names: HashMap<Ino, Vec<u8>>,
    /// Directories to be removed at the end, and the names that the server knew them by.
    pending_dir_deletes: Vec<(Ino, Vec<Entry>)>,
    /// Nodes that are between their old names and their new ones: without any, but not gone.
    pub(super) being_named: HashSet<Ino>,
    /// Directories that got another place.
    pub(crate) moved_directories: Vec<Ino>,
    pub(crate) applied: Applied,
}

impl<'t> ChangeBatch<'t> {
    /// Applies all nodes, in the transaction that is in progress.
    pub(crate) fn apply(
        tree: &'t mut Tree,
        rules: &'t Rules<'t>,
        nodes: &'t [files::Node],
    ) -> Result<Applied, Error> {
        let mut batch = Self::new(tree, rules, nodes);
        for node in nodes {
            let is_latest = std::ptr::eq(batch.nodes[&node.id], node);
            if is_latest {
                batch.node(node)?;
            }
        }
        batch.break_cycles()?;
        batch.delete_pending_dirs()?;
        // What came back may be where another device put what it is in below it.
        batch.break_cycles()?;
        Ok(batch.applied)
    }

    /// A batch of which nothing is applied yet.
    pub(super) fn new(tree: &'t mut Tree, rules: &'t Rules<'t>, nodes: &'t [files::Node]) -> Self {
        Self {
            tree,
            rules,
            nodes: nodes.iter().map(|node| (node.id, node)).collect(),
            done: HashSet::new(),
            new_names: HashMap::new(),
            pending_dir_deletes: Vec::new(),
            being_named: HashSet::new(),
            moved_directories: Vec::new(),
            applied: Applied::default(),
        }
    }

    /// Applies the latest state of one node of the batch, unless that was done, or it has been deleted since.
    fn node(&mut self, node: &files::Node) -> Result<(), Error> {
        if !self.done.insert(node.id) || self.tree.taken_deletions.is_of_before(node) {
            return Ok(());
        }
        if node.state.is_none() {
            self.tree.taken_deletions.add(node.id, node.version);
        }
        let Some(ino) = self.tree.by_id(node.id)? else {
            return match &node.state {
                Some(state) => self.insert_new(node, state),
                None => Ok(()),
            };
        };
        let record = self.tree.record(ino)?.clone();
        if record.status == NodeStatus::Awaited {
            return match &node.state {
                Some(state) => self.take(ino, node, state),
                None => self.remove(ino, node),
            };
        }
        let local = match self.standing(&record, node)? {
            Standing::Known => return Ok(()),
            Standing::Theirs => return self.apply_remote(ino, node),
            Standing::Lost => return self.send_again(ino, node),
            Standing::Both(local) => local,
        };
        match (self.rules.node)(&local, node) {
            Resolution::TakeRemote => self.apply_remote(ino, node),
            Resolution::Merge(state) => self.merge(ino, node, &state),
            Resolution::KeepBoth { copy_name } => {
                let there = self.keep_beside(ino, copy_name)?;
                self.apply_remote(there, node)
            }
            Resolution::KeepLocal => self.keep_local(ino, node),
        }
    }

    /// A node that is not known here.
    fn insert_new(&mut self, node: &files::Node, state: &NodeState) -> Result<(), Error> {
        let matching_local = self.matching_local(node, state)?;
        // Others that were brought forward for it may wait in a row for it.
        if let Some(waiting) = self.tree.by_id(node.id)? {
            return self.take(waiting, node, state);
        }
        if let Some(matching_local) = matching_local {
            return self.adopt(matching_local, node, state);
        }
        let ino = self.tree.number_for(node.id)?;
        self.tree.add(Record::new(ino, node.id, NewNode::like(state, self.tree.owner)))?;
        self.take(ino, node, state)
    }

    /// The local node, unknown to the server, that the rules say is the same thing.
    fn matching_local(
        &mut self,
        node: &files::Node,
        state: &NodeState,
    ) -> Result<Option<Ino>, Error> {
        let Some(occupant) = self.occupant_of_all(&state.entries)? else { return Ok(None) };
        let Some(local) = self.tree.dirty_node(occupant)? else { return Ok(None) };
        if local.base_version > 0 {
            return Ok(None);
        }
        match (self.rules.name)(&local, node) {
            NameResolution::Adopt => Ok(Some(occupant)),
            NameResolution::RenameLocal(name) => {
                self.new_names.insert(occupant, name);
                Ok(None)
            }
        }
    }

    /// The node that has all of these names here.
    fn occupant_of_all(&mut self, entries: &[Entry]) -> Result<Option<Ino>, Error> {
        let mut occupant = None;
        for entry in entries {
            self.bring_forward(entry.parent)?;
            let Some(parent) = self.tree.by_id(entry.parent)? else { return Ok(None) };
            let found = self.tree.entry(parent, entry.name.as_bytes())?;
            if found.is_none() || occupant.is_some_and(|occupant| Some(occupant) != found) {
                return Ok(None);
            }
            occupant = found;
        }
        Ok(occupant)
    }

    /// Makes a local node the server's node, with the server's times.
    fn adopt(&mut self, ino: Ino, node: &files::Node, state: &NodeState) -> Result<(), Error> {
        self.tree.flush_attributes(ino)?;
        self.tree.set_id(ino, node.id)?;
        let record = self.tree.edit(ino)?;
        record.attributes.mtime = state.mtime;
        record.attributes.ctime = state.ctime;
        record.attributes.btime = state.btime;
        self.applied.invalidations.push(Invalidation::Attributes(ino));
        self.set_base(ino, node)?;
        self.clean_if_equal(ino, state)
    }

    fn apply_remote(&mut self, ino: Ino, node: &files::Node) -> Result<(), Error> {
        match &node.state {
            // It was deleted here and comes back: as a new inode, for the old one's data file is to go.
            Some(state) if self.tree.record(ino)?.status == NodeStatus::Deleted => {
                self.tree.delete_node(ino)?;
                self.insert_new(node, state)
            }
            Some(state) => self.take(ino, node, state),
            None => self.remove(ino, node),
        }
    }

    /// The node becomes what the server says.
    fn take(&mut self, ino: Ino, node: &files::Node, state: &NodeState) -> Result<(), Error> {
        self.tree.flush_attributes(ino)?;
        let ino = self.leave_to_those_who_have_it_open(ino, state)?;
        self.take_attributes(ino, state)?;
        if let Some(content) = state.content {
            self.take_content(ino, content)?;
        }
        self.set_entries(ino, node, &state.entries)?;
        self.set_base(ino, node)?;
        let record = self.tree.edit(ino)?;
        record.acknowledged = record.change;
        record.status = NodeStatus::Present;
        Ok(())
    }

    fn take_attributes(&mut self, ino: Ino, state: &NodeState) -> Result<(), Error> {
        let owner = self.tree.owner;
        let record = self.tree.edit(ino)?;
        let before = (record.attributes, record.xattrs.clone());
        record.take_attributes(state, owner);
        if before != (record.attributes, record.xattrs.clone()) {
            self.applied.invalidations.push(Invalidation::Attributes(ino));
        }
        Ok(())
    }

    /// The local state becomes what was merged; dirty if the server has another.
    fn merge(&mut self, ino: Ino, node: &files::Node, state: &NodeState) -> Result<(), Error> {
        self.tree.flush_attributes(ino)?;
        let ino = self.leave_to_those_who_have_it_open(ino, state)?;
        self.take_attributes(ino, state)?;
        let before = self.tree.record(ino)?.content;
        if let Some(content) = state.content
            && before != Some(content)
        {
            self.take_content(ino, content)?;
        }
        self.set_entries(ino, node, &state.entries)?;
        self.tree.edit(ino)?.status = NodeStatus::Present;
        self.set_base(ino, node)?;
        match &node.state {
            Some(there) => self.clean_if_equal(ino, there),
            None => self.tree.edit_and_bump(ino).map(drop),
        }
    }

    /// The local state stays, and is to be pushed though it may have been clean.
    fn keep_local(&mut self, ino: Ino, node: &files::Node) -> Result<(), Error> {
        let before = base_rows::base(&self.tree.db, ino)?;
        self.set_base(ino, node)?;
        self.tree.edit_and_bump(ino)?;
        match self.tree.record(ino)?.status {
            NodeStatus::Detached => self.name_again(ino, &before.map_or(vec![], |it| it.entries)),
            _ => Ok(()),
        }
    }

    /// The server's version is what the local state stands against from now on.
    pub(super) fn set_base(&mut self, ino: Ino, node: &files::Node) -> Result<(), Error> {
        let record = self.tree.edit(ino)?;
        record.base_version = node.version;
        record.in_flight.clear();
        base_rows::set_base(&self.tree.db, ino, node.state.as_ref())
    }

    /// A node that is as the server has it is not dirty.
    pub(crate) fn clean_if_equal(&mut self, ino: Ino, there: &NodeState) -> Result<(), Error> {
        let record = self.tree.record(ino)?.clone();
        let mut here = self.tree.state_of(&record, Some(there))?;
        let mut there = there.clone();
        here.entries.sort();
        there.entries.sort();
        if here == there && !record.content_dirty {
            let record = self.tree.edit(ino)?;
            record.acknowledged = record.change;
            Ok(())
        } else {
            self.tree.edit_and_bump(ino).map(drop)
        }
    }

    /// Makes the content of a node another one, of which nothing is here but equal chunks of the old.
    fn take_content(&mut self, ino: Ino, content: ContentRef) -> Result<(), Error> {
        let action = self.tree.replace_content(ino, content)?;
        if let Some(action) = action {
            self.applied.actions.insert(ino, action);
            self.applied.invalidations.push(Invalidation::Content(ino));
        }
        Ok(())
    }

    /// The server deleted a node, and nothing here speaks against it.
    fn remove(&mut self, ino: Ino, node: &files::Node) -> Result<(), Error> {
        let before = base_rows::base(&self.tree.db, ino)?;
        self.set_base(ino, node)?;
        if self.tree.record(ino)?.attributes.kind == Kind::Directory {
            let record = self.tree.edit(ino)?;
            record.acknowledged = record.change;
            let names = before.map(|before| before.entries).unwrap_or_default();
            self.pending_dir_deletes.push((ino, names));
            return Ok(());
        }
        self.remember_place(ino)?;
        self.drop_entries(ino)?;
        self.end(ino)
    }

    fn drop_entries(&mut self, ino: Ino) -> Result<(), Error> {
        for (parent, name) in entry_rows::entries_of(&self.tree.db, ino)? {
            self.tree.remove_entry(parent, &name, ino)?;
            self.applied.invalidations.push(Invalidation::Deleted { parent, child: ino, name });
        }
        Ok(())
    }

    /// Ends a node that has no name any more; one that is open lives until it is closed.
    fn end(&mut self, ino: Ino) -> Result<(), Error> {
        let record = self.tree.edit(ino)?;
        record.base_version = 0;
        record.in_flight.clear();
        if record.status == NodeStatus::Deleted {
            return self.tree.delete_node(ino);
        }
        // What is present and has neither name nor handle ends with the transaction.
        record.status = NodeStatus::Present;
        record.acknowledged = record.change;
        Ok(())
    }

    /// Removes the directories that the server deleted, but those that lead to something dirty:
    /// they come back.
    fn delete_pending_dirs(&mut self) -> Result<(), Error> {
        if self.pending_dir_deletes.is_empty() {
            return Ok(());
        }
        let ways = self.ancestors_of_dirty()?;
        let pending_dir_deletes = std::mem::take(&mut self.pending_dir_deletes);
        let (stay, left): (Vec<_>, Vec<_>) =
            pending_dir_deletes.into_iter().partition(|(ino, _)| ways.contains(ino));
        for (ino, names) in stay {
            self.tree.edit_and_bump(ino)?;
            if self.tree.record(ino)?.links == 0 {
                self.name_again(ino, &names)?;
            }
        }
        let mut left: Vec<Ino> = left.into_iter().map(|(ino, _)| ino).collect();
        loop {
            let before = left.len();
            for ino in std::mem::take(&mut left) {
                if entry_rows::has_children(&self.tree.db, ino)? {
                    left.push(ino);
                } else {
                    self.drop_entries(ino)?;
                    self.end(ino)?;
                }
            }
            if left.len() == before {
                break;
            }
        }
        // Their children's own changes are still to come.
        for ino in left {
            self.drop_entries(ino)?;
            self.tree.edit(ino)?.status = NodeStatus::Detached;
        }
        Ok(())
    }

    /// Gives a directory that comes back a name, since another node took its own.
    pub(super) fn name_again(&mut self, ino: Ino, names: &[Entry]) -> Result<(), Error> {
        let (parent, name) = match names.first() {
            Some(entry) => (self.known_directory(entry.parent)?, entry.name.as_bytes()),
            None => (Ino::ROOT, &b""[..]),
        };
        let name = match self.tree.entry(parent, name)? {
            None if !name.is_empty() => name.to_vec(),
            _ => self.tree.free_name(parent, &(self.rules.conflict_name)(name))?,
        };
        let record = self.tree.edit(ino)?;
        record.status = NodeStatus::Present;
        if record.attributes.kind == Kind::Directory {
            self.moved_directories.push(ino);
        }
        self.tree.add_entry(parent, &name, ino)?;
        self.applied.invalidations.push(Invalidation::Entry { parent, name });
        Ok(())
    }

    /// Applies the node of an id first, if it is in this batch.
    pub(crate) fn bring_forward(&mut self, id: NodeId) -> Result<(), Error> {
        match self.nodes.get(&id).copied() {
            Some(node) => self.node(node),
            None => Ok(()),
        }
    }

    /// All directories above something that is dirty here.
    fn ancestors_of_dirty(&mut self) -> Result<BTreeSet<Ino>, Error> {
        let mut ways = BTreeSet::new();
        for dirty in self.tree.dirty_inos()? {
            let mut above = vec![dirty];
            while let Some(ino) = above.pop() {
                for (parent, _) in entry_rows::entries_of(&self.tree.db, ino)? {
                    if ways.insert(parent) {
                        above.push(parent);
                    }
                }
            }
        }
        Ok(ways)
    }

    /// The node that has a name which `node` shall have makes way.
    pub(crate) fn evict_name(
        &mut self,
        occupant: Ino,
        at: (Ino, &[u8]),
        node: &files::Node,
    ) -> Result<(), Error> {
        let (parent, name) = at;
        let record = self.tree.record(occupant)?;
        if record.is_dirty() {
            // If its own change is in this batch, the name may not be its any more.
            let id = record.id;
            self.bring_forward(id)?;
            if self.tree.entry(parent, name)? != Some(occupant) {
                return Ok(());
            }
        }
        match self.tree.dirty_node(occupant)? {
            None => self.detach(occupant, parent, name),
            Some(local) => {
                let new_name = self.name_for(&local, node, name);
                let new_name = self.tree.free_name(parent, &new_name)?;
                self.tree.remove_entry(parent, name, occupant)?;
                self.tree.add_entry(parent, &new_name, occupant)?;
                self.tree.edit_and_bump(occupant)?;
                self.applied.invalidations.push(Invalidation::Entry { parent, name: new_name });
                Ok(())
            }
        }
    }

    fn name_for(&mut self, local: &DirtyNode, node: &files::Node, name: &[u8]) -> Vec<u8> {
        if let Some(name) = self.new_names.remove(&local.ino) {
            return name;
        }
        match (self.rules.name)(local, node) {
            NameResolution::RenameLocal(name) => name,
            // The server knows both, so they cannot become one.
            NameResolution::Adopt => name.to_vec(),
        }
    }

    /// A clean node lost its name: its own change must be on the way.
    fn detach(&mut self, ino: Ino, parent: Ino, name: &[u8]) -> Result<(), Error> {
        self.tree.remove_entry(parent, name, ino)?;
        let record = self.tree.edit(ino)?;
        if record.links == 0 {
            record.status = NodeStatus::Detached;
        }
        Ok(())
    }
}
