//! A drive on which others move directories about while this device does: whatever the order in which all comes, and whatever the
//! server has forgotten of what was deleted, the device ends with the tree of the server. The seed is printed, and `MIAOFS_TEST_SEED` repeats a run.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use miaofs::protocol::files::{Entry, Kind, Node, NodeChange, NodeState};
use miaofs::protocol::ids::{NodeId, Revision};
use miaofs::protocol::name::Name;

use super::own_changes::random::{Random, seed_of_this_run, sequences};
use super::{ConflictLabel, conflict_name, resolve, resolve_name};
use crate::store::{
    Comparison, DirtyNode, Error, Ino, NewNode, Pushed, Rules, Store, StoreOptions,
};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const ATTRIBUTE: &[u8] = b"user.color";
const LIMIT: usize = 1000;
const SEQUENCES: u64 = 60;
const STEPS: usize = 60;
/// Changes that others make at once.
const BURST: usize = 8;
/// Rounds of page and push after which nothing may be left to do.
const ROUNDS: usize = 100;
/// Nodes that are deleted at once, of those that a server does not show that has forgotten deletions.
const DELETED_AT_ONCE: usize = 3;

type Nodes = BTreeMap<NodeId, Node>;

/// The reason for which a change is not made, with the node that is shown for it.
enum Refusal {
    Stale(Option<Node>),
    NameTaken(Node),
    NotEmpty(Node),
    NoParent(Option<Node>),
    /// A cycle that it would close, or another change of its commit that it stands against.
    Later,
}

fn entries(node: &Node) -> &[Entry] {
    node.state.as_ref().map_or(&[], |state| &state.entries)
}

fn is_directory(nodes: &Nodes, id: NodeId) -> bool {
    let state = nodes.get(&id).and_then(|node| node.state.as_ref());
    state.is_some_and(|state| state.kind == Kind::Directory)
}

/// True if the way up from a node does not end at the root.
fn is_in_cycle(nodes: &Nodes, id: NodeId) -> bool {
    let (mut at, mut met) = (id, BTreeSet::new());
    while met.insert(at) {
        match nodes.get(&at).and_then(|node| entries(node).first()) {
            Some(entry) => at = entry.parent,
            None => return false,
        }
    }
    true
}

/// Takes of a commit what can be, as the server does.
struct Server {
    nodes: Nodes,
    /// All nodes there ever were, in an order that ids do not have, so that a seed repeats a run.
    births: Vec<NodeId>,
    seq: u64,
    /// Deletions up to this version may be forgotten.
    forgotten: u64,
}

impl Server {
    fn new() -> Self {
        let (id, revision) = (NodeId::ROOT, Revision::random());
        let state = Some(NodeState::new(Kind::Directory, 0, 0));
        let root = Node { id, version: 1, revision, state };
        Self { nodes: BTreeMap::from([(id, root)]), births: vec![id], seq: 1, forgotten: 0 }
    }

    fn put(&mut self, id: NodeId, revision: Revision, state: Option<NodeState>) {
        let node = Node { id, version: self.seq, revision, state };
        if self.nodes.insert(id, node).is_none() {
            self.births.push(id);
        }
    }

    fn all(&self) -> impl Iterator<Item = &Node> {
        self.births.iter().map(|id| &self.nodes[id])
    }

    /// Another device changes something, or cannot.
    fn change(&mut self, random: &mut Random) {
        let alive = self.all().filter(|node| node.state.is_some());
        let alive: Vec<NodeId> = alive.map(|node| node.id).collect();
        let (id, parent) = (random.pick(&alive), random.pick(&alive));
        let name = Name::new(random.pick(&NAMES)).unwrap();
        let base = self.nodes[&id].version;
        let mut state = self.nodes[&id].state.clone().unwrap();
        let entry = Entry { parent, name };
        let change = match random.below(8) {
            0 | 1 => {
                let kind = random.pick(&[Kind::Directory, Kind::Directory, Kind::Fifo]);
                state = NodeState { entries: vec![entry], ..NodeState::new(kind, 0o755, 0) };
                (NodeId::random(), 0, Some(state))
            }
            2..6 if id != NodeId::ROOT => {
                state.entries = vec![entry];
                (id, base, Some(state))
            }
            6 if id != NodeId::ROOT => (id, base, None),
            _ => {
                state.mode ^= 0o22;
                (id, base, Some(state))
            }
        };
        let (id, base, state) = change;
        self.commit(&[NodeChange { id, base, revision: Revision::random(), state }]);
    }

