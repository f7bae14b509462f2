//! The feed: what changed in a drive since a client last looked.

use serde::{Deserialize, Serialize};

use super::files::Node;
use super::ids::CommitId;

/// The longest that a poll may wait, in seconds.
pub const WAIT_MAX: u64 = 60;
/// Nodes on a page unless the client says otherwise.
pub const LIMIT_DEFAULT: u64 = 1000;
/// Nodes on a page at the most (but for the rest of one commit).
pub const LIMIT_MAX: u64 = 10_000;

/// Query for the changes after a cursor.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams, utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct ChangesQuery {
    /// The cursor so far; 0 for the whole drive, of which deleted nodes are then left out.
    pub since: u64,
    /// Id of the commit at the cursor, if it is known: the answer is [`AnotherHistory`] when the drive has another one there.
    ///
    /// [`AnotherHistory`]: super::problem::Code::AnotherHistory
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// The drive's `head` on the first page, while a client goes on with what it began from 0: deletions until then need not be
    /// told. Without it the answer to a cursor after which deletions are forgotten is [`BeginAnew`].
    ///
    /// [`BeginAnew`]: super::problem::Code::BeginAnew
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_at: Option<u64>,
    /// Deleted nodes are wanted from the beginning, too: for a comparison of all that a client has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<bool>,
    /// Nodes wanted at the most; a commit is never cut in two, so there may be more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Seconds to wait for a change when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<u64>,
}

/// One page of the feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Changes {
    /// Nodes by rising version, deleted ones as such. Each stands once, as it is now; so until the
    /// client has reached `head`, a parent or the loser of a name may still be to come.
    pub nodes: Vec<Node>,
    /// Where to go on: every change up to this sequence number has been seen.
    pub cursor: u64,
    /// Id of the commit at `cursor`; absent when the server does not keep it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// The drive's sequence number when the page was read; reached when `cursor == head`.
    pub head: u64,
}
