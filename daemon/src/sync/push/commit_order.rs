//! Order of commits: the ready changes that can be committed now, each after those it needs. Pure.
//!
//! Each change may *need* others, which must be in the same commit or in an earlier one:
//!
//! - a node needs its directory, as long as the server does not have it;
//! - a node that takes over a name needs the change by which the former owner gave it up;
//! - the deletion of a node whose name another took over needs that one: others see the old or the
//!   new content at the name, never neither;
//! - the deletion of a directory needs the departure of what it held;
//! - a directory that was moved needs the moves of those above it: where they are on the server may be below it;
//! - a node that gives a content up needs one of those that name it newly, if any do: a copy by reference may have no
//!   bytes here, and until it is committed, what it was copied from is what keeps the content on the server.
//!
//! What needs a change that is not ready waits with it. The rest is cut into groups that need each
//! other in a ring (Tarjan's strongly connected components, 1972, which come in the order that is
//! wanted), and groups are packed into commits without cutting one.

use std::collections::HashMap;

use miaofs::protocol::files::{
    COMMIT_BYTES_MAX, COMMIT_NAMES_MAX, COMMIT_NODES_MAX, ContentRef, Entry, NodeState,
};
use miaofs::protocol::ids::NodeId;

use crate::store::DirtyNode;

/// Nodes that a commit holds unless one group needs more.
const COMMIT_NODES: usize = 1000;
/// Bytes that a commit holds, more or less: names and attributes may be longer in JSON than they are.
const COMMIT_BYTES: usize = COMMIT_BYTES_MAX / 2;
/// Bytes of JSON that a change takes beside its names, target and xattrs, more or less.
const NODE_BYTES: usize = 800;
/// Bytes of JSON that an entry takes beside its name.
const ENTRY_BYTES: usize = 64;

/// Orders the changes of `nodes` for which `ready` holds. Each commit is a list of indexes.
pub(super) fn commits(nodes: &[DirtyNode], ready: &[bool]) -> Vec<Vec<usize>> {
    let needs = needs(nodes);
    let chosen = without_waiting(&needs, ready);
    pack(nodes, components(&needs, &chosen))
}

/// For each node, the nodes whose change it needs.
fn needs(nodes: &[DirtyNode]) -> Vec<Vec<usize>> {
    let by_id: HashMap<NodeId, usize> =
        nodes.iter().enumerate().map(|(index, node)| (node.id, index)).collect();
    let mut former_owners: HashMap<&Entry, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for entry in lost_entries(node) {
            former_owners.insert(entry, index);
        }
    }
    let mut leaning: HashMap<ContentRef, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        if let (Some(content), before) = contents(node)
            && before != Some(content)
        {
            leaning.entry(content).or_insert(index);
        }
    }
    let mut needs = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        for entry in node.state.iter().flat_map(|state| &state.entries) {
            if let Some(&parent) = by_id.get(&entry.parent)
                && nodes[parent].base_state.is_none()
            {
                needs[index].push(parent);
            }
            if let Some(&former) = former_owners.get(entry) {
                needs[index].push(former);
                if nodes[former].state.is_none() {
                    needs[former].push(index);
                }
            }
        }
        let above = node.above.iter().filter_map(|id| by_id.get(id).copied());
        needs[index].extend(above.filter(|above| !nodes[*above].above.is_empty()));
        if let (now, Some(before)) = contents(node)
            && now != Some(before)
        {
            needs[index].extend(leaning.get(&before));
        }
        for entry in lost_entries(node) {
            if let Some(&parent) = by_id.get(&entry.parent)
                && nodes[parent].state.is_none()
            {
                needs[parent].push(index);
            }
        }
    }
    needs
}

/// The content that a node names now, and the one that the server knows it to name.
fn contents(node: &DirtyNode) -> (Option<ContentRef>, Option<ContentRef>) {
    let content = |state: &Option<NodeState>| state.as_ref().and_then(|state| state.content);
    (content(&node.state), content(&node.base_state))
}

/// Names that the server still knows and the node has no more.
fn lost_entries(node: &DirtyNode) -> impl Iterator<Item = &Entry> {
    let now = node.state.as_ref().map_or(&[][..], |state| &state.entries);
    let known = node.base_state.as_ref().map_or(&[][..], |base| &base.entries);
    known.iter().filter(move |entry| !now.contains(entry))
}

/// Takes away what is not ready and, again and again, what needs something taken away.
fn without_waiting(needs: &[Vec<usize>], ready: &[bool]) -> Vec<bool> {
    let mut needed_by = vec![Vec::new(); needs.len()];
    for (index, needs) in needs.iter().enumerate() {
        for &needed in needs {
            needed_by[needed].push(index);
        }
    }
    let mut chosen = ready.to_vec();
    let mut taken_away: Vec<usize> = (0..ready.len()).filter(|index| !ready[*index]).collect();
    while let Some(index) = taken_away.pop() {
        for &waiting in &needed_by[index] {
            if std::mem::replace(&mut chosen[waiting], false) {
                taken_away.push(waiting);
            }
        }
    }
    chosen
}

