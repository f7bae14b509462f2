//! Deletions of some age, and devices that have or have not heard of them.

use miaofs::protocol::accounts::Device;
use miaofs::protocol::files::{Commit, Entry, Kind, NodeChange, NodeState};
use miaofs::protocol::ids::{DeviceId, NodeId, Revision};
use miaofs::protocol::name::Name;

use super::*;
use crate::backend::TokenId;
use crate::backend::db::{Connection, query, sessions};
use crate::backend::tracker::Bearer;
use crate::service::tests::Scene;

const DAY: i64 = 24 * 60 * 60;

/// Makes a node for each of these ages in seconds and deletes it, as if it had been so long ago. Answers the versions of the
/// deletions.
async fn delete(scene: &Scene, ages: &[i64]) -> Vec<u64> {
    let (files, user) = (scene.files(), scene.caller.user);
    let mut versions = Vec::new();
    for (number, age) in ages.iter().enumerate() {
        let mut state = NodeState::new(Kind::Directory, 0o755, 0);
        let name = Name::new(number.to_string()).unwrap();
        state.entries.push(Entry { parent: NodeId::ROOT, name });
        let id = NodeId::random();
        let mut base = 0;
        for state in [Some(state), None] {
            let change = NodeChange { id, base, revision: Revision::random(), state };
            let commit = Commit { seen: None, changes: vec![change] };
            base = files.commit(user, commit).await.unwrap().applied[0].version;
        }
        let mut transaction = scene.context.db.write().await.unwrap();
        query("UPDATE nodes SET deleted_at = ? WHERE user_id = ? AND id = ?")
            .bind(unix_now() - age)
            .bind(user.0)
            .bind(id.to_bytes().to_vec())
            .execute(&mut transaction)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        versions.push(base);
    }
    versions
}

/// Versions of the deletions that are remembered, and the commit up to which some are not.
async fn remembered(scene: &Scene) -> (Vec<u64>, u64) {
    let mut read = scene.context.db.read().await.unwrap();
    let rows = query("SELECT version FROM nodes WHERE deleted_at IS NOT NULL ORDER BY version");
    let rows = rows.fetch_all(&mut read).await.unwrap();
    let versions = rows.iter().map(|row| row.try_get::<i64, _>(0).unwrap().cast_unsigned());
    let until = tombstones::forgotten_until(&mut read, scene.caller.user).await.unwrap();
    (versions.collect(), until)
}

/// A device that signed in so long ago.
async fn sign_in(scene: &Scene, age: i64) -> (DeviceId, TokenId) {
    let (id, session) = (DeviceId::random(), TokenId::from_bytes(rand::random()));
    let device = Device { id: None, name: "laptop".to_owned() };
    let bearer = Bearer { user: scene.caller.user, device: id };
    changed(scene, async |db| {
        db::accounts::see_device(db, bearer.user, id, &device).await.unwrap();
        let refresh = TokenId::from_bytes(rand::random());
        sessions::begin(db, session, bearer, refresh, unix_now() + DAY).await.unwrap();
        let set = query("UPDATE devices SET last_seen = ? WHERE id = ?").bind(unix_now() - age);
        set.bind(id.to_bytes().to_vec()).execute(db).await.unwrap();
    })
    .await;
    (id, session)
}

async fn changed(scene: &Scene, change: impl AsyncFnOnce(&mut Connection)) {
    let mut transaction = scene.context.db.write().await.unwrap();
    change(&mut transaction).await;
    transaction.commit().await.unwrap();
}

async fn follow(scene: &Scene, device: DeviceId, until: u64) {
    let device = (scene.caller.user, device);
    changed(scene, async |db| tombstones::note_followed(db, device, until).await.unwrap()).await;
}

#[tokio::test]
async fn what_all_devices_have_seen_goes_after_a_day_and_all_else_when_its_time_is_over() {
    let scene = Scene::new(Duration::ZERO).await;
    let deleted = delete(&scene, &[40 * DAY, 3 * DAY, 2 * DAY, 60]).await;
    let (slow, session) = sign_in(&scene, 0).await;
    let (fast, _) = sign_in(&scene, 0).await;
    let (_never_follows, _) = sign_in(&scene, 0).await;
    follow(&scene, fast, deleted[3]).await;
    follow(&scene, slow, deleted[1]).await;
    assert_eq!(forget(&scene.context).await.unwrap(), 2);
    assert_eq!(remembered(&scene).await, (deleted[2..].to_vec(), deleted[1]));
    // Whoever is signed out begins anew, should they come back.
    changed(&scene, async |db| {
        let end = query("UPDATE sessions SET ended = 2 WHERE id = ?");
        end.bind(session.as_bytes().to_vec()).execute(db).await.unwrap();
    })
    .await;
    assert_eq!(forget(&scene.context).await.unwrap(), 1);
    assert_eq!(remembered(&scene).await, (deleted[3..].to_vec(), deleted[2]));
    assert_eq!(forget(&scene.context).await.unwrap(), 0);
}

#[tokio::test]
async fn of_more_deletions_than_a_drive_may_have_nodes_the_oldest_go() {
    let scene = Scene::new(Duration::ZERO).await;
    let deleted = delete(&scene, &[50, 40, 30, 20, 10]).await;
    let (device, _) = sign_in(&scene, 0).await;
    follow(&scene, device, 1).await;
    let policy = crate::service::Policy { max_nodes: 2, ..(*scene.context.policy).clone() };
    let context = ServiceContext::new(&scene.backends, Arc::new(policy));
    assert_eq!(forget(&context).await.unwrap(), 2);
    assert_eq!(remembered(&scene).await, (deleted[2..].to_vec(), deleted[1]));
}

#[tokio::test]
async fn devices_that_nobody_is_signed_in_with_go_when_their_time_is_over() {
    let scene = Scene::new(Duration::ZERO).await;
    let (used, _) = sign_in(&scene, 40 * DAY).await;
    let (young, _) = sign_in(&scene, DAY).await;
    let (old, _) = sign_in(&scene, 40 * DAY).await;
    changed(&scene, async |db| {
        let end = query("DELETE FROM sessions WHERE device IN (?, ?)");
        let end = end.bind(young.to_bytes().to_vec()).bind(old.to_bytes().to_vec());
        end.execute(db).await.unwrap();
    })
    .await;
    forget(&scene.context).await.unwrap();
    let mut read = scene.context.db.read().await.unwrap();
    let rows = query("SELECT id FROM devices").fetch_all(&mut read).await.unwrap();
    let mut left: Vec<Vec<u8>> = rows.iter().map(|row| row.try_get(0).unwrap()).collect();
    let mut expected = [used, young].map(|device| device.to_bytes().to_vec());
    left.sort();
    expected.sort();
    assert_eq!(left, expected);
}
