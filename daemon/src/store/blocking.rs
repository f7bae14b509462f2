//! Runs on a thread of their own the calls that may wait for a disk or a lock, so that tasks never do.

/// Runs `work` on the runtime's pool of blocking threads; a panic of `work` goes on in the caller.
///
/// The store's methods block: a task of the runtime calls them through this.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends: nobody waits for the result any more.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}