/// Groups of nodes that need each other; a group comes after all groups that it needs.
fn components(needs: &[Vec<usize>], chosen: &[bool]) -> Vec<Vec<usize>> {
    let mut search = Search {
        needs,
        numbers: vec![None; needs.len()],
        lowest: vec![0; needs.len()],
        on_stack: vec![false; needs.len()],
        stack: Vec::new(),
        count: 0,
        components: Vec::new(),
    };
    for index in (0..needs.len()).filter(|index| chosen[*index]) {
        if search.numbers[index].is_none() {
            search.visit(index);
        }
    }
    search.components
}

/// Tarjan's depth-first search, with its own stack so that a deep tree does not exhaust the thread's.
struct Search<'a> {
    needs: &'a [Vec<usize>],
    numbers: Vec<Option<usize>>,
    lowest: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<usize>,
    count: usize,
    components: Vec<Vec<usize>>,
}

impl Search<'_> {
    fn visit(&mut self, root: usize) {
        let mut path = vec![(root, 0)];
        self.enter(root);
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            match self.needs[node].get(*next) {
                Some(&needed) => {
                    *next += 1;
                    match self.numbers[needed] {
                        None => {
                            self.enter(needed);
                            path.push((needed, 0));
                        }
                        Some(number) if self.on_stack[needed] => {
                            self.lowest[node] = self.lowest[node].min(number);
                        }
                        Some(_) => {}
                    }
                }
                None => {
                    path.pop();
                    self.leave(node);
                    if let Some((above, _)) = path.last() {
                        self.lowest[*above] = self.lowest[*above].min(self.lowest[node]);
                    }
                }
            }
        }
    }

    fn enter(&mut self, node: usize) {
        self.numbers[node] = Some(self.count);
        self.lowest[node] = self.count;
        self.count += 1;
        self.stack.push(node);
        self.on_stack[node] = true;
    }

    fn leave(&mut self, node: usize) {
        if self.numbers[node] == Some(self.lowest[node]) {
            let start = self.stack.iter().rposition(|other| *other == node);
            let component = self.stack.split_off(start.expect("a node stays until it is left"));
            for &member in &component {
                self.on_stack[member] = false;
            }
            self.components.push(component);
        }
    }
}

/// Size of a commit: changes, the names that they give and take, and bytes of JSON, more or less.
#[derive(Debug, Clone, Copy, Default)]
struct CommitSize {
    nodes: usize,
    names: usize,
    bytes: usize,
}

impl CommitSize {
    /// Of a commit of one change.
    fn of(node: &DirtyNode) -> Self {
        let states = || [&node.state, &node.base_state].into_iter().flatten();
        Self {
            nodes: 1,
            names: states().map(|state| state.entries.len()).sum(),
            bytes: states().map(bytes_of).sum::<usize>() + NODE_BYTES,
        }
    }

    const fn and(self, other: Self) -> Self {
        Self {
            nodes: self.nodes + other.nodes,
            names: self.names + other.names,
            bytes: self.bytes + other.bytes,
        }
    }

    /// True if the server takes it: it looks at what nodes are and at what they become.
    const fn fits(self) -> bool {
        self.nodes <= COMMIT_NODES_MAX
            && self.names <= COMMIT_NAMES_MAX
            && self.bytes <= COMMIT_BYTES
    }
}

fn bytes_of(state: &NodeState) -> usize {
    let names = state.entries.iter().map(|entry| entry.name.as_bytes().len() + ENTRY_BYTES);
    let xattrs = state.xattrs.iter().map(|(name, value)| name.len() + value.0.len());
    let target = state.target.as_ref().map_or(0, |target| target.0.len());
    names.sum::<usize>() + xattrs.sum::<usize>() + target
}

/// Fills commits with groups in order. A group that is larger than a commit may be is cut after all:
/// the server then says what does not hold yet.
fn pack(nodes: &[DirtyNode], components: Vec<Vec<usize>>) -> Vec<Vec<usize>> {
    let mut commits: Vec<Vec<usize>> = Vec::new();
    let mut filled = CommitSize::default();
    for component in components {
        let sizes: Vec<_> = component.iter().map(|index| CommitSize::of(&nodes[*index])).collect();
        let whole = sizes.iter().fold(filled, |sum, size| sum.and(*size));
        if let Some(commit) = commits.last_mut()
            && whole.nodes <= COMMIT_NODES
            && whole.fits()
        {
            commit.extend(component);
            filled = whole;
            continue;
        }
        commits.push(Vec::new());
        filled = CommitSize::default();
        for (index, size) in component.into_iter().zip(sizes) {
            if filled.nodes > 0 && !filled.and(size).fits() {
                commits.push(Vec::new());
                filled = CommitSize::default();
            }
            filled = filled.and(size);
            commits.last_mut().expect("one was just pushed").push(index);
        }
    }
    commits
}

#[cfg(test)]
mod tests;
