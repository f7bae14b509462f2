//! The tracker: what is true for a while, and known to all processes of one server.
//!
//! Access tokens, uploads in flight, challenges, tries and news. Everything in it has a lifetime and
//! may be lost: then clients renew their tokens, and uploads are found again from what stands on the
//! staging disks. [`Tracker::epoch`] tells that it was lost.
//!
//! There are two that promise the same, and one suite of tests for both: a SQLite file of its own
//! for a server that is one process, and Redis for a server that is several.

mod challenges;
mod embedded;
mod limits;
mod redis;
#[cfg(test)]
mod tests;
mod tokens;
mod uploads;
mod wakeups;

use std::time::Duration;

pub(crate) use challenges::TrackedChallenge;
pub(crate) use limits::{Decision, RateLimit};
pub(crate) use tokens::{AccessToken, ActiveToken, Bearer, OtherTokens};
pub(crate) use uploads::{TrackedUpload, UploadPhase};

use self::redis::Redis;
use crate::backend::{Error, Settings, unix_now};
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

/// Asks the one that it is.
macro_rules! ask {
    ($tracker:expr, $records:ident => $asked:expr) => {
        match &$tracker.records {
            $crate::backend::tracker::Records::Embedded($records) => $asked.await,
            $crate::backend::tracker::Records::Redis($records) => $asked.await,
        }
    };
}
use ask;

/// Which memory of the tracker it is. Another one knows nothing of what the one before was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Epoch(Vec<u8>);

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

    /// Which memory this is. It stays the same until everything is lost.
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub(crate) async fn epoch(&self) -> Result<Epoch, Error> {
        ask!(self, records => records.epoch())
    }

    /// Whether the tracker answers.
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
    pub(crate) async fn forget_expired(&self) -> Result<(), Error> {
        ask!(self, records => records.forget_expired())
    }

    /// Ends what the tracker does by itself, after the requests under way.
    pub(crate) async fn close(&self) {
        ask!(self, records => records.close());
    }
}

/// When something expires that begins now, in seconds since 1970.
fn after(lifetime: Duration) -> i64 {
    unix_now().saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX))
}
