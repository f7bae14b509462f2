//! Plan of what to do next about dirty nodes: pure, from their state, what is known of each, and the time.
//!
//! ```text
//!           debounced, content dirty         content on the server
//!   Idle ────────────────────────▶ Uploading ─────────────────────▶ Idle, uploaded ──▶ commit
//!    ▲                │  │  └─────── failed, refused ──▶ BackingOff ──▶ Idle
//!    │                │  └────────── changed meanwhile ──▶ Busy ──▶ Idle, when it is calm or that was long ago
//!    └─ server away ◀─┘
//! ```
//!
//! A node is *debounced* when it has not changed for a moment, or cannot wait: it was synced, somebody
//! waits for it, or it has been changing for long. Nothing here is lost when the daemon ends: dirty
//! nodes are in the store, and the rest is learnt again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use miaofs::content::CHUNK_SIZE;
use miaofs::protocol::files::Kind;
use miaofs::protocol::ids::NodeId;

use super::commit_order;
use super::deletion_guard::{self, DeletionGuard};
use crate::store::{DirtyNode, Ino};
use crate::sync::error::SyncError;
use crate::sync::upload::{Job, UploadOutcome};

/// Dirty nodes that are looked at together.
pub(super) const WINDOW: usize = 10_000;
/// Nodes whose contents are on their way at the most: of each, something is kept in memory.
const UPLOADING_MAX: usize = 2 * WINDOW;
/// Bytes of small contents that travel together at the most.
pub(super) const GROUP_BYTES: u64 = 16 * 1024 * 1024;
/// Small contents that travel together at the most.
const GROUP_COUNT: usize = 1000;
/// Time for which a node must have been unchanged.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// Time after which a node that keeps changing is pushed all the same.
const DEBOUNCE_MAX: Duration = Duration::from_secs(5);
/// Time for which a file that is open for writing must have been quiet,
const OPEN_QUIET: Duration = Duration::from_secs(2);
/// time that must have passed since its last upload,
const OPEN_INTERVAL: Duration = Duration::from_secs(10);
/// and time after which it is uploaded though it is not quiet.
const OPEN_QUIET_MAX: Duration = Duration::from_secs(60);
/// First and longest pause after a failure.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Time without a change that ends the pause of a file which changed while it was read,
const CALM: Duration = Duration::from_secs(3);
/// and the longest pause of a node that waits for another one, which may come at any moment.
const DEFERRAL_MAX: Duration = Duration::from_secs(4);

/// Conditions that the plan depends on besides the nodes.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlanInput {
    pub(super) now: Instant,
    pub(super) urgency: Urgency,
    /// Deletions that wait in the whole store.
    pub(super) deletions: u64,
    /// Nodes of the drive.
    pub(super) drive_nodes: u64,
    /// Largest content that the server takes, in bytes.
    pub(super) max_file_size: u64,
    pub(super) coverage: WindowCoverage,
}

/// Urgency of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Nobody waits: nodes are debounced.
    Background,
    /// Somebody waits for all that is dirty.
    Awaited,
}

/// Share of the dirty nodes that one window holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WindowCoverage {
    /// All of it.
    All,
    /// A part; the rest has its turn.
    Part,
}

/// Result of one look at the dirty nodes.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Number of the look, from 1.
    pub(super) number: u64,
    pub(super) jobs: Vec<Job>,
    /// Commits in order, as indexes of the nodes.
    pub(super) commits: Vec<Vec<usize>>,
    /// Time of the next look though nothing happens.
    pub(super) next: Option<Instant>,
    /// Deletions in the whole store that wait for a person's word.
    pub(super) held_deletions: u64,
    /// Those of this window.
    pub(super) held: Vec<Ino>,
    /// Nodes of this window whose contents are on their way, those of `jobs` among them.
    pub(super) uploading: usize,
}

/// Failure of a node, and the latest round that ran into it.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) error: Arc<SyncError>,
    pub(super) round: u64,
}

