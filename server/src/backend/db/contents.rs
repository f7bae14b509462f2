//! Contents: which a user owns, and how many nodes name each.

use std::collections::HashMap;

use miaofs::content::Digest;
use sqlx::{QueryBuilder, Row as _};

use super::{Connection, ROWS_A_STATEMENT};
use crate::backend::{Error, UserId};

/// Of `digests`, the ones that the user owns, with their sizes in bytes.
///
/// A content is owned that a node of the user names, or that was uploaded or proven at
/// `claimed_since` (seconds since 1970) or later.
///
/// # Errors
/// [`Error::Database`].
pub async fn owned(
    db: &mut Connection,
    user: UserId,
    digests: &[Digest],
    claimed_since: i64,
) -> Result<HashMap<Digest, u64>, Error> {
    let mut owned = HashMap::new();
    for some in digests.chunks(ROWS_A_STATEMENT) {
        let mut query = QueryBuilder::new(
            "SELECT files.digest, files.size FROM user_contents \
             JOIN files ON files.digest = user_contents.digest WHERE user_contents.user_id = ",
        );
        query
            .push_bind(user.0)
            .push(" AND (user_contents.refs > 0 OR user_contents.claimed_at >= ");
        query.push_bind(claimed_since).push(") AND user_contents.digest IN ");
        push_digests(&mut query, some);
        for row in query.build().fetch_all(&mut *db).await? {
            let digest = digest_of(row.try_get(0)?)?;
            let size: i64 = row.try_get(1)?;
            owned.insert(digest, size.cast_unsigned());
        }
    }
    Ok(owned)
}

/// Adds `delta` nodes of the user to the counts of all `digests`, each of which stands once.
///
/// A content whose count falls to 0 waits from `now` (seconds since 1970) for its collection, and
/// counts as claimed now, so that undoing a deletion needs no upload.
///
/// # Errors
/// [`Error::Database`].
pub async fn count_refs(
    db: &mut Connection,
    user: UserId,
    digests: &[Digest],
    delta: i64,
    now: i64,
) -> Result<(), Error> {
    for some in digests.chunks(ROWS_A_STATEMENT) {
        let mut query =
            QueryBuilder::new("UPDATE user_contents SET claimed_at = CASE WHEN refs + ");
        query.push_bind(delta).push(" = 0 THEN ").push_bind(now);
        query.push(" ELSE claimed_at END, refs = refs + ").push_bind(delta);
        query.push(" WHERE user_id = ").push_bind(user.0).push(" AND digest IN ");
        push_digests(&mut query, some);
        query.build().execute(&mut *db).await?;

        let mut query = QueryBuilder::new("UPDATE files SET zero_at = CASE WHEN refs + ");
        query.push_bind(delta).push(" = 0 THEN ").push_bind(now);
        query.push(" ELSE NULL END, refs = refs + ").push_bind(delta);
        query.push(" WHERE digest IN ");
        push_digests(&mut query, some);
        query.build().execute(&mut *db).await?;
    }
    Ok(())
}

fn push_digests(query: &mut QueryBuilder<sqlx::Sqlite>, digests: &[Digest]) {
    query.push("(");
    let mut list = query.separated(", ");
    for digest in digests {
        list.push_bind(digest.as_bytes().to_vec());
    }
    query.push(")");
}

/// Reads a digest from a column.
///
/// # Errors
/// [`Error::Damaged`] when it has not 32 bytes.
pub fn digest_of(bytes: &[u8]) -> Result<Digest, Error> {
    Digest::try_from(bytes).map_err(|_wrong_length| Error::Damaged { what: "digest" })
}
