//! Where dedup is by user, what others have is stored like anything new, and the second copy soon goes.

use std::sync::Arc;

use miaofs::content::Digest;
use miaofs::protocol::files::ContentRef;

use super::{Caller, Dedup, HOUR, Policy, Scene, ServiceContext};
use crate::backend::db::{accounts, contents, files, query};
use crate::backend::unix_now;
use crate::service::files::Condition;
use crate::service::fsck::{Depth, Finding, Options, Repair, check};
use crate::service::gc::{GcScope, collect_once};

const BYTES: &[u8] = b"bytes that two have";

/// Seconds that a spare content stays at the most.
const SPARE_TIME: i64 = 120;

/// A scene where nobody may learn of others, and a second account beside its first.
async fn scene() -> (Scene, Caller) {
    let mut scene = Scene::new(HOUR).await;
    let policy = Policy { dedup: Dedup::User, ..(*scene.context.policy).clone() };
    scene.context = ServiceContext::new(&scene.backends, Arc::new(policy));
    let mut transaction = scene.context.db.write().await.unwrap();
    let user = accounts::insert(&mut transaction, "eve", "", 1 << 40).await.unwrap();
    files::insert_root(&mut transaction, user).await.unwrap();
    transaction.commit().await.unwrap();
    let eve = Caller { user, ..scene.caller };
    (scene, eve)
}

/// Rows of the tables that an upload writes to.
async fn rows(scene: &Scene) -> Vec<i64> {
    let mut db = scene.context.db.read().await.unwrap();
    let mut rows = Vec::new();
    for count in [
        "SELECT COUNT(*) FROM files",
        "SELECT COUNT(*) FROM file_blobs",
        "SELECT COUNT(*) FROM blobs",
        "SELECT COUNT(*) FROM transfers",
        "SELECT COUNT(*) FROM user_contents",
    ] {
        let row = query(count).fetch_optional(&mut db).await.unwrap().unwrap();
        rows.push(row.try_get::<i64, _>(0).unwrap());
    }
    rows
}

/// Rows that come with a content that a user brings.
async fn rows_for(scene: &Scene, caller: Caller, bytes: &'static [u8]) -> Vec<i64> {
    let before = rows(scene).await;
    scene.bring_for(caller.user, bytes).await;
    rows(scene).await.iter().zip(before).map(|(after, before)| after - before).collect()
}

async fn name(scene: &Scene, caller: Caller, digest: Digest) {
    let content = ContentRef { digest, size: BYTES.len() as u64 };
    let path = "/file";
    scene.files().put_path(caller.into(), path, content, &Condition::default()).await.unwrap();
}

async fn findings(scene: &Scene) -> Vec<Finding> {
    let (depth, repair) = (Depth::Digests, Repair::None);
    let options = Options { depth, repair, grace: HOUR, grace_of_parts: HOUR };
    let policy = scene.context.policy.clone();
    check(&scene.backends, policy, options, &mut |_event| ()).await.unwrap().findings
}

#[tokio::test]
async fn what_others_have_takes_the_rows_of_something_new_and_what_is_ones_own_takes_none() {
    let (scene, eve) = scene().await;
    scene.bring(BYTES).await;
    assert_eq!(rows_for(&scene, eve, BYTES).await, [1; 5]);
    assert_eq!(rows_for(&scene, eve, b"bytes that nobody has").await, [1; 5]);
    assert_eq!(rows_for(&scene, eve, BYTES).await, [0; 5]);
    assert_eq!(rows_for(&scene, scene.caller, BYTES).await, [0; 5]);
}

#[tokio::test]
async fn a_spare_content_is_no_flaw_and_goes_after_two_minutes_and_the_other_one_stays() {
    let (mut scene, eve) = scene().await;
    let (digest, _) = scene.bring(BYTES).await;
    name(&scene, scene.caller, digest).await;
    let began = unix_now();
    scene.bring_for(eve.user, BYTES).await;
    let ended = unix_now();
    name(&scene, eve, digest).await;
    assert_eq!(findings(&scene).await, []);

    let since = |second: i64| second - i64::try_from(HOUR.as_secs()).unwrap();
    let mut db = scene.context.db.read().await.unwrap();
    let early = contents::collectable(&mut db, since(began + SPARE_TIME), 9).await.unwrap();
    let due = contents::collectable(&mut db, since(ended + SPARE_TIME + 1), 9).await.unwrap();
    drop(db);
    assert_eq!(early, []);
    let [spare] = due[..] else { panic!("{due:?}") };
    assert_eq!(spare.as_bytes()[..16], digest.as_bytes()[..16]);
    assert_ne!(spare, digest);

    let policy = (*scene.context.policy).clone();
    let freed = collect_once(&scene.backends, policy, GcScope::All).await.unwrap();
    assert_eq!((freed.contents, freed.blobs, freed.bytes), (1, 1, BYTES.len() as u64));
    assert_eq!(findings(&scene).await, []);
    for caller in [scene.caller, eve] {
        scene.caller = caller;
        assert_eq!(scene.read(digest).await.as_deref(), Some(BYTES));
    }
}
