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
use miaofs::protocol::files::{Commit, Committed, NodeChange, SeenCommit};
use miaofs::protocol::ids::{NodeId, Revision};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::flush::{Flush, FlushError, Refusal};
use super::plan::{PlanInput, Planner, Urgency, WindowCoverage};
use super::request::PushRequest;
use super::rotation::{Pass, Rotation};
use super::window::{Window, dirty_in};
use crate::store::{self, DirtyNode, Ino, Pushed, Store};
use crate::sync::core::Core;
use crate::sync::error::{SyncError, with_causes};
use crate::sync::link::LinkState;
use crate::sync::pull::{AfterConflict, is_of_another_history, resolve_conflict};
use crate::sync::status::path_of;
use crate::sync::upload::{self, Uploader};

/// Pause between looks at the least.
const GAP: Duration = Duration::from_millis(20);
/// Pause at the most. A look that kept the store busy for long is followed by a long one, so that programs that
/// make very many files have the store to themselves most of the time.
const GAP_MAX: Duration = Duration::from_millis(600);
/// Pause before the next window when there was nothing to do in this one.
const NEXT_WINDOW: Duration = Duration::from_millis(500);
/// Looks of the last one's length that fit into that pause at the least.
const NEXT_WINDOW_SHARE: u32 = 8;
/// Errors of nodes that are told: where everything fails, there may be one for each.
const ERRORS_TOLD: usize = 10_000;
/// With more deletions than this waiting, the size of the drive must be fresh.
const DELETIONS_FEW: u64 = 100;

/// End of a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PauseOutcome {
    /// The time went by.
    Elapsed,
    /// A request came, so there may be something to do.
    Requested,
}

struct Pusher {
    core: Arc<Core>,
    uploader: Arc<Uploader>,
    /// For what uploads report.
    requests: UnboundedSender<PushRequest>,
    planner: Planner,
    flushes: Vec<Flush>,
    rotation: Rotation,
    window: Window,
    rounds: u64,
    /// Time that the last look took.
    looking: Duration,
}

/// Runs until it is dropped. The sender is that of the receiver.
pub(crate) async fn run(
    core: Arc<Core>,
    uploader: Arc<Uploader>,
    sender: UnboundedSender<PushRequest>,
    mut requests: UnboundedReceiver<PushRequest>,
) {
    let mut pusher = Pusher {
        core: Arc::clone(&core),
        uploader,
        requests: sender,
        planner: Planner::new(core.settings.deletions_limit),
        flushes: Vec::new(),
        rotation: Rotation::new(),
        window: Window::new(Ino(0)),
        rounds: 0,
        looking: Duration::ZERO,
    };
    let mut changed = core.dirtied();
    let mut link = core.link.watch();
    let mut caught_up = core.caught_up.subscribe();
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
            request = requests.recv() => match request {
                Some(request) => pusher.take(request).await,
                None => return,
            },
            _ = changed.changed() => {}
            _ = link.changed() => {}
            _ = caught_up.changed() => {}
            () = core.account_refreshed.notified() => {}
        }
        while let Ok(request) = requests.try_recv() {
            pusher.take(request).await;
        }
        next = pusher.round().await;
        if pusher.pause(&mut requests).await == PauseOutcome::Requested {
            next = Some(Instant::now());
        }
    }
}

impl Pusher {
    async fn take(&mut self, request: PushRequest) {
        match request {
            PushRequest::Urgent(ino) => self.planner.urgent(ino),
            PushRequest::AllowDeletions => self.planner.allow_deletions(),
            PushRequest::Uploaded(outcomes) => {
                for (ino, outcome) in outcomes {
                    self.planner.uploaded(ino, outcome, Instant::now());
                }
            }
            PushRequest::Flush { scope, answer } => {
                self.planner.retry_failed_now();
                match self.core.with_store(move |store| dirty_in(store, scope)).await {
                    Ok(waiting) => {
                        self.flushes.push(Flush { waiting, since: self.rounds + 1, answer });
                    }
                    Err(error) => {
                        let _gone = answer.send(Err(FlushError::Store(error)));
                    }
                }
            }
        }
    }

    /// Leaves the store alone for a while, a shorter one from when somebody begins to wait.
    async fn pause(&mut self, requests: &mut UnboundedReceiver<PushRequest>) -> PauseOutcome {
        let (began, mut outcome) = (Instant::now(), PauseOutcome::Elapsed);
        while let Ok(Some(request)) =
            tokio::time::timeout_at((began + self.pause_length()).into(), requests.recv()).await
        {
            self.take(request).await;
            outcome = PauseOutcome::Requested;
        }
        outcome
    }

