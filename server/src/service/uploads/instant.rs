//! Instant uploads: a content that the server has becomes the caller's for a proof that they have it too.
//!
//! Knowing the name of a content is not having it. The challenge asks for a keyed hash over all bytes
//! that are no holes, or over so many samples of them that nobody passes who lacks a noticeable part; see
//! [`miaofs::protocol::proof`]. It is good for one answer and a short time, and there are few for one content and account.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::StreamExt as _;
use miaofs::content::{CHUNK_SIZE, Digest, Md5};
use miaofs::protocol::files::ContentRef;
use miaofs::protocol::ids::ChallengeId;
use miaofs::protocol::proof::{Prover, SAMPLES};
use miaofs::protocol::uploads::{ByteRange, Challenge, InstantUpload, InstantUploadAnswer, Proof};
use rand::RngExt as _;
use subtle::ConstantTimeEq as _;

use crate::backend::db::{self, contents};
use crate::backend::layout::{Layout, Source};
use crate::backend::tracker::{Decision, RateLimit, TrackedChallenge};
use crate::backend::{UserId, run_blocking};
use crate::service::context::ServiceContext;
use crate::service::downloads::ranges;
use crate::service::{Caller, Dedup, Error, Room};

/// Seconds within which a challenge is to be answered.
const EXPIRES_IN: u64 = 300;
/// Challenges about one content for one account. Whoever has the content needs one.
const CHALLENGES: RateLimit = RateLimit {
    burst: NonZeroU32::new(4).expect("4 is not 0"),
    interval: Duration::from_secs(15 * 60),
};
/// Proofs that are checked at once: each reads 16 MiB, or at thousands of places.
const PROOFS_AT_ONCE: usize = 4;
/// Runs of bytes that a challenge names; of more, some chunks are chosen at random.
const RUNS_MAX: usize = SAMPLES;
/// Bytes that are gathered before they are hashed on another thread.
const HASHED_AT_ONCE: usize = 1024 * 1024;

/// Instant uploads. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct InstantUploads {
    context: Arc<ServiceContext>,
    room: Room<UserId>,
}

impl InstantUploads {
    /// Instant uploads of these contents.
    pub(crate) fn new(context: Arc<ServiceContext>) -> Self {
        Self { context, room: Room::new("possession", PROOFS_AT_ONCE) }
    }

    /// Looks for a content, and challenges the caller to prove possession of it unless it is theirs.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless exactly one name of the content is given; [`Error::TooManyRequests`]
    /// when the caller has been challenged about it too often lately.
    pub(crate) async fn ask(
        &self,
        caller: Caller,
        request: InstantUpload,
    ) -> Result<InstantUploadAnswer, Error> {
        match (request.filehash, request.md5) {
            (Some(digest), None) => self.ask_by_digest(caller, digest, request.size).await,
            (None, Some(md5)) => self.ask_by_md5(caller, md5, request.size).await,
            _ => Err(Error::Invalid("give either filehash or md5".to_owned())),
        }
    }

    async fn ask_by_digest(
        &self,
        caller: Caller,
        digest: Digest,
        size: u64,
    ) -> Result<InstantUploadAnswer, Error> {
        let answer = |found, challenge| InstantUploadAnswer { found, digest: None, challenge };
        if let Some(layout) = self.context.owned(caller.user, digest).await? {
            return Ok(answer(layout.size() == size, None));
        }
        let layout = match self.context.policy.dedup {
            Dedup::Server => self.layout(digest).await?,
            Dedup::User => None,
        };
        match layout.filter(|layout| layout.size() == size) {
            Some(layout) => {
                let challenge = self.challenge(caller, digest, &layout).await?;
                Ok(answer(true, Some(challenge)))
            }
            None => Ok(answer(false, None)),
        }
    }

    /// Two contents can be made that have the same MD5, so it leads to nothing that is another's.
    async fn ask_by_md5(
        &self,
        caller: Caller,
        md5: Md5,
        size: u64,
    ) -> Result<InstantUploadAnswer, Error> {
        let since = self.context.claimed_since();
        let mut db = self.context.db.read().await?;
        let digest = contents::owned_by_md5(&mut db, caller.user, (md5, size), since).await?;
        Ok(InstantUploadAnswer { found: digest.is_some(), digest, challenge: None })
    }

    async fn challenge(
        &self,
        caller: Caller,
        digest: Digest,
        layout: &Layout,
    ) -> Result<Challenge, Error> {
        let key = format!("proof {} {digest}", caller.user.0);
        if let Decision::Limited { retry_after } =
            self.context.tracker.check_rate_limit(&key, CHALLENGES).await?
        {
            return Err(Error::TooManyRequests { retry_after });
        }
        self.issue(caller, digest, layout).await
    }

