//! Tells from misses of small files who goes through a directory file by file: pure.
//!
//! A few small files of one directory that were missing within a short time are a pattern, and so is
//! the first one of another directory right after. Then the next files are worth fetching.

use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use crate::store::Ino;

/// Misses of one directory that make a pattern.
const PATTERN: u32 = 3;
/// Time for which a miss is remembered.
const MEMORY: Duration = Duration::from_secs(5);
/// Directories whose misses are remembered.
const DIRECTORIES: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not zero");

/// Decision about a miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nobody goes through the directory, or its next files are on their way.
    Wait,
    /// The next files of the directory are to be fetched.
    Prefetch,
}

/// Misses of one directory.
#[derive(Debug, Clone, Copy)]
enum Misses {
    /// So many, the last one then.
    Counted(u32, Instant),
    /// They made a batch begin, which is under way.
    Prefetching,
}

/// Directories that are being read file by file.
#[derive(Debug)]
pub(super) struct AccessPattern {
    directories: LruCache<Ino, Misses>,
    /// When a batch was last begun or ended.
    last_batch: Option<Instant>,
}

impl AccessPattern {
    pub(super) fn new() -> Self {
        Self { directories: LruCache::new(DIRECTORIES), last_batch: None }
    }

    /// A small file of this directory had to be fetched for a reader.
    pub(super) fn missed(&mut self, directory: Ino, now: Instant) -> Decision {
        let fresh = |then: Instant| now.saturating_duration_since(then) <= MEMORY;
        let count = match self.directories.get(&directory) {
            Some(Misses::Prefetching) => return Decision::Wait,
            Some(Misses::Counted(count, last)) if fresh(*last) => count + 1,
            _ => 1,
        };
        if count < PATTERN && !self.last_batch.is_some_and(fresh) {
            self.directories.put(directory, Misses::Counted(count, now));
            return Decision::Wait;
        }
        self.last_batch = Some(now);
        self.directories.put(directory, Misses::Prefetching);
        Decision::Prefetch
    }

    /// The batch that a decision began is here, or failed.
    pub(super) fn ended(&mut self, directory: Ino, now: Instant) {
        self.last_batch = Some(now);
        self.directories.put(directory, Misses::Counted(0, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Ino = Ino(7);
    const THERE: Ino = Ino(8);

    #[test]
    fn a_few_files_of_one_directory_are_a_habit_and_one_is_none() {
        let (mut pattern, now) = (AccessPattern::new(), Instant::now());
        assert_eq!(pattern.missed(HERE, now), Decision::Wait);
        assert_eq!(pattern.missed(THERE, now), Decision::Wait);
        assert_eq!(pattern.missed(HERE, now), Decision::Wait);
        assert_eq!(pattern.missed(HERE, now), Decision::Prefetch);
    }

    #[test]
    fn files_that_are_read_now_and_then_are_no_habit() {
        let (mut pattern, mut now) = (AccessPattern::new(), Instant::now());
        for _ in 0..10 {
            assert_eq!(pattern.missed(HERE, now), Decision::Wait);
            now += MEMORY + Duration::from_millis(1);
        }
    }

    #[test]
    fn a_directory_has_one_batch_under_way_and_the_next_miss_begins_another() {
        let (mut pattern, now) = (AccessPattern::new(), Instant::now());
        let decisions =
            [pattern.missed(HERE, now), pattern.missed(HERE, now), pattern.missed(HERE, now)];
        assert_eq!(decisions[2], Decision::Prefetch);
        assert_eq!(pattern.missed(HERE, now), Decision::Wait);
        pattern.ended(HERE, now);
        assert_eq!(pattern.missed(HERE, now), Decision::Prefetch);
    }

    #[test]
    fn who_goes_through_a_tree_needs_no_new_habit_in_each_directory() {
        let (mut pattern, now) = (AccessPattern::new(), Instant::now());
        for _ in 0..PATTERN {
            pattern.missed(HERE, now);
        }
        pattern.ended(HERE, now);
        assert_eq!(pattern.missed(THERE, now + Duration::from_secs(1)), Decision::Prefetch);
        pattern.ended(THERE, now);
        assert_eq!(pattern.missed(Ino(9), now + Duration::from_secs(60)), Decision::Wait);
    }
}
