//! The loop that drains the store: looks at what is dirty, has the plan decide, and does it.
//!
//! A round reads one window of dirty nodes, starts uploads, and sends commits one after the other;
//! uploads go on meanwhile and report back. A commit whose answer was lost is sent again as it was
//! until it is answered, so its revisions are recognised; those of a daemon that was killed are
//! recognised by the feed, which therefore comes first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use miaofs::client;
use miaofs::protocol::files::{Commit, Committed, NodeChange};
use miaofs::protocol::ids::{NodeId, Revision};
use tokio::sync::{mpsc, oneshot};

use super::plan::{Extent, Facts, Hurry, Planner, Round, Uploaded, WINDOW};
use crate::store::{self, DirtyNode, Ino, Pushed, run_blocking};
use crate::sync::engine::Core;
use crate::sync::flush::{self, Flush, FlushError, Scope};
use crate::sync::link::{LinkState, reason};
use crate::sync::pull::resolve::{Settled, settle};
use crate::sync::status::path_of;
use crate::sync::upload::small;

/// Pause between looks at the least.
const GAP: Duration = Duration::from_millis(20);
/// Pause at the most. A look that kept the store busy for long is followed by a long one, so that programs that
/// make very many files have the store to themselves most of the time.
const GAP_MAX: Duration = Duration::from_millis(600);
/// Pause before the next window when there was nothing to do in this one.
const NEXT_WINDOW: Duration = Duration::from_millis(500);
/// With more deletions than this waiting, the size of the drive must be fresh.
const DELETIONS_FEW: u64 = 100;
/// Dirty nodes read from the store at once, while others wait for it.
const PAGE: usize = 100;

/// What others want of the loop, or tell it.
#[derive(Debug)]
pub(crate) enum Order {
    /// The node was synced.
    Urgent(Ino),
    /// Somebody waits.
    Flush { scope: Scope, answer: oneshot::Sender<Result<(), FlushError>> },
    /// A person means the deletions that wait.
    AllowDeletions,
    /// Uploads ended.
    Uploaded(Vec<(Ino, Uploaded)>),
}

/// Dirty nodes that are looked at together.
struct Window {
    nodes: Vec<DirtyNode>,
    extent: Extent,
    /// Deletions in the whole store.
    deletions: u64,
}

/// What happened in a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rested {
    /// Nothing.
    Undisturbed,
    /// An order came, so there may be something to do.
    Called,
}

struct Pusher {
    core: Arc<Core>,
    planner: Planner,
    flushes: Vec<Flush>,
    /// Where the next window begins when not all fits into one.
    after: Ino,
    rounds: u64,
    /// How long the last window took to read.
    reading: Duration,
}

/// Runs until it is dropped.
pub(crate) async fn run(core: Arc<Core>, mut orders: mpsc::UnboundedReceiver<Order>) {
    let planner = Planner::new(core.settings.deletions_limit);
    let mut pusher = Pusher {
        core,
        planner,
        flushes: Vec::new(),
        after: Ino(0),
        rounds: 0,
        reading: Duration::ZERO,
    };
    let mut changed = pusher.core.store.subscribe();
    let mut link = pusher.core.link.watch();
    let mut caught_up = pusher.core.caught_up.subscribe();
    let core = Arc::clone(&pusher.core);
    let mut next = Some(Instant::now());
    loop {
        let pause = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = pause => {}
            order = orders.recv() => match order {
                Some(order) => pusher.take(order).await,
                None => return,
            },
            _ = changed.changed() => {}
            _ = link.changed() => {}
            _ = caught_up.changed() => {}
            () = core.account_refreshed.notified() => {}
        }
        while let Ok(order) = orders.try_recv() {
            pusher.take(order).await;
        }
        next = pusher.round().await;
        if pusher.rest(&mut orders).await == Rested::Called {
            next = Some(Instant::now());
        }
    }
}

