//! Settles what a commit could not change, and applies what the server has: both by the same rules.

use std::sync::Arc;

use miaofs::protocol::files::{self, Conflict, ConflictReason};

use super::conflict::{Mark, resolve, resolve_name};
use crate::store::{self, DirtyNode, NameResolution, Resolution, Rules, run_blocking};
use crate::sync::engine::Core;

/// What becomes of a node that a commit did not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The local state was brought up to date: look at it again at once.
    Again,
    /// Another change comes first: look at it again a little later.
    Later,
    /// Its content must be brought to the server again.
    UploadAgain,
    /// It cannot be, for this reason, until something else changes.
    Refused(&'static str),
}

/// Does what a conflict calls for. The caller holds [`Core::reconcile`].
pub(crate) async fn settle(
    core: &Arc<Core>,
    node: &DirtyNode,
    conflict: Conflict,
) -> Result<Settled, store::Error> {
    let apply = match conflict.reason {
        ConflictReason::Stale | ConflictReason::NoParent => conflict.current,
        ConflictReason::NameTaken | ConflictReason::NotEmpty => {
            let current = conflict.current;
            match &current {
                Some(other) if waits_for_its_own_push(core, node, other)? => {
                    return Ok(Settled::Later);
                }
                _ => current,
            }
        }
        ConflictReason::NoContent => return Ok(Settled::UploadAgain),
        ConflictReason::Dependent => return Ok(Settled::Later),
        ConflictReason::Cycle => {
            return Ok(Settled::Refused("a directory would be inside itself: move it elsewhere"));
        }
        ConflictReason::OverQuota => {
            return Ok(Settled::Refused("the quota is full: delete something or ask for more"));
        }
    };
    match apply {
        Some(current) => {
            apply_nodes(core, vec![*current], None).await?;
            Ok(Settled::Again)
        }
        None => Ok(Settled::Later),
    }
}

/// Whether the node that stands in the way is to leave by a change of ours that is not pushed yet.
fn waits_for_its_own_push(
    core: &Core,
    node: &DirtyNode,
    other: &files::Node,
) -> Result<bool, store::Error> {
    let Some(ino) = core.store.view::<_, store::Error>(|view| view.by_id(other.id))? else {
        return Ok(false);
    };
    let Some(local) = core.store.dirty_node(ino)? else { return Ok(false) };
    let names = |state: &Option<files::NodeState>| {
        state.as_ref().map(|state| state.entries.clone()).unwrap_or_default()
    };
    let wanted = names(&node.state);
    let in_the_way = |entries: Vec<files::Entry>| match node.state {
        Some(_) => entries.iter().any(|entry| wanted.contains(entry)),
        None => entries.iter().any(|entry| entry.parent == node.id),
    };
    Ok(!in_the_way(names(&local.state)) && local.base_version >= other.version)
}

/// Applies nodes of the server by the rules, and tells the kernel's side. `cursor`: how far the
/// changes have been seen with them, if they come from the feed.
pub(crate) async fn apply_nodes(
    core: &Arc<Core>,
    nodes: Vec<files::Node>,
    cursor: Option<u64>,
) -> Result<(), store::Error> {
    let applying = Arc::clone(core);
    let news = run_blocking(move || {
        let cursor = cursor.unwrap_or_else(|| applying.store.cursor());
        let mark = mark(&applying);
        let node_rule = |local: &DirtyNode, remote: &files::Node| {
            let resolution = resolve(local, remote, &mark);
            if let Resolution::KeepBoth { copy_name } = &resolution {
                applying.metrics.add_conflict(copy_name);
            }
            resolution
        };
        let name_rule = |local: &DirtyNode, remote: &files::Node| {
            let resolution = resolve_name(local, remote, &mark);
            if let NameResolution::RenameLocal(name) = &resolution {
                applying.metrics.add_conflict(name);
            }
            resolution
        };
        let rules = Rules { node: &node_rule, name: &name_rule };
        applying.store.apply(&nodes, &rules, cursor)
    })
    .await?;
    for piece in news {
        // Nobody listens when nothing is mounted.
        let _not_mounted = core.news.send(piece);
    }
    Ok(())
}

fn mark(core: &Core) -> Mark {
    let now = jiff::Zoned::now();
    Mark {
        device: core.settings.device.clone(),
        date: now.strftime("%Y-%m-%d %H.%M.%S").to_string(),
    }
}
