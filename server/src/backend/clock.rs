//! The clock of the server, as tables and the tracker hold times, and for how long it has gone evenly.
//!
//! The time of day may be wrong, and jump: a machine whose clock has no battery begins in 1970, and somebody sets one years ahead.
//! So every look compares it with the time since the machine's start, which nobody sets. Who deletes what is over by the clock
//! asks [`even_for`] first. A file keeps the answer when the process ends.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use super::Error;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Seconds by which the clock may be set without having jumped, and the share by which it may be set right all the time.
const SLACK: i64 = 2;
const SLEW: i64 = 1000;

/// A time during which the clock goes evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Course {
    /// The beginning, in seconds since 1970.
    began: i64,
    /// The same, in seconds since the start of the machine.
    began_up: i64,
}

/// The course of this process's clock.
#[derive(Debug)]
struct Kept {
    course: Option<Course>,
    /// The file that has it, for the next process.
    file: Option<PathBuf>,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept { course: None, file: None });

/// Current time in seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    look().0
}

/// Time for which the clock has gone evenly, also in processes before this one since the machine's start.
pub(crate) fn even_for() -> Duration {
    Duration::from_secs(look().1.unsigned_abs())
}

/// Goes on with the course that a process before this one has left in a file.
pub(super) fn resume(path: &Path) {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.course = read(path);
}

/// The same, and keeps it there from now on.
///
/// # Errors
/// [`Error::File`].
pub(super) fn keep(path: &Path) -> Result<(), Error> {
    resume(path);
    look();
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.file = Some(path.to_owned());
    match kept.course {
        Some(course) => write(path, course).map_err(|error| Error::file(path, error)),
        None => Ok(()),
    }
}

/// Seconds since 1970, and for how many the clock has gone evenly.
fn look() -> (i64, i64) {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let up = clock_gettime(ClockId::Boottime).tv_sec;
    let course = course_at(kept.course, now, up);
    if kept.course != Some(course) {
        kept.course = Some(course);
        if let Some(path) = &kept.file {
            tracing::warn!("the clock has jumped: nothing counts as over until it has gone evenly");
            if let Err(error) = write(path, course) {
                tracing::error!(%error, path = %path.display(), "the jump cannot be written down");
            }
        }
    }
    (now, up.saturating_sub(course.began_up).max(0))
}

/// The course that the clock is in, which is a new one when the former does not lead to this time.
fn course_at(before: Option<Course>, now: i64, up: i64) -> Course {
    let is_even = |course: &Course| {
        let (passed, told) = (up.saturating_sub(course.began_up), now.saturating_sub(course.began));
        passed >= 0 && told.abs_diff(passed).cast_signed() <= SLACK + passed / SLEW
    };
    before.filter(is_even).unwrap_or(Course { began: now, began_up: up })
}

/// The course in a file, if that was written since the machine's start.
fn read(path: &Path) -> Option<Course> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut words = text.split_whitespace();
    (words.next()? == boot_id().ok()?).then_some(())?;
    let mut number = || words.next()?.parse().ok();
    Some(Course { began: number()?, began_up: number()? })
}

fn write(path: &Path, course: Course) -> io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, format!("{} {} {}\n", boot_id()?, course.began, course.began_up))?;
    std::fs::rename(new, path)
}

fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string(BOOT_ID)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600;
    const NOON: Course = Course { began: 1_800_000_000, began_up: 50 };

    fn after(told: i64, passed: i64) -> Course {
        course_at(Some(NOON), NOON.began.saturating_add(told), NOON.began_up + passed)
    }

    #[test]
    fn a_clock_that_is_set_right_little_by_little_goes_evenly() {
        for (told, passed) in [(0, 0), (DAY, DAY), (DAY + 50, DAY), (DAY - 50, DAY), (2, 0)] {
            assert_eq!(after(told, passed), NOON, "{told} {passed}");
        }
    }

    #[test]
    fn a_jump_begins_another_course() {
        for told in [20, -20, 400 * DAY, -NOON.began, i64::MAX] {
            let (now, up) = (NOON.began.saturating_add(told), NOON.began_up + 10);
            assert_eq!(after(told, 10), Course { began: now, began_up: up }, "{told}");
        }
        assert_ne!(after(-100, -10), NOON, "the machine has started anew");
    }

    #[test]
    fn the_next_process_goes_on_with_the_course_unless_the_machine_has_started() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("clock");
        assert_eq!(read(&path), None);
        write(&path, NOON).unwrap();
        assert_eq!(read(&path), Some(NOON));
        std::fs::write(&path, "another-boot 1800000000 50\n").unwrap();
        assert_eq!(read(&path), None);
        std::fs::write(&path, "half").unwrap();
        assert_eq!(read(&path), None);
    }
}
