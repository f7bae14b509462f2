//! Settings of the C library's allocator, which Rust's memory comes from.

/// Places that threads allocate from. By default there are eight for each processor, and each keeps what its busiest moment took:
/// hundreds of mebibytes in a daemon whose threads take turns with buffers of one chunk.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;

/// Has the allocator keep less memory that nobody uses. To be called before the process has threads.
pub(super) fn keep_little() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt(3) takes two numbers, and nothing allocates at the same time.
        let accepted = unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
        if accepted == 0 {
            tracing::debug!("the allocator has no such setting");
        }
    }
}