/// Activity of the engine for one node.
#[derive(Debug)]
enum Work {
    Idle,
    Uploading,
    BackingOff {
        until: Instant,
    },
    /// The file changed while it was read: until then, or until it has been calm.
    Busy {
        until: Instant,
    },
}

/// Count of changes, time of the last write and size: different when the node changed.
type Fingerprint = (u64, i64, u64);

/// Progress of one dirty node.
#[derive(Debug)]
struct NodeTracker {
    fingerprint: Fingerprint,
    unchanged_since: Instant,
    dirty_since: Instant,
    uploaded_at: Option<Instant>,
    work: Work,
    /// The content was brought to the server and has not been committed yet.
    uploaded: bool,
    /// The server lost the content.
    upload_again: bool,
    urgent: bool,
    failure_count: u32,
    failure: Option<Failure>,
}

/// Decides about dirty nodes; keeps of each what the store does not know.
#[derive(Debug)]
pub(super) struct Planner {
    trackers: HashMap<Ino, NodeTracker>,
    urgent: HashSet<Ino>,
    guard: DeletionGuard,
    /// Uploads that this round may still begin.
    room: usize,
    /// Deleted nodes at whose places others were made, at the last look.
    replaced: HashSet<NodeId>,
    rounds: u64,
}

/// Next step for one node.
enum Action {
    Commit,
    Upload,
    /// Nothing, until then or until something happens.
    Wait(Option<Instant>),
    /// Nothing, until a person confirms the deletion.
    HoldDeletion,
}

impl Planner {
    pub(super) fn new(deletions_limit: u64) -> Self {
        Self {
            trackers: HashMap::new(),
            urgent: HashSet::new(),
            guard: DeletionGuard::new(deletions_limit),
            room: 0,
            replaced: HashSet::new(),
            rounds: 0,
        }
    }

