//! Drives in a real database: what a device learns from the feed, and what is counted, against what
//! is there.

mod forgotten;
mod long_pages;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::stream::{StreamExt as _, TryStreamExt as _};
use miaofs::content::Digest;
use miaofs::protocol::changes::ChangesQuery;
use miaofs::protocol::files::{
    Commit, ContentRef, DeletePath, Entry, Kind, Node, NodeChange, NodeState, SeenCommit,
};
use miaofs::protocol::ids::{CommitId, DeviceId, NodeId, Revision};
use miaofs::protocol::name::Name;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio_util::sync::CancellationToken;

use super::listing::{LONG_LISTINGS, ListingRoom};
use super::{Condition, DirectoryPages, Files};
use crate::backend::Schema;
use crate::backend::db::contents::{NewContent, Retention};
use crate::backend::db::{self, Db};
use crate::backend::layout::{Layout, Source};
use crate::backend::tracker::{AccessToken, Bearer, OtherTokens, Tracker};
use crate::backend::{Settings, TokenId, UserId, half_of_processors, unix_now};
use crate::service::files::Changes;
use crate::service::{Caller, Dedup, Error, Policy, Reader, SignUps, TransferPolicy, Writer};

struct Scene {
    db: Db,
    files: Files,
    changes: Changes,
    stop: CancellationToken,
    user: UserId,
    caller: Caller,
    _directory: tempfile::TempDir,
}

/// Holds whatever is there.
const ALWAYS: Condition = Condition { has: None, has_not: None };
impl Scene {
    fn reader(&self) -> Reader {
        self.writer().into()
    }

    fn writer(&self) -> Writer {
        self.caller.into()
    }
}

const QUOTA: u64 = 600;
/// Sizes of the contents that the user of a scene owns, and so their names.
const OWNED: std::ops::Range<u64> = 0..100;

/// Polls a future at most `polls` times, each when it has asked for it; `None` when that was not enough.
async fn poll_some<T>(future: impl Future<Output = T>, mut polls: usize) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| {
        polls = polls.saturating_sub(1);
        match future.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if polls == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[tokio::test]
async fn whoever_waits_learns_of_a_commit_that_nobody_waited_for() {
    let scene = scene().await;
    let mut committed_unseen = 0;
    for round in 0..150 {
        let polls = 1 + round % 30;
        let before = head(&scene).await;
        let changes = scene.changes.clone();
        let query = ChangesQuery { since: before, wait: Some(20), ..ChangesQuery::default() };
        let waiting = tokio::spawn(async move { changes.after(scene.caller, query).await });
        // Without a pause the waiter might look too late to wait, and less would be proven.
        tokio::time::sleep(Duration::from_millis(3)).await;
        let commit = Commit {
            seen: None,
            changes: vec![new_node(Kind::Directory, NodeId::ROOT, &format!("{round}"), 0)],
        };
        let ended = poll_some(scene.files.commit(scene.user, commit), polls).await;
        // One writer: what was under way has ended when this begins.
        drop(scene.db.write().await.unwrap());
        if head(&scene).await > before {
            committed_unseen += usize::from(ended.is_none());
            let woken = tokio::time::timeout(Duration::from_secs(10), waiting).await;
            assert_eq!(woken.expect("woken").unwrap().unwrap().page.nodes.len(), 1);
        } else {
            waiting.abort();
        }
    }
    assert!(committed_unseen > 0, "no commit was left alone at the right moment");
}

async fn head(scene: &Scene) -> u64 {
    let query = ChangesQuery { limit: Some(1), ..ChangesQuery::default() };
    scene.changes.after(scene.caller, query).await.unwrap().page.head
}

async fn scene() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let db =
        Db::open(&Settings::embedded(directory.path().to_owned()), Schema::Migrate).await.unwrap();
    let stop = CancellationToken::new();
    let settings = Settings::embedded(directory.path().to_owned());
    let tracker = Tracker::open(&settings).await.unwrap();
    let changes = Changes::new(db.clone(), tracker.clone(), stop.clone());
    let files = Files::new(db.clone(), changes.clone(), Arc::new(policy()));
    let mut transaction = db.write().await.unwrap();
    let user = db::accounts::insert(&mut transaction, "anna", "-", QUOTA).await.unwrap();
    db::files::insert_root(&mut transaction, user).await.unwrap();
    let contents: Vec<NewContent> = OWNED.map(|size| stored(content(size))).collect();
    let rows: Vec<_> = contents.iter().map(|content| (content, Retention::Kept)).collect();
    db::contents::insert(&mut transaction, &rows, unix_now()).await.unwrap();
    let digests: Vec<Digest> = contents.iter().map(|content| content.digest).collect();
    db::contents::claim(&mut transaction, user, &digests, unix_now()).await.unwrap();
    transaction.commit().await.unwrap();
    let caller =
        Caller { user, device: DeviceId::random(), token: TokenId::from_bytes(rand::random()) };
    let given =
        AccessToken { id: caller.token, predecessor: None, lifetime: Duration::from_secs(3600) };
    let bearer = Bearer { user, device: caller.device };
    tracker.put_token(bearer, given, OtherTokens::Revoke).await.unwrap();
    Scene { db, files, changes, stop, user, caller, _directory: directory }
}