    /// Changes what can be changed; says of each whether it was refused.
    fn commit(&mut self, changes: &[NodeChange]) -> Vec<Option<Refusal>> {
        let stale = |change: &NodeChange| {
            let current = self.nodes.get(&change.id);
            let version = current.map_or(0, |current| current.version);
            (version != change.base).then(|| Refusal::Stale(current.cloned()))
        };
        let mut refused: Vec<Option<Refusal>> = changes.iter().map(stale).collect();
        loop {
            let taken = changes.iter().zip(&refused).filter(|(_, refused)| refused.is_none());
            let taken: Vec<&NodeChange> = taken.map(|(change, _)| change).collect();
            let mut after = self.nodes.clone();
            for NodeChange { id, revision, state, .. } in taken.iter().copied().cloned() {
                after.insert(id, Node { id, version: 0, revision, state });
            }
            let mut wrong = (0..changes.len()).filter(|at| refused[*at].is_none());
            let found = wrong.find_map(|at| Some((at, self.refusal(&after, &changes[at])?)));
            match found {
                Some((at, refusal)) => refused[at] = Some(refusal),
                None => break,
            }
        }
        self.seq += 1;
        for (change, refused) in changes.iter().zip(&refused) {
            if refused.is_none() {
                self.put(change.id, change.revision, change.state.clone());
            }
        }
        refused
    }

    /// The reason why a change cannot stand in a tree that has it.
    fn refusal(&self, after: &Nodes, change: &NodeChange) -> Option<Refusal> {
        let shown = |node: &Node, refusal: fn(Node) -> Refusal| match self.nodes.get(&node.id) {
            Some(now) if node.version > 0 => refusal(now.clone()),
            _ => Refusal::Later,
        };
        let order =
            self.births.iter().chain(after.keys().filter(|id| !self.nodes.contains_key(id)));
        let others = || {
            let nodes = order.clone().filter_map(|id| after.get(id));
            nodes.filter(|node| node.id != change.id)
        };
        let Some(state) = &change.state else {
            let mut children = others();
            let child = children.find(|it| entries(it).iter().any(|it| it.parent == change.id));
            return child.map(|child| shown(child, Refusal::NotEmpty));
        };
        for entry in &state.entries {
            if !is_directory(after, entry.parent) {
                return Some(Refusal::NoParent(self.nodes.get(&entry.parent).cloned()));
            }
            if let Some(other) = others().find(|other| entries(other).contains(entry)) {
                return Some(shown(other, Refusal::NameTaken));
            }
        }
        is_in_cycle(after, change.id).then_some(Refusal::Later)
    }

    /// Forgets the deletions up to a version.
    fn forget(&mut self, until: u64) {
        let is_old = |node: &Node| node.state.is_none() && node.version <= until;
        self.nodes.retain(|_, node| !is_old(node));
        self.births.retain(|id| self.nodes.contains_key(id));
        self.forgotten = self.forgotten.max(until);
    }

    /// The nodes that changed after a version, up to another.
    fn page(&self, since: u64, until: u64, with_deleted: bool) -> Vec<Node> {
        let range = |node: &&Node| {
            node.version > since && node.version <= until && (with_deleted || node.state.is_some())
        };
        let mut nodes: Vec<Node> = self.all().filter(range).cloned().collect();
        nodes.sort_by_key(|node| node.version);
        nodes
    }
}

struct World {
    store: Arc<Store>,
    server: Server,
    random: Random,
    /// The server's last commit when the listing began that is in progress.
    began_at: u64,
}

impl World {
    fn new(directory: &Path, random: Random) -> Self {
        let options = StoreOptions { cache_limit: 1 << 30, free_floor: 0 };
        Self {
            store: Store::open(directory, options).unwrap(),
            server: Server::new(),
            random,
            began_at: 0,
        }
    }

    fn step(&mut self) {
        match self.random.below(10) {
            0..3 => (0..BURST).for_each(|_| self.server.change(&mut self.random)),
            3 => {
                let newer = self.server.seq - self.store.cursor().seq;
                let left = if newer > 0 { self.random.below(newer) } else { 0 };
                self.pull(self.server.seq - left);
            }
            // Nothing is sent before the drive has been here, and while all is compared.
            4 if self.store.cursor().seq > 0 && self.store.comparison().is_none() => self.push(),
            5 if self.random.one_in(4) => self.server.forget(self.random.below(self.server.seq)),
            _ => self.change(),
        }
    }

