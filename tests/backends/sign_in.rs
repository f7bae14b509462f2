//! Signing in at several processes of one server: what one of them ends, has ended at the others.

use std::path::Path;
use std::thread;
use std::time::Instant;

use miaofs::protocol::ids::NodeId;
use serde_json::{Value, json};

use crate::harness::api::{Answer, Api};
use crate::harness::content::{Content, upload};
use crate::harness::drive::{Change, apply};
use crate::harness::random::Seed;
use crate::harness::redis::Redis;
use crate::harness::scratch;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::services::{service, sql};
use crate::harness::wait::{seconds, wait_until};

/// A database of the test's own, gone when dropped.
struct Database(String);

impl Database {
    fn new() -> Self {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
        let name = format!("miaofs_{}", &id.replace('-', "")[..16]);
        sql(&format!("create database {name}"));
        Self(name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        sql(&format!("drop database {}", self.0));
    }
}

/// A process of the server that keeps nothing, where there may be one device for each account.
fn process(directory: &Path, name: &str, database: &Database, redis: &Redis) -> Server {
    let key = directory.join("token.key");
    let arguments = [
        "--roles",
        "account,files",
        "--max-devices",
        "1",
        "--token-key-file",
        key.to_str().unwrap(),
        "--database-url",
        &format!("{}/{}", service("DATABASE_URL"), database.0),
        "--redis-url",
        &redis.url(),
        "--account-grace",
        "1",
    ];
    let arguments = arguments.map(str::to_owned).into();
    let data = directory.join(name);
    Server::start_at(&data, &directory.join(format!("{name}.log")), arguments, "127.0.0.1:0")
}

fn sign(server: &Server, route: &str) -> Value {
    let body = json!({ "name": "ada", "password": PASSWORD, "device": { "name": "test" } });
    server.api().post(route, &body).expect(200).json()
}

fn with(server: &Server, session: &Value) -> Api {
    server.api().with_token(session["access_token"].as_str().unwrap())
}

fn refresh(server: &Server, session: &Value) -> Answer {
    let body = json!({ "refresh_token": session["refresh_token"] });
    server.api().post("/user/refresh", &body)
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_sign_in_at_one_process_ends_the_session_of_another_device_at_all_of_them_at_once() {
    let directory = scratch();
    let (database, redis) = (Database::new(), Redis::start());
    let one = process(directory.path(), "one", &database, &redis);
    let two = process(directory.path(), "two", &database, &redis);
    let old = sign(&one, "/user/signup");
    let waiting = with(&one, &old);
    let since = waiting.get("/fs/changes?since=0").expect(200).json()["head"].clone();
    let (poll, took, new) = thread::scope(|scope| {
        let poll = scope.spawn(|| waiting.get(&format!("/fs/changes?since={since}&wait=50")));
        // A poll that comes after the end is refused as well, and less would be proven.
        thread::sleep(std::time::Duration::from_millis(500));
        let began = Instant::now();
        let new = sign(&two, "/user/signin");
        (poll.join().unwrap(), began.elapsed(), new)
    });
    poll.expect_problem(401, "unauthorized");
    assert!(took < seconds(5), "the poll at the other process ended after {took:?}");
    for server in [&one, &two] {
        with(server, &old).get("/user/info").expect_problem(401, "unauthorized");
        with(server, &new).get("/user/info").expect(200);
        let told = refresh(server, &old).expect_problem(401, "unauthorized");
        assert_eq!(told["detail"], "signed out, since another device signed in");
    }
    let device = with(&one, &new).get("/user/devices").expect(200).json();
    assert_eq!(device["devices"].as_array().map(Vec::len), Some(1), "{device}");
    let renewed = refresh(&one, &new).expect(200).json();
    with(&two, &renewed).get("/user/info").expect(200);
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_closed_account_leaves_nothing_in_mariadb() {
    let directory = scratch();
    let database = Database::new();
    let url = format!("{}/{}", service("DATABASE_URL"), database.0);
    let arguments = ["--account-grace", "1", "--grace-period", "1", "--database-url", &url];
    let arguments = arguments.map(str::to_owned).into();
    let (data, log) = (directory.path().join("data"), directory.path().join("log"));
    let server = Server::start_at(&data, &log, arguments, "127.0.0.1:0");
    let ada = with(&server, &sign(&server, "/user/signup"));
    let note = Content::random(Seed::of_this_run(), "note", 3000);
    upload(&ada, &note);
    let files = ["a", "b"].map(|name| Change::file(NodeId::ROOT, name, &note));
    let folders = (0..450).map(|at| Change::directory(NodeId::ROOT, &at.to_string()));
    let changes: Vec<Change> = files.into_iter().chain(folders).collect();
    apply(&ada, &changes.iter().collect::<Vec<_>>());
    let body = json!({ "password": PASSWORD }).to_string().into_bytes();
    let headers = [("content-type", "application/json")];
    ada.send(reqwest::Method::DELETE, "/user", &headers, body).expect(204);
    let tables =
        ["users", "nodes", "entries", "user_contents", "commits", "sessions", "devices", "files"];
    for table in tables {
        wait_until(table, seconds(60), || {
            sql(&format!("select count(*) from {}.{table}", database.0)).trim() == "0"
        });
    }
}
