//! Resolves what a commit could not change, and applies what the server has: both by the same rules.

use std::sync::Arc;

use miaofs::protocol::files::{self, Conflict, ConflictReason};
use miaofs::protocol::ids::NodeId;

use super::conflict::{ConflictLabel, conflict_name, resolve, resolve_name};
use super::equal::find_equal;
use crate::store::{
    self, Cursor, DirtyNode, Invalidation, NameResolution, Resolution, Rules, Store,
};
use crate::sync::core::Core;
use crate::sync::error::SyncError;

/// Next step for a node that a commit did not change.
#[derive(Debug)]
pub(crate) enum AfterConflict {
    /// The local state was brought up to date: look at it again at once.
    Replan,
    /// Another change comes first: look at it again a little later.
    Defer,
    /// The content must be brought to the server again.
    UploadAgain,
    /// The server will not take the node until something else changes.
    Refused(SyncError),
}

/// Does what a conflict calls for. The caller holds [`Core::reconcile`].
pub(crate) async fn resolve_conflict(
    core: &Arc<Core>,
    node: &DirtyNode,
    conflict: Conflict,
) -> Result<AfterConflict, store::Error> {
    let apply = match conflict.reason {
        ConflictReason::Stale if conflict.current.is_none() => {
            let ino = node.ino;
            with_rules(core, move |store, rules| store.give_up_base(ino, rules)).await?;
            return Ok(AfterConflict::Replan);
        }
        ConflictReason::Stale | ConflictReason::NoParent => conflict.current,
        ConflictReason::NameTaken | ConflictReason::NotEmpty => {
            let current = conflict.current;
            match &current {
                Some(other) if waits_for_its_own_push(core, node, other).await? => {
                    return Ok(AfterConflict::Defer);
                }
                _ => current,
            }
        }
        ConflictReason::NoContent => return Ok(AfterConflict::UploadAgain),
        // A cycle ends when the change comes that the server has and this device has not, or another one of ours.
        ConflictReason::Dependent | ConflictReason::Cycle => return Ok(AfterConflict::Defer),
        ConflictReason::OverQuota => return Ok(AfterConflict::Refused(SyncError::OverQuota)),
        ConflictReason::TooManyNodes => {
            return Ok(AfterConflict::Refused(SyncError::TooManyNodes));
        }
    };
    let Some(current) = apply else { return Ok(AfterConflict::Defer) };
    apply_nodes(core, vec![*current], None).await?;
    let is_in_the_way =
        matches!(conflict.reason, ConflictReason::NameTaken | ConflictReason::NotEmpty);
    let ino = node.ino;
    let now = core.with_store(move |store| store.dirty_node(ino)).await?;
    Ok(match now {
        // Sent again at once, it would meet the same.
        Some(now) if is_in_the_way && is_as_before(&now, node) => AfterConflict::Defer,
        _ => AfterConflict::Replan,
    })
}

/// True if a change of ours is the one that it was.
fn is_as_before(now: &DirtyNode, node: &DirtyNode) -> bool {
    (now.change, now.base_version, &now.state) == (node.change, node.base_version, &node.state)
}

/// True if the node that stands in the way is to leave by a change of ours that is not pushed yet.
async fn waits_for_its_own_push(
    core: &Core,
    node: &DirtyNode,
    other: &files::Node,
) -> Result<bool, store::Error> {
    let id = other.id;
    let local = core.with_store(move |store| local_change_of(store, id)).await?;
    let Some(local) = local else { return Ok(false) };
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

/// The change of ours to the node of an id, if there is one.
fn local_change_of(store: &Store, id: NodeId) -> Result<Option<DirtyNode>, store::Error> {
    match store.view::<_, store::Error>(|view| view.by_id(id))? {
        Some(ino) => store.dirty_node(ino),
        None => Ok(None),
    }
}

/// Applies nodes of the server by the rules, and tells the kernel's side. `cursor`: how far the
/// changes have been seen with them, if they come from the feed.
pub(super) async fn apply_nodes(
    core: &Arc<Core>,
    nodes: Vec<files::Node>,
    cursor: Option<Cursor>,
) -> Result<(), store::Error> {
    with_rules(core, move |store, rules| {
        let cursor = cursor.unwrap_or_else(|| store.cursor());
        find_equal(store, &nodes)?;
        store.apply(&nodes, rules, cursor)
    })
    .await
}

/// Runs a change of the store by the rules, and tells the kernel's side of it.
pub(super) async fn with_rules(
    core: &Arc<Core>,
    change: impl FnOnce(&Arc<Store>, &Rules<'_>) -> Result<Vec<Invalidation>, store::Error>
    + Send
    + 'static,
) -> Result<(), store::Error> {
    let applying = Arc::clone(core);
    let apply = move |store: &Arc<Store>| {
        let label = conflict_label(&applying);
        let node_rule = |local: &DirtyNode, remote: &files::Node| {
            let resolution = resolve(local, remote, &label);
            if let Resolution::KeepBoth { copy_name } = &resolution {
                applying.metrics.add_conflict(copy_name);
            }
            resolution
        };
        let name_rule = |local: &DirtyNode, remote: &files::Node| {
            let resolution = resolve_name(local, remote, &label);
            if let NameResolution::RenameLocal(name) = &resolution {
                applying.metrics.add_conflict(name);
            }
            resolution
        };
        let label_name = |name: &[u8]| {
            let name = conflict_name(name, &label);
            applying.metrics.add_conflict(&name);
            name
        };
        change(store, &Rules { node: &node_rule, name: &name_rule, conflict_name: &label_name })
    };
    core.invalidate(core.with_store(apply).await?);
    Ok(())
}

fn conflict_label(core: &Core) -> ConflictLabel {
    let now = jiff::Zoned::now();
    ConflictLabel {
        device: core.settings.device.clone(),
        date: now.strftime("%Y-%m-%d %H.%M.%S").to_string(),
    }
}