    /// A challenge that [`Self::prove`] knows, however many there were before.
    async fn issue(
        &self,
        caller: Caller,
        digest: Digest,
        layout: &Layout,
    ) -> Result<Challenge, Error> {
        let challenge = Challenge {
            id: ChallengeId::random(),
            nonce: Digest::from_bytes(rand::random()),
            ranges: data_of(layout),
            expires_in: EXPIRES_IN,
        };
        let tracked = TrackedChallenge { user: caller.user, digest, challenge };
        self.context.tracker.put_challenge(&tracked).await?;
        Ok(tracked.challenge)
    }

    /// Makes a content the caller's own, if the proof is right. Either way the challenge is used up.
    ///
    /// # Errors
    /// [`Error::ProofWrong`]; [`Error::NotFound`] when there is no such challenge (any more), or the
    /// content has gone meanwhile; [`Error::Unavailable`] when too many are at it.
    pub(crate) async fn prove(&self, caller: Caller, request: Proof) -> Result<ContentRef, Error> {
        // Whoever waits in vain has the challenge still.
        let _seat = self.room.enter(caller.user).await?;
        let asked = self.context.tracker.take_challenge(caller.user, request.id).await?;
        let asked = asked.ok_or(Error::NotFound("challenge"))?;
        let layout = self.layout(asked.digest).await?.ok_or(Error::NotFound("content"))?;
        let content = ContentRef { digest: asked.digest, size: layout.size() };
        let expected = self.expected(&asked.challenge, layout).await?;
        if !bool::from(expected.as_bytes().ct_eq(request.proof.as_bytes())) {
            return Err(Error::ProofWrong);
        }
        db::retry_transaction(|| self.context.claim_stored(caller.user, asked.digest)).await?;
        Ok(content)
    }

    /// The proof of somebody who has the content.
    async fn expected(&self, challenge: &Challenge, layout: Layout) -> Result<Digest, Error> {
        let asked = challenge.asked().into_iter();
        let asked = asked.map(|range| range.offset..range.offset + range.length);
        let read = ranges::read_ranges(self.context.clone(), layout, asked).await?;
        let mut read = std::pin::pin!(read);
        let mut prover = Prover::new(challenge);
        let (mut pieces, mut length) = (Vec::new(), 0);
        while let Some(bytes) = read.next().await {
            let bytes = bytes?;
            length += bytes.len();
            pieces.push(bytes);
            if length >= HASHED_AT_ONCE {
                prover = hash(prover, std::mem::take(&mut pieces)).await?;
                length = 0;
            }
        }
        Ok(hash(prover, pieces).await?.finalize())
    }

    async fn layout(&self, digest: Digest) -> Result<Option<Layout>, Error> {
        let mut db = self.context.db.read().await?;
        Ok(contents::layout(&mut db, digest).await?)
    }
}

async fn hash(mut prover: Prover, pieces: Vec<Bytes>) -> Result<Prover, Error> {
    let hashed = run_blocking(move || {
        pieces.iter().for_each(|bytes| prover.update(bytes));
        Ok(prover)
    });
    Ok(hashed.await?)
}

/// The runs of bytes of a content that are no holes; of very many, as many chunks at random.
fn data_of(layout: &Layout) -> Vec<ByteRange> {
    let chunks = (0u64..).zip(layout.sources()).filter(|(_, source)| *source != Source::Hole);
    let chunks: Vec<u64> = chunks.map(|(index, _)| index).collect();
    let all = runs_of(&chunks, layout.size());
    if all.len() <= RUNS_MAX {
        return all;
    }
    let mut random = rand::rng();
    let mut some: Vec<u64> =
        (0..RUNS_MAX).map(|_| chunks[random.random_range(0..chunks.len())]).collect();
    some.sort_unstable();
    some.dedup();
    runs_of(&some, layout.size())
}

/// The bytes of chunks of a content of `size` bytes, whose indexes rise.
fn runs_of(chunks: &[u64], size: u64) -> Vec<ByteRange> {
    let mut runs: Vec<ByteRange> = Vec::new();
    for index in chunks {
        let offset = index * CHUNK_SIZE;
        let length = CHUNK_SIZE.min(size - offset);
        match runs.last_mut().filter(|last| last.offset + last.length == offset) {
            Some(last) => last.length += length,
            None => runs.push(ByteRange { offset, length }),
        }
    }
    runs
}

#[cfg(test)]
mod tests;
