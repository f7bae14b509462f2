//! Tells the kernel what changed on the server, so that it may cache for long.
//!
//! Never done by a thread that answers requests: the kernel takes locks for it that a request in
//! progress may hold. Invalidating a file waits for reads of it that are in progress, and these may
//! wait for the network; so there are several threads, and one that waits does not hold up the rest.
//! Order does not matter: the store has changed already, and each invalidation only makes the kernel ask.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use fuser::{INodeNo, Notifier};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::store::{Ino, Invalidation};
use crate::vfs::{ModeEffect, Vfs};

/// Threads that invalidate: so many reads may wait for the network before an invalidation has to wait.
const THREADS: usize = 4;

/// Nodes that are looked up at once to be forgotten.
const FORGOTTEN: usize = 1000;

/// A negative offset leaves the pages alone and invalidates attributes only.
const ATTRIBUTES_ONLY: i64 = -1;

/// The kernel, once it has mounted us: for what a request changes without the kernel expecting it.
#[derive(Debug, Clone, Default)]
pub(super) struct Kernel(Arc<OnceLock<Notifier>>);

impl Kernel {
    pub(super) fn mounted(&self, notifier: &Notifier) {
        // Mounting happens once, so nothing else can have been set.
        let _already = self.0.set(notifier.clone());
    }

    /// Makes the kernel ask for a node's attributes again. It takes no lock for that which a request may
    /// hold, so a request may do it before it answers.
    fn forget_attributes(&self, node: INodeNo) {
        let sent = self.0.get().map(|notifier| notifier.inval_inode(node, ATTRIBUTES_ONLY, 0));
        if let Some(Err(error)) = sent {
            tracing::debug!(%error, %node, "the kernel refused an invalidation");
        }
    }

    /// Has the kernel ask again for a mode that a change of content changed.
    pub(super) fn invalidate_mode(&self, node: INodeNo, effect: ModeEffect) {
        match effect {
            ModeEffect::Unchanged => {}
            ModeEffect::Changed => self.forget_attributes(node),
        }
    }
}

/// Starts the threads; they end when the engine that sends the invalidations is gone.
pub(super) fn spawn(
    notifier: &Notifier,
    vfs: &Arc<Vfs>,
    invalidations: UnboundedReceiver<Invalidation>,
) -> io::Result<()> {
    let invalidations = Arc::new(Mutex::new(invalidations));
    for number in 0..THREADS {
        let (notifier, invalidations) = (notifier.clone(), Arc::clone(&invalidations));
        let vfs = Arc::downgrade(vfs);
        thread::Builder::new().name(format!("notify-{number}")).spawn(move || {
            while let Some(invalidation) = next(&invalidations) {
                send(&notifier, &invalidation);
                if let (Invalidation::Content(ino), Some(vfs)) = (&invalidation, vfs.upgrade()) {
                    vfs.pages_were_dropped(*ino);
                }
            }
        })?;
    }
    Ok(())
}

/// Has the kernel drop the attributes and pages that it has of any node: the daemon before may not have told it all.
pub(super) fn forget_everything(notifier: &Notifier, vfs: &Arc<Vfs>) -> io::Result<()> {
    let (notifier, vfs) = (notifier.clone(), Arc::downgrade(vfs));
    thread::Builder::new().name("notify-all".to_owned()).spawn(move || {
        let mut after = Ino(0);
        while let Some(Ok(nodes)) = vfs.upgrade().map(|vfs| vfs.nodes_after(after, FORGOTTEN)) {
            let Some(last) = nodes.last() else { return };
            after = *last;
            for node in nodes {
                // Most are not in the kernel's memory.
                let _unknown = notifier.inval_inode(INodeNo(node.0), 0, 0);
            }
        }
    })?;
    Ok(())
}

fn next(invalidations: &Mutex<UnboundedReceiver<Invalidation>>) -> Option<Invalidation> {
    invalidations.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv()
}

fn send(notifier: &Notifier, invalidation: &Invalidation) {
    if let Err(error) = invalidate(notifier, invalidation) {
        // The session is over, or the kernel knows no such directory: nothing is cached then.
        tracing::debug!(%error, ?invalidation, "the kernel refused an invalidation");
    }
}

fn invalidate(notifier: &Notifier, invalidation: &Invalidation) -> io::Result<()> {
    match invalidation {
        Invalidation::Attributes(ino) => notifier.inval_inode(INodeNo(ino.0), ATTRIBUTES_ONLY, 0),
        Invalidation::Content(ino) => notifier.inval_inode(INodeNo(ino.0), 0, 0),
        Invalidation::Entry { parent, name } => {
            notifier.inval_entry(INodeNo(parent.0), OsStr::from_bytes(name))?;
            forget_listing(notifier, parent.0)
        }
        Invalidation::Deleted { parent, child, name } => {
            let (parent_no, child_no) = (INodeNo(parent.0), INodeNo(child.0));
            let deleted = notifier.delete(parent_no, child_no, OsStr::from_bytes(name));
            forget_listing(notifier, parent.0)?;
            notifier.inval_inode(child_no, ATTRIBUTES_ONLY, 0)?;
            // A directory that the kernel holds children of cannot be deleted under it; forget its name then.
            deleted.or_else(|_refused| notifier.inval_entry(parent_no, OsStr::from_bytes(name)))
        }
    }
}

/// A directory's cached listing is its pages; invalidating an entry that the kernel has not cached
/// would leave them.
fn forget_listing(notifier: &Notifier, directory: u64) -> io::Result<()> {
    notifier.inval_inode(INodeNo(directory), 0, 0)
}
