//! Transfers from one disk to another, killed in between, tried again, and parked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::StreamExt as _;
use miaofs::content::{Digest, Md5};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::backend::blobs::StoreName;
use crate::backend::db::blobs::{self, Location};
use crate::backend::db::transfers::{self, TransferState};
use crate::backend::db::{contents, copies};
use crate::backend::queue::test_broker::Broker;
use crate::backend::queue::{Queue, QueueSettings};
use crate::backend::{BlobId, TransferId, unix_now};
use crate::service::downloads::reader;
use crate::service::tests::Scene;
use crate::service::{Policy, TransferPolicy};

const HOUR: Duration = Duration::from_secs(3600);
const LIMIT: Duration = Duration::from_secs(60);

/// Workers that run until stopped.
struct Running {
    stop: CancellationToken,
    workers: TaskTracker,
}

impl Running {
    fn start(context: &Arc<ServiceContext>) -> Self {
        let running = Self { stop: CancellationToken::new(), workers: TaskTracker::new() };
        Transfers::new(context.clone()).start(&running.workers, &running.stop);
        running
    }

    async fn stop(self) {
        self.stop.cancel();
        self.workers.close();
        self.workers.wait().await;
    }
}

/// Runs the workers until the outbox is empty.
async fn run(scene: &Scene) {
    let running = Running::start(&scene.context);
    until(scene, |states| states.is_empty()).await;
    running.stop().await;
}

