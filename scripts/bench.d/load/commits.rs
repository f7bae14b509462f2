//! Commits: each client makes, changes and deletes the files of directories, a directory a commit.

use std::time::{Duration, Instant};

use miaofs::content::Digest;
use miaofs::protocol::files::{Commit, Committed, ContentRef, Entry, Kind, NodeChange, NodeState};
use miaofs::protocol::ids::{NodeId, Revision};
use miaofs::protocol::name::Name;
use miaofs::protocol::routes;

use crate::Outcome;
use crate::account::{Account, Server, together};
use crate::figures::{print_begin, print_rate, print_times};

/// Time of what is made, in nanoseconds since 1970.
const MADE: i64 = 1_700_000_000_000_000_000;
/// Bytes of a content: little, as commits do not depend on it.
const CONTENT: usize = 24;

/// A client's drive: the nodes of each of its commits, as they were last sent.
struct Writer {
    account: Account,
    commits: Vec<Vec<NodeChange>>,
}

/// Measures `commits` commits of `nodes` nodes by each client.
///
/// # Errors
/// What ends a measure.
pub(crate) async fn measure(
    server: &Server,
    clients: usize,
    commits: usize,
    nodes: usize,
) -> Outcome<()> {
    let mut writers = Vec::new();
    for _client in 0..clients {
        writers.push(Writer::new(server.sign_up().await?, commits, nodes).await?);
    }
    for (name, change) in [
        ("make", None),
        ("change", Some(touch as fn(&mut NodeChange))),
        ("delete", Some(delete as fn(&mut NodeChange))),
    ] {
        if let Some(change) = change {
            writers.iter_mut().for_each(|writer| writer.change(change));
        }
        let name = format!("commits: {name}");
        let total = (clients * commits * nodes) as f64;
        print_begin(&name);
        let (took, made) = together(writers, Writer::commit).await?;
        let mut times = Vec::new();
        writers = Vec::new();
        for (writer, own) in made {
            writers.push(writer);
            times.extend(own);
        }
        print_rate(&name, clients, total, "nodes", took);
        print_times(&format!("{name} {nodes}"), clients, times);
    }
    Ok(())
}

impl Writer {
    async fn new(account: Account, commits: usize, nodes: usize) -> Outcome<Self> {
        let mut writer = Self { account, commits: Vec::new() };
        for number in 0..commits {
            let contents: Vec<Vec<u8>> =
                (1..nodes).map(|_| rand::random::<[u8; CONTENT]>().to_vec()).collect();
            writer.account.batch(&contents).await?;
            let directory = make(Kind::Directory, NodeId::ROOT, &format!("directory-{number}"))?;
            let parent = directory.id;
            let mut changes = vec![directory];
            for (number, bytes) in contents.iter().enumerate() {
                let mut file = make(Kind::File, parent, &format!("file-{number:06}"))?;
                let content = ContentRef { digest: Digest::of(bytes), size: bytes.len() as u64 };
                file.state.as_mut().ok_or("a new node has a state")?.content = Some(content);
                changes.push(file);
            }
            writer.commits.push(changes);
        }
        Ok(writer)
    }

    fn change(&mut self, change: fn(&mut NodeChange)) {
        for node in self.commits.iter_mut().flatten() {
            node.revision = Revision::random();
            change(node);
        }
    }

    /// Sends all commits, one after the other; answers the time of each. Nodes are based on their new versions then.
    async fn commit(mut self) -> Outcome<(Self, Vec<Duration>)> {
        let mut times = Vec::new();
        for changes in &mut self.commits {
            let commit = Commit { seen: None, changes: std::mem::take(changes) };
            let body = serde_json::to_vec(&commit)?;
            let began = Instant::now();
            let answer = self.account.post_bytes(routes::COMMIT, "application/json", body).await?;
            times.push(began.elapsed());
            let committed: Committed = serde_json::from_slice(&answer)?;
            if let Some(conflict) = committed.conflicts.first() {
                return Err(format!("a conflict: {conflict:?}").into());
            }
            *changes = commit.changes;
            changes.iter_mut().for_each(|change| change.base = committed.seq);
        }
        Ok((self, times))
    }
}

fn make(kind: Kind, parent: NodeId, name: &str) -> Outcome<NodeChange> {
    let mut state = NodeState::new(kind, 0o755, MADE);
    state.entries.push(Entry { parent, name: Name::new(name)? });
    let id = NodeId::made_at(MADE);
    Ok(NodeChange { id, base: 0, revision: Revision::random(), state: Some(state) })
}

fn touch(change: &mut NodeChange) {
    if let Some(state) = &mut change.state {
        state.mtime += 1;
        state.ctime += 1;
    }
}

fn delete(change: &mut NodeChange) {
    change.state = None;
}
