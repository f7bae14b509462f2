//! Calls that wait for a disk, kept off the threads that serve everybody.

use super::Error;

/// Runs a call that blocks on a thread where it may. A panic in it goes on in the caller.
///
/// # Errors
/// Those of the call.
pub async fn off_loop<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(call).await {
        Ok(answer) => answer,
        Err(failure) => match failure.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_runtime_is_gone) => Err(Error::Stopping),
        },
    }
}
