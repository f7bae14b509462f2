//! Contents: their layouts, their owners, and the number of nodes that name each.

use std::collections::{HashMap, HashSet};

use miaofs::content::{Digest, Md5};

use super::columns::{blob_from_column, digest_from_column, size_to_column};
use super::{Connection, Lock, ROWS_A_STATEMENT, Statement, query};
use crate::backend::layout::Layout;
use crate::backend::{BlobId, Error, UserId};

/// Status of a content that stays while it is owned.
pub(super) const KEPT: i64 = 0;
/// Status of a spare content.
const SPARE: i64 = 1;

/// Of `digests`, the ones that the user owns, with their sizes in bytes.
///
/// A content is owned that a node of the user names, or that was uploaded or proven at
/// `claimed_since` (seconds since 1970) or later.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn owned(
    db: &mut Connection,
    user: UserId,
    digests: &[Digest],
    claimed_since: i64,
) -> Result<HashMap<Digest, u64>, Error> {
    let mut owned = HashMap::new();
    for some in digests.chunks(ROWS_A_STATEMENT) {
        let mut query = select_owned("files.digest, files.size", user);
        query.push(" AND (user_contents.refs > 0 OR user_contents.claimed_at >= ");
        query.push_bind(claimed_since).push(") AND user_contents.digest IN ");
        push_digests(&mut query, some);
        for row in query.fetch_all(&mut *db).await? {
            let digest = digest_from_column(row.try_get(0)?)?;
            let size: i64 = row.try_get(1)?;
            owned.insert(digest, size.cast_unsigned());
        }
    }
    Ok(owned)
}

/// The layouts of those of `digests` that the user owns, as by [`owned`], and that have at most `size_max` bytes.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn owned_layouts(
    db: &mut Connection,
    user: UserId,
    digests: &[Digest],
    claimed_since: i64,
    size_max: u64,
) -> Result<HashMap<Digest, Layout>, Error> {
    let mut layouts = HashMap::new();
    for some in digests.chunks(ROWS_A_STATEMENT) {
        let mut query = select_owned("files.digest, files.size, files.manifest", user);
        query.push(" AND (user_contents.refs > 0 OR user_contents.claimed_at >= ");
        query.push_bind(claimed_since).push(") AND files.size <= ");
        query.push_bind(size_to_column(size_max)).push(" AND user_contents.digest IN ");
        push_digests(&mut query, some);
        for row in query.fetch_all(&mut *db).await? {
            let digest = digest_from_column(row.try_get(0)?)?;
            let size: i64 = row.try_get(1)?;
            layouts.insert(digest, Layout::decode(size.cast_unsigned(), row.try_get(2)?)?);
        }
    }
    Ok(layouts)
}

/// Begins a statement that reads columns of contents that a user owned at some time.
fn select_owned(columns: &'static str, user: UserId) -> Statement {
    let mut query = query("SELECT ");
    query.push(columns).push(" FROM user_contents JOIN files");
    query.push(" ON files.digest = user_contents.digest WHERE user_contents.user_id = ");
    query.push_bind(user.0);
    query
}

/// Adds `delta` nodes of the user to the counts of all `digests`, each of which is given once.
///
/// A content whose count falls to 0 waits from `now` (seconds since 1970) for its collection, and
/// counts as claimed now, so that undoing a deletion needs no upload.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn count_refs(
    db: &mut Connection,
    user: UserId,
    digests: &[Digest],
    delta: i64,
    now: i64,
) -> Result<(), Error> {
    for some in digests.chunks(ROWS_A_STATEMENT) {
        let mut change = query("UPDATE user_contents SET claimed_at = CASE WHEN refs + ");
        change.push_bind(delta).push(" = 0 THEN ").push_bind(now);
        change.push(" ELSE claimed_at END, refs = refs + ").push_bind(delta);
        change.push(" WHERE user_id = ").push_bind(user.0).push(" AND digest IN ");
        push_digests(&mut change, some);
        change.execute(&mut *db).await?;

        let mut change = query("UPDATE files SET zero_at = CASE WHEN refs + ");
        change.push_bind(delta).push(" = 0 THEN ").push_bind(now);
        change.push(" ELSE NULL END, refs = refs + ").push_bind(delta);
        change.push(" WHERE digest IN ");
        push_digests(&mut change, some);
        change.execute(&mut *db).await?;
    }
    Ok(())
}

