//! How much of a migration may begin by now, when `--bwlimit` limits it.

use std::time::Duration;

/// Bytes that are earned as time passes, and spent when something begins.
#[derive(Debug)]
pub(super) struct Allowance {
    /// Bytes that are earned in a second; any number without a limit.
    a_second: f64,
    /// Bytes that may begin; what was too large for it is owed.
    bytes: f64,
}

impl Allowance {
    /// With what lets the first thing begin.
    pub(super) fn new(a_second: Option<u64>) -> Self {
        Self { a_second: a_second.map_or(f64::INFINITY, |bytes| bytes as f64), bytes: 1.0 }
    }

    /// Earns what the time that passed is worth. Time in which nothing had to begin is not saved up.
    pub(super) fn earn(&mut self, passed: Duration) {
        let passed = passed.as_secs_f64().max(f64::MIN_POSITIVE);
        self.bytes = (self.bytes + self.a_second * passed).min(self.a_second);
    }

    /// Bytes that may begin now; `None` when something is owed.
    pub(super) fn left(&self) -> Option<u64> {
        (self.bytes > 0.0).then_some(self.bytes as u64)
    }

    /// So much has begun.
    pub(super) fn spend(&mut self, bytes: u64) {
        self.bytes -= bytes as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const LOOK: Duration = Duration::from_millis(200);

    /// Bytes that begin in so many seconds when all blobs have this size, fed as a migration is.
    fn begun(limit: u64, size: u64, seconds: u32) -> u64 {
        let (mut allowance, mut begun) = (Allowance::new(Some(limit)), 0);
        for _look in 0..seconds * 5 {
            allowance.earn(LOOK);
            while let Some(bytes) = allowance.left() {
                let fed = size * bytes.max(1).div_ceil(size);
                allowance.spend(fed);
                begun += fed;
            }
        }
        begun
    }

    #[test]
    fn over_time_as_much_begins_as_the_limit_says() {
        for (limit, size) in [
            (10 * MIB, 1000),
            (10 * MIB, MIB),
            (MIB, 64 * MIB),
            (1000, 1),
            (100 * MIB, 8 * MIB + 1),
        ] {
            let due = 600 * limit;
            // What begins is whole, and may be owed for.
            let least = due.saturating_sub(size).saturating_sub(limit);
            let seen = begun(limit, size, 600);
            assert!((least..=due + size + 1).contains(&seen), "{seen} of {due}, blobs of {size}");
        }
    }

    #[test]
    fn idle_time_is_worth_a_second_at_the_most_and_no_limit_is_none() {
        let mut allowance = Allowance::new(Some(MIB));
        allowance.earn(Duration::from_secs(3600));
        assert_eq!(allowance.left(), Some(MIB));
        allowance.spend(3 * MIB);
        allowance.earn(Duration::from_millis(1900));
        assert_eq!(allowance.left(), None, "what was too large is owed");
        allowance.earn(Duration::from_millis(200));
        assert!(allowance.left().is_some());
        let mut free = Allowance::new(None);
        free.earn(Duration::ZERO);
        free.spend(1 << 50);
        assert_eq!(free.left(), Some(u64::MAX));
    }
}
