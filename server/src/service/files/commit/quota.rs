//! Quota accounting: the bytes and nodes that a drive uses after a commit, and the changes that its quota has no room for.

use miaofs::protocol::files::{NodeChange, NodeState};

use super::drive::{LoadedDrive, Verdict};
use crate::backend::db::accounts::Usage;

/// Bytes that a node counts for.
pub(super) fn size_of(state: Option<&NodeState>) -> u64 {
    state.and_then(|state| state.content).map_or(0, |content| content.size)
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
    for change in applied(changes, verdicts) {
        let (before, after) = (drive.current(change.id), change.state.as_ref());
        usage.seq = drive.usage.seq + 1;
        usage.used = (usage.used + size_of(after)).saturating_sub(size_of(before));
        usage.nodes += u64::from(before.is_none() && after.is_some());
        usage.nodes -= u64::from(before.is_some() && after.is_none()).min(usage.nodes);
    }
    usage
}

/// Indexes of the changes that the quota has no room for: when the drive grows beyond it, those that
/// make it grow are let in while there is room.
pub(super) fn over_quota(
    drive: &LoadedDrive,
    changes: &[NodeChange],
    verdicts: &[Verdict],
) -> Vec<usize> {
    let growth = |change: &NodeChange| {
        let before = size_of(drive.current(change.id));
        i128::from(size_of(change.state.as_ref())) - i128::from(before)
    };
    let applied = (0..changes.len()).filter(|at| verdicts[*at] == Verdict::Apply);
    let growths: Vec<_> = applied.map(|at| (at, growth(&changes[at]))).collect();
    let shrinking: i128 = growths.iter().map(|(_, growth)| (*growth).min(0)).sum();
    let mut room = i128::from(drive.usage.quota) - i128::from(drive.usage.used) - shrinking;
    let mut losers = Vec::new();
    for (index, growth) in growths.into_iter().filter(|(_, growth)| *growth > 0) {
        if growth <= room {
            room -= growth;
        } else {
            losers.push(index);
        }
    }
    losers
}
