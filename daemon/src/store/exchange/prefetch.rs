//! Which files of a directory a reader who goes through it will want next.

use rusqlite::{OptionalExtension, params};

use crate::store::core::Store;
use crate::store::disk::columns;
use crate::store::error::Error;
use crate::store::node::Ino;

/// Names that are looked at to find files that are not here: a directory may be very large.
const LOOK_MAX: i64 = 1024;

/// Where a file stands in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DirPosition {
    /// The directory.
    pub parent: Ino,
    /// The cookie of its entry: the order in which the directory is listed.
    pub cookie: u64,
}

/// How many files may be fetched ahead.
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
        let tree = self.tree();
        let position = tree
            .db
            .prepare_cached("SELECT parent, cookie FROM entries WHERE ino = ?1 LIMIT 1")?
            .query_row([ino.0 as i64], |row| {
                Ok(DirPosition {
                    parent: Ino(columns::number(row, 0)?),
                    cookie: columns::number(row, 1)?,
                })
            })
            .optional()?;
        Ok(position)
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
        let tree = self.tree();
        let mut statement = tree.db.prepare_cached(
            "SELECT nodes.ino, nodes.digest_size FROM \
             (SELECT cookie, ino FROM entries WHERE parent = ?1 AND cookie > ?2 \
             ORDER BY cookie LIMIT ?3) AS listed \
             JOIN nodes ON nodes.ino = listed.ino \
             WHERE nodes.digest IS NOT NULL AND nodes.cached = 0 AND nodes.dirty = 0 \
             AND nodes.digest_size BETWEEN 1 AND ?4 ORDER BY listed.cookie LIMIT ?5",
        )?;
        let limits = params![
            position.parent.0 as i64,
            position.cookie as i64,
            LOOK_MAX,
            batch.largest as i64,
            batch.files as i64
        ];
        let rows = statement.query_map(limits, |row| {
            Ok((Ino(columns::number(row, 0)?), columns::number(row, 1)?))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