async fn whole(listing: DirectoryPages) -> Vec<Node> {
    listing.pages.try_concat().await.unwrap()
}

fn policy() -> Policy {
    let day = Duration::from_secs(86_400);
    Policy {
        quota: QUOTA,
        max_file_size: u64::MAX,
        min_free: Some(0),
        max_nodes: 0,
        dedup: Dedup::Server,
        grace_period: day,
        upload_ttl: day,
        sign_up: SignUps::Open,
        account_grace: day,
        max_uploads: 0,
        max_devices: 0,
        access_ttl: day,
        refresh_ttl: day,
        tombstone_ttl: day,
        signed_url_ttl: Duration::from_secs(3600),
        md5_index: false,
        transfer: TransferPolicy::default(),
    }
}

fn content(size: u64) -> ContentRef {
    ContentRef { digest: Digest::of(&size.to_be_bytes()), size }
}

/// A content of the server's, of which no byte is asked for here.
fn stored(content: ContentRef) -> NewContent {
    let layout = Layout::of_small(content.digest, content.size, Source::Hole);
    NewContent { digest: content.digest, md5: None, layout }
}

fn new_state(kind: Kind, entries: Vec<Entry>, size: u64) -> NodeState {
    NodeState {
        uid: 1000,
        gid: 1000,
        mtime: -1,
        ctime: i64::MAX,
        content: (kind == Kind::File).then(|| content(size)),
        entries,
        ..NodeState::new(kind, 0o644, 0)
    }
}

fn new_node(kind: Kind, parent: NodeId, name: &str, size: u64) -> NodeChange {
    let entry = Entry { parent, name: Name::new(name).unwrap() };
    let state = Some(new_state(kind, vec![entry], size));
    NodeChange { id: NodeId::random(), base: 0, revision: Revision::random(), state }
}

/// The drive as a device knows it that follows the feed.
#[derive(Default)]
struct Follower {
    nodes: HashMap<NodeId, Node>,
    cursor: u64,
}

impl Follower {
    async fn catch_up(&mut self, scene: &Scene, limit: u64) {
        loop {
            let query =
                ChangesQuery { since: self.cursor, limit: Some(limit), ..ChangesQuery::default() };
            let page = scene.changes.after(scene.caller, query).await.unwrap().page;
            let versions: Vec<u64> = page.nodes.iter().map(|node| node.version).collect();
            assert!(versions.is_sorted() && versions.iter().all(|at| *at > self.cursor));
            assert!(versions.iter().all(|version| *version <= page.cursor));
            for node in page.nodes {
                match node.state {
                    Some(_) => drop(self.nodes.insert(node.id, node)),
                    None => drop(self.nodes.remove(&node.id)),
                }
            }
            self.cursor = page.cursor;
            if page.cursor == page.head {
                return;
            }
        }
    }

    fn sorted(&self) -> Vec<Node> {
        let mut nodes: Vec<Node> = self.nodes.values().cloned().collect();
        nodes.iter_mut().filter_map(|node| node.state.as_mut()).for_each(|s| s.entries.sort());
        nodes.sort_by_key(|node| node.id);
        nodes
    }
}

