//! Another history of the drive: noticed by the id of a commit, followed by a comparison of all that is here.
//!
//! A server that was restored from an older copy, or whose database lost its last commits when a replica took over, tells by
//! the commit at the cursor, which it has not, or has another one for. Nothing is pushed until everything is compared: the
//! version that a change is based on may be one of the other history.
//!
//! A server that has forgotten deletions after the cursor tells by another code. All is compared then, too: what was known and is not
//! shown is deleted, but only after the server has shown that it has the newest commit that is known here.

use std::sync::Arc;

use miaofs::client;
use miaofs::protocol::changes::ChangesQuery;
use miaofs::protocol::files::{Node, SeenCommit};
use miaofs::protocol::ids::{NodeId, Revision};
use miaofs::protocol::problem::Code;

use super::resolve::{apply_nodes, with_rules};
use crate::store::{self, Comparison};
use crate::sync::core::Core;

/// Nodes that are deleted at once, of those that a drive does not show.
const DELETED_AT_ONCE: usize = 256;

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

/// True if the server answers that it has forgotten deletions after the cursor.
pub(super) fn is_behind_forgotten(error: &client::Error) -> bool {
    error.code() == Some(Code::BeginAnew)
}

/// Makes sure that a commit of which we know is one of the drive.
///
/// # Errors
/// One that [`is_of_another_history`] knows when it is not; those of the client.
pub(super) async fn check(client: &client::Client, seen: SeenCommit) -> Result<(), client::Error> {
    match client.changes(&query_of(seen)).await {
        Err(error) if matches!(error.code(), Some(Code::CommitForgotten | Code::BeginAnew)) => {
            Ok(())
        }
        answer => answer.map(drop),
    }
}

/// Begins to compare all that is here with a drive of another history. The feed goes on from its beginning.
pub(super) async fn begin_comparison(
    core: &Core,
    client: &client::Client,
    error: &client::Error,
) -> Result<(), FeedError> {
    core.caught_up.send_replace(false);
    let seen = core.with_store(|store| store.seen_commits()).await?;
    let common = newest_common(client, &seen).await?;
    begin(core, Comparison::Restored { common }).await?;
    let reason = error.to_string();
    tracing::warn!(reason, common, "the server was restored from an older copy: comparing all");
    Ok(())
}

/// Begins to compare all that is here with a drive that has forgotten deletions. The feed goes on from its beginning. `newest` is the
/// newest commit that is known here; when the server does not say that it has it, all is compared as with another history.
pub(super) async fn begin_anew(
    core: &Core,
    client: &client::Client,
    newest: Option<SeenCommit>,
    error: &client::Error,
) -> Result<(), FeedError> {
    let Some(newest) = newest else { return begin_comparison(core, client, error).await };
    core.caught_up.send_replace(false);
    match client.changes(&query_of(newest)).await {
        Ok(_) => {}
        Err(error) if is_behind_forgotten(&error) => {}
        Err(error) if is_of_another_history(&error) => {
            return begin_comparison(core, client, &error).await;
        }
        Err(error) => return Err(error.into()),
    }
    begin(core, Comparison::Anew).await?;
    let reason = error.to_string();
    tracing::info!(reason, "this device was away for long: listing the whole drive again");
    Ok(())
}

async fn begin(core: &Core, comparison: Comparison) -> Result<(), store::Error> {
    let _reconciling = core.reconcile.lock().await;
    core.with_store(move |store| store.begin_comparison(comparison)).await
}

/// All has been compared: what a drive does not show that has forgotten deletions goes, and what a restored server lacks is sent
/// from now on.
pub(super) async fn end_comparison(
    core: &Arc<Core>,
    comparison: Comparison,
) -> Result<(), FeedError> {
    let ending = Arc::clone(core);
    // A doubt must not interrupt it: the kernel is to be told, too.
    let ended = tokio::spawn(async move {
        let _reconciling = ending.reconcile.lock().await;
        if comparison == Comparison::Anew {
            delete_not_shown(&ending).await?;
        }
        with_rules(&ending, |store, rules| store.end_comparison(rules)).await
    });
    ended.await.expect("ending a comparison does not panic")?;
    tracing::info!("all that is here was compared with the server's drive");
    Ok(())
}

/// Deletes what the drive did not show, some at a time, so that programs go on in between.
async fn delete_not_shown(core: &Arc<Core>) -> Result<(), store::Error> {
    let (deleted, cursor) = core
        .with_store(|store| Ok::<_, store::Error>((store.not_shown()?, store.cursor())))
        .await?;
    for some in deleted.chunks(DELETED_AT_ONCE) {
        let deleted = |id: &NodeId| Node {
            id: *id,
            version: cursor.seq,
            revision: Revision::random(),
            state: None,
        };
        apply_nodes(core, some.iter().map(deleted).collect(), None).await?;
    }
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
    match check(client, seen).await {
        Ok(()) => Ok(true),
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
