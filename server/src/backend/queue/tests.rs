//! Promises of every queue, tested on all of them; those of RabbitMQ alone, on a real one.

use std::collections::BTreeSet;
use std::time::Duration;

use super::test_broker::Broker;
use super::*;
use crate::backend::{BlobId, TransferId};

const LIMIT: Duration = Duration::from_secs(60);

fn message(attempts: u32) -> Message {
    Message { transfer: TransferId::of_staged(BlobId::random()), attempts }
}

async fn next(deliveries: &mut Deliveries) -> Delivery {
    tokio::time::timeout(LIMIT, deliveries.next()).await.expect("no message within the limit")
}

/// The embedded queue, and RabbitMQ when there is one.
fn queues() -> Vec<(Queue, Option<Broker>)> {
    let embedded = Queue::open(&QueueSettings::default()).unwrap();
    let rabbit = Broker::of_environment()
        .map(|broker| (Queue::open(&broker.settings()).unwrap(), Some(broker)));
    std::iter::once((embedded, None)).chain(rabbit).collect()
}

#[tokio::test]
async fn each_lane_gets_its_own_messages_each_once() {
    let (here, there) = (RoutingKey::of_host("here"), RoutingKey::of_host("there"));
    for (queue, broker) in queues() {
        let (mut at_here, mut at_there) = (queue.deliveries(&here, 2), queue.deliveries(&there, 2));
        let sent: Vec<Message> = (0..20).map(message).collect();
        for (index, message) in sent.iter().enumerate() {
            queue.publish(if index % 2 == 0 { &here } else { &there }, *message).await.unwrap();
        }
        for messages in sent.chunks(2) {
            for (deliveries, expected) in
                [(&mut at_here, messages[0]), (&mut at_there, messages[1])]
            {
                let delivery = next(deliveries).await;
                assert_eq!(delivery.message, expected);
                delivery.ack().await;
            }
        }
        if let Some(broker) = broker {
            broker.remove(&["here", "there"]).await;
        }
    }
}

#[tokio::test]
async fn a_message_that_nobody_answered_for_is_delivered_to_the_next_worker() {
    let Some(broker) = Broker::of_environment() else { return };
    let (queue, lane) = (Queue::open(&broker.settings()).unwrap(), RoutingKey::of_host("here"));
    let sent = message(3);
    queue.publish(&lane, sent).await.unwrap();
    let mut first = queue.deliveries(&lane, 1);
    assert_eq!(next(&mut first).await.message, sent);
    drop(first);
    let again = next(&mut queue.deliveries(&lane, 1)).await;
    assert_eq!(again.message, sent);
    again.ack().await;
    broker.remove(&["here"]).await;
}

#[tokio::test]
async fn a_worker_gets_no_more_than_it_asked_for_until_it_answers() {
    let Some(broker) = Broker::of_environment() else { return };
    let (queue, lane) = (Queue::open(&broker.settings()).unwrap(), RoutingKey::of_host("here"));
    for attempts in 0..3 {
        queue.publish(&lane, message(attempts)).await.unwrap();
    }
    let (mut busy, mut other) = (queue.deliveries(&lane, 2), queue.deliveries(&lane, 2));
    let held = [next(&mut busy).await, next(&mut busy).await];
    let third = next(&mut other).await;
    assert_eq!(held.map(|held| held.message.attempts), [0, 1]);
    assert_eq!(third.message.attempts, 2);
    broker.remove(&["here"]).await;
}

#[tokio::test]
async fn what_is_buried_shows_among_the_dead_letters_until_it_is_answered_for() {
    let Some(broker) = Broker::of_environment() else { return };
    let (queue, lane) = (Queue::open(&broker.settings()).unwrap(), RoutingKey::of_host("here"));
    let sent = message(11);
    queue.publish(&lane, sent).await.unwrap();
    next(&mut queue.deliveries(&lane, 1)).await.reject().await;
    until_dead(&queue, &lane, 1).await;
    let letters = queue.dead_letters(10).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.message).collect::<Vec<_>>(), [sent]);
    drop(letters);
    until_dead(&queue, &lane, 1).await;
    for letter in queue.dead_letters(10).await.unwrap() {
        letter.ack().await;
    }
    until_dead(&queue, &lane, 0).await;
    broker.remove(&["here"]).await;
}

async fn until_dead(queue: &Queue, lane: &RoutingKey, count: u32) {
    let dead = async || queue.depths(std::slice::from_ref(lane)).await.unwrap()[1].messages;
    let arrived = async {
        while dead().await != count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, arrived).await.expect("another number of dead letters");
}

#[tokio::test]
async fn a_broken_connection_mends_itself_and_no_message_is_lost() {
    let Some(broker) = Broker::of_environment() else { return };
    let (wire, lane) = (broker.wire().await, RoutingKey::of_host("here"));
    let queue = Queue::open(&broker.settings_by(&wire)).unwrap();
    let mut deliveries = queue.deliveries(&lane, 4);
    let mut missing = BTreeSet::new();
    for attempts in 0..60 {
        match attempts % 20 {
            5 => wire.cut(),
            10 => wire.mend().await,
            _ => (),
        }
        if !(5..10).contains(&(attempts % 20)) {
            publish_at_last(&queue, &lane, message(attempts)).await;
            missing.insert(attempts);
        }
        if attempts % 20 == 15 {
            receive(&mut deliveries, &mut missing).await;
        }
    }
    receive(&mut deliveries, &mut missing).await;
    broker.remove(&["here"]).await;
}

/// As the relay does: whatever was not confirmed is published again, and may come twice.
async fn publish_at_last(queue: &Queue, lane: &RoutingKey, message: Message) {
    let published = async {
        while queue.publish(lane, message).await.is_err() {
            queue.ready().await;
        }
    };
    tokio::time::timeout(LIMIT, published).await.expect("not published within the limit");
}

async fn receive(deliveries: &mut Deliveries, missing: &mut BTreeSet<u32>) {
    while !missing.is_empty() {
        let delivery = next(deliveries).await;
        missing.remove(&delivery.message.attempts);
        delivery.ack().await;
    }
}

#[test]
fn an_address_that_is_none_is_refused_and_not_shown() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    for url in ["http://user:secret@host/", "secret", ""] {
        let settings = QueueSettings { amqp_url: Some(url.into()), ..QueueSettings::default() };
        let error = Queue::open(&settings).unwrap_err().to_string();
        assert!(error.contains("amqp_url") && !error.contains("secret"), "{error}");
    }
}
