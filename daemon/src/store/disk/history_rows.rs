//! Rows of `seen_commits` and `compared`: which history of the drive this store knows, and how far the comparison with
//! another one is.

use miaofs::protocol::files::{self, SeenCommit};
use miaofs::protocol::ids::CommitId;
use rusqlite::{OptionalExtension, Row, params};

use super::columns::{inos, number};
use super::database::Database;
use super::meta;
use crate::store::error::Error;
use crate::store::node::Ino;

/// Key of the sequence number that the cursor is at.
const CURSOR: &str = "cursor";
/// Sizes of the spans of sequence numbers, each kept by its last commit only once it is [`SPANS`] such spans ago.
const SPAN_SIZES: [u64; 3] = [16, 256, 4096];
/// Spans of one size that are kept before larger ones are.
const SPANS: u64 = 64;
/// Commits after which rows are thinned out.
const THINNED_EACH: u64 = 64;

/// Place in the feed up to which its changes have been applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Sequence number of the commit.
    pub seq: u64,
    /// The commit's id, if the server told it.
    pub commit: Option<CommitId>,
}

impl From<u64> for Cursor {
    fn from(seq: u64) -> Self {
        Self { seq, commit: None }
    }
}

impl Cursor {
    /// The commit, if its id is known.
    pub(crate) fn seen(self) -> Option<SeenCommit> {
        self.commit.map(|id| SeenCommit { seq: self.seq, id })
    }
}

/// Reason for which all that is here is compared with the drive, from the feed's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// The server was restored from an older copy: what it does not show it has lost.
    Restored {
        /// The last commit that both histories have.
        common: u64,
    },
    /// The server has forgotten deletions: what it does not show it has deleted.
    Anew,
}

impl Comparison {
    /// The last commit that both histories have, if there are two.
    pub(crate) fn common(self) -> Option<u64> {
        match self {
            Self::Restored { common } => Some(common),
            Self::Anew => None,
        }
    }
}

/// The comparison that is in progress.
pub(crate) fn comparison(db: &Database) -> Result<Option<Comparison>, Error> {
    if let Some(common) = meta::number(db, meta::COMMON)? {
        return Ok(Some(Comparison::Restored { common }));
    }
    Ok(meta::number(db, meta::ANEW)?.map(|_| Comparison::Anew))
}

/// Writes down which comparison is in progress from now on. Nothing counts as compared.
pub(crate) fn set_comparison(db: &Database, comparison: Option<Comparison>) -> Result<(), Error> {
    db.write("DELETE FROM compared", &[])?;
    meta::set_or_remove(db, meta::COMMON, comparison.and_then(Comparison::common))?;
    let anew = (comparison == Some(Comparison::Anew)).then_some(1);
    meta::set_or_remove(db, meta::ANEW, anew)
}

/// Writes down where the cursor is from now on.
pub(crate) fn set_cursor(db: &Database, cursor: Cursor) -> Result<(), Error> {
    meta::set_number(db, CURSOR, cursor.seq)?;
    cursor.seen().map_or(Ok(()), |seen| add_seen(db, seen))
}

/// Where it is.
pub(crate) fn cursor(db: &Database) -> Result<Cursor, Error> {
    let seq = meta::number(db, CURSOR)?.unwrap_or(0);
    Ok(Cursor { seq, commit: seen_at(db, seq)? })
}

/// Remembers a commit of this drive's history, and fewer of those that are long ago.
pub(crate) fn add_seen(db: &Database, seen: SeenCommit) -> Result<(), Error> {
    let SeenCommit { seq, id } = seen;
    db.write(
        "INSERT OR REPLACE INTO seen_commits (seq, id) VALUES (?1, ?2)",
        params![seq as i64, id.to_bytes()],
    )?;
    if seq.is_multiple_of(THINNED_EACH) {
        for size in SPAN_SIZES {
            let until = seq.saturating_sub(size * SPANS);
            db.write(
                "DELETE FROM seen_commits WHERE seq <= ?1 \
                 AND seq NOT IN (SELECT max(seq) FROM seen_commits GROUP BY seq / ?2)",
                params![until as i64, size as i64],
            )?;
        }
    }
    Ok(())
}

/// The commits that are remembered, by rising number.
pub(crate) fn seen(db: &Database) -> Result<Vec<SeenCommit>, Error> {
    let mut statement = db.0.prepare_cached("SELECT seq, id FROM seen_commits ORDER BY seq")?;
    let rows = statement.query_map([], seen_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The commit of a number, if it is remembered.
fn seen_at(db: &Database, seq: u64) -> Result<Option<CommitId>, Error> {
    let found =
        db.0.prepare_cached("SELECT seq, id FROM seen_commits WHERE seq = ?1")?
            .query_row([seq as i64], seen_of)
            .optional()?;
    Ok(found.map(|seen| seen.id))
}

/// The newest commit that is remembered of those after one number, up to another.
pub(crate) fn seen_between(
    db: &Database,
    after: u64,
    until: u64,
) -> Result<Option<SeenCommit>, Error> {
    let last =
        "SELECT seq, id FROM seen_commits WHERE seq > ?1 AND seq <= ?2 ORDER BY seq DESC LIMIT 1";
    let [after, until] = [after, until].map(|seq| i64::try_from(seq).unwrap_or(i64::MAX));
    Ok(db.0.prepare_cached(last)?.query_row([after, until], seen_of).optional()?)
}

/// Forgets the commits after a number, which are of another history.
pub(crate) fn forget_seen_after(db: &Database, seq: u64) -> Result<(), Error> {
    db.write("DELETE FROM seen_commits WHERE seq > ?1", params![seq as i64])?;
    Ok(())
}

/// The server's nodes have been compared with what is here.
pub(crate) fn add_compared(db: &Database, nodes: &[files::Node]) -> Result<(), Error> {
    for node in nodes {
        db.write("INSERT OR IGNORE INTO compared (id) VALUES (?1)", params![node.id.to_bytes()])?;
    }
    Ok(())
}

/// Nodes that the server is thought to have and that were not compared.
pub(crate) fn not_compared(db: &Database) -> Result<Vec<Ino>, Error> {
    inos(db, "SELECT ino FROM nodes WHERE base > 0 AND id NOT IN (SELECT id FROM compared)", [])
}

fn seen_of(row: &Row<'_>) -> rusqlite::Result<SeenCommit> {
    Ok(SeenCommit { seq: number(row, 0)?, id: CommitId::from_bytes(row.get(1)?) })
}