impl Pusher {
    async fn take(&mut self, order: Order) {
        match order {
            Order::Urgent(ino) => self.planner.urgent(ino),
            Order::AllowDeletions => self.planner.allow_deletions(),
            Order::Uploaded(outcomes) => {
                for (ino, outcome) in outcomes {
                    self.planner.uploaded(ino, outcome, Instant::now());
                }
            }
            Order::Flush { scope, answer } => {
                self.planner.wake_resting();
                match self.dirty_in(scope).await {
                    Ok(waiting) => {
                        self.flushes.push(Flush { waiting, since: self.rounds + 1, answer });
                    }
                    Err(error) => {
                        let _gone = answer.send(Err(FlushError::Store(reason(&error))));
                    }
                }
            }
        }
    }

    async fn dirty_in(&self, scope: Scope) -> Result<std::collections::HashSet<Ino>, store::Error> {
        let core = Arc::clone(&self.core);
        run_blocking(move || {
            let mut dirty = std::collections::HashSet::new();
            let mut after = Ino(0);
            loop {
                let nodes = core.store.dirty_nodes(after, PAGE)?;
                let Some(last) = nodes.last() else { return Ok(dirty) };
                after = last.ino;
                core.store.view::<_, store::Error>(|view| {
                    for node in &nodes {
                        if flush::contains(scope, node, view)? {
                            dirty.insert(node.ino);
                        }
                    }
                    Ok(())
                })?;
            }
        })
        .await
    }

    /// Leaves the store alone for a while, a shorter one from when somebody begins to wait.
    async fn rest(&mut self, orders: &mut mpsc::UnboundedReceiver<Order>) -> Rested {
        let (began, mut rested) = (Instant::now(), Rested::Undisturbed);
        while let Ok(Some(order)) =
            tokio::time::timeout_at((began + self.pause()).into(), orders.recv()).await
        {
            self.take(order).await;
            rested = Rested::Called;
        }
        rested
    }

    /// How long to leave the store alone: as long as it was read, and thrice that while nobody waits.
    fn pause(&self) -> Duration {
        let share = if self.flushes.is_empty() { 3 } else { 1 };
        (GAP + self.reading * share).min(GAP_MAX)
    }

