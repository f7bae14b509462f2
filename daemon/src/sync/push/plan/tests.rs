//! The plan by table: a node, what is known of it, and what is done about it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use miaofs::protocol::files::{Entry, NodeState};
use miaofs::protocol::ids::NodeId;
use miaofs::protocol::name::Name;

use super::*;

fn input(now: Instant) -> PlanInput {
    PlanInput {
        now,
        urgency: Urgency::Background,
        deletions: 0,
        drive_nodes: 100,
        max_file_size: 1 << 40,
        coverage: WindowCoverage::All,
    }
}

fn file(number: u64, size: u64) -> DirtyNode {
    let entries =
        vec![Entry { parent: NodeId::ROOT, name: Name::new(format!("f{number}")).unwrap() }];
    let state = NodeState { entries, ..NodeState::new(Kind::File, 0o644, 0) };
    DirtyNode {
        ino: Ino(number),
        id: NodeId::random(),
        change: 1,
        base_version: 0,
        base_state: None,
        in_flight: Vec::new(),
        state: Some(state),
        content_dirty: true,
        writers: 0,
        written_at: 1,
        size,
        above: Vec::new(),
    }
}

fn planner() -> Planner {
    Planner::new(1000)
}

#[test]
fn a_file_settles_is_uploaded_and_then_committed() {
    let (mut planner, now) = (planner(), Instant::now());
    let nodes = [file(7, 10)];
    let round = planner.plan(&nodes, &input(now));
    assert!(round.jobs.is_empty() && round.commits.is_empty());
    assert_eq!(round.next, Some(now + DEBOUNCE));

    let settled = now + DEBOUNCE;
    assert_eq!(planner.plan(&nodes, &input(settled)).jobs, [Job::Small(vec![Ino(7)])]);
    assert!(planner.plan(&nodes, &input(settled)).jobs.is_empty(), "it is under way");

    planner.uploaded(Ino(7), UploadOutcome::Known, settled);
    assert_eq!(planner.plan(&nodes, &input(settled)).commits, vec![vec![0]]);
}

#[test]
fn what_was_synced_or_is_waited_for_does_not_settle_first() {
    let now = Instant::now();
    let nodes = [file(7, 10)];
    let mut synced = planner();
    synced.urgent(Ino(7));
    assert_eq!(synced.plan(&nodes, &input(now)).jobs.len(), 1);
    let awaited = PlanInput { urgency: Urgency::Awaited, ..input(now) };
    assert_eq!(planner().plan(&nodes, &awaited).jobs.len(), 1);
}

#[test]
fn an_open_file_is_pushed_at_intervals_even_if_it_is_never_quiet() {
    let (mut planner, start) = (planner(), Instant::now());
    let mut node = DirtyNode { writers: 1, ..file(7, 10) };
    let mut pushed = 0;
    for second in 0..130 {
        node.written_at += 1;
        let now = start + Duration::from_secs(second);
        let round = planner.plan(std::slice::from_ref(&node), &input(now));
        if !round.jobs.is_empty() {
            planner.uploaded(Ino(7), UploadOutcome::Known, now);
            let round = planner.plan(std::slice::from_ref(&node), &input(now));
            assert_eq!(round.commits.len(), 1, "the state that was uploaded");
            planner.acknowledged(&node, now);
            pushed += 1;
        }
    }
    assert_eq!(pushed, 2);
}

#[test]
fn a_failure_rests_longer_each_time_and_others_go_on() {
    let (mut planner, mut now) = (planner(), Instant::now());
    let nodes = [file(7, 10), file(8, 10)];
    let awaited = |now| PlanInput { urgency: Urgency::Awaited, ..input(now) };
    planner.plan(&nodes, &awaited(now));
    planner.uploaded(Ino(8), UploadOutcome::Known, now);
    let mut rests = Vec::new();
    for _ in 0..3 {
        planner.uploaded(Ino(7), UploadOutcome::Failed(Arc::new(SyncError::ContentLost)), now);
        let round = planner.plan(&nodes, &awaited(now));
        assert_eq!(round.commits, vec![vec![1]]);
        rests.push(round.next.unwrap() - now);
        now = round.next.unwrap();
        planner.plan(&nodes, &awaited(now));
    }
    assert_eq!(rests, [BACKOFF_FIRST, BACKOFF_FIRST * 2, BACKOFF_FIRST * 4]);
    assert_eq!(planner.failures().count(), 1);
}

#[test]
fn a_file_that_was_busy_for_long_is_looked_at_soon_after_its_last_change() {
    let (mut planner, mut now) = (planner(), Instant::now());
    let mut node = file(7, 10);
    let awaited = |now| PlanInput { urgency: Urgency::Awaited, ..input(now) };
    planner.plan(std::slice::from_ref(&node), &awaited(now));
    for _ in 0..8 {
        planner.uploaded(Ino(7), UploadOutcome::Changed, now);
        node.written_at += 1;
        let next = planner.plan(std::slice::from_ref(&node), &awaited(now)).next.unwrap();
        assert!(next - now <= CALM, "{:?}", next - now);
        now = next;
        assert_eq!(planner.plan(std::slice::from_ref(&node), &awaited(now)).jobs.len(), 1);
    }
}

#[test]
fn a_file_too_large_for_the_server_stays_local() {
    let mut planner = planner();
    let input = PlanInput { urgency: Urgency::Awaited, max_file_size: 9, ..input(Instant::now()) };
    assert!(planner.plan(&[file(7, 10)], &input).jobs.is_empty());
    let (_, failure) = planner.failures().next().unwrap();
    assert!(matches!(*failure.error, SyncError::TooLarge { limit: 9 }));
}

#[test]
fn many_deletions_wait_for_a_word_and_the_rest_goes_on() {
    let mut planner = planner();
    let deleted =
        DirtyNode { base_version: 1, base_state: file(9, 0).state, state: None, ..file(9, 0) };
    let nodes = [deleted, DirtyNode { content_dirty: false, ..file(7, 0) }];
    let many = PlanInput { urgency: Urgency::Awaited, deletions: 2000, ..input(Instant::now()) };
    let round = planner.plan(&nodes, &many);
    assert_eq!((round.commits, round.held_deletions), (vec![vec![1]], 2000));
    planner.allow_deletions();
    assert_eq!(planner.plan(&nodes, &many).held_deletions, 0);
}

#[test]
fn small_contents_travel_together_within_bounds() {
    let uploads: Vec<(Ino, u64)> = (0..2500).map(|ino| (Ino(ino), 4096)).collect();
    assert_eq!(jobs(&uploads).len(), 3);
    let mixed = [(Ino(1), 100), (Ino(2), CHUNK_SIZE + 1), (Ino(3), 100)];
    assert_eq!(jobs(&mixed), [Job::Large(Ino(2)), Job::Small(vec![Ino(1), Ino(3)])]);
    let heavy = [(Ino(1), CHUNK_SIZE); 5];
    assert_eq!(jobs(&heavy).len(), 2);
}
