//! Retry policy of a reader: the failures that are tried again before it gets an error.

use std::time::Duration;

use miaofs::client;
use miaofs::protocol::files::ContentRef;
use miaofs::protocol::problem::Code;
use tokio::time::Instant;

use super::error::{AttemptError, FetchError};
use crate::store::{self, Ino};
use crate::sync::core::Core;

/// Time for which a reader waits for a server that is away.
const AWAY_MAX: Duration = Duration::from_secs(4);
/// Number of times that a range which came damaged is fetched again.
const AGAIN_MAX: u32 = 3;
/// Number of times that a reader finds the same byte missing, though it was fetched.
const LOOKS_MAX: u32 = 64;

/// Limits of one read, and how much of them is used up.
pub(super) struct RetryPolicy {
    until: Instant,
    damaged: u32,
    /// The first byte missing at the last look, and how many looks found it so.
    stuck: (u64, u32),
}

impl RetryPolicy {
    pub(super) fn new() -> Self {
        Self { until: Instant::now() + AWAY_MAX, damaged: 0, stuck: (0, 0) }
    }

    /// Notes that this byte is missing; an error when fetching goes on and on and the same one stays so.
    pub(super) fn note_missing(&mut self, offset: u64) -> Result<(), FetchError> {
        self.stuck = match self.stuck {
            (at, looks) if at == offset => (at, looks + 1),
            _ => (offset, 0),
        };
        if self.stuck.1 > LOOKS_MAX { Err(FetchError::TimedOut) } else { Ok(()) }
    }

    /// Waits for what may get better, so that the caller tries again.
    ///
    /// # Errors
    /// [`FetchError`] when another try is of no use, or there were too many.
    pub(super) async fn handle(
        &mut self,
        core: &Core,
        (ino, content): (Ino, ContentRef),
        error: &AttemptError,
    ) -> Result<(), FetchError> {
        match error {
            AttemptError::Client(error) if error.code() == Some(Code::NotFound) => {
                // Another device may have replaced it: then there is another content by now.
                match core.with_store(move |store| store.content_of(ino)).await? {
                    Some(now) if now != content => Ok(()),
                    _ => Err(FetchError::Gone),
                }
            }
            AttemptError::Client(client::Error::SignedOut { .. }) => Err(FetchError::Offline),
            AttemptError::Client(client::Error::Malformed(_)) | AttemptError::Manifest(_) => {
                self.count_damage()
            }
            AttemptError::Store(store::Error::Corrupt { .. }) => self.count_damage(),
            AttemptError::Client(error) => self.wait_for_server(core, error).await,
            AttemptError::Store(store::Error::NoSpace) => Err(store::Error::NoSpace.into()),
            AttemptError::Store(error) => {
                tracing::error!(%error, %ino, "cannot store what was fetched");
                Err(FetchError::Gone)
            }
        }
    }

    fn count_damage(&mut self) -> Result<(), FetchError> {
        self.damaged += 1;
        if self.damaged > AGAIN_MAX { Err(FetchError::Corrupt) } else { Ok(()) }
    }

    async fn wait_for_server(&self, core: &Core, error: &client::Error) -> Result<(), FetchError> {
        core.link.failed(error);
        let timed_out = matches!(error, client::Error::TimedOut(_));
        let back = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            core.link.until_online().await;
        };
        match tokio::time::timeout_at(self.until, back).await {
            Ok(()) => Ok(()),
            Err(_elapsed) if timed_out => Err(FetchError::TimedOut),
            Err(_elapsed) => Err(FetchError::Offline),
        }
    }
}
