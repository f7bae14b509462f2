//! Damage of every sort, done by hand, is found, mended where it can be, and then gone.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use bytes::Bytes;
use miaofs::content::Digest;
use miaofs::protocol::files::ContentRef;

use super::{Depth, Finding, FindingKind, FindingStatus, Options, Repair, Report, check};
use crate::backend::BlobId;
use crate::backend::blobs::{StoreName, fanned_key};
use crate::backend::db::blobs;
use crate::backend::db::copies;
use crate::backend::db::query;
use crate::backend::db::transfers;
use crate::service::files::Condition;
use crate::service::tests::Scene;

const HOUR: Duration = Duration::from_secs(3600);
const BYTES: &[u8] = b"the bytes of a file";

/// A drive with one file in a directory, staged.
async fn scene() -> (Scene, Digest, BlobId) {
    let scene = Scene::new(HOUR).await;
    let (digest, blob) = scene.bring(BYTES).await;
    let files = scene.files();
    let content = ContentRef { digest, size: BYTES.len() as u64 };
    files
        .put_path(scene.caller.into(), "/docs/a.txt", content, &Condition::default())
        .await
        .unwrap();
    (scene, digest, blob)
}

/// Moves the staged blob to the store, as a transfer does.
async fn store(scene: &Scene, blob: BlobId) {
    let context = &scene.context;
    let staged = context.staging.path(blob);
    let copy = context.stores.put(StoreName::Local, blob, staged).await.unwrap();
    let mut transaction = context.db.write().await.unwrap();
    copies::put(&mut transaction, &copy, 0).await.unwrap();
    blobs::set_stored(&mut transaction, blob).await.unwrap();
    transfers::remove_of(&mut transaction, blob).await.unwrap();
    transaction.commit().await.unwrap();
    context.staging.remove(blob).await.unwrap();
}

