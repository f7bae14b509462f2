//! Callers who wait until what is dirty now is on the server, and what they are told.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::store::{DirtyNode, Error, Ino, View};
use crate::sync::error::{SyncError, with_causes};

/// Part of the drive that shall be on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The whole drive.
    All,
    /// One node.
    Node(Ino),
    /// A node and all below it.
    Tree(Ino),
}

/// Why not all is on the server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlushError {
    /// Nothing can be sent until a person signs in, for this reason.
    #[error("{0}: run `miaofs login`")]
    SignedOut(String),
    /// These nodes cannot be sent; all others were.
    #[error("not on the server: {}", list(.0))]
    Refused(Vec<Refusal>),
    /// The local store failed.
    #[error("the local store failed")]
    Store(#[source] Error),
    /// The engine has ended.
    #[error("the daemon is ending")]
    Ended,
}

/// A node that cannot be sent. Its text names the path and the reason.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    /// Path in the drive.
    pub path: String,
    /// The reason.
    pub error: Arc<SyncError>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, with_causes(&self.error))
    }
}

fn list(refusals: &[Refusal]) -> String {
    refusals.iter().map(Refusal::to_string).collect::<Vec<_>>().join("; ")
}

/// A caller who waits.
#[derive(Debug)]
pub(super) struct Flush {
    /// Nodes that were dirty at the call and are not yet known to be on the server.
    pub(super) waiting: HashSet<Ino>,
    /// Only what was looked at in this round or later shows what was there at the call.
    pub(super) since: u64,
    pub(super) answer: oneshot::Sender<Result<(), FlushError>>,
}

impl Flush {
    /// Nobody waits any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    /// All is on the server.
    pub(super) fn succeed(self) {
        let _gone = self.answer.send(Ok(()));
    }

    /// The server has the node as it was in `round`.
    pub(super) fn acknowledged(&mut self, ino: Ino, round: u64) {
        if round >= self.since {
            self.waiting.remove(&ino);
        }
    }
}

/// True if a dirty node is in the scope.
pub(super) fn contains(scope: Scope, node: &DirtyNode, view: &mut View<'_>) -> Result<bool, Error> {
    match scope {
        Scope::All => Ok(true),
        Scope::Node(ino) => Ok(node.ino == ino),
        Scope::Tree(top) => is_below(top, node, view),
    }
}

/// True if any name of the node, now or on the server, is below `top`.
fn is_below(top: Ino, node: &DirtyNode, view: &mut View<'_>) -> Result<bool, Error> {
    if node.ino == top {
        return Ok(true);
    }
    let names = node.state.iter().chain(&node.base_state).flat_map(|state| &state.entries);
    for entry in names {
        if let Some(parent) = view.by_id(entry.parent)?
            && (parent == top || view.way_up(parent)?.iter().any(|(above, _)| *above == top))
        {
            return Ok(true);
        }
    }
    Ok(false)
}
