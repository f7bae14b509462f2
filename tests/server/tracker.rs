//! A server whose tracker is a Redis that is killed, and comes back with its data or empty.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread;

use miaofs::content::CHUNK_SIZE;
use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::content::{Content, Upload};
use crate::harness::random::Seed;
use crate::harness::redis::{Memory, Redis};
use crate::harness::scratch;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::wait::{seconds, wait_until};

const CHUNK: usize = CHUNK_SIZE as usize;

fn start(data: &Path, redis: &Redis) -> Server {
    Server::start_with(data, &["--redis-url", &redis.url()])
}

fn sign(server: &Server, route: &str, name: &str) -> Value {
    let device = json!({ "name": "test" });
    let body = json!({ "name": name, "password": PASSWORD, "device": device });
    server.api().post(route, &body).expect(200).json()
}

fn with(server: &Server, session: &Value) -> Api {
    server.api().with_token(session["access_token"].as_str().unwrap())
}

fn refresh(session: &Value) -> Value {
    json!({ "refresh_token": session["refresh_token"] })
}

fn renewed(server: &Server, session: &Value) -> Value {
    server.api().post("/user/refresh", &refresh(session)).expect(200).json()
}

/// Waits until the server has found Redis again.
fn wait_until_ready(server: &Server) {
    let ready = || server.api().get("/readyz").status == 200;
    wait_until("the server has found Redis again", seconds(20), ready);
}

fn downloaded(api: &Api, content: &Content) -> Vec<u8> {
    api.get(&format!("/file/download?digest={}", content.digest)).expect(200).body
}

#[test]
fn a_redis_that_comes_back_empty_costs_a_renewal_and_no_chunk_that_can_be_proved() {
    let directory = scratch();
    let mut redis = Redis::start();
    let server = start(&directory.path().join("data"), &redis);
    let session = sign(&server, "/user/signup", "ada");
    let ada = with(&server, &session);
    let content = Content::random(Seed::of_this_run(), "film", 6 * CHUNK + 77);
    let begun = Upload::begin(&ada, &content.init());
    for index in 0..5 {
        begun.put(index, content.chunk(index)).expect(204);
    }
    let id = begun.path.rsplit_once('/').unwrap().1.to_owned();
    let staged = server.data().join(format!("staging/{id}.blob"));
    let staged = std::fs::OpenOptions::new().write(true).open(staged).unwrap();
    staged.write_all_at(b"not what came", 3 * CHUNK_SIZE + 5).unwrap();

    redis.kill();
    redis.start_again(Memory::Lost);
    wait_until_ready(&server);
    ada.get("/user/info").expect_problem(401, "unauthorized");
    let ada = with(&server, &renewed(&server, &session));
    let begun = Upload::begin(&ada, &content.init());
    assert!(begun.path.ends_with(&id), "another upload was begun");
    assert_eq!(begun.missing, [3, 5, 6], "what hashes right counts, and nothing else");
    assert_eq!(begun.status().expect(200).json()["received"], json!([0, 1, 2, 4]));
    for index in begun.missing.clone() {
        begun.put(index, content.chunk(index)).expect(204);
    }
    begun.complete().expect(200);
    assert_eq!(server.metric("miaofs_chunks_received_total"), 5 + 3);
    assert!(downloaded(&ada, &content) == content.bytes, "other bytes came back");
}

#[test]
fn an_upload_that_does_not_stop_survives_an_empty_redis_in_its_middle() {
    let directory = scratch();
    let mut redis = Redis::start();
    let server = start(&directory.path().join("data"), &redis);
    let mut session = sign(&server, "/user/signup", "ada");
    let content = Content::random(Seed::of_this_run(), "film", 24 * CHUNK);
    let path = Upload::begin(&with(&server, &session), &content.init()).path;
    let sent = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0;
            for index in 0..24 {
                loop {
                    let put = with(&server, &session);
                    let answer = put.put(&format!("{path}/{index}"), content.chunk(index));
                    match answer.status {
                        204 => break,
                        401 => session = renewed_patiently(&server, &session),
                        503 => assert!(answer.header("retry-after").is_some()),
                        status => panic!("{status}: {}", String::from_utf8_lossy(&answer.body)),
                    }
                }
                sent += 1;
            }
            sent
        });
        wait_until("some chunks arrived", seconds(60), || {
            server.metric_where("miaofs_chunks_received_total", "").unwrap_or(0) >= 4
        });
        redis.kill();
        redis.start_again(Memory::Lost);
        sender.join().unwrap()
    });
    assert_eq!(sent, 24);
    let ada = with(&server, &renewed_patiently(&server, &session));
    ada.post(&format!("{path}/complete"), &json!({})).expect(200);
    assert!(downloaded(&ada, &content) == content.bytes, "other bytes came back");
}

