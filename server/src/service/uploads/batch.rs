//! Many small contents in one request: one blob, one sync and one transaction for all of them.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use miaofs::content::{Digest, Md5};
use miaofs::protocol::batch::{self, BatchError};
use miaofs::protocol::uploads::{BatchStored, KNOWN_MAX, Known, KnownAnswer};

use crate::backend::db::contents::{self, NewContent};
use crate::backend::db::{self, Lock};
use crate::backend::layout::{Layout, Source};
use crate::backend::{self, BlobId, UserId, run_blocking, run_to_completion};
use crate::service::context::{ReceivedContents, ServiceContext};
use crate::service::{Caller, Dedup, Error, Room};

/// Batches that are worked on at once; each may take 64 MiB of memory.
const BATCHES_AT_ONCE: usize = 4;
/// Tries of a batch whose known contents are collected meanwhile.
const TRIES: usize = 3;

/// Batches of small contents. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Batches {
    context: Arc<ServiceContext>,
    room: Room<UserId>,
}

/// A content of a batch, with its bytes.
#[derive(Debug, Clone)]
struct BatchEntry {
    digest: Digest,
    md5: Md5,
    bytes: Bytes,
}

impl Batches {
    /// Batches into these contents.
    pub(crate) fn new(context: Arc<ServiceContext>) -> Self {
        Self { context, room: Room::new("batches", BATCHES_AT_ONCE) }
    }

    /// Tells those of the contents that are the caller's already.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when too many are asked about.
    pub(crate) async fn known(&self, caller: Caller, request: Known) -> Result<KnownAnswer, Error> {
        if request.digests.len() > KNOWN_MAX {
            return Err(Error::TooLarge(format!("at most {KNOWN_MAX} digests at once")));
        }
        let mut db = self.context.db.read().await?;
        let since = self.context.claimed_since();
        let owned = contents::owned(&mut db, caller.user, &request.digests, since).await?;
        let known = request.digests.into_iter().filter(|digest| owned.contains_key(digest));
        Ok(KnownAnswer { known: known.collect() })
    }

    /// Memory for batches, to be taken before a body is there.
    pub(crate) fn room(&self) -> &Room<UserId> {
        &self.room
    }

    /// Stores the contents of a batch's body, each new one, and makes all of them the caller's.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::LengthMismatch`] or [`Error::DigestMismatch`] when the body is no
    /// batch, and [`Error::OverQuota`]; then nothing is stored.
    pub(crate) async fn store(&self, caller: Caller, body: Bytes) -> Result<BatchStored, Error> {
        let records = run_blocking(move || Ok(parse(&body))).await??;
        let size: usize = records.iter().map(|record| record.bytes.len()).sum();
        metrics::counter!("miaofs_batch_bytes_received_total").increment(size as u64);
        let largest = records.iter().map(|record| record.bytes.len()).max().unwrap_or(0);
        self.context.admit(caller.user, largest as u64).await?;
        let digests: HashSet<Digest> = records.iter().map(|record| record.digest).collect();
        let digests: Vec<Digest> = digests.into_iter().collect();
        for _try in 0..TRIES {
            let owned = self.owned(caller, &digests).await?;
            if self.try_store(caller, &records, &digests, &owned).await? {
                let new = (digests.len() - owned.len()) as u64;
                return Ok(BatchStored { contents: records.len() as u64, new });
            }
        }
        Err(Error::Unavailable)
    }

    async fn owned(&self, caller: Caller, digests: &[Digest]) -> Result<HashSet<Digest>, Error> {
        let mut db = self.context.db.read().await?;
        let since = self.context.claimed_since();
        let owned = contents::owned(&mut db, caller.user, digests, since).await?;
        Ok(owned.into_keys().collect())
    }

