//! Instant uploads: a content that the server has becomes the caller's for a proof that they have it too.
//!
//! Knowing the name of a content is not having it. The challenge asks for a keyed hash over ranges that
//! are chosen at random among the bytes that are no holes; it is good for one answer and a short time.

use std::sync::Arc;

use futures::stream::StreamExt as _;
use miaofs::content::{CHUNK_SIZE, Digest};
use miaofs::protocol::files::ContentRef;
use miaofs::protocol::ids::ChallengeId;
use miaofs::protocol::proof::Prover;
use miaofs::protocol::uploads::{ByteRange, Challenge, InstantUpload, InstantUploadAnswer, Proof};
use rand::RngExt as _;
use subtle::ConstantTimeEq as _;

use crate::backend::db::{self, contents};
use crate::backend::layout::{Layout, Source};
use crate::backend::run_blocking;
use crate::backend::tracker::TrackedChallenge;
use crate::service::context::ServiceContext;
use crate::service::downloads::reader;
use crate::service::{Caller, Dedup, Error};

/// Ranges that a challenge asks for.
const RANGES: usize = 4;
/// Bytes of each of them.
const RANGE_LENGTH: u64 = 64 * 1024;
/// Seconds within which a challenge is to be answered.
const EXPIRES_IN: u64 = 300;

/// Instant uploads. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct InstantUploads(Arc<ServiceContext>);

impl InstantUploads {
    /// Instant uploads of these contents.
    pub(crate) fn new(context: Arc<ServiceContext>) -> Self {
        Self(context)
    }

    /// Looks for a content, and challenges the caller to prove possession of it.
    ///
    /// Somebody who asks by MD5 is always challenged: the answer to the proof tells the digest.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless exactly one name of the content is given.
    pub(crate) async fn ask(
        &self,
        caller: Caller,
        request: InstantUpload,
    ) -> Result<InstantUploadAnswer, Error> {
        let digest = match (request.filehash, request.md5) {
            (Some(digest), None) => {
                if let Some(layout) = self.0.owned(caller.user, digest).await? {
                    let found = layout.size() == request.size;
                    return Ok(InstantUploadAnswer { found, challenge: None });
                }
                (self.0.policy.dedup == Dedup::Server).then_some(digest)
            }
            (None, Some(md5)) => {
                let owner = (self.0.policy.dedup == Dedup::User).then_some(caller.user);
                let mut db = self.0.db.read().await?;
                contents::by_md5(&mut db, md5, request.size, owner).await?
            }
            _ => return Err(Error::Invalid("give either filehash or md5".to_owned())),
        };
        let layout = match digest {
            Some(digest) => self.layout(digest).await?,
            None => None,
        };
        match (digest, layout) {
            (Some(digest), Some(layout)) if layout.size() == request.size => {
                let challenge = self.challenge(caller, digest, &layout).await?;
                Ok(InstantUploadAnswer { found: true, challenge: Some(challenge) })
            }
            _ => Ok(InstantUploadAnswer { found: false, challenge: None }),
        }
    }

    async fn challenge(
        &self,
        caller: Caller,
        digest: Digest,
        layout: &Layout,
    ) -> Result<Challenge, Error> {
        let challenge = Challenge {
            id: ChallengeId::random(),
            nonce: Digest::from_bytes(rand::random()),
            ranges: random_ranges(layout),
            expires_in: EXPIRES_IN,
        };
        let tracked = TrackedChallenge { user: caller.user, digest, challenge };
        self.0.tracker.put_challenge(&tracked).await?;
        Ok(tracked.challenge)
    }

