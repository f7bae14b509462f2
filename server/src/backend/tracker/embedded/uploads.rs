//! Uploads in the embedded tracker: a row for each, and one for each of its chunks that arrived.

use std::time::Duration;

use miaofs::content::{ChunkDigest, Digest};
use miaofs::protocol::host::HostName;
use miaofs::protocol::ids::UploadId;
use sqlx::Row;

use super::Embedded;
use crate::backend::tracker::epoch::expires_at;
use crate::backend::tracker::{TrackedUpload, UploadPhase};
use crate::backend::{Error, UserId, unix_now};

impl Embedded {
    pub(crate) async fn put_upload(&self, upload: &TrackedUpload) -> Result<(), Error> {
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
        .bind(upload.phase.to_number())
        .bind(expires_at(Duration::from_secs(upload.expires_in)))
        .execute(&self.quick)
        .await?;
        Ok(())
    }

    pub(crate) async fn upload(&self, id: UploadId) -> Result<Option<TrackedUpload>, Error> {
        let row = sqlx::query(
            "SELECT id, user_id, digest, size, host, boot, phase, expires_at FROM uploads
             WHERE id = ?",
        )
        .bind(&id.to_bytes()[..])
        .fetch_optional(&self.quick)
        .await?;
        row.map(|row| upload_of(&row)).transpose()
    }

    pub(crate) async fn uploads_of(
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
        .bind(UploadPhase::Receiving.to_number())
        .bind(unix_now())
        .fetch_all(&self.quick)
        .await?;
        rows.iter().map(upload_of).collect()
    }

    pub(crate) async fn expired_uploads(
        &self,
        host: &HostName,
    ) -> Result<Vec<TrackedUpload>, Error> {
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

    pub(crate) async fn receiving_uploads(&self, host: &HostName) -> Result<u64, Error> {
        let row = sqlx::query("SELECT COUNT(*) FROM uploads WHERE phase = ? AND host = ?")
            .bind(UploadPhase::Receiving.to_number())
            .bind(host.as_str())
            .fetch_one(&self.quick)
            .await?;
        Ok(row.try_get::<i64, _>(0)?.unsigned_abs())
    }

    pub(crate) async fn mark_chunk(
        &self,
        id: UploadId,
        index: u64,
        digest: ChunkDigest,
        lifetime: Duration,
    ) -> Result<bool, Error> {
        let mut transaction = self.quick.begin_with("BEGIN IMMEDIATE").await?;
        let renewed = sqlx::query("UPDATE uploads SET expires_at = ? WHERE id = ? AND phase = ?")
            .bind(expires_at(lifetime))
            .bind(&id.to_bytes()[..])
            .bind(UploadPhase::Receiving.to_number())
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

    pub(crate) async fn has_chunk(&self, id: UploadId, index: u64) -> Result<bool, Error> {
        let row = sqlx::query("SELECT 1 FROM chunks WHERE upload = ? AND chunk = ?")
            .bind(&id.to_bytes()[..])
            .bind(i64::try_from(index).unwrap_or(i64::MAX))
            .fetch_optional(&self.quick)
            .await?;
        Ok(row.is_some())
    }

    pub(crate) async fn received_chunks(
        &self,
        id: UploadId,
        boot: &[u8],
    ) -> Result<Option<Vec<u64>>, Error> {
        let mut transaction = self.quick.begin().await?;
        let upload = sqlx::query("SELECT 1 FROM uploads WHERE id = ? AND phase = ? AND boot = ?")
            .bind(&id.to_bytes()[..])
            .bind(UploadPhase::Receiving.to_number())
            .bind(boot)
            .fetch_optional(&mut *transaction)
            .await?;
        if upload.is_none() {
            return Ok(None);
        }
        let rows = sqlx::query("SELECT chunk FROM chunks WHERE upload = ? ORDER BY chunk")
            .bind(&id.to_bytes()[..])
            .fetch_all(&mut *transaction)
            .await?;
        let index = |row: &sqlx::sqlite::SqliteRow| Ok(row.try_get::<i64, _>(0)?.unsigned_abs());
        rows.iter().map(index).collect::<Result<_, Error>>().map(Some)
    }

    pub(crate) async fn replace_chunks(
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

    pub(crate) async fn renew_upload(&self, id: UploadId, lifetime: Duration) -> Result<(), Error> {
        sqlx::query("UPDATE uploads SET expires_at = ? WHERE id = ?")
            .bind(expires_at(lifetime))
            .bind(&id.to_bytes()[..])
            .execute(&self.quick)
            .await?;
        Ok(())
    }

    pub(crate) async fn finish_upload(
        &self,
        id: UploadId,
        lifetime: Duration,
    ) -> Result<(), Error> {
        let mut transaction = self.quick.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("UPDATE uploads SET phase = ?, expires_at = ? WHERE id = ?")
            .bind(UploadPhase::Finished.to_number())
            .bind(expires_at(lifetime))
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

    pub(crate) async fn remove_upload(&self, id: UploadId) -> Result<(), Error> {
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
    let id: &[u8] = row.try_get("id")?;
    let digest: &[u8] = row.try_get("digest")?;
    let expires_at: i64 = row.try_get("expires_at")?;
    let host: &str = row.try_get("host")?;
    Ok(TrackedUpload {
        id: UploadId::try_from(id).map_err(|error| Error::damaged("upload", error))?,
        user: UserId(row.try_get("user_id")?),
        digest: Digest::try_from(digest).map_err(|error| Error::damaged("upload", error))?,
        size: row.try_get::<i64, _>("size")?.unsigned_abs(),
        host: host.parse().map_err(|error| Error::damaged("upload", error))?,
        boot: row.try_get("boot")?,
        phase: UploadPhase::from_number(row.try_get("phase")?)
            .ok_or_else(|| Error::damaged("upload", "its phase is unknown"))?,
        expires_in: u64::try_from(expires_at - unix_now()).unwrap_or(0),
    })
}
