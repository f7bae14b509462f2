//! Ids of the commits to drives: by them a device finds that the database was restored from an older copy.
//!
//! The feed is a state, so nothing else remembers a commit. The ids of the last [`KEPT`] are kept of each drive.

use miaofs::protocol::ids::CommitId;

use super::{Connection, query};
use crate::backend::{Error, UserId};

/// Commits of a drive whose ids are kept.
const KEPT: u64 = 100_000;
/// Commits after which those beyond are removed together.
const REMOVED_EACH: u64 = 1000;

/// Gives the commit of a sequence number an id.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn insert(db: &mut Connection, user: UserId, seq: u64) -> Result<CommitId, Error> {
    let id = CommitId::random();
    query("INSERT INTO commits (user_id, seq, id) VALUES (?, ?, ?)")
        .bind(user.0)
        .bind(seq.cast_signed())
        .bind(id.to_bytes().to_vec())
        .execute(&mut *db)
        .await?;
    if seq > KEPT && seq.is_multiple_of(REMOVED_EACH) {
        query("DELETE FROM commits WHERE user_id = ? AND seq <= ?")
            .bind(user.0)
            .bind((seq - KEPT).cast_signed())
            .execute(db)
            .await?;
    }
    Ok(id)
}

/// The id of the commit of a sequence number, if it is kept.
///
/// # Errors
/// [`Error::Database`]; [`Error::Damaged`] when it has not 16 bytes.
pub(crate) async fn id(
    db: &mut Connection,
    user: UserId,
    seq: u64,
) -> Result<Option<CommitId>, Error> {
    let row = query("SELECT id FROM commits WHERE user_id = ? AND seq = ?")
        .bind(user.0)
        .bind(seq.cast_signed())
        .fetch_optional(db)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let id = CommitId::try_from(row.try_get::<&[u8], _>(0)?);
    id.map(Some).map_err(|error| Error::damaged("commit id", error))
}