    /// All directories here, by walking down; each must be in one place.
    fn directories(&self) -> Vec<Ino> {
        let mut all = vec![Ino::ROOT];
        let mut at = 0;
        while let Some(directory) = all.get(at) {
            let children = self.store.view(|view| view.children(*directory, 0, LIMIT)).unwrap();
            let directories = children.into_iter().filter(|child| child.kind == Kind::Directory);
            all.extend(directories.map(|child| child.ino));
            at += 1;
            let distinct: BTreeSet<Ino> = all.iter().copied().collect();
            assert_eq!(distinct.len(), all.len(), "a directory is in two places: {all:?}");
        }
        all
    }

    /// A program changes something, or cannot.
    fn change(&mut self) {
        let directories = self.directories();
        let random = &mut self.random;
        let mut place = || (random.pick(&directories), random.pick(&NAMES).as_bytes());
        let (from, to) = (place(), place());
        let what = random.below(8);
        let changed = self.store.change(|change| {
            let (source, target) = (change.entry(from.0, from.1)?, change.entry(to.0, to.1)?);
            match (what, source, target) {
                (0..3, None, _) => {
                    let kind = if what == 0 { Kind::Fifo } else { Kind::Directory };
                    let new = NewNode {
                        kind,
                        mode: 0o644,
                        uid: 1,
                        gid: 1,
                        rdev: 0,
                        target: None,
                        now: 1,
                    };
                    let ino = change.insert(new)?;
                    change.link(from.0, from.1, ino)
                }
                (1, Some(node), _) if !change.has_children(node)? => {
                    change.unlink(from.0, from.1).map(drop)
                }
                (3..7, Some(source), None) => {
                    let above: Vec<Ino> =
                        change.way_up(to.0)?.into_iter().map(|(above, _)| above).collect();
                    match source == to.0 || above.contains(&source) {
                        true => Ok(()),
                        false => change.rename(from, to).map(drop),
                    }
                }
                (_, Some(source), _) => change.set_xattr(source, ATTRIBUTE, &[what as u8]),
                _ => Ok::<(), Error>(()),
            }
        });
        changed.unwrap();
    }