/// Renews a session, trying again while the server says that it cannot tell.
fn renewed_patiently(server: &Server, session: &Value) -> Value {
    let mut renewed = Value::Null;
    wait_until("the session is renewed", seconds(20), || {
        let answer = server.api().post("/user/refresh", &refresh(session));
        assert!(matches!(answer.status, 200 | 503), "{}", String::from_utf8_lossy(&answer.body));
        renewed = answer.json();
        answer.status == 200
    });
    renewed
}

#[test]
fn a_redis_that_comes_back_with_its_data_is_as_if_it_had_not_been_away() {
    let directory = scratch();
    let mut redis = Redis::start();
    let server = start(&directory.path().join("data"), &redis);
    let ada = with(&server, &sign(&server, "/user/signup", "ada"));
    let content = Content::random(Seed::of_this_run(), "film", 4 * CHUNK);
    let begun = Upload::begin(&ada, &content.init());
    for index in [2, 0] {
        begun.put(index, content.chunk(index)).expect(204);
    }
    redis.kill();
    redis.start_again(Memory::Kept);
    wait_until_ready(&server);
    assert_eq!(begun.status().expect(200).json()["missing"], json!([1, 3]));
    for index in [1, 3] {
        begun.put(index, content.chunk(index)).expect(204);
    }
    begun.complete().expect(200);
    assert!(downloaded(&ada, &content) == content.bytes, "other bytes came back");
}

#[test]
fn while_redis_is_away_everybody_is_told_to_come_again_and_nobody_is_signed_out() {
    let directory = scratch();
    let mut redis = Redis::start();
    let server = start(&directory.path().join("data"), &redis);
    let session = sign(&server, "/user/signup", "ada");
    let ada = with(&server, &session);
    let content = Content::random(Seed::of_this_run(), "film", CHUNK);
    let begun = Upload::begin(&ada, &content.init());
    redis.kill();
    let credentials = json!({ "name": "ada", "password": PASSWORD, "device": { "name": "test" } });
    for answer in [
        ada.get("/user/info"),
        begun.put(0, content.chunk(0)),
        begun.complete(),
        server.api().post("/user/refresh", &refresh(&session)),
        server.api().post("/user/signin", &credentials),
        ada.post("/user/signout", &json!({})),
        server.api().get("/readyz"),
    ] {
        assert!(answer.header("retry-after").is_some(), "not told when");
        answer.expect_problem(503, "unavailable");
    }
    server.api().get("/healthz").expect(200);
    redis.start_again(Memory::Kept);
    wait_until_ready(&server);
    ada.get("/user/info").expect(200);
    begun.put(0, content.chunk(0)).expect(204);
    begun.complete().expect(200);
}

#[test]
fn a_device_that_signed_out_stays_out_when_redis_comes_back_empty() {
    let directory = scratch();
    let mut redis = Redis::start();
    let server = start(&directory.path().join("data"), &redis);
    let session = sign(&server, "/user/signup", "ada");
    with(&server, &session).post("/user/signout", &json!({})).expect(204);
    redis.kill();
    redis.start_again(Memory::Lost);
    wait_until_ready(&server);
    with(&server, &session).get("/user/info").expect_problem(401, "unauthorized");
    server.api().post("/user/refresh", &refresh(&session)).expect_problem(401, "unauthorized");
}

#[test]
fn the_tries_at_a_password_are_counted_over_all_processes() {
    let directory = scratch();
    let redis = Redis::start();
    let [one, two] = ["one", "two"].map(|name| start(&directory.path().join(name), &redis));
    let guess = |server: &Server| {
        let device = json!({ "name": "test" });
        let body = json!({ "name": "ada", "password": "a guess of hers", "device": device });
        server.api().post("/user/signin", &body).status
    };
    // Thirty at once and one more each second are welcome; two servers together allow no more.
    let mut welcome = 0;
    let began = std::time::Instant::now();
    while guess(if welcome % 2 == 0 { &one } else { &two }) == 401 {
        welcome += 1;
    }
    let most = 30 + began.elapsed().as_secs() + 1;
    assert!((30..=most).contains(&welcome), "{welcome} of {most}");
}
