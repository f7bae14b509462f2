//! Locks that a panic of another holder does not poison: what they guard is whole after every statement.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, also one that was held in a panic.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
