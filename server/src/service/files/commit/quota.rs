//! Accounting: what a drive takes after a commit, and the changes that its quota or its limit of nodes has no room for.

use miaofs::protocol::files::{ConflictReason, NodeChange, NodeState};

use super::drive::{LoadedDrive, Verdict};
use crate::backend::db::accounts::Usage;
use crate::backend::db::files::metadata_of;
use crate::service::policy::counted;

/// All that a drive takes more once a change is applied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Growth {
    content: i64,
    metadata: i64,
    nodes: i64,
}

impl Growth {
    /// Of a node that becomes another state.
    pub(super) fn between(before: Option<&NodeState>, after: Option<&NodeState>) -> Self {
        let more = |of: fn(&NodeState) -> u64| {
            let [before, after] = [before, after].map(|state| state.map_or(0, of).cast_signed());
            after.saturating_sub(before)
        };
        Self { content: more(size_of), metadata: more(metadata_of), nodes: more(|_| 1) }
    }

    /// True if a drive does not take more with it, whatever it takes.
    const fn is_none(self) -> bool {
        self.content <= 0 && self.content.saturating_add(self.metadata) <= 0 && self.nodes <= 0
    }

    const fn add_to(self, usage: &mut Usage) {
        usage.used = usage.used.saturating_add_signed(self.content);
        usage.metadata = usage.metadata.saturating_add_signed(self.metadata);
        usage.nodes = usage.nodes.saturating_add_signed(self.nodes);
    }
}

/// Bytes of a node's content.
pub(super) fn size_of(state: &NodeState) -> u64 {
    state.content.map_or(0, |content| content.size)
}

/// The changes that are applied.
pub(in crate::service::files) fn applied<'a>(
    changes: &'a [NodeChange],
    verdicts: &'a [Verdict],
) -> impl Iterator<Item = &'a NodeChange> {
    let both = changes.iter().zip(verdicts);
    both.filter(|(_, verdict)| **verdict == Verdict::Apply).map(|(change, _)| change)
}

/// Usage of a drive after the changes that are applied.
pub(in crate::service::files) fn usage_after(
    drive: &LoadedDrive,
    changes: &[NodeChange],
    verdicts: &[Verdict],
) -> Usage {
    let mut usage = drive.usage;
    // The sum first: no order of the changes is one in which each of them can be counted.
    let mut sum = Growth { content: 0, metadata: 0, nodes: 0 };
    for change in applied(changes, verdicts) {
        let growth = Growth::between(drive.current(change.id), change.state.as_ref());
        sum.content = sum.content.saturating_add(growth.content);
        sum.metadata = sum.metadata.saturating_add(growth.metadata);
        sum.nodes = sum.nodes.saturating_add(growth.nodes);
        usage.seq = drive.usage.seq + 1;
    }
    sum.add_to(&mut usage);
    usage
}

/// Indexes of the changes that there is no room for, and why: when the drive grows beyond its quota or its limit of nodes, those
/// that make it grow are let in while there is room.
pub(super) fn over_limits(
    drive: &LoadedDrive,
    growths: &[Growth],
    verdicts: &[Verdict],
) -> Vec<(usize, ConflictReason)> {
    let applied = (0..growths.len()).filter(|at| verdicts[*at] == Verdict::Apply);
    let (small, growing): (Vec<_>, Vec<_>) = applied.partition(|at| growths[*at].is_none());
    let mut usage = drive.usage;
    small.into_iter().for_each(|at| growths[at].add_to(&mut usage));
    let mut losers = Vec::new();
    for index in growing {
        let mut next = usage;
        growths[index].add_to(&mut next);
        let [before, after] = [usage, next].map(|it| counted(it.used, it.metadata));
        if next.nodes > usage.nodes && next.nodes > drive.nodes_max {
            losers.push((index, ConflictReason::TooManyNodes));
        } else if after > before && after > usage.quota {
            losers.push((index, ConflictReason::OverQuota));
        } else {
            usage = next;
        }
    }
    losers
}