/// A content that is new to the server.
#[derive(Debug, Clone)]
pub(crate) struct NewContent {
    /// BLAKE3 digest.
    pub digest: Digest,
    /// MD5, when it was computed on the way.
    pub md5: Option<Md5>,
    /// Chunks and their sources.
    pub layout: Layout,
}

/// Time for which a content that is inserted stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retention {
    /// Stays for as long as somebody owns it.
    Kept,
    /// Stands a second time, under a name that is no digest, and goes with what nothing names since `unnamed_since`
    /// (seconds since 1970): bytes that were received for nothing take the same work so.
    Spare { unnamed_since: i64 },
}

impl Retention {
    /// The name of a content. That of a spare one begins like the digest, so that its rows are written beside those that
    /// the content would have, and ends in 16 bytes of chance, so that nobody can ask for it.
    fn name(self, content: &NewContent) -> Digest {
        let mut name = *content.digest.as_bytes();
        if let Self::Spare { .. } = self {
            name[16..].copy_from_slice(&rand::random::<[u8; 16]>());
        }
        Digest::from_bytes(name)
    }

    /// The columns `status` and `zero_at` of a content inserted `now`.
    fn to_columns(self, now: i64) -> (i64, i64) {
        match self {
            Self::Kept => (KEPT, now),
            Self::Spare { unnamed_since } => (SPARE, unnamed_since),
        }
    }
}

/// Layout of a content; `None` when the server does not have it.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn layout(db: &mut Connection, digest: Digest) -> Result<Option<Layout>, Error> {
    let row = query("SELECT size, manifest FROM files WHERE digest = ?")
        .bind(&digest.as_bytes()[..])
        .fetch_optional(db)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let size: i64 = row.try_get(0)?;
    Layout::decode(size.cast_unsigned(), row.try_get(1)?).map(Some)
}

/// Of `digests`, the ones that the server has, whoever owns them.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn stored(
    db: &mut Connection,
    digests: &[Digest],
) -> Result<HashSet<Digest>, Error> {
    let mut stored = HashSet::new();
    for some in digests.chunks(ROWS_A_STATEMENT) {
        let mut query = query("SELECT digest FROM files WHERE digest IN ");
        push_digests(&mut query, some);
        for row in query.fetch_all(&mut *db).await? {
            stored.insert(digest_from_column(row.try_get(0)?)?);
        }
    }
    Ok(stored)
}

/// Locks the rows of `digests`, so that none is collected before the transaction ends; returns those that
/// the server has.
///
/// Whoever claims contents, counts references or removes contents locks them first: to claim, with
/// [`Lock::Shared`].
///
/// # Errors
/// [`Error::Database`], [`Error::SerializationFailure`].
pub(crate) async fn lock_rows(
    db: &mut Connection,
    digests: &[Digest],
    lock: Lock,
) -> Result<HashSet<Digest>, Error> {
    if db.is_alone() {
        return stored(db, digests).await;
    }
    let mut sorted = digests.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut held = HashSet::new();
    for some in sorted.chunks(ROWS_A_STATEMENT) {
        let mut query = query("SELECT digest FROM files WHERE digest IN ");
        push_digests(&mut query, some);
        query.push(" ORDER BY digest");
        for row in query.lock(lock).fetch_all(&mut *db).await? {
            held.insert(digest_from_column(row.try_get(0)?)?);
        }
    }
    Ok(held)
}

/// The content with an MD5 and a size that the user owns, as by [`owned`].
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn owned_by_md5(
    db: &mut Connection,
    user: UserId,
    (md5, size): (Md5, u64),
    claimed_since: i64,
) -> Result<Option<Digest>, Error> {
    let mut query = query("SELECT digest FROM files WHERE md5 = ");
    query.push_bind(md5.as_bytes().to_vec()).push(" AND size = ").push_bind(size_to_column(size));
    query.push(" AND EXISTS (SELECT 1 FROM user_contents WHERE digest = files.digest");
    query.push(" AND user_id = ").push_bind(user.0).push(" AND (user_contents.refs > 0");
    query.push(" OR claimed_at >= ").push_bind(claimed_since).push("))");
    query.push(" ORDER BY created_at LIMIT 1");
    let row = query.fetch_optional(db).await?;
    row.map(|row| digest_from_column(row.try_get(0)?)).transpose()
}

