//! Reads from the store what is dirty: a window of nodes at a time, in pages, so that nobody waits long for the store.

use std::collections::HashSet;

use super::flush::{self, Scope};
use super::plan::{WINDOW, WindowCoverage};
use crate::store::{DirtyNode, Error, Ino, Store};

/// Dirty nodes read from the store at once, while others wait for it.
const PAGE: usize = 100;

/// Dirty nodes that are looked at together.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) nodes: Vec<DirtyNode>,
    pub(super) coverage: WindowCoverage,
    /// Deletions in the whole store.
    pub(super) deletions: u64,
}

impl Window {
    /// Reads the dirty nodes that follow `after`.
    pub(super) fn read(store: &Store, after: Ino) -> Result<Self, Error> {
        let nodes = dirty_from(store, after)?;
        let is_all = after == Ino(0) && nodes.len() < WINDOW;
        let (coverage, deletions) = match is_all {
            true => (WindowCoverage::All, deletions_in(&nodes)),
            false => (WindowCoverage::Part, store.deletions()?),
        };
        Ok(Self { nodes, coverage, deletions })
    }

    /// The node after which the next window begins.
    pub(super) fn end(&self) -> Ino {
        match (self.coverage, self.nodes.last()) {
            (WindowCoverage::Part, Some(last)) if self.nodes.len() == WINDOW => last.ino,
            _ => Ino(0),
        }
    }
}

/// All dirty nodes in a scope.
pub(super) fn dirty_in(store: &Store, scope: Scope) -> Result<HashSet<Ino>, Error> {
    let mut dirty = HashSet::new();
    let mut after = Ino(0);
    if scope == Scope::All {
        return store.dirty_inos();
    }
    loop {
        let nodes = store.dirty_nodes(after, PAGE)?;
        let Some(last) = nodes.last() else { return Ok(dirty) };
        after = last.ino;
        store.view::<_, Error>(|view| {
            for node in &nodes {
                if flush::contains(scope, node, view)? {
                    dirty.insert(node.ino);
                }
            }
            Ok(())
        })?;
    }
}

fn dirty_from(store: &Store, after: Ino) -> Result<Vec<DirtyNode>, Error> {
    let mut nodes: Vec<DirtyNode> = Vec::new();
    while nodes.len() < WINDOW {
        let last = nodes.last().map_or(after, |node| node.ino);
        let page = store.dirty_nodes(last, PAGE)?;
        let is_last = page.len() < PAGE;
        nodes.extend(page);
        if is_last {
            break;
        }
    }
    Ok(nodes)
}

fn deletions_in(nodes: &[DirtyNode]) -> u64 {
    nodes.iter().filter(|node| node.state.is_none()).count() as u64
}
