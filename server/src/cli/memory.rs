//! The C library's allocator, which Rust's memory comes from, is to keep little that nobody uses.

use tokio_util::sync::CancellationToken;

#[cfg(target_env = "gnu")]
use crate::backend::resident_bytes;

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

/// Gives free memory back to the system after a busy time, until `stop`. The allocator does so by itself only at the end
/// of each place that it allocates from, above which anything small may have come to stay.
#[cfg(target_env = "gnu")]
pub(super) async fn give_back_forever(stop: CancellationToken) {
    /// Time between two looks at how much is kept.
    const LOOK: std::time::Duration = std::time::Duration::from_secs(5);
    /// Bytes that are not worth giving back.
    const KEPT: usize = 16 * 1024 * 1024;
    let (mut before, mut floor) = (0, 0);
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        let (free, resident) = (free_bytes(), resident_bytes());
        // What is about to be used again is not worth it: then the next look shows another number.
        let is_calm = free.abs_diff(before) < free / 4;
        before = free;
        if is_calm && free > KEPT && resident > floor + KEPT {
            let _end_of_the_process = tokio::task::spawn_blocking(trim).await;
            floor = resident_bytes();
        }
    }
}

/// Another C library gives back what it is given back.
#[cfg(not(target_env = "gnu"))]
pub(super) async fn give_back_forever(stop: CancellationToken) {
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
