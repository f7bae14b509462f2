//! Cursors after which deletions are forgotten.

use miaofs::protocol::accounts::Device;
use miaofs::protocol::files::ConflictReason;

use super::*;
use crate::backend::db::tombstones::{self, Forgettable};

async fn deleted(scene: &Scene) -> Vec<SeenCommit> {
    let mut seen = Vec::new();
    let node = new_node(Kind::Directory, NodeId::ROOT, "deleted", 0);
    let deletion =
        NodeChange { base: 2, revision: Revision::random(), state: None, ..node.clone() };
    let other = new_node(Kind::Directory, NodeId::ROOT, "other", 0);
    for change in [node, deletion, other] {
        let commit = Commit { seen: None, changes: vec![change] };
        let committed = scene.files.commit(scene.user, commit).await.unwrap();
        assert_eq!(committed.conflicts, []);
        seen.push(SeenCommit { seq: committed.seq, id: committed.commit.unwrap() });
    }
    seen
}

#[tokio::test]
async fn a_cursor_before_what_is_forgotten_is_told_to_begin_anew() {
    let scene = scene().await;
    let [made, deleted, _] = deleted(&scene).await[..] else { unreachable!("three commits") };
    let mut transaction = scene.db.write().await.unwrap();
    assert!(db::accounts::lock(&mut transaction, scene.user).await.unwrap());
    let all = Forgettable { deleted_before: i64::MAX, until: u64::MAX };
    let removed = tombstones::remove(&mut transaction, scene.user, all, 10).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(removed, 1);

    let after = |query| scene.changes.after(scene.caller, query);
    let known = |seen: SeenCommit| ChangesQuery {
        since: seen.seq,
        commit: Some(seen.id),
        ..ChangesQuery::default()
    };
    let began = |began_at| ChangesQuery { began_at: Some(began_at), ..known(made) };
    for query in [known(made), began(made.seq)] {
        let refused = after(query).await;
        assert!(matches!(refused, Err(Error::BeginAnew(2))), "{refused:?}");
    }
    // Whoever has another history hears of that first: nothing of it may be deleted.
    let other = ChangesQuery { commit: Some(CommitId::random()), ..known(made) };
    for query in [other, began(9)] {
        let refused = after(query).await;
        assert!(matches!(refused, Err(Error::AnotherHistory(_))), "{refused:?}");
    }
    for query in [known(deleted), began(deleted.seq), ChangesQuery::default()] {
        let page = after(query).await.unwrap().page;
        assert!(page.nodes.iter().all(|node| node.state.is_some()), "{query:?}");
        assert_eq!((page.cursor, page.head), (4, 4));
    }
}

#[tokio::test]
async fn a_change_of_what_was_deleted_and_forgotten_is_stale_and_nothing_is_in_its_way() {
    let scene = scene().await;
    let mut node = new_node(Kind::Directory, NodeId::ROOT, "deleted", 0);
    node.base = 2;
    let commit = Commit { seen: None, changes: vec![node] };
    let committed = scene.files.commit(scene.user, commit).await.unwrap();
    let [conflict] = &committed.conflicts[..] else { panic!("{committed:?}") };
    assert_eq!((conflict.reason, &conflict.current), (ConflictReason::Stale, &None));
}

#[tokio::test]
async fn how_far_a_device_has_followed_is_noted() {
    let scene = scene().await;
    let device = Device { id: None, name: "laptop".to_owned() };
    let mut transaction = scene.db.write().await.unwrap();
    let Caller { user, device: id, .. } = scene.caller;
    db::accounts::see_device(&mut transaction, user, id, &device).await.unwrap();
    transaction.commit().await.unwrap();
    deleted(&scene).await;
    for since in [0, 3, 4] {
        let query = ChangesQuery { since, ..ChangesQuery::default() };
        scene.changes.after(scene.caller, query).await.unwrap();
    }
    let noted = async || {
        let mut read = scene.db.read().await.unwrap();
        let row = db::query("SELECT followed_until FROM devices").fetch_optional(&mut read).await;
        row.unwrap().unwrap().try_get::<Option<i64>, _>(0).unwrap()
    };
    let began = std::time::Instant::now();
    while noted().await.is_none() {
        assert!(began.elapsed() < Duration::from_secs(20), "it is not noted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(noted().await, Some(3), "the next note is not due yet");
}
