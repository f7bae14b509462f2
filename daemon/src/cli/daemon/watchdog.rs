//! The watchdog: ends a daemon that has stopped to answer, so that the next one takes over.
//!
//! It asks the daemon for its status, as `miaofs status` does. A daemon counts only once it has answered: mending a large store
//! takes as long as it takes.

use std::env;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::process::{Signal, pidfd_send_signal};

use crate::cli::control::client;
use crate::cli::state::state_dir::StateDir;

/// Variable of the environment with the limit in seconds; 0 for no watchdog.
const VARIABLE: &str = "MIAOFS_WATCHDOG";
/// Time without an answer after which a daemon is ended, unless that says otherwise.
const LIMIT: Duration = Duration::from_secs(60);
/// Questions in that time.
const QUESTIONS: u32 = 6;

/// A daemon that is watched as long as this lives.
pub(super) struct Watch {
    _until_dropped: Sender<()>,
}

/// Watches a process, the daemon of a state directory, which may be known to serve since a moment; none if that is not
/// wanted.
pub(super) fn watch(
    state: &StateDir,
    daemon: OwnedFd,
    mut answered: Option<Instant>,
) -> Option<Watch> {
    let asked = env::var(VARIABLE).ok().and_then(|seconds| seconds.parse().ok());
    let limit = asked.map_or(LIMIT, Duration::from_secs);
    if limit.is_zero() {
        return None;
    }
    let (sender, receiver) = channel();
    let state = state.clone();
    let watching = move || {
        while receiver.recv_timeout(limit / QUESTIONS) == Err(RecvTimeoutError::Timeout) {
            if client::status_within(&state, limit / QUESTIONS).is_ok() {
                answered = Some(Instant::now());
            } else if answered.is_some_and(|answered| answered.elapsed() > limit) {
                tracing::error!(?limit, "the daemon does not answer: it is ended");
                // It may have ended by itself just now.
                let _ended = pidfd_send_signal(&daemon, Signal::KILL);
                return;
            }
        }
    };
    let started = thread::Builder::new().name("watchdog".to_owned()).spawn(watching);
    started.is_ok().then_some(Watch { _until_dropped: sender })
}
