//! The tracker: records with a lifetime that all processes of one server share.
//!
//! Access tokens, uploads in flight, challenges, rate limits and wake-ups. Everything in it has a lifetime and
//! may be lost: then clients renew their tokens, and uploads are found again from what stands on the
//! staging disks. [`Tracker::epoch`] tells that it was lost.
//!
//! There are two that promise the same, and one suite of tests for both: a SQLite file of its own
//! for a server that is one process, and Redis for a server that is several.

mod challenges;
mod embedded;
mod epoch;
mod limits;
mod redis;
#[cfg(test)]
mod tests;
mod tokens;
mod uploads;
mod wakeups;

use std::time::Duration;

use miaofs::content::{ChunkDigest, Digest};
use miaofs::protocol::host::HostName;
use miaofs::protocol::ids::{ChallengeId, UploadId};
use tokio::sync::watch;

pub(crate) use challenges::TrackedChallenge;
pub(crate) use epoch::Epoch;
pub(crate) use limits::{Decision, RateLimit};
pub(crate) use tokens::{AccessToken, ActiveToken, Bearer, OtherTokens};
pub(crate) use uploads::{TrackedUpload, UploadPhase};

use self::redis::Redis;
use crate::backend::{Error, Settings, TokenId, Trial, UserId};
use embedded::Embedded;
use wakeups::Waiters;

/// Either tracker. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Tracker {
    records: Records,
    waiters: Waiters,
}

/// Where the records are.
#[derive(Debug, Clone)]
enum Records {
    Embedded(Embedded),
    Redis(Redis),
}

/// Calls the implementation that is in use.
macro_rules! ask {
    ($tracker:expr, $records:ident => $asked:expr) => {
        match &$tracker.records {
            $crate::backend::tracker::Records::Embedded($records) => $asked.await,
            $crate::backend::tracker::Records::Redis($records) => $asked.await,
        }
    };
}
impl Tracker {
    /// Opens the tracker that the settings name.
    ///
    /// # Errors
    /// [`Error::Setup`] when the URL is none of Redis, [`Error::Unavailable`] when it does not answer for
    /// a while, else when the embedded tracker's
    /// file cannot be opened or is not a database.
    pub(crate) async fn open(settings: &Settings) -> Result<Self, Error> {
        let waiters = Waiters::default();
        let records = match &settings.redis {
            Some(there) => Records::Redis(Redis::connect(there, waiters.clone()).await?),
            None => Records::Embedded(Embedded::open(&settings.tracker_file()).await?),
        };
        Ok(Self { records, waiters })
    }

    /// Tries the tracker out: something of its own is written, read and removed. Nothing else is made.
    ///
    /// # Errors
    /// [`Error::Setup`] when the URL is none of Redis, [`Error::Unavailable`], [`Error::Database`], [`Error::Trial`].
    pub(crate) async fn try_out(settings: &Settings) -> Result<Trial, Error> {
        match &settings.redis {
            Some(there) => self::redis::try_out(there).await,
            None => embedded::try_out(&settings.tracker_file()).await,
        }
    }

    /// Identity of the current memory. It stays the same until everything is lost.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub(crate) async fn epoch(&self) -> Result<Epoch, Error> {
        ask!(self, records => records.epoch())
    }

    /// Checks that the tracker answers.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        self.epoch().await.map(drop)
    }

    /// Forgets tokens and challenges whose time is over. Uploads are swept by their service, which
    /// has their bytes to remove first.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn remove_expired(&self) -> Result<(), Error> {
        ask!(self, records => records.remove_expired())
    }

    /// Ends the background tasks of the tracker, after the requests under way.
    pub(crate) async fn close(&self) {
        ask!(self, records => records.close());
    }
}

/// Access tokens.
impl Tracker {
    /// Lets an access token count from now on.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn put_token(
        &self,
        bearer: Bearer,
        token: AccessToken,
        others: OtherTokens,
    ) -> Result<(), Error> {
        ask!(self, records => records.put_token(bearer, token, others))?;
        if others == OtherTokens::Revoke {
            self.announce_end(bearer.user);
        }
        Ok(())
    }

    /// An access token of a user by its id; `None` when there is none, or it was revoked or has expired.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub(crate) async fn token(
        &self,
        user: UserId,
        id: TokenId,
    ) -> Result<Option<ActiveToken>, Error> {
        ask!(self, records => records.token(user, id))
    }

    /// Forgets which refresh token an access token was given for, once that is known to be spent.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn mark_token_used(&self, user: UserId, id: TokenId) -> Result<(), Error> {
        ask!(self, records => records.mark_token_used(user, id))
    }

    /// Ends the access tokens of a device, and wakes whoever waits with one of the user's.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn revoke_device(&self, bearer: Bearer) -> Result<(), Error> {
        ask!(self, records => records.revoke_device(bearer))?;
        self.announce_end(bearer.user);
        Ok(())
    }

    /// Ends the access tokens of a user, and wakes whoever waits with one.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn revoke_user(&self, user: UserId) -> Result<(), Error> {
        ask!(self, records => records.revoke_user(user))?;
        self.announce_end(user);
        Ok(())
    }

    fn announce_end(&self, user: UserId) {
        self.waiters.wake_user(user);
        if let Records::Redis(redis) = &self.records {
            redis.announce_end(user);
        }
    }
}

