//! How long operations wait for the tree's lock, as others hold it: a wait that a program feels is a fault.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LockResult, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

/// A wait that is too long.
pub(crate) const LONG: Duration = Duration::from_millis(50);

/// Counts the waits for one lock.
#[derive(Debug, Default)]
pub(super) struct LockMeter {
    locked: AtomicU64,
    long: AtomicU64,
    /// In microseconds.
    longest: AtomicU64,
}

/// Waits for the tree's lock since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LockWaitCounts {
    /// Times that it was locked.
    pub locked: u64,
    /// Waits that took longer than [`LONG`].
    pub long: u64,
    /// The longest.
    pub longest: Duration,
}

impl LockMeter {
    /// Locks, and counts how long that took.
    pub(super) fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> LockResult<MutexGuard<'a, T>> {
        self.locked.fetch_add(1, Ordering::Relaxed);
        match mutex.try_lock() {
            Ok(guard) => Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => Err(poisoned),
            Err(TryLockError::WouldBlock) => {
                let began = Instant::now();
                let locked = mutex.lock();
                self.note(began.elapsed());
                locked
            }
        }
    }

    fn note(&self, wait: Duration) {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        self.longest.fetch_max(micros, Ordering::Relaxed);
        if wait > LONG {
            self.long.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counters now.
    pub(super) fn counts(&self) -> LockWaitCounts {
        LockWaitCounts {
            locked: self.locked.load(Ordering::Relaxed),
            long: self.long.load(Ordering::Relaxed),
            longest: Duration::from_micros(self.longest.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn waits_are_counted_and_the_longest_is_known() {
        let (waits, mutex) = (LockMeter::default(), Mutex::new(()));
        drop(waits.lock(&mutex).unwrap());
        assert_eq!(waits.counts().longest, Duration::ZERO);
        thread::scope(|scope| {
            let held = mutex.lock().unwrap();
            let waiting = scope.spawn(|| drop(waits.lock(&mutex).unwrap()));
            while waits.counts().locked < 2 {
                thread::yield_now();
            }
            thread::sleep(2 * LONG);
            drop(held);
            waiting.join().unwrap();
        });
        let LockWaitCounts { locked, long, longest } = waits.counts();
        assert_eq!((locked, long), (2, 1));
        assert!(longest > LONG, "{longest:?}");
    }
}
