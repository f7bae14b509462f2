//! One process among others: what is asked of one host, whose requests come through a proxy, and how it ends.

use miaofs::content::CHUNK_SIZE;

use crate::harness::content::{Content, Upload};
use crate::harness::drive::head;
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

const NAMED: [&str; 4] = ["--host", "u1", "--internal-url", "http://127.0.0.1:9"];

#[test]
fn what_is_asked_of_this_host_is_answered_and_of_another_is_sent_there() {
    let server = Server::with(&NAMED);
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", CHUNK_SIZE as usize + 9);
    let upload = Upload::begin(&ada, &content.init());
    assert_eq!(upload.host.as_deref(), Some("u1"));
    assert!(upload.path.starts_with("/on/u1/"), "{}", upload.path);
    for index in [0, 1] {
        upload.put(index, content.chunk(index)).expect(204);
    }
    let elsewhere = upload.path.replace("/on/u1/", "/on/u2/");
    let problem = ada.get(&elsewhere).expect_problem(421, "wrong_host");
    assert_eq!(problem["host"], "u2");
    ada.get(&upload.path.replace("/on/u1", "")).expect(200);
    upload.complete().expect(200);
    let whole = format!("/on/u1/file/download?digest={}", content.digest);
    assert!(ada.get(&whole).expect(200).body == content.bytes, "other bytes came back");
    for nowhere in ["/on", "/on/", "/on/u1", "/on/U1/user/info"] {
        assert_eq!(ada.get(nowhere).status, 404, "{nowhere}");
    }
}

#[test]
fn staged_bytes_are_not_given_without_a_pass_of_this_server() {
    let server = Server::with(&NAMED);
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", CHUNK_SIZE as usize);
    let upload = Upload::begin(&ada, &content.init());
    upload.put(0, content.chunk(0)).expect(204);
    let id = upload.path.rsplit('/').next().unwrap();
    let path = format!("/internal/blobs/{id}");
    server.api().get(&path).expect_problem(401, "unauthorized");
    ada.get(&path).expect_problem(401, "unauthorized");
    let forged = format!("9999999999.{}", "0".repeat(64));
    server.api().with_token(&forged).get(&path).expect_problem(401, "unauthorized");
}

/// Wrong passwords that are refused as wrong before they are refused as too many.
fn wrong_passwords_until_refused(server: &Server, origin: &str) -> usize {
    let body = br#"{"name":"nobody","password":"wrong password","device":{"name":"t"}}"#;
    let headers = [("content-type", "application/json"), ("x-forwarded-for", origin)];
    let attempt = |_| {
        let post = reqwest::Method::POST;
        server.api().send(post, "/user/signin", &headers, body.to_vec()).status
    };
    (0..50).map(attempt).take_while(|status| *status == 401).count()
}

#[test]
fn behind_a_trusted_proxy_each_client_has_limits_of_its_own_and_else_all_have_one() {
    let directory = scratch();
    let arguments = ["--trusted-proxies", "127.0.0.0/8"];
    let server = Server::start_with(&directory.path().join("trusting"), &arguments);
    let first = wrong_passwords_until_refused(&server, "192.0.2.1");
    assert!(first > 0, "refused at once");
    assert!(wrong_passwords_until_refused(&server, "192.0.2.1") < first);
    assert!(wrong_passwords_until_refused(&server, "192.0.2.2") > 0, "another's limit counted");

    let server = Server::start(&directory.path().join("direct"));
    wrong_passwords_until_refused(&server, "192.0.2.1");
    assert!(wrong_passwords_until_refused(&server, "192.0.2.2") < first, "a client was believed");
}

#[test]
fn a_process_that_is_to_end_says_so_first_and_still_answers() {
    let directory = scratch();
    let arguments = ["--drain-delay", "3"];
    let mut server = Server::start_with(&directory.path().join("data"), &arguments);
    let ada = server.sign_up("ada");
    let start = head(&ada);
    server.terminate();
    let is_draining = || server.api().get("/readyz").status == 503;
    wait_until("it says that it is not ready", seconds(2), is_draining);
    let answer = ada.get("/user/info").expect(200);
    assert_eq!(answer.header("connection"), Some("close"));
    let late = ada.get(&format!("/fs/changes?since={start}&wait=50"));
    late.expect_problem(503, "unavailable");
    server.api().get("/healthz").expect(200);
    let status = server.wait();
    assert!(status.success(), "{status}");
}
