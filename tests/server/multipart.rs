//! The chunked upload: any order, in parallel, repeatable, and never more than what was proved.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::thread;

use miaofs::content::CHUNK_SIZE;
use serde_json::json;

use crate::harness::api::Api;
use crate::harness::content::{Content, Upload, upload};
use crate::harness::disk::lengths_below;
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

const CHUNK: usize = CHUNK_SIZE as usize;

/// Bytes of all files below a directory.
fn bytes_below(directory: &Path) -> u64 {
    lengths_below(directory).iter().sum()
}

#[test]
fn chunks_may_come_in_reverse_order_and_in_parallel() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", 6 * CHUNK + 12_345);
    let upload = Upload::begin(&ada, &content.init());
    assert_eq!(upload.missing, [0, 1, 2, 3, 4, 5, 6]);
    let (first, second) = upload.missing.split_at(4);
    thread::scope(|scope| {
        for part in [first, second] {
            let (upload, content) = (&upload, &content);
            scope.spawn(move || {
                for index in part.iter().rev() {
                    upload.put(*index, content.chunk(*index)).expect(204);
                }
            });
        }
    });
    assert_eq!(upload.complete().expect(200).json(), content.reference());
    let path = format!("/file/download?digest={}", content.digest);
    assert!(ada.get(&path).expect(200).body == content.bytes, "other bytes came back");
}

#[test]
fn completing_names_the_missing_chunks_and_so_does_the_status() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", 4 * CHUNK);
    let upload = Upload::begin(&ada, &content.init());
    for index in [3, 0] {
        upload.put(index, content.chunk(index)).expect(204);
    }
    let status = upload.status().expect(200).json();
    assert_eq!(status["received"], json!([0, 3]));
    assert_eq!(status["missing"], json!([1, 2]));
    assert_eq!(status["received_bytes"], 2 * CHUNK_SIZE);
    assert_eq!(status["digest"], json!(content.digest));
    upload.put(1, content.chunk(1)).expect(204);
    let problem = upload.complete().expect_problem(409, "chunks_missing");
    assert_eq!(problem["missing"], json!([2]));
    upload.put(2, content.chunk(2)).expect(204);
    upload.complete().expect(200);
}

#[test]
fn a_canceled_upload_leaves_no_bytes_behind() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let staging = server.data().join("staging");
    let before = bytes_below(&staging);
    let content = Content::random(Seed::of_this_run(), "film", 3 * CHUNK);
    let upload = Upload::begin(&ada, &content.init());
    upload.put(1, content.chunk(1)).expect(204);
    assert!(bytes_below(&staging) >= before + CHUNK_SIZE, "the chunk is not in {staging:?}");
    upload.cancel().expect(204);
    assert_eq!(bytes_below(&staging), before);
    upload.status().expect_problem(404, "not_found");
    upload.put(0, content.chunk(0)).expect_problem(404, "not_found");
    upload.complete().expect_problem(404, "not_found");
}

#[test]
fn a_chunk_on_its_way_while_its_upload_is_canceled_finds_no_upload() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", 2 * CHUNK);
    let upload = Upload::begin(&ada, &content.init());
    let head = format!(
        "PUT {}/0 HTTP/1.1\r\nHost: it\r\nAuthorization: Bearer {}\r\nContent-Length: {CHUNK}\r\n\
         Connection: close\r\n\r\n",
        upload.path,
        ada.token()
    );
    let (half, rest) = content.chunk(0).split_at(CHUNK / 2);
    let mut sending = TcpStream::connect(server.url().trim_start_matches("http://")).unwrap();
    sending.write_all(&[head.as_bytes(), half].concat()).unwrap();
    let received = || server.metric("miaofs_chunk_bytes_received_total");
    wait_until("the server is receiving the chunk", seconds(30), || received() > 0);
    upload.cancel().expect(204);
    sending.write_all(rest).unwrap();
    let mut answer = String::new();
    sending.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(answer.contains("\"not_found\""), "{answer}");
    assert_eq!(bytes_below(&server.data().join("staging")), 0);
}

#[test]
fn a_chunk_with_a_wrong_digest_is_refused_and_nothing_is_marked() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", 2 * CHUNK + 10);
    let upload = Upload::begin(&ada, &content.init());
    let mut damaged = content.chunk(1).to_vec();
    damaged[CHUNK / 2] ^= 1;
    upload.put(1, &damaged).expect_problem(422, "digest_mismatch");
    upload.put(1, content.chunk(0)).expect_problem(422, "digest_mismatch");
    upload.put(1, &content.chunk(1)[1..]).expect_problem(422, "length_mismatch");
    upload.put(2, content.chunk(1)).expect_problem(422, "length_mismatch");
    upload.put(3, content.chunk(2)).expect(400);
    let status = upload.status().expect(200).json();
    assert_eq!(status["received"], json!([]));
    assert_eq!(status["missing"], json!([0, 1, 2]));
}

#[test]
fn a_damaged_repetition_of_a_chunk_does_not_spoil_the_good_one() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", 2 * CHUNK);
    let upload = Upload::begin(&ada, &content.init());
    for index in [0, 1, 1, 0] {
        upload.put(index, content.chunk(index)).expect(204);
    }
    upload.put(0, content.chunk(1)).expect_problem(422, "digest_mismatch");
    upload.complete().expect(200);
    let path = format!("/file/download?digest={}", content.digest);
    assert!(ada.get(&path).expect(200).body == content.bytes, "other bytes came back");
}

