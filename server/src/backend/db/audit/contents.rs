//! Checks of contents: their reference counts, the blobs that they use, and the transfers of those.

use std::collections::BTreeSet;

use miaofs::content::Digest;

use crate::backend::db::columns::{blob_from_column, digest_from_column};
use crate::backend::db::contents::KEPT;
use crate::backend::db::{Connection, Row, query};
use crate::backend::{BlobId, Error, UserId};

/// Some contents that a user owns, after one, by rising digest.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn owned_after(
    db: &mut Connection,
    user: UserId,
    after: Option<Digest>,
    limit: u32,
) -> Result<Vec<Digest>, Error> {
    let rows = query(
        "SELECT digest FROM user_contents WHERE user_id = ? AND digest > ? ORDER BY digest LIMIT ?",
    )
    .bind(user.0)
    .bind(digest_key(after))
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| digest_from_column(row.try_get(0)?)).collect()
}

/// References of a user to a content: the stored count, and the counted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnedCount {
    /// Digest of the content.
    pub digest: Digest,
    /// The stored count.
    pub said: i64,
    /// Nodes and versions that name it.
    pub counted: i64,
    /// True if the server has the content.
    pub stored: bool,
}

/// The contents of a user, after one and up to another, whose counts are wrong or that the server does
/// not have.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn miscounted_owned(
    db: &mut Connection,
    user: UserId,
    (after, until): (Option<Digest>, Digest),
) -> Result<Vec<OwnedCount>, Error> {
    let rows = query(
        "SELECT digest, said, counted, stored FROM (
             SELECT c.digest AS digest, c.refs AS said,
                 (SELECT COUNT(*) FROM nodes n /*! FORCE INDEX (nodes_by_digest) */
                  WHERE n.user_id = c.user_id AND n.digest = c.digest AND n.deleted_at IS NULL)
                 + (SELECT COUNT(*) FROM versions v
                    WHERE v.user_id = c.user_id AND v.digest = c.digest) AS counted,
                 (SELECT COUNT(*) FROM files f WHERE f.digest = c.digest) AS stored
             FROM user_contents c WHERE c.user_id = ? AND c.digest > ? AND c.digest <= ?
         ) AS counts WHERE said <> counted OR stored = 0",
    )
    .bind(user.0)
    .bind(digest_key(after))
    .bind(until.as_bytes().to_vec())
    .fetch_all(db)
    .await?;
    let count = |row: &Row| {
        Ok(OwnedCount {
            digest: digest_from_column(row.try_get(0)?)?,
            said: row.try_get(1)?,
            counted: row.try_get(2)?,
            stored: row.try_get::<i64, _>(3)? > 0,
        })
    };
    rows.iter().map(count).collect()
}

/// Counts anew how often a user names a content, which becomes the user's own if it was not. What turns
/// out to be named by nothing counts as claimed at `now` (seconds since 1970).
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn recount_owned(
    db: &mut Connection,
    user: UserId,
    digest: Digest,
    now: i64,
) -> Result<(), Error> {
    let digest = digest.as_bytes().to_vec();
    let known = query("SELECT 1 FROM user_contents WHERE user_id = ? AND digest = ?")
        .bind(user.0)
        .bind(digest.clone())
        .fetch_optional(db)
        .await?;
    if known.is_none() {
        query("INSERT INTO user_contents (user_id, digest, claimed_at) VALUES (?, ?, ?)")
            .bind(user.0)
            .bind(digest.clone())
            .bind(now)
            .execute(db)
            .await?;
    }
    query(
        "UPDATE user_contents SET claimed_at = ?,
             refs = (SELECT COUNT(*) FROM nodes WHERE user_id = ? AND digest = ?
                     AND deleted_at IS NULL)
                  + (SELECT COUNT(*) FROM versions WHERE user_id = ? AND digest = ?)
         WHERE user_id = ? AND digest = ?",
    )
    .bind(now)
    .bind(user.0)
    .bind(digest.clone())
    .bind(user.0)
    .bind(digest.clone())
    .bind(user.0)
    .bind(digest)
    .execute(db)
    .await?;
    Ok(())
}