    /// Makes a content the caller's own, if the proof is right. Either way the challenge is used up.
    ///
    /// # Errors
    /// [`Error::ProofWrong`]; [`Error::NotFound`] when there is no such challenge (any more), or the
    /// content has gone meanwhile.
    pub(crate) async fn prove(&self, caller: Caller, request: Proof) -> Result<ContentRef, Error> {
        let asked = self.0.tracker.take_challenge(caller.user, request.id).await?;
        let asked = asked.ok_or(Error::NotFound("challenge"))?;
        let layout = self.layout(asked.digest).await?.ok_or(Error::NotFound("content"))?;
        let expected = self.expected(&asked.challenge, &layout).await?;
        if !bool::from(expected.as_bytes().ct_eq(request.proof.as_bytes())) {
            return Err(Error::ProofWrong);
        }
        db::retry_transaction(|| self.0.claim_stored(caller.user, asked.digest)).await?;
        Ok(ContentRef { digest: asked.digest, size: layout.size() })
    }

    async fn expected(&self, challenge: &Challenge, layout: &Layout) -> Result<Digest, Error> {
        let mut pieces = Vec::new();
        for range in &challenge.ranges {
            let range = range.offset..range.offset + range.length;
            let mut bytes = std::pin::pin!(reader::read(self.0.clone(), layout, range));
            while let Some(bytes) = bytes.next().await {
                pieces.push(bytes?);
            }
        }
        let mut prover = Prover::new(challenge);
        let hashed = run_blocking(move || {
            pieces.iter().for_each(|bytes| prover.update(bytes));
            Ok(prover.finalize())
        });
        Ok(hashed.await?)
    }

    async fn layout(&self, digest: Digest) -> Result<Option<Layout>, Error> {
        let mut db = self.0.db.read().await?;
        Ok(contents::layout(&mut db, digest).await?)
    }
}

/// Ranges of a content that only those can know who have it: all of a small one, of a larger one some
/// in chunks that are no holes.
fn random_ranges(layout: &Layout) -> Vec<ByteRange> {
    let size = layout.size();
    if size <= RANGES as u64 * RANGE_LENGTH {
        return vec![ByteRange { offset: 0, length: size }];
    }
    let full = (0u64..).zip(layout.sources()).filter(|(_, source)| *source != Source::Hole);
    let full: Vec<u64> = full.map(|(index, _)| index).collect();
    if full.is_empty() {
        return Vec::new();
    }
    let mut random = rand::rng();
    let mut range = || {
        let start = full[random.random_range(0..full.len())] * CHUNK_SIZE;
        let end = (start + CHUNK_SIZE).min(size);
        let length = RANGE_LENGTH.min(end - start);
        ByteRange { offset: random.random_range(start..=end - length), length }
    };
    (0..RANGES).map(|_| range()).collect()
}

#[cfg(test)]
mod tests {
    use miaofs::content::ChunkDigest;

    use super::*;
    use crate::backend::BlobId;

    fn layout(size: u64, is_hole: impl Fn(u64) -> bool) -> Layout {
        let blob = BlobId::random();
        let chunk = |index| {
            let source = match is_hole(index) {
                true => Source::Hole,
                false => Source::Blob { blob, offset: index * CHUNK_SIZE },
            };
            (ChunkDigest::from_bytes([0; 32]), source)
        };
        Layout::new(size, (0..miaofs::content::chunk_count(size)).map(chunk))
    }

    #[test]
    fn a_small_content_is_asked_for_whole() {
        let ranges = random_ranges(&layout(1000, |_| false));
        assert_eq!(ranges, [ByteRange { offset: 0, length: 1000 }]);
    }

    #[test]
    fn a_large_content_is_asked_for_where_it_is_no_hole() {
        let size = 5 * CHUNK_SIZE + 10;
        let layout = layout(size, |index| index != 3 && index != 5);
        for _ in 0..200 {
            let ranges = random_ranges(&layout);
            assert_eq!(ranges.len(), RANGES);
            for range in ranges {
                let end = range.offset + range.length;
                let in_third = range.offset >= 3 * CHUNK_SIZE && end <= 4 * CHUNK_SIZE;
                let in_last = range.offset >= 5 * CHUNK_SIZE && end <= size;
                assert!(range.length > 0 && (in_third || in_last), "{range:?}");
            }
        }
    }

    #[test]
    fn nothing_can_be_asked_of_a_content_that_is_all_hole() {
        assert_eq!(random_ranges(&layout(9 * CHUNK_SIZE, |_| true)), []);
    }
}
