//! Stops when very much is deleted at once, until a person says that it is meant: pure.
//!
//! A script that ran in the wrong directory must not empty the server before anybody notices. What
//! counts is what waits to be deleted together with what was deleted lately, so that many small
//! steps add up as one large one does. What was made anew at the place of what is gone is no deletion: a tree that a program
//! removes and writes again, as `npm ci` does, goes through.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use miaofs::protocol::files::Entry;
use miaofs::protocol::ids::NodeId;

use crate::store::DirtyNode;

/// For how long deletions count together.
const LATELY: Duration = Duration::from_secs(600);

/// Decides whether deletions may be pushed.
#[derive(Debug)]
pub(super) struct DeletionGuard {
    limit: u64,
    lately: VecDeque<(Instant, u64)>,
    allowed: bool,
}

impl DeletionGuard {
    /// Stops beyond `limit` deletions that are also more than half of the drive.
    pub(super) const fn new(limit: u64) -> Self {
        Self { limit, lately: VecDeque::new(), allowed: false }
    }

    /// True if `waiting` deletions may go, from a drive that has `nodes` nodes now.
    pub(super) fn may_delete(&mut self, waiting: u64, nodes: u64, now: Instant) -> bool {
        while self.lately.front().is_some_and(|(at, _)| now.duration_since(*at) > LATELY) {
            self.lately.pop_front();
        }
        let gone: u64 = self.lately.iter().map(|(_, count)| count).sum();
        let many = waiting + gone > self.limit && (waiting + gone) * 2 > nodes + gone;
        if waiting == 0 {
            self.allowed = false;
        }
        self.allowed || !many
    }

    /// A person allows what waits now.
    pub(super) fn allow(&mut self) {
        self.allowed = true;
    }

    /// The server deleted `count` nodes for us.
    pub(super) fn deleted(&mut self, count: u64, now: Instant) {
        if count > 0 && !self.allowed {
            self.lately.push_back((now, count));
        }
    }
}

/// Deleted nodes at whose places others were made: at their names, in their directories or in what took these's places.
pub(super) fn replaced(nodes: &[DirtyNode]) -> HashSet<NodeId> {
    if nodes.iter().all(|node| node.state.is_some()) {
        return HashSet::new();
    }
    let mut search =
        Successors { gone: HashMap::new(), made: HashMap::new(), found: HashMap::new() };
    for node in nodes {
        match (&node.state, &node.base_state) {
            (None, Some(base)) => drop(search.gone.insert(node.id, base.entries.first())),
            (None, None) => {}
            (Some(state), _) => {
                search.made.extend(state.entries.iter().map(|entry| (entry.clone(), node.id)));
            }
        }
    }
    let gone: Vec<NodeId> = search.gone.keys().copied().collect();
    gone.into_iter().filter(|id| search.of(*id).is_some()).collect()
}

/// Finds what took the places of deleted nodes.
struct Successors<'n> {
    /// Deleted nodes, each with the name that it had.
    gone: HashMap<NodeId, Option<&'n Entry>>,
    /// Names of what is new or changed.
    made: HashMap<Entry, NodeId>,
    found: HashMap<NodeId, Option<NodeId>>,
}

impl Successors<'_> {
    fn of(&mut self, id: NodeId) -> Option<NodeId> {
        // Up to a directory that is known to have a successor, or is not deleted; then down again.
        let mut way = Vec::new();
        let mut at = id;
        while !self.found.contains_key(&at)
            && let Some(Some(entry)) = self.gone.get(&at)
            && way.len() <= self.gone.len()
        {
            way.push((at, *entry));
            at = entry.parent;
        }
        for (id, entry) in way.into_iter().rev() {
            let there = self.found.get(&entry.parent).copied().flatten();
            let parents = [Some(entry.parent), there];
            let successor = parents.into_iter().flatten().find_map(|parent| {
                self.made.get(&Entry { parent, name: entry.name.clone() }).copied()
            });
            self.found.insert(id, successor);
        }
        self.found.get(&id).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use miaofs::protocol::files::{Kind, NodeState};
    use miaofs::protocol::name::Name;

    use super::*;
    use crate::store::Ino;

    fn node(id: NodeId, place: (NodeId, &str), is_gone: bool) -> DirtyNode {
        let mut state = NodeState::new(Kind::Directory, 0o755, 1);
        let (parent, name) = (place.0, Name::new(place.1).unwrap());
        state.entries.push(Entry { parent, name });
        DirtyNode {
            ino: Ino(2),
            id,
            change: 1,
            base_version: 1,
            base_state: is_gone.then(|| state.clone()),
            in_flight: Vec::new(),
            state: (!is_gone).then_some(state),
            content_dirty: false,
            writers: 0,
            written_at: 0,
            size: 0,
            above: Vec::new(),
        }
    }

    #[test]
    fn what_was_made_anew_at_its_place_is_no_deletion_at_any_depth() {
        let [old, new, below, newer, deep, newest, gone] = [(); 7].map(|()| NodeId::random());
        let nodes = [
            node(deep, (below, "file"), true),
            node(gone, (below, "not made again"), true),
            node(below, (old, "package"), true),
            node(old, (NodeId::ROOT, "node_modules"), true),
            node(new, (NodeId::ROOT, "node_modules"), false),
            node(newer, (new, "package"), false),
            node(newest, (newer, "file"), false),
        ];
        assert_eq!(replaced(&nodes), HashSet::from([old, below, deep]));
    }

    #[test]
    fn emptying_a_drive_waits_for_a_word_whether_at_once_or_in_steps() {
        let now = Instant::now();
        let mut guard = DeletionGuard::new(1000);
        assert!(guard.may_delete(1000, 1001, now), "few");
        assert!(guard.may_delete(5000, 100_000, now), "a small part");
        assert!(!guard.may_delete(5000, 6000, now));
        guard.allow();
        assert!(guard.may_delete(5000, 6000, now));
        assert!(guard.may_delete(0, 1000, now));
        assert!(!guard.may_delete(1001, 1001, now), "allowed once");

        let mut guard = DeletionGuard::new(1000);
        assert!(guard.may_delete(900, 2000, now));
        guard.deleted(900, now);
        assert!(!guard.may_delete(900, 1100, now));
        assert!(guard.may_delete(900, 1100, now + 2 * LATELY));
    }
}
