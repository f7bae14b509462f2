//! The drive: commits, and the directories and nodes as they are.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use miaofs::content::Digest;
use miaofs::protocol::files::{
    COMMIT_BYTES_MAX, COMMIT_NAMES_MAX, Commit, Committed, Entry, Kind, Node, NodeChange,
};
use miaofs::protocol::ids::NodeId;

use super::answer::answer;
use super::changes::Changes;
use super::commit::{self, LoadedDrive, Verdict};
use super::history;
use super::listing::{DirectoryPages, ListingRoom, PATIENCE};
use crate::backend::db::files::Record;
use crate::backend::db::{self, Connection, Db, Lock, Transaction};
use crate::backend::{UserId, run_to_completion, unix_now};
use crate::service::{Error, Policy, Room, Seat};

/// Levels of directories above those that a commit moves others into. No path that a program can name has more.
const LEVELS_MAX: usize = 2048;
/// Directories on the ways up from these.
const ANCESTORS_MAX: usize = 50_000;

/// The drives of all users.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(super) db: Db,
    pub(super) changes: Changes,
    pub(super) listings: ListingRoom,
    committing: Room<UserId>,
    policy: Arc<Policy>,
}

impl Files {
    /// Drives in this database, whose commits are announced to `changes`.
    pub(crate) fn new(db: Db, changes: Changes, policy: Arc<Policy>) -> Self {
        let committing = Room::new("commits", db.changes_at_once());
        Self { db, changes, listings: ListingRoom::new(PATIENCE), committing, policy }
    }

    /// Applies as much of a commit as can be, in one transaction.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::Invalid`] for a commit that could never be applied, [`Error::AnotherHistory`] and
    /// [`Error::CommitForgotten`] when the versions that it is based on may be of another history; what the drive does not
    /// allow is a conflict of the answer.
    pub(crate) async fn commit(&self, user: UserId, commit: Commit) -> Result<Committed, Error> {
        commit::validate(&commit.changes)?;
        db::retry_transaction(|| self.try_commit(user, &commit)).await
    }

    async fn try_commit(&self, user: UserId, commit: &Commit) -> Result<Committed, Error> {
        let (_seat, mut transaction) = self.begin(user).await?;
        if let Some(seen) = commit.seen {
            history::check(&mut transaction, user, seen).await?;
        }
        let committed = self.apply(&mut transaction, user, &commit.changes).await?;
        if committed.applied.is_empty() {
            return Ok(committed);
        }
        self.seal(transaction, user, committed.seq).await?;
        Ok(committed)
    }

    /// Begins a change of a drive. Other changes of the same drive wait until it ends. Whoever sends many stands behind whoever
    /// sends few, which a line in front of the database does not do.
    pub(super) async fn begin(&self, user: UserId) -> Result<(Seat<UserId>, Transaction), Error> {
        let seat = self.committing.enter(user).await?;
        let mut transaction = self.db.write().await?;
        match db::accounts::lock(&mut transaction, user).await? {
            true => Ok((seat, transaction)),
            false => Err(Error::Unauthorized),
        }
    }

    /// Commits a transaction and wakes who waits for the drive: both or neither, also when whoever asked
    /// for it goes away meanwhile.
    pub(super) async fn seal(
        &self,
        transaction: Transaction,
        user: UserId,
        seq: u64,
    ) -> Result<(), Error> {
        let changes = self.changes.clone();
        run_to_completion(async move {
            transaction.commit().await?;
            changes.announce(user, seq);
            Ok(())
        })
        .await
    }

    /// One directory and what it holds.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such node, [`Error::WrongKind`] when it is no directory.
    pub(crate) async fn list(&self, user: UserId, id: NodeId) -> Result<DirectoryPages, Error> {
        let mut room = None;
        loop {
            let mut read = self.db.read_drive(user).await?;
            let directory = existing(&mut read, user, id).await?;
            match self.listings.list(read, user, directory, room).await? {
                Some(pages) => return Ok(pages),
                None => room = Some(self.listings.wait(user).await?),
            }
        }
    }

