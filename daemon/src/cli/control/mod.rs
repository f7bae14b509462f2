//! How commands talk to the running daemon: a Unix socket in the state directory, for its owner only.
//!
//! A connection is one request: the command sends one line of JSON, the daemon answers with lines of JSON, the last
//! of which is neither [`Response::Progress`] nor [`Response::Verifying`]. A command that goes away ends what it asked for.

pub(super) mod client;
pub(super) mod handler;
pub(super) mod server;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cli::state::state_dir::StateDir;
use crate::cli::terminal::error::Report;
use crate::sync::{Status, SyncState, Verification};

/// Request of a command to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(super) enum Request {
    /// Status of the daemon and of the whole drive.
    Status,
    /// State of one node.
    Node {
        /// Inode number.
        ino: u64,
    },
    /// Answer when what is dirty now is on the server.
    Flush {
        /// Only this node, and all below it; the whole drive if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ino: Option<u64>,
        /// Treatment of deletions that the engine holds back.
        #[serde(default)]
        deletions: Deletions,
    },
    /// The account file has a new session: go on with it.
    SignedIn,
    /// End, so that the program which is installed now takes over.
    HandOver,
    /// Compare all cached content with its digests.
    Verify,
}

/// Treatment of deletions that are too many to be sent without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Deletions {
    /// They wait.
    #[default]
    Ask,
    /// They are wanted.
    Allow,
}

/// Answer of the daemon.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "answer", content = "body", rename_all = "snake_case")]
pub(super) enum Response {
    /// To [`Request::Status`].
    Status(Box<DaemonStatus>),
    /// To [`Request::Node`].
    Node(SyncState),
    /// To [`Request::Flush`], again and again until it is done.
    Progress(Box<Status>),
    /// To [`Request::Verify`], again and again until it is done.
    Verifying(Box<Verification>),
    /// To [`Request::Verify`], when it is done.
    Verified(Box<Verification>),
    /// The work is done.
    Done,
    /// The request failed.
    Failed(Report),
}

/// The daemon and its engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DaemonStatus {
    /// Always true: who does not run does not answer.
    pub running: bool,
    /// Process id.
    pub pid: u32,
    /// Where the drive is mounted.
    pub mountpoint: PathBuf,
    /// State directory.
    pub state_dir: PathBuf,
    /// The daemon's version.
    pub version: String,
    /// True if the mount outlives this daemon, and another one takes over.
    #[serde(default)]
    pub supervised: bool,
    /// True while the kernel reads and writes data files by itself.
    #[serde(default)]
    pub passthrough: bool,
    /// Requests of the kernel since the daemon began, by kind.
    #[serde(default)]
    pub kernel_requests: BTreeMap<String, u64>,
    /// Status of the engine.
    #[serde(flatten)]
    pub engine: Status,
}

/// The longest path that fits into a socket's address.
const SOCKET_PATH_MAX: usize = 100;

/// A path by which a state directory's socket can be bound or reached; it is good as long as the value lives.
struct SocketPath {
    path: PathBuf,
    _directory: Option<File>,
}

impl SocketPath {
    /// The socket's own path, or one through the directory's descriptor when that would be too long.
    fn of(state: &StateDir) -> io::Result<Self> {
        let path = state.socket();
        if path.as_os_str().len() <= SOCKET_PATH_MAX {
            return Ok(Self { path, _directory: None });
        }
        let directory = File::open(state.path())?;
        let name = path.file_name().expect("the socket has a name");
        let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
        Ok(Self { path: short, _directory: Some(directory) })
    }
}
