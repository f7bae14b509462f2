//! Candidates for prefetching: files of a directory that a reader who goes through it will want next.

use crate::store::core::Store;
use crate::store::disk::entry_rows;
use crate::store::disk::inode_queries::{self, UncachedQuery};
use crate::store::error::Error;
use crate::store::node::Ino;

/// Names that are looked at to find files that are not here: a directory may be very large.
const LOOK_MAX: usize = 1024;

/// Where a file stands in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DirPosition {
    /// The directory.
    pub parent: Ino,
    /// The cookie of its entry: the order in which the directory is listed.
    pub cookie: u64,
}

/// Limits of fetching files ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PrefetchLimits {
    /// Files at the most.
    pub files: usize,
    /// Bytes of all of them at the most.
    pub bytes: u64,
    /// Bytes of each of them at the most.
    pub largest: u64,
}

impl Store {
    /// Where the first name of a node stands; `None` when it has none.
    pub(crate) fn position(&self, ino: Ino) -> Result<Option<DirPosition>, Error> {
        let position = entry_rows::position(&self.tree().db, ino)?;
        Ok(position.map(|(parent, cookie)| DirPosition { parent, cookie }))
    }

    /// Files listed after `position` of which nothing is here; when they are few, those listed before as well.
    pub(crate) fn uncached_after(
        &self,
        position: DirPosition,
        batch: PrefetchLimits,
    ) -> Result<Vec<(Ino, u64)>, Error> {
        let mut found = self.uncached_from(position, batch)?;
        if found.len() < batch.files {
            let start = DirPosition { cookie: 0, ..position };
            for file in self.uncached_from(start, batch)? {
                if !found.contains(&file) {
                    found.push(file);
                }
            }
        }
        found.truncate(batch.files);
        let mut left = batch.bytes;
        let fits =
            |(_, size): &(Ino, u64)| left.checked_sub(*size).inspect(|rest| left = *rest).is_some();
        Ok(found.into_iter().take_while(fits).collect())
    }

    fn uncached_from(
        &self,
        position: DirPosition,
        batch: PrefetchLimits,
    ) -> Result<Vec<(Ino, u64)>, Error> {
        let query = UncachedQuery {
            parent: position.parent,
            after: position.cookie,
            entries: LOOK_MAX,
            largest: batch.largest,
            files: batch.files,
        };
        inode_queries::uncached_files(&self.tree().db, query)
    }
}
