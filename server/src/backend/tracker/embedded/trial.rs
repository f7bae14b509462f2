//! The trial of the embedded tracker: a row that is written, read, and taken back.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};

use crate::backend::trial::{TRIAL_LIMIT, TRIED, Trial, expect_tried};
use crate::backend::{BlobId, Error};

const INSERT: &str = "INSERT INTO challenges (id, user_id, digest, nonce, ranges, expires_at) \
    VALUES (?, 0, '', ?, '', 0)";

/// Opens the file, which is not made, and makes the trial.
///
/// # Errors
/// [`Error::Database`], [`Error::Trial`].
pub(in crate::backend::tracker) async fn try_out(path: &Path) -> Result<Trial, Error> {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(TRIAL_LIMIT);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let id = BlobId::random();
    let id = &id.as_bytes()[..];
    sqlx::query(INSERT).bind(id).bind(TRIED).execute(&mut *transaction).await?;
    let row = sqlx::query_scalar::<_, Vec<u8>>("SELECT nonce FROM challenges WHERE id = ?");
    let back = row.bind(id).fetch_optional(&mut *transaction).await?;
    transaction.rollback().await?;
    connection.close().await?;
    expect_tried("the tracker", back.as_deref())?;
    Ok(Trial::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::tracker::embedded::Embedded;

    #[tokio::test]
    async fn the_row_of_a_trial_does_not_stay_and_no_file_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tracker.db");
        assert!(try_out(&path).await.is_err() && !path.exists());
        let tracker = Embedded::open(&path).await.unwrap();
        try_out(&path).await.unwrap();
        let rows = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM challenges");
        assert_eq!(rows.fetch_one(&tracker.quick).await.unwrap(), 0);
    }
}
