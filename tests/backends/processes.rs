//! Several processes on one database and one Redis are one server.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use miaofs::protocol::ids::NodeId;
use serde_json::json;

use crate::harness::api::Api;
use crate::harness::dependencies::{Dependencies, Reads};
use crate::harness::drive::{Change, apply, head};
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::services::service;

/// Two processes with data directories of their own, on the database and the keys of `dependencies`.
fn two_on(dependencies: &Dependencies, directory: &Path) -> [Server; 2] {
    let name = dependencies.prefix();
    let database = format!("{}/{name}", service("DATABASE_URL"));
    let key = directory.join("token.key");
    let start = |host: &str| {
        let arguments = [
            ["--database-url", &database],
            ["--redis-url", &service("REDIS_URL")],
            ["--redis-prefix", name],
            ["--token-key-file", key.to_str().unwrap()],
            ["--host", host],
        ];
        Server::start_with(&directory.join(host), &arguments.concat())
    };
    ["one", "two"].map(start)
}

/// A commit through one process wakes a poll at the other long before that would look by itself.
fn assert_wakes(here: &Api, there: &Api, name: &str) {
    let start = head(here);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let page = there.get(&format!("/fs/changes?since={start}&wait=30")).expect(200).json();
            (Instant::now(), page)
        });
        thread::sleep(Duration::from_millis(500));
        assert!(!waiting.is_finished(), "a poll with nothing to tell returned at once");
        let before = Instant::now();
        let node = Change::directory(NodeId::ROOT, name);
        apply(here, &[&node]);
        let (woken, page) = waiting.join().unwrap();
        assert_eq!(page["nodes"][0]["id"], json!(node.id()));
        let delay = woken.saturating_duration_since(before);
        assert!(delay < Duration::from_secs(5), "woken after {delay:?}");
    });
}

#[test]
#[ignore = "needs scripts/services up"]
fn two_processes_know_each_others_tokens_and_wake_each_others_waiters() {
    let directory = scratch();
    let dependencies = Dependencies::new(
        &directory.path().join("dependencies.toml"),
        &["ceph"],
        Reads::ThroughTheServer,
    );
    let [one, two] = two_on(&dependencies, directory.path());
    let here = one.sign_up("ada");
    let there = Api::new(&two.url()).with_token(here.token());
    assert_eq!(there.get("/user/info").expect(200).json()["name"], "ada");
    assert_wakes(&here, &there, "made at one");
    assert_wakes(&there, &here, "made at two");

    here.post("/user/signout", &json!({})).expect(204);
    there.get("/user/info").expect_problem(401, "unauthorized");
    drop([one, two]);
}