    /// One look at what is dirty. Answers when to look again though nothing happens.
    async fn round(&mut self) -> Option<Instant> {
        self.flushes.retain(|flush| !flush.is_abandoned());
        match self.core.link.state() {
            LinkState::Online if *self.core.caught_up.borrow() => {}
            LinkState::SignedOut => {
                for flush in self.flushes.drain(..) {
                    let _gone = flush.answer.send(Err(FlushError::SignedOut));
                }
                return None;
            }
            _ => return None,
        }
        match self.look().await {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(error = %reason(&error), "cannot push what is dirty");
                Some(Instant::now() + Duration::from_secs(1))
            }
        }
    }

    async fn look(&mut self) -> Result<Option<Instant>, store::Error> {
        let window = self.window().await?;
        if window.deletions > DELETIONS_FEW {
            self.core.refresh_usage().await;
        }
        let round = self.planner.plan(&window.nodes, &self.facts(&window));
        self.rounds = round.number;
        self.core.metrics.held_deletions.store(round.held_deletions, Ordering::Relaxed);
        let busy = !round.commits.is_empty();
        for job in &round.jobs {
            let (core, job) = (Arc::clone(&self.core), job.clone());
            self.core.spawn(async move {
                let outcomes = small::run(&core, job).await;
                let _ended = core.orders.send(Order::Uploaded(outcomes));
            });
        }
        for commit in &round.commits {
            let nodes = commit.iter().map(|index| window.nodes[*index].clone()).collect();
            self.commit(nodes).await?;
        }
        self.report();
        self.settle_flushes(&window, &round).await?;
        let now = Instant::now();
        Ok(match window.extent {
            _ if busy => Some(now),
            Extent::Part => Some(now + NEXT_WINDOW),
            Extent::All => round.next,
        })
    }

    fn facts(&self, window: &Window) -> Facts {
        let usage = self.core.usage();
        Facts {
            now: Instant::now(),
            hurry: if self.flushes.is_empty() { Hurry::No } else { Hurry::Yes },
            deletions: window.deletions,
            drive_nodes: usage.as_ref().map_or(0, |account| account.nodes),
            max_file_size: usage.as_ref().map_or(u64::MAX, |account| account.max_file_size),
            extent: window.extent,
        }
    }

    async fn window(&mut self) -> Result<Window, store::Error> {
        let (core, after) = (Arc::clone(&self.core), self.after);
        let started = Instant::now();
        let window = run_blocking(move || {
            let nodes = dirty_from(&core.store, after)?;
            let all = after == Ino(0) && nodes.len() < WINDOW;
            let extent = if all { Extent::All } else { Extent::Part };
            let deletions = match extent {
                Extent::All => deletions_in(&nodes),
                Extent::Part => core.store.deletions()?,
            };
            Ok::<_, store::Error>(Window { nodes, extent, deletions })
        })
        .await?;
        self.reading = started.elapsed();
        self.after = match (window.extent, window.nodes.last()) {
            (Extent::Part, Some(last)) if window.nodes.len() == WINDOW => last.ino,
            _ => Ino(0),
        };
        Ok(window)
    }

    /// Sends one commit, in parts if the server does not take it as a whole.
    async fn commit(&mut self, nodes: Vec<DirtyNode>) -> Result<(), store::Error> {
        let core = Arc::clone(&self.core);
        let mut parts = vec![nodes];
        while let Some(nodes) = parts.pop() {
            let _reconciling = core.reconcile.lock().await;
            let revisions: Vec<Revision> = nodes.iter().map(|_| Revision::random()).collect();
            let pushes: Vec<(Ino, Revision)> =
                nodes.iter().map(|node| node.ino).zip(revisions.iter().copied()).collect();
            match core.store.begin_push(&pushes) {
                // One was removed since the look, which shows less next time.
                Err(store::Error::NoNode(_)) => return Ok(()),
                begun => begun?,
            }
            let commit = Commit { changes: changes(&nodes, &revisions) };
            match send(&core, &commit).await {
                Ok(committed) => self.take_answer(&nodes, &revisions, committed).await?,
                Err(client::Error::SignedOut) => {}
                Err(_) if nodes.len() > 1 => {
                    let mut first = nodes;
                    let second = first.split_off(first.len() / 2);
                    parts.push(second);
                    parts.push(first);
                }
                Err(error) => {
                    let text = reason(&error);
                    tracing::warn!(
                        error = text,
                        request_id = error.request_id(),
                        "a commit failed"
                    );
                    self.planner.refused(nodes[0].ino, text, Instant::now());
                }
            }
        }
        Ok(())
    }

    async fn take_answer(
        &mut self,
        nodes: &[DirtyNode],
        revisions: &[Revision],
        committed: Committed,
    ) -> Result<(), store::Error> {
        let by_id: HashMap<NodeId, (&DirtyNode, Revision)> = nodes
            .iter()
            .zip(revisions)
            .map(|(node, revision)| (node.id, (node, *revision)))
            .collect();
        let mut done = Vec::with_capacity(committed.applied.len());
        for applied in &committed.applied {
            let Some((node, revision)) = by_id.get(&applied.id) else { continue };
            done.push(Pushed {
                ino: node.ino,
                change: node.change,
                version: applied.version,
                revision: *revision,
                state: node.state.clone(),
            });
            self.planner.acknowledged(node, Instant::now());
            // One that was written to while it was uploaded was committed with what it held before.
            if !node.content_dirty {
                for flush in &mut self.flushes {
                    flush.acknowledged(node.ino, self.rounds);
                }
            }
        }
        let core = Arc::clone(&self.core);
        run_blocking(move || core.store.finish_push(&done)).await?;
        for conflict in committed.conflicts {
            let Some((node, _)) = by_id.get(&conflict.id) else { continue };
            tracing::debug!(node = %node.ino, reason = ?conflict.reason, "not committed");
            let settled = settle(&self.core, node, conflict).await?;
            self.take_settled(node.ino, settled);
        }
        Ok(())
    }

    fn take_settled(&mut self, ino: Ino, settled: Settled) {
        let now = Instant::now();
        match settled {
            Settled::Again => {}
            Settled::Later => self.planner.deferred(ino, now),
            Settled::UploadAgain => self.planner.upload_again(ino),
            Settled::Refused(text) => self.planner.refused(ino, text.to_owned(), now),
        }
    }

    fn report(&self) {
        let troubles: BTreeMap<Ino, String> =
            self.planner.troubles().map(|(ino, trouble)| (ino, trouble.text.clone())).collect();
        self.core.metrics.set_troubles(troubles);
    }

    /// Answers those who wait and for whom nothing more will happen.
    async fn settle_flushes(&mut self, window: &Window, round: &Round) -> Result<(), store::Error> {
        if self.flushes.is_empty() {
            return Ok(());
        }
        let idle = round.jobs.is_empty()
            && round.commits.is_empty()
            && window.extent == Extent::All
            && !self.planner.is_uploading();
        let dirty: std::collections::HashSet<Ino> =
            window.nodes.iter().map(|node| node.ino).collect();
        let mut waiting = Vec::new();
        for mut flush in std::mem::take(&mut self.flushes) {
            if window.extent == Extent::All && round.number >= flush.since {
                flush.waiting.retain(|ino| dirty.contains(ino));
            }
            if flush.waiting.is_empty() {
                let _gone = flush.answer.send(Ok(()));
                continue;
            }
            let refused = self.refused(&flush, idle);
            if refused.is_empty() {
                waiting.push(flush);
            } else {
                let refused = self.with_paths(refused).await?;
                let _gone = flush.answer.send(Err(FlushError::Refused(refused)));
            }
        }
        self.flushes = waiting;
        Ok(())
    }

    /// What is wrong with the nodes that are waited for, once all others are through and it was
    /// tried since the call; else nothing.
    fn refused(&self, flush: &Flush, idle: bool) -> Vec<(Ino, String)> {
        if !idle {
            return Vec::new();
        }
        self.planner
            .troubles()
            .filter(|(ino, trouble)| flush.waiting.contains(ino) && trouble.round >= flush.since)
            .map(|(ino, trouble)| (ino, trouble.text.clone()))
            .collect()
    }

    async fn with_paths(
        &self,
        refused: Vec<(Ino, String)>,
    ) -> Result<Vec<(String, String)>, store::Error> {
        let core = Arc::clone(&self.core);
        run_blocking(move || {
            core.store.view(|view| {
                refused
                    .into_iter()
                    .map(|(ino, text)| Ok((path_of(view, ino)?, text)))
                    .collect::<Result<_, store::Error>>()
            })
        })
        .await
    }
}

