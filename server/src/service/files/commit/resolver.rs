//! The search for the largest part of a commit that can be applied.
//!
//! First every change is checked against the drive alone. Whenever one is rejected, the changes that
//! counted on it are looked at again ([`Resolver::propagate`]): each of them is rejected in turn, so all
//! of this is linear in the size of the commit. What changes of one commit do to each other is only
//! looked at among those that are left: rivals for a name, deletions of directories that are being
//! filled, cycles, the quota.

use std::collections::{HashMap, HashSet};

use miaofs::protocol::files::{ConflictReason, Entry, Kind, NodeChange, NodeState};
use miaofs::protocol::ids::NodeId;

use super::drive::{LoadedDrive, Verdict};
use super::quota::{Growth, over_limits};
use crate::service::Error;

/// A reason and the node of the drive that stands in the way.
type Rejection = (ConflictReason, Option<NodeId>);

/// A commit, half decided.
pub(super) struct Resolver<'a> {
    drive: &'a LoadedDrive,
    changes: &'a [NodeChange],
    verdicts: Vec<Verdict>,
    growths: Vec<Growth>,
    /// Where the change of a node stands in the commit.
    by_node: HashMap<NodeId, usize>,
    /// The changes that want a name, in order.
    wanting: HashMap<&'a Entry, Vec<usize>>,
    /// The changes that want a name in a directory, in order.
    wanting_in: HashMap<NodeId, Vec<usize>>,
    /// The changes whose node has a name in a directory now.
    children_in: HashMap<NodeId, Vec<usize>>,
    /// Rejected changes whose dependents have not been looked at again yet.
    unpropagated: Vec<usize>,
}

impl<'a> Resolver<'a> {
    /// Holds every change against its own node.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a change would make a node another kind.
    pub(super) fn new(drive: &'a LoadedDrive, changes: &'a [NodeChange]) -> Result<Self, Error> {
        let mut resolver = Self {
            drive,
            changes,
            verdicts: Vec::with_capacity(changes.len()),
            growths: Vec::with_capacity(changes.len()),
            by_node: HashMap::with_capacity(changes.len()),
            wanting: HashMap::new(),
            wanting_in: HashMap::new(),
            children_in: HashMap::new(),
            unpropagated: Vec::new(),
        };
        for (index, change) in changes.iter().enumerate() {
            resolver.verdicts.push(verdict_alone(drive, change)?);
            let (before, after) = (drive.current(change.id), change.state.as_ref());
            resolver.growths.push(Growth::between(before, after));
            resolver.by_node.insert(change.id, index);
            for entry in entries(change.state.as_ref()) {
                resolver.wanting.entry(entry).or_default().push(index);
                resolver.wanting_in.entry(entry.parent).or_default().push(index);
            }
            for entry in entries(drive.current(change.id)) {
                resolver.children_in.entry(entry.parent).or_default().push(index);
            }
        }
        Ok(resolver)
    }

    /// Rejects until what is left holds.
    pub(super) fn resolve(mut self) -> Result<Vec<Verdict>, Error> {
        for index in 0..self.changes.len() {
            self.look_at(index);
        }
        loop {
            self.propagate();
            let found = self.reject_rivals()
                || self.reject_deletions_of_filled()
                || self.reject_cycles()
                || self.reject_over_limits();
            if !found {
                return Ok(self.verdicts);
            }
        }
    }

    /// Looks again at every change that counted on one that was rejected.
    fn propagate(&mut self) {
        while let Some(rejected) = self.unpropagated.pop() {
            let id = self.changes[rejected].id;
            let current = self.drive.current(id);
            let mut affected = Vec::new();
            for entry in entries(current) {
                affected.extend(self.wanting.get(entry).into_iter().flatten());
                affected.extend(self.by_node.get(&entry.parent));
            }
            if current.is_none() {
                affected.extend(self.wanting_in.get(&id).into_iter().flatten());
            }
            for index in affected {
                self.look_at(index);
            }
        }
    }

    fn look_at(&mut self, index: usize) {
        if self.verdicts[index] == Verdict::Apply
            && let Some((reason, current)) = self.rejection(index)
        {
            self.reject(index, reason, current);
        }
    }

    fn reject(&mut self, index: usize, reason: ConflictReason, current: Option<NodeId>) {
        self.verdicts[index] = Verdict::Reject { reason, current };
        self.unpropagated.push(index);
    }

    /// Reason why a change cannot be, given the drive and the changes that are left.
    fn rejection(&self, index: usize) -> Option<Rejection> {
        let change = &self.changes[index];
        match &change.state {
            Some(state) => state.entries.iter().find_map(|entry| {
                self.rejection_for_name(change.id, entry)
                    .or_else(|| self.rejection_for_parent(entry))
            }),
            None => self.rejection_for_deletion(change.id),
        }
    }

