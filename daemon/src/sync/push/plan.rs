//! What to do next about what is dirty: pure, from dirty nodes, what is known of each, and the time.
//!
//! ```text
//!            settled, content dirty          content on the server
//!   Idle ────────────────────────▶ Uploading ─────────────────────▶ Idle, uploaded ──▶ commit
//!    ▲            └───────────── failed, refused ──▶ Resting ─────▶ Idle
//!    └───────────── changed meanwhile, server away ◀───┘
//! ```
//!
//! A node is *settled* when it has not changed for a moment, or cannot wait: it was synced, somebody
//! waits for it, or it has been changing for long. Nothing here is lost when the daemon ends: dirty
//! nodes are in the store, and the rest is learnt again.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use miaofs::content::CHUNK_SIZE;
use miaofs::protocol::files::Kind;

use super::commit_order;
use super::deletion_guard::DeletionGuard;
use crate::store::{DirtyNode, Ino};

/// Dirty nodes that are looked at together.
pub(crate) const WINDOW: usize = 10_000;
/// Bytes of small contents that travel together at the most.
pub(crate) const GROUP_BYTES: u64 = 16 * 1024 * 1024;
/// Small contents that travel together at the most.
const GROUP_COUNT: usize = 1000;
/// How long a node must have been unchanged.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// How long a node that keeps changing is waited for.
const DEBOUNCE_MAX: Duration = Duration::from_secs(5);
/// How long a file that is open for writing must have been quiet,
const OPEN_QUIET: Duration = Duration::from_secs(2);
/// how long after its last upload,
const OPEN_INTERVAL: Duration = Duration::from_secs(10);
/// and how long it is waited for to be quiet.
const OPEN_QUIET_MAX: Duration = Duration::from_secs(60);
/// First and longest rest after a failure.
const REST_FIRST: Duration = Duration::from_secs(1);
const REST_LONGEST: Duration = Duration::from_secs(60);

/// What the plan depends on besides the nodes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) now: Instant,
    pub(crate) hurry: Hurry,
    /// Deletions that wait in the whole store.
    pub(crate) deletions: u64,
    /// Nodes of the drive.
    pub(crate) drive_nodes: u64,
    /// Largest content that the server takes, in bytes.
    pub(crate) max_file_size: u64,
    /// Whether the nodes are all that is dirty, or a part.
    pub(crate) extent: Extent,
}

/// Whether somebody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hurry {
    /// Nobody: nodes may settle.
    No,
    /// Somebody waits for all that is dirty.
    Yes,
}

/// How much of what is dirty one look takes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    All,
    /// A part; the rest has its turn.
    Part,
}

/// Contents to bring to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Job {
    /// Contents of at most one chunk each, together.
    Small(Vec<Ino>),
    /// One larger content.
    Large(Ino),
}

/// What one look at the dirty nodes came to.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Which look it was.
    pub(crate) number: u64,
    pub(crate) jobs: Vec<Job>,
    /// Commits in order, as indexes of the nodes.
    pub(crate) commits: Vec<Vec<usize>>,
    /// When to look again though nothing happens.
    pub(crate) next: Option<Instant>,
    /// Deletions that wait for a person's word.
    pub(crate) held_deletions: u64,
}

/// How an upload of a node's content ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Uploaded {
    /// The server has the content, and the store knows.
    Known,
    /// It changed while it was read: look again.
    Changed,
    /// The server is away: look again when it is back.
    Away,
    /// It cannot be, for this reason; try again later.
    Failed(String),
}

/// Why a node is not on the server, and since which look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) text: String,
    pub(crate) round: u64,
}

#[derive(Debug)]
enum Work {
    Idle,
    Uploading,
    Resting { until: Instant },
}

/// What of a node tells that it changed.
type Mark = (u64, i64, u64);