fn changes(nodes: &[DirtyNode], revisions: &[Revision]) -> Vec<NodeChange> {
    nodes
        .iter()
        .zip(revisions)
        .map(|(node, revision)| NodeChange {
            id: node.id,
            base: node.base_version,
            revision: *revision,
            state: node.state.clone(),
        })
        .collect()
}

/// Sends a commit until it is answered.
async fn send(core: &Core, commit: &Commit) -> Result<Committed, client::Error> {
    loop {
        core.metrics.commits.fetch_add(1, Ordering::Relaxed);
        match core.client.commit(commit).await {
            Err(error) if error.is_retryable() => {
                core.link.failed(&error);
                tokio::time::sleep(GAP).await;
                core.link.until_online().await;
            }
            Err(error) => {
                core.link.failed(&error);
                return Err(error);
            }
            answer => return answer,
        }
    }
}

/// One window of dirty nodes, read in pages so that nobody waits long for the store meanwhile.
fn dirty_from(store: &store::Store, after: Ino) -> Result<Vec<DirtyNode>, store::Error> {
    let mut nodes: Vec<DirtyNode> = Vec::new();
    while nodes.len() < WINDOW {
        let last = nodes.last().map_or(after, |node| node.ino);
        let page = store.dirty_nodes(last, PAGE)?;
        let is_last = page.len() < PAGE;
        nodes.extend(page);
        if is_last {
            break;
        }
    }
    Ok(nodes)
}

fn deletions_in(nodes: &[DirtyNode]) -> u64 {
    nodes.iter().filter(|node| node.state.is_none()).count() as u64
}
