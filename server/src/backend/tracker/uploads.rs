//! Uploads in flight: a hash per upload with its facts and one field per chunk that arrived.
//!
//! ```text
//!            begin                      finish
//!  (nothing) ─────▶ Receiving ───────────────────▶ Finished ──▶ (expired)
//!                      │  cancel, sweep: end_upload                ▲
//!                      └───────────────────────────────────────────┘
//! ```

use std::time::Duration;

use miaofs::content::{ChunkDigest, Digest};
use miaofs::protocol::host::HostName;
use miaofs::protocol::ids::UploadId;
use sqlx::Row;

use super::{Tracker, after};
use crate::backend::{Error, UserId, unix_now};

/// How far an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadPhase {
    /// Chunks may come.
    Receiving,
    /// Its content is stored; it is remembered so that asking again does no harm.
    Finished,
}

impl UploadPhase {
    const fn to_column(self) -> i64 {
        match self {
            Self::Receiving => 0,
            Self::Finished => 1,
        }
    }

    const fn from_column(value: i64) -> Option<Self> {
        match value {
            0 => Some(Self::Receiving),
            1 => Some(Self::Finished),
            _ => None,
        }
    }
}

/// The facts of an upload that the tracker knows; its chunks' digests stand beside the staged bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackedUpload {
    /// Its id.
    pub id: UploadId,
    /// Whose it is.
    pub user: UserId,
    /// The content that it brings.
    pub digest: Digest,
    /// Size of that content in bytes.
    pub size: u64,
    /// The host whose staging disk takes its chunks.
    pub host: HostName,
    /// The boot of that host in which all chunks that are marked were written. After another boot
    /// they may have been lost with the page cache.
    pub boot: Vec<u8>,
    /// How far it is.
    pub phase: UploadPhase,
    /// Seconds until it expires.
    pub expires_in: u64,
}

impl Tracker {
    /// Begins (or overwrites) an upload.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub async fn put_upload(&self, upload: &TrackedUpload) -> Result<(), Error> {
        sqlx::query(
            "REPLACE INTO uploads (id, user_id, digest, size, host, boot, phase, expires_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&upload.id.to_bytes()[..])
        .bind(upload.user.0)
        .bind(&upload.digest.as_bytes()[..])
        .bind(i64::try_from(upload.size).unwrap_or(i64::MAX))
        .bind(upload.host.as_str())
        .bind(&upload.boot[..])
        .bind(upload.phase.to_column())
        .bind(after(Duration::from_secs(upload.expires_in)))
        .execute(&self.quick)
        .await?;
        Ok(())
    }

