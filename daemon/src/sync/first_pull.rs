//! The first pull of a drive: until it is done, what the store does not know may be on the server all the same.
//!
//! A program that were told "no such file" meanwhile, or shown a part of a directory, would take it for the truth, and
//! one that mirrors would delete the rest. So whoever asks for a name waits; not for ever, and not for a server that is away.

use std::time::Duration;

use tokio::sync::watch;

use super::link::{Link, LinkState};

/// Time without any news of the pull after which nobody waits for it any longer.
const STALLED: Duration = Duration::from_secs(30);

/// Why the names of the drive are not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NamesError {
    /// The server cannot be reached, or wants a sign-in first.
    #[error("the names in this drive are not all here yet, and the server is away")]
    Offline,
    /// The server does not go on telling them.
    #[error("the names in this drive are not all here yet, and the server tells no more of them")]
    Stalled,
}

/// Progress of the first pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// So many nodes have come since the start.
    Coming(u64),
    /// All names were here once; since then the store is the truth.
    Done,
}

/// The first pull of this store.
#[derive(Debug)]
pub(super) struct FirstPull {
    progress: watch::Sender<Progress>,
    /// Time without any news after which nobody waits any longer.
    limit: Duration,
}

impl FirstPull {
    /// `is_done` is what the store remembers.
    pub(super) fn new(is_done: bool) -> Self {
        let progress = if is_done { Progress::Done } else { Progress::Coming(0) };
        Self { progress: watch::Sender::new(progress), limit: STALLED }
    }

    /// True once all names of the drive have been here.
    pub(super) fn is_done(&self) -> bool {
        *self.progress.borrow() == Progress::Done
    }

    /// Number of nodes that have come so far; `None` when all are here.
    pub(super) fn so_far(&self) -> Option<u64> {
        match *self.progress.borrow() {
            Progress::Coming(count) => Some(count),
            Progress::Done => None,
        }
    }

    /// More nodes have come.
    pub(super) fn came(&self, nodes: usize) {
        self.progress.send_if_modified(|progress| match progress {
            Progress::Coming(count) => {
                *count += nodes as u64;
                true
            }
            Progress::Done => false,
        });
    }

    /// All are here, and the store has noted it.
    pub(super) fn finish(&self) {
        self.progress.send_replace(Progress::Done);
    }

    /// Returns when all names are here.
    ///
    /// # Errors
    /// [`NamesError`], at once when the server is away.
    pub(super) async fn done(&self, link: &Link) -> Result<(), NamesError> {
        let (mut progress, mut link) = (self.progress.subscribe(), link.watch());
        loop {
            if *progress.borrow_and_update() == Progress::Done {
                return Ok(());
            }
            match &*link.borrow_and_update() {
                LinkState::Offline(_) | LinkState::SignedOut(_) => return Err(NamesError::Offline),
                LinkState::Connecting | LinkState::Online => {}
            }
            tokio::select! {
                _ = progress.changed() => {}
                _ = link.changed() => {}
                () = tokio::time::sleep(self.limit) => return Err(NamesError::Stalled),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use miaofs::client;

    use super::*;

    #[tokio::test]
    async fn who_waits_is_told_when_all_is_here_and_when_nothing_more_comes() {
        let (mut pull, link) = (FirstPull::new(false), Link::new());
        link.found();
        let (done, ()) = tokio::join!(pull.done(&link), async {
            pull.came(1000);
            tokio::task::yield_now().await;
            assert_eq!(pull.so_far(), Some(1000));
            pull.finish();
        });
        assert_eq!((done, pull.so_far()), (Ok(()), None));
        pull = FirstPull { limit: Duration::from_millis(50), ..FirstPull::new(false) };
        assert_eq!(pull.done(&link).await, Err(NamesError::Stalled));
    }

    #[tokio::test]
    async fn nobody_waits_for_a_server_that_is_away() {
        let (pull, link) = (FirstPull::new(false), Link::new());
        let (away, ()) = tokio::join!(pull.done(&link), async {
            link.failed(&client::Error::signed_out());
        });
        assert_eq!(away, Err(NamesError::Offline));
    }
}