    /// Looks at dirty nodes and says what to do. Jobs count as begun.
    pub(super) fn plan(&mut self, nodes: &[DirtyNode], input: &PlanInput) -> Round {
        self.rounds += 1;
        self.replaced = deletion_guard::replaced(nodes);
        let deletions = input.deletions.saturating_sub(self.replaced.len() as u64);
        let may_delete = self.guard.may_delete(deletions, input.drive_nodes, input.now);
        self.forget_absent(nodes, input.coverage);
        self.room = UPLOADING_MAX.saturating_sub(self.uploading());
        let mut round = Round { number: self.rounds, ..Round::default() };
        let mut ready = vec![false; nodes.len()];
        let mut uploads = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let may_delete = may_delete || self.replaced.contains(&node.id);
            match self.next_action(node, input, may_delete) {
                Action::Commit => ready[index] = true,
                Action::Upload => uploads.push((node.ino, node.size)),
                Action::Wait(until) => round.next = earlier(round.next, until),
                Action::HoldDeletion => round.held.push(node.ino),
            }
        }
        if !round.held.is_empty() {
            round.held_deletions = deletions;
        }
        let in_window = nodes.iter().filter(|node| self.is_uploading(node.ino));
        round.uploading = in_window.count();
        round.jobs = jobs(&uploads);
        round.commits = commit_order::commits(nodes, &ready);
        round
    }

    /// Has a node that was synced pushed without debouncing.
    pub(super) fn urgent(&mut self, ino: Ino) {
        self.urgent.insert(ino);
    }

    /// A person means the deletions that wait.
    pub(super) fn allow_deletions(&mut self) {
        self.guard.allow();
    }

    /// Has what failed tried again at once, because somebody waits for it.
    pub(super) fn retry_failed_now(&mut self) {
        for tracker in self.trackers.values_mut() {
            if matches!(tracker.work, Work::BackingOff { .. } | Work::Busy { .. }) {
                tracker.work = Work::Idle;
            }
        }
    }

    /// An upload ended.
    pub(super) fn uploaded(&mut self, ino: Ino, outcome: UploadOutcome, now: Instant) {
        let round = self.rounds;
        let Some(tracker) = self.trackers.get_mut(&ino) else { return };
        tracker.work = Work::Idle;
        match outcome {
            UploadOutcome::Known => {
                tracker.uploaded = true;
                tracker.upload_again = false;
                tracker.uploaded_at = Some(now);
                tracker.failure_count = 0;
                tracker.failure = None;
            }
            UploadOutcome::Changed => {
                let until = tracker.pause_until(now, BACKOFF_MAX);
                tracker.work = Work::Busy { until };
            }
            UploadOutcome::Offline => {}
            UploadOutcome::Failed(error) => {
                tracker.failure = Some(Failure { error, round });
                tracker.back_off(now, BACKOFF_MAX);
            }
        }
    }

    /// The server has the node as it was at the last look.
    pub(super) fn acknowledged(&mut self, node: &DirtyNode, now: Instant) {
        self.trackers.remove(&node.ino);
        self.urgent.remove(&node.ino);
        if node.state.is_none() && !self.replaced.contains(&node.id) {
            self.guard.deleted(1, now);
        }
    }

    /// The server did not take the node: it is tried again later.
    pub(super) fn refused(&mut self, ino: Ino, error: SyncError, now: Instant) {
        let round = self.rounds;
        if let Some(tracker) = self.trackers.get_mut(&ino) {
            tracker.failure = Some(Failure { error: Arc::new(error), round });
            tracker.back_off(now, BACKOFF_MAX);
        }
    }

    /// The server did not take the node because of another: it is looked at again a little later.
    pub(super) fn deferred(&mut self, ino: Ino, now: Instant) {
        if let Some(tracker) = self.trackers.get_mut(&ino) {
            tracker.back_off(now, DEFERRAL_MAX);
        }
    }

    /// The server has lost the node's content.
    pub(super) fn upload_again(&mut self, ino: Ino) {
        if let Some(tracker) = self.trackers.get_mut(&ino) {
            tracker.upload_again = true;
            tracker.uploaded = false;
        }
    }

    /// Number of the nodes whose contents are on their way, in this window or in another.
    pub(super) fn uploading(&self) -> usize {
        let uploading = |tracker: &&NodeTracker| matches!(tracker.work, Work::Uploading);
        self.trackers.values().filter(uploading).count()
    }

    fn is_uploading(&self, ino: Ino) -> bool {
        self.trackers.get(&ino).is_some_and(|tracker| matches!(tracker.work, Work::Uploading))
    }

    /// Failures of nodes.
    pub(super) fn failures(&self) -> impl Iterator<Item = (Ino, &Failure)> {
        self.trackers.iter().filter_map(|(ino, tracker)| Some((*ino, tracker.failure.as_ref()?)))
    }

    fn forget_absent(&mut self, nodes: &[DirtyNode], coverage: WindowCoverage) {
        let present: HashSet<Ino> = nodes.iter().map(|node| node.ino).collect();
        self.trackers.retain(|ino, tracker| {
            present.contains(ino)
                || matches!(tracker.work, Work::Uploading)
                || (coverage == WindowCoverage::Part && tracker.failure.is_some())
        });
        if coverage == WindowCoverage::All {
            self.urgent.retain(|ino| present.contains(ino));
        }
    }

    fn next_action(&mut self, node: &DirtyNode, input: &PlanInput, may_delete: bool) -> Action {
        let urgent = self.urgent.remove(&node.ino);
        let round = self.rounds;
        let tracker =
            self.trackers.entry(node.ino).or_insert_with(|| NodeTracker::new(node, input.now));
        tracker.see(node, input.now);
        tracker.urgent |= urgent;
        match tracker.work {
            Work::Uploading => return Action::Wait(None),
            Work::BackingOff { until } if until > input.now => return Action::Wait(Some(until)),
            Work::Busy { until } if until.min(tracker.calm_at()) > input.now => {
                return Action::Wait(Some(until.min(tracker.calm_at())));
            }
            Work::BackingOff { .. } | Work::Busy { .. } | Work::Idle => tracker.work = Work::Idle,
        }
        if node.state.is_none() && !may_delete {
            return Action::HoldDeletion;
        }
        let due = tracker.due(node);
        if input.urgency == Urgency::Background
            && due > input.now
            && !tracker.urgent
            && !tracker.uploaded
        {
            return Action::Wait(Some(due));
        }
        if !needs_upload(node, tracker) {
            return Action::Commit;
        }
        if node.size > input.max_file_size {
            let error = Arc::new(SyncError::TooLarge { limit: input.max_file_size });
            tracker.failure = Some(Failure { error, round });
            return Action::Wait(None);
        }
        if self.room == 0 && !tracker.urgent {
            // One that ends has the plan look again.
            return Action::Wait(None);
        }
        self.room = self.room.saturating_sub(1);
        tracker.work = Work::Uploading;
        tracker.urgent = false;
        Action::Upload
    }
}

