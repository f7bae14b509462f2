//! Long pages of the feed, which few may read at once.

use std::time::Duration;

use miaofs::protocol::changes::ChangesQuery;
use miaofs::protocol::files::{Commit, Kind};
use miaofs::protocol::ids::NodeId;

use super::{new_node, scene};
use crate::backend::UserId;

#[tokio::test]
async fn a_long_page_waits_for_a_seat_and_a_short_one_does_not() {
    let scene = scene().await;
    let node = |number| new_node(Kind::Fifo, NodeId::ROOT, &format!("{number}"), 0);
    for some in [0..600, 600..601] {
        let commit = Commit { seen: None, changes: some.map(node).collect() };
        scene.files.commit(scene.user, commit).await.unwrap();
    }
    let after = |since| {
        let query = ChangesQuery { since, limit: Some(10_000), ..ChangesQuery::default() };
        scene.changes.after(scene.caller, query)
    };
    let head = after(0).await.unwrap().page.head;
    let others = (2..).map(UserId);
    let seats: Vec<_> = others.map_while(|it| scene.changes.reading.try_enter(it)).collect();
    assert_eq!(after(head - 1).await.unwrap().page.nodes.len(), 1);
    let mut long = std::pin::pin!(after(0));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut long).await;
    assert!(early.is_err(), "as many as may read already");
    drop(seats);
    assert!(long.await.unwrap().page.nodes.len() > 600);
}
