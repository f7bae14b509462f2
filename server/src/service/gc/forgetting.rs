//! Forgetting: tombstones that no device needs, and devices that nobody is signed in with.
//!
//! A deletion is remembered until every signed-in device that follows the feed has seen it, and a day at least; but not for longer
//! than the operator decides, and of a drive no more of them than it may have nodes. A device that comes later still is told to
//! begin anew, by the commit up to which its drive has forgotten some.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::backend::db::tombstones::{self, Forgettable};
use crate::backend::{self, UserId, db, unix_now};
use crate::service::context::ServiceContext;
use crate::service::policy::before;

/// Time for which every deletion is remembered, unless the operator decides on less.
const YOUNG: Duration = Duration::from_secs(24 * 60 * 60);
/// Pauses between two looks, the shortest and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(600)];
/// Rows that go in one transaction.
const AT_ONCE: u32 = 500;
/// Accounts that are looked up at once.
const ACCOUNTS: u32 = 100;

/// Forgets until `stop`.
pub(crate) async fn forget_forever(context: Arc<ServiceContext>, stop: CancellationToken) {
    let [shortest, longest] = PAUSES;
    let pause = (context.policy.tombstone_ttl / 4).clamp(shortest, longest);
    while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        match forget(&context).await {
            Ok(0) => (),
            Ok(deletions) => tracing::info!(deletions, "forgot deletions that no device needs"),
            Err(error) => tracing::error!(%error, "deletions cannot be forgotten"),
        }
    }
}

/// Forgets what may be forgotten now. Answers how many deletions that were.
pub(super) async fn forget(context: &ServiceContext) -> Result<u64, backend::Error> {
    let (now, mut after, mut forgotten) = (unix_now(), UserId(0), 0);
    loop {
        let users = db::users::page(&mut *context.db.read().await?, after, ACCOUNTS).await?;
        let Some(last) = users.last() else { break };
        after = last.id;
        for user in &users {
            for forgettable in forgettable(context, user.id, now).await? {
                forgotten += until_few(|| remove_some(context, user.id, forgettable)).await?;
            }
        }
    }
    let before = before(now, context.policy.tombstone_ttl);
    if tombstones::has_old_devices(&mut *context.db.read().await?, before).await? {
        until_few(|| remove_old_devices(context, before)).await?;
    }
    Ok(forgotten)
}

/// Tombstones of a drive that may go, by each rule; none when there are none under any.
async fn forgettable(
    context: &ServiceContext,
    user: UserId,
    now: i64,
) -> Result<Vec<Forgettable>, backend::Error> {
    let policy = &context.policy;
    let mut read = context.db.read().await?;
    let mut over = before(now, policy.tombstone_ttl);
    if policy.max_nodes > 0
        && let Some(time) = tombstones::time_beyond(&mut read, user, policy.max_nodes).await?
    {
        over = over.max(time);
    }
    let seen = before(now, YOUNG.min(policy.tombstone_ttl));
    let any = Forgettable { deleted_before: over.max(seen), until: u64::MAX };
    if !tombstones::are_there(&mut read, user, any).await? {
        return Ok(Vec::new());
    }
    let until = tombstones::all_followed_until(&mut read, user, now).await?.unwrap_or(u64::MAX);
    Ok(vec![
        Forgettable { deleted_before: over, until: u64::MAX },
        Forgettable { deleted_before: seen, until },
    ])
}

async fn remove_some(
    context: &ServiceContext,
    user: UserId,
    forgettable: Forgettable,
) -> Result<usize, backend::Error> {
    if !tombstones::are_there(&mut *context.db.read().await?, user, forgettable).await? {
        return Ok(0);
    }
    let mut transaction = context.db.write().await?;
    if !db::accounts::lock(&mut transaction, user).await? {
        return Ok(0);
    }
    let removed = tombstones::remove(&mut transaction, user, forgettable, AT_ONCE).await?;
    transaction.commit().await?;
    Ok(removed)
}

async fn remove_old_devices(
    context: &ServiceContext,
    before: i64,
) -> Result<usize, backend::Error> {
    let mut transaction = context.db.write().await?;
    let removed = tombstones::remove_old_devices(&mut transaction, before, AT_ONCE).await?;
    transaction.commit().await?;
    Ok(removed)
}

/// Runs a transaction again until it finds fewer than [`AT_ONCE`] rows. Answers how many in all.
async fn until_few<F>(mut remove: impl FnMut() -> F) -> Result<u64, backend::Error>
where
    F: Future<Output = Result<usize, backend::Error>>,
{
    let mut all = 0;
    loop {
        let some = db::retry_transaction(&mut remove).await?;
        all += some as u64;
        if some < AT_ONCE as usize {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests;
