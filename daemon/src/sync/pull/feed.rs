//! Follows the changes of the drive on the server and applies them; the one that knows whether it answers.
//!
//! There is always one request open, which the server answers when something changed. Pages are
//! collected until the head of the drive is reached, because a page alone may name a directory that
//! comes on a later one; but not more than a bound, beyond which the store keeps the place.

use std::sync::Arc;

use miaofs::client::{self, Retry};
use miaofs::protocol::changes::ChangesQuery;
use miaofs::protocol::files::{self, SeenCommit};

use super::history::{
    FeedError, begin_anew, begin_comparison, check, end_comparison, is_behind_forgotten,
    is_of_another_history,
};
use super::resolve::apply_nodes;
use crate::store::Cursor;
use crate::sync::core::Core;
use crate::sync::error::with_causes;
use crate::sync::link::{Backoff, LinkState};

/// Seconds for which the server holds a request when nothing changes.
const WAIT_SECONDS: u64 = 30;
/// Nodes asked for at once.
const PAGE: u64 = 1000;
/// Nodes that are collected before they are applied.
const COLLECT_MAX: usize = 10_000;

/// Runs until it is dropped.
pub(crate) async fn run(core: Arc<Core>) {
    let client = core.client.with_retry(Retry::NEVER);
    let mut backoff = Backoff::new();
    // The first request asks without waiting, so that everybody knows at once where we stand.
    let mut wait = 0;
    loop {
        let follow = follow(&core, &client, wait);
        let result = tokio::select! {
            result = follow => result,
            // Somebody's request failed while ours was open: ask again rather than trust it.
            () = core.link.doubted() => Ok(FeedState::Doubted),
        };
        match result {
            Ok(FeedState::Behind) => {}
            Ok(FeedState::Doubted) => wait = 0,
            Ok(FeedState::CaughtUp) => {
                core.caught_up.send_replace(true);
                backoff.reset();
                wait = WAIT_SECONDS;
            }
            Err(error) => {
                report(&core, &error);
                wait = 0;
                tokio::select! {
                    () = tokio::time::sleep(backoff.pause()) => {}
                    () = until_signed_in(&core) => {}
                }
            }
        }
    }
}

/// State of the store against the changes of the drive, after one request.
enum FeedState {
    /// The store has all changes.
    CaughtUp,
    /// More changes are there already.
    Behind,
    /// The request was given up, because another one failed meanwhile.
    Doubted,
}

/// Asks once, and for the rest of what it is told about; applies it.
async fn follow(
    core: &Arc<Core>,
    client: &client::Client,
    wait: u64,
) -> Result<FeedState, FeedError> {
    let (since, comparison, began_at) =
        core.with_store(|store| (store.cursor(), store.comparison(), store.began_at())).await;
    // Looked up before the server is asked, whose answer may be older than what a commit tells meanwhile.
    let ahead = core.with_store(|store| store.seen_ahead()).await?;
    let with_deleted = comparison.is_some();
    let mut pages = Pages { client, core, with_deleted, began_at, cursor: since, head: since.seq };
    match pages.follow(ahead, wait).await {
        Err(FeedError::Client(error)) if is_of_another_history(&error) => {
            begin_comparison(core, client, &error).await?;
            return Ok(FeedState::Behind);
        }
        Err(FeedError::Client(error)) if is_behind_forgotten(&error) => {
            begin_anew(core, client, ahead.or(since.seen()), &error).await?;
            return Ok(FeedState::Behind);
        }
        followed => followed?,
    }
    let Pages { cursor, head, .. } = pages;
    if cursor.seq < head {
        return Ok(FeedState::Behind);
    }
    core.with_store(|store| store.note_listing(None)).await?;
    if let Some(comparison) = comparison {
        end_comparison(core, comparison).await?;
    }
    if !core.first_pull.is_done() {
        core.with_store(|store| store.note_all_names()).await?;
        core.first_pull.finish();
    }
    Ok(FeedState::CaughtUp)
}