/// Waits until the states of all transfers are as said.
async fn until(scene: &Scene, are: impl Fn(&[TransferState]) -> bool) {
    let began = Instant::now();
    loop {
        let states = states(scene).await;
        if are(&states) {
            return;
        }
        assert!(began.elapsed() < LIMIT, "still {states:?} after {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn states(scene: &Scene) -> Vec<TransferState> {
    let mut db = scene.context.db.read().await.unwrap();
    let all = transfers::page(&mut db, None, None, 1000).await.unwrap();
    all.into_iter().map(|listed| listed.state).collect()
}

/// A scene whose transfers fail for good after two tries, and go by this queue.
async fn impatient(queue: &QueueSettings) -> Scene {
    let mut scene = Scene::new(HOUR).await;
    let mut backends = scene.backends.clone();
    backends.queue = Queue::open(queue).unwrap();
    let transfer =
        TransferPolicy { attempts: 2, pause: Duration::ZERO, ..TransferPolicy::default() };
    let policy = Policy { transfer, ..(*scene.context.policy).clone() };
    scene.context = ServiceContext::new(&backends, Arc::new(policy));
    scene
}

/// Queues to test on: the embedded one, and RabbitMQ when there is one.
fn queues() -> Vec<(QueueSettings, Option<Broker>)> {
    let rabbit = Broker::of_environment().map(|broker| (broker.settings(), Some(broker)));
    std::iter::once((QueueSettings::default(), None)).chain(rabbit).collect()
}

async fn is_moved(scene: &Scene, (digest, blob): (Digest, BlobId), bytes: &[u8]) {
    let context = &scene.context;
    let mut db = context.db.read().await.unwrap();
    let row = blobs::get(&mut db, blob).await.unwrap().unwrap();
    assert_eq!(row.location, Location::Store);
    assert!(context.staging.file(blob).unwrap().is_none(), "staged bytes are left");
    assert_eq!(scene.read(digest).await.as_deref(), Some(bytes));
    let found = owned_by_md5(scene, bytes).await;
    assert_eq!(found, Some(digest));
}

async fn owned_by_md5(scene: &Scene, bytes: &[u8]) -> Option<Digest> {
    let mut db = scene.context.db.read().await.unwrap();
    let (name, since) = ((Md5::of(bytes), bytes.len() as u64), scene.context.claimed_since());
    contents::owned_by_md5(&mut db, scene.caller.user, name, since).await.unwrap()
}

/// Steps of a transfer that a process had done when it was killed.
#[derive(Debug, Clone, Copy)]
enum Killed {
    BeforeAll,
    WhenPublished,
    WhileCopying,
    WhenTakenIn,
    WhenSettled,
    WhenDropped,
}

async fn leave(scene: &Scene, blob: BlobId, killed: Killed) {
    let ServiceContext { db, hosts, staging, stores, .. } = &*scene.context;
    let mut transaction = db.write().await.unwrap();
    if !matches!(killed, Killed::BeforeAll) {
        transfers::claim_due(&mut transaction, hosts.here().as_str(), (unix_now(), i64::MAX), 1)
            .await
            .unwrap();
    }
    if matches!(killed, Killed::WhileCopying) {
        let part = scene.directory.path().join("part");
        std::fs::write(&part, b"the by").unwrap();
        stores.put(StoreName::Local, blob, part).await.unwrap();
    }
    if matches!(killed, Killed::WhenTakenIn | Killed::WhenSettled | Killed::WhenDropped) {
        let copied = stores.put(StoreName::Local, blob, staging.path(blob)).await.unwrap();
        copies::put(&mut transaction, &copied, unix_now()).await.unwrap();
    }
    if matches!(killed, Killed::WhenSettled | Killed::WhenDropped) {
        blobs::set_stored(&mut transaction, blob).await.unwrap();
        transfers::set_moved(&mut transaction, TransferId::of_staged(blob)).await.unwrap();
    }
    if matches!(killed, Killed::WhenDropped) {
        staging.remove(blob).await.unwrap();
    }
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn a_transfer_is_finished_from_wherever_a_killed_process_left_it() {
    for killed in [
        Killed::BeforeAll,
        Killed::WhenPublished,
        Killed::WhileCopying,
        Killed::WhenTakenIn,
        Killed::WhenSettled,
        Killed::WhenDropped,
    ] {
        let scene = Scene::new(HOUR).await;
        let brought = scene.bring(b"the bytes").await;
        leave(&scene, brought.1, killed).await;
        assert_eq!(scene.read(brought.0).await.as_deref(), Some(&b"the bytes"[..]), "{killed:?}");
        let scene = scene.reopen().await;
        run(&scene).await;
        is_moved(&scene, brought, b"the bytes").await;
    }
}

#[tokio::test]
async fn what_moves_is_indexed_from_the_staging_disk_and_not_read_back_from_its_store() {
    let scene = Scene::new(HOUR).await;
    let (digest, blob) = scene.bring(b"the bytes").await;
    leave(&scene, blob, Killed::WhenSettled).await;
    let key = crate::backend::blobs::fanned_key(blob);
    scene.context.stores.remove(StoreName::Local, &key).await.unwrap();
    run(&scene).await;
    assert_eq!(owned_by_md5(&scene, b"the bytes").await, Some(digest));
    assert!(scene.context.staging.file(blob).unwrap().is_none(), "staged bytes are left");
}

#[tokio::test]
async fn a_read_goes_on_while_its_blob_moves() {
    let scene = Scene::new(HOUR).await;
    let (digest, blob) = scene.bring(b"the bytes").await;
    let layout = scene.context.owned(scene.caller.user, digest).await.unwrap().unwrap();
    let mut early = Box::pin(reader::read(scene.context.clone(), &layout, 0..4));
    run(&scene).await;
    assert!(scene.context.staging.file(blob).unwrap().is_none());
    assert_eq!(early.next().await.unwrap().unwrap(), &b"the "[..]);
    assert!(early.next().await.is_none());
}

/// Puts a file where the store's directory is, so that it takes nothing.
fn refuse(scene: &Scene) {
    let store = scene.backends.settings.stores.local.clone();
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::write(&store, b"no directory").unwrap();
}

fn mend(scene: &Scene) {
    let store = scene.backends.settings.stores.local.clone();
    std::fs::remove_file(&store).unwrap();
    std::fs::create_dir(&store).unwrap();
}

#[tokio::test]
async fn what_a_store_refuses_rests_with_its_reason_until_it_is_revived() {
    for (queue, broker) in queues() {
        let scene = impatient(&queue).await;
        refuse(&scene);
        let brought = [scene.bring(b"one").await, scene.bring(b"other").await];
        let running = Running::start(&scene.context);
        until(&scene, |states| states == [TransferState::Dead; 2]).await;
        let mut db = scene.context.db.read().await.unwrap();
        for dead in transfers::page(&mut db, Some(TransferState::Dead), None, 10).await.unwrap() {
            let error = dead.error.unwrap();
            assert!(error.contains("store") && error.contains("os error"), "{error}");
            assert_eq!(dead.transfer.attempts, 2);
        }
        drop(db);
        assert_eq!(scene.read(brought[0].0).await.as_deref(), Some(&b"one"[..]));

        mend(&scene);
        let mut transaction = scene.context.db.write().await.unwrap();
        let first = TransferId::of_staged(brought[0].1);
        assert!(transfers::revive(&mut transaction, first, unix_now()).await.unwrap());
        assert!(!transfers::revive(&mut transaction, first, unix_now()).await.unwrap());
        assert_eq!(transfers::revive_all(&mut transaction, unix_now()).await.unwrap(), 1);
        transaction.commit().await.unwrap();
        until(&scene, |states| states.is_empty()).await;
        running.stop().await;
        is_moved(&scene, brought[0], b"one").await;
        is_moved(&scene, brought[1], b"other").await;
        if let Some(broker) = broker {
            broker.remove(&["local"]).await;
        }
    }
}

#[tokio::test]
async fn a_transfer_whose_message_is_lost_is_published_again() {
    for (queue, broker) in queues() {
        let scene = impatient(&queue).await;
        let brought = scene.bring(b"the bytes").await;
        let mut transaction = scene.context.db.write().await.unwrap();
        let lost_soon = (unix_now(), unix_now() + 2);
        let taken = transfers::claim_due(&mut transaction, "local", lost_soon, 1).await.unwrap();
        transaction.commit().await.unwrap();
        if let Some(broker) = &broker {
            let message = Message { transfer: taken[0].id, attempts: taken[0].attempts };
            scene.context.queue.publish(&RoutingKey::of_host("local"), message).await.unwrap();
            broker.purge("local").await;
        }
        run(&scene).await;
        is_moved(&scene, brought, b"the bytes").await;
        if let Some(broker) = broker {
            broker.remove(&["local"]).await;
        }
    }
}

#[tokio::test]
async fn what_a_clock_that_was_ahead_has_put_off_is_due_at_once() {
    let years = 100_000_000;
    let scene = Scene::new(HOUR).await;
    let (relay, lane) = (Transfers::new(scene.context.clone()), RoutingKey::of_host("local"));
    scene.bring(b"taken").await;
    let mut transaction = scene.context.db.write().await.unwrap();
    let ahead = (unix_now() + years, unix_now() + years + 60);
    let taken = transfers::claim_due(&mut transaction, "local", ahead, 1).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(taken.len(), 1);
    assert_eq!(relay.take_due(&lane, false).await.unwrap(), taken);
    assert!(relay.take_due(&lane, false).await.unwrap().is_empty(), "it is under way now");
}

#[tokio::test]
async fn what_a_killed_relay_has_taken_and_not_published_is_due_before_what_is_lost() {
    let scene = Scene::new(HOUR).await;
    let (relay, lane) = (Transfers::new(scene.context.clone()), RoutingKey::of_host("local"));
    scene.bring(b"taken").await;
    assert_eq!(relay.take_due(&lane, false).await.unwrap().len(), 1);
    assert!(!is_due_in(&scene, 30).await);
    assert!(is_due_in(&scene, 70).await);

    let scene = Scene::new(HOUR).await;
    let relay = Transfers::new(scene.context.clone());
    scene.bring(b"published").await;
    assert_eq!(relay.publish_due(&lane, false).await.unwrap(), 1);
    assert!(!is_due_in(&scene, 500).await);
    assert!(is_due_in(&scene, 700).await);
}

async fn is_due_in(scene: &Scene, seconds: i64) -> bool {
    let mut db = scene.context.db.read().await.unwrap();
    transfers::any_due(&mut db, "local", (unix_now() + seconds, i64::MAX)).await.unwrap()
}

#[tokio::test]
async fn a_message_about_what_is_over_changes_nothing() {
    for (queue, broker) in queues() {
        let scene = impatient(&queue).await;
        let queue = &scene.context.queue;
        let brought = scene.bring(b"the bytes").await;
        let (transfer, lane) = (TransferId::of_staged(brought.1), RoutingKey::of_host("local"));
        let unknown = TransferId::of_staged(BlobId::random());
        for (transfer, attempts) in [(unknown, 0), (transfer, 7), (transfer, 0), (transfer, 0)] {
            queue.publish(&lane, Message { transfer, attempts }).await.unwrap();
        }
        run(&scene).await;
        is_moved(&scene, brought, b"the bytes").await;
        if let Some(broker) = broker {
            broker.remove(&["local"]).await;
        }
    }
}

#[tokio::test]
async fn uploads_go_on_without_rabbitmq_and_are_moved_when_it_is_back() {
    let Some(broker) = Broker::of_environment() else { return };
    let wire = broker.wire().await;
    let scene = impatient(&broker.settings_by(&wire)).await;
    let running = Running::start(&scene.context);
    let first = scene.bring(b"before").await;
    until(&scene, |states| states.is_empty()).await;
    wire.cut();
    let second = scene.bring(b"meanwhile").await;
    assert_eq!(scene.read(second.0).await.as_deref(), Some(&b"meanwhile"[..]));
    assert_eq!(states(&scene).await.len(), 1);
    wire.mend().await;
    until(&scene, |states| states.is_empty()).await;
    running.stop().await;
    is_moved(&scene, first, b"before").await;
    is_moved(&scene, second, b"meanwhile").await;
    broker.remove(&["local"]).await;
}

#[tokio::test]
async fn a_host_that_is_down_delays_only_its_own() {
    for (queue, broker) in queues() {
        let scene = impatient(&queue).await;
        let here = scene.bring(b"here").await;
        let there = scene.bring(b"there").await;
        let mut transaction = scene.context.db.write().await.unwrap();
        transfers::remove(&mut transaction, TransferId::of_staged(there.1)).await.unwrap();
        transfers::insert(&mut transaction, there.1, "there", unix_now()).await.unwrap();
        transaction.commit().await.unwrap();
        let running = Running::start(&scene.context);
        until(&scene, |states| states == [TransferState::Pending]).await;
        running.stop().await;
        is_moved(&scene, here, b"here").await;
        assert!(scene.context.staging.file(there.1).unwrap().is_some());
        if let Some(broker) = broker {
            broker.remove(&["local"]).await;
        }
    }
}
