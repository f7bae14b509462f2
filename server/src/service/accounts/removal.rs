//! Removal of closed accounts, when the grace is over: all that they have, in steps that hold the database for a moment only.
//!
//! The contents are not removed here: nothing of the account names them any more, and the collection finds them.

use crate::backend::db::closed_users::{self, RemovedNodes};
use crate::backend::db::{self, Connection, Db, ROWS_A_STATEMENT, contents};
use crate::backend::{self, UserId, unix_now};

/// Accounts that are looked for at once.
const AT_ONCE: u32 = 20;
/// Rows that go in one transaction.
const ROWS: u32 = 200;
const _: () = assert!(ROWS as usize <= ROWS_A_STATEMENT, "a statement names all rows of a step");

/// Removes the accounts that were closed at `before` (seconds since 1970) or earlier. Answers how many.
///
/// # Errors
/// [`backend::Error`]; what was removed before stays so, and the rest is removed the next time.
pub(crate) async fn remove_closed(db: &Db, before: i64) -> Result<u64, backend::Error> {
    let mut removed = 0;
    loop {
        let closed = closed_users::closed_until(&mut *db.read().await?, before, AT_ONCE).await?;
        if closed.is_empty() {
            return Ok(removed);
        }
        for user in closed {
            while db::retry_transaction(|| remove_some(db, user)).await? == Rest::Some {}
            tracing::info!(%user, "removed a closed account");
            removed += 1;
        }
    }
}

/// All that is left of an account after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Perhaps something.
    Some,
    /// Nothing.
    Nothing,
}

async fn remove_some(db: &Db, user: UserId) -> Result<Rest, backend::Error> {
    let mut transaction = db.write().await?;
    if !closed_users::begin_removal(&mut transaction, user).await? {
        // Another process was faster, or the account was restored just now.
        return Ok(Rest::Nothing);
    }
    let nodes = closed_users::remove_nodes(&mut transaction, user, ROWS).await?;
    let rest = if nodes.nodes > 0 {
        uncount(&mut transaction, user, &nodes).await?;
        Rest::Some
    } else if closed_users::remove_claims(&mut transaction, user, ROWS).await? > 0
        || closed_users::remove_commits(&mut transaction, user, ROWS).await? > 0
    {
        Rest::Some
    } else {
        closed_users::remove(&mut transaction, user).await?;
        Rest::Nothing
    };
    transaction.commit().await?;
    Ok(rest)
}

/// Takes nodes that went off the counts of what they named.
async fn uncount(
    db: &mut Connection,
    user: UserId,
    removed: &RemovedNodes,
) -> Result<(), backend::Error> {
    let mut counts: Vec<i64> = removed.contents.values().copied().collect();
    counts.sort_unstable();
    counts.dedup();
    for count in counts {
        let named = removed.contents.iter().filter(|(_, nodes)| **nodes == count);
        let mut digests: Vec<_> = named.map(|(digest, _)| *digest).collect();
        digests.sort_unstable();
        contents::count_refs(db, user, &digests, -count, unix_now()).await?;
    }
    Ok(())
}
