//! Health of the stores: one that failed a moment ago is read last, and that is logged once.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::StoreName;
use crate::backend::Error;

/// Time for which a store that failed is read last.
const SUSPECT_FOR: Duration = Duration::from_secs(10);

/// Health of one store, as its reads show it.
#[derive(Debug, Default)]
pub(super) struct Health {
    failed_at: Mutex<Option<Instant>>,
}

impl Health {
    /// A read failed, for this reason. It is logged when the one before went well.
    pub(super) fn record_failure(&self, store: StoreName, error: &Error) {
        metrics::counter!("miaofs_store_read_failures_total", "store" => store.as_str())
            .increment(1);
        if self.set(Some(Instant::now())).is_none() {
            tracing::warn!(%store, %error, "a read failed; other copies are read first for a while");
        }
    }

    /// A read went well.
    pub(super) fn record_success(&self, store: StoreName) {
        if self.set(None).is_some() {
            tracing::info!(%store, "reads work again");
        }
    }

    /// True if a read failed lately and none has succeeded since.
    pub(super) fn is_suspect(&self) -> bool {
        self.lock().is_some_and(|failed_at| failed_at.elapsed() < SUSPECT_FOR)
    }

    fn set(&self, failed_at: Option<Instant>) -> Option<Instant> {
        std::mem::replace(&mut *self.lock(), failed_at)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.failed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_suspect_from_a_failure_until_a_read_goes_well() {
        let health = Health::default();
        assert!(!health.is_suspect());
        health.record_failure(StoreName::Ceph, &Error::Stopping);
        assert!(health.is_suspect());
        health.record_success(StoreName::Ceph);
        assert!(!health.is_suspect());
    }
}