    fn rejection_for_name(&self, id: NodeId, entry: &Entry) -> Option<Rejection> {
        let holder = *self.drive.holders.get(entry).filter(|holder| **holder != id)?;
        let wishes = self.by_node.get(&holder).map(|index| (self.verdicts[*index], *index));
        let reason = match wishes {
            Some((Verdict::Apply, index)) if !self.wants(index, entry) => return None,
            Some((Verdict::Reject { .. }, index)) if !self.wants(index, entry) => {
                ConflictReason::Dependent
            }
            _ => ConflictReason::NameTaken,
        };
        Some((reason, Some(holder)))
    }

    fn rejection_for_parent(&self, entry: &Entry) -> Option<Rejection> {
        let parent = entry.parent;
        if self.is_applied_deletion(parent) {
            // The deletion is the one that has to give way, if the parent is a directory at all.
            let current = self.drive.current(parent);
            return (!is_directory(current)).then_some((ConflictReason::NoParent, Some(parent)));
        }
        if is_directory(self.state_left(parent)) {
            return None;
        }
        if self.rejected_wish(parent).is_some_and(is_directory) {
            return Some((ConflictReason::Dependent, None));
        }
        let known = self.drive.nodes.contains_key(&parent);
        Some((ConflictReason::NoParent, known.then_some(parent)))
    }

    fn rejection_for_deletion(&self, id: NodeId) -> Option<Rejection> {
        if let Some(child) = self.drive.unlisted_children.get(&id) {
            return Some((ConflictReason::NotEmpty, Some(*child)));
        }
        let within = |state| entries(state).iter().any(|entry| entry.parent == id);
        let mut stays = self.children_in.get(&id).into_iter().flatten().filter_map(|index| {
            let child = self.changes[*index].id;
            within(self.state_left(child)).then_some(child)
        });
        let child = stays.next()?;
        let would_leave = self.rejected_wish(child).is_some_and(|wish| !within(wish));
        let reason = if would_leave { ConflictReason::Dependent } else { ConflictReason::NotEmpty };
        Some((reason, Some(child)))
    }

    /// Of two changes that want one name, the later gives way.
    fn reject_rivals(&mut self) -> bool {
        let mut losers = Vec::new();
        for (index, change) in self.changes.iter().enumerate() {
            if self.verdicts[index] != Verdict::Apply {
                continue;
            }
            let rival = entries(change.state.as_ref()).iter().find_map(|entry| {
                let first = self.wanting[entry]
                    .iter()
                    .find(|other| self.verdicts[**other] == Verdict::Apply)?;
                (*first < index).then(|| self.changes[*first].id)
            });
            losers.extend(rival.map(|rival| (index, rival)));
        }
        for (index, rival) in &losers {
            self.reject(*index, ConflictReason::NameTaken, self.known(*rival));
        }
        !losers.is_empty()
    }

    /// Between the deletion of a directory and what is put into it, the deletion gives way.
    fn reject_deletions_of_filled(&mut self) -> bool {
        let mut losers = Vec::new();
        for (index, change) in self.changes.iter().enumerate() {
            if change.state.is_some() || self.verdicts[index] != Verdict::Apply {
                continue;
            }
            let put = self.wanting_in.get(&change.id).into_iter().flatten();
            let mut put = put.filter(|put| self.verdicts[**put] == Verdict::Apply);
            losers.extend(put.next().map(|put| (index, self.changes[*put].id)));
        }
        for (index, child) in &losers {
            self.reject(*index, ConflictReason::NotEmpty, self.known(*child));
        }
        !losers.is_empty()
    }

    /// In every cycle of directories, the last of the moves that made it gives way.
    fn reject_cycles(&mut self) -> bool {
        let mut losers = HashMap::new();
        let mut visited = HashSet::new();
        for (index, change) in self.changes.iter().enumerate() {
            let put = is_directory(change.state.as_ref());
            if !put || self.verdicts[index] != Verdict::Apply {
                continue;
            }
            if let Some(cycle) = self.new_cycle(change.id, &mut visited) {
                losers.extend(self.loser_of_cycle(&cycle));
            }
        }
        for (index, reason) in &losers {
            self.reject(*index, *reason, self.known(self.changes[*index].id));
        }
        !losers.is_empty()
    }

    /// The cycle that the way up from `start` runs into, unless it was `visited` before.
    fn new_cycle(&self, start: NodeId, visited: &mut HashSet<NodeId>) -> Option<Vec<NodeId>> {
        let mut way = Vec::new();
        let mut at = start;
        while visited.insert(at) {
            way.push(at);
            at = self.parent_left(at)?;
        }
        let begins = way.iter().position(|passed| *passed == at)?;
        Some(way.split_off(begins))
    }

