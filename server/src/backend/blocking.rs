//! Work that must not run where requests are served, or not end with the request that began it.

use tokio::sync::oneshot;

use super::Error;

/// Runs a blocking call on a thread of the blocking pool. A panic in it goes on in the caller.
///
/// # Errors
/// Those of the call.
pub(crate) async fn run_blocking<T: Send + 'static>(
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

/// Runs a task to its end, also when whoever waits for it goes away meanwhile. A panic in it goes on in
/// the caller.
pub(crate) async fn run_to_completion<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> T {
    match tokio::spawn(task).await {
        Ok(answer) => answer,
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    }
}

/// Priority of a thread that computes for long, where the processors are too few for all that is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    /// A third of what the threads have that answer requests: somebody waits for it.
    Low,
    /// Next to nothing: it yields to all others.
    Lowest,
}

impl Priority {
    /// As setpriority(2) has it.
    const fn nice(self) -> libc::c_int {
        match self {
            Self::Low => 5,
            Self::Lowest => 19,
        }
    }
}

/// Runs a computation on a thread of its own.
///
/// # Errors
/// [`Error::File`] when the system gives no thread.
pub(crate) fn background_thread<T: Send + 'static>(
    name: &str,
    priority: Priority,
    compute: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, Error> {
    let (sender, receiver) = oneshot::channel();
    let body = move || {
        // SAFETY: setpriority(2) takes numbers only. On Linux it is about the calling thread when the
        // id is 0. If it fails, the thread is merely not nice.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, priority.nice()) };
        // Nobody waits any more when this fails, so nobody misses the answer.
        let _missed = sender.send(compute());
    };
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    spawned.map_err(|error| Error::file(format!("thread {name}"), error))?;
    Ok(receiver)
}