    fn by_rules<T>(&self, change: impl FnOnce(&Rules<'_>) -> Result<T, Error>) -> T {
        let label = ConflictLabel { device: String::new(), date: String::new() };
        let rules = Rules {
            node: &|local, remote| resolve(local, remote, &label),
            name: &|local, remote| resolve_name(local, remote, &label),
            conflict_name: &|name| conflict_name(name, &label),
        };
        change(&rules).unwrap()
    }

    fn apply(&self, nodes: &[Node], cursor: u64) {
        self.by_rules(|rules| self.store.apply(nodes, rules, cursor));
        self.directories();
        for dirty in self.store.dirty_nodes(Ino(0), LIMIT).unwrap() {
            let Some(state) = &dirty.state else { continue };
            let is_named_once = dirty.id == NodeId::ROOT || state.entries.len() == 1;
            assert!(state.kind != Kind::Directory || is_named_once, "{dirty:?} after {nodes:#?}");
        }
    }

    /// Takes in what the server has up to a version.
    fn pull(&mut self, until: u64) {
        let since = self.store.cursor().seq;
        if since > 0 && since.max(self.began_at) < self.server.forgotten {
            self.store.begin_comparison(Comparison::Anew).unwrap();
            return self.pull(until);
        }
        if since == 0 {
            self.began_at = self.server.seq;
        }
        let is_comparing = self.store.comparison().is_some();
        self.apply(&self.server.page(since, until, since > 0 || is_comparing), until);
        if until == self.server.seq {
            self.began_at = 0;
            if is_comparing {
                self.end_comparison();
            }
        }
    }

    fn end_comparison(&self) {
        let version = self.store.cursor().seq;
        let deleted =
            |id: &NodeId| Node { id: *id, version, revision: Revision::random(), state: None };
        let deleted: Vec<Node> = self.store.not_shown().unwrap().iter().map(deleted).collect();
        deleted.chunks(DELETED_AT_ONCE).for_each(|some| self.apply(some, version));
        self.by_rules(|rules| self.store.end_comparison(rules));
    }

    /// Sends all that is dirty, and resolves what is refused.
    fn push(&mut self) {
        let dirty = self.store.dirty_nodes(Ino(0), LIMIT).unwrap();
        let pushes: Vec<(DirtyNode, Revision)> =
            dirty.into_iter().map(|node| (node, Revision::random())).collect();
        let begun: Vec<_> = pushes.iter().map(|(node, revision)| (node.ino, *revision)).collect();
        self.store.begin_push(&begun).unwrap();
        let changes = pushes.iter().map(|(node, revision)| NodeChange {
            id: node.id,
            base: node.base_version,
            revision: *revision,
            state: node.state.clone(),
        });
        let refusals = self.server.commit(&changes.collect::<Vec<_>>());
        let version = self.server.seq;
        let (mut done, mut refused) = (Vec::new(), Vec::new());
        for ((node, revision), refusal) in pushes.into_iter().zip(refusals) {
            let DirtyNode { ino, change, state, .. } = node.clone();
            match refusal {
                None => done.push(Pushed { ino, change, version, revision, state }),
                Some(refusal) => refused.push((node, refusal)),
            }
        }
        self.store.finish_push(&done, None).unwrap();
        for (node, refusal) in refused {
            if matches!(refusal, Refusal::Stale(None)) {
                self.by_rules(|rules| self.store.give_up_base(node.ino, rules));
                continue;
            }
            let current = match refusal {
                Refusal::Stale(current) | Refusal::NoParent(current) => current,
                Refusal::NameTaken(other) | Refusal::NotEmpty(other) => {
                    (!self.is_to_leave(&node, &other)).then_some(other)
                }
                Refusal::Later => None,
            };
            if let Some(current) = current {
                self.apply(&[current], self.store.cursor().seq);
            }
        }
    }

    /// True if a change here, that is still to be sent, takes a node out of the way.
    fn is_to_leave(&self, node: &DirtyNode, other: &Node) -> bool {
        let Some(ino) = self.store.view(|view| view.by_id(other.id)).unwrap() else { return false };
        let Some(local) = self.store.dirty_node(ino).unwrap() else { return false };
        let here = local.state.map(|state| state.entries).unwrap_or_default();
        let is_in_the_way = match &node.state {
            Some(state) => here.iter().any(|entry| state.entries.contains(entry)),
            None => here.iter().any(|entry| entry.parent == node.id),
        };
        !is_in_the_way && local.base_version >= other.version
    }

    /// Nothing is left to do in the end, and the device has what the server has.
    fn settle(&mut self) {
        for _round in 0..ROUNDS {
            self.pull(self.server.seq);
            if self.store.dirty_nodes(Ino(0), 1).unwrap().is_empty() {
                break;
            }
            self.push();
        }
        let dirty = self.store.dirty_nodes(Ino(0), LIMIT).unwrap();
        assert!(dirty.is_empty(), "left after {ROUNDS} rounds: {dirty:#?}");
        let mut here = BTreeSet::new();
        for directory in self.directories() {
            let parent = self.id_of(directory);
            let children = self.store.view(|view| view.children(directory, 0, LIMIT)).unwrap();
            here.extend(children.into_iter().map(|it| (parent, it.name, self.id_of(it.ino))));
        }
        let named = |node: &Node| {
            let id = node.id;
            let entries = entries(node).iter();
            entries.map(move |it| (it.parent, it.name.as_bytes().to_vec(), id)).collect::<Vec<_>>()
        };
        let there: BTreeSet<_> = self.server.nodes.values().flat_map(named).collect();
        assert_eq!(here, there, "here and on the server");
    }

    fn id_of(&self, ino: Ino) -> NodeId {
        self.store.view(|view| view.node(ino)).unwrap().id
    }
}

#[test]
fn whatever_others_move_the_device_ends_with_the_tree_of_the_server() {
    let seed = seed_of_this_run();
    println!("MIAOFS_TEST_SEED={seed}");
    let mut random = Random::new(seed);
    for _sequence in 0..sequences(SEQUENCES) {
        let directory = tempfile::tempdir().unwrap();
        let mut world = World::new(directory.path(), Random::new(random.below(u64::MAX)));
        for _step in 0..STEPS {
            world.step();
        }
        world.settle();
    }
}