    /// Applies changes within a transaction of [`Self::begin`], which the caller commits and then announces.
    pub(super) async fn apply(
        &self,
        db: &mut Connection,
        user: UserId,
        changes: &[NodeChange],
    ) -> Result<Committed, Error> {
        let now = unix_now();
        let grace = i64::try_from(self.policy.grace_period.as_secs()).unwrap_or(i64::MAX);
        let mut drive = load(db, user, changes, now.saturating_sub(grace)).await?;
        drive.nodes_max = match self.policy.max_nodes {
            0 => u64::MAX,
            most => most,
        };
        let verdicts = commit::resolve(&drive, changes)?;
        let usage = commit::usage_after(&drive, changes, &verdicts);
        let (applied, conflicts) = answer(db, user, &drive, changes, &verdicts).await?;
        let mut commit = None;
        if usage.seq != drive.usage.seq {
            for (delta, digests) in deltas_of_contents(&drive, changes, &verdicts) {
                db::contents::count_refs(db, user, &digests, delta, now).await?;
            }
            let records = records_after(changes, &verdicts, usage.seq, &drive);
            db::files::write(db, user, &records, &drive.nodes).await?;
            db::accounts::set_usage(db, user, usage).await?;
            commit = Some(db::commits::insert(db, user, usage.seq).await?);
        }
        let commit = match commit {
            Some(new) => Some(new),
            None => db::commits::id(db, user, usage.seq).await?,
        };
        Ok(Committed { seq: usage.seq, commit, applied, conflicts })
    }
}

/// The node, unless it is unknown or deleted.
pub(super) async fn existing(db: &mut Connection, user: UserId, id: NodeId) -> Result<Node, Error> {
    let record = db::files::nodes(db, user, &[id]).await?.remove(&id);
    let node = record.map(|record| record.node).filter(|node| node.state.is_some());
    node.ok_or(Error::NotFound("node"))
}

/// Loads what the changes touch.
async fn load(
    db: &mut Connection,
    user: UserId,
    changes: &[NodeChange],
    claimed_since: i64,
) -> Result<LoadedDrive, Error> {
    let usage = db::accounts::usage(db, user).await?.ok_or(Error::Unauthorized)?;
    let wanted: Vec<&Entry> = changes
        .iter()
        .filter_map(|change| change.state.as_ref())
        .flat_map(|s| &s.entries)
        .collect();
    let mut ids: Vec<NodeId> = changes.iter().map(|change| change.id).collect();
    ids.extend(wanted.iter().map(|entry| entry.parent));
    ids.sort_unstable();
    ids.dedup();
    let digests: HashSet<Digest> =
        changes.iter().filter_map(|change| Some(change.state.as_ref()?.content?.digest)).collect();
    let digests: Vec<Digest> = digests.into_iter().collect();
    check_weight(db, user, changes, &ids).await?;
    let nodes = db::files::nodes(db, user, &ids).await?;
    lock_contents(db, changes, &nodes, &digests).await?;
    let mut drive = LoadedDrive {
        usage,
        nodes_max: u64::MAX,
        nodes,
        holders: db::entries::holders(db, user, &wanted).await?,
        unlisted_children: HashMap::new(),
        parents: HashMap::new(),
        owned: db::contents::owned(db, user, &digests, claimed_since).await?,
    };
    drive.unlisted_children = unlisted_children(db, user, changes, &drive).await?;
    if changes.iter().any(|change| moves_directory(&drive, change)) {
        drive.parents = ancestors(db, user, changes).await?;
    }
    Ok(drive)
}

/// Makes sure that what a commit touches is not more than others wait for, before it is read.
async fn check_weight(
    db: &mut Connection,
    user: UserId,
    changes: &[NodeChange],
    touched: &[NodeId],
) -> Result<(), Error> {
    let changed: HashSet<NodeId> = changes.iter().map(|change| change.id).collect();
    let (mut names, mut bytes) = (commit::names_of(changes) as u64, 0);
    for weight in db::files::weigh(db, user, touched).await? {
        bytes += weight.bytes;
        names += if changed.contains(&weight.id) { weight.names } else { 0 };
    }
    if names > COMMIT_NAMES_MAX as u64 {
        return Err(commit::too_many_names());
    }
    if bytes > COMMIT_BYTES_MAX as u64 {
        let words = "the nodes that a commit touches have at most 16 MiB; send fewer changes";
        return Err(Error::TooLarge(words.to_owned()));
    }
    Ok(())
}

/// Keeps the contents that the changes name or may give up from being collected or counted meanwhile.
async fn lock_contents(
    db: &mut Connection,
    changes: &[NodeChange],
    nodes: &HashMap<NodeId, Record>,
    named: &[Digest],
) -> Result<(), Error> {
    let current = changes
        .iter()
        .filter_map(|change| nodes.get(&change.id)?.node.state.as_ref()?.content)
        .map(|content| content.digest);
    let digests: Vec<Digest> = named.iter().copied().chain(current).collect();
    db::contents::lock_rows(db, &digests, Lock::Exclusive).await?;
    Ok(())
}