/// Inserts contents with the blobs that they use: each once, and as a spare one where the server has it.
///
/// # Errors
/// [`Error::Duplicate`] when one is there, [`Error::Database`].
pub(crate) async fn insert(
    db: &mut Connection,
    contents: &[(&NewContent, Retention)],
    now: i64,
) -> Result<(), Error> {
    let named: Vec<(Digest, &NewContent, Retention)> = contents
        .iter()
        .map(|(content, retention)| (retention.name(content), *content, *retention))
        .collect();
    for some in named.chunks(ROWS_A_STATEMENT) {
        let mut insert =
            query("INSERT INTO files (digest, md5, size, manifest, status, created_at, zero_at)");
        insert.push_rows(some, |(name, content, retention)| {
            let (status, zero_at) = retention.to_columns(now);
            [
                name.as_bytes()[..].into(),
                content.md5.map(|md5| md5.as_bytes().to_vec()).into(),
                size_to_column(content.layout.size()).into(),
                content.layout.encode().into(),
                status.into(),
                now.into(),
                zero_at.into(),
            ]
        });
        insert.execute(&mut *db).await?;
    }
    let stands_on = |(name, content, _): &(Digest, &NewContent, Retention)| {
        let name = *name;
        content.layout.blobs().into_iter().map(move |blob| (name, blob))
    };
    let pairs: Vec<(Digest, BlobId)> = named.iter().flat_map(stands_on).collect();
    for some in pairs.chunks(ROWS_A_STATEMENT) {
        let mut insert = query("INSERT INTO file_blobs (digest, blob_id)");
        insert.push_rows(some, |(digest, blob)| {
            [digest.as_bytes()[..].into(), blob.as_bytes()[..].into()]
        });
        insert.execute(&mut *db).await?;
    }
    Ok(())
}

/// Makes stored contents, each given once, the user's own from `now` on.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn claim(
    db: &mut Connection,
    user: UserId,
    digests: &[Digest],
    now: i64,
) -> Result<(), Error> {
    for some in digests.chunks(ROWS_A_STATEMENT) {
        let mut look = query("SELECT digest FROM user_contents WHERE user_id = ");
        look.push_bind(user.0).push(" AND digest IN ");
        push_digests(&mut look, some);
        let mut had = HashSet::new();
        for row in look.fetch_all(&mut *db).await? {
            had.insert(digest_from_column(row.try_get(0)?)?);
        }
        let mut renew = query("UPDATE user_contents SET claimed_at = ");
        renew.push_bind(now).push(" WHERE user_id = ").push_bind(user.0);
        renew.push(" AND digest IN ");
        push_digests(&mut renew, some);
        renew.execute(&mut *db).await?;

        let fresh: Vec<&Digest> = some.iter().filter(|digest| !had.contains(digest)).collect();
        if fresh.is_empty() {
            continue;
        }
        let mut insert = query("INSERT INTO user_contents (user_id, digest, claimed_at)");
        insert.push_rows(fresh, |digest| [user.0.into(), digest.as_bytes()[..].into(), now.into()]);
        insert.execute(&mut *db).await?;
    }
    Ok(())
}

/// The claim of one user on a content that no node of theirs names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Whose claim it is.
    pub user: UserId,
    /// Of which content.
    pub digest: Digest,
    /// Since when, in seconds since 1970.
    pub at: i64,
}

/// Claims made at `since` (seconds since 1970) or later that are too many: counted from a user's newest
/// claim on, they make up more bytes than the user's quota.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn surplus_claims(
    db: &mut Connection,
    since: i64,
    limit: usize,
) -> Result<Vec<Claim>, Error> {
    let rows = query(
        "SELECT user_id, digest, claimed_at FROM (
             SELECT user_contents.user_id, user_contents.digest, user_contents.claimed_at,
                 users.quota, SUM(files.size) OVER (
                     PARTITION BY user_contents.user_id
                     ORDER BY user_contents.claimed_at DESC, user_contents.digest
                 ) AS claimed
             FROM user_contents
             JOIN files ON files.digest = user_contents.digest
             JOIN users ON users.id = user_contents.user_id
             WHERE user_contents.refs = 0 AND user_contents.claimed_at >= ?
         ) AS claims WHERE claimed > quota LIMIT ?",
    )
    .bind(since)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(db)
    .await?;
    let claim = |row: &super::Row| {
        let digest = digest_from_column(row.try_get(1)?)?;
        Ok(Claim { user: UserId(row.try_get(0)?), digest, at: row.try_get(2)? })
    };
    rows.iter().map(claim).collect()
}

