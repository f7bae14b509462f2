//! Follows the changes of the drive on the server and applies them; the one that knows whether it answers.
//!
//! There is always one request open, which the server answers when something changed. Pages are
//! collected until the head of the drive is reached, because a page alone may name a directory that
//! comes on a later one; but not more than a bound, beyond which the store keeps the place.

use std::sync::Arc;

use miaofs::client::{self, Retry};
use miaofs::protocol::changes::{Changes, ChangesQuery};

use super::resolve::apply_nodes;
use crate::store;
use crate::sync::core::Core;
use crate::sync::error::with_causes;
use crate::sync::link::{Backoff, LinkState};

/// Seconds for which the server holds a request when nothing changes.
const WAIT_SECONDS: u64 = 30;
/// Nodes asked for at once.
const PAGE: u64 = 1000;
/// Nodes that are collected before they are applied.
const COLLECT_MAX: usize = 10_000;

/// Why changes were not applied.
#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
}

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
    let since = core.with_store(|store| store.cursor()).await;
    let page = ask(client, since, wait).await?;
    core.link.found();
    core.first_pull.came(page.nodes.len());
    let (mut nodes, mut cursor, mut head) = (page.nodes, page.cursor, page.head);
    while cursor < head && nodes.len() < COLLECT_MAX {
        let page = ask(client, cursor, 0).await?;
        core.first_pull.came(page.nodes.len());
        nodes.extend(page.nodes);
        (cursor, head) = (page.cursor, page.head);
    }
    if !nodes.is_empty() || cursor != since {
        // From here on a doubt must not interrupt: applying runs to its end on its own.
        let applying = Arc::clone(core);
        let applied = tokio::spawn(async move {
            let _reconciling = applying.reconcile.lock().await;
            apply_nodes(&applying, nodes, Some(cursor)).await
        });
        applied.await.expect("applying changes does not panic")?;
        core.drive_changed.notify_one();
    }
    if cursor < head {
        return Ok(FeedState::Behind);
    }
    if !core.first_pull.is_done() {
        core.with_store(|store| store.note_all_names()).await?;
        core.first_pull.finish();
    }
    Ok(FeedState::CaughtUp)
}

async fn ask(client: &client::Client, since: u64, wait: u64) -> Result<Changes, client::Error> {
    let wait = (wait > 0).then_some(wait);
    client.changes(&ChangesQuery { since, limit: Some(PAGE), wait }).await
}

/// Never returns unless we are signed out, and then when a new session has been taken over.
async fn until_signed_in(core: &Core) {
    if core.link.state() == LinkState::SignedOut {
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
            if !error.is_offline() && !matches!(error, client::Error::SignedOut) {
                let (error, request_id) = (with_causes(error), error.request_id());
                tracing::warn!(error, request_id, "cannot follow the changes of the drive");
            }
        }
        FeedError::Store(error) => {
            tracing::error!(error = %with_causes(error), "cannot apply the changes of the drive");
        }
    }
}
