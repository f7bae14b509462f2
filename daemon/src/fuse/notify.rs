//! Tells the kernel what changed on the server, so that it may cache for long.
//!
//! Another process does it ([`notifier`](super::notifier)), since the kernel takes locks for it that a request in progress may
//! hold, for as long as that waits for the network. Order does not matter: the store has changed already, and each invalidation
//! only makes the kernel ask.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use fuser::{INodeNo, Notifier};
use tokio::sync::mpsc::UnboundedReceiver;

use super::notifier::{ATTRIBUTES_ONLY, NotifierProcess, Told};
use crate::store::{Ino, Invalidation};
use crate::vfs::{ModeEffect, Vfs};

/// Nodes that are looked up at once to be forgotten.
const FORGOTTEN: usize = 1000;

/// Pause before another process is started when that failed.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

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

/// Invalidations on their way to the kernel, and the process that tells it.
#[derive(Debug)]
pub(super) struct News {
    device: OwnedFd,
    told: Told,
    vfs: Weak<Vfs>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    process: Arc<NotifierProcess>,
    /// Number of the last invalidation.
    last: u64,
    /// Invalidations that are not done.
    waiting: BTreeMap<u64, Invalidation>,
}

impl News {
    /// Begins to tell the kernel of a session what the engine says, until that is gone.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn spread(
        (device, told): (&impl AsFd, Told),
        vfs: &Arc<Vfs>,
        mut invalidations: UnboundedReceiver<Invalidation>,
    ) -> io::Result<Arc<Self>> {
        let device = device.as_fd().try_clone_to_owned()?;
        let process = Arc::new(NotifierProcess::start(device.as_fd(), &told)?);
        let state = State { process: Arc::clone(&process), last: 0, waiting: BTreeMap::new() };
        let news =
            Arc::new(Self { device, told, vfs: Arc::downgrade(vfs), state: Mutex::new(state) });
        news.follow(process)?;
        let telling = Arc::clone(&news);
        thread::Builder::new().name("notify".to_owned()).spawn(move || {
            while let Some(invalidation) = invalidations.blocking_recv() {
                telling.tell(invalidation);
            }
        })?;
        Ok(news)
    }

    /// Has the kernel drop the attributes and pages that it has of any node: the daemon before may not have told it all.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn forget_everything(self: &Arc<Self>) -> io::Result<()> {
        let news = Arc::clone(self);
        thread::Builder::new().name("notify-all".to_owned()).spawn(move || {
            let mut after = Ino(0);
            let some = |after| Some(news.vfs.upgrade()?.nodes_after(after, FORGOTTEN));
            while let Some(Ok(nodes)) = some(after) {
                let Some(last) = nodes.last() else { return };
                after = *last;
                // Most are not in the kernel's memory.
                nodes.into_iter().for_each(|ino| news.tell(Invalidation::Everything(ino)));
            }
        })?;
        Ok(())
    }

    fn tell(&self, what: Invalidation) {
        let (process, number) = {
            let mut state = self.lock();
            state.last += 1;
            let number = state.last;
            state.waiting.insert(number, what.clone());
            (Arc::clone(&state.process), number)
        };
        // If it has ended, the next one is told when that is noticed.
        let _ended = process.send(number, &what);
    }

    /// Takes in what is done by a process. When that ends, another one does the rest.
    fn follow(self: &Arc<Self>, process: Arc<NotifierProcess>) -> io::Result<()> {
        let news = Arc::downgrade(self);
        thread::Builder::new().name("notified".to_owned()).spawn(move || {
            while let Some(number) = process.next_done() {
                let Some(news) = news.upgrade() else { return };
                news.done(number);
            }
            drop(process);
            if let Some(news) = news.upgrade() {
                tracing::error!("the process that tells the kernel has ended: another one does");
                while let Err(error) = news.replace_process() {
                    tracing::error!(%error, "the kernel cannot be told what changed");
                    thread::sleep(RESTART_PAUSE);
                }
            }
        })?;
        Ok(())
    }

    fn done(&self, number: u64) {
        let done = self.lock().waiting.remove(&number);
        if let (Some(Invalidation::Content(ino)), Some(vfs)) = (done, self.vfs.upgrade()) {
            vfs.pages_were_dropped(ino);
        }
    }

    fn replace_process(self: &Arc<Self>) -> io::Result<()> {
        let process = Arc::new(NotifierProcess::start(self.device.as_fd(), &self.told)?);
        let (ended, waiting) = {
            let mut state = self.lock();
            (mem::replace(&mut state.process, Arc::clone(&process)), state.waiting.clone())
        };
        if let Some(ended) = Arc::into_inner(ended) {
            ended.reap();
        }
        self.follow(Arc::clone(&process))?;
        for (number, what) in waiting {
            let _ended = process.send(number, &what);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
