//! The count of a pool's connections, and of those who wait for one.

use std::time::Instant;

use metrics::{Counter, Gauge, Histogram};
use sqlx::Pool;

/// Connections of a pool, by what they do.
const CONNECTIONS: &str = "miaofs_database_connections";
/// Connections that a pool may have.
const MOST: &str = "miaofs_database_connections_max";
/// Who waits for a transaction to begin.
const WAITING: &str = "miaofs_database_waiting";
/// Seconds for which they have waited.
const WAITS: &str = "miaofs_database_wait_seconds";
/// Who was given none.
const FAILURES: &str = "miaofs_database_wait_failures_total";

/// The figures of one pool. A clone is the same.
#[derive(Debug, Clone)]
pub(super) struct PoolMeter {
    busy: Gauge,
    idle: Gauge,
    waiting: Gauge,
    waits: Histogram,
    failures: Counter,
}

impl PoolMeter {
    /// The figures of a pool with this name, of so many connections.
    pub(super) fn new(pool: &'static str, most: u32) -> Self {
        metrics::describe_gauge!(CONNECTIONS, "Open connections of a pool to the database");
        metrics::describe_gauge!(MOST, "Connections that a pool may have");
        metrics::describe_gauge!(WAITING, "Transactions that wait to begin");
        metrics::describe_histogram!(WAITS, "Seconds for which a transaction waited to begin");
        metrics::describe_counter!(FAILURES, "Transactions that could not begin");
        metrics::gauge!(MOST, "pool" => pool).set(most);
        let connections =
            |state: &'static str| metrics::gauge!(CONNECTIONS, "pool" => pool, "state" => state);
        let meter = Self {
            busy: connections("busy"),
            idle: connections("idle"),
            waiting: metrics::gauge!(WAITING, "pool" => pool),
            waits: metrics::histogram!(WAITS, "pool" => pool),
            failures: metrics::counter!(FAILURES, "pool" => pool),
        };
        meter.waiting.set(0.0);
        meter.failures.increment(0);
        meter
    }

    /// Lets a transaction begin, and measures how long that takes.
    ///
    /// # Errors
    /// Those of the beginning.
    pub(super) async fn time<T, E>(
        &self,
        begin: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let waiting = Waiting::begin(&self.waiting);
        let began = Instant::now();
        let begun = begin.await;
        drop(waiting);
        self.waits.record(began.elapsed());
        if begun.is_err() {
            self.failures.increment(1);
        }
        begun
    }

    /// Tells how many connections there are now.
    pub(super) fn tell<D: sqlx::Database>(&self, pool: &Pool<D>) {
        let (open, idle) = (pool.size() as usize, pool.num_idle());
        self.idle.set(idle as f64);
        // Counted one after the other, so there may be one more idle than there are.
        self.busy.set(open.saturating_sub(idle) as f64);
    }
}

/// Somebody who waits, until dropped: who is given up waits no more.
struct Waiting<'a>(&'a Gauge);

impl<'a> Waiting<'a> {
    fn begin(gauge: &'a Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
