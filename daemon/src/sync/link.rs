//! Reachability of the server, as all executors see it, and the pauses before asking again.
//!
//! ```text
//! Connecting ──▶ Online ◀──▶ Offline
//!      └───────────┴────────────┴──▶ SignedOut, for a reason: a person must sign in
//! ```
//!
//! The feed, which always has a request open, decides. An executor whose request fails reports it
//! and waits; the feed then asks at once instead of trusting its open request.

use std::time::Duration;

use miaofs::client;
use tokio::sync::{Notify, watch};

use super::error::with_causes;

/// Pause before the first further try.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Reachability of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LinkState {
    /// The server has not been asked yet.
    Connecting,
    /// The server answers.
    Online,
    /// The server does not answer, for this reason.
    Offline(String),
    /// The server answers, but wants a sign-in, for this reason.
    SignedOut(String),
}

/// Link to the server, shared by the executors.
#[derive(Debug)]
pub(super) struct Link {
    state: watch::Sender<LinkState>,
    doubt: Notify,
}

impl Link {
    pub(super) fn new() -> Self {
        Self { state: watch::Sender::new(LinkState::Connecting), doubt: Notify::new() }
    }

    pub(super) fn state(&self) -> LinkState {
        self.state.borrow().clone()
    }

    /// The feed got an answer.
    pub(super) fn found(&self) {
        self.set(LinkState::Online);
    }

    /// A request failed. Only what concerns the link changes it.
    pub(super) fn failed(&self, error: &client::Error) {
        match error {
            client::Error::SignedOut { why } => {
                self.set(LinkState::SignedOut(why.clone()));
                // The feed's open request was let in before; asking again, it learns to wait for a session.
                self.doubt();
            }
            error if error.is_offline() => {
                self.set(LinkState::Offline(reason(error)));
                self.doubt();
            }
            _ => {}
        }
    }

    /// Has the feed ask again at once, rather than trust its open request.
    pub(super) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Returns when somebody doubts that the server is there.
    pub(super) async fn doubted(&self) {
        self.doubt.notified().await;
    }

    /// Forgets the doubts so far.
    pub(super) fn clear_doubts(&self) {
        use futures::FutureExt;
        let _heard = self.doubt.notified().now_or_never();
    }

    pub(super) async fn until_online(&self) {
        let online = |state: &LinkState| *state == LinkState::Online;
        let mut state = self.state.subscribe();
        let _outlived = state.wait_for(online).await;
    }

    /// Returns at every change of state from now on.
    pub(super) fn watch(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    fn set(&self, state: LinkState) {
        let changed = self.state.send_if_modified(|now| {
            let changed = *now != state;
            *now = state.clone();
            changed
        });
        if changed {
            match &state {
                LinkState::Offline(reason) => tracing::warn!(%reason, "the server is away"),
                LinkState::SignedOut(why) => {
                    tracing::error!(
                        "{why}: what is not on the server stays here; run `miaofs login`"
                    );
                }
                LinkState::Online => tracing::info!("the server answers"),
                LinkState::Connecting => {}
            }
        }
    }
}

/// Words for a person, with what to do about what does not pass by itself.
fn reason(error: &client::Error) -> String {
    match error {
        client::Error::Tls { fault, .. } => format!("{error}; {}", fault.advice()),
        client::Error::Plain(_) => {
            format!(
                "{error}; sign in with an https:// URL, or allow it with: miaofs login --insecure"
            )
        }
        error => with_causes(error),
    }
}

/// Pauses that double up to a limit, and start over after a success.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { next: FIRST_PAUSE }
    }

    pub(super) const fn reset(&mut self) {
        self.next = FIRST_PAUSE;
    }

    /// The next pause, with up to a quarter of jitter, so that many devices do not come back at once.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST_PAUSE);
        pause.mul_f64(rand::random_range(0.75..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_start_over() {
        let mut backoff = Backoff::new();
        let pauses: Vec<Duration> = (0..10).map(|_| backoff.pause()).collect();
        assert!(pauses[0] <= FIRST_PAUSE);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE));
        assert!(pauses[9] >= LONGEST_PAUSE / 2);
        backoff.reset();
        assert!(backoff.pause() <= FIRST_PAUSE);
    }
}
