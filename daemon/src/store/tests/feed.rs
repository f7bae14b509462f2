//! Random histories of a drive on the server, followed in pages; the seed is printed, and `MIAOFS_TEST_SEED` repeats a run.

use std::collections::BTreeMap;

use miaofs::content::Digest;
use miaofs::protocol::files::{self, ContentRef, Entry, NodeState};
use miaofs::protocol::ids::NodeId;
use miaofs::protocol::name::Name;

use super::pull::{NEVER, ino_of, node, state};
use super::random::{Random, seeded};
use super::*;

/// A drive on a server that is changed by somebody else.
struct Remote {
    nodes: BTreeMap<NodeId, files::Node>,
    seq: u64,
}

impl Remote {
    fn new() -> Self {
        let root = node(NodeId::ROOT, 1, Some(state(Kind::Directory, &[])));
        Self { nodes: BTreeMap::from([(NodeId::ROOT, root)]), seq: 1 }
    }

    fn live(&self) -> impl Iterator<Item = (NodeId, &NodeState)> {
        self.nodes.values().filter_map(|node| Some((node.id, node.state.as_ref()?)))
    }

    fn ids(&self, kind: Kind) -> Vec<NodeId> {
        self.live().filter(|(_, state)| state.kind == kind).map(|(id, _)| id).collect()
    }

    fn put(&mut self, id: NodeId, state: Option<NodeState>) {
        self.nodes.insert(id, node(id, self.seq, state));
    }

    fn is_inside(&self, mut id: NodeId, directory: NodeId) -> bool {
        loop {
            if id == directory {
                return true;
            }
            match self.nodes[&id].state.as_ref().and_then(|state| state.entries.first()) {
                Some(entry) => id = entry.parent,
                None => return false,
            }
        }
    }

    fn taken(&self, entry: &Entry) -> Option<NodeId> {
        self.live().find(|(_, state)| state.entries.contains(entry)).map(|(id, _)| id)
    }

    /// One commit: a node is made, moved (also onto another's name, which goes or swaps), linked,
    /// changed or deleted.
    fn commit(&mut self, random: &mut Random) {
        self.seq += 1;
        let directory = random.pick(&self.ids(Kind::Directory));
        let name = format!("{}", random.below(6));
        let entry = Entry { parent: directory, name: Name::new(name.as_str()).unwrap() };
        let everything: Vec<NodeId> =
            self.nodes.values().filter(|node| node.state.is_some()).map(|node| node.id).collect();
        let id = random.pick(&everything);
        let mut state_now = self.nodes[&id].state.clone().unwrap();
        match random.below(7) {
            0 | 1 if self.taken(&entry).is_none() => {
                let kind = if random.below(2) == 0 { Kind::Directory } else { Kind::File };
                let mut new = state(kind, &[]);
                new.entries.push(entry);
                self.put(NodeId::random(), Some(new));
            }
            2 | 3 if id != NodeId::ROOT && !self.is_inside(directory, id) => {
                let old = std::mem::replace(&mut state_now.entries, vec![entry.clone()]);
                if let Some(other) = self.taken(&entry).filter(|other| *other != id) {
                    self.displace(other, &entry, &old[0], id);
                }
                self.put(id, Some(state_now));
            }
            4 if state_now.kind == Kind::File && self.taken(&entry).is_none() => {
                state_now.entries.push(entry);
                self.put(id, Some(state_now));
            }
            5 => {
                state_now.mode = 0o600 + random.below(0o100) as u32;
                if state_now.kind == Kind::File {
                    let digest = Digest::of(&random.below(10).to_le_bytes());
                    state_now.content = Some(ContentRef { digest, size: 8 });
                }
                self.put(id, Some(state_now));
            }
            6 if id != NodeId::ROOT && self.is_empty(id) => self.put(id, None),
            _ => {}
        }
    }

    fn is_empty(&self, id: NodeId) -> bool {
        !self.live().any(|(_, state)| state.entries.iter().any(|entry| entry.parent == id))
    }