    /// One upload, expired or not.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub async fn upload(&self, id: UploadId) -> Result<Option<TrackedUpload>, Error> {
        let row = sqlx::query(
            "SELECT id, user_id, digest, size, host, boot, phase, expires_at FROM uploads WHERE id = ?",
        )
        .bind(&id.to_bytes()[..])
        .fetch_optional(&self.quick)
        .await?;
        row.map(|row| upload_of(&row)).transpose()
    }

    /// The uploads by which a user is bringing a content.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub async fn uploads_of(
        &self,
        user: UserId,
        digest: Digest,
    ) -> Result<Vec<TrackedUpload>, Error> {
        let rows = sqlx::query(
            "SELECT id, user_id, digest, size, host, boot, phase, expires_at FROM uploads
             WHERE user_id = ? AND digest = ? AND phase = ? AND expires_at > ?",
        )
        .bind(user.0)
        .bind(&digest.as_bytes()[..])
        .bind(UploadPhase::Receiving.to_column())
        .bind(unix_now())
        .fetch_all(&self.quick)
        .await?;
        rows.iter().map(upload_of).collect()
    }

    /// Uploads of a host whose time is over.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub async fn expired_uploads(&self, host: &HostName) -> Result<Vec<TrackedUpload>, Error> {
        let rows = sqlx::query(
            "SELECT id, user_id, digest, size, host, boot, phase, expires_at FROM uploads
             WHERE expires_at <= ? AND host = ?",
        )
        .bind(unix_now())
        .bind(host.as_str())
        .fetch_all(&self.quick)
        .await?;
        rows.iter().map(upload_of).collect()
    }

    /// How many uploads a host is receiving.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub async fn receiving_uploads(&self, host: &HostName) -> Result<u64, Error> {
        let row = sqlx::query("SELECT COUNT(*) FROM uploads WHERE phase = ? AND host = ?")
            .bind(UploadPhase::Receiving.to_column())
            .bind(host.as_str())
            .fetch_one(&self.quick)
            .await?;
        Ok(row.try_get::<i64, _>(0)?.unsigned_abs())
    }

    /// Marks a chunk as received and renews the upload. Answers whether the upload is still receiving;
    /// when it is not, nothing is marked.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub async fn mark_chunk(
        &self,
        id: UploadId,
        index: u64,
        digest: ChunkDigest,
        lifetime: Duration,
    ) -> Result<bool, Error> {
        let mut transaction = self.quick.begin_with("BEGIN IMMEDIATE").await?;
        let renewed = sqlx::query("UPDATE uploads SET expires_at = ? WHERE id = ? AND phase = ?")
            .bind(after(lifetime))
            .bind(&id.to_bytes()[..])
            .bind(UploadPhase::Receiving.to_column())
            .execute(&mut *transaction)
            .await?;
        if renewed.rows_affected() > 0 {
            sqlx::query("REPLACE INTO chunks (upload, chunk, digest) VALUES (?, ?, ?)")
                .bind(&id.to_bytes()[..])
                .bind(i64::try_from(index).unwrap_or(i64::MAX))
                .bind(&digest.as_bytes()[..])
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(renewed.rows_affected() > 0)
    }

    /// Whether a chunk was received.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub async fn has_chunk(&self, id: UploadId, index: u64) -> Result<bool, Error> {
        let row = sqlx::query("SELECT 1 FROM chunks WHERE upload = ? AND chunk = ?")
            .bind(&id.to_bytes()[..])
            .bind(i64::try_from(index).unwrap_or(i64::MAX))
            .fetch_optional(&self.quick)
            .await?;
        Ok(row.is_some())
    }

    /// Indexes of the chunks that were received, rising.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub async fn received_chunks(&self, id: UploadId) -> Result<Vec<u64>, Error> {
        let rows = sqlx::query("SELECT chunk FROM chunks WHERE upload = ? ORDER BY chunk")
            .bind(&id.to_bytes()[..])
            .fetch_all(&self.quick)
            .await?;
        let index = |row: &sqlx::sqlite::SqliteRow| Ok(row.try_get::<i64, _>(0)?.unsigned_abs());
        rows.iter().map(index).collect()
    }

    /// Sets what was received to what the staged bytes prove, all of it written in this `boot`.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub async fn replace_chunks(
        &self,
        id: UploadId,
        boot: &[u8],
        received: &[(u64, ChunkDigest)],
    ) -> Result<(), Error> {
        let mut transaction = self.quick.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("DELETE FROM chunks WHERE upload = ?")
            .bind(&id.to_bytes()[..])
            .execute(&mut *transaction)
            .await?;
        for (index, digest) in received {
            sqlx::query("INSERT INTO chunks (upload, chunk, digest) VALUES (?, ?, ?)")
                .bind(&id.to_bytes()[..])
                .bind(i64::try_from(*index).unwrap_or(i64::MAX))
                .bind(&digest.as_bytes()[..])
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query("UPDATE uploads SET boot = ? WHERE id = ?")
            .bind(boot)
            .bind(&id.to_bytes()[..])
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Lets an upload live for `lifetime` from now.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub async fn renew_upload(&self, id: UploadId, lifetime: Duration) -> Result<(), Error> {
        sqlx::query("UPDATE uploads SET expires_at = ? WHERE id = ?")
            .bind(after(lifetime))
            .bind(&id.to_bytes()[..])
            .execute(&self.quick)
            .await?;
        Ok(())
    }

    /// Remembers for `lifetime` that an upload is finished, and forgets its chunks.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub async fn finish_upload(&self, id: UploadId, lifetime: Duration) -> Result<(), Error> {
        let mut transaction = self.quick.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("UPDATE uploads SET phase = ?, expires_at = ? WHERE id = ?")
            .bind(UploadPhase::Finished.to_column())
            .bind(after(lifetime))
            .bind(&id.to_bytes()[..])
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM chunks WHERE upload = ?")
            .bind(&id.to_bytes()[..])
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Forgets an upload and its chunks.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub async fn end_upload(&self, id: UploadId) -> Result<(), Error> {
        let mut transaction = self.quick.begin_with("BEGIN IMMEDIATE").await?;
        for statement in ["DELETE FROM uploads WHERE id = ?", "DELETE FROM chunks WHERE upload = ?"]
        {
            sqlx::query(statement).bind(&id.to_bytes()[..]).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

fn upload_of(row: &sqlx::sqlite::SqliteRow) -> Result<TrackedUpload, Error> {
    const DAMAGED: Error = Error::Damaged { what: "upload" };
    let id: &[u8] = row.try_get("id")?;
    let digest: &[u8] = row.try_get("digest")?;
    let expires_at: i64 = row.try_get("expires_at")?;
    let host: &str = row.try_get("host")?;
    Ok(TrackedUpload {
        id: UploadId::try_from(id).map_err(|_wrong_length| DAMAGED)?,
        user: UserId(row.try_get("user_id")?),
        digest: Digest::try_from(digest).map_err(|_wrong_length| DAMAGED)?,
        size: row.try_get::<i64, _>("size")?.unsigned_abs(),
        host: host.parse().map_err(|_not_a_name| DAMAGED)?,
        boot: row.try_get("boot")?,
        phase: UploadPhase::from_column(row.try_get("phase")?).ok_or(DAMAGED)?,
        expires_in: u64::try_from(expires_at - unix_now()).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    async fn tracker() -> (tempfile::TempDir, Tracker) {
        let directory = tempfile::tempdir().unwrap();
        let tracker = Tracker::open(&directory.path().join("tracker.db")).await.unwrap();
        (directory, tracker)
    }

    fn upload(expires_in: u64) -> TrackedUpload {
        TrackedUpload {
            id: UploadId::random(),
            user: UserId(7),
            digest: Digest::of(b"content"),
            size: 9_000_000,
            host: HostName::default(),
            boot: b"boot".to_vec(),
            phase: UploadPhase::Receiving,
            expires_in,
        }
    }

    fn digest() -> ChunkDigest {
        ChunkDigest::from_bytes([1; 32])
    }

    #[tokio::test]
    async fn chunks_are_remembered_in_order_and_go_with_their_upload() {
        let (_directory, tracker) = tracker().await;
        let upload = upload(60);
        tracker.put_upload(&upload).await.unwrap();
        for index in [2, 0, 2] {
            assert!(tracker.mark_chunk(upload.id, index, digest(), HOUR).await.unwrap());
        }
        assert_eq!(tracker.received_chunks(upload.id).await.unwrap(), [0, 2]);
        assert!(tracker.has_chunk(upload.id, 2).await.unwrap());
        assert!(!tracker.has_chunk(upload.id, 1).await.unwrap());
        assert!(tracker.upload(upload.id).await.unwrap().unwrap().expires_in > 3000);

        tracker.end_upload(upload.id).await.unwrap();
        assert_eq!(tracker.upload(upload.id).await.unwrap(), None);
        assert_eq!(tracker.received_chunks(upload.id).await.unwrap(), [0u64; 0]);
    }

    #[tokio::test]
    async fn an_ended_or_finished_upload_takes_no_mark() {
        let (_directory, tracker) = tracker().await;
        let upload = upload(60);
        assert!(!tracker.mark_chunk(upload.id, 0, digest(), HOUR).await.unwrap());
        tracker.put_upload(&upload).await.unwrap();
        tracker.finish_upload(upload.id, HOUR).await.unwrap();
        assert!(!tracker.mark_chunk(upload.id, 0, digest(), HOUR).await.unwrap());
        assert_eq!(tracker.received_chunks(upload.id).await.unwrap(), [0u64; 0]);
        assert_eq!(tracker.uploads_of(upload.user, upload.digest).await.unwrap(), []);
    }

    #[tokio::test]
    async fn only_uploads_of_the_host_whose_time_is_over_are_listed_for_sweeping() {
        let (_directory, tracker) = tracker().await;
        let (young, old) = (upload(60), upload(0));
        let other: HostName = "other".parse().unwrap();
        let elsewhere = TrackedUpload { host: other.clone(), ..upload(0) };
        for upload in [&young, &old, &elsewhere] {
            tracker.put_upload(upload).await.unwrap();
        }
        let expired = tracker.expired_uploads(&HostName::default()).await.unwrap();
        assert_eq!(expired.iter().map(|upload| upload.id).collect::<Vec<_>>(), [old.id]);
        assert_eq!(tracker.receiving_uploads(&other).await.unwrap(), 1);
        let found = tracker.uploads_of(young.user, young.digest).await.unwrap();
        assert_eq!(found.iter().map(|upload| upload.id).collect::<Vec<_>>(), [young.id]);
    }
}