fn needs_upload(node: &DirtyNode, tracker: &NodeTracker) -> bool {
    let is_file = node.state.as_ref().is_some_and(|state| state.kind == Kind::File);
    is_file && !tracker.uploaded && (node.content_dirty || tracker.upload_again)
}

impl NodeTracker {
    fn new(node: &DirtyNode, now: Instant) -> Self {
        Self {
            fingerprint: fingerprint(node),
            unchanged_since: now,
            dirty_since: now,
            uploaded_at: None,
            work: Work::Idle,
            uploaded: false,
            upload_again: false,
            urgent: false,
            failure_count: 0,
            failure: None,
        }
    }

    fn see(&mut self, node: &DirtyNode, now: Instant) {
        if self.fingerprint != fingerprint(node) {
            self.fingerprint = fingerprint(node);
            self.unchanged_since = now;
        }
    }

    /// Time at which the node is debounced if it does not change any more.
    fn due(&self, node: &DirtyNode) -> Instant {
        if node.writers > 0 && node.content_dirty {
            let since = self.uploaded_at.unwrap_or(self.dirty_since);
            (self.unchanged_since + OPEN_QUIET)
                .min(since + OPEN_QUIET_MAX)
                .max(since + OPEN_INTERVAL)
        } else {
            (self.unchanged_since + DEBOUNCE).min(self.dirty_since + DEBOUNCE_MAX)
        }
    }

    /// Time at which a file counts as calm if it does not change any more.
    fn calm_at(&self) -> Instant {
        self.unchanged_since + CALM
    }

    fn back_off(&mut self, now: Instant, longest: Duration) {
        self.work = Work::BackingOff { until: self.pause_until(now, longest) };
    }

    /// End of a pause that is twice as long as the last one.
    fn pause_until(&mut self, now: Instant, longest: Duration) -> Instant {
        let factor = 2u32.saturating_pow(self.failure_count.min(16));
        self.failure_count += 1;
        now + (BACKOFF_FIRST * factor).min(longest)
    }
}

const fn fingerprint(node: &DirtyNode) -> Fingerprint {
    (node.change, node.written_at, node.size)
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Puts small contents together.
fn jobs(uploads: &[(Ino, u64)]) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut group = Vec::new();
    let mut bytes = 0;
    for &(ino, size) in uploads {
        if size > CHUNK_SIZE {
            jobs.push(Job::Large(ino));
            continue;
        }
        if !group.is_empty() && (bytes + size > GROUP_BYTES || group.len() == GROUP_COUNT) {
            jobs.push(Job::Small(std::mem::take(&mut group)));
            bytes = 0;
        }
        group.push(ino);
        bytes += size;
    }
    if !group.is_empty() {
        jobs.push(Job::Small(group));
    }
    jobs
}

#[cfg(test)]
mod tests;