fn moves_directory(drive: &LoadedDrive, change: &NodeChange) -> bool {
    match (drive.current(change.id), &change.state) {
        (Some(before), Some(after)) => {
            before.kind == Kind::Directory && before.entries != after.entries
        }
        _ => false,
    }
}

/// Of each directory to be deleted, one child that no change names.
async fn unlisted_children(
    db: &mut Connection,
    user: UserId,
    changes: &[NodeChange],
    drive: &LoadedDrive,
) -> Result<HashMap<NodeId, NodeId>, Error> {
    let deleted: Vec<NodeId> = changes
        .iter()
        .filter(|change| change.state.is_none())
        .filter(|change| drive.current(change.id).is_some_and(|s| s.kind == Kind::Directory))
        .map(|change| change.id)
        .collect();
    let mut named: HashMap<NodeId, usize> = HashMap::new();
    for state in changes.iter().filter_map(|change| drive.current(change.id)) {
        for entry in &state.entries {
            *named.entry(entry.parent).or_default() += 1;
        }
    }
    let insiders: HashSet<NodeId> = changes.iter().map(|change| change.id).collect();
    // Of so many children one is no insider, however many there are.
    let enough = |directory| (directory, named.get(&directory).map_or(1, |inside| inside + 1));
    let deleted: Vec<(NodeId, usize)> = deleted.into_iter().map(enough).collect();
    let children = db::entries::first_children(db, user, &deleted).await?;
    Ok(children.into_iter().filter(|(_, child)| !insiders.contains(child)).collect())
}

/// The way up from every directory that is to hold a directory.
///
/// # Errors
/// [`Error::TooLarge`] when that is very far.
async fn ancestors(
    db: &mut Connection,
    user: UserId,
    changes: &[NodeChange],
) -> Result<HashMap<NodeId, NodeId>, Error> {
    let put = changes.iter().filter_map(|change| change.state.as_ref());
    let directories = put.filter(|state| state.kind == Kind::Directory);
    let mut seen: HashSet<NodeId> =
        directories.flat_map(|state| &state.entries).map(|entry| entry.parent).collect();
    let mut parents = HashMap::new();
    let mut frontier: Vec<NodeId> = seen.iter().copied().collect();
    let mut levels = 0;
    while !frontier.is_empty() {
        levels += 1;
        if levels > LEVELS_MAX || seen.len() > ANCESTORS_MAX {
            let words =
                "directories so deep in others cannot be moved together; send fewer changes";
            return Err(Error::TooLarge(words.to_owned()));
        }
        let pairs = db::entries::parents(db, user, &frontier).await?;
        frontier = pairs.iter().map(|(_, parent)| *parent).filter(|id| seen.insert(*id)).collect();
        parents.extend(pairs);
    }
    Ok(parents)
}

/// Contents by how many nodes more (or fewer) name them after the changes; those that as many nodes
/// name as before are left out.
fn deltas_of_contents(
    drive: &LoadedDrive,
    changes: &[NodeChange],
    verdicts: &[Verdict],
) -> HashMap<i64, Vec<Digest>> {
    let mut deltas: HashMap<Digest, i64> = HashMap::new();
    for change in commit::applied(changes, verdicts) {
        let before = drive.current(change.id).and_then(|state| state.content);
        let after = change.state.as_ref().and_then(|state| state.content);
        for (content, delta) in [(before, -1), (after, 1)] {
            if let Some(content) = content {
                *deltas.entry(content.digest).or_default() += delta;
            }
        }
    }
    let mut by_delta: HashMap<i64, Vec<Digest>> = HashMap::new();
    for (digest, delta) in deltas.into_iter().filter(|(_, delta)| *delta != 0) {
        by_delta.entry(delta).or_default().push(digest);
    }
    by_delta
}

fn records_after(
    changes: &[NodeChange],
    verdicts: &[Verdict],
    version: u64,
    drive: &LoadedDrive,
) -> Vec<Record> {
    commit::applied(changes, verdicts)
        .filter_map(|change| {
            let kind = match &change.state {
                Some(state) => state.kind,
                None => drive.nodes.get(&change.id)?.kind,
            };
            let NodeChange { id, revision, state, .. } = change.clone();
            Some(Record { kind, node: Node { id, version, revision, state } })
        })
        .collect()
}
