//! The feed: what changed in a drive, and waiting for it.
//!
//! Whoever commits announces the drive's new sequence number, and the tracker wakes those who wait,
//! in whichever process. An announcement may be lost, so they also look by themselves now and then. The end of a
//! token wakes them too, and whoever waits with one that ended learns nothing more.

use std::time::Duration;

use miaofs::protocol::changes::{
    Changes as Page, ChangesQuery, LIMIT_DEFAULT, LIMIT_MAX, WAIT_MAX,
};
use miaofs::protocol::files::SeenCommit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::followed::FollowedNotes;
use super::history;
use super::listing::LONG_LISTINGS;
use super::page_room::{Admission, PageRoom, PageShare};
use crate::backend::db::files::ChangedSince;
use crate::backend::db::{self, Db, EMBEDDED_READERS, tombstones};
use crate::backend::tracker::Tracker;
use crate::backend::{UserId, half_of_processors};
use crate::service::{Caller, Error, Room, Seat};

/// Bytes after which a page ends, however few nodes it has; a commit is not cut in two.
const PAGE_BYTES: u64 = 8 * 1024 * 1024;

/// Nodes up to which a page that reaches the head is read without a seat.
const FEW: u64 = 500;
/// Bytes up to which it is.
const FEW_BYTES: u64 = 1024 * 1024;
/// Longer pages that are read at once, at the most, and no more than half of the processors: together with the long listings fewer than the connections that the embedded
/// database has for readers, so that whoever reads little always finds one.
const LONG_PAGES: usize = 3;
const _: () = assert!(LONG_PAGES + LONG_LISTINGS < EMBEDDED_READERS as usize);

/// Pause between two looks of a waiter that nobody has woken.
const LOOK: Duration = Duration::from_secs(10);

/// The feeds of all drives.
#[derive(Debug, Clone)]
pub(crate) struct Changes {
    db: Db,
    tracker: Tracker,
    stop: CancellationToken,
    pub(super) reading: Room<UserId>,
    room: PageRoom,
    followed: FollowedNotes,
}

/// A page, and the room that it has in memory: to be held until it is sent.
#[derive(Debug)]
pub(crate) struct FeedPage {
    /// The page.
    pub page: Page,
    /// The room of the page; none for a small one.
    pub share: Option<PageShare>,
    /// True if there was none at first, and it was waited for.
    pub has_waited: bool,
}

/// All that a look may have waited for.
#[derive(Debug, Default)]
struct Had {
    /// The right to read a long page.
    seat: Option<Seat<UserId>>,
    /// Memory for the page.
    share: Option<PageShare>,
}

/// A look at the feed.
enum Look {
    Page(FeedPage),
    /// The next page is long, and there was no seat to read it.
    NoSeat,
    /// The next page has so many bytes, for which there is no room now.
    NoRoom(u64),
}

impl Changes {
    /// Feeds from this database, whose waiters all end when `stop` is cancelled. From then on nobody
    /// waits here; they are sent away to come again.
    pub(crate) fn new(db: Db, tracker: Tracker, stop: CancellationToken) -> Self {
        let reading = Room::new("feeds", half_of_processors().min(LONG_PAGES));
        let followed = FollowedNotes::new(db.clone());
        Self { db, tracker, stop, reading, room: PageRoom::new(), followed }
    }

    /// Wakes whoever waits for a drive, which has been committed up to `seq`.
    pub(crate) fn announce(&self, user: UserId, seq: u64) {
        self.tracker.announce(user, seq);
    }

