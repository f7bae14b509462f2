//! Long polls: many clients wait for one drive, and are told of a commit.

use std::time::{Duration, Instant};

use miaofs::protocol::changes::Changes;
use miaofs::protocol::files::{Commit, Committed, Entry, Kind, NodeChange, NodeState};
use miaofs::protocol::ids::{NodeId, Revision};
use miaofs::protocol::name::Name;
use miaofs::protocol::routes;
use reqwest::Method;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::account::{Account, Server, answer};
use crate::figures::print_times;

/// Gauge of the clients that wait.
const WAITING: &str = "miaofs_changes_waiting";
/// Longest time until all of them do.
const LIMIT: Duration = Duration::from_secs(60);

/// Measures the time from the sending of a commit until each of `waiters` clients has its answer, `rounds` times.
///
/// # Errors
/// What ends a measure.
pub(crate) async fn measure(server: &Server, waiters: usize, rounds: usize) -> Outcome<()> {
    let account = server.sign_up().await?;
    let mut cursor = 1;
    let mut times = Vec::new();
    for round in 0..rounds {
        let mut set = JoinSet::new();
        for _waiter in 0..waiters {
            set.spawn(wait(account.clone(), cursor));
        }
        let began = Instant::now();
        while server.metric(WAITING).await? < waiters as u64 {
            if began.elapsed() > LIMIT {
                return Err("not all clients wait".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let sent = Instant::now();
        cursor = commit(&account, round).await?;
        while let Some(told) = set.join_next().await {
            times.push(told??.duration_since(sent));
        }
    }
    print_times("long polls: until told", waiters, times);
    Ok(())
}

/// Waits for what comes after the cursor; answers when it came.
async fn wait(account: Account, cursor: u64) -> Outcome<Instant> {
    let path = format!("{}?since={cursor}&wait=60", routes::CHANGES);
    let page = answer(account.request(Method::GET, &path)).await?;
    let at = Instant::now();
    let page: Changes = serde_json::from_slice(&page)?;
    match page.nodes.len() {
        1 => Ok(at),
        nodes => Err(format!("told of {nodes} nodes").into()),
    }
}

/// Commits one new directory; answers the drive's sequence number.
async fn commit(account: &Account, round: usize) -> Outcome<u64> {
    let mut state = NodeState::new(Kind::Directory, 0o755, 1);
    let name = Name::new(format!("round-{round}").as_str())?;
    state.entries.push(Entry { parent: NodeId::ROOT, name });
    let (id, revision) = (NodeId::random(), Revision::random());
    let changes = vec![NodeChange { id, base: 0, revision, state: Some(state) }];
    let commit = serde_json::to_value(Commit { seen: None, changes })?;
    let committed: Committed =
        serde_json::from_value(account.post(routes::COMMIT, &commit).await?)?;
    Ok(committed.seq)
}