/// Uploads.
impl Tracker {
    /// Begins (or overwrites) an upload.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn put_upload(&self, upload: &TrackedUpload) -> Result<(), Error> {
        ask!(self, records => records.put_upload(upload))
    }

    /// One upload, expired or not.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub(crate) async fn upload(&self, id: UploadId) -> Result<Option<TrackedUpload>, Error> {
        ask!(self, records => records.upload(id))
    }

    /// The uploads by which a user is bringing a content, to whichever host.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub(crate) async fn uploads_of(
        &self,
        user: UserId,
        digest: Digest,
    ) -> Result<Vec<TrackedUpload>, Error> {
        ask!(self, records => records.uploads_of(user, digest))
    }

    /// Uploads of a host that have expired. Finished ones may vanish by themselves.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub(crate) async fn expired_uploads(
        &self,
        host: &HostName,
    ) -> Result<Vec<TrackedUpload>, Error> {
        ask!(self, records => records.expired_uploads(host))
    }

    /// Number of uploads that a host is receiving.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub(crate) async fn receiving_uploads(&self, host: &HostName) -> Result<u64, Error> {
        ask!(self, records => records.receiving_uploads(host))
    }

    /// Marks a chunk as received and renews the upload. Returns `true` if the upload is still receiving;
    /// when it is not, nothing is marked.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn mark_chunk(
        &self,
        id: UploadId,
        index: u64,
        digest: ChunkDigest,
        lifetime: Duration,
    ) -> Result<bool, Error> {
        ask!(self, records => records.mark_chunk(id, index, digest, lifetime))
    }

    /// True if a chunk was received.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub(crate) async fn has_chunk(&self, id: UploadId, index: u64) -> Result<bool, Error> {
        ask!(self, records => records.has_chunk(id, index))
    }

    /// Indexes of the chunks that were received, rising; `None` when the upload is not receiving, or
    /// its marks are not of this `boot` and prove nothing.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub(crate) async fn received_chunks(
        &self,
        id: UploadId,
        boot: &[u8],
    ) -> Result<Option<Vec<u64>>, Error> {
        ask!(self, records => records.received_chunks(id, boot))
    }

    /// Sets what was received to what the staged bytes prove, all of it written in this `boot`.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn replace_chunks(
        &self,
        id: UploadId,
        boot: &[u8],
        received: &[(u64, ChunkDigest)],
    ) -> Result<(), Error> {
        ask!(self, records => records.replace_chunks(id, boot, received))
    }

    /// Lets an upload live for `lifetime` from now.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn renew_upload(&self, id: UploadId, lifetime: Duration) -> Result<(), Error> {
        ask!(self, records => records.renew_upload(id, lifetime))
    }

    /// Remembers for `lifetime` that an upload is finished, and forgets its chunks.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn finish_upload(
        &self,
        id: UploadId,
        lifetime: Duration,
    ) -> Result<(), Error> {
        ask!(self, records => records.finish_upload(id, lifetime))
    }

    /// Forgets an upload and its chunks.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn remove_upload(&self, id: UploadId) -> Result<(), Error> {
        ask!(self, records => records.remove_upload(id))
    }
}

/// Challenges.
impl Tracker {
    /// Keeps a challenge for as long as it says.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn put_challenge(&self, tracked: &TrackedChallenge) -> Result<(), Error> {
        ask!(self, records => records.put_challenge(tracked))
    }

    /// Uses a challenge up; `None` when there is none of that id for the user (any more).
    ///
    /// # Errors
    /// When the tracker cannot be written, or the challenge cannot be read back.
    pub(crate) async fn take_challenge(
        &self,
        user: UserId,
        id: ChallengeId,
    ) -> Result<Option<TrackedChallenge>, Error> {
        ask!(self, records => records.take_challenge(user, id))
    }
}

/// Rate limits.
impl Tracker {
    /// Counts one try.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn check_rate_limit(
        &self,
        key: &str,
        limit: RateLimit,
    ) -> Result<Decision, Error> {
        ask!(self, records => records.check_rate_limit(key, limit))
    }
}

/// Changes of drives.
impl Tracker {
    /// Wakes the waiters of a drive in all processes, after a commit with sequence number `seq`.
    pub(crate) fn announce(&self, user: UserId, seq: u64) {
        self.waiters.wake(user, seq);
        if let Records::Redis(redis) = &self.records {
            redis.announce(user, seq);
        }
    }

    /// Changes when a drive has changed, or a token of its user has ended. Its value says nothing.
    pub(crate) fn subscribe(&self, user: UserId) -> watch::Receiver<u64> {
        self.waiters.subscribe(user)
    }
}
