//! Large contents that were asked for a moment ago: a reader of one asks for many ranges in a row, and each would be looked up anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use miaofs::content::Digest;
use miaofs::protocol::downloads::SMALL_MAX;

use super::reader::LastFile;
use crate::backend::UserId;
use crate::backend::layout::Layout;

/// Time for which a lookup holds: what becomes of the content meanwhile, its owner may still read it.
const LIFETIME: Duration = Duration::from_secs(1);
/// Contents that are remembered at the most, each with one open file.
const CONTENTS_MAX: usize = 64;
/// Chunks of one that is remembered at the most: 2 MiB of digests.
const CHUNKS_MAX: usize = 65_536;

/// A content that was looked up for its owner.
#[derive(Debug)]
pub(super) struct FoundContent {
    pub(super) layout: Layout,
    /// The file that was open last to read it.
    pub(super) file: LastFile,
}

type ByOwner = HashMap<(UserId, Digest), Arc<FoundContent>>;

/// Contents that were found lately, by who owns them.
#[derive(Debug, Clone)]
pub(super) struct RecentContents {
    found: Arc<Mutex<ByOwner>>,
    lifetime: Duration,
}

impl RecentContents {
    /// None so far.
    pub(super) fn new() -> Self {
        Self { found: Arc::default(), lifetime: LIFETIME }
    }

    /// A content that was found less than [`LIFETIME`] ago.
    pub(super) fn get(&self, user: UserId, digest: Digest) -> Option<Arc<FoundContent>> {
        self.lock().get(&(user, digest)).cloned()
    }

    /// Remembers a content for [`LIFETIME`] if it is one of which ranges are read, and there is room.
    pub(super) fn remember(
        &self,
        user: UserId,
        digest: Digest,
        layout: Layout,
    ) -> Arc<FoundContent> {
        let found = Arc::new(FoundContent { layout, file: LastFile::default() });
        let (size, chunks) = (found.layout.size(), found.layout.chunks().len());
        let mut recent = self.lock();
        if size > SMALL_MAX && chunks <= CHUNKS_MAX && recent.len() < CONTENTS_MAX {
            recent.insert((user, digest), Arc::clone(&found));
            let recent = self.clone();
            // Its file must not keep the room of a blob that is gone.
            tokio::spawn(async move {
                tokio::time::sleep(recent.lifetime).await;
                recent.lock().remove(&(user, digest));
            });
        }
        found
    }

    fn lock(&self) -> MutexGuard<'_, ByOwner> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::BlobId;
    use crate::backend::layout::Source;

    #[tokio::test]
    async fn a_large_content_is_remembered_for_its_owner_and_not_for_long() {
        let lifetime = Duration::from_millis(50);
        let recent = RecentContents { lifetime, ..RecentContents::new() };
        let source = Source::Blob { blob: BlobId::random(), offset: 0 };
        let digest = Digest::of_nothing();
        recent.remember(UserId(7), digest, Layout::of_small(digest, SMALL_MAX, source));
        assert!(recent.get(UserId(7), digest).is_none(), "it comes whole");
        recent.remember(UserId(7), digest, Layout::of_small(digest, SMALL_MAX + 1, source));
        assert!(recent.get(UserId(7), digest).is_some());
        assert!(recent.get(UserId(8), digest).is_none());
        let forgotten = async {
            while recent.get(UserId(7), digest).is_some() {
                tokio::time::sleep(lifetime / 10).await;
            }
        };
        tokio::time::timeout(LIFETIME * 10, forgotten).await.unwrap();
    }
}
