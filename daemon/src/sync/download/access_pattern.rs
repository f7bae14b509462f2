//! Tells from misses of small files who goes through a directory file by file: pure.
//!
//! A few small files of one directory that were missing within a short time are a pattern, and so is
//! the first one of another directory right after. Then the next files are worth fetching; and those
//! after them, once half of a batch has been used.

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

/// Files fetched ahead whose use is waited for.
const UPCOMING: NonZeroUsize = NonZeroUsize::new(2048).expect("2048 is not zero");

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

/// A batch of files of one directory, the last one that was begun there.
#[derive(Debug, Clone, Copy)]
struct Batch {
    /// File at its end.
    last: Ino,
    /// Files that are still to be used before the next batch is due.
    left: usize,
}

/// One directory that is being read.
#[derive(Debug, Clone, Copy)]
struct Directory {
    misses: Misses,
    batch: Option<Batch>,
}

/// Directories that are being read file by file.
#[derive(Debug)]
pub(super) struct AccessPattern {
    directories: LruCache<Ino, Directory>,
    /// Files of the batches that nobody has used, and the directory of each.
    upcoming: LruCache<Ino, Ino>,
    /// When a batch was last begun or ended.
    last_batch: Option<Instant>,
}

impl AccessPattern {
    pub(super) fn new() -> Self {
        let (directories, upcoming) = (LruCache::new(DIRECTORIES), LruCache::new(UPCOMING));
        Self { directories, upcoming, last_batch: None }
    }

    /// A small file of this directory had to be fetched for a reader.
    pub(super) fn missed(&mut self, directory: Ino, now: Instant) -> Decision {
        let fresh = |then: Instant| now.saturating_duration_since(then) <= MEMORY;
        let before = self.directories.get(&directory).copied();
        let count = match before.map(|it| it.misses) {
            Some(Misses::Prefetching) => return Decision::Wait,
            Some(Misses::Counted(count, last)) if fresh(last) => count + 1,
            _ => 1,
        };
        let batch = before.and_then(|it| it.batch);
        if count < PATTERN && !self.last_batch.is_some_and(fresh) {
            let misses = Misses::Counted(count, now);
            self.directories.put(directory, Directory { misses, batch });
            return Decision::Wait;
        }
        self.last_batch = Some(now);
        self.directories.put(directory, Directory { misses: Misses::Prefetching, batch });
        Decision::Prefetch
    }

    /// These files, in order, are the batch that a decision began.
    pub(super) fn begun(&mut self, directory: Ino, files: &[Ino]) {
        let batch = files.last().map(|last| Batch { last: *last, left: files.len().div_ceil(2) });
        self.directories.put(directory, Directory { misses: Misses::Prefetching, batch });
        for file in files {
            self.upcoming.put(*file, directory);
        }
    }

    /// A program uses this file. If that makes the next batch of its directory due, returns the directory and the file behind
    /// which that begins.
    pub(super) fn used(&mut self, file: Ino, now: Instant) -> Option<(Ino, Ino)> {
        let parent = self.upcoming.pop(&file)?;
        let directory = self.directories.get_mut(&parent)?;
        let batch = directory.batch.as_mut()?;
        batch.left = batch.left.saturating_sub(1);
        let last = batch.last;
        if batch.left > 0 || matches!(directory.misses, Misses::Prefetching) {
            return None;
        }
        *directory = Directory { misses: Misses::Prefetching, batch: None };
        self.last_batch = Some(now);
        Some((parent, last))
    }

    /// The batch that a decision began is here, or failed. If the next one is due already, returns the file behind which that
    /// begins.
    pub(super) fn ended(&mut self, directory: Ino, now: Instant) -> Option<Ino> {
        self.last_batch = Some(now);
        let batch = self.directories.get(&directory).and_then(|it| it.batch);
        let due = batch.filter(|batch| batch.left == 0).map(|batch| batch.last);
        let (misses, batch) = match due {
            Some(_) => (Misses::Prefetching, None),
            None => (Misses::Counted(0, now), batch),
        };
        self.directories.put(directory, Directory { misses, batch });
        due
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

    #[test]
    fn the_next_batch_is_due_when_half_of_one_was_used_and_is_begun_once() {
        let (mut pattern, now) = (AccessPattern::new(), Instant::now());
        for _ in 0..PATTERN {
            pattern.missed(HERE, now);
        }
        let files: Vec<Ino> = (100..110).map(Ino).collect();
        pattern.begun(HERE, &files);
        assert_eq!(pattern.ended(HERE, now), None);
        let used: Vec<_> = files.iter().map(|file| pattern.used(*file, now)).collect();
        let due: Vec<_> = (0..10).map(|at| (at == 4).then_some((HERE, Ino(109)))).collect();
        assert_eq!(used, due);
        assert_eq!(pattern.missed(HERE, now), Decision::Wait, "the next one is under way");
    }

    #[test]
    fn who_is_faster_than_a_batch_has_the_next_one_begin_at_its_end() {
        let (mut pattern, now) = (AccessPattern::new(), Instant::now());
        for _ in 0..PATTERN {
            pattern.missed(HERE, now);
        }
        let files: Vec<Ino> = (100..110).map(Ino).collect();
        pattern.begun(HERE, &files);
        assert!(files.iter().all(|file| pattern.used(*file, now).is_none()));
        assert_eq!(pattern.ended(HERE, now), Some(Ino(109)));
        pattern.begun(HERE, &[]);
        assert_eq!(pattern.ended(HERE, now), None, "there are no more files");
    }
}