    /// The node that had a name takes the mover's old one, or loses this name, or is deleted.
    fn displace(&mut self, other: NodeId, lost: &Entry, old: &Entry, mover: NodeId) {
        let mut state = self.nodes[&other].state.clone().unwrap();
        state.entries.retain(|entry| entry != lost);
        let free = self.taken(old) == Some(mover) && !self.is_inside(old.parent, other);
        if state.entries.is_empty() && (free || !self.is_empty(other)) {
            let free_name = Name::new(format!("moved {}", self.seq)).unwrap();
            let parent = NodeId::ROOT;
            let fallback = Entry { parent, name: free_name };
            state.entries.push(if free { old.clone() } else { fallback });
        }
        let gone = state.entries.is_empty();
        self.put(other, (!gone).then_some(state));
    }

    /// A page of the feed.
    fn page(&self, since: u64, limit: usize) -> (Vec<files::Node>, u64) {
        let mut nodes: Vec<files::Node> =
            self.nodes.values().filter(|node| node.version > since).cloned().collect();
        nodes.sort_by_key(|node| node.version);
        if let Some(last) = nodes.get(limit.saturating_sub(1)).map(|node| node.version) {
            nodes.retain(|node| node.version <= last);
            return (nodes, last);
        }
        (nodes, self.seq)
    }

    fn check(&self, store: &Store) {
        let mut count = 0;
        for (id, expected) in self.live() {
            let ino = store.view(|view| view.by_id(id)).unwrap().expect("a node of the server");
            let found = {
                let mut tree = store.tree();
                let record = tree.record(ino).unwrap().clone();
                assert_eq!(record.links as usize, expected.entries.len());
                tree.state_of(&record, None).unwrap()
            };
            let sorted = |state: &NodeState| {
                let mut state = state.clone();
                state.entries.sort();
                (state.entries, state.content, state.mode)
            };
            if id != NodeId::ROOT {
                assert_eq!(sorted(&found), sorted(expected));
            }
            let children = store.view(|view| view.children(ino, 0, 1000)).unwrap();
            let directories = children.iter().filter(|child| child.kind == Kind::Directory);
            let subdirectories = store.view(|view| view.subdirectories(ino)).unwrap();
            assert_eq!(directories.count(), subdirectories as usize);
            count += children.len();
        }
        let entries: usize = self.live().map(|(_, state)| state.entries.len()).sum();
        assert_eq!(count, entries, "nothing but the server's entries");
        assert!(store.dirty_nodes(Ino(0), 10).unwrap().is_empty());
    }
}

#[test]
fn after_the_last_page_the_store_is_the_tree_of_the_server() {
    let mut random = seeded("feed");
    for _history in 0..12 {
        let mut remote = Remote::new();
        let mut dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        for _round in 0..8 {
            for _commit in 0..random.below(60) {
                remote.commit(&mut random);
                if random.below(10) == 0 {
                    follow(&store, &mut remote, &mut random);
                }
            }
            while store.cursor().seq < remote.seq {
                follow(&store, &mut remote, &mut random);
                if random.below(20) == 0 {
                    (dir, store) = crashed(dir.path());
                }
            }
            remote.check(&store);
        }
    }
}

/// Reads some pages of the feed, between which the drive may change, and applies them as one batch. The answer to a commit has
/// told meanwhile what was deleted since.
fn follow(store: &Store, remote: &mut Remote, random: &mut Random) {
    let limit = 1 + random.below(20) as usize;
    let (mut nodes, mut cursor) = remote.page(store.cursor().seq, limit);
    while random.below(3) > 0 {
        if random.below(2) == 0 {
            remote.commit(random);
        }
        let (more, end) = remote.page(cursor, limit);
        nodes.extend(more);
        cursor = end;
    }
    for _commit in 0..random.below(3) {
        remote.commit(random);
    }
    let now = nodes.iter().map(|node| remote.nodes[&node.id].clone());
    let deleted: Vec<files::Node> = now.filter(|node| node.state.is_none()).collect();
    store.apply(&deleted, &NEVER, store.cursor()).unwrap();
    store.apply(&nodes, &NEVER, cursor).unwrap();
    for node in deleted {
        let left = ino_of(store, node.id);
        let links = left.map_or(0, |ino| store.tree().record(ino).unwrap().links);
        assert_eq!(links, 0, "it came back");
    }
}