/// Ends a claim, unless it was renewed or a node names the content by now. What nobody else has may be
/// collected at once.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn end_claim(db: &mut Connection, claim: Claim) -> Result<(), Error> {
    lock_rows(db, &[claim.digest], Lock::Exclusive).await?;
    let ended = query(
        "UPDATE user_contents SET claimed_at = NULL
         WHERE user_id = ? AND digest = ? AND claimed_at = ? AND refs = 0",
    )
    .bind(claim.user.0)
    .bind(&claim.digest.as_bytes()[..])
    .bind(claim.at)
    .execute(&mut *db)
    .await?;
    if ended > 0 {
        query("UPDATE files SET zero_at = 0 WHERE digest = ? AND refs = 0")
            .bind(&claim.digest.as_bytes()[..])
            .execute(db)
            .await?;
    }
    Ok(())
}

/// Contents that nothing has named since `before`, and that nobody has claimed since then.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn collectable(
    db: &mut Connection,
    before: i64,
    limit: usize,
) -> Result<Vec<Digest>, Error> {
    let mut select = select_collectable(before);
    select.push(" LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows = select.fetch_all(db).await?;
    rows.iter().map(|row| digest_from_column(row.try_get(0)?)).collect()
}

/// Of contents that were collectable a while ago, the ones that still are, locked until the transaction
/// ends.
///
/// # Errors
/// [`Error::Database`], [`Error::SerializationFailure`].
pub(crate) async fn still_collectable(
    db: &mut Connection,
    digests: &[Digest],
    before: i64,
) -> Result<Vec<Digest>, Error> {
    lock_rows(db, digests, Lock::Exclusive).await?;
    let mut found = Vec::new();
    for some in digests.chunks(ROWS_A_STATEMENT) {
        let mut select = select_collectable(before);
        select.push(" AND digest IN ");
        push_digests(&mut select, some);
        for row in select.fetch_all(&mut *db).await? {
            found.push(digest_from_column(row.try_get(0)?)?);
        }
    }
    Ok(found)
}

fn select_collectable(before: i64) -> Statement {
    let mut select = query("SELECT digest FROM files WHERE refs = 0 AND zero_at < ");
    select.push_bind(before).push(" AND NOT EXISTS (SELECT 1 FROM user_contents");
    select.push(" WHERE digest = files.digest AND (refs > 0 OR claimed_at >= ");
    select.push_bind(before).push("))");
    select
}

/// Removes a content with the records of its owners and blobs. Returns the blobs that it used.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn remove(db: &mut Connection, digest: Digest) -> Result<Vec<BlobId>, Error> {
    let rows = query("SELECT blob_id FROM file_blobs WHERE digest = ?")
        .bind(&digest.as_bytes()[..])
        .fetch_all(&mut *db)
        .await?;
    for statement in [
        "DELETE FROM user_contents WHERE digest = ?",
        "DELETE FROM file_blobs WHERE digest = ?",
        "DELETE FROM files WHERE digest = ?",
    ] {
        query(statement).bind(&digest.as_bytes()[..]).execute(&mut *db).await?;
    }
    rows.iter().map(|row| blob_from_column(row.try_get(0)?)).collect()
}

/// Contents on a blob whose MD5 is not known.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn without_md5(db: &mut Connection, blob: BlobId) -> Result<Vec<Digest>, Error> {
    let rows = query(
        "SELECT files.digest FROM file_blobs JOIN files ON files.digest = file_blobs.digest
         WHERE file_blobs.blob_id = ? AND files.md5 IS NULL",
    )
    .bind(&blob.as_bytes()[..])
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| digest_from_column(row.try_get(0)?)).collect()
}

/// Sets the MD5 of a content.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn set_md5(db: &mut Connection, digest: Digest, md5: Md5) -> Result<(), Error> {
    query("UPDATE files SET md5 = ? WHERE digest = ?")
        .bind(&md5.as_bytes()[..])
        .bind(&digest.as_bytes()[..])
        .execute(db)
        .await?;
    Ok(())
}

fn push_digests(query: &mut Statement, digests: &[Digest]) {
    query.push_list(digests.iter().map(|digest| &digest.as_bytes()[..]));
}