#[test]
fn the_same_content_begun_again_is_the_same_upload() {
    let server = Server::new();
    let (ada, bob) = (server.sign_up("ada"), server.sign_up("bob"));
    let content = Content::random(Seed::of_this_run(), "film", 3 * CHUNK);
    let first = Upload::begin(&ada, &content.init());
    first.put(1, content.chunk(1)).expect(204);
    let again = Upload::begin(&ada, &content.init());
    assert_eq!(again.path, first.path);
    assert_eq!(again.missing, [0, 2]);
    let of_another = Upload::begin(&bob, &content.init());
    assert_ne!(of_another.path, first.path);
    assert_eq!(of_another.missing, [0, 1, 2]);
    bob.get(&first.path).expect_problem(404, "not_found");
}

#[test]
fn two_accounts_may_complete_the_same_content() {
    let server = Server::new();
    let accounts = [server.sign_up("ada"), server.sign_up("bob")];
    let content = Content::random(Seed::of_this_run(), "film", 2 * CHUNK + 1);
    thread::scope(|scope| {
        for account in &accounts {
            scope.spawn(|| upload(account, &content));
        }
    });
    let path = format!("/file/download?digest={}", content.digest);
    for account in &accounts {
        assert!(account.get(&path).expect(200).body == content.bytes, "other bytes came back");
    }
}

#[test]
fn completing_is_idempotent_and_two_at_once_are_one() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", 2 * CHUNK);
    let upload = Upload::begin(&ada, &content.init());
    for index in 0..2 {
        upload.put(index, content.chunk(index)).expect(204);
    }
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(upload.complete().expect(200).json(), content.reference()));
        }
    });
    upload.complete().expect(200);
}

#[test]
fn chunks_equal_to_those_of_the_base_are_not_asked_for() {
    let server = Server::new();
    let (ada, bob) = (server.sign_up("ada"), server.sign_up("bob"));
    let before = Content::random(Seed::of_this_run(), "film", 5 * CHUNK);
    upload(&ada, &before);
    let mut bytes = before.bytes.clone();
    bytes[2 * CHUNK + 7] ^= 0xff;
    let after = Content::new(bytes);
    let mut body = after.init();
    body["base"] = json!(before.digest);
    assert_eq!(Upload::begin(&bob, &body).missing, [0, 1, 2, 3, 4], "a base of another account");
    let delta = Upload::begin(&ada, &body);
    assert_eq!(delta.missing, [2]);
    delta.put(2, after.chunk(2)).expect(204);
    delta.complete().expect(200);
    let path = format!("/file/download?digest={}", after.digest);
    assert!(ada.get(&path).expect(200).body == after.bytes, "other bytes came back");
}

#[test]
fn holes_are_never_sent_and_cannot_hide_other_bytes() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let mut bytes = Seed::of_this_run().bytes("image", 4 * CHUNK + 100);
    bytes[CHUNK..3 * CHUNK].fill(0);
    let content = Content::new(bytes);
    let mut body = content.init();
    body["chunks"][1] = json!(null);
    body["chunks"][2] = json!(null);
    let mut hiding = body.clone();
    hiding["chunks"][3] = json!(null);
    assert!((400..500).contains(&ada.post("/file/multipart/init", &hiding).status));
    let upload = Upload::begin(&ada, &body);
    assert_eq!(upload.missing, [0, 3, 4]);
    for index in [0, 3, 4] {
        upload.put(index, content.chunk(index)).expect(204);
    }
    upload.complete().expect(200);
    let path = format!("/file/download?digest={}", content.digest);
    assert!(ada.get(&path).expect(200).body == content.bytes, "other bytes came back");
}

#[test]
fn an_upload_that_nobody_goes_on_with_is_swept() {
    let directory = scratch();
    let arguments = ["--upload-ttl", "1"];
    let server = Server::start_with(&directory.path().join("data"), &arguments);
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", 2 * CHUNK);
    let upload = Upload::begin(&ada, &content.init());
    upload.put(0, content.chunk(0)).expect(204);
    let staging = server.data().join("staging");
    wait_until("the staged bytes are gone", seconds(60), || bytes_below(&staging) == 0);
    upload.status().expect_problem(404, "not_found");
}

#[test]
fn an_account_may_begin_so_many_uploads_and_then_has_to_end_some() {
    let (directory, seed) = (scratch(), Seed::of_this_run());
    let data = directory.path().join("data");
    let mut server = Server::start_with(&data, &["--max-uploads", "2"]);
    let (anna, ben) = (server.sign_up("anna"), server.sign_up("ben"));
    let contents: Vec<Content> =
        (0..3).map(|number| Content::random(seed, &number.to_string(), 9000)).collect();
    let first = Upload::begin(&anna, &contents[0].init());
    Upload::begin(&anna, &contents[1].init());
    let init = |api: &Api, content: &Content| api.post("/file/multipart/init", &content.init());
    init(&anna, &contents[2]).expect_problem(429, "too_many_requests");
    init(&anna, &contents[1]).expect(200);
    init(&ben, &contents[2]).expect(200);
    server.kill();
    server.restart();
    init(&anna, &contents[2]).expect_problem(429, "too_many_requests");
    first.cancel().expect(204);
    init(&anna, &contents[2]).expect(200);

    // Of contents that are theirs already as well, though there is nothing to send.
    upload(&ben, &contents[0]);
    for _ in 0..2 {
        assert_eq!(init(&ben, &contents[0]).expect(200).json()["missing"], json!([]));
    }
    let refused = (0..3).map(|_| init(&ben, &contents[0]).status).find(|status| *status == 429);
    assert!(refused.is_some(), "any number may be begun");
}
