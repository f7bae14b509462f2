//! The commands of an operator, run beside a server that is busy with its users.

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use miaofs::protocol::ids::NodeId;
use serde_json::{Value, json};

use crate::harness::content::{Content, batch_of, send_batch, upload};
use crate::harness::drive::{Change, apply};
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::{PASSWORD, Server};

/// Runs a command on the data of a server, with a text on stdin.
pub(crate) fn run_with(data: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Server::command(data, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Runs a command that must succeed; answers what it prints.
fn run(data: &Path, arguments: &[&str], input: &str) -> String {
    let output = run_with(data, arguments, input);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn run_json(data: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&run(data, arguments, "")).unwrap()
}

/// Runs a command that must fail; answers what it complains.
fn refused(data: &Path, arguments: &[&str], input: &str) -> String {
    let output = run_with(data, arguments, input);
    assert!(!output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn sign_in(server: &Server, name: &str, password: &str) -> u16 {
    let body = json!({ "name": name, "password": password, "device": { "name": "test" } });
    server.api().post("/user/signin", &body).status
}

#[test]
fn a_disabled_account_is_signed_out_at_once_and_comes_back_when_enabled() {
    let data = scratch();
    let server = Server::start(data.path());
    let (anna, ben) = (server.sign_up("anna"), server.sign_up("ben"));
    run(server.data(), &["user", "disable", "Anna"], "");
    anna.get("/user/info").expect_problem(401, "unauthorized");
    assert_eq!(sign_in(&server, "anna", PASSWORD), 401);
    ben.get("/user/info").expect(200);

    let listed = run(server.data(), &["user", "list", "--json"], "");
    let users: Vec<Value> =
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let states: Vec<(&str, &str)> = users
        .iter()
        .map(|user| (user["name"].as_str().unwrap(), user["status"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("anna", "disabled"), ("ben", "active")]);

    run(server.data(), &["user", "enable", "anna"], "");
    assert_eq!(sign_in(&server, "anna", PASSWORD), 200);
}

#[test]
fn a_new_password_comes_from_stdin_and_ends_the_sessions() {
    let data = scratch();
    let server = Server::start(data.path());
    let anna = server.sign_up("anna");
    let complaint = refused(server.data(), &["user", "password", "anna"], "short\n");
    assert!(complaint.contains("at least 8 characters"), "{complaint}");
    let complaint = refused(server.data(), &["user", "password", "anna"], "");
    assert!(complaint.contains("no password on stdin"), "{complaint}");
    anna.get("/user/info").expect(200);

    run(server.data(), &["user", "password", "anna"], "another good one\n");
    anna.get("/user/info").expect_problem(401, "unauthorized");
    assert_eq!(sign_in(&server, "anna", PASSWORD), 401);
    assert_eq!(sign_in(&server, "anna", "another good one"), 200);
}

#[test]
fn a_changed_quota_counts_for_the_next_upload() {
    let data = scratch();
    let server = Server::start(data.path());
    let anna = server.sign_up("anna");
    let changed = run_json(server.data(), &["user", "quota", "anna", "10KiB", "--json"]);
    assert_eq!(changed["quota"], 10 << 10);
    assert_eq!(anna.get("/user/info").expect(200).json()["quota"], 10 << 10);
    let content = Content::random(Seed::of_this_run(), "large", 20 << 10);
    send_batch(&anna, batch_of(&[&content])).expect_problem(413, "over_quota");
    let complaint = refused(server.data(), &["user", "quota", "anna", "much"], "");
    assert!(complaint.contains("no size"), "{complaint}");
}

#[test]
fn what_is_not_there_is_said_and_nothing_is_made() {
    let data = scratch();
    let nowhere = data.path().join("nowhere");
    for command in [&["user", "list"][..], &["gc"]] {
        let complaint = refused(&nowhere, command, "");
        assert!(complaint.contains("no server's data"), "{complaint}");
    }
    assert!(!nowhere.exists());
    let server = Server::start(data.path());
    let complaint = refused(server.data(), &["user", "disable", "nobody"], "");
    assert!(complaint.contains("no such account"), "{complaint}");
}

#[test]
fn a_collection_by_hand_frees_what_nothing_names_and_leaves_the_rest() {
    let data = scratch();
    let server = Server::start(data.path());
    let anna = server.sign_up("anna");
    let seed = Seed::of_this_run();
    let (named, unnamed) =
        (Content::random(seed, "named", 5000), Content::random(seed, "unnamed", 7000));
    for content in [&named, &unnamed] {
        upload(&anna, content);
    }
    apply(&anna, &[&Change::file(NodeId::ROOT, "kept", &named)]);
    let due = run_json(server.data(), &["gc", "--json"]);
    assert_eq!(
        due,
        json!({ "contents": 0, "blobs": 0, "bytes": 0, "deletions": 0 }),
        "all is in its grace period"
    );
    let now = run_json(server.data(), &["gc", "--now", "--json"]);
    assert_eq!(now, json!({ "contents": 1, "blobs": 1, "bytes": 7000, "deletions": 0 }));
    assert!(run(server.data(), &["gc", "--now"], "").contains("0 B are free again"));
    let path = format!("/file/download?digest={}", named.digest);
    assert_eq!(anna.get(&path).expect(200).body, named.bytes);
}
