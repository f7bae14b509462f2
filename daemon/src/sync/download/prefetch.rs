//! Fetches small files ahead of who reads a directory file by file, so that not each is a round trip.
//!
//! [`Habit`] decides, and is pure: a few small files of one directory that were missing within a
//! short time are a habit, and so is the first one of another directory right after. Then the next
//! files of that directory are fetched, a batch at a time; a miss after that begins the next batch.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use lru::LruCache;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::fetch::{self, FetchError};
use crate::store::{DirPosition, Ino, PrefetchLimits, run_blocking};
use crate::sync::engine::Core;
use crate::sync::status::lock;

/// Largest file that counts as small: 256 KiB.
pub(crate) const SMALL: u64 = 256 * 1024;
/// What is fetched ahead at once: up to 64 files and 8 MiB.
const AHEAD: PrefetchLimits = PrefetchLimits { files: 64, bytes: 8 * 1024 * 1024, largest: SMALL };
/// Files fetched ahead at the same time: fewer than there are streams, so that a reader finds one free.
const PARALLEL: usize = 6;
/// Misses of one directory that make a habit.
const HABIT: u32 = 3;
/// For how long a miss is remembered.
const MEMORY: Duration = Duration::from_secs(5);
/// Directories whose misses are remembered.
const DIRECTORIES: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not zero");

/// Whether to fetch ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// Nobody goes through the directory, or its next files are on their way.
    Wait,
    /// The next files of the directory are to be fetched.
    GoAhead,
}

#[derive(Debug, Clone, Copy)]
enum Misses {
    /// So many, the last one then.
    Counted(u32, Instant),
    /// They made a batch begin, which is under way.
    Answered,
}

/// Which directories are being read file by file.
#[derive(Debug)]
struct Habit {
    directories: LruCache<Ino, Misses>,
    /// When a batch was last begun or ended.
    walked: Option<Instant>,
}

impl Habit {
    fn new() -> Self {
        Self { directories: LruCache::new(DIRECTORIES), walked: None }
    }

    /// A small file of this directory had to be fetched for a reader.
    fn missed(&mut self, directory: Ino, now: Instant) -> Decision {
        let fresh = |then: Instant| now.saturating_duration_since(then) <= MEMORY;
        let count = match self.directories.get(&directory) {
            Some(Misses::Answered) => return Decision::Wait,
            Some(Misses::Counted(count, last)) if fresh(*last) => count + 1,
            _ => 1,
        };
        if count < HABIT && !self.walked.is_some_and(fresh) {
            self.directories.put(directory, Misses::Counted(count, now));
            return Decision::Wait;
        }
        self.walked = Some(now);
        self.directories.put(directory, Misses::Answered);
        Decision::GoAhead
    }

    /// The batch that a decision began is here, or failed.
    fn ended(&mut self, directory: Ino, now: Instant) {
        self.walked = Some(now);
        self.directories.put(directory, Misses::Counted(0, now));
    }
}

/// What is fetched ahead for all readers.
#[derive(Debug)]
pub(crate) struct Prefetch {
    habit: Mutex<Habit>,
    lanes: Semaphore,
}

impl Prefetch {
    pub(crate) fn new() -> Self {
        Self { habit: Mutex::new(Habit::new()), lanes: Semaphore::new(PARALLEL) }
    }
}

/// A small file had to be fetched for a reader: fetches the ones after it if that is a habit.
pub(crate) async fn follow(core: Arc<Core>, ino: Ino) {
    if let Err(error) = go_ahead(&core, ino).await {
        tracing::debug!(%error, %ino, "cannot fetch ahead");
    }
}

async fn go_ahead(core: &Arc<Core>, ino: Ino) -> Result<(), FetchError> {
    let Some(position) = core.store.position(ino)? else { return Ok(()) };
    let decision = lock(&core.prefetch.habit).missed(position.parent, Instant::now());
    match decision {
        Decision::Wait => Ok(()),
        Decision::GoAhead => {
            let fetched = fetch_after(core, position).await;
            lock(&core.prefetch.habit).ended(position.parent, Instant::now());
            fetched
        }
    }
}

async fn fetch_after(core: &Arc<Core>, position: DirPosition) -> Result<(), FetchError> {
    let store = Arc::clone(&core.store);
    let files = run_blocking(move || store.uncached_after(position, AHEAD)).await?;
    stream::iter(files)
        .map(|(ino, size)| async move {
            let _lane = core.prefetch.lanes.acquire().await.expect("lanes are never closed");
            fetch::bring(core, ino, 0..size).await
        })
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Ino = Ino(7);
    const THERE: Ino = Ino(8);

    #[test]
    fn a_few_files_of_one_directory_are_a_habit_and_one_is_none() {
        let (mut habit, now) = (Habit::new(), Instant::now());
        assert_eq!(habit.missed(HERE, now), Decision::Wait);
        assert_eq!(habit.missed(THERE, now), Decision::Wait);
        assert_eq!(habit.missed(HERE, now), Decision::Wait);
        assert_eq!(habit.missed(HERE, now), Decision::GoAhead);
    }

    #[test]
    fn files_that_are_read_now_and_then_are_no_habit() {
        let (mut habit, mut now) = (Habit::new(), Instant::now());
        for _ in 0..10 {
            assert_eq!(habit.missed(HERE, now), Decision::Wait);
            now += MEMORY + Duration::from_millis(1);
        }
    }

    #[test]
    fn a_directory_has_one_batch_under_way_and_the_next_miss_begins_another() {
        let (mut habit, now) = (Habit::new(), Instant::now());
        let decisions = [habit.missed(HERE, now), habit.missed(HERE, now), habit.missed(HERE, now)];
        assert_eq!(decisions[2], Decision::GoAhead);
        assert_eq!(habit.missed(HERE, now), Decision::Wait);
        habit.ended(HERE, now);
        assert_eq!(habit.missed(HERE, now), Decision::GoAhead);
    }

    #[test]
    fn who_goes_through_a_tree_needs_no_new_habit_in_each_directory() {
        let (mut habit, now) = (Habit::new(), Instant::now());
        for _ in 0..HABIT {
            habit.missed(HERE, now);
        }
        habit.ended(HERE, now);
        assert_eq!(habit.missed(THERE, now + Duration::from_secs(1)), Decision::GoAhead);
        habit.ended(THERE, now);
        assert_eq!(habit.missed(Ino(9), now + Duration::from_secs(60)), Decision::Wait);
    }
}
