//! What the engine knows of dirty nodes when it reads again only what the store says has changed.

use std::collections::BTreeMap;

use super::super::{ChangedNodes, DirtyNode, Ino, Store};

/// Nodes that are read at once.
const PAGE: usize = 100;

/// Dirty nodes, kept up to date by what changes.
#[derive(Default)]
pub(crate) struct Mirror {
    nodes: BTreeMap<Ino, DirtyNode>,
}

impl Mirror {
    /// Takes in what changed. Panics unless it is then what the store says of all.
    pub(crate) fn check(&mut self, store: &Store) {
        let known: Vec<DirtyNode> = self.nodes.values().cloned().collect();
        match store.changed_nodes(&known).unwrap() {
            ChangedNodes::All => self.nodes = all(store),
            ChangedNodes::Some(changed) => {
                self.nodes.retain(|ino, _| !changed.contains(ino));
                let again: Vec<Ino> = changed.into_iter().collect();
                let read = store.dirty_among(&again).unwrap();
                self.nodes.extend(read.into_iter().map(|node| (node.ino, node)));
            }
        }
        assert_eq!(self.nodes, all(store), "what is known of dirty nodes, and what is so");
    }
}

fn all(store: &Store) -> BTreeMap<Ino, DirtyNode> {
    let mut nodes = BTreeMap::new();
    loop {
        let after = nodes.last_key_value().map_or(Ino(0), |(ino, _)| *ino);
        let page = store.dirty_nodes(after, PAGE).unwrap();
        if page.is_empty() {
            return nodes;
        }
        nodes.extend(page.into_iter().map(|node| (node.ino, node)));
    }
}