#[derive(Debug)]
struct Memory {
    mark: Mark,
    unchanged_since: Instant,
    dirty_since: Instant,
    uploaded_at: Option<Instant>,
    work: Work,
    /// The content was brought to the server and has not been committed yet.
    uploaded: bool,
    /// The server lost the content.
    upload_again: bool,
    urgent: bool,
    failures: u32,
    trouble: Option<Trouble>,
}

/// What is known of the dirty nodes beyond what the store says.
#[derive(Debug)]
pub(crate) struct Planner {
    memories: HashMap<Ino, Memory>,
    urgent: HashSet<Ino>,
    guard: DeletionGuard,
    rounds: u64,
}

/// What can be done about one node now.
enum Turn {
    Commit,
    Upload,
    Wait(Option<Instant>),
    HeldDeletion,
}

impl Planner {
    pub(crate) fn new(deletions_limit: u64) -> Self {
        Self {
            memories: HashMap::new(),
            urgent: HashSet::new(),
            guard: DeletionGuard::new(deletions_limit),
            rounds: 0,
        }
    }

    /// Looks at dirty nodes and says what to do. Jobs count as begun.
    pub(crate) fn plan(&mut self, nodes: &[DirtyNode], facts: &Facts) -> Round {
        self.rounds += 1;
        let may_delete = self.guard.may_delete(facts.deletions, facts.drive_nodes, facts.now);
        self.forget_absent(nodes, facts.extent);
        let mut round = Round { number: self.rounds, ..Round::default() };
        let mut ready = vec![false; nodes.len()];
        let mut uploads = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            match self.turn(node, facts, may_delete) {
                Turn::Commit => ready[index] = true,
                Turn::Upload => uploads.push((node.ino, node.size)),
                Turn::Wait(until) => round.next = earlier(round.next, until),
                Turn::HeldDeletion => round.held_deletions += 1,
            }
        }
        if round.held_deletions > 0 {
            round.held_deletions = facts.deletions;
        }
        round.jobs = jobs(&uploads);
        round.commits = commit_order::commits(nodes, &ready);
        round
    }

    /// The node was synced: it does not wait to settle.
    pub(crate) fn urgent(&mut self, ino: Ino) {
        self.urgent.insert(ino);
    }

    /// A person means the deletions that wait.
    pub(crate) fn allow_deletions(&mut self) {
        self.guard.allow();
    }

    /// Somebody waits: what rests after a failure is tried at once.
    pub(crate) fn wake_resting(&mut self) {
        for memory in self.memories.values_mut() {
            if matches!(memory.work, Work::Resting { .. }) {
                memory.work = Work::Idle;
            }
        }
    }

    /// An upload ended.
    pub(crate) fn uploaded(&mut self, ino: Ino, outcome: Uploaded, now: Instant) {
        let round = self.rounds;
        let Some(memory) = self.memories.get_mut(&ino) else { return };
        memory.work = Work::Idle;
        match outcome {
            Uploaded::Known => {
                memory.uploaded = true;
                memory.upload_again = false;
                memory.uploaded_at = Some(now);
                memory.failures = 0;
                memory.trouble = None;
            }
            Uploaded::Changed => memory.rest(now),
            Uploaded::Away => {}
            Uploaded::Failed(text) => {
                memory.trouble = Some(Trouble { text, round });
                memory.rest(now);
            }
        }
    }

    /// The server has the node as it was at the last look.
    pub(crate) fn acknowledged(&mut self, node: &DirtyNode, now: Instant) {
        self.memories.remove(&node.ino);
        self.urgent.remove(&node.ino);
        if node.state.is_none() {
            self.guard.deleted(1, now);
        }
    }

    /// The server did not take the node; it rests.
    pub(crate) fn refused(&mut self, ino: Ino, text: String, now: Instant) {
        let round = self.rounds;
        if let Some(memory) = self.memories.get_mut(&ino) {
            memory.trouble = Some(Trouble { text, round });
            memory.rest(now);
        }
    }

    /// The server did not take the node because of another: it is looked at again a little later.
    pub(crate) fn deferred(&mut self, ino: Ino, now: Instant) {
        if let Some(memory) = self.memories.get_mut(&ino) {
            memory.rest(now);
        }
    }

    /// The server has lost the node's content.
    pub(crate) fn upload_again(&mut self, ino: Ino) {
        if let Some(memory) = self.memories.get_mut(&ino) {
            memory.upload_again = true;
            memory.uploaded = false;
        }
    }

    /// Whether the content of any node is on its way.
    pub(crate) fn is_uploading(&self) -> bool {
        self.memories.values().any(|memory| matches!(memory.work, Work::Uploading))
    }

    /// What is wrong with nodes, and since which look.
    pub(crate) fn troubles(&self) -> impl Iterator<Item = (Ino, &Trouble)> {
        self.memories.iter().filter_map(|(ino, memory)| Some((*ino, memory.trouble.as_ref()?)))
    }

    fn forget_absent(&mut self, nodes: &[DirtyNode], extent: Extent) {
        let present: HashSet<Ino> = nodes.iter().map(|node| node.ino).collect();
        self.memories.retain(|ino, memory| {
            present.contains(ino)
                || matches!(memory.work, Work::Uploading)
                || (extent == Extent::Part && memory.trouble.is_some())
        });
        if extent == Extent::All {
            self.urgent.retain(|ino| present.contains(ino));
        }
    }

    fn turn(&mut self, node: &DirtyNode, facts: &Facts, may_delete: bool) -> Turn {
        let urgent = self.urgent.remove(&node.ino);
        let round = self.rounds;
        let memory = self.memories.entry(node.ino).or_insert_with(|| Memory::new(node, facts.now));
        memory.see(node, facts.now);
        memory.urgent |= urgent;
        match memory.work {
            Work::Uploading => return Turn::Wait(None),
            Work::Resting { until } if until > facts.now => return Turn::Wait(Some(until)),
            Work::Resting { .. } | Work::Idle => memory.work = Work::Idle,
        }
        if node.state.is_none() && !may_delete {
            let text = "very many deletions wait for your word: miaofs sync --allow-deletions";
            memory.trouble = Some(Trouble { text: text.to_owned(), round });
            return Turn::HeldDeletion;
        }
        let due = memory.due(node);
        if facts.hurry == Hurry::No && due > facts.now && !memory.urgent && !memory.uploaded {
            return Turn::Wait(Some(due));
        }
        if !needs_upload(node, memory) {
            return Turn::Commit;
        }
        if node.size > facts.max_file_size {
            let limit = facts.max_file_size;
            let text = format!("stays local: the server takes files of up to {limit} bytes");
            memory.trouble = Some(Trouble { text, round });
            return Turn::Wait(None);
        }
        memory.work = Work::Uploading;
        memory.urgent = false;
        Turn::Upload
    }
}

fn needs_upload(node: &DirtyNode, memory: &Memory) -> bool {
    let is_file = node.state.as_ref().is_some_and(|state| state.kind == Kind::File);
    is_file && !memory.uploaded && (node.content_dirty || memory.upload_again)
}

impl Memory {
    fn new(node: &DirtyNode, now: Instant) -> Self {
        Self {
            mark: mark(node),
            unchanged_since: now,
            dirty_since: now,
            uploaded_at: None,
            work: Work::Idle,
            uploaded: false,
            upload_again: false,
            urgent: false,
            failures: 0,
            trouble: None,
        }
    }

    fn see(&mut self, node: &DirtyNode, now: Instant) {
        if self.mark != mark(node) {
            self.mark = mark(node);
            self.unchanged_since = now;
        }
    }

    /// When the node has settled if it does not change any more.
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

    fn rest(&mut self, now: Instant) {
        let factor = 2u32.saturating_pow(self.failures.min(16));
        self.failures += 1;
        let until = now + (REST_FIRST * factor).min(REST_LONGEST);
        self.work = Work::Resting { until };
    }
}

const fn mark(node: &DirtyNode) -> Mark {
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
