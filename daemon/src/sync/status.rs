//! How everything stands, for a person: what is pending, under way, wrong, and how much has gone by.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::store::{Error, Ino, View};

/// The rate is that of the last so many seconds.
const RATE_SPAN: Duration = Duration::from_secs(5);
/// Conflicts that are remembered, the latest ones.
const CONFLICTS_MAX: usize = 100;

/// How the engine stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The server.
    pub server: Server,
    /// Name of the account.
    pub account: String,
    /// Name of this device.
    pub device: String,
    /// How far the changes of the server have been applied.
    pub cursor: u64,
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
    /// What is wrong, by path.
    pub errors: Vec<NodeError>,
    /// Names of the copies that conflicts made since the start, the latest last.
    pub conflicts: Vec<String>,
    /// Paths of files that the server does not take.
    pub stays_local: Vec<String>,
    /// Deletions that wait for `miaofs sync --allow-deletions`.
    pub held_deletions: u64,
    /// What has gone by.
    pub counters: Counters,
    /// Clean content that is here.
    pub cache: Cache,
}

/// The server as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    /// Its URL.
    pub url: String,
    /// Whether it answers.
    pub state: ServerState,
    /// Why it does not, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Whether the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ServerState {
    /// It has not been asked yet.
    Connecting,
    /// It does.
    Online,
    /// It cannot be reached.
    Offline,
    /// It wants a sign-in first.
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
    /// What is wrong.
    pub message: String,
}

/// What has gone by since the start.
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

/// How one node stands to the server. Its text is the xattr `user.miaofs.state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SyncState {
    /// The same here and there, and all of it is here.
    Synced,
    /// It waits to be pushed.
    Pending,
    /// Its content is under way.
    Uploading,
    /// It is not on the server, for this reason.
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

/// Written by the executors, read for [`Status`].
#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub(super) chunks: Tally,
    pub(super) batches: Tally,
    pub(super) ranges: Tally,
    pub(super) from_stores: Tally,
    pub(super) instant_uploads: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) ranges_in_flight_max: AtomicU64,
    pub(super) held_deletions: AtomicU64,
    uploads: Mutex<HashMap<Ino, (u64, u64)>>,
    troubles: Mutex<BTreeMap<Ino, String>>,
    conflicts: Mutex<VecDeque<String>>,
    sent: Mutex<VecDeque<(Instant, u64)>>,
}

/// How many, and how many bytes in all.
#[derive(Debug, Default)]
pub(super) struct Tally {
    count: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    pub(super) fn add(&self, bytes: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A content that is shown as being under way until this is dropped.
#[derive(Debug)]
pub(super) struct UploadShown<'a> {
    metrics: &'a Metrics,
    ino: Ino,
}

impl UploadShown<'_> {
    /// The server has this many bytes of it.
    pub(super) fn done(&self, bytes: u64) {
        if let Some(upload) = lock(&self.metrics.uploads).get_mut(&self.ino) {
            upload.1 = bytes;
        }
    }

    /// The server has this many more bytes of it, which were sent.
    pub(super) fn sent(&self, bytes: u64) {
        if let Some(upload) = lock(&self.metrics.uploads).get_mut(&self.ino) {
            upload.1 += bytes;
        }
        self.metrics.count_sent(bytes);
    }
}

impl Drop for UploadShown<'_> {
    fn drop(&mut self) {
        lock(&self.metrics.uploads).remove(&self.ino);
    }
}

impl Metrics {
    pub(super) fn show_upload(&self, ino: Ino, bytes: u64) -> UploadShown<'_> {
        lock(&self.uploads).insert(ino, (bytes, 0));
        UploadShown { metrics: self, ino }
    }

    /// Contents under way: node, bytes in all, bytes done.
    pub(super) fn uploads(&self) -> Vec<(Ino, u64, u64)> {
        lock(&self.uploads).iter().map(|(ino, (bytes, done))| (*ino, *bytes, *done)).collect()
    }

    pub(super) fn count_sent(&self, bytes: u64) {
        let mut sent = lock(&self.sent);
        let now = Instant::now();
        sent.push_back((now, bytes));
        while sent.front().is_some_and(|(at, _)| now.duration_since(*at) > RATE_SPAN) {
            sent.pop_front();
        }
    }

    pub(super) fn rate(&self) -> u64 {
        let now = Instant::now();
        let lately = |at: &Instant| now.duration_since(*at) <= RATE_SPAN;
        let sent: u64 =
            lock(&self.sent).iter().filter(|(at, _)| lately(at)).map(|(_, bytes)| bytes).sum();
        sent / RATE_SPAN.as_secs()
    }

    pub(super) fn set_troubles(&self, troubles: BTreeMap<Ino, String>) {
        *lock(&self.troubles) = troubles;
    }

    pub(super) fn troubles(&self) -> BTreeMap<Ino, String> {
        lock(&self.troubles).clone()
    }

    pub(super) fn trouble(&self, ino: Ino) -> Option<String> {
        lock(&self.troubles).get(&ino).cloned()
    }

    pub(super) fn add_conflict(&self, name: &[u8]) {
        let name = String::from_utf8_lossy(name).into_owned();
        let mut conflicts = lock(&self.conflicts);
        if conflicts.contains(&name) {
            return;
        }
        tracing::warn!(%name, "both sides changed: the local one was kept under this name");
        conflicts.push_back(name);
        if conflicts.len() > CONFLICTS_MAX {
            conflicts.pop_front();
        }
    }

    pub(super) fn conflicts(&self) -> Vec<String> {
        lock(&self.conflicts).iter().cloned().collect()
    }

    pub(super) fn counters(&self, traffic: miaofs::client::Traffic) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            chunks_sent: read(&self.chunks.count),
            chunk_bytes_sent: read(&self.chunks.bytes),
            batches_sent: read(&self.batches.count),
            batch_bytes_sent: read(&self.batches.bytes),
            instant_uploads: read(&self.instant_uploads),
            commits: read(&self.commits),
            content_bytes_fetched: read(&self.ranges.bytes),
            content_bytes_from_stores: read(&self.from_stores.bytes),
            ranges_fetched: read(&self.ranges.count),
            ranges_in_flight_max: read(&self.ranges_in_flight_max),
            requests: traffic.requests,
            bytes_sent: traffic.bytes_sent,
            bytes_received: traffic.bytes_received,
        }
    }
}

/// A path of a node in the drive, for a person's eyes.
pub(super) fn path_of(view: &mut View<'_>, ino: Ino) -> Result<String, Error> {
    let mut names = Vec::new();
    let mut at = ino;
    while at != Ino::ROOT {
        match view.entries_of(at)?.into_iter().next() {
            Some((parent, name)) => {
                names.push(String::from_utf8_lossy(&name).into_owned());
                at = parent;
            }
            None => {
                names.push("(deleted)".to_owned());
                break;
            }
        }
    }
    names.reverse();
    Ok(format!("/{}", names.join("/")))
}

/// What these locks guard is whole after every statement.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
