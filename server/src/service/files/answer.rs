//! The answer to a commit: what was applied, and of what was not, why and what stands in the way, as far as that is not too much.

use std::collections::{HashMap, HashSet};

use miaofs::protocol::files::{Applied, Conflict, NodeChange};
use miaofs::protocol::ids::NodeId;

use super::commit::{LoadedDrive, Verdict};
use crate::backend::UserId;
use crate::backend::db::{self, Connection};
use crate::service::Error;

/// Bytes of JSON, more or less, that the nodes in an answer have at the most. Of a conflict beyond these only the reason is told:
/// the client finds the node in the feed, or when it sends the change again.
const CURRENT_BYTES: u64 = 1024 * 1024;

/// Tells of each change what became of it.
pub(super) async fn answer(
    db: &mut Connection,
    user: UserId,
    drive: &LoadedDrive,
    changes: &[NodeChange],
    verdicts: &[Verdict],
) -> Result<(Vec<Applied>, Vec<Conflict>), Error> {
    let shown = shown(db, user, drive, verdicts).await?;
    let unloaded: HashSet<NodeId> =
        shown.iter().flatten().copied().filter(|id| !drive.nodes.contains_key(id)).collect();
    let loaded = db::files::nodes(db, user, &unloaded.into_iter().collect::<Vec<_>>()).await?;
    let node = |id: NodeId| {
        let record = drive.nodes.get(&id).or_else(|| loaded.get(&id));
        record.map(|record| Box::new(record.node.clone()))
    };
    let (mut applied, mut conflicts) = (Vec::new(), Vec::new());
    for ((change, verdict), shown) in changes.iter().zip(verdicts).zip(shown) {
        let id = change.id;
        match *verdict {
            Verdict::AlreadyApplied { version } => applied.push(Applied { id, version }),
            Verdict::Apply => applied.push(Applied { id, version: drive.usage.seq + 1 }),
            Verdict::Reject { reason, current: _ } => {
                conflicts.push(Conflict { id, reason, current: shown.and_then(node) });
            }
        }
    }
    Ok((applied, conflicts))
}

/// For each change the node that stands in its way and is shown: the first ones, as long as there is room.
async fn shown(
    db: &mut Connection,
    user: UserId,
    drive: &LoadedDrive,
    verdicts: &[Verdict],
) -> Result<Vec<Option<NodeId>>, Error> {
    let in_the_way = |verdict: &Verdict| match verdict {
        Verdict::Reject { current, .. } => *current,
        Verdict::AlreadyApplied { .. } | Verdict::Apply => None,
    };
    let ids: HashSet<NodeId> = verdicts.iter().filter_map(in_the_way).collect();
    if ids.is_empty() {
        return Ok(vec![None; verdicts.len()]);
    }
    let (known, unknown): (Vec<NodeId>, Vec<NodeId>) =
        ids.into_iter().partition(|id| drive.nodes.contains_key(id));
    let known = known
        .into_iter()
        .filter_map(|id| Some((id, db::files::json_bytes(&drive.nodes.get(&id)?.node))));
    let mut bytes: HashMap<NodeId, u64> = known.collect();
    let weights = db::files::weigh(db, user, &unknown).await?;
    bytes.extend(weights.into_iter().map(|weight| (weight.id, weight.bytes)));
    let mut room = CURRENT_BYTES;
    let shown = verdicts.iter().map(|verdict| {
        let id = in_the_way(verdict)?;
        room = room.saturating_sub(bytes.get(&id).copied().unwrap_or(0));
        (room > 0).then_some(id)
    });
    Ok(shown.collect())
}