/// Removes the record that a user owns a content that the server does not have and no node of theirs names.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn remove_ownership(
    db: &mut Connection,
    user: UserId,
    digest: Digest,
) -> Result<(), Error> {
    query("DELETE FROM user_contents WHERE user_id = ? AND digest = ?")
        .bind(user.0)
        .bind(digest.as_bytes().to_vec())
        .execute(db)
        .await?;
    Ok(())
}

/// Some contents after one, by rising digest, without spare ones: those have other names than their bytes.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn contents_after(
    db: &mut Connection,
    after: Option<Digest>,
    limit: u32,
) -> Result<Vec<Digest>, Error> {
    let sql = "SELECT digest FROM files WHERE digest > ? AND status = ? ORDER BY digest LIMIT ?";
    let rows =
        query(sql).bind(digest_key(after)).bind(KEPT).bind(i64::from(limit)).fetch_all(db).await?;
    rows.iter().map(|row| digest_from_column(row.try_get(0)?)).collect()
}

/// Contents after one and up to another that are not named as often as they say.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn miscounted_contents(
    db: &mut Connection,
    (after, until): (Option<Digest>, Digest),
) -> Result<Vec<Digest>, Error> {
    let rows = query(
        "SELECT f.digest FROM files f WHERE f.digest > ? AND f.digest <= ? AND (
             f.refs <> (SELECT COALESCE(SUM(c.refs), 0) FROM user_contents c
                        WHERE c.digest = f.digest)
             OR (f.refs = 0 AND f.zero_at IS NULL) OR (f.refs <> 0 AND f.zero_at IS NOT NULL))",
    )
    .bind(digest_key(after))
    .bind(until.as_bytes().to_vec())
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| digest_from_column(row.try_get(0)?)).collect()
}

/// Counts anew how often a content is named; from `now` (seconds since 1970) on it waits for its
/// collection if it is not.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn recount_content(
    db: &mut Connection,
    digest: Digest,
    now: i64,
) -> Result<(), Error> {
    query(
        "UPDATE files SET refs = (SELECT COALESCE(SUM(user_contents.refs), 0) FROM user_contents
                                  WHERE user_contents.digest = ?) WHERE digest = ?",
    )
    .bind(digest.as_bytes().to_vec())
    .bind(digest.as_bytes().to_vec())
    .execute(db)
    .await?;
    query("UPDATE files SET zero_at = CASE WHEN refs = 0 THEN ? ELSE NULL END WHERE digest = ?")
        .bind(now)
        .bind(digest.as_bytes().to_vec())
        .execute(db)
        .await?;
    Ok(())
}

/// The blobs that a content is recorded to use.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn blobs_of(
    db: &mut Connection,
    digest: Digest,
) -> Result<BTreeSet<BlobId>, Error> {
    let rows = query("SELECT blob_id FROM file_blobs WHERE digest = ?")
        .bind(digest.as_bytes().to_vec())
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| blob_from_column(row.try_get(0)?)).collect()
}

/// Some contents after one, by rising digest, that are recorded to use blobs and do not exist.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn missing_contents(
    db: &mut Connection,
    after: Option<Digest>,
    limit: u32,
) -> Result<Vec<Digest>, Error> {
    let rows = query(
        "SELECT DISTINCT b.digest FROM file_blobs b WHERE b.digest > ? AND NOT EXISTS (
             SELECT 1 FROM files f WHERE f.digest = b.digest) ORDER BY b.digest LIMIT ?",
    )
    .bind(digest_key(after))
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| digest_from_column(row.try_get(0)?)).collect()
}

/// Records that a content uses these blobs and no others.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn set_blobs_of(
    db: &mut Connection,
    digest: Digest,
    blobs: &BTreeSet<BlobId>,
) -> Result<(), Error> {
    query("DELETE FROM file_blobs WHERE digest = ?")
        .bind(digest.as_bytes().to_vec())
        .execute(db)
        .await?;
    for blob in blobs {
        query("INSERT INTO file_blobs (digest, blob_id) VALUES (?, ?)")
            .bind(digest.as_bytes().to_vec())
            .bind(blob.as_bytes().to_vec())
            .execute(db)
            .await?;
    }
    Ok(())
}