    /// The next page after a cursor; waits as long as asked when there is none.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a number out of bounds, [`Error::AnotherHistory`] for a cursor that the
    /// drive has not reached or where it has another commit, [`Error::CommitForgotten`], [`Error::BeginAnew`],
    /// [`Error::Unauthorized`] when the account is gone or the caller's token ends, [`Error::Unavailable`] to
    /// whoever comes to wait when the process is about to end.
    pub(crate) async fn after(
        &self,
        caller: Caller,
        query: ChangesQuery,
    ) -> Result<FeedPage, Error> {
        let user = caller.user;
        let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
        let wait = query.wait.unwrap_or(0);
        if !(1..=LIMIT_MAX).contains(&limit) || wait > WAIT_MAX {
            let rule = format!("limit is 1 to {LIMIT_MAX} and wait at most {WAIT_MAX} seconds");
            return Err(Error::Invalid(rule));
        }
        let ending = self.stop.is_cancelled() && wait > 0;
        let deadline = Instant::now() + Duration::from_secs(wait);
        // Subscribed before the look, so that no commit and no end falls between look and wait.
        let mut news = self.tracker.subscribe(user);
        let mut has_waited = false;
        loop {
            if wait > 0 && self.tracker.token(user, caller.token).await?.is_none() {
                return Err(Error::Unauthorized);
            }
            let mut page = self.page(user, query, limit).await?;
            page.has_waited = has_waited;
            self.followed.shown(caller, query.since);
            if page.page.head != query.since {
                return Ok(page);
            }
            if ending {
                return Err(Error::Unavailable);
            }
            let _waiting = Waiting::begin();
            has_waited = wait > 0;
            page.has_waited = has_waited;
            tokio::select! {
                _ = news.changed() => (),
                () = tokio::time::sleep(LOOK) => (),
                () = tokio::time::sleep_until(deadline) => return Ok(page),
                () = self.stop.cancelled() => return Ok(page),
            }
        }
    }

    async fn page(&self, user: UserId, query: ChangesQuery, limit: u64) -> Result<FeedPage, Error> {
        let mut had = Had::default();
        loop {
            match self.look(user, query, limit, &mut had).await? {
                Look::Page(page) => return Ok(page),
                Look::NoSeat => had.seat = Some(self.reading.enter(user).await?),
                Look::NoRoom(bytes) => {
                    // Whoever waits for memory keeps nobody from reading.
                    had.seat = None;
                    had.share = Some(self.room.wait(bytes).await?);
                }
            }
        }
    }

    async fn look(
        &self,
        user: UserId,
        query: ChangesQuery,
        limit: u64,
        had: &mut Had,
    ) -> Result<Look, Error> {
        let ChangesQuery { since, commit, deleted, began_at, .. } = query;
        let mut read = self.db.read_drive(user).await?;
        let usage = db::accounts::usage(&mut read, user).await?.ok_or(Error::Unauthorized)?;
        let head = usage.seq;
        if let Some(ahead) = began_at.into_iter().chain([since]).find(|seen| *seen > head) {
            return Err(Error::AnotherHistory(ahead));
        }
        if let Some(id) = commit {
            history::check(&mut read, user, SeenCommit { seq: since, id }).await?;
        }
        let (mut nodes, mut cursor, mut share) = (Vec::new(), head, None);
        if since < head {
            let needed_from = since.max(began_at.unwrap_or(0));
            if since > 0 && needed_from < tombstones::forgotten_until(&mut read, user).await? {
                return Err(Error::BeginAnew(since));
            }
            let range = ChangedSince { since, with_deleted: since > 0 || deleted == Some(true) };
            let is_seated = had.seat.is_some();
            let (nodes_max, bytes_max) =
                if is_seated { (limit, PAGE_BYTES) } else { (limit.min(FEW), FEW_BYTES) };
            let end = db::files::page_end(&mut read, user, range, nodes_max, bytes_max).await?;
            if end.is_some() && !is_seated {
                return Ok(Look::NoSeat);
            }
            cursor = end.unwrap_or(head);
            let bytes = db::files::changed_bytes(&mut read, user, range, cursor).await?;
            share = match self.room.admit(bytes, had.share.take()) {
                Admission::Small => None,
                Admission::Room(share) => Some(share),
                Admission::Full => return Ok(Look::NoRoom(bytes)),
            };
            nodes = db::files::changed(&mut read, user, range, cursor).await?;
        }
        let commit = match commit {
            // It was looked up just now.
            Some(seen) if cursor == since => Some(seen),
            _ => db::commits::id(&mut read, user, cursor).await?,
        };
        let page = Page { nodes, cursor, commit, head };
        Ok(Look::Page(FeedPage { page, share, has_waited: false }))
    }
}

/// Counts a client as waiting for changes while it lives.
struct Waiting;

impl Waiting {
    const GAUGE: &str = "miaofs_changes_waiting";

    fn begin() -> Self {
        metrics::gauge!(Self::GAUGE).increment(1.0);
        Self
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        metrics::gauge!(Self::GAUGE).decrement(1.0);
    }
}
