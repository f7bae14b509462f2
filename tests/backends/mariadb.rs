//! Promises of the server on MariaDB: changes that run at once leave nothing half-done, and a replica
//! that lags shows nobody less than they did.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use miaofs::protocol::ids::NodeId;
use serde_json::{Value, json};

use crate::database::Database;
use crate::harness::api::Api;
use crate::harness::content::{Content, Upload, batch_of, send_batch};
use crate::harness::drive::{Change, apply, commit};
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::services::services;
use crate::harness::wait::{seconds, wait_until};

const USERS: usize = 100;
/// Seconds by which the replica is made to lag.
const LAG: &str = "5";

/// Duration of racing changes: `MIAOFS_TEST_RACE` seconds, or a few.
fn race() -> Duration {
    let given = std::env::var("MIAOFS_TEST_RACE").ok();
    seconds(given.map_or(6, |text| text.parse().unwrap()))
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_content_that_a_hundred_users_complete_at_once_is_kept_once() {
    let (directory, database) = (scratch(), Database::new());
    let data = directory.path().join("data");
    let mut server = database.serve(&data, &[]);
    let users: Vec<Api> = (0..USERS).map(|user| server.sign_up(&format!("user{user}"))).collect();
    let content = Content::random(Seed::of_this_run(), "shared", 300_000);
    let begin = |user| {
        let upload = Upload::begin(user, &content.init());
        upload.put(0, content.chunk(0)).expect(204);
        upload
    };
    let uploads: Vec<Upload> = users.iter().map(begin).collect();
    thread::scope(|scope| {
        for (user, upload) in users.iter().zip(&uploads) {
            let content = &content;
            scope.spawn(move || {
                upload.complete().expect(200);
                apply(user, &[&Change::file(NodeId::ROOT, "shared", content)]);
            });
        }
    });
    let hundred = USERS as i64;
    assert_eq!(database.numbers("SELECT COUNT(*), SUM(refs) FROM files"), [1, hundred]);
    let owned = "SELECT COUNT(*), SUM(refs) FROM user_contents";
    assert_eq!(database.numbers(owned), [hundred, hundred]);
    assert_eq!(database.numbers("SELECT COUNT(*), SUM(state) FROM blobs"), [1, 0]);
    for user in &users {
        let path = "/file/download?path=/shared";
        assert!(user.get(path).expect(200).body == content.bytes, "other bytes came back");
    }
    server.stop();
    database.check(&data);
}

#[test]
#[ignore = "needs scripts/services up"]
fn uploads_deletions_and_collection_of_the_same_contents_race_and_lose_nothing() {
    let (directory, database) = (scratch(), Database::new());
    let data = directory.path().join("data");
    let mut server = database.serve(&data, &["--grace-period", "1"]);
    let seed = Seed::of_this_run();
    let contents: Vec<Content> = (0..4)
        .map(|index| Content::random(seed, &format!("content {index}"), 1000 + index))
        .collect();
    let users: Vec<Api> = (0..12).map(|user| server.sign_up(&format!("user{user}"))).collect();
    let (until, rounds) = (Instant::now() + race(), AtomicU64::new(0));
    thread::scope(|scope| {
        for (number, user) in users.iter().enumerate() {
            let (contents, rounds) = (&contents, &rounds);
            scope.spawn(move || {
                let mut round = 0;
                while Instant::now() < until {
                    let content = &contents[seed.below(&format!("{number} {round}"), 4) as usize];
                    bring_and_delete(user, content, &format!("f{round}"));
                    rounds.fetch_add(1, Ordering::Relaxed);
                    round += 1;
                }
            });
        }
    });
    let rounds = rounds.into_inner();
    println!("{rounds} rounds, {:?} runs again", server.metric("miaofs_database_reruns_total"));
    assert!(rounds > 20, "only {rounds} rounds");
    server.stop();
    database.check(&data);
}

/// Uploads, names, reads and deletes a content. Its claim may end before it is named: then the commit
/// says so, and nothing has changed.
fn bring_and_delete(user: &Api, content: &Content, name: &str) {
    send_batch(user, batch_of(&[content])).expect(200);
    let file = Change::file(NodeId::ROOT, name, content);
    let committed = commit(user, &[&file]);
    if let Some(conflict) = committed["conflicts"].get(0) {
        assert_eq!(conflict["reason"], "no_content", "{committed}");
        return;
    }
    let bytes = user.get(&format!("/file/download?path=/{name}")).expect(200).body;
    assert!(bytes == content.bytes, "other bytes came back");
    let version = committed["applied"][0]["version"].as_u64().unwrap();
    apply(user, &[&Change::delete(file.id(), version)]);
}

/// Lets the replica lag, until it is dropped.
struct Lagging;

impl Lagging {
    fn begin() -> Self {
        services(&["delay", LAG]);
        Self
    }
}

impl Drop for Lagging {
    fn drop(&mut self) {
        services(&["delay", "0"]);
    }
}

fn reads(server: &Server, outcome: &str) -> u64 {
    let label = format!("outcome=\"{outcome}\"");
    server.metric_where("miaofs_replica_reads_total", &label).unwrap_or(0)
}

fn names(user: &Api) -> Vec<Value> {
    let listing = user.get(&format!("/fs/list/{}", NodeId::ROOT)).expect(200).json();
    let nodes = listing["nodes"].as_array().unwrap().iter();
    nodes.map(|node| node["state"]["entries"][0]["name"].clone()).collect()
}

#[test]
#[ignore = "needs scripts/services up"]
fn whoever_commits_sees_it_at_once_on_every_process_however_late_the_replica_is() {
    let (directory, database, _lagging) = (scratch(), Database::new(), Lagging::begin());
    let replica = database.replica_url();
    let here = database.serve(&directory.path().join("here"), &["--replica-url", &replica]);
    let reading = ["--replica-url", &replica, "--roles", "account,files"];
    let there = database.serve(&directory.path().join("there"), &reading);
    let (ada, ada_there) = (here.sign_up("ada"), there.sign_in("ada"));
    for (server, user) in [(&here, &ada), (&there, &ada_there)] {
        wait_until("the replica serves a drive that nobody changes", seconds(60), || {
            assert_eq!(names(user).len(), 0);
            reads(server, "served") > 0
        });
    }
    for round in 0..4 {
        let name = format!("f{round}");
        let seq = apply(&ada, &[&Change::directory(NodeId::ROOT, &name)]);
        for user in [&ada, &ada_there] {
            assert!(names(user).contains(&json!(name)), "{name} is not there");
            let page = user.get(&format!("/fs/changes?since={}", seq - 1)).expect(200).json();
            assert_eq!(page["head"], seq, "{page}");
        }
    }
    for server in [&here, &there] {
        assert!(reads(server, "behind") >= 4, "the replica is not late");
    }
    let served = reads(&here, "served");
    wait_until("the replica serves what it has by now", seconds(60), || {
        assert_eq!(names(&ada).len(), 4);
        reads(&here, "served") > served
    });
}

/// Requests that clients of a server that has just started give up, each after a moment: most often before the answer.
fn give_up_requests(user: &Api, seed: Seed, round: u32) {
    let list = format!("GET /fs/list/{}", NodeId::ROOT);
    let requests = [&*list, "GET /fs/changes?since=0", "GET /user/info"];
    let headers = format!("host: drive\r\nauthorization: Bearer {}\r\n", user.token());
    thread::scope(|scope| {
        for client in 0..8 {
            let headers = &headers;
            scope.spawn(move || {
                for request in requests {
                    let label = format!("{round} {client} {request}");
                    let pause = Duration::from_micros(seed.below(&label, 4000));
                    let request = format!("{request} HTTP/1.1\r\n{headers}\r\n");
                    user.raw_abandoned(request.as_bytes(), pause);
                }
            });
        }
    });
}

#[test]
#[ignore = "needs scripts/services up"]
fn clients_that_go_away_amid_a_request_take_no_connection_with_them() {
    let (directory, database) = (scratch(), Database::new());
    let mut server = database.serve(&directory.path().join("data"), &[]);
    let (user, seed) = (server.sign_up("ada"), Seed::of_this_run());
    for round in 0..30 {
        give_up_requests(&user, seed, round);
        let began = Instant::now();
        server.stop();
        let lasted = began.elapsed();
        assert!(lasted < seconds(8), "round {round}: connections were waited for: {lasted:?}");
        // A process that has just started prepares each statement for the first time.
        server.restart();
    }
}