fn random_change(random: &mut StdRng, known: &[Node]) -> NodeChange {
    let directories: Vec<NodeId> = known
        .iter()
        .filter(|node| node.state.as_ref().is_some_and(|state| state.kind == Kind::Directory))
        .map(|node| node.id)
        .collect();
    let parent = directories[random.random_range(0..directories.len())];
    let name = format!("n{}", random.random_range(0..12));
    let size = random.random_range(OWNED);
    let kind = if random.random_bool(0.4) { Kind::Directory } else { Kind::File };
    let mut change = new_node(kind, parent, &name, size);
    let node = &known[random.random_range(0..known.len())];
    if node.id == NodeId::ROOT || random.random_bool(0.4) {
        return change;
    }
    (change.id, change.base) = (node.id, node.version);
    let before = node.state.as_ref().unwrap();
    if random.random_bool(0.3) {
        change.state = None;
    } else if let Some(state) = &mut change.state {
        state.kind = before.kind;
        state.content = (before.kind == Kind::File).then(|| content(size));
        if before.kind == Kind::File && random.random_bool(0.3) {
            state.entries.extend(before.entries.iter().cloned());
            state.entries.sort();
            state.entries.dedup();
        }
    }
    change
}

async fn check_counts(scene: &Scene, nodes: &[Node]) {
    let contents: Vec<ContentRef> =
        nodes.iter().filter_map(|node| node.state.as_ref()?.content).collect();
    let mut read = scene.db.read().await.unwrap();
    let usage = db::accounts::usage(&mut read, scene.user).await.unwrap().unwrap();
    assert_eq!(usage.used, contents.iter().map(|content| content.size).sum::<u64>());
    let metadata = nodes.iter().filter_map(|node| node.state.as_ref()).map(db::files::metadata_of);
    assert_eq!(usage.metadata, metadata.sum::<u64>());
    assert_eq!(usage.nodes, nodes.len() as u64 - 1, "all but the root");
    assert!(usage.used <= QUOTA);
    let unnamed = db::contents::collectable(&mut read, i64::MAX, 1000).await.unwrap();
    let named: HashSet<Digest> = contents.iter().map(|content| content.digest).collect();
    let expected = OWNED.map(|size| content(size).digest).filter(|digest| !named.contains(digest));
    let unnamed: HashSet<Digest> = unnamed.into_iter().collect();
    assert_eq!(unnamed, expected.collect(), "what nothing names waits for collection");
}

#[tokio::test]
async fn whoever_follows_the_feed_knows_the_drive_and_all_is_counted() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let scene = scene().await;
    let mut follower = Follower::default();
    for round in 0..60 {
        follower.catch_up(&scene, random.random_range(1..20)).await;
        let known = follower.sorted();
        let mut changes: Vec<NodeChange> = Vec::new();
        for _ in 0..random.random_range(1..12) {
            let change = random_change(&mut random, &known);
            if changes.iter().all(|other| other.id != change.id) {
                changes.push(change);
            }
        }
        let committed =
            scene.files.commit(scene.user, Commit { seen: None, changes }).await.unwrap();
        assert!(committed.seq >= follower.cursor, "round {round}");
    }
    follower.catch_up(&scene, 3).await;
    let mut newcomer = Follower::default();
    newcomer.catch_up(&scene, 1000).await;
    let nodes = follower.sorted();
    assert!(nodes.len() > 5, "the rounds left something to compare");
    assert_eq!(nodes, newcomer.sorted());
    check_counts(&scene, &nodes).await;
    for node in nodes.iter().filter(|n| n.state.as_ref().unwrap().kind == Kind::Directory) {
        let listed = whole(scene.files.list(scene.user, node.id).await.unwrap()).await;
        let inside = |inner: &&Node| {
            let entries = &inner.state.as_ref().unwrap().entries;
            entries.iter().any(|entry| entry.parent == node.id)
        };
        assert_eq!(listed.len(), nodes.iter().filter(inside).count());
    }
    // Only counts that were right all along are all zero at the end.
    for node in whole(scene.files.query(scene.reader(), "/").await.unwrap()).await {
        for entry in node.state.unwrap().entries.iter().filter(|e| e.parent == NodeId::ROOT) {
            let path = format!("/{}", entry.name.display());
            scene
                .files
                .delete(scene.writer(), DeletePath { path, recursive: true }, &ALWAYS)
                .await
                .unwrap();
        }
    }
    follower.catch_up(&scene, 3).await;
    assert_eq!(follower.nodes.len(), 1);
    check_counts(&scene, &follower.sorted()).await;
}

#[tokio::test]
async fn a_commit_repeated_changes_nothing_and_is_never_cut_by_a_page() {
    let scene = scene().await;
    let top = new_node(Kind::Directory, NodeId::ROOT, "top", 0);
    let inside = (0..300).map(|at| new_node(Kind::Directory, top.id, &at.to_string(), 0));
    let changes: Vec<NodeChange> = inside.chain([top.clone()]).collect();
    let commit = Commit { seen: None, changes };
    let first = scene.files.commit(scene.user, commit.clone()).await.unwrap();
    let second = scene.files.commit(scene.user, commit).await.unwrap();
    assert_eq!((first.seq, first.applied.len(), first.conflicts.len()), (2, 301, 0));
    assert_eq!(first, second);
    let query = ChangesQuery { since: 1, limit: Some(10), ..ChangesQuery::default() };
    let page = scene.changes.after(scene.caller, query).await.unwrap().page;
    assert_eq!((page.nodes.len(), page.cursor, page.head), (301, 2, 2));
}

