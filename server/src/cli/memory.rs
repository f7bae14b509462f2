//! The C library's allocator, which Rust's memory comes from, is to keep little that nobody uses.

#[cfg(target_env = "gnu")]
use std::time::Duration;

#[cfg(target_env = "gnu")]
use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

#[cfg(target_env = "gnu")]
use crate::backend::resident_bytes;
use crate::service::Services;

/// Has large pieces of memory go back to the system as soon as they are free. Once, before there are threads.
///
/// Otherwise the allocator takes the first large piece that is given back as a sign that such pieces come often, and keeps the
/// next ones: one for each of its places (`M_MMAP_THRESHOLD` in mallopt(3)), so that sixteen lists of 31 MiB that pass one
/// after the other take 360 MiB instead of 97. Buffers of a chunk are smaller, and stay.
#[cfg(target_env = "gnu")]
pub(super) fn keep_no_large_pieces() {
    /// Bytes from which on a piece is large.
    const LARGE: libc::c_int = 8 << 20;
    /// Bytes at the end of a place that are given back.
    const END: libc::c_int = 16 << 20;
    // SAFETY: mallopt(3) takes numbers; no other thread allocates yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, END);
    }
}

/// Another C library has no such places.
#[cfg(not(target_env = "gnu"))]
pub(super) fn keep_no_large_pieces() {}

/// Gives memory back to the system after a busy time, until `stop`: what the services keep to be fast, and what is free. The
/// allocator gives that back by itself only at the end of each place that it allocates from, above which anything small may
/// have come to stay.
#[cfg(target_env = "gnu")]
pub(super) async fn give_back_forever(services: Services, stop: CancellationToken) {
    /// Time between two looks at how much is kept.
    const LOOK: Duration = Duration::from_secs(5);
    /// Bytes that are not worth giving back.
    const KEPT: usize = 16 * 1024 * 1024;
    let (mut before, mut floor) = (0, 0);
    let mut busy = BusyTime::default();
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        let (free, resident) = (free_bytes(), resident_bytes());
        // What is about to be used again is not worth it: then the next look shows another number.
        let is_calm = free.abs_diff(before) < free / 4;
        before = free;
        let is_over = busy.is_over();
        if is_over && let Err(error) = services.shrink().await {
            tracing::debug!(%error, "no memory of the database is given back");
        }
        if is_over || is_calm && free > KEPT && resident > floor + KEPT {
            let _end_of_the_process = tokio::task::spawn_blocking(trim).await;
            floor = resident_bytes();
        }
    }
}

/// The times in which the process has much to do, told by the time that it takes of the processors.
#[cfg(target_env = "gnu")]
#[derive(Debug, Default)]
struct BusyTime {
    /// Time of the processors up to the last look.
    until_now: Duration,
    /// The most between two looks since the last busy time was over.
    most: Duration,
}

#[cfg(target_env = "gnu")]
impl BusyTime {
    /// Time between two looks that is much.
    const MUCH: Duration = Duration::from_millis(500);
    /// Part of that of the busy time below which it is over.
    const PART: u32 = 4;

    /// Looks; true if a busy time is over.
    fn is_over(&mut self) -> bool {
        let now = clock_gettime(ClockId::ProcessCPUTime);
        self.look(Duration::try_from(now).unwrap_or_default())
    }

    fn look(&mut self, now: Duration) -> bool {
        let lately = now.saturating_sub(self.until_now);
        self.until_now = now;
        let is_over = self.most > Self::MUCH && lately < self.most / Self::PART;
        self.most = if is_over { lately } else { self.most.max(lately) };
        is_over
    }
}

/// Another C library gives back what it is given back.
#[cfg(not(target_env = "gnu"))]
pub(super) async fn give_back_forever(_services: Services, stop: CancellationToken) {
    stop.cancelled().await;
}

/// Bytes that the allocator holds and nobody uses, some of which it may have given back.
#[cfg(target_env = "gnu")]
fn free_bytes() -> usize {
    // SAFETY: mallinfo2(3) takes nothing, and locks each place while it counts.
    unsafe { libc::mallinfo2() }.fordblks
}

#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: malloc_trim(3) takes a number, and may be called at any time.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn a_busy_time_is_over_once_and_a_steady_one_never() {
        let mut busy = BusyTime::default();
        let mut now = Duration::ZERO;
        let mut looks = |seconds: &[f64]| {
            let look = |taken: &f64| {
                now += Duration::from_secs_f64(*taken);
                busy.look(now)
            };
            seconds.iter().map(look).collect::<Vec<bool>>()
        };
        assert_eq!(looks(&[0.1, 0.0, 0.3, 0.0]), [false; 4], "it had nothing much to do");
        assert_eq!(looks(&[1.0, 8.0, 3.0, 0.2, 0.1]), [false, false, false, true, false]);
        assert_eq!(looks(&[2.0, 2.0, 1.0, 2.0]), [false; 4]);
    }
}