    fn loser_of_cycle(&self, cycle: &[NodeId]) -> Option<(usize, ConflictReason)> {
        let current = |id: NodeId| parent_of(self.drive.current(id));
        let moved = |id: &NodeId| {
            let index = *self.by_node.get(id)?;
            let state = self.changes[index].state.as_ref();
            let moves = self.verdicts[index] == Verdict::Apply && parent_of(state) != current(*id);
            moves.then_some(index)
        };
        let index = cycle.iter().filter_map(moved).max()?;
        let would_move = |id: &NodeId| {
            self.rejected_wish(*id).is_some_and(|wish| parent_of(wish) != current(*id))
        };
        let reason = if cycle.iter().any(would_move) {
            ConflictReason::Dependent
        } else {
            ConflictReason::Cycle
        };
        Some((index, reason))
    }

    fn reject_over_limits(&mut self) -> bool {
        let losers = over_limits(self.drive, &self.growths, &self.verdicts);
        for (index, reason) in &losers {
            let current = self.known(self.changes[*index].id);
            self.reject(*index, *reason, current);
        }
        !losers.is_empty()
    }

    /// State of a node after the changes that are left.
    fn state_left(&self, id: NodeId) -> Option<&NodeState> {
        match self.by_node.get(&id) {
            Some(index) if self.verdicts[*index] == Verdict::Apply => {
                self.changes[*index].state.as_ref()
            }
            _ => self.drive.current(id),
        }
    }

    /// The directory that holds a directory after the changes that are left.
    fn parent_left(&self, id: NodeId) -> Option<NodeId> {
        match self.state_left(id) {
            Some(state) => parent_of(Some(state)),
            None => self.drive.parents.get(&id).copied(),
        }
    }

    /// State that a rejected change wanted of a node (`None` inside: deleted).
    fn rejected_wish(&self, id: NodeId) -> Option<Option<&NodeState>> {
        let index = *self.by_node.get(&id)?;
        let rejected = matches!(self.verdicts[index], Verdict::Reject { .. });
        rejected.then(|| self.changes[index].state.as_ref())
    }

    fn wants(&self, index: usize, entry: &Entry) -> bool {
        self.wanting.get(entry).is_some_and(|wanting| wanting.binary_search(&index).is_ok())
    }

    fn is_applied_deletion(&self, id: NodeId) -> bool {
        self.by_node.get(&id).is_some_and(|index| {
            self.verdicts[*index] == Verdict::Apply && self.changes[*index].state.is_none()
        })
    }

    fn known(&self, id: NodeId) -> Option<NodeId> {
        self.drive.nodes.contains_key(&id).then_some(id)
    }
}

/// Verdict on a change from its own node and content alone.
fn verdict_alone(drive: &LoadedDrive, change: &NodeChange) -> Result<Verdict, Error> {
    let Some(record) = drive.nodes.get(&change.id) else {
        return Ok(match &change.state {
            None => Verdict::AlreadyApplied { version: 0 },
            Some(_) if change.base != 0 => {
                Verdict::Reject { reason: ConflictReason::Stale, current: None }
            }
            Some(state) => verdict_on_content(drive, None, state),
        });
    };
    let node = &record.node;
    let already_applied = Verdict::AlreadyApplied { version: node.version };
    if node.revision == change.revision {
        return Ok(already_applied);
    }
    if node.version != change.base {
        let current = Some(change.id);
        return Ok(Verdict::Reject { reason: ConflictReason::Stale, current });
    }
    match &change.state {
        None if node.state.is_none() => Ok(already_applied),
        None => Ok(Verdict::Apply),
        Some(state) if state.kind != record.kind => {
            Err(Error::Invalid(format!("node {}: the kind of a node never changes", change.id)))
        }
        Some(state) => Ok(verdict_on_content(drive, node.state.as_ref(), state)),
    }
}

fn verdict_on_content(
    drive: &LoadedDrive,
    current: Option<&NodeState>,
    state: &NodeState,
) -> Verdict {
    let kept = current.is_some_and(|current| current.content == state.content);
    let own = |content: &miaofs::protocol::files::ContentRef| {
        drive.owned.get(&content.digest) == Some(&content.size)
    };
    if kept || state.content.as_ref().is_none_or(own) {
        Verdict::Apply
    } else {
        Verdict::Reject { reason: ConflictReason::NoContent, current: None }
    }
}

fn entries(state: Option<&NodeState>) -> &[Entry] {
    state.map_or(&[], |state| &state.entries)
}

fn parent_of(state: Option<&NodeState>) -> Option<NodeId> {
    entries(state).first().map(|entry| entry.parent)
}

fn is_directory(state: Option<&NodeState>) -> bool {
    state.is_some_and(|state| state.kind == Kind::Directory)
}