#[tokio::test]
async fn a_waiter_is_woken_by_a_commit_and_by_the_stop() {
    let scene = scene().await;
    let wait = |since| {
        let (changes, caller) = (scene.changes.clone(), scene.caller);
        let query = ChangesQuery { since, wait: Some(60), ..ChangesQuery::default() };
        tokio::spawn(async move { changes.after(caller, query).await })
    };
    let waiter = wait(1);
    let changes = vec![new_node(Kind::Directory, NodeId::ROOT, "new", 0)];
    scene.files.commit(scene.user, Commit { seen: None, changes }).await.unwrap();
    let soon = Duration::from_secs(20);
    let page = tokio::time::timeout(soon, waiter).await.unwrap().unwrap().unwrap().page;
    assert_eq!((page.nodes.len(), page.cursor), (1, 2));

    let query = ChangesQuery { since: 2, wait: Some(60), ..ChangesQuery::default() };
    let mut waiter = Box::pin(scene.changes.after(scene.caller, query));
    assert!(futures::poll!(&mut waiter).is_pending());
    scene.stop.cancel();
    let page = tokio::time::timeout(soon, waiter).await.unwrap().unwrap().page;
    assert_eq!((page.nodes.len(), page.cursor), (0, 2));
    let late = scene.changes.after(scene.caller, query).await;
    assert!(matches!(late, Err(Error::Unavailable)), "{late:?}");
}

#[tokio::test]
async fn a_commit_that_the_drive_has_not_is_of_another_history() {
    let scene = scene().await;
    let commit = |name: &str, seen| Commit {
        seen,
        changes: vec![new_node(Kind::Directory, NodeId::ROOT, name, 0)],
    };
    scene.files.commit(scene.user, commit("first", None)).await.unwrap();
    let after = |query| scene.changes.after(scene.caller, query);
    let page = after(ChangesQuery::default()).await.unwrap().page;
    let seen = SeenCommit { seq: page.cursor, id: page.commit.unwrap() };
    scene.files.commit(scene.user, commit("second", Some(seen))).await.unwrap();
    let since = ChangesQuery { since: seen.seq, commit: Some(seen.id), ..ChangesQuery::default() };
    assert_eq!(after(since).await.unwrap().page.nodes.len(), 1);

    let other = SeenCommit { id: CommitId::random(), ..seen };
    let ahead = SeenCommit { seq: 9, ..seen };
    for seen in [other, ahead] {
        let refused = scene.files.commit(scene.user, commit("third", Some(seen))).await;
        assert!(matches!(refused, Err(Error::AnotherHistory(_))), "{refused:?}");
        let query = ChangesQuery { since: seen.seq, commit: Some(seen.id), ..since };
        let refused = after(query).await;
        assert!(matches!(refused, Err(Error::AnotherHistory(_))), "{refused:?}");
    }
    let mut transaction = scene.db.write().await.unwrap();
    db::query("DELETE FROM commits WHERE seq = 2").execute(&mut transaction).await.unwrap();
    transaction.commit().await.unwrap();
    let forgotten = after(since).await;
    assert!(matches!(forgotten, Err(Error::CommitForgotten(2))), "{forgotten:?}");
}

#[tokio::test]
async fn deleted_nodes_are_told_from_the_beginning_to_who_compares() {
    let scene = scene().await;
    let node = new_node(Kind::Directory, NodeId::ROOT, "gone", 0);
    let (id, revision) = (node.id, Revision::random());
    let changes = [node, NodeChange { id, base: 2, revision, state: None }];
    for change in changes {
        let commit = Commit { seen: None, changes: vec![change] };
        assert_eq!(scene.files.commit(scene.user, commit).await.unwrap().applied.len(), 1);
    }
    for (deleted, count) in [(None, 1), (Some(false), 1), (Some(true), 2)] {
        let query = ChangesQuery { deleted, ..ChangesQuery::default() };
        let page = scene.changes.after(scene.caller, query).await.unwrap().page;
        assert_eq!((page.nodes.len(), page.cursor), (count, 3));
    }
}

