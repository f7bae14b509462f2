//! A drive that only this device changes: whatever comes late, of what it sent or of what it asked for, changes nothing here. The
//! seed is printed, and `MIAOFS_TEST_SEED` repeats a run.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use miaofs::protocol::files::{Kind, Node, NodeChange, NodeState};
use miaofs::protocol::ids::{NodeId, Revision};

use self::random::{Random, seed_of_this_run, sequences};
use super::{ConflictLabel, conflict_name, resolve, resolve_name};
use crate::store::{Change, DirtyNode, Error, Ino, NewNode, Pushed, Rules, Store, StoreOptions};

#[path = "../../../../../tests/filesystem/random.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the tests of vfs use it with the model")]
pub(super) mod random;

const NAMES: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];
const ATTRIBUTE: &[u8] = b"user.color";
const LIMIT: usize = 1000;
const SEQUENCES: u64 = 20;
const STEPS: usize = 150;

/// A server that takes a commit as a whole or not at all, and remembers deletions of nodes that it never had.
struct Server {
    nodes: BTreeMap<NodeId, Node>,
    seq: u64,
}

impl Server {
    fn new() -> Self {
        let (id, revision) = (NodeId::ROOT, Revision::random());
        let root =
            Node { id, version: 1, revision, state: Some(NodeState::new(Kind::Directory, 0, 0)) };
        Self { nodes: BTreeMap::from([(id, root)]), seq: 1 }
    }

    /// Takes a commit, unless one of the nodes is at another version than the change is based on: answers these.
    fn commit(&mut self, changes: &[NodeChange]) -> Result<u64, Vec<Node>> {
        let current = |change: &NodeChange| self.nodes.get(&change.id).cloned();
        let is_stale = |change: &&NodeChange| {
            current(change).map_or(0, |current| current.version) != change.base
        };
        let stale: Vec<&NodeChange> = changes.iter().filter(is_stale).collect();
        if !stale.is_empty() {
            return Err(stale.into_iter().filter_map(current).collect());
        }
        self.seq += 1;
        let version = self.seq;
        for NodeChange { id, revision, state, .. } in changes.iter().cloned() {
            self.nodes.insert(id, Node { id, version, revision, state });
        }
        Ok(version)
    }

    fn page(&self, since: u64) -> (Vec<Node>, u64) {
        let newer = self.nodes.values().filter(|node| node.version > since);
        let mut nodes: Vec<Node> = newer.cloned().collect();
        nodes.sort_by_key(|node| node.version);
        (nodes, self.seq)
    }
}

/// The device, with all that is on the way between it and the server.
struct World<'d> {
    directory: &'d Path,
    /// That of the daemon; none while there is no daemon.
    store: Option<Arc<Store>>,
    server: Server,
    /// A page of the feed that has been answered and not been applied.
    page: Option<(Vec<Node>, u64)>,
    /// Commits of daemons that ended that have not arrived.
    late: Vec<Vec<NodeChange>>,
    random: Random,
}

/// A name, what it names, and something that was set there.
type Tree = BTreeMap<(Ino, Vec<u8>), (Ino, Option<Vec<u8>>)>;

fn open(directory: &Path) -> Arc<Store> {
    Store::open(directory, StoreOptions { cache_limit: 1 << 30, free_floor: 0 }).unwrap()
}

