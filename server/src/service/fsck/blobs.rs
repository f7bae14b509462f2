//! Blobs and transfers: each blob is used, has its bytes where it should, and moves if it has to.

use super::copies::BlobBytes;
use super::{AFFECTED_MAX, FindingKind, Fsck, Manifests, PAGE, PAUSE};
use crate::backend::db::audit::contents::{self as audit, BlobUse};
use crate::backend::db::blobs::{self, Blob, Location};
use crate::backend::db::{self, Connection, transfers};
use crate::backend::{BlobId, Error, run_blocking, unix_now};

impl Fsck<'_> {
    /// Checks each blob that the tables know.
    pub(super) async fn check_blobs(&mut self) -> Result<(), Error> {
        let mut last = None;
        loop {
            let mut db = self.context.db.read().await?;
            let page = audit::blobs_after(&mut db, last, PAGE).await?;
            drop(db);
            let Some(until) = page.last().copied() else { return Ok(()) };
            let mut suspects = Vec::new();
            for blob in page {
                match self.check_blob(blob).await {
                    Ok(BlobBytes::Right) => (),
                    Ok(BlobBytes::Elsewhere) => self.report.checked.blobs_elsewhere += 1,
                    Ok(_wrong) => suspects.push(blob),
                    Err(Error::Damaged { what, .. }) => self.report_row(blob, what).await?,
                    Err(error) => return Err(error),
                }
            }
            self.check_suspects(suspects).await?;
            self.progress();
            last = Some(until);
        }
    }

    async fn check_blob(&mut self, blob: BlobId) -> Result<BlobBytes, Error> {
        let Some((row, used)) = self.look_up(blob).await? else { return Ok(BlobBytes::Right) };
        self.report.checked.blobs += 1;
        self.check_use(blob, &row, &used).await?;
        self.look_at_bytes(blob, &row).await
    }

    async fn report_row(&mut self, blob: BlobId, what: &str) -> Result<(), Error> {
        let affected = self.files_on(blob).await?;
        let words = format!("what the tables say of it cannot be read: {what}");
        self.left(FindingKind::BlobRow, format!("blob {blob}"), words, affected);
        Ok(())
    }

    /// A blob that contents may stand on, as it is at one moment.
    async fn look_up(&self, blob: BlobId) -> Result<Option<(Blob, BlobUse)>, Error> {
        let mut db = self.context.db.read().await?;
        let Some(row) = blobs::get(&mut db, blob).await? else { return Ok(None) };
        let used = audit::blob_use(&mut db, blob).await?;
        Ok(used.map(|used| (row, used)))
    }

    async fn check_use(&mut self, blob: BlobId, row: &Blob, used: &BlobUse) -> Result<(), Error> {
        if used.contents == 0 {
            self.condemn(blob).await?;
        } else if row.location == Location::Staging && used.transfers == 0 {
            if self.mends() {
                db::retry_transaction(|| async {
                    let mut transaction = self.context.db.write().await?;
                    insert_transfer(&mut transaction, blob).await?;
                    transaction.commit().await
                })
                .await?;
            }
            let words = "it is staged, and nothing moves it to its store".to_owned();
            let remedy = "a transfer moves it";
            self.mended(FindingKind::NoTransfer, format!("blob {blob}"), words, remedy);
        }
        Ok(())
    }

    async fn condemn(&mut self, blob: BlobId) -> Result<(), Error> {
        let (subject, words) = (format!("blob {blob}"), "no content stands on it".to_owned());
        if self.manifests == Manifests::SomeDamaged {
            // One of the contents that cannot be read may.
            self.left(FindingKind::UnusedBlob, subject, words, vec![]);
            return Ok(());
        }
        if self.mends() {
            db::retry_transaction(|| async {
                let mut transaction = self.context.db.write().await?;
                blobs::mark_unused_for_deletion(&mut transaction, &[blob]).await?;
                transaction.commit().await
            })
            .await?;
        }
        self.mended(FindingKind::UnusedBlob, subject, words, "it is left to collection");
        Ok(())
    }

    async fn check_suspects(&mut self, suspects: Vec<BlobId>) -> Result<(), Error> {
        if suspects.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
        for blob in suspects {
            match self.check_suspect(blob).await {
                Err(Error::Damaged { what, .. }) => self.report_row(blob, what).await?,
                checked => checked?,
            }
        }
        Ok(())
    }

    async fn check_suspect(&mut self, blob: BlobId) -> Result<(), Error> {
        let Some((row, _used)) = self.look_up(blob).await? else { return Ok(()) };
        let bytes = self.look_at_bytes(blob, &row).await?;
        let unmoved = self.look_up(blob).await?.is_some_and(|(again, _)| again == row);
        if unmoved { self.report_bytes(blob, &row, bytes).await } else { Ok(()) }
    }

    async fn report_bytes(
        &mut self,
        blob: BlobId,
        row: &Blob,
        bytes: BlobBytes,
    ) -> Result<(), Error> {
        let (kind, words) = match bytes {
            BlobBytes::Right | BlobBytes::Elsewhere => return Ok(()),
            BlobBytes::SomeCopies(copies) => {
                self.report_copies(blob, copies).await;
                return Ok(());
            }
            BlobBytes::Wrong(words) => (FindingKind::WrongBytes, words),
            BlobBytes::Missing(place) => {
                (FindingKind::MissingBytes, format!("its bytes are not {}", words_of(place)))
            }
            BlobBytes::Length(place, length) => {
                let (size, place) = (row.size, words_of(place));
                (FindingKind::WrongLength, format!("it has {length} bytes {place}, not {size}"))
            }
        };
        let affected = self.files_on(blob).await?;
        self.left(kind, format!("blob {blob}"), words, affected);
        Ok(())
    }

    /// Files whose contents stand on a blob, as far as a finding names them.
    async fn files_on(&self, blob: BlobId) -> Result<Vec<String>, Error> {
        let mut db = self.context.db.read().await?;
        let digests = audit::contents_on(&mut db, blob, None, AFFECTED_MAX).await?;
        drop(db);
        let mut affected = Vec::new();
        for digest in digests {
            affected.extend(self.namers(digest).await?);
        }
        affected.truncate(AFFECTED_MAX as usize);
        Ok(affected)
    }

    pub(super) async fn look_at_bytes(
        &mut self,
        blob: BlobId,
        row: &Blob,
    ) -> Result<BlobBytes, Error> {
        let context = &self.context;
        let file = match row.location {
            Location::Staging if &row.host != context.host() => return Ok(BlobBytes::Elsewhere),
            Location::Staging => {
                let staging = context.staging.clone();
                run_blocking(move || staging.file(blob)).await?
            }
            Location::Store => return self.look_at_copies(row, blob).await,
        };
        let Some(file) = file else { return Ok(BlobBytes::Missing(row.location)) };
        let found = file.metadata().map_err(|error| Error::file(blob.to_string(), error))?;
        Ok(match found.len() {
            length if length == row.size => BlobBytes::Right,
            length => BlobBytes::Length(row.location, length),
        })
    }

    /// Checks that each transfer has a blob.
    pub(super) async fn check_transfers(&mut self) -> Result<(), Error> {
        let mut last = None;
        loop {
            let mut db = self.context.db.read().await?;
            let page = audit::stray_transfers(&mut db, last, PAGE).await?;
            drop(db);
            let Some(until) = page.last().copied() else { return Ok(()) };
            for blob in page {
                if self.mends() {
                    db::retry_transaction(|| async {
                        let mut transaction = self.context.db.write().await?;
                        forget_transfers(&mut transaction, blob).await?;
                        transaction.commit().await
                    })
                    .await?;
                }
                let words = format!("blob {blob} is not known");
                self.mended(
                    FindingKind::StrayTransfer,
                    "a transfer".into(),
                    words,
                    "it is removed",
                );
            }
            last = Some(until);
        }
    }
}

/// Lets a blob move that is staged and that nothing moves, as it is while nobody else changes it.
async fn insert_transfer(db: &mut Connection, blob: BlobId) -> Result<(), Error> {
    if !blobs::is_needed(db, blob).await? {
        return Ok(());
    }
    let row = blobs::get(db, blob).await?;
    let used = audit::blob_use(db, blob).await?.filter(|used| used.transfers == 0);
    match (row, used) {
        (Some(row), Some(used)) if row.location == Location::Staging => {
            transfers::insert(db, blob, &used.host, unix_now()).await
        }
        _ => Ok(()),
    }
}

/// A blob that is not known never will be: its row is written with its transfer's, or before.
async fn forget_transfers(db: &mut Connection, blob: BlobId) -> Result<(), Error> {
    match audit::blob_use(db, blob).await? {
        Some(_known) => Ok(()),
        None => transfers::remove_of(db, blob).await,
    }
}

fn words_of(place: Location) -> &'static str {
    match place {
        Location::Staging => "on the staging disk",
        Location::Store => "in the store",
    }
}
