//! The logs that an operator reads: of requests, and of who did what with accounts.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::commands::run_with;
use crate::harness::disk::SmallDisk;
use crate::harness::scratch;
use crate::harness::server::{PASSWORD, Server};

/// The lines of a text, each an object.
fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The lines of a log that tell of answers.
fn answers(log: &str) -> Vec<Value> {
    objects(log).into_iter().filter(|line| line["message"] == "answered").collect()
}

#[test]
fn the_log_is_json_with_a_line_for_each_request_when_that_is_wanted() {
    let arguments = ["--log-format", "json", "--access-log", "true"];
    let server = Server::with(&arguments);
    let ada = server.sign_up("ada");
    ada.get("/file/meta?path=/hidden").expect(404);
    let answered = answers(&server.log());
    let line = answered.iter().find(|line| line["status"] == 404).expect("the refusal is there");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["origin"], "127.0.0.1");
    assert_eq!(line["span"]["route"], "/file/meta");
    assert_eq!(line["span"]["method"], "GET");
    assert!(line["span"]["user"].as_str().is_some(), "{line}");
    let log = server.log();
    for secret in [PASSWORD, ada.token(), "hidden"] {
        assert!(!log.contains(secret), "the log says '{secret}':\n{log}");
    }
}

#[test]
fn requests_are_no_lines_of_the_log_unless_that_is_wanted() {
    let server = Server::with(&["--log-format", "json"]);
    server.sign_up("ada");
    assert_eq!(answers(&server.log()), Vec::<Value>::new());
}

/// Name of the event and account of each line.
fn events(audit: &Path) -> Vec<(String, String)> {
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    objects(&fs::read_to_string(audit).unwrap())
        .iter()
        .map(|line| (text(line, "event"), text(line, "account")))
        .collect()
}

/// Has an operator do this and that.
fn operate(data: &Path, audit: &str) {
    let commands: [&[&str]; 3] =
        [&["user", "quota", "ada", "5GiB"], &["user", "disable", "ada"], &["user", "invite"]];
    for command in commands {
        let arguments = [command, &["--audit-log", audit]].concat();
        let done = run_with(data, &arguments, "");
        assert!(done.status.success(), "{done:?}");
    }
}

/// True for a line that says by name or number that it is about the first account.
fn is_of_ada(line: &Value) -> bool {
    line["user"] == 1 || line["account"] == "ada"
}

#[test]
fn the_audit_log_says_who_did_what_from_where_and_no_secret() {
    let directory = scratch();
    let (data, audit) = (directory.path().join("data"), directory.path().join("audit.log"));
    let path = audit.to_str().unwrap();
    let server = Server::start_with(&data, &["--audit-log", path]);
    let ada = server.sign_up("ada");
    let ada_again = server.sign_in("ada");
    let devices = ada_again.get("/user/devices").expect(200).json();
    let devices = devices["devices"].as_array().unwrap();
    let first = devices.iter().find(|device| device["current"] != true).unwrap();
    let first = first["id"].as_str().unwrap().to_owned();
    ada_again.delete(&format!("/user/devices/{first}")).expect(204);
    let token = json!({ "name": "script", "path": "/", "operations": "read" });
    let token = ada_again.post("/user/tokens", &token).expect(200).json();
    let token_id = token["about"]["id"].as_str().unwrap();
    ada_again.delete(&format!("/user/tokens/{token_id}")).expect(204);
    let guess = json!({ "name": "ada", "password": "guess of ada", "device": { "name": "x" } });
    server.api().post("/user/signin", &guess).expect(401);
    let change = json!({ "old": PASSWORD, "new": "another battery staple" });
    let session = ada_again.post("/user/password", &change).expect(200).json();
    let wrong = json!({ "old": PASSWORD, "new": "and yet another one" });
    let changed = server.api().with_token(session["access_token"].as_str().unwrap());
    changed.post("/user/password", &wrong).expect(401);
    changed.post("/user/signout", &json!({})).expect(204);
    operate(&data, path);
    let expected = [
        ("signed_up", "ada"),
        ("signed_in", "ada"),
        ("device_revoked", ""),
        ("scoped_token_made", ""),
        ("scoped_token_revoked", ""),
        ("sign_in_failed", "ada"),
        ("password_changed", ""),
        ("password_change_failed", ""),
        ("signed_out", ""),
        ("quota_changed", "ada"),
        ("account_disabled", "ada"),
        ("invited", ""),
    ];
    let expected = expected.map(|(event, account)| (event.to_owned(), account.to_owned()));
    assert_eq!(events(&audit), expected);

    let text = fs::read_to_string(&audit).unwrap();
    let lines = objects(&text);
    assert!(lines[..9].iter().all(|line| line["from"] == "127.0.0.1"), "{lines:?}");
    assert!(lines[9..].iter().all(|line| line["operator_uid"].is_u64()), "{lines:?}");
    assert_eq!(lines[9]["quota"], 5u64 << 30);
    assert!(lines.iter().all(|line| line["time"].as_str().unwrap().ends_with('Z')));
    assert_eq!(lines[0]["device"], first);
    assert_eq!(lines[2]["revoked"], first);
    assert_eq!(lines[4]["scoped_token"], token_id);
    assert_eq!(lines[1]["device"], lines[8]["device"]);
    assert!(lines.iter().all(|line| line["event"] == "invited" || is_of_ada(line)), "{lines:?}");
    let token = token["token"].as_str().unwrap();
    let secrets =
        [PASSWORD, "guess of ada", "another battery", ada.token(), ada_again.token(), token];
    for secret in secrets {
        assert!(!text.contains(secret), "the audit log says '{secret}':\n{text}");
    }
}

#[test]
fn an_audit_log_that_cannot_be_written_is_told_and_stops_nothing() {
    let (disk, directory) = (SmallDisk::new(1), scratch());
    let audit = disk.path().join("audit.log");
    // A block of the disk exactly: no other line has room for nothing.
    fs::write(&audit, format!("{}\n", "x".repeat(4095))).unwrap();
    let data = directory.path().join("data");
    let server = Server::start_with(&data, &["--audit-log", audit.to_str().unwrap()]);
    disk.fill();
    server.sign_up("ada");
    let log = server.log();
    assert!(log.contains("the audit log lacks a line"), "{log}");
    disk.free();
    server.sign_up("berta");
    let text = fs::read_to_string(&audit).unwrap();
    let last = text.lines().last().unwrap();
    let last: Value = serde_json::from_str(last).expect(last);
    assert_eq!(last["account"], "berta");
}