impl World<'_> {
    fn store(&self) -> &Store {
        self.store.as_ref().expect("a daemon runs")
    }

    fn step(&mut self) {
        match self.random.below(12) {
            0 if self.page.is_none() => {
                self.page = Some(self.server.page(self.store().cursor().seq));
            }
            0 | 1 => self.apply_page(),
            2 => self.push(),
            3 if !self.late.is_empty() => {
                let which = self.random.below(self.late.len() as u64) as usize;
                let _the_one_who_sent_it_is_gone = self.server.commit(&self.late.remove(which));
            }
            _ => self.change(),
        }
    }

    fn directories(&self) -> Vec<Ino> {
        let children = self.store().view(|view| view.children(Ino::ROOT, 0, LIMIT)).unwrap();
        let directories = children.into_iter().filter(|child| child.kind == Kind::Directory);
        [Ino::ROOT].into_iter().chain(directories.map(|child| child.ino)).collect()
    }

    /// A program changes something, or cannot.
    fn change(&mut self) {
        let directories = self.directories();
        let random = &mut self.random;
        let mut place = || (random.pick(&directories), random.pick(&NAMES));
        let (from, to) = (place(), place());
        let (what, color) = (random.below(7), random.below(250) as u8);
        let changed = self.store().change(|change| {
            let (source, target) = (change.entry(from.0, from.1)?, change.entry(to.0, to.1)?);
            match (what, source, target) {
                (0 | 1, None, _) => make(change, from, Kind::Fifo),
                (2, None, _) if from.0 == Ino::ROOT => make(change, from, Kind::Directory),
                (2 | 3, Some(node), _) if !change.has_children(node)? => {
                    change.unlink(from.0, from.1).map(drop)
                }
                (_, Some(source), _) if change.node(source)?.attributes.kind == Kind::Directory => {
                    Ok(())
                }
                (4, Some(_), None) => change.rename(from, to).map(drop),
                (4 | 5, Some(source), Some(target))
                    if source != target
                        && change.node(target)?.attributes.kind != Kind::Directory =>
                {
                    change.unlink(from.0, from.1)?;
                    change.unlink(to.0, to.1)?;
                    change.link(to.0, to.1, source)?;
                    if what == 5 { change.link(from.0, from.1, target) } else { Ok(()) }
                }
                (5, Some(source), None) => change.link(to.0, to.1, source),
                (_, Some(source), _) => change.set_xattr(source, ATTRIBUTE, &[color % 3]),
                _ => Ok(()),
            }
        });
        changed.unwrap();
    }

    fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        for directory in self.directories() {
            let children = self.store().view(|view| view.children(directory, 0, LIMIT)).unwrap();
            for child in children {
                let color = self.store().view(|view| view.xattr(child.ino, ATTRIBUTE)).unwrap();
                tree.insert((directory, child.name), (child.ino, color));
            }
        }
        tree
    }

    /// Takes nodes of the server in, by the rules; nothing may become another here.
    fn apply(&self, nodes: &[Node], cursor: u64) {
        let label = ConflictLabel { device: String::new(), date: String::new() };
        let rules = Rules {
            node: &|local, remote| resolve(local, remote, &label),
            name: &|local, remote| resolve_name(local, remote, &label),
            conflict_name: &|name| conflict_name(name, &label),
        };
        let before = self.tree();
        self.store().apply(nodes, &rules, cursor).unwrap();
        assert_eq!(self.tree(), before, "after {nodes:#?}");
    }

    fn apply_page(&mut self) {
        if let Some((nodes, cursor)) = self.page.take() {
            self.apply(&nodes, cursor);
        }
    }

    /// Sends all that is dirty. The daemon may end before the commit arrives, or before its answer does.
    fn push(&mut self) {
        let dirty = self.store().dirty_nodes(Ino(0), LIMIT).unwrap();
        let pushes: Vec<(DirtyNode, Revision)> =
            dirty.into_iter().map(|node| (node, Revision::random())).collect();
        let begun: Vec<_> = pushes.iter().map(|(node, revision)| (node.ino, *revision)).collect();
        self.store().begin_push(&begun).unwrap();
        let change = |(node, revision): &(DirtyNode, Revision)| NodeChange {
            id: node.id,
            base: node.base_version,
            revision: *revision,
            state: node.state.clone(),
        };
        let changes: Vec<NodeChange> = pushes.iter().map(change).collect();
        match self.random.below(6) {
            0 => {
                self.late.push(changes);
                self.restart();
            }
            1 => {
                let _answer_that_is_lost = self.server.commit(&changes);
                self.restart();
            }
            _ => match self.server.commit(&changes) {
                Ok(version) => {
                    let done = |(node, revision): (DirtyNode, Revision)| {
                        let DirtyNode { ino, change, state, .. } = node;
                        Pushed { ino, change, version, revision, state }
                    };
                    let done: Vec<Pushed> = pushes.into_iter().map(done).collect();
                    self.store().finish_push(&done, None).unwrap();
                }
                Err(current) => self.apply(&current, self.store().cursor().seq),
            },
        }
    }

    /// The daemon ends, and the next one asks before it sends anything.
    fn restart(&mut self) {
        let before = self.tree();
        self.page = None;
        // It has the directory locked.
        self.store = None;
        self.store = Some(open(self.directory));
        assert_eq!(self.tree(), before, "after the daemon has ended");
        let (nodes, cursor) = self.server.page(self.store().cursor().seq);
        self.apply(&nodes, cursor);
    }

    /// All arrives in the end, and the server has what is here.
    fn settle(&mut self) {
        self.apply_page();
        for changes in std::mem::take(&mut self.late) {
            let _the_one_who_sent_it_is_gone = self.server.commit(&changes);
        }
        while !self.store().dirty_nodes(Ino(0), 1).unwrap().is_empty() {
            self.push();
        }
        let entries = |node: &Node| node.state.as_ref().map_or(0, |state| state.entries.len());
        let there: usize = self.server.nodes.values().map(entries).sum();
        assert_eq!(there, self.tree().len());
        self.page = Some(self.server.page(self.store().cursor().seq));
        self.apply_page();
    }
}

fn make(change: &mut Change<'_>, (parent, name): (Ino, &[u8]), kind: Kind) -> Result<(), Error> {
    let new = NewNode { kind, mode: 0o644, uid: 1, gid: 1, rdev: 0, target: None, now: 1000 };
    let ino = change.insert(new)?;
    change.link(parent, name, ino)
}

#[test]
fn what_comes_late_undoes_nothing_on_the_only_device() {
    let seed = seed_of_this_run();
    println!("MIAOFS_TEST_SEED={seed}");
    let mut random = Random::new(seed);
    for _sequence in 0..sequences(SEQUENCES) {
        let directory = tempfile::tempdir().unwrap();
        let (store, server) = (Some(open(directory.path())), Server::new());
        let (page, late) = (Some(server.page(0)), Vec::new());
        let random = Random::new(random.below(u64::MAX));
        let mut world = World { directory: directory.path(), store, server, page, late, random };
        world.apply_page();
        for _step in 0..STEPS {
            world.step();
        }
        world.settle();
    }
}
