//! The feed of changes.

use super::call::Call;
use super::{Client, Error};
use crate::protocol::changes::{Changes, ChangesQuery};
use crate::protocol::routes;

/// Seconds that a page may take when there is one.
const ANSWER_SECONDS: u64 = 30;

impl Client {
    /// One page of what changed; waits for a change as long as the query says.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn changes(&self, query: &ChangesQuery) -> Result<Changes, Error> {
        let patience = ANSWER_SECONDS + query.wait.unwrap_or(0);
        let mut call = Call::get(routes::CHANGES).query("since", query.since).within(patience);
        if let Some(commit) = query.commit {
            call = call.query("commit", commit);
        }
        if let Some(deleted) = query.deleted {
            call = call.query("deleted", deleted);
        }
        if let Some(limit) = query.limit {
            call = call.query("limit", limit);
        }
        if let Some(wait) = query.wait {
            call = call.query("wait", wait);
        }
        self.json(&call).await
    }
}
