//! Local contents that are what the server has, too: found before its nodes are applied, so that equal is no conflict.
//!
//! Who copied the same tree in on two devices has the same files twice, and nobody knows before they are hashed. Only those are
//! hashed that stand where the server has a file of the same size; they would be for their upload anyway.

use std::collections::HashMap;
use std::sync::Arc;

use miaofs::protocol::files::{self, ContentRef, Kind};
use miaofs::protocol::ids::NodeId;

use crate::store::{Error, Ino, Store, View};
use crate::sync::hash::hash;

/// Nodes that are looked for at once, while others wait for the tree.
const LOOKUPS: usize = 64;

/// Tells the store which of its dirty contents the server has, as far as nodes of the server say so.
pub(super) fn find_equal(store: &Arc<Store>, nodes: &[files::Node]) -> Result<(), Error> {
    if store.dirty_nodes(Ino(0), 1)?.is_empty() {
        return Ok(());
    }
    for (ino, content) in candidates(store, nodes)? {
        if is_dirty(store, ino, content)?
            && let Ok(snapshot) = store.snapshot(ino)
            && let Ok(hashed) = hash(store, snapshot)
            && hashed.manifest.digest() == content.digest
        {
            match store.mark_uploaded(&hashed.snapshot, Arc::clone(&hashed.manifest)) {
                Ok(()) | Err(Error::NoNode(_) | Error::Replaced(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// True if a node has a content of this size that the server is not known to have.
fn is_dirty(store: &Store, ino: Ino, content: ContentRef) -> Result<bool, Error> {
    let local = store.dirty_node(ino)?;
    Ok(local.is_some_and(|local| local.content_dirty && local.size == content.size))
}

/// The local files at the ids and names of the server's files, each with the content there.
fn candidates(store: &Store, nodes: &[files::Node]) -> Result<Vec<(Ino, ContentRef)>, Error> {
    let batch = nodes.iter().map(|node| (node.id, node)).collect();
    let mut search = Search { batch, found: HashMap::new() };
    let mut candidates = Vec::new();
    for some in nodes.chunks(LOOKUPS) {
        store.view::<_, Error>(|view| {
            for node in some {
                let state = node.state.as_ref().filter(|state| state.kind == Kind::File);
                if let Some(content) = state.and_then(|state| state.content)
                    && let Some(ino) = search.local(view, node.id)?
                {
                    candidates.push((ino, content));
                }
            }
            Ok(())
        })?;
    }
    Ok(candidates)
}

/// Finds what is here of nodes that the store may know by their names only.
struct Search<'n> {
    batch: HashMap<NodeId, &'n files::Node>,
    found: HashMap<NodeId, Option<Ino>>,
}

impl Search<'_> {
    fn local(&mut self, view: &mut View<'_>, id: NodeId) -> Result<Option<Ino>, Error> {
        // From the node up to a directory that is known, then down again by the names.
        let mut way = Vec::new();
        let mut at = id;
        let mut here = loop {
            if let Some(found) = self.found.get(&at) {
                break *found;
            }
            if let Some(known) = view.by_id(at)? {
                break Some(known);
            }
            // Asked for again before it is found, it is in a cycle.
            self.found.insert(at, None);
            let state = self.batch.get(&at).and_then(|node| node.state.as_ref());
            let Some(entry) = state.and_then(|state| state.entries.first()) else { break None };
            way.push((at, entry.name.clone()));
            at = entry.parent;
        };
        while let Some((id, name)) = way.pop() {
            if let Some(directory) = here {
                here = view.entry(directory, name.as_bytes())?;
            }
            self.found.insert(id, here);
        }
        Ok(here)
    }
}
