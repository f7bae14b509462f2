//! Work that gets a limit of time, whatever it waits for.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Runs work on a thread of its own; `None` when it is not done in time. It is left behind then, until the process ends.
pub(super) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = mpsc::channel();
    let started = thread::Builder::new().spawn(move || {
        // Nobody waits any more.
        let _too_late = done.send(work());
    });
    started.ok().and_then(|_running| result.recv_timeout(limit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_given_up() {
        let limit = Duration::from_millis(50);
        assert_eq!(within(Duration::from_secs(20), || 7), Some(7));
        let (_open, never) = mpsc::channel::<u8>();
        assert_eq!(within(limit, move || never.recv().ok()), None);
    }
}
