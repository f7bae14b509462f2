//! Stops when very much is deleted at once, until a person says that it is meant: pure.
//!
//! A script that ran in the wrong directory must not empty the server before anybody notices. What
//! counts is what waits to be deleted together with what was deleted lately, so that many small
//! steps add up as one large one does.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// For how long deletions count together.
const LATELY: Duration = Duration::from_secs(600);

/// Decides whether deletions may be pushed.
#[derive(Debug)]
pub(super) struct DeletionGuard {
    limit: u64,
    lately: VecDeque<(Instant, u64)>,
    allowed: bool,
}

impl DeletionGuard {
    /// Stops beyond `limit` deletions that are also more than half of the drive.
    pub(super) const fn new(limit: u64) -> Self {
        Self { limit, lately: VecDeque::new(), allowed: false }
    }

    /// True if `waiting` deletions may go, from a drive that has `nodes` nodes now.
    pub(super) fn may_delete(&mut self, waiting: u64, nodes: u64, now: Instant) -> bool {
        while self.lately.front().is_some_and(|(at, _)| now.duration_since(*at) > LATELY) {
            self.lately.pop_front();
        }
        let gone: u64 = self.lately.iter().map(|(_, count)| count).sum();
        let many = waiting + gone > self.limit && (waiting + gone) * 2 > nodes + gone;
        if waiting == 0 {
            self.allowed = false;
        }
        self.allowed || !many
    }

    /// A person allows what waits now.
    pub(super) fn allow(&mut self) {
        self.allowed = true;
    }

    /// The server deleted `count` nodes for us.
    pub(super) fn deleted(&mut self, count: u64, now: Instant) {
        if count > 0 && !self.allowed {
            self.lately.push_back((now, count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emptying_a_drive_waits_for_a_word_whether_at_once_or_in_steps() {
        let now = Instant::now();
        let mut guard = DeletionGuard::new(1000);
        assert!(guard.may_delete(1000, 1001, now), "few");
        assert!(guard.may_delete(5000, 100_000, now), "a small part");
        assert!(!guard.may_delete(5000, 6000, now));
        guard.allow();
        assert!(guard.may_delete(5000, 6000, now));
        assert!(guard.may_delete(0, 1000, now));
        assert!(!guard.may_delete(1001, 1001, now), "allowed once");

        let mut guard = DeletionGuard::new(1000);
        assert!(guard.may_delete(900, 2000, now));
        guard.deleted(900, now);
        assert!(!guard.may_delete(900, 1100, now));
        assert!(guard.may_delete(900, 1100, now + 2 * LATELY));
    }
}
