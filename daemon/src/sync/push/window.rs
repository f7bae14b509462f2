//! The dirty nodes that are looked at together: read once, then kept up to date with what changes, in pages, so that
//! nobody waits long for the store.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::flush::{self, Scope};
use super::plan::{WINDOW, WindowCoverage};
use crate::store::{ChangedNodes, DirtyNode, Error, Ino, Store};

/// Dirty nodes read from the store at once, while others wait for it.
const PAGE: usize = 100;
/// Age from which a window is read anew, whatever the store says of changes: nothing that waits depends on that alone.
const AGE_MAX: Duration = Duration::from_secs(30);

/// Dirty nodes that are looked at together, as they were when the store was last asked.
#[derive(Debug)]
pub(super) struct Window {
    /// Dirty nodes by rising number.
    pub(super) nodes: Vec<DirtyNode>,
    /// Deletions in the whole store.
    pub(super) deletions: u64,
    /// Node after which it begins,
    after: Ino,
    /// and the one behind which there may be more; none when there is nothing behind the last one.
    end: Option<Ino>,
    /// When all of it was read; none when it has to be.
    read_at: Option<Instant>,
}

impl Window {
    /// A window that has to be read.
    pub(super) const fn new(after: Ino) -> Self {
        Self { nodes: Vec::new(), deletions: 0, after, end: Some(after), read_at: None }
    }

    /// Brings it to what is dirty now: to the first nodes that follow `after`.
    pub(super) fn update(&mut self, store: &Store, after: Ino) -> Result<(), Error> {
        let changed = store.changed_nodes(&self.nodes)?;
        // Until it is known what changed, nothing is known.
        let read_at =
            self.read_at.take().filter(|at| self.after == after && at.elapsed() < AGE_MAX);
        match (read_at, changed) {
            (Some(read_at), ChangedNodes::Some(changed)) => {
                self.read_again(store, changed)?;
                self.fill(store)?;
                self.read_at = Some(read_at);
            }
            _ => {
                *self = Self::new(after);
                self.fill(store)?;
                self.read_at = Some(Instant::now());
            }
        }
        self.deletions = match self.coverage() {
            WindowCoverage::All => {
                self.nodes.iter().filter(|node| node.state.is_none()).count() as u64
            }
            WindowCoverage::Part => store.deletions()?,
        };
        Ok(())
    }

    /// Has all of it read the next time.
    pub(super) const fn forget(&mut self) {
        self.read_at = None;
    }

    /// Share of what is dirty that it holds.
    pub(super) fn coverage(&self) -> WindowCoverage {
        match (self.after, self.end) {
            (Ino(0), None) => WindowCoverage::All,
            _ => WindowCoverage::Part,
        }
    }

    /// The node after which the next window begins.
    pub(super) fn end(&self) -> Ino {
        self.end.unwrap_or(Ino(0))
    }

    /// Reads those of its nodes again that may be others, or not dirty any more, and those that have become dirty.
    fn read_again(&mut self, store: &Store, changed: HashSet<Ino>) -> Result<(), Error> {
        let (after, end) = (self.after, self.end);
        let is_here = |ino: &Ino| *ino > after && end.is_none_or(|end| *ino <= end);
        self.nodes.retain(|node| !changed.contains(&node.ino));
        let mut again: Vec<Ino> = changed.into_iter().filter(is_here).collect();
        again.sort_unstable();
        for page in again.chunks(PAGE) {
            self.nodes.extend(store.dirty_among(page)?);
        }
        self.nodes.sort_unstable_by_key(|node| node.ino);
        if self.nodes.len() > WINDOW {
            self.nodes.truncate(WINDOW);
            self.end = self.nodes.last().map(|node| node.ino);
        }
        Ok(())
    }

    /// Reads on behind its end until it is full.
    fn fill(&mut self, store: &Store) -> Result<(), Error> {
        while let Some(end) = self.end
            && self.nodes.len() < WINDOW
        {
            let page = store.dirty_nodes(end, PAGE)?;
            self.end = page.last().filter(|_| page.len() == PAGE).map(|node| node.ino);
            self.nodes.extend(page);
        }
        Ok(())
    }
}

/// All dirty nodes in a scope.
pub(super) fn dirty_in(store: &Store, scope: Scope) -> Result<HashSet<Ino>, Error> {
    if scope == Scope::All {
        return store.dirty_inos();
    }
    let mut dirty = HashSet::new();
    let mut after = Ino(0);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use miaofs::protocol::files::Kind;

    use super::*;
    use crate::store::{NewNode, StoreOptions};

    /// Makes directories with these names in one transaction.
    fn make(store: &Store, names: std::ops::Range<u32>) {
        let make = |change: &mut crate::store::Change<'_>| {
            for name in names {
                let kind = Kind::Directory;
                let new =
                    NewNode { kind, mode: 0o755, uid: 0, gid: 0, rdev: 0, target: None, now: 1 };
                let ino = change.insert(new)?;
                change.link(Ino::ROOT, name.to_string().as_bytes(), ino)?;
            }
            Ok::<_, Error>(())
        };
        store.change(make).unwrap();
    }

    fn remove(store: &Store, names: std::ops::Range<u32>) {
        let remove = |change: &mut crate::store::Change<'_>| {
            for name in names {
                change.unlink(Ino::ROOT, name.to_string().as_bytes())?;
            }
            Ok::<_, Error>(())
        };
        store.change(remove).unwrap();
    }

    /// Panics unless the window, brought up to date, is what one is that has just been read.
    fn check(window: &mut Window, store: &Store, dirty: usize) {
        window.update(store, Ino(0)).unwrap();
        let mut fresh = Window::new(Ino(0));
        fresh.update(store, Ino(0)).unwrap();
        let common = window.nodes.len().min(fresh.nodes.len());
        assert_eq!(common, dirty.min(WINDOW));
        assert!(window.nodes[..common] == fresh.nodes[..common], "of {dirty} dirty nodes");
        assert!(window.nodes.len() < WINDOW + PAGE);
        let holds_all = window.nodes.len() == dirty;
        assert_eq!(window.coverage() == WindowCoverage::All, holds_all, "of {dirty} dirty nodes");
    }

    #[test]
    fn a_window_that_is_kept_is_as_one_that_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions { cache_limit: 1 << 30, free_floor: 0 };
        let store = Store::open(dir.path(), options).unwrap();
        let (window, full) = (&mut Window::new(Ino(0)), WINDOW as u32);
        make(&store, 0..full - 10);
        check(window, &store, WINDOW - 10);
        // It overflows, slides on when some of its nodes go, is whole again, and overflows again.
        make(&store, full..full + 200);
        check(window, &store, WINDOW + 190);
        remove(&store, 100..205);
        check(window, &store, WINDOW + 85);
        remove(&store, full - 100..full - 10);
        check(window, &store, WINDOW - 5);
        remove(&store, full + 50..full + 60);
        check(window, &store, WINDOW - 15);
        make(&store, full + 1000..full + 1300);
        check(window, &store, WINDOW + 285);
    }
}
