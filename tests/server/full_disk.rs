//! A full disk is said so, and once there is room again all goes on, without a restart.

use std::time::Instant;

use miaofs::protocol::ids::NodeId;
use reqwest::Method;
use serde_json::json;

use crate::harness::api::{Answer, Api};
use crate::harness::content::{Content, Upload, batch_of, send_batch};
use crate::harness::disk::SmallDisk;
use crate::harness::drive::{Change, apply, commit_of};
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

#[test]
fn a_full_disk_is_507_and_passes() {
    let disk = SmallDisk::new(32);
    let server = Server::start_embedded(&disk.path().join("data"), &[]);
    let ada = server.sign_up("ada");
    let make = |name: &str| {
        let change = Change::directory(NodeId::ROOT, name);
        ada.post("/fs/commit", &commit_of(&[&change]))
    };
    make("before").expect(200);
    disk.fill();
    for round in 0..3 {
        // What the log has room for already still succeeds.
        let refused =
            (0..2000).map(|number| make(&format!("{round} {number}"))).find(|it| it.status != 200);
        refused.expect("the disk is full").expect_problem(507, "storage_full");
    }
    disk.free();
    wait_until("a change is taken again", seconds(10), || make("after").status == 200);
    server.sign_up("bob");
}

#[test]
fn a_server_that_cannot_write_is_not_ready_and_says_why() {
    let disk = SmallDisk::new(32);
    let server = Server::start_embedded(&disk.path().join("data"), &[]);
    let ready = || server.api().get("/readyz");
    ready().expect(200);
    disk.fill();
    wait_until("it sees that it cannot write", seconds(10), || ready().status == 503);
    let problem = ready().expect_problem(503, "unavailable");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("cannot be written to: the disk is full"), "{problem}");
    server.api().get("/healthz").expect(200);
    disk.free();
    wait_until("it can write again", seconds(10), || ready().status == 200);
}

#[test]
fn a_database_that_takes_no_changes_makes_a_server_not_ready() {
    let directory = scratch();
    let server = Server::start_embedded(&directory.path().join("data"), &[]);
    let ready = || server.api().get("/readyz");
    ready().expect(200);
    let database = rusqlite::Connection::open(server.data().join("miaofs.db")).unwrap();
    database.execute_batch("ALTER TABLE probes RENAME TO gone").unwrap();
    wait_until("it sees that it cannot write", seconds(10), || ready().status == 503);
    let problem = ready().expect_problem(503, "unavailable");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with("the database cannot be written to"), "{problem}");
    database.execute_batch("ALTER TABLE gone RENAME TO probes").unwrap();
    wait_until("it can write again", seconds(10), || ready().status == 200);
}

const MEBIBYTE: u64 = 1 << 20;

/// Sends bytes by each route that takes any; the chunk belongs to an upload that has begun.
fn send_bytes(ada: &Api, upload: &Upload, content: &Content) -> [Answer; 4] {
    let other = Content::random(Seed::of_this_run(), "other", 100);
    [
        ada.post("/file/multipart/init", &other.init()),
        upload.put(0, content.chunk(0)),
        send_batch(ada, batch_of(&[&other])),
        ada.send(Method::POST, "/file/upload?path=/plain", &[], other.bytes.clone()),
    ]
}

#[test]
fn on_a_disk_that_is_nearly_full_uploads_wait_and_all_else_goes_on() {
    let disk = SmallDisk::new(64);
    let min_free = (16 * MEBIBYTE).to_string();
    let server =
        Server::start_embedded(&disk.path().join("data"), &["--min-free", min_free.as_str()]);
    let ada = server.sign_up("ada");
    apply(&ada, &[&Change::directory(NodeId::ROOT, "before")]);
    let small = Content::random(Seed::of_this_run(), "small", 1000);
    ada.send(Method::POST, "/file/upload?path=/small", &[], small.bytes.clone()).expect(200);
    let content = Content::random(Seed::of_this_run(), "film", 9000);
    let upload = Upload::begin(&ada, &content.init());
    disk.fill_but(12 * MEBIBYTE);
    let is_full = || server.metric("miaofs_disk_free_bytes") < 32 * MEBIBYTE;
    wait_until("the server sees it", seconds(10), is_full);
    let begun = Instant::now();
    for refused in send_bytes(&ada, &upload, &content) {
        assert_eq!(refused.header("retry-after"), Some("10"));
        refused.expect_problem(507, "storage_full");
    }
    assert!(begun.elapsed() < seconds(5), "{:?}", begun.elapsed());
    apply(&ada, &[&Change::directory(NodeId::ROOT, "after")]);
    ada.post("/file/delete", &json!({ "path": "/before" })).expect(204);
    server.sign_in("ada");
    assert!(ada.get("/file/download?path=/small").expect(200).body == small.bytes);
    ada.get("/readyz").expect(200);
    let log = std::fs::read_to_string(server.log_file()).unwrap();
    assert!(log.contains("nearly full"), "{log}");
    disk.free();
    let takes = || upload.put(0, content.chunk(0)).status == 204;
    wait_until("an upload is taken again", seconds(10), takes);
    upload.complete().expect(200);
    for (taken, status) in send_bytes(&ada, &upload, &content).into_iter().zip([200, 404, 200, 200])
    {
        taken.expect(status);
    }
}

#[test]
fn a_body_that_there_is_no_room_for_is_not_waited_for() {
    let disk = SmallDisk::new(64);
    let server = Server::start_embedded(&disk.path().join("data"), &["--min-free", "100000000"]);
    let ada = server.sign_up("ada");
    let begun = Instant::now();
    for more in ["content-length: 1000000\r\nexpect: 100-continue", "content-length: 9000000000"] {
        let head = format!(
            "POST /file/upload?path=/film HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n{more}\r\n\r\n",
            ada.token()
        );
        let answer = ada.raw(head.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 507"), "{answer}");
    }
    assert!(begun.elapsed() < seconds(4), "{:?}", begun.elapsed());
}