/// Pages of the feed, asked for one after the other.
struct Pages<'c> {
    client: &'c client::Client,
    core: &'c Arc<Core>,
    /// Deleted nodes are wanted from the beginning, too.
    with_deleted: bool,
    /// The drive's head when the listing began that these pages go on with.
    began_at: Option<u64>,
    cursor: Cursor,
    head: u64,
}

impl Pages<'_> {
    /// Asks for the nodes of all pages up to the head, or until there are many, and applies them, unless the drive lacks a commit
    /// that this device knows of by its own: `ahead` is the newest before the drive is asked.
    async fn follow(&mut self, ahead: Option<SeenCommit>, wait: u64) -> Result<(), FeedError> {
        let since = self.cursor;
        let nodes = self.collect(wait).await?;
        if let Some(ahead) = ahead.filter(|ahead| ahead.seq > self.head) {
            check(self.client, ahead).await?;
        }
        if nodes.is_empty() && self.cursor == since {
            return Ok(());
        }
        // From here on a doubt must not interrupt: applying runs to its end on its own.
        let (core, client, cursor) = (Arc::clone(self.core), self.client.clone(), self.cursor);
        let began_at = self.began_at.filter(|_| cursor.seq < self.head);
        let applying = async move {
            let _reconciling = core.reconcile.lock().await;
            let passed = core.with_store(move |store| store.seen_until(cursor.seq)).await?;
            if let Some(passed) = passed.filter(|passed| cursor.seen() != Some(*passed)) {
                check(&client, passed).await?;
            }
            core.with_store(move |store| store.note_listing(began_at)).await?;
            apply_nodes(&core, nodes, Some(cursor)).await?;
            Ok::<_, FeedError>(())
        };
        tokio::spawn(applying).await.expect("applying changes does not panic")?;
        self.core.drive_changed.notify_one();
        Ok(())
    }

    /// The nodes of all pages up to the head, or until there are many.
    async fn collect(&mut self, wait: u64) -> Result<Vec<files::Node>, client::Error> {
        let mut nodes = self.next(wait).await?;
        self.core.link.found();
        while self.cursor.seq < self.head && nodes.len() < COLLECT_MAX {
            nodes.extend(self.next(0).await?);
        }
        Ok(nodes)
    }

    async fn next(&mut self, wait: u64) -> Result<Vec<files::Node>, client::Error> {
        let page = self
            .client
            .changes(&ChangesQuery {
                since: self.cursor.seq,
                commit: self.cursor.commit,
                began_at: self.began_at.filter(|_| self.cursor.seq > 0),
                deleted: self.with_deleted.then_some(true),
                limit: Some(PAGE),
                wait: (wait > 0).then_some(wait),
            })
            .await?;
        self.core.first_pull.came(page.nodes.len());
        if self.cursor.seq == 0 {
            self.began_at = Some(page.head);
        }
        self.cursor = Cursor { seq: page.cursor, commit: page.commit };
        self.head = page.head;
        Ok(page.nodes)
    }
}

/// Never returns unless we are signed out, and then when a new session has been taken over.
async fn until_signed_in(core: &Core) {
    if matches!(core.link.state(), LinkState::SignedOut(_)) {
        core.signed_in.notified().await;
    } else {
        std::future::pending().await
    }
}

fn report(core: &Core, error: &FeedError) {
    match error {
        FeedError::Client(error) => {
            core.link.failed(error);
            // What failed just now is not a reason to ask once more at once.
            core.link.clear_doubts();
            if !error.is_offline() && !matches!(error, client::Error::SignedOut { .. }) {
                let (error, request_id) = (with_causes(error), error.request_id());
                tracing::warn!(error, request_id, "cannot follow the changes of the drive");
            }
        }
        FeedError::Store(error) => {
            tracing::error!(error = %with_causes(error), "cannot apply the changes of the drive");
        }
    }
}
