//! The clock of the server, as tables and the tracker hold times, and for how long it has gone evenly.
//!
//! The time of day may be wrong, and jump: a machine whose clock has no battery begins in 1970, and somebody sets one years ahead.
//! So every look compares it with the time since the machine's start, which nobody sets. Who deletes what is over by the clock
//! asks [`even_for`] first. A file keeps the answer when the process ends, also while the machine is off: not for long, as nobody
//! knows what becomes of the clock meanwhile.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use super::Error;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Seconds by which the clock may be set without having jumped, and the share by which it may be set right all the time.
const SLACK: i64 = 2;
const SLEW: i64 = 1000;
/// The longest time in seconds for which a machine is off, or nobody looks, that the clock may tell of without having jumped,
const OFF_MAX: i64 = 7 * 24 * 3600;
/// and the pause between two notes of the time.
const NOTE: i64 = 600;

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
    /// The file that has it, for the next process,
    file: Option<PathBuf>,
    /// and when it was written, in seconds since 1970.
    noted: i64,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept { course: None, file: None, noted: 0 });

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
    let (now, up) = clocks();
    lock().course = read(path, now, up);
}

/// The same, and keeps it there from now on.
///
/// # Errors
/// [`Error::File`].
pub(super) fn keep(path: &Path) -> Result<(), Error> {
    resume(path);
    let (now, _) = look();
    let mut kept = lock();
    kept.file = Some(path.to_owned());
    kept.note(now).map_err(|error| Error::file(path, error))
}

fn lock() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds since 1970 and since the machine's start, as they are told now.
fn clocks() -> (i64, i64) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    (now, clock_gettime(ClockId::Boottime).tv_sec)
}

/// Seconds since 1970, and for how many the clock has gone evenly.
fn look() -> (i64, i64) {
    let mut kept = lock();
    let (now, up) = clocks();
    let course = course_at(kept.course, now, up);
    let has_jumped = kept.course.replace(course).is_some_and(|before| before != course);
    if has_jumped {
        tracing::warn!("the clock has jumped: nothing counts as over until it has gone evenly");
    }
    if (has_jumped || now - kept.noted >= NOTE)
        && let Err(error) = kept.note(now)
    {
        tracing::error!(%error, "the course of the clock cannot be written down");
    }
    (now, up.saturating_sub(course.began_up).max(0))
}

impl Kept {
    /// Writes the course down for the next process.
    fn note(&mut self, now: i64) -> io::Result<()> {
        let (Some(course), Some(path)) = (self.course, &self.file) else { return Ok(()) };
        self.noted = now;
        write(path, course, now)
    }
}

/// The course that the clock is in, which is a new one when the former does not lead to this time.
fn course_at(before: Option<Course>, now: i64, up: i64) -> Course {
    let is_even = |course: &Course| {
        let (passed, told) = (up.saturating_sub(course.began_up), now.saturating_sub(course.began));
        passed >= 0 && told.abs_diff(passed).cast_signed() <= SLACK + passed / SLEW
    };
    before.filter(is_even).unwrap_or(Course { began: now, began_up: up })
}

/// The course in a file, if it leads to this time: one from before the machine's start, if that is no later than the clock tells
/// and not too long ago.
fn read(path: &Path, now: i64, up: i64) -> Option<Course> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut words = text.split_whitespace();
    let is_of_this_boot = words.next()? == boot_id().ok()?;
    let mut number = || words.next()?.parse::<i64>().ok();
    let (began, began_up, noted) = (number()?, number()?, number()?);
    if is_of_this_boot {
        return Some(Course { began, began_up });
    }
    let off = now.saturating_sub(noted);
    (-SLACK..=OFF_MAX).contains(&off).then(|| Course { began, began_up: up - (now - began) })
}

fn write(path: &Path, course: Course, now: i64) -> io::Result<()> {
    let new = path.with_extension("new");
    let Course { began, began_up } = course;
    std::fs::write(&new, format!("{} {began} {began_up} {now}\n", boot_id()?))?;
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
    fn the_next_process_goes_on_with_the_course_and_after_the_machines_start_if_that_is_likely() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("clock");
        let (now, up) = (NOON.began + DAY, 30);
        assert_eq!(read(&path, now, up), None);
        write(&path, NOON, now).unwrap();
        assert_eq!(read(&path, now, up), Some(NOON));
        let left = |noted: i64| {
            std::fs::write(&path, format!("another-boot {} 50 {noted}\n", NOON.began)).unwrap();
            read(&path, now, up)
        };
        let gone_on = Course { began: NOON.began, began_up: up - DAY };
        assert_eq!(left(now - DAY / 2), Some(gone_on), "it was off for the night");
        assert_eq!(course_at(Some(gone_on), now + 5, up + 5), gone_on);
        assert_eq!(left(now - 400 * DAY), None, "for a year, or the clock is ahead");
        assert_eq!(left(now + DAY), None, "the clock is behind");
        std::fs::write(&path, "half").unwrap();
        assert_eq!(read(&path, now, up), None);
    }
}
