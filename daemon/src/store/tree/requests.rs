//! Requests that change something once only, by the numbers that the kernel gives them.
//!
//! When a daemon dies, the kernel sends what was not answered again to the next one. What had been committed then must not be
//! done again: a directory that was just made would exist already. So the number of such a request stands in the transaction
//! that does what it asks for, in a row of the thread that works for it, which answers it before it takes another one. The threads
//! of the next daemon have rows of their own: it may die, too, before it has answered what the one before it had done.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Number of the next thread.
static THREADS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static THREAD: u64 = THREADS.fetch_add(1, Ordering::Relaxed);
    /// The request that this thread works for.
    static CURRENT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Ends the work for a request, also when it panics.
struct Working;

impl Drop for Working {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

/// Does what a request asks for; its number stands in the transactions of this thread meanwhile.
pub(crate) fn working_for<T>(request: u64, work: impl FnOnce() -> T) -> T {
    CURRENT.set(Some(request));
    let _working = Working;
    work()
}

/// The rows of a process, one for each of its threads: behind those of the processes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestRows {
    /// Number of the first.
    pub(crate) first: u64,
}

impl RequestRows {
    /// Number of this thread's row, and the request that it works for.
    pub(super) fn current(self) -> Option<(u64, u64)> {
        CURRENT.get().map(|request| (self.first + THREAD.with(|number| *number), request))
    }
}