/// Some blobs after one, by rising id.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn blobs_after(
    db: &mut Connection,
    after: Option<BlobId>,
    limit: u32,
) -> Result<Vec<BlobId>, Error> {
    let rows = query("SELECT id FROM blobs WHERE id > ? ORDER BY id LIMIT ?")
        .bind(after.map_or_else(Vec::new, |blob| blob.as_bytes().to_vec()))
        .bind(i64::from(limit))
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| blob_from_column(row.try_get(0)?)).collect()
}

/// Facts of a blob beside those of [`Blob`](crate::backend::db::blobs::Blob).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlobUse {
    /// The host that received it.
    pub host: String,
    /// Number of contents that use it.
    pub contents: i64,
    /// Number of its transfers, one at the most.
    pub transfers: i64,
    /// True if it is marked for deletion, so that its bytes may be gone.
    pub marked_for_deletion: bool,
}

/// Uses of a blob; `None` when it is not known.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn blob_use(db: &mut Connection, blob: BlobId) -> Result<Option<BlobUse>, Error> {
    let row = query(
        "SELECT COALESCE(host, ''), state,
             (SELECT COUNT(*) FROM file_blobs f WHERE f.blob_id = blobs.id),
             (SELECT COUNT(*) FROM transfers t WHERE t.blob_id = blobs.id)
         FROM blobs WHERE id = ?",
    )
    .bind(blob.as_bytes().to_vec())
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(BlobUse {
        host: row.try_get(0)?,
        marked_for_deletion: row.try_get::<i64, _>(1)? != 0,
        contents: row.try_get(2)?,
        transfers: row.try_get(3)?,
    }))
}

/// Some contents that use a blob, after one, by rising digest.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn contents_on(
    db: &mut Connection,
    blob: BlobId,
    after: Option<Digest>,
    limit: u32,
) -> Result<Vec<Digest>, Error> {
    let rows = query(
        "SELECT digest FROM file_blobs WHERE blob_id = ? AND digest > ? ORDER BY digest LIMIT ?",
    )
    .bind(blob.as_bytes().to_vec())
    .bind(digest_key(after))
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| digest_from_column(row.try_get(0)?)).collect()
}

/// Transfers, after one and by rising blob, of blobs that are not known.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn stray_transfers(
    db: &mut Connection,
    after: Option<BlobId>,
    limit: u32,
) -> Result<Vec<BlobId>, Error> {
    let rows = query(
        "SELECT blob_id FROM transfers WHERE blob_id > ? AND NOT EXISTS (
             SELECT 1 FROM blobs WHERE blobs.id = transfers.blob_id) ORDER BY blob_id LIMIT ?",
    )
    .bind(after.map_or_else(Vec::new, |blob| blob.as_bytes().to_vec()))
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| blob_from_column(row.try_get(0)?)).collect()
}

/// Blobs, after one and by rising id, that have copies and are not known.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn stray_copies(
    db: &mut Connection,
    after: Option<BlobId>,
    limit: u32,
) -> Result<Vec<BlobId>, Error> {
    let rows = query(
        "SELECT DISTINCT blob_id FROM copies WHERE blob_id > ? AND NOT EXISTS (
             SELECT 1 FROM blobs WHERE blobs.id = copies.blob_id) ORDER BY blob_id LIMIT ?",
    )
    .bind(after.map_or_else(Vec::new, |blob| blob.as_bytes().to_vec()))
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| blob_from_column(row.try_get(0)?)).collect()
}

/// Removes the rows of copies of a blob that is not known.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn remove_stray_copies(db: &mut Connection, blob: BlobId) -> Result<(), Error> {
    query(
        "DELETE FROM copies WHERE blob_id = ? AND NOT EXISTS (
             SELECT 1 FROM blobs WHERE blobs.id = copies.blob_id)",
    )
    .bind(blob.as_bytes().to_vec())
    .execute(db)
    .await?;
    Ok(())
}

fn digest_key(digest: Option<Digest>) -> Vec<u8> {
    digest.map_or_else(Vec::new, |digest| digest.as_bytes().to_vec())
}
