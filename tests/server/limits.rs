//! What is not content has limits as well: names, attributes and nodes, and the answers that tell of them.

use miaofs::protocol::ids::NodeId;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::harness::drive::{Change, apply, commit, commit_of, refuse};
use crate::harness::server::Server;

const ROOT: NodeId = NodeId::ROOT;

#[test]
fn an_xattr_that_no_file_can_have_is_refused_with_a_word() {
    let fixture = Fixture::new();
    let file =
        |name: &str, xattrs: Value| Change::create("fifo", ROOT, name).with("xattrs", xattrs);
    let long = "x".repeat(256);
    for (xattrs, word) in [
        (json!({ "": "v" }), "1 to 255 bytes"),
        (json!({ "user.\u{0}": "v" }), "no NUL"),
        (json!({ long: "v" }), "1 to 255 bytes"),
        (json!({ "user.a": "x".repeat(65_537) }), "65536"),
    ] {
        let commit = commit_of(&[&file("a", xattrs)]);
        let problem = fixture.ada.post("/fs/commit", &commit).expect_problem(400, "invalid_value");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
    }
    let longest = format!("user.{}", "x".repeat(250));
    apply(&fixture.ada, &[&file("a", json!({ longest: "x".repeat(65_536) }))]);
}

/// Nodes with many bytes of xattrs each.
fn heavy(count: usize, label: &str) -> Vec<Change> {
    let value = "x".repeat(65_000);
    let heavy = |at| {
        let xattrs = json!({ "user.a": value.clone(), "user.b": value.clone() });
        Change::create("fifo", ROOT, &format!("{label} {at}")).with("xattrs", xattrs)
    };
    (0..count).map(heavy).collect()
}

#[test]
fn attributes_of_hundreds_of_megabytes_do_not_fit_into_a_quota_of_a_thousand_bytes() {
    let server = Server::with(&["--quota", "1000"]);
    let ada = server.sign_up("ada");
    let directories: Vec<Change> =
        (0..1000).map(|at| Change::directory(ROOT, &format!("{at}"))).collect();
    apply(&ada, &directories.iter().collect::<Vec<_>>());
    let mut applied = 0;
    for part in 0..3 {
        let nodes = heavy(80, &part.to_string());
        let committed = commit(&ada, &nodes.iter().collect::<Vec<_>>());
        applied += committed["applied"].as_array().unwrap().len();
        let conflicts = committed["conflicts"].as_array().unwrap();
        assert!(conflicts.iter().all(|conflict| conflict["reason"] == "over_quota"));
    }
    assert!((1..=8).contains(&applied), "{applied} of 240 nodes fit");
    let account = ada.get("/user/info").expect(200).json();
    assert!(account["used"].as_u64().unwrap() <= 1000, "{account}");
    assert!(account["metadata"].as_u64().unwrap() <= 1_048_576 + 1000, "{account}");
}

#[test]
fn a_drive_that_is_full_of_nodes_says_so_by_each_way() {
    let server = Server::with(&["--max-nodes", "2"]);
    let ada = server.sign_up("ada");
    let made = Change::directory(ROOT, "made");
    apply(&ada, &[&made]);
    let put = |path: &str| {
        let path = format!("/file/upload?path={path}");
        ada.send(Method::POST, &path, &[], b"content".to_vec())
    };
    put("/a/b").expect_problem(413, "too_many_nodes");
    put("/a").expect(200);
    refuse(&ada, &Change::directory(ROOT, "more"), "too_many_nodes");
    ada.post("/file/delete", &json!({ "path": "/made" })).expect(204);
    apply(&ada, &[&Change::directory(ROOT, "more")]);
    let account = ada.get("/user/info").expect(200).json();
    assert_eq!((&account["nodes"], &account["max_nodes"]), (&json!(2), &json!(2)));
}