async fn change(scene: &Scene, statements: &[&'static str]) {
    let mut transaction = scene.context.db.write().await.unwrap();
    for statement in statements {
        query(statement).execute(&mut transaction).await.unwrap();
    }
    transaction.commit().await.unwrap();
}

async fn run(scene: &Scene, depth: Depth, repair: Repair) -> Report {
    let options = Options { depth, repair, grace: Duration::ZERO, grace_of_parts: Duration::ZERO };
    let policy = scene.context.policy.clone();
    check(&scene.backends, policy, options, &mut |_event| ()).await.unwrap()
}

async fn look(scene: &Scene) -> Report {
    run(scene, Depth::Sizes, Repair::None).await
}

fn flaws(report: &Report) -> Vec<FindingKind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

fn the(report: &Report, kind: FindingKind) -> &Finding {
    let found = report.findings.iter().find(|finding| finding.kind == kind);
    found.unwrap_or_else(|| panic!("no {kind:?} in {report:#?}"))
}

#[tokio::test]
async fn nothing_is_wrong_with_a_drive_that_nobody_damaged() {
    let (scene, _, blob) = scene().await;
    assert_eq!(flaws(&run(&scene, Depth::Digests, Repair::Safe).await), []);
    store(&scene, blob).await;
    let report = run(&scene, Depth::Digests, Repair::Safe).await;
    assert_eq!(flaws(&report), []);
    let checked = report.checked;
    assert_eq!((checked.users, checked.nodes, checked.contents, checked.blobs), (1, 3, 1, 1));
    assert_eq!((checked.objects, checked.bytes), (1, BYTES.len() as u64));
}

#[tokio::test]
async fn what_can_be_mended_is_found_then_mended_and_then_gone() {
    let damages: &[(&[&'static str], FindingKind)] = &[
        (&["UPDATE users SET used = used + 1"], FindingKind::DriveCount),
        (&["UPDATE users SET metadata = metadata - 1"], FindingKind::DriveCount),
        (&["UPDATE users SET nodes = 99"], FindingKind::DriveCount),
        (&["UPDATE users SET seq = 0"], FindingKind::DriveCount),
        (&["UPDATE user_contents SET refs = refs + 1"], FindingKind::OwnedCount),
        (&["UPDATE user_contents SET refs = 0"], FindingKind::OwnedCount),
        (&["DELETE FROM user_contents"], FindingKind::Unowned),
        (
            &["INSERT INTO user_contents (user_id, digest) VALUES (1, zeroblob(32))"],
            FindingKind::OwnedLost,
        ),
        (&["UPDATE files SET refs = 7"], FindingKind::ContentCount),
        (&["UPDATE files SET refs = 0, zero_at = 5"], FindingKind::ContentCount),
        (&["UPDATE files SET zero_at = 5"], FindingKind::ContentCount),
        (&["DELETE FROM file_blobs"], FindingKind::ContentBlobs),
        (&["INSERT INTO file_blobs VALUES (zeroblob(32), zeroblob(16))"], FindingKind::ContentBlobs),
        (&["DELETE FROM transfers"], FindingKind::NoTransfer),
        (
            &["INSERT INTO transfers (id, blob_id, host, state, next_at)
               VALUES (zeroblob(16), zeroblob(16), 'local', 0, 0)"],
            FindingKind::StrayTransfer,
        ),
        (
            &["INSERT INTO blobs (id, size, place, host, key, state, created_at)
               VALUES (zeroblob(16), 5, 'staging', 'local', 'k', 0, 0)"],
            FindingKind::UnusedBlob,
        ),
        (
            &["INSERT INTO copies (blob_id, place, object_key, size, created_at)
               VALUES (zeroblob(16), 'local', 'k', 5, 0)"],
            FindingKind::StrayCopy,
        ),
        (
            &["INSERT INTO entries SELECT user_id, parent, CAST('ghost' AS BLOB), randomblob(16) FROM entries
               LIMIT 1"],
            FindingKind::DanglingEntry,
        ),
        (&["UPDATE nodes SET deleted_at = 5 WHERE digest IS NOT NULL"], FindingKind::TombstoneWithContent),
    ];
    for (statements, kind) in damages {
        let (scene, _, _) = scene().await;
        change(&scene, statements).await;
        assert_eq!(
            the(&look(&scene).await, *kind).status,
            FindingStatus::Mendable,
            "{statements:?}"
        );
        let mended = run(&scene, Depth::Sizes, Repair::Safe).await;
        assert_eq!(the(&mended, *kind).status, FindingStatus::Mended, "{statements:?}");
        assert_eq!(mended.left(), 0, "{statements:?}: {mended:#?}");
        assert_eq!(flaws(&look(&scene).await), [], "{statements:?}");
    }
}

#[tokio::test]
async fn what_needs_a_person_is_left_as_it_is_and_names_the_file() {
    let damages: &[(&[&'static str], FindingKind)] = &[
        (&["UPDATE nodes SET size = 5 WHERE digest IS NOT NULL"], FindingKind::WrongSize),
        (&["DELETE FROM entries WHERE name = CAST('a.txt' AS BLOB)"], FindingKind::Nameless),
        (
            &["UPDATE entries SET parent = x'00000000000000000000000000000005'
               WHERE name = CAST('a.txt' AS BLOB)"],
            FindingKind::OrphanEntry,
        ),
        (&["UPDATE nodes SET digest = NULL WHERE digest IS NOT NULL"], FindingKind::NoContent),
        (&["DELETE FROM files"], FindingKind::LostContent),
        (&["UPDATE files SET manifest = x'00'"], FindingKind::Manifest),
        (&["UPDATE files SET manifest = x'00'", "DELETE FROM file_blobs"], FindingKind::Manifest),
        (&["DELETE FROM blobs"], FindingKind::NoBlob),
        (&["UPDATE blobs SET size = 3"], FindingKind::NoBlob),
    ];
    for (statements, kind) in damages {
        let (scene, _, blob) = scene().await;
        change(&scene, statements).await;
        for repair in [Repair::None, Repair::Safe, Repair::Safe] {
            let report = run(&scene, Depth::Sizes, repair).await;
            let finding = the(&report, *kind);
            assert_eq!(finding.status, FindingStatus::Left, "{statements:?}");
            let named = finding.affected.iter().any(|file| file.starts_with("ada:/"));
            assert!(named, "{statements:?}: {finding:?}");
        }
        let here = scene.context.staging.file(blob).unwrap().is_some();
        assert!(here, "{statements:?}: the last copy is gone");
    }
}

#[tokio::test]
async fn directories_that_hold_each_other_are_found() {
    let (scene, _, _) = scene().await;
    let files = scene.files();
    let content = ContentRef { digest: Digest::of(BYTES), size: BYTES.len() as u64 };
    files
        .put_path(scene.caller.into(), "/docs/deep/b.txt", content, &Condition::default())
        .await
        .unwrap();
    change(
        &scene,
        &["UPDATE entries SET parent = (SELECT node FROM entries WHERE name = CAST('deep' AS BLOB))
           WHERE name = CAST('docs' AS BLOB)"],
    )
    .await;
    assert_eq!(flaws(&look(&scene).await), [FindingKind::Cycle], "one finding for all of a cycle");
}

#[tokio::test]
async fn bytes_that_are_gone_short_or_wrong_are_found_with_their_files() {
    type Damage = fn(&std::path::Path);
    let remove: Damage = |path| std::fs::remove_file(path).unwrap();
    let cut: Damage = |path| {
        std::fs::File::options().write(true).open(path).unwrap().set_len(3).unwrap();
    };
    let flip: Damage = |path| {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.write_all_at(b"!", 4).unwrap();
    };
    let damages = [
        (remove, FindingKind::MissingBytes, Depth::Sizes),
        (cut, FindingKind::WrongLength, Depth::Sizes),
        (flip, FindingKind::WrongBytes, Depth::Digests),
    ];
    for (damage, kind, depth) in damages {
        for is_stored in [false, true] {
            let (scene, _, blob) = scene().await;
            let key = fanned_key(blob);
            let path = match is_stored {
                false => scene.context.staging.path(blob),
                true => scene.directory.path().join("store").join(key),
            };
            if is_stored {
                store(&scene, blob).await;
            }
            damage(&path);
            if depth == Depth::Digests {
                assert_eq!(flaws(&look(&scene).await), [], "sizes say nothing of bytes");
            }
            let report = run(&scene, depth, Repair::Safe).await;
            assert_eq!(flaws(&report), [kind]);
            assert_eq!(report.findings[0].status, FindingStatus::Left);
            assert_eq!(report.findings[0].affected, ["ada:/docs/a.txt"]);
        }
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_a_finding_and_the_rest_is_checked_all_the_same() {
    let damages: [&[&'static str]; 3] = [
        &["UPDATE blobs SET host = 'No Host!'"],
        &["UPDATE blobs SET place = 'nowhere'"],
        &["UPDATE copies SET place = 'nowhere'"],
    ];
    for damage in damages {
        let (scene, _, blob) = scene().await;
        store(&scene, blob).await;
        change(&scene, damage).await;
        change(&scene, &["UPDATE users SET nodes = 99"]).await;
        for depth in [Depth::Sizes, Depth::Digests] {
            let report = run(&scene, depth, Repair::None).await;
            assert_eq!(
                flaws(&report),
                [FindingKind::DriveCount, FindingKind::BlobRow],
                "{damage:?}"
            );
            assert_eq!(report.findings[1].affected, ["ada:/docs/a.txt"]);
        }
        let context = &scene.context;
        run(&scene, Depth::Digests, Repair::Safe).await;
        assert!(context.stores.head(StoreName::Local, blob).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn bytes_that_belong_to_nothing_are_removed_when_they_are_old_and_no_others() {
    let (scene, _, blob) = scene().await;
    store(&scene, blob).await;
    let context = &scene.context;
    let [staged, stored] = [BlobId::random(), BlobId::random()];
    for stray in [staged, stored, blob] {
        context.staging.create(stray, 0).await.unwrap();
        context.staging.write(stray, 0, Bytes::from_static(BYTES)).await.unwrap();
    }
    let path = context.staging.path(stored);
    context.stores.put(StoreName::Local, stored, path).await.unwrap();
    context.staging.remove(stored).await.unwrap();

    let options =
        Options { depth: Depth::Sizes, repair: Repair::Safe, grace: HOUR, grace_of_parts: HOUR };
    let policy = context.policy.clone();
    let young = check(&scene.backends, policy, options, &mut |_event| ()).await.unwrap();
    assert_eq!(flaws(&young), [], "somebody may be about to use them");

    let report = run(&scene, Depth::Sizes, Repair::Safe).await;
    let subjects: BTreeSet<String> =
        report.findings.iter().map(|finding| finding.subject.clone()).collect();
    assert_eq!(subjects, [staged, stored, blob].map(|blob| format!("blob {blob}")).into());
    assert_eq!(report.left(), 0);
    assert!(context.staging.file(staged).unwrap().is_none());
    assert!(context.stores.head(StoreName::Local, stored).await.unwrap().is_none());
    assert!(
        context.stores.head(StoreName::Local, blob).await.unwrap().is_some(),
        "only its staged bytes go"
    );
    assert_eq!(flaws(&look(&scene).await), []);
}
