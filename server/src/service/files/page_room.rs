//! Room for large pages of the feed: bytes that all of them have in memory, from when they are read until they are sent.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::service::Error;

/// Pages up to so many bytes need no room: most have a few nodes.
const SMALL: u64 = 64 * 1024;
/// Bytes that all others have together; the largest page has a quarter of it.
const ROOM_KIB: u32 = 96 * 1024;
/// Longest time to wait for room.
const PATIENCE: Duration = Duration::from_secs(30);

/// Room for pages, for all drives. A clone is the same.
#[derive(Debug, Clone)]
pub(super) struct PageRoom(Arc<Semaphore>);

/// Bytes that one page may have in memory, as long as this lives.
#[derive(Debug)]
pub(crate) struct PageShare {
    _permit: OwnedSemaphorePermit,
    bytes: u64,
}

/// Permission to read a page.
pub(super) enum Admission {
    /// Not needed: the page is small.
    Small,
    /// Given.
    Room(PageShare),
    /// There is no room now.
    Full,
}

impl PageRoom {
    /// Room for as many pages as one process serves.
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_KIB as usize)))
    }

    /// Room for a page of so many bytes, if there is some; `share` is what it may have already.
    pub(super) fn admit(&self, bytes: u64, share: Option<PageShare>) -> Admission {
        if bytes <= SMALL {
            return Admission::Small;
        }
        if let Some(share) = share.filter(|share| share.bytes >= bytes) {
            return Admission::Room(share);
        }
        match self.0.clone().try_acquire_many_owned(kibibytes(bytes)) {
            Ok(permit) => Admission::Room(PageShare { _permit: permit, bytes }),
            Err(_full) => Admission::Full,
        }
    }

    /// Waits for room for a page of so many bytes. Nobody holds a transaction meanwhile.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when none comes.
    pub(super) async fn wait(&self, bytes: u64) -> Result<PageShare, Error> {
        let room = self.0.clone().acquire_many_owned(kibibytes(bytes));
        let permit = tokio::time::timeout(PATIENCE, room).await;
        let permit = permit.map_err(|_elapsed| Error::Unavailable)?;
        let permit = permit.map_err(|_closed| Error::Unavailable)?;
        Ok(PageShare { _permit: permit, bytes })
    }
}

/// Room of a page: the most that there is, for one that is larger.
fn kibibytes(bytes: u64) -> u32 {
    u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(ROOM_KIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn large_pages_wait_for_each_other_and_small_ones_for_nobody() {
        let room = PageRoom::new();
        let large = u64::from(ROOM_KIB) * 1024 * 2 / 3;
        let Admission::Room(first) = room.admit(large, None) else { panic!("there is room") };
        assert!(matches!(room.admit(SMALL, None), Admission::Small));
        assert!(matches!(room.admit(large, None), Admission::Full));
        let second = tokio::spawn({
            let room = room.clone();
            async move { room.wait(large).await }
        });
        drop(first);
        let second = second.await.unwrap().unwrap();
        assert!(matches!(room.admit(large, Some(second)), Admission::Room(_)));
        assert!(
            matches!(room.admit(u64::MAX, None), Admission::Room(_)),
            "the largest comes alone"
        );
    }
}