#[tokio::test]
async fn a_tree_is_made_and_deleted_by_path_with_a_name_kept_elsewhere() {
    let scene = scene().await;
    let put = |path: &'static str, size| {
        scene.files.put_path(scene.writer(), path, content(size), &ALWAYS)
    };
    let node = put("/a/b/c/file", 7).await.unwrap();
    let again = put("/a/b/c/file", 8).await.unwrap();
    assert_eq!((again.id, again.state.as_ref().unwrap().content), (node.id, Some(content(8))));
    put("/a/b/other", 9).await.unwrap();
    assert!(matches!(put("/a/b", 1).await, Err(Error::WrongKind(_))));
    assert!(matches!(put("/a/b/other/x", 1).await, Err(Error::WrongKind(_))));
    assert!(matches!(put("/new", 5000).await, Err(Error::NotFound(_))));

    let mut kept = again.state.clone().unwrap();
    kept.entries.push(Entry { parent: NodeId::ROOT, name: Name::new("kept").unwrap() });
    let (id, base) = (again.id, again.version);
    let change = NodeChange { id, base, revision: Revision::random(), state: Some(kept) };
    scene.files.commit(scene.user, Commit { seen: None, changes: vec![change] }).await.unwrap();

    let delete = |recursive| {
        scene.files.delete(scene.writer(), DeletePath { path: "/a".to_owned(), recursive }, &ALWAYS)
    };
    assert!(matches!(delete(false).await, Err(Error::NotEmpty)));
    delete(true).await.unwrap();
    let listed = whole(scene.files.query(scene.reader(), "/").await.unwrap()).await;
    assert_eq!(listed.iter().map(|node| node.id).collect::<Vec<_>>(), [node.id]);
    let mut follower = Follower::default();
    follower.catch_up(&scene, 1000).await;
    check_counts(&scene, &follower.sorted()).await;
}

/// Fills the root with so many directories.
async fn fill_root(scene: &Scene, count: usize) {
    let new = |number| new_node(Kind::Directory, NodeId::ROOT, &format!("{number:05}"), 0);
    let changes: Vec<NodeChange> = (0..count).map(new).collect();
    let commit = Commit { seen: None, changes };
    assert_eq!(scene.files.commit(scene.user, commit).await.unwrap().conflicts, []);
}

/// Long listings that one user may have under way.
fn listings_of_one() -> usize {
    (half_of_processors().min(LONG_LISTINGS) / 2).max(1)
}

#[tokio::test]
async fn few_long_listings_are_under_way_at_once_and_who_goes_away_makes_room() {
    let scene = scene().await;
    fill_root(&scene, 1700).await;
    let mut long = Vec::new();
    for _listing in 0..listings_of_one() {
        long.push(scene.files.list(scene.user, NodeId::ROOT).await.unwrap());
    }
    let mut waiting = Box::pin(scene.files.list(scene.user, NodeId::ROOT));
    let waited = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(waited.is_err(), "one has more than half of all long listings");
    let inner = whole(scene.files.query(scene.reader(), "/00001").await.unwrap()).await;
    assert_eq!(inner, [], "a short listing waits for nobody");
    drop(long.pop());
    let listed = whole(waiting.await.unwrap()).await;
    let names = listed.iter().map(|node| node.state.as_ref().unwrap().entries[0].name.clone());
    assert!(names.is_sorted() && listed.len() == 1700, "{} nodes", listed.len());
}

#[tokio::test]
async fn a_listing_whose_reader_stalls_ends_with_an_error() {
    let mut scene = scene().await;
    scene.files.listings = ListingRoom::new(Duration::from_millis(20));
    fill_root(&scene, 1700).await;
    let mut listing = scene.files.list(scene.user, NodeId::ROOT).await.unwrap();
    listing.pages.next().await.unwrap().unwrap();
    let mut seats = Vec::new();
    for _listing in 0..listings_of_one() {
        let seat = scene.files.listings.wait(scene.user);
        let seat = tokio::time::timeout(Duration::from_secs(20), seat).await;
        seats.push(seat.expect("the listing gives its room back").unwrap());
    }
    let rest: Vec<Result<Vec<Node>, Error>> = listing.pages.collect().await;
    assert!(matches!(rest.last(), Some(Err(Error::Unavailable))), "{} pages", rest.len());
    let pages = rest.iter().filter(|page| page.is_ok()).count();
    assert!(pages < 3, "{pages} pages came after all");
}
