//! The feed: nothing is missed, nothing is told twice, and a waiting client is woken at once.

use std::thread;
use std::time::{Duration, Instant};

use miaofs::protocol::ids::NodeId;
use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::drive::{Change, apply, head};
use crate::harness::server::Server;

const ROOT: NodeId = NodeId::ROOT;

fn changes(api: &Api, query: &str) -> Value {
    api.get(&format!("/fs/changes?{query}")).expect(200).json()
}

fn ids(changes: &Value) -> Vec<Value> {
    changes["nodes"].as_array().unwrap().iter().map(|node| node["id"].clone()).collect()
}

#[test]
fn a_new_drive_is_a_root_and_nothing_else() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let page = changes(&ada, "since=0");
    assert_eq!(ids(&page), [json!(ROOT)]);
    assert_eq!(page["cursor"], page["head"]);
    assert_eq!(page["nodes"][0]["state"]["kind"], "directory");
    assert_eq!(page["nodes"][0]["state"]["entries"], json!([]));
}

#[test]
fn each_node_stands_once_in_order_of_its_last_change() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let start = head(&ada);
    let nodes = ["a", "b", "c"].map(|name| Change::directory(ROOT, name));
    for node in &nodes {
        apply(&ada, &[node]);
    }
    let again = nodes[0].clone().based_on(start + 1).with("mode", json!(0o700));
    apply(&ada, &[&again]);
    let page = changes(&ada, &format!("since={start}"));
    let expected = [nodes[1].id(), nodes[2].id(), nodes[0].id()].map(|id| json!(id));
    assert_eq!(ids(&page), expected);
    assert_eq!(page["cursor"], start + 4);
    assert_eq!(ids(&changes(&ada, &format!("since={}", start + 4))), Vec::<Value>::new());
}

#[test]
fn pages_are_limited_but_never_cut_a_commit() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let mut cursor = head(&ada);
    for group in 0..3 {
        let nodes: Vec<Change> =
            (0..5).map(|n| Change::directory(ROOT, &format!("{group}-{n}"))).collect();
        apply(&ada, &nodes.iter().collect::<Vec<_>>());
    }
    let mut pages = Vec::new();
    loop {
        let page = changes(&ada, &format!("since={cursor}&limit=7"));
        cursor = page["cursor"].as_u64().unwrap();
        pages.push(ids(&page).len());
        if cursor == page["head"].as_u64().unwrap() {
            break;
        }
    }
    assert_eq!(pages.iter().sum::<usize>(), 15);
    assert!(pages.len() > 1 && pages.iter().all(|count| count % 5 == 0), "{pages:?}");
}

#[test]
fn a_page_of_large_nodes_ends_early() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let start = head(&ada);
    for group in 0..4 {
        let xattrs = json!({ "user.a": "x".repeat(60_000) });
        let node = |n| Change::directory(ROOT, &format!("{group}-{n}"));
        let nodes: Vec<Change> = (0..50).map(|n| node(n).with("xattrs", xattrs.clone())).collect();
        apply(&ada, &nodes.iter().collect::<Vec<_>>());
    }
    let page = changes(&ada, &format!("since={start}"));
    assert_eq!(ids(&page).len(), 150, "3 MB a commit make 9 MB with the third");
    let rest = changes(&ada, &format!("since={}", page["cursor"]));
    assert_eq!((ids(&rest).len(), &rest["cursor"]), (50, &page["head"]));
}

#[test]
fn a_deletion_is_told_to_who_knew_the_node_only() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let node = Change::directory(ROOT, "d");
    let version = apply(&ada, &[&node]);
    apply(&ada, &[&Change::delete(node.id(), version)]);
    let page = changes(&ada, &format!("since={version}"));
    assert_eq!(ids(&page), [json!(node.id())]);
    assert_eq!(page["nodes"][0].get("state"), None);
    assert_eq!(ids(&changes(&ada, "since=0")), [json!(ROOT)]);
}

#[test]
fn a_waiting_client_is_woken_at_once() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let start = head(&ada);
    let node = Change::directory(ROOT, "d");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let page = changes(&ada, &format!("since={start}&wait=30"));
            (Instant::now(), page)
        });
        thread::sleep(Duration::from_millis(300));
        assert!(!waiting.is_finished(), "a poll with nothing to tell returned at once");
        let before = Instant::now();
        apply(&ada, &[&node]);
        let (woken, page) = waiting.join().unwrap();
        assert_eq!(ids(&page), [json!(node.id())]);
        let delay = woken.saturating_duration_since(before);
        assert!(delay < Duration::from_secs(1), "woken after {delay:?}");
    });
}

#[test]
fn a_poll_ends_with_nothing_when_nothing_happens() {
    let server = Server::new();
    let (ada, bob) = (server.sign_up("ada"), server.sign_up("bob"));
    let start = head(&ada);
    let began = Instant::now();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| changes(&ada, &format!("since={start}&wait=2")));
        apply(&bob, &[&Change::directory(ROOT, "not of hers")]);
        let page = waiting.join().unwrap();
        assert_eq!(ids(&page), Vec::<Value>::new());
        assert_eq!(page["cursor"], start);
    });
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1500), "ended after {took:?}");
}
