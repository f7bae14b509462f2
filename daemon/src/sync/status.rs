//! Status of the engine, for a person: what is pending, under way, wrong, and how much has gone by.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::store::{DamageFound, Error, Ino, LockWaitCounts, View};

/// Status of the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The server.
    pub server: Server,
    /// Name of the account.
    pub account: String,
    /// Name of this device.
    pub device: String,
    /// Sequence number up to which the changes of the server have been applied.
    pub cursor: u64,
    /// Nodes of the drive that have come, while they come for the first time; until then who looks for a name waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_pull: Option<u64>,
    /// All that is here is being compared with the drive: the server was restored from an older copy, or has forgotten deletions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub comparing: bool,
    /// Damage of the local store, and what was put aside because of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<DamageReport>,
    /// Nodes that the server does not have as they are here.
    pub pending_nodes: u64,
    /// Bytes of content that are still to be sent, at the most.
    pub pending_bytes: u64,
    /// Contents under way.
    pub uploading: Vec<Uploading>,
    /// Bytes sent a second, lately.
    pub rate_bytes_per_s: u64,
    /// Seconds until all is sent, if it goes on like this.
    pub eta_s: Option<u64>,
    /// Nodes that cannot be sent, by path; of very many, some.
    pub errors: Vec<NodeError>,
    /// Names of the copies that conflicts made since the start, the latest last.
    pub conflicts: Vec<String>,
    /// Paths of files that the server does not take; of very many, some.
    pub stays_local: Vec<String>,
    /// Deletions that wait for `miaofs sync --allow-deletions`.
    pub held_deletions: u64,
    /// Traffic since the start.
    pub counters: Counters,
    /// Clean content that is here.
    pub cache: Cache,
    /// Waits of operations for each other since the start.
    #[serde(default)]
    pub lock_waits: LockWaits,
}

/// The server as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    /// URL of the server.
    pub url: String,
    /// Reachability, as last seen.
    pub state: ServerState,
    /// Reason for which it does not answer, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Reachability of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ServerState {
    /// The server has not been asked yet.
    Connecting,
    /// The server answers.
    Online,
    /// The server cannot be reached.
    Offline,
    /// The server wants a sign-in first.
    SignedOut,
}

/// A content under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Uploading {
    /// Path in the drive.
    pub path: String,
    /// Bytes of the content.
    pub bytes: u64,
    /// Bytes of it that the server has.
    pub done: u64,
}

/// Something that is wrong with one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeError {
    /// Path in the drive.
    pub path: String,
    /// The reason.
    pub message: String,
}

/// Something about damage of the local store that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DamageReport {
    /// The damage, and what to do.
    pub message: String,
    /// Where what was put aside is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

impl From<DamageFound> for DamageReport {
    fn from(found: DamageFound) -> Self {
        Self { message: found.what, path: found.path }
    }
}

/// Traffic since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counters {
    /// Chunks sent.
    pub chunks_sent: u64,
    /// Bytes of chunks sent.
    pub chunk_bytes_sent: u64,
    /// Batches of small contents sent.
    pub batches_sent: u64,
    /// Bytes of small contents sent.
    pub batch_bytes_sent: u64,
    /// Contents that the server had already.
    pub instant_uploads: u64,
    /// Commits sent.
    pub commits: u64,
    /// Bytes of contents fetched.
    pub content_bytes_fetched: u64,
    /// Of these, bytes that came from a store directly, and not through the server.
    pub content_bytes_from_stores: u64,
    /// Requests for ranges of contents.
    pub ranges_fetched: u64,
    /// The most of them that were in flight at once.
    pub ranges_in_flight_max: u64,
    /// Requests of all kinds.
    pub requests: u64,
    /// Bytes of all requests' bodies.
    pub bytes_sent: u64,
    /// Bytes of all answers' bodies.
    pub bytes_received: u64,
}

/// The cache of clean content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cache {
    /// Bytes that are here.
    pub bytes: u64,
    /// Bytes that may be.
    pub limit: u64,
}

/// Waits for the lock of the tree, which is for operations on names and attributes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LockWaits {
    /// Times that it was locked.
    pub locked: u64,
    /// Waits of more than 50 ms.
    pub long: u64,
    /// The longest, in milliseconds.
    pub longest_ms: u64,
}

impl From<LockWaitCounts> for LockWaits {
    fn from(counts: LockWaitCounts) -> Self {
        let longest_ms = u64::try_from(counts.longest.as_millis()).unwrap_or(u64::MAX);
        Self { locked: counts.locked, long: counts.long, longest_ms }
    }
}

/// State of one node to the server. Its text is the xattr `user.miaofs.state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SyncState {
    /// The same here and there, and all of it is here.
    Synced,
    /// The node waits to be pushed.
    Pending,
    /// The content is under way.
    Uploading,
    /// The node cannot be sent, for this reason.
    Error(String),
    /// The same here and there, but not all of its content is here.
    Remote,
}

impl fmt::Display for SyncState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Synced => f.write_str("synced"),
            Self::Pending => f.write_str("pending"),
            Self::Uploading => f.write_str("uploading"),
            Self::Error(reason) => write!(f, "error: {reason}"),
            Self::Remote => f.write_str("remote"),
        }
    }
}

/// A path of a node in the drive, for a person's eyes.
pub(super) fn path_of(view: &mut View<'_>, ino: Ino) -> Result<String, Error> {
    let way = view.way_up(ino)?;
    let top = way.last().map_or(ino, |(directory, _)| *directory);
    let names = way.iter().rev().map(|(_, name)| String::from_utf8_lossy(name).into_owned());
    let deleted = (top != Ino::ROOT).then(|| "(deleted)".to_owned());
    Ok(format!("/{}", deleted.into_iter().chain(names).collect::<Vec<_>>().join("/")))
}