    /// Stores what is not here, or, where nothing may be learnt about others, what is not `owned`; `false`
    /// when something that was here has gone meanwhile.
    async fn try_store(
        &self,
        caller: Caller,
        records: &[BatchEntry],
        digests: &[Digest],
        owned: &HashSet<Digest>,
    ) -> Result<bool, Error> {
        let context = &self.context;
        let stored = match context.policy.dedup {
            Dedup::Server => contents::stored(&mut *context.db.read().await?, digests).await?,
            Dedup::User => HashSet::new(),
        };
        let here = stored.union(owned).copied().collect();
        let blob = BlobId::random();
        let (staged, bytes) = lay_out(blob, records, &here);
        let size: u64 = bytes.iter().map(|bytes| bytes.len() as u64).sum();
        let blob = if size > 0 {
            let draft = context.staging.draft(blob).await?;
            context.staging.fill(blob, bytes).await?;
            context.staging.sync(blob).await?;
            Some(draft.persist())
        } else {
            None
        };
        let (batches, digests) = (self.clone(), digests.to_vec());
        run_to_completion(async move {
            let received = ReceivedContents {
                user: caller.user,
                contents: staged,
                blob: blob.map(|blob| (blob, size)),
            };
            let stored = db::retry_transaction(|| batches.commit(&digests, &received)).await;
            batches.context.after_store(blob).await?;
            Ok(stored?)
        })
        .await
    }

    /// `false` when a content that has not come is not here either (any more).
    async fn commit(
        &self,
        digests: &[Digest],
        received: &ReceivedContents,
    ) -> Result<bool, backend::Error> {
        let mut transaction = self.context.db.write().await?;
        let here = contents::lock_rows(&mut transaction, digests, Lock::Shared).await?;
        let coming: HashSet<Digest> =
            received.contents.iter().map(|content| content.digest).collect();
        if !digests.iter().all(|digest| here.contains(digest) || coming.contains(digest)) {
            return Ok(false);
        }
        self.context.store(&mut transaction, received).await?;
        contents::claim(&mut transaction, received.user, digests, backend::unix_now()).await?;
        transaction.commit().await?;
        Ok(true)
    }
}

fn parse(body: &Bytes) -> Result<Vec<BatchEntry>, Error> {
    let records = batch::parse(body).map_err(|error| {
        let words = error.to_string();
        match error {
            BatchError::Truncated => Error::LengthMismatch(words),
            BatchError::ContentTooLong(_) => Error::Invalid(words),
            BatchError::Digest(_) => Error::DigestMismatch(words),
        }
    })?;
    let record = |(digest, bytes): (Digest, &[u8])| BatchEntry {
        digest,
        md5: Md5::of(bytes),
        bytes: body.slice_ref(bytes),
    };
    Ok(records.into_iter().map(record).collect())
}

/// The contents that are not `here`, each once, one after the other in a blob, and that blob's bytes.
fn lay_out(
    blob: BlobId,
    records: &[BatchEntry],
    here: &HashSet<Digest>,
) -> (Vec<NewContent>, Vec<Bytes>) {
    let mut seen = HashSet::new();
    let (mut contents, mut bytes, mut offset) = (Vec::new(), Vec::new(), 0);
    for record in records {
        if here.contains(&record.digest) || !seen.insert(record.digest) {
            continue;
        }
        let size = record.bytes.len() as u64;
        let layout = Layout::of_small(record.digest, size, Source::Blob { blob, offset });
        contents.push(NewContent { digest: record.digest, md5: Some(record.md5), layout });
        bytes.push(record.bytes.clone());
        offset += size;
    }
    (contents, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(contents: &[&[u8]]) -> Bytes {
        let mut body = Vec::new();
        for bytes in contents {
            batch::push(&mut body, Digest::of(bytes), bytes);
        }
        body.into()
    }

    #[test]
    fn a_blob_holds_each_new_content_once_one_after_the_other() {
        let records = parse(&body(&[b"one", b"", b"two", b"one", b"here"])).unwrap();
        let blob = BlobId::random();
        let (contents, bytes) = lay_out(blob, &records, &HashSet::from([Digest::of(b"here")]));
        assert_eq!(bytes.concat(), b"onetwo");
        let digests: Vec<_> = contents.iter().map(|content| content.digest).collect();
        assert_eq!(digests, [Digest::of(b"one"), Digest::of(b""), Digest::of(b"two")]);
        let plan = contents[2].layout.plan(0..3);
        assert_eq!(plan[0].source, Source::Blob { blob, offset: 3 });
        assert!(contents[1].layout.blobs().is_empty());
    }

    #[test]
    fn a_wrong_batch_is_refused_by_what_is_wrong() {
        let whole = body(&[b"one"]);
        assert!(matches!(parse(&whole.slice(..5)), Err(Error::LengthMismatch(_))));
        let mut damaged = whole.to_vec();
        damaged[36] ^= 1;
        assert!(matches!(parse(&damaged.into()), Err(Error::DigestMismatch(_))));
    }
}
