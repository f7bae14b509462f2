//! Another history of the drive: noticed by the id of a commit, followed by a comparison of all that is here.
//!
//! A server that was restored from an older copy, or whose database lost its last commits when a replica took over, tells by
//! the commit at the cursor, which it has not, or has another one for. Nothing is pushed until everything is compared: the
//! version that a change is based on may be one of the other history.

use std::sync::Arc;

use miaofs::client;
use miaofs::protocol::changes::ChangesQuery;
use miaofs::protocol::files::SeenCommit;
use miaofs::protocol::problem::Code;

use super::resolve::with_rules;
use crate::store;
use crate::sync::core::Core;

/// Why changes were not applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// True if the server answers that it does not have the commit at the cursor.
pub(crate) fn is_of_another_history(error: &client::Error) -> bool {
    matches!(error.code(), Some(Code::AnotherHistory | Code::CommitForgotten))
}

/// Makes sure that a commit of which we know is one of the drive.
///
/// # Errors
/// One that [`is_of_another_history`] knows when it is not; those of the client.
pub(super) async fn check(client: &client::Client, seen: SeenCommit) -> Result<(), client::Error> {
    match client.changes(&query_of(seen)).await {
        Err(error) if error.code() == Some(Code::CommitForgotten) => Ok(()),
        answer => answer.map(drop),
    }
}

/// Begins to compare all that is here with the drive. The feed goes on from its beginning.
pub(super) async fn begin_comparison(
    core: &Core,
    client: &client::Client,
    error: &client::Error,
) -> Result<(), FeedError> {
    core.caught_up.send_replace(false);
    let seen = core.with_store(|store| store.seen_commits()).await?;
    let common = newest_common(client, &seen).await?;
    let _reconciling = core.reconcile.lock().await;
    core.with_store(move |store| store.begin_comparison(common)).await?;
    let reason = error.to_string();
    tracing::warn!(reason, common, "the server was restored from an older copy: comparing all");
    Ok(())
}

/// All has been compared: what the server lacks is sent from now on.
pub(super) async fn end_comparison(core: &Arc<Core>) -> Result<(), FeedError> {
    let ending = Arc::clone(core);
    // A doubt must not interrupt it: the kernel is to be told, too.
    let ended = tokio::spawn(async move {
        let _reconciling = ending.reconcile.lock().await;
        with_rules(&ending, |store, rules| store.end_comparison(rules)).await
    });
    ended.await.expect("ending a comparison does not panic")?;
    tracing::info!("all that is here was compared with the server's drive");
    Ok(())
}

/// Sequence number of the newest commit that the server has as we know it; 0 when there is none. What it keeps no id of
/// counts as the same.
async fn newest_common(client: &client::Client, seen: &[SeenCommit]) -> Result<u64, client::Error> {
    let (mut same, mut other) = (0, seen.len());
    while same < other {
        let middle = same.midpoint(other);
        if is_known(client, seen[middle]).await? { same = middle + 1 } else { other = middle }
    }
    Ok(same.checked_sub(1).map_or(0, |newest| seen[newest].seq))
}

async fn is_known(client: &client::Client, seen: SeenCommit) -> Result<bool, client::Error> {
    match client.changes(&query_of(seen)).await {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some(Code::CommitForgotten) => Ok(true),
        Err(error) if error.code() == Some(Code::AnotherHistory) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Asks for as little as can be, and for whether the commit is one of the drive.
fn query_of(seen: SeenCommit) -> ChangesQuery {
    ChangesQuery {
        since: seen.seq,
        commit: Some(seen.id),
        limit: Some(1),
        ..ChangesQuery::default()
    }
}