    /// Length of a pause: as long as the last look, and thrice that while nobody waits.
    fn pause_length(&self) -> Duration {
        let share = if self.flushes.is_empty() { 3 } else { 1 };
        (GAP + self.looking * share).min(GAP_MAX)
    }

    /// One look at what is dirty. Answers when to look again though nothing happens.
    async fn round(&mut self) -> Option<Instant> {
        self.flushes.retain(|flush| !flush.is_abandoned());
        match self.core.link.state() {
            LinkState::Online if *self.core.caught_up.borrow() => {}
            LinkState::SignedOut(why) => {
                for flush in self.flushes.drain(..) {
                    let _gone = flush.answer.send(Err(FlushError::SignedOut(why.clone())));
                }
                return None;
            }
            _ => return None,
        }
        match self.look().await {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(error = %with_causes(&error), "cannot push what is dirty");
                Some(Instant::now() + Duration::from_secs(1))
            }
        }
    }

    async fn look(&mut self) -> Result<Option<Instant>, store::Error> {
        let reading = Instant::now();
        self.update_window().await?;
        self.looking = reading.elapsed();
        if self.window.deletions > DELETIONS_FEW {
            self.core.refresh_account().await;
        }
        let (input, planning) = (self.input(), Instant::now());
        let round = self.planner.plan(&self.window.nodes, &input);
        self.looking += planning.elapsed();
        self.rounds = round.number;
        self.core.metrics.held_deletions.store(round.held_deletions, Ordering::Relaxed);
        let busy = !round.commits.is_empty();
        for job in &round.jobs {
            let (uploader, job) = (Arc::clone(&self.uploader), job.clone());
            let requests = self.requests.clone();
            self.core.spawn(async move {
                let outcomes = upload::run(&uploader, job).await;
                let _ended = requests.send(PushRequest::Uploaded(outcomes));
            });
        }
        for commit in &round.commits {
            let nodes = commit.iter().map(|index| self.window.nodes[*index].clone()).collect();
            self.commit(nodes).await?;
        }
        self.report();
        let (uploading, now) = (self.planner.uploading(), Instant::now());
        let place = (self.window.coverage(), self.window.end());
        if let Some(pass) = self.rotation.looked(place, &round, uploading, now) {
            self.complete_waiters(&pass).await?;
        }
        self.flushes.extract_if(.., |flush| flush.waiting.is_empty()).for_each(Flush::succeed);
        Ok(match input.coverage {
            _ if busy => Some(now),
            WindowCoverage::Part => Some(now + NEXT_WINDOW.max(self.looking * NEXT_WINDOW_SHARE)),
            WindowCoverage::All => round.next,
        })
    }

    fn input(&self) -> PlanInput {
        let account = self.core.account();
        PlanInput {
            now: Instant::now(),
            urgency: if self.flushes.is_empty() { Urgency::Background } else { Urgency::Awaited },
            deletions: self.window.deletions,
            drive_nodes: account.as_ref().map_or(0, |account| account.nodes),
            max_file_size: account.as_ref().map_or(u64::MAX, |account| account.max_file_size),
            coverage: self.window.coverage(),
        }
    }

    async fn update_window(&mut self) -> Result<(), store::Error> {
        let after = self.rotation.after();
        let mut window = std::mem::replace(&mut self.window, Window::new(after));
        let update = move |store: &Arc<Store>| (window.update(store, after), window);
        let (updated, window) = self.core.with_store(update).await;
        self.window = window;
        updated
    }

    /// Sends one commit, in parts if the server does not take it as a whole.
    async fn commit(&mut self, nodes: Vec<DirtyNode>) -> Result<(), store::Error> {
        let core = Arc::clone(&self.core);
        let mut parts = vec![nodes];
        while let Some(nodes) = parts.pop() {
            let _reconciling = core.reconcile.lock().await;
            if !*core.caught_up.borrow() {
                // The feed has found another history meanwhile: everything is compared first.
                return Ok(());
            }
            let revisions: Vec<Revision> = nodes.iter().map(|_| Revision::random()).collect();
            let pushes: Vec<(Ino, Revision)> =
                nodes.iter().map(|node| node.ino).zip(revisions.iter().copied()).collect();
            match core.with_store(move |store| store.begin_push(&pushes)).await {
                // One was removed since the look, which shows less next time.
                Err(store::Error::NoNode(_)) => return Ok(()),
                begun => begun?,
            }
            let newest_seen = |store: &Arc<Store>| {
                Ok::<_, store::Error>(store.seen_ahead()?.or(store.cursor().seen()))
            };
            let seen = core.with_store(newest_seen).await?;
            let commit = Commit { seen, changes: changes(&nodes, &revisions) };
            let answer = send(&core, &commit).await;
            if !answer.as_ref().is_ok_and(|committed| committed.conflicts.is_empty()) {
                // What was thought of the nodes may be wrong.
                self.window.forget();
            }
            match answer {
                Ok(committed) => self.take_answer(&nodes, &revisions, committed).await?,
                Err(client::Error::SignedOut { .. }) => {}
                Err(error) if is_of_another_history(&error) => {
                    // The feed compares first, and lets us go on then.
                    core.caught_up.send_replace(false);
                    core.link.doubt();
                    return Ok(());
                }
                Err(_) if nodes.len() > 1 => {
                    let mut first = nodes;
                    let second = first.split_off(first.len() / 2);
                    parts.push(second);
                    parts.push(first);
                }
                Err(error) => {
                    let request_id = error.request_id();
                    tracing::warn!(error = with_causes(&error), request_id, "a commit failed");
                    self.planner.refused(nodes[0].ino, error.into(), Instant::now());
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
        let seen = committed.commit.map(|id| SeenCommit { seq: committed.seq, id });
        self.core.with_store(move |store| store.finish_push(&done, seen)).await?;
        for conflict in committed.conflicts {
            let Some((node, _)) = by_id.get(&conflict.id) else { continue };
            tracing::debug!(node = %node.ino, reason = ?conflict.reason, "not committed");
            let after = resolve_conflict(&self.core, node, conflict).await?;
            self.take_conflict(node.ino, after);
        }
        Ok(())
    }

    fn take_conflict(&mut self, ino: Ino, after: AfterConflict) {
        let now = Instant::now();
        match after {
            AfterConflict::Replan => {}
            AfterConflict::Defer => self.planner.deferred(ino, now),
            AfterConflict::UploadAgain => self.planner.upload_again(ino),
            AfterConflict::Refused(error) => self.planner.refused(ino, error, now),
        }
    }

    fn report(&self) {
        let failures = self.planner.failures().take(ERRORS_TOLD);
        let errors: BTreeMap<Ino, Arc<SyncError>> =
            failures.map(|(ino, failure)| (ino, Arc::clone(&failure.error))).collect();
        self.core.metrics.set_errors(errors);
    }

    /// Answers those who wait and for whom nothing more will happen, as a pass has shown.
    async fn complete_waiters(&mut self, pass: &Pass) -> Result<(), store::Error> {
        if self.flushes.is_empty() {
            return Ok(());
        }
        let dirty = match self.window.coverage() {
            WindowCoverage::All => self.window.nodes.iter().map(|node| node.ino).collect(),
            WindowCoverage::Part => self.core.with_store(|store| store.dirty_inos()).await?,
        };
        for mut flush in std::mem::take(&mut self.flushes) {
            if pass.first_round >= flush.since {
                flush.waiting.retain(|ino| dirty.contains(ino));
            }
            let refused = if pass.is_idle { self.refused(&flush, pass) } else { Vec::new() };
            if refused.is_empty() {
                self.flushes.push(flush);
            } else {
                let refused = self.with_paths(refused).await?;
                let _gone = flush.answer.send(Err(FlushError::Refused(refused)));
            }
        }
        Ok(())
    }

    /// Errors of the nodes that are waited for, once all others are through, if it was tried since the call. Of held
    /// deletions one speaks for all.
    fn refused(&self, flush: &Flush, pass: &Pass) -> Vec<(Ino, Arc<SyncError>)> {
        let is_waited_for = |ino: &Ino| flush.waiting.contains(ino);
        let held = pass.held.iter().copied().filter(|_| pass.first_round >= flush.since);
        let held = held.filter(is_waited_for).take(1);
        let failed = self
            .planner
            .failures()
            .filter(|(ino, failure)| failure.round >= flush.since && is_waited_for(ino));
        let failed = failed.map(|(ino, failure)| (ino, Arc::clone(&failure.error)));
        let held = held.map(|ino| (ino, Arc::new(SyncError::DeletionsHeld)));
        held.chain(failed.take(ERRORS_TOLD)).collect()
    }

    async fn with_paths(
        &self,
        refused: Vec<(Ino, Arc<SyncError>)>,
    ) -> Result<Vec<Refusal>, store::Error> {
        let read = |store: &Arc<Store>| {
            store.view(|view| {
                refused
                    .into_iter()
                    .map(|(ino, error)| Ok(Refusal { path: path_of(view, ino)?, error }))
                    .collect()
            })
        };
        self.core.with_store(read).await
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
